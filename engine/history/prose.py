"""A text as a list of pieces: what must stay, and the sentences that could go."""

import re
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tokenward.engine.history.regions import INLINE, split_regions

_MIN_REPEATED = 40  # shorter paragraphs ("Yes.", a heading) repeat with a purpose

_SQUEEZE: Final = re.compile(
    rf"""
      (?P<keep>{INLINE})
    | (?P<trailing>(?<![ \t])(?:[ \t]++(?=\n[ \t]*+\n|\n?\Z)|[ \t](?=\n)))    # two before a line: Markdown's break
    | (?P<spaces>(?<=\S)[ \t]{{2,}}+(?=\S))
    | (?P<blank>\n(?:[ \t]*+\n){{2,}})
    | (?P<dots>(?<=\w)\.{{4,}}+(?=\s|\Z))
    | (?P<marks>(?<=\w)(?P<mark>[!?])(?P=mark)++(?=\s|\Z))
    """,
    re.VERBOSE,
)
_INLINE: Final = re.compile(INLINE, re.VERBOSE)
_BOUNDARY: Final = re.compile(
    r"""
      # a sentence, then anything but a small letter
      (?P<end>(?<![.!?…])[.!?…]++[)\]*_]*+)[ \t]*+\n?[ \t]*+(?<=\s)(?=[^\sa-z])
    | [\u3002\uff01\uff1f]+                                               # these need no space behind them
    | \n(?=\s*\n)\s*\n                                                   # a blank line
    | \n(?=[ \t]*+(?:[-*+•][ \t]|\d++[.)][ \t]|\#{1,6}[ \t]))           # a list's item, a heading
    | (?<=:)\n                                                           # what a list is introduced by
    """,
    re.VERBOSE,
)
_HEADING: Final = re.compile(r"(?m)^[ \t]*#{1,6}[ \t][^\n]*\n")
_LEADING: Final = re.compile(r"\A\s*\n")
_STRUCTURE: Final = re.compile(r"\s*#{1,6}[ \t]|.*:\s*\Z", re.DOTALL)
_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|[A-Za-z]\.[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|approx|ca|cf|Fig|No|Nr|Vol|Inc|Ltd|Co|resp|ed|al"
    r"|z\.B|d\.h|u\.a|bzw|usw|\d+)\.\Z"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text and the white space behind it.

    Attributes:
        text: The stretch, without white space at its end.
        tail: The white space up to the next piece.
        locked: Whether it must stay.
    """

    text: str
    tail: str
    locked: bool


def read_pieces(text: str) -> list[Piece]:
    """Squeeze the prose of a text without loss and split it.

    What goes: superfluous white space, repeated punctuation, and paragraphs that stood before in the same text.
    """
    pieces: list[Piece] = []
    seen: set[str] = set()
    for region in split_regions(text):
        if region.protected:
            body = region.text.rstrip("\n")
            found = [Piece(body, region.text[len(body) :], locked=True)]
        else:
            found = _sentences(_without_repeats(_squeeze(region.text), seen))
        _append(pieces, found)
    return pieces


def join_pieces(pieces: Sequence[Piece], dropped: Collection[int] = ()) -> str:
    """The text again, without the pieces at these positions; paragraphs stay apart."""
    kept: list[Piece] = []
    for position, piece in enumerate(pieces):
        if position not in dropped:
            kept.append(piece)
        elif kept and piece.tail.count("\n") > kept[-1].tail.count("\n"):
            kept[-1] = replace(kept[-1], tail=piece.tail)
    return "".join(piece.text + piece.tail for piece in kept)


def _append(pieces: list[Piece], found: Sequence[Piece]) -> None:
    """Add a region's pieces; blank lines at its beginning belong to the piece before it."""
    for piece in found:
        if not piece.text and pieces:
            newlines = min(2, pieces[-1].tail.count("\n") + piece.tail.count("\n"))
            pieces[-1] = replace(pieces[-1], tail="\n" * newlines)
        else:
            pieces.append(piece)


def _squeeze(text: str) -> str:
    def shorter(match: re.Match[str]) -> str:
        match match.lastgroup:
            case "trailing":
                return ""
            case "spaces":
                return " "
            case "blank":
                return "\n\n"
            case "dots":
                return "..."
            case "marks":
                return match["mark"]
            case _:
                return match.group()

    return _SQUEEZE.sub(shorter, text)


def _without_repeats(text: str, seen: set[str]) -> str:
    """A paragraph that stood before in the same text goes, unless something in it is protected."""
    pieces = _split(text, [match.span() for match in re.finditer(r"\n[ \t]*\n", text)])
    repeated: set[int] = set()
    for position, piece in enumerate(pieces):
        paragraph = piece.text.strip()
        if len(paragraph) < _MIN_REPEATED or piece.locked:
            continue
        if paragraph in seen:
            repeated.add(position)
        seen.add(paragraph)
    return join_pieces(pieces, repeated) if repeated else text


def _sentences(text: str) -> list[Piece]:
    # What is protected is hidden from the splitter, so that no boundary falls into it.
    hidden = _INLINE.sub(lambda match: "x" * len(match.group()), text)
    boundaries = [match.span() for match in _BOUNDARY.finditer(hidden) if not _is_abbreviation(hidden, match)]
    boundaries += [match.span() for pattern in (_HEADING, _LEADING) for match in pattern.finditer(hidden)]
    return _split(text, sorted(boundaries, key=lambda span: span[1]))


def _is_abbreviation(text: str, match: re.Match[str]) -> bool:
    end = match["end"]
    if end != ".":
        return False
    stop = match.start() + 1
    return _ABBREVIATION.search(text, max(0, stop - 12), stop) is not None


def _split(text: str, boundaries: Sequence[tuple[int, int]]) -> list[Piece]:
    """Cut behind each boundary; an indentation goes with what follows it."""
    protected = [match.span() for match in _INLINE.finditer(text)]
    pieces: list[Piece] = []
    start = 0
    for cut in (*(end for _, end in boundaries), len(text)):
        whole = text[start:cut]
        if not whole:
            continue
        body = whole.rstrip()
        white = whole[len(body) :]
        tail = white[: white.rfind("\n") + 1] if "\n" in white and cut < len(text) else white
        end = start + len(body)
        locked = not body or _STRUCTURE.match(body) is not None or _overlaps(protected, start, end)
        pieces.append(Piece(body, tail, locked))
        start = end + len(tail)
    return pieces


def _overlaps(spans: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    """Whether one of the spans, which are in order and apart, reaches into ``start`` to ``end``."""
    following = bisect_right(spans, start, key=lambda span: span[1])
    return following < len(spans) and spans[following][0] < end
