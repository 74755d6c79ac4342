"""Which parts of a text are prose, and which must survive verbatim.

Protected as whole lines: fenced and indented code, lines that look like code, JSON, tables and columns, block quotes.
Protected inside prose: inline code, URLs, quoted text and tags. When in doubt (an odd quote, a bracket that never
closes) more is protected, never less.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE: Final = re.compile(r"[\s>]*(?:[-*+]\s+|\d+[.)]\s+)?(?P<fence>`{3,}|~{3,})")
_CODE_LINE: Final = re.compile(
    r"""
      [ ]{4} | [ ]*\t                                        # indented code
    | [ ]{0,3}>                                              # a block quote
    | [^\n|]*\|                                              # a table's row
    | (?![^\n]*[.!?,;][ ])[^\n]*\S[ ]{3,}\S[^\n]*\S[ ]{3,}\S  # columns, not sentences
    | \s*(?:def|class|import|from|return|const|let|var|function|public|private|SELECT|INSERT|UPDATE)\s[^\n]*[(){};=*]
    | \s*(?:\$|>>>|\#include|\#!|@\w|//|/\*|--\s*\w+:)\s?
    | [^\n]*[{};]\s*$
    """,
    re.VERBOSE,
)
_BRACKET: Final = re.compile(r"[{\[]")
_BRACKETS: Final = re.compile(r"[{}\[\]]")
_OPENS_JSON: Final = re.compile(r"\{|\[\s*(?:[\"{\[\]\d-]|true\b|false\b|null\b)")
_DECODER: Final = json.JSONDecoder()
_PAIRS: Final = (("\u201c", "\u201d"), ("«", "»"))

INLINE: Final = r"""
      (?P<ticks>`+)(?!`)(?s:.*?)(?<!`)(?P=ticks)(?!`)        # inline code
    | (?:[a-zA-Z][a-zA-Z0-9+.-]*://|www\.|mailto:)\S+        # URLs
    | "[^"]*" | \u201c[^\u201d]*\u201d | «[^»]*» | \u2018[^\u2018\n]*\u2019      # quoted text
    | (?<!\w)'(?:[^'\n]|(?<=\w)'(?=\w))+'(?!\w)
    | </?[A-Za-z][^<>\n]*>                                   # tags
"""
"""What is protected inside prose, as a verbose pattern."""


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of whole lines.

    Attributes:
        text: The lines.
        protected: Whether it must stay as it is.
    """

    text: str
    protected: bool


def split_regions(text: str) -> list[Region]:
    """Split a text into prose and protected regions; joined, they are the text."""
    flagged = _bridge_blank_lines(list(_flag_lines(text)))
    regions = (
        Region("".join(line for line, _ in lines), protected)
        for protected, lines in groupby(flagged, key=lambda flagged_line: flagged_line[1])
    )
    return [region if region.protected else Region(region.text, _is_unbalanced(region.text)) for region in regions]


def _flag_lines(text: str) -> Iterator[tuple[str, bool]]:
    """Every line or longer protected stretch, and whether it is protected."""
    position = 0
    quoting = False
    while position < len(text):
        end = _protected_end(text, position)
        if end is not None:
            quoting = text[position:end].lstrip().startswith(">")
            yield text[position:end], True
        else:
            end = _line_end(text, position)
            # A quote's paragraph goes on over lines without its mark.
            quoting = quoting and not text[position:end].isspace()
            yield text[position:end], quoting
        position = end


def _protected_end(text: str, start: int) -> int | None:
    """Where the protected stretch that begins with the line at ``start`` ends, or ``None`` for prose."""
    fence = _FENCE.match(text, start, _line_end(text, start))
    if fence:
        return _fence_end(text, start, fence["fence"])
    end = _json_end(text, start)
    if end is not None:
        return end
    line_end = _line_end(text, start)
    return line_end if _CODE_LINE.match(text[start:line_end]) else None


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _fence_end(text: str, start: int, fence: str) -> int:
    """Behind the line that closes the fence, or the text's end."""
    for line in _LINE.finditer(text, _line_end(text, start)):
        mark = line.group().strip("> \t\r\n")
        if len(mark) >= len(fence) and mark == fence[0] * len(mark):
            return line.end()
    return len(text)


def _json_end(text: str, start: int) -> int | None:
    """Behind the line in which the JSON that begins in the line at ``start`` ends, or ``None`` without any."""
    found = False
    position, line_end = start, _line_end(text, start)
    while bracket := _BRACKET.search(text, position, line_end):
        end = _value_end(text, bracket.start())
        found = found or end is not None
        position = bracket.end() if end is None else end
        line_end = _line_end(text, max(position - 1, start))
    return line_end if found else None


def _value_end(text: str, start: int) -> int | None:
    """The end of the JSON value at ``start``, by its brackets alone where it is not quite JSON."""
    try:
        return _DECODER.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        if not _OPENS_JSON.match(text, start):
            return None
    depth = 0
    for bracket in _BRACKETS.finditer(text, start):
        depth += 1 if bracket.group() in "{[" else -1
        if depth == 0:
            return bracket.end()
    return len(text)


def _bridge_blank_lines(lines: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Blank lines between two protected stretches belong to them: code has blank lines of its own."""
    bridged: list[tuple[str, bool]] = []
    blanks: list[tuple[str, bool]] = []
    for line, protected in lines:
        if not protected and line.isspace():
            blanks.append((line, False))
            continue
        inside = protected and bool(bridged) and bridged[-1][1]
        bridged += [(blank, inside) for blank, _ in blanks]
        bridged.append((line, protected))
        blanks = []
    return bridged + blanks


def _is_unbalanced(text: str) -> bool:
    """Whether quotes or ticks do not pair up, so that nobody can say what is quoted."""
    odd = any(text.count(mark) % 2 for mark in '"`')
    return odd or any(text.count(opening) != text.count(closing) for opening, closing in _PAIRS)
