"""Counting one text with one encoding: exact, in bounded memory, and for every string there is.

tiktoken splits a text into pieces by a regular expression and then merges bytes inside each piece. Two things make
that unsafe for texts of any size. A run of about a million whitespace characters exhausts the expression's stack, and
the library panics with an exception that ``except Exception`` does not catch. And merging one long piece needs about
46 bytes of memory for each of its bytes. So a long text is cut where no piece can reach across, and what cannot be cut
there is split into pieces here, with long pieces merged window by window.
"""

import re
from typing import TYPE_CHECKING

from tokenward.engine.tokenizers.encodings import piece_pattern

if TYPE_CHECKING:
    import tiktoken

DIRECT_CHARACTERS = 500_000
"""What is given to tiktoken in one go: half the length of a whitespace run at which tiktoken 0.14 panics."""

CUT_CHARACTERS = 100_000
"""A long text is cut at the first safe place after this many characters."""

WINDOW_BYTES = 65_536
"""A piece longer than this is merged window by window."""

_SEAM_TOKENS = 32

_WORD = "A-Za-z0-9぀-んァ-ヺ一-龥가-힣"
SAFE_CUT = re.compile(rf"\S[ \t]|[{_WORD}][\r\n!-&(-/:-@\[-`{{-~、。，]|[A-Za-z][0-9]|[0-9][A-Za-z]")  # noqa: RUF001
"""Two neighbours that no piece of any encoding holds together; the text may be cut between them.

Why it is safe, for all three expressions: pieces are found from left to right without looking behind, so what follows
a piece's end does not depend on what was before. No alternative takes a space or tab after a character that is not
whitespace, nor punctuation (other than the apostrophe) or a line end after a letter or digit, nor letters and digits
together; so a piece ends at the cut. And the expressions look ahead only after whitespace, which the cut never follows,
so no piece before the cut depends on what comes after it.
"""


def count_text(encoding: "tiktoken.Encoding", text: str) -> int:
    """The exact number of tokens of a text. Text that spells a special token counts as ordinary text.

    Lone surrogates count as U+FFFD, as tiktoken itself replaces them. Never raises on any string.
    """
    if len(text) <= DIRECT_CHARACTERS:
        return len(encoding.encode_ordinary(text))
    text = replace_lone_surrogates(text)
    total = start = 0
    while start < len(text):
        cut = SAFE_CUT.search(text, start + CUT_CHARACTERS)
        end = cut.end() - 1 if cut else len(text)
        segment = text[start:end]
        if len(segment) <= DIRECT_CHARACTERS:
            total += len(encoding.encode_ordinary(segment))
        else:
            total += count_by_pieces(encoding, segment)
        start = end
    return total


def replace_lone_surrogates(text: str) -> str:
    """The text with surrogate pairs joined and every lone surrogate replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def count_by_pieces(encoding: "tiktoken.Encoding", text: str) -> int:
    """The exact count of a text without lone surrogates, split into pieces here instead of inside tiktoken.

    Slower than tiktoken, but without its limit on runs of whitespace.
    """
    import regex  # type: ignore[import-untyped]  # noqa: PLC0415 - heavy

    pieces = regex.finditer(piece_pattern(encoding.name), text)
    return sum(count_piece(encoding, piece.group().encode()) for piece in pieces)


def count_piece(encoding: "tiktoken.Encoding", piece: bytes, window_bytes: int = WINDOW_BYTES) -> int:
    """The exact count of one piece, with memory bounded by the window.

    Merging is local: which bytes join depends on their neighbourhood only. Two windows are joined where merging the
    tokens around the seam alone gives the same tokens again; where it does not, the seam moves back by one token.

    Args:
        encoding: The encoding to count with.
        piece: UTF-8 bytes that the encoding's expression would not split.
        window_bytes: At least twice the longest token (128 bytes), so that no token is longer than a window.
    """
    total = position = 0
    window = _merge(encoding, piece[:window_bytes])
    while position + window_bytes < len(piece):
        for kept in range(len(window) - 1, 0, -1):
            seam = position + len(encoding.decode_bytes(window[:kept]))
            following = _merge(encoding, piece[seam : seam + window_bytes])
            around = window[max(0, kept - _SEAM_TOKENS) : kept] + following[:_SEAM_TOKENS]
            if _merge(encoding, encoding.decode_bytes(around)) == around:
                break
        else:
            return total + len(_merge(encoding, piece[position:]))
        total, position, window = total + kept, seam, following
    return total + len(window)


def _merge(encoding: "tiktoken.Encoding", piece: bytes) -> list[int]:
    # The public methods all split by the expression first; this one is tiktoken's own way round it.
    return encoding._encode_single_piece(piece)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
