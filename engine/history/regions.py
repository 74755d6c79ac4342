"""Which parts of a text are prose, and which must survive verbatim.

Protected as whole lines: fenced and indented code, lines that look like code, JSON, tables and columns, block quotes,
and every paragraph that is not clearly made of sentences (scripts, rows, settings, markup without a fence).
Protected inside prose: inline code, URLs, quoted text and tags. When in doubt (an odd quote, a bracket that never
closes) more is protected, never less.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, pairwise
from typing import Final

from tokenward.engine.history.sentences import TERMINATORS
from tokenward.engine.history.steady import SteadyPattern
from tokenward.engine.steps import checkpoint

_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE: Final = re.compile(r"[\s>]*(?:[-*+]\s+|\d+[.)]\s+)?(?P<fence>`{3,}|~{3,})")
_CODE_LINE: Final = re.compile(
    r"""
      [ ]{4} | [ ]*\t                                        # indented code
    | [ ]{0,3}>                                              # a block quote
    | [^\n|]*\|                                              # a table's row
    | \s*(?:def|class|import|from|return|const|let|var|function|public|private|SELECT|INSERT|UPDATE)\s[^\n]*[(){};=*]
    | \s*(?:\$|>>>|\#include|\#!|@\w|//|/\*|--\s*\w+:)\s?
    | [^\n]*[{};]\s*$
    """,
    re.VERBOSE,
)
_BRACKET: Final = re.compile(r"[{\[]")
_BRACKET_OR_STRING: Final = re.compile(r'(?<!\\)"(?:[^"\\\n]|\\.)*+"|[{}\[\]]')
_OPENS_JSON: Final = re.compile(r"\{|\[\s*+(?:[\"{\[\]\d-]|true\b|false\b|null\b)")
_PAIRS: Final = (
    ("\u201c", "\u201d"), ("«", "»"), ("\u2039", "\u203a"), ("「", "」"), ("『", "』"), ("《", "》"), ("〈", "〉"),
)  # fmt: skip
_SAME: Final = '"\uff02'
_QUOTES: Final = (*_SAME, *(mark for pair in _PAIRS for mark in pair))

# What a sentence may hold besides words; its signs and spaces say nothing about the paragraph.
_HIDDEN: Final = SteadyPattern(
    r"""
      (?<!`)(?P<ticks>`++)[^`\n]*(?P=ticks)(?!`)
    | (?<![a-zA-Z])(?:[a-zA-Z][a-zA-Z0-9+.-]{0,31}+://|www\.)\S+
    | "[^"\n]*" | \u201c[^\u201c\u201d\n]*\u201d
    """,
)
_CODE_SIGN: Final = SteadyPattern(
    r"""
      [={}\\\u2500-\u259f]                                  # assignments, blocks, escapes, drawn boxes
    | ;[ \t]*+$ | \w;\w | ,[^\W\d] | [^\W\d],\d            # statements, values without spaces between them
    | \w\((?!e?s\)) | \w\[ | :: | -> | && | (?<!:)// | /\*  # calls (not "item(s)"), indices, operators, comments
    | (?<!\S)--?[A-Za-z] | \$[A-Za-z_(]                      # options and variables of a shell
    | </?[A-Za-z!][^<>\n]*>                                  # tags
    """,
    re.MULTILINE,
)
_MARKER: Final = r"[ \t]*+(?:[-*+•]|\d++[.)]|\#{1,6})[ \t]"
_NEW_BLOCK: Final = re.compile(_MARKER)
_HEADING: Final = re.compile(r"[ \t]*+\#{1,6}[ \t]")
_PROSE_LINE: Final = re.compile(rf"(?:{_MARKER})?[ ]{{0,3}}[\w\"'(\[*`\u00a1-\U0010ffff]")
_NOT_A_LETTER: Final = re.compile(r"[\x21-\x40\x5b-\x60\x7b-\x7e]")
_CLOSING: Final = r"[)\]\"'\u201d\u2019»」』*_`]{0,4}"
_SENTENCE_END: Final = re.compile(rf"[{TERMINATORS}]{_CLOSING}\s*\Z")
_SENTENCE_INSIDE: Final = re.compile(rf"[{TERMINATORS}]{_CLOSING}[ \t][^\sa-z]|[\u3002\uff01\uff1f\uff61]")
_KEY: Final = re.compile(r"[ ]*+(?:[-*+][ ]++)?[\"']?[\w.-]++[\"']?:(?:\s|\Z)")
_GAP: Final = re.compile(r"(?<=[^\s.!?])[ ]{2,}+(?=\S)")
_WIDE_GAP: Final = re.compile(r"(?<=\S)[ ]{3,}+(?=\S)")
_PUNCTUATION: Final = re.compile(r"[.!?,;][ ]")
_SHORT_LINE: Final = 60

INLINE: Final = r"""
      (?<!`)(?P<ticks>`++)(?s:.*?)(?<!`)(?P=ticks)(?!`)      # inline code
    | (?:(?<![a-zA-Z])[a-zA-Z][a-zA-Z0-9+.-]{0,31}+://|www\.|mailto:)\S+        # URLs
    | (?<![\w@./-])(?:localhost|\d{1,3}+(?:\.\d{1,3}+){3}|(?:[a-zA-Z0-9][a-zA-Z0-9-]{0,62}+\.)++[a-zA-Z]{2,24}+)
      (?::\d{1,5}+)?/\S*                                     # URLs without a scheme
    | "[^"]*" | \uff02[^\uff02]*\uff02 | \u201c[^\u201d]*\u201d | «[^»]*» | \u2039[^\u203a]*\u203a        # quoted text
    | 「[^」]*」 | 『[^』]*』 | 《[^》]*》 | 〈[^〉]*〉 | \u2018[^\u2018\n]*\u2019
    | \u201a(?:[^\u201a\u2018\u2019]|(?<=\w)\u2019(?=\w))*+[\u2018\u2019]
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
    flagged = _bridge_blank_lines(list(_flag_paragraphs(_flag_lines(text))))
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
        checkpoint()
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
    """The end of the JSON value at ``start``, or of what only looks like JSON, by its brackets.

    A parser would find the same end, but its errors count the lines before them: a text full of them takes for ever.
    """
    if not _OPENS_JSON.match(text, start):
        return None
    depth = 0
    for found in _BRACKET_OR_STRING.finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(found.group(), 0)
        if depth == 0:
            return found.end()
    return len(text)


def _flag_paragraphs(lines: Iterable[tuple[str, bool]]) -> Iterator[tuple[str, bool]]:
    """Protect every paragraph that is not clearly prose, and what a quote over several paragraphs holds."""
    marks: Counter[str] = Counter()
    for is_paragraph, stretch in groupby(lines, key=lambda line: not line[1] and not line[0].isspace()):
        if not is_paragraph:
            for line, protected in stretch:
                if protected:
                    marks.clear()
                yield line, protected
            continue
        paragraph = [line for line, _ in stretch]
        hidden = [_hide(line) for line in paragraph]
        left = iter(hidden)
        is_data = _is_data(hidden)
        for block in _blocks(paragraph):
            checkpoint()
            text = "".join(block)
            lines_hidden = list(islice(left, len(block)))
            protected = is_data or _is_quote_open(marks) or not _is_prose(block, lines_hidden)
            marks.update({mark: text.count(mark) for mark in _QUOTES})
            yield from ((line, protected) for line in block)


def _is_quote_open(marks: Counter[str]) -> bool:
    return any(marks[mark] % 2 for mark in _SAME) or any(marks[opening] > marks[closing] for opening, closing in _PAIRS)


def _blocks(paragraph: Sequence[str]) -> Iterator[list[str]]:
    """A paragraph's list items and headings, each with its own verdict."""
    block: list[str] = []
    for line in paragraph:
        after_heading = bool(block) and _HEADING.match(block[-1]) is not None
        if block and (after_heading or _NEW_BLOCK.match(line)):
            yield block
            block = []
        block.append(line)
    yield block


def _is_data(lines: Sequence[str]) -> bool:
    """Whether the lines, as they are hidden, are rows, settings or blocks of a script."""
    if sum(_KEY.match(line) is not None and not _SENTENCE_END.search(line) for line in lines) > 1:
        return True
    return any(_are_rows(*pair) or _opens_block(*pair) for pair in pairwise(lines))


def _are_rows(line: str, following: str) -> bool:
    commas = line.count(",")
    if commas and commas == following.count(",") and max(len(line), len(following)) < _SHORT_LINE:
        return True
    return _GAP.search(line) is not None and _GAP.search(following) is not None


def _opens_block(line: str, following: str) -> bool:
    return line.rstrip().endswith(":") and following.startswith(" ") and not _NEW_BLOCK.match(following)


def _is_prose(block: Sequence[str], hidden: Sequence[str]) -> bool:
    """Whether a block is one or more sentences without any sign of code.

    Args:
        block: Its lines.
        hidden: The same lines as `_hide` makes them.
    """
    text = "".join(block)
    if any(_CODE_SIGN.found_in(line) or not _is_words(line) for line in hidden):
        return False
    if _HEADING.match(text):
        return not _GAP.search(hidden[0])
    # Wrapped lines end anywhere, but the last one ends a sentence.
    ends = _SENTENCE_END.search(text) is not None
    if len(block) > 1 or ends:
        return ends and ("\t" not in text or len(block) == 1)
    return _SENTENCE_INSIDE.search(hidden[0]) is not None and not _GAP.search(hidden[0])


def _is_words(line: str) -> bool:
    """Whether a line begins like a sentence's part and consists of letters for the most part."""
    if not _PROSE_LINE.match(line):
        return False
    if len(_WIDE_GAP.findall(line)) > 1 and not _PUNCTUATION.search(line):
        return False
    characters = "".join(line.split())
    return 2 * len(_NOT_A_LETTER.findall(characters)) <= len(characters)


def _hide(line: str) -> str:
    return _HIDDEN.sub(lambda match: "x" * len(match.group()), line)


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
    odd = any(text.count(mark) % 2 for mark in f"{_SAME}`")
    # The marks that close a low one also open quotes, and are apostrophes.
    low = text.count("\u201a") > text.count("\u2018") + text.count("\u2019")
    return (
        odd
        or low
        or any(
            text.count(opening) != text.count(closing) or text.rfind(opening) > text.rfind(closing)
            for opening, closing in _PAIRS
        )
    )
