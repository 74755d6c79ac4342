r"""Claude's count in segments: a text is cut where nothing reaches across, and what each segment costs is remembered.

ctok normalises a text, splits it into runs of one class of characters, writes the runs as a stream with markers at the
borders of words, and covers the stream with as few vocabulary pieces as it can. A cut between two characters of the raw
text is exact if (1) normalisation does not join what stands at its sides, (2) the runs at its sides, with their
markers, come out the same whatever is beyond a neighbour that the segment itself tells, and (3) no piece reaches over
the place in the stream. Then a segment's cost is what it adds between two such neighbours, and costs add up.

**Classes.** *Letters* open a word: letters that NFC leaves as they are, and that are no second part of a composition.
*Word ends* are the letters, and vowel signs of combining class 0. *Bare* are ASCII digits, and ``FREE``. *Signs* are
punctuation and symbols without the quotes, *quotes* the three that may be apostrophes. *Blanks* are the newline, the
tab and the ideographic space; then there is the *space*. All other characters are *odd*: no cut beside them, other than
at a blank.

**(1)** NFC is local at starters that are no second part of a composition, and so is the composition of SARA AM: a cut
is never in front of anything else, nor beside a character that is stripped or turned into a space.

**(3)**, checked when a vocabulary is loaded: an ⟨eow⟩ only ends pieces; ⟨bow⟩ and the case markers only begin them;
whitespace pieces are of one character; pieces with ASCII digits are of nothing else; no piece joins a ``FREE``
character to anything. So a cut is exact after ⟨eow⟩, before ⟨bow⟩ or a case marker, between whitespace and anything
else, between a digit and anything but a digit, and beside ``FREE``.

**(2)**, cut by cut; a run's markers depend on the runs beside it only.

- *After a word end*, before anything but a letter or something odd: the word ends with ⟨eow⟩ whatever follows. To the
  right, the segment begins with a space (after ⟨eow⟩: this is its only cut) or with something that takes no ⟨bow⟩
  there, as no space is in front of it. What an apostrophe does depends on what follows it, and on the run in front of
  it having no ⟨eow⟩ of its own as punctuation does: letters, bare characters and blanks have none.
- *Before a letter*, after a bare character, sign, blank or space: the word begins with ⟨bow⟩, unless a mark (which is
  odd) or a lone apostrophe is in front of it. An apostrophe behind another ASCII sign is not alone; after it may be cut
  too. To the left, a space is dropped after an ⟨eow⟩: it stands before a ⟨bow⟩. Signs take no ⟨eow⟩ without a space.
- *Beside a bare character*, not between two digits: it has no markers. To the left of the cut, signs and quotes have no
  space behind them and no word, as before. A space behind it is not cut off, and the space in front of it only if there
  is no ⟨eow⟩ before that: after a bare character, a blank or another space, so that it is kept as before a letter.
- *Between a blank and anything but whitespace*: a blank is a whitespace run's end there, is kept, and makes no marker.
  Here, and only here, a segment may begin or end with something odd, and then it is counted beside a blank.

So a segment's own first and last character tell what stands beside it, as far as that matters: :meth:`_inside` and
:meth:`_before` put something of the kind there, and take its cost off again. The beginning and the end of the text are
counted as such.

Chunks may also end *between a space and a sign*: the sign has a ⟨bow⟩ there, before which a space is dropped or kept as
before a letter. The next chunk then gets a word and a space of its own in front.

**Simplifications before.** Characters that are stripped are left out in front of ASCII and at the end of the text,
where they keep no composition apart; the spaces that ctok turns into U+0020 are turned; both not for the first
character, which decides what becomes of the frame's own space. All digits become zeros: a run of digits costs one per
three. A run of more than 63 equal whitespace characters becomes two, for two are treated as any more are, and such a
run is covered alone; not the newlines at the end of the text, which the frame's newlines join.

What is remembered is at most ``MEMO_ENTRIES`` segments of at most ``SEGMENT_CHARACTERS`` characters: single words, runs
of signs and the like, with zeros for digits. They are in no order, and never leave the process.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import cache

from tokenward.engine.steps import advance, checkpoint
from tokenward.engine.tokenizers.claude_ctok import FREE, CtokParts

SEGMENT_CHARACTERS = 32
"""Longer segments are counted each time, and never kept."""

MEMO_ENTRIES = 1 << 16
"""When so many segments are kept, all are dropped; with the longest they would be 2 million characters."""

CHUNK_CHARACTERS = 1 << 15
"""A text is worked through in chunks that end at the first cut after so many characters."""

_SEARCH_CHARACTERS = 1 << 15

_STRIPPED = re.compile("[\x01-\x08\x0b-\x1f\x7f-\x9f\ue000-\uf8ff]++(?=[\x00\t\n -~]|\\Z)")
_LIKE_SPACE = re.compile("[\x00\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f]")
_LONG_RUN = re.compile(r"([ \n\t])\1{63,}+")
_ASCII_WORD = re.compile(r"[A-Za-z]+")
_UNMARKED = re.compile(f"[0-9]+|[{FREE}]")


class SegmentCounter:
    """Counts with ctok's parts, segment by segment. Safe to share between threads.

    Args:
        parts: What a segment is counted with when it is new.

    Attributes:
        memo: What is remembered, the costs by segment.
    """

    def __init__(self, parts: CtokParts) -> None:
        self._parts = parts
        self._rules = cut_rules()
        self.memo = _Memo(self._cost)
        self._letter_cost = parts.count("x")

    def count(self, text: str) -> int:
        """The tokens of a text as the content of a single user message, without the message's frame."""
        if not text:
            return 0
        total = start = 0
        while start < len(text):
            end = self._chunk_end(text, start + CHUNK_CHARACTERS)
            chunk = text[start:end]
            if start and text[start - 1] == " " and self._rules.sign.match(chunk):
                chunk = "x " + chunk
                total -= self._letter_cost
            total += self._count_chunk(chunk, first=not start, last=end == len(text))
            advance(end - start)
            start = end
        return total

    def _chunk_end(self, text: str, start: int) -> int:
        # A regular expression keeps other threads waiting, so it looks at so many characters at a time.
        for position in range(start - 1, len(text), _SEARCH_CHARACTERS):
            for end in self._rules.chunk_ends:
                found = end.search(text, position, position + _SEARCH_CHARACTERS + 1)
                if found:
                    return found.end()
        return len(text)

    def _count_chunk(self, chunk: str, *, first: bool, last: bool) -> int:
        total, chunk = self._simplified(chunk, first=first, last=last)
        segments: list[str] = self._rules.segment.findall(chunk)
        if last and not self._rules.plain.match(chunk, len(chunk) - 1):
            tail = segments.pop() if segments else ""
            if first and not segments:
                return total + self._parts.count(tail)
            total += self._inside(tail)
        if first and segments and not self._rules.letter.match(chunk):
            total += self._before(segments.pop(0), self._parts.count)
        return total + sum(map(self.memo.__getitem__, segments))

    def _simplified(self, chunk: str, *, first: bool, last: bool) -> tuple[int, str]:
        """A chunk with less to tell apart, and what the whole costs more than that."""
        head, rest = (chunk[0], chunk[1:]) if first else ("", chunk)
        simple = head + _LIKE_SPACE.sub(" ", _STRIPPED.sub("", rest))
        for digit in "123456789":  # far faster than `translate` where a text is not ASCII
            simple = simple.replace(digit, "0")
        saved = 0

        def shorten(run: re.Match[str]) -> str:
            nonlocal saved
            if last and run[1] == "\n" and run.end() == len(simple):
                return run[0]
            costs = self._parts.runs[run[1]]
            saved += costs.cost(len(run[0])) - costs.cost(2)
            return run[1] * 2

        shortened = _LONG_RUN.sub(shorten, simple)
        return saved, shortened

    def _cost(self, segment: str) -> int:
        if _ASCII_WORD.fullmatch(segment):
            return self._parts.count_ascii_word(segment)
        if _UNMARKED.fullmatch(segment):
            return self._parts.cover.cost(segment)
        return self._before(segment, self._inside)

    def _inside(self, segment: str) -> int:
        """A segment's cost behind what may stand in front of it."""
        if self._rules.letter.match(segment):
            return self._parts.count(segment)
        if self._rules.after_letter.match(segment):
            return self._parts.count("x" + segment) - self._letter_cost
        return self._parts.count("x\n" + segment) - self._letter_cost - 1

    def _before(self, segment: str, count: Callable[[str], int]) -> int:
        """A segment's cost in front of what may stand behind it."""
        end = len(segment) - 1
        if segment[end] == "0" or self._rules.space.match(segment, end):
            return count(segment + "x") - self._letter_cost
        if self._rules.plain.match(segment, end):
            return count(segment + "1") - 1
        return count(segment + "\nx") - self._letter_cost - 1


class CutRules:
    """The regular expressions of the rules above.

    Attributes:
        chunk_ends: Characters after which a chunk may end, the first of them fast to look for.
        segment: From one cut to another.
        letter: A character that opens a word.
        sign: A sign.
        plain: A character that is neither odd nor whitespace.
        after_letter: A character in front of which a text may be cut after a letter.
        space: A blank or a space.
    """

    def __init__(self) -> None:
        letters = _letters()
        ends = letters + "\u0902\u0903\u093e-\u094c"
        bare = "0-9" + FREE
        signs = (
            r"!-&(-/:-@\[-`{-~\xa1-\xa9\xab\xac\xae-\xb1\xb4\xb6-\xb8\xbb\xbf\xd7\xf7"
            r"\u2010-\u2017\u201c\u201d\u2020-\u2022\u2026"
        )
        quotes = r"'\u2018\u2019"
        blanks = r"\n\t\u3000"
        no_whitespace = r"[^\s\x00-\x1f\x7f-\x9f\ue000-\uf8ff]"
        cut = "|".join(
            (
                f"(?<=[{ends}])(?=[{bare}{signs}{quotes}{blanks} ])",
                rf"(?:(?<=[{bare}{signs}{blanks} ])|(?<=[!-/:-@\[-`{{-~]'))(?=[{letters}])",
                f"(?<=[{bare}])(?=[{FREE}{signs}{quotes}{blanks}])",
                f"(?:(?<=[{FREE}{signs}{quotes}{blanks}])|(?<=[{bare}{blanks} ] ))(?=[{bare}])",
                f"(?<={no_whitespace})(?=[{blanks}])",
                f"(?<=[{blanks}])(?={no_whitespace})",
            )
        )
        after_digits = f"(?=[{letters}{FREE}{signs}{quotes}{blanks}])"
        after_signs = rf"(?:(?=[{letters}])|(?<=[{signs}])(?=[{bare}{blanks}])|(?<=[{signs}] )[0-9]++{after_digits})"
        self.chunk_ends = (
            re.compile(
                rf"[{ends}{bare}{signs}\n](?:(?<=[{ends}])(?=[{bare}{signs}{quotes}{blanks} ])"
                rf"|(?<=\n)(?={no_whitespace})|(?<=[{bare}])(?=[{FREE}{signs}{quotes}{blanks}])"
                rf"|(?<=[{bare}{signs}])(?=[{letters}])|(?<=[{signs}])(?=[{bare}]))"
            ),
            re.compile(f" (?=[{signs}])"),
        )
        # The last alternative finds every segment; those before it find the usual ones faster, and end at cuts too.
        self.segment = re.compile(
            rf"[{letters}]++(?=[{bare}{signs}{quotes}{blanks} ])"
            rf"|[{signs} ]++{after_signs}"
            rf"|[{blanks} ]++(?:(?=[{letters}])|(?<=[{blanks}])(?={no_whitespace})|(?<= )[{signs} ]++{after_signs})"
            rf"|[0-9]++{after_digits}"
            rf"|[\s\S](?:(?!{cut})[\s\S])*+"
        )
        self.letter = re.compile(f"[{letters}]")
        self.sign = re.compile(f"[{signs}]")
        self.plain = re.compile(f"[{ends}{bare}{signs}{quotes}]")
        self.after_letter = re.compile(f"[{bare}{signs}{quotes}{blanks} ]")
        self.space = re.compile(f"[{blanks} ]")


@cache
def cut_rules() -> CutRules:
    """The rules, made at their first use."""
    return CutRules()


def _letters() -> str:
    """The letters of the alphabets and of kana, as the inside of a character class."""
    return "".join(
        letter
        for block in (range(0x41, 0x1100), range(0x1E00, 0x2000), range(0x3040, 0x3100))
        for letter in map(chr, block)
        if unicodedata.category(letter)[0] == "L" and unicodedata.is_normalized("NFC", letter)
    )


class _Memo(dict[str, int]):
    """Costs by segment, worked out when first asked for."""

    def __init__(self, cost: Callable[[str], int]) -> None:
        super().__init__()
        self._cost = cost

    def __missing__(self, segment: str) -> int:
        checkpoint()
        cost = self._cost(segment)
        if len(segment) <= SEGMENT_CHARACTERS:
            if len(self) >= MEMO_ENTRIES:
                self.clear()
            self[segment] = cost
        return cost
