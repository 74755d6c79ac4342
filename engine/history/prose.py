"""A text as a list of pieces: what must stay, and the sentences that could go."""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from tokenward.engine.history.regions import INLINE, Region, split_regions
from tokenward.engine.history.sentences import sentence_ends
from tokenward.engine.history.steady import SteadyPattern
from tokenward.engine.steps import checkpoint

SUMMARY_LABEL: Final = "[Summary by the caller's summarizer: "
"""What a line begins with that is a summary; only one that the caller's own function made has it."""

_MIN_REPEATED = 40  # shorter paragraphs ("Yes.", a heading) repeat with a purpose

_SQUEEZE: Final = SteadyPattern(
    rf"""
      (?P<keep>{INLINE})
    | (?P<trailing>(?<![ \t])(?:[ \t]++(?=\n[ \t]*+\n|\n?\Z)|[ \t](?=\n)))    # two before a line: Markdown's break
    | (?P<spaces>(?<=\S)[ \t]{{2,}}+(?=\S))
    | (?P<blank>\n(?:[ \t]*+\n){{2,}})
    | (?P<dots>(?<=\w)\.{{4,}}+(?=\s|\Z))
    | (?P<marks>(?<=\w)(?P<mark>[!?])(?P=mark)++(?=\s|\Z))
    """,
)
_INLINE: Final = SteadyPattern(INLINE)
_BOUNDARY: Final = re.compile(
    r"""
      \n(?=\s*\n)\s*\n                                                   # a blank line
    | \n(?=[ \t]*+(?:[-*+•][ \t]|\d++[.)][ \t]|\#{1,6}[ \t]))           # a list's item, a heading
    | (?<=:)\n                                                           # what a list is introduced by
    """,
    re.VERBOSE,
)
_HEADING: Final = re.compile(r"(?m)^[ \t]*#{1,6}[ \t][^\n]*\n")
_LEADING: Final = re.compile(r"\A\s*\n")
_MARKER: Final = re.compile(r"\s*+(?:[-*+•]|\d++[.)]|\#{1,6})[ \t]++")
_STRUCTURE: Final = re.compile(r"\s*#{1,6}[ \t]|.*:\s*\Z", re.DOTALL)
_SUMMARY: Final = re.compile(rf"(?m)^{re.escape(SUMMARY_LABEL)}[^\n]*\]$")


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
    for region in _regions(text):
        checkpoint()
        if region.protected:
            body = region.text.rstrip("\n")
            found = [Piece(body, region.text[len(body) :], locked=True)]
        else:
            found = _sentences(_without_repeats(_Stretch.of(_squeeze(region.text)), seen))
        _append(pieces, found)
    return pieces


def _regions(text: str) -> Iterator[Region]:
    """The regions of a text; a summary that was made before is one of its own."""
    start = 0
    for summary in _SUMMARY.finditer(text):
        yield from split_regions(text[start : summary.start()])
        yield Region(summary.group(), protected=True)
        start = summary.end()
    yield from split_regions(text[start:])


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
        checkpoint()
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


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A region of prose, looked through once for what is protected inside it.

    Attributes:
        text: All of it.
        hidden: The same, as long, with nothing in it that a sentence could seem to end in.
        spans: What is protected, in order and apart.
    """

    text: str
    hidden: str
    spans: list[tuple[int, int]]

    @classmethod
    def of(cls, text: str) -> "_Stretch":
        spans: list[tuple[int, int]] = []

        def hide(match: re.Match[str]) -> str:
            checkpoint()
            spans.append(match.span())
            # The full stop behind a URL is none of it.
            inside = match.group().rstrip(".!?")
            return "X" + "x" * (len(inside) - 1) + match.group()[len(inside) :]

        return cls(text, _INLINE.sub(hide, text), spans)


def _without_repeats(stretch: _Stretch, seen: set[str]) -> _Stretch:
    """A paragraph that stood before in the same text goes, unless something in it is protected."""
    checkpoint()
    pieces = _split(stretch, [match.end() for match in re.finditer(r"\n[ \t]*\n", stretch.text)])
    repeated: set[int] = set()
    for position, piece in enumerate(pieces):
        paragraph = piece.text.strip()
        if len(paragraph) < _MIN_REPEATED or piece.locked:
            continue
        if paragraph in seen:
            repeated.add(position)
        seen.add(paragraph)
    return _Stretch.of(join_pieces(pieces, repeated)) if repeated else stretch


def _sentences(stretch: _Stretch) -> list[Piece]:
    hidden = stretch.hidden
    blocks = sorted({match.end() for pattern in (_BOUNDARY, _HEADING, _LEADING) for match in pattern.finditer(hidden)})
    ends = list(blocks)
    for start, end in pairwise((0, *blocks, len(hidden))):
        marker = _MARKER.match(hidden, start, end)
        body = marker.end() if marker else start
        ends += [body + one for one in sentence_ends(hidden[body:end])]
    return _split(stretch, sorted(ends))


def _split(stretch: _Stretch, ends: Sequence[int]) -> list[Piece]:
    """Cut at these positions; an indentation goes with what follows it."""
    text = stretch.text
    pieces: list[Piece] = []
    start = 0
    for cut in (*ends, len(text)):
        whole = text[start:cut]
        if not whole:
            continue
        body = whole.rstrip()
        white = whole[len(body) :]
        tail = white[: white.rfind("\n") + 1] if "\n" in white and cut < len(text) else white
        end = start + len(body)
        locked = not body or _STRUCTURE.match(body) is not None or _overlaps(stretch.spans, start, end)
        pieces.append(Piece(body, tail, locked))
        start = end + len(tail)
    return pieces


def _overlaps(spans: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    """Whether one of the spans, which are in order and apart, reaches into ``start`` to ``end``."""
    following = bisect_right(spans, start, key=lambda span: span[1])
    return following < len(spans) and spans[following][0] < end
