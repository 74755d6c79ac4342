"""Counting what cannot be cut: the text is split into pieces here, and long pieces are merged window by window.

Slower than tiktoken's own way, but without its limit on runs of whitespace, and in bounded memory: a run of spaces or
of one letter is one piece, however long.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from tokenward.engine.steps import checkpoint
from tokenward.engine.tokenizers.encodings import piece_pattern

if TYPE_CHECKING:
    import tiktoken

WINDOW_BYTES = 8_192
"""A piece longer than this is merged window by window. Merging holds the interpreter, about 2 ms for a window."""

STEP_CHARACTERS = 65_536
"""Long texts are encoded, searched and translated in steps of this many, so that other threads are let in between."""

_SEAM_TOKENS = 32

_STAND_INS = {
    r"\s": "\u3000",
    r"[\p{Lu}\p{Lt}]": "\u00c0",
    r"\p{Ll}": "\u00e0",
    r"[\p{Lm}\p{Lo}]": "\u00aa",
    r"\p{M}": "\u0301",
    r"\p{N}": "\u00b2",
}
"""Every class of characters that an expression tells apart outside ASCII, and one of it that all versions agree on."""

_OTHER = "\u00ac"


def replace_lone_surrogates(text: str) -> str:
    """The text with surrogate pairs joined and every lone surrogate replaced by U+FFFD."""
    return text if _encodes(text, 0, len(text)) else _without_surrogates(text, 0, len(text))


def count_direct(encoding: "tiktoken.Encoding", text: str, pattern: str | None = None) -> int:
    """The exact count of a text that is short enough for tiktoken; see :func:`count_by_pieces`."""
    try:
        return len(encoding.encode_ordinary(text))
    except BaseException as error:
        # A panic of Rust code is a BaseException, of a class that cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        text = replace_lone_surrogates(text)
        pieces = _pieces(pattern or piece_pattern(encoding.name), text, 0, len(text))
        return sum(count_piece(encoding, _encoded(text, first, last), WINDOW_BYTES) for first, last in pieces)


def count_by_pieces(encoding: "tiktoken.Encoding", text: str, start: int, end: int, pattern: str | None = None) -> int:
    """The exact count of the part of a text from ``start`` to ``end``. Lone surrogates count as U+FFFD.

    Short pieces go to tiktoken together. Where a piece ends it would split them just so, for it looks ahead from white
    space only; so a piece of white space is counted by itself, and so is a long one.

    Args:
        encoding: What to count with.
        text: Any string.
        start: Where the part begins.
        end: Where the part ends.
        pattern: The expression of an encoding that is none of OpenAI's; it must be like theirs.
    """
    pattern = pattern or piece_pattern(encoding.name)
    if not _encodes(text, start, end):
        text = _without_surrogates(text, start, end)
        start, end = 0, len(text)
    total, begun = 0, start
    for first, last in _pieces(pattern, text, start, end):
        if last - first > STEP_CHARACTERS or text[first:last].isspace():
            total += count_direct(encoding, text[begun:first], pattern)
            total += count_piece(encoding, _encoded(text, first, last))
            begun = last
        elif last - begun > STEP_CHARACTERS:
            total += count_direct(encoding, text[begun:last], pattern)
            begun = last
            checkpoint()
    return total + count_direct(encoding, text[begun:end], pattern)


def _pieces(pattern: str, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the pieces of a part of a text begin and end. The text has no surrogates."""
    import regex  # type: ignore[import-untyped]  # noqa: PLC0415 - heavy

    # `regex` lets other threads run while it searches a string.
    for piece in regex.finditer(pattern, _agreed(text, start, end), pos=start, endpos=end):
        yield piece.span()


def count_piece(encoding: "tiktoken.Encoding", piece: Iterable[bytes], window_bytes: int = WINDOW_BYTES) -> int:
    """The exact count of one piece, with memory bounded by the window.

    Merging is local: which bytes join depends on their neighbourhood only. Two windows are joined where merging the
    tokens around the seam alone gives the same tokens again; where it does not, the seam moves back by one token.

    Args:
        encoding: The encoding to count with.
        piece: UTF-8 bytes that the encoding's expression would not split, in parts of any size.
        window_bytes: At least twice the longest token (128 bytes), so that no token is longer than a window.
    """
    parts = iter(piece)
    buffer = _filled(b"", parts, 2 * window_bytes)
    merged = buffer[:window_bytes]
    window = _merge(encoding, merged)
    joined: list[int] = []
    total = 0
    while len(buffer) > window_bytes:
        checkpoint()
        for kept in range(len(window) - 1, 0, -1):
            seam = len(encoding.decode_bytes(window[:kept]))
            following_merged = buffer[seam : seam + window_bytes]
            # In a run of one character all windows and all seams are the same: what is known is not merged again.
            following = window if following_merged == merged else _merge(encoding, following_merged)
            around = window[max(0, kept - _SEAM_TOKENS) : kept] + following[:_SEAM_TOKENS]
            if around == joined or _merge(encoding, encoding.decode_bytes(around)) == around:
                joined = around
                break
        else:
            return total + len(_merge(encoding, buffer + b"".join(parts)))
        total += kept
        buffer = _filled(buffer[seam:], parts, 2 * window_bytes)
        merged, window = following_merged, following
    return total + len(window)


def _filled(buffer: bytes, parts: Iterator[bytes], size: int) -> bytes:
    """The buffer with parts behind it, at least ``size`` bytes long unless the parts are used up."""
    while len(buffer) < size:
        part = next(parts, None)
        if part is None:
            break
        buffer += part
    return buffer


def _merge(encoding: "tiktoken.Encoding", piece: bytes) -> list[int]:
    # The public methods all split by the expression first; this one is tiktoken's own way round it.
    return encoding._encode_single_piece(piece)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _agreed(text: str, start: int, end: int) -> str:
    """The text as both regular expression engines read it, character for character.

    tiktoken's engine and Python's know different versions of Unicode: what is unassigned to one is a letter to the
    other. Such characters are replaced by others of the class that they have for tiktoken. They are rare, so mostly the
    text itself is returned.
    """
    if text.isascii():
        return text
    characters: set[str] = set()
    for first, last in _steps(text, start, end):
        characters.update(text[first:last])
    stand_ins = _stand_ins("".join(character for character in characters if not character.isascii()))
    if not stand_ins:
        return text
    table = str.maketrans(stand_ins)
    # What is outside the part is not looked at, but keeps the positions the same.
    translated = (text[first:last].translate(table) for first, last in _steps(text, start, end))
    return "".join([text[:start], *translated])


def _stand_ins(characters: str) -> dict[str, str]:
    """What to read in the place of each character that the two engines put into different classes."""
    import regex  # noqa: PLC0415 - heavy

    classes = dict.fromkeys(characters, _OTHER)
    ours = classes.copy()
    for pattern, stand_in in _STAND_INS.items():
        for first, last in _steps(characters, 0, len(characters)):
            step = characters[first:last]
            theirs = bytes(_class_encoding(pattern).encode_ordinary(step)).decode()
            classes.update(dict.fromkeys(theirs, stand_in))
            ours.update(dict.fromkeys(regex.findall(pattern, step), stand_in))
    return {character: stand_in for character, stand_in in classes.items() if ours[character] != stand_in}


@cache
def _class_encoding(pattern: str) -> "tiktoken.Encoding":
    """What gives back the bytes of the characters of a class, and drops all others."""
    import tiktoken  # noqa: PLC0415 - heavy

    single_bytes = {bytes([byte]): byte for byte in range(256)}
    return tiktoken.Encoding("class", pat_str=pattern, mergeable_ranks=single_bytes, special_tokens={})


def _encoded(text: str, start: int, end: int) -> Iterator[bytes]:
    """The part of a text in UTF-8, in steps."""
    for first, last in _steps(text, start, end):
        yield text[first:last].encode()


def _encodes(text: str, start: int, end: int) -> bool:
    """Whether the part of a text has no surrogates."""
    try:
        for _ in _encoded(text, start, end) if not text.isascii() else ():
            pass
    except UnicodeEncodeError:
        return False
    return True


def _without_surrogates(text: str, start: int, end: int) -> str:
    steps = (text[first:last] for first, last in _steps(text, start, end))
    return "".join(step.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for step in steps)


def _steps(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where each step of a part begins and ends. Surrogate pairs stay together."""
    while start < end:
        stop = min(end, start + STEP_CHARACTERS)
        if stop < end and "\ud800" <= text[stop - 1] <= "\udbff" and "\udc00" <= text[stop] <= "\udfff":
            stop += 1
        checkpoint()
        yield start, stop
        start = stop
