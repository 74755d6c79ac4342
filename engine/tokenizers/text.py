"""Counting one text with one encoding: exact, in bounded memory, and for every string there is.

tiktoken splits a text into pieces by a regular expression and then merges bytes inside each piece. Two things make
that unsafe for texts of any size. A run of about a million whitespace characters exhausts the expression's stack, and
the library panics with an exception that ``except Exception`` does not catch. And merging one long piece needs about
46 bytes of memory for each of its bytes. So a long text is cut where no piece can reach across, and what cannot be cut
is counted piece by piece (``pieces.py``). Nothing here keeps other threads waiting: all work is done in small steps.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tokenward.engine.steps import advance, checkpoint
from tokenward.engine.tokenizers.pieces import count_by_pieces, count_direct, replace_lone_surrogates

if TYPE_CHECKING:
    import tiktoken

DIRECT_CHARACTERS = 500_000
"""What is given to tiktoken in one go: half the length of a whitespace run at which tiktoken 0.14 panics."""

CUT_CHARACTERS = 100_000
"""A long text is cut at the first safe place after this many characters."""

SEARCH_CHARACTERS = 50_000
"""A safe place is looked for in steps of this many: a search holds the interpreter, and a step takes about 2 ms."""

_LETTER = "A-Za-zÀ-ÖØ-öø-ʓΑ-ΡΣ-ώЀ-ҁҊ-ԯא-תء-يअ-हก-ะぁ-ゖァ-ヺ㐀-䶵一-龥가-힣𠀀-𪛖"
_SYMBOL = (
    r"!-&(-/:-@\[-`{-~¡-©«¬®-±´¶-¸»¿×÷‐-‧‰-⁞←-⏎─-❵、-〃〈-】〔-〟！-／：-＠［-｀｛-･"  # noqa: RUF001
    "\ue000-\uf8ff\U0001f300-\U0001f64f\U000f0000-\U000ffffd\U00100000-\U0010fffd"
)
_SPACE = "\t\x0b\x0c \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

SAFE_CUT = re.compile(rf"\S[{_SPACE}]|[{_LETTER}][0-9{_SYMBOL}\r\n]|[0-9][{_LETTER}{_SYMBOL}'\r\n]")
"""Two neighbours that no piece of any encoding holds together; the text may be cut between them.

Why it is safe, for all three expressions: pieces are found from left to right without looking behind, so what follows
a piece's end does not depend on what was before. No alternative takes white space other than a line end after a
character that is not white space; nor a symbol or line end after a letter, apart from the apostrophe and combining
marks, which are no symbols here; nor anything but digits after a digit. So a piece ends at the cut. And the expressions
look ahead only after whitespace, which the cut never follows, so no piece before the cut depends on what comes after.

The classes are ranges that every version of Unicode in use agrees on; letters and symbols that were added late are left
out, for tiktoken may not know them.
"""


def count_text(encoding: "tiktoken.Encoding", text: str, pattern: str | None = None) -> int:
    """The exact number of tokens of a text. Text that spells a special token counts as ordinary text.

    Lone surrogates count as U+FFFD, as tiktoken itself replaces them. Never raises on any string.

    Args:
        encoding: What to count with.
        text: Any string.
        pattern: The expression of an encoding that is none of OpenAI's. ``SAFE_CUT`` must hold for it.
    """
    if len(text) <= DIRECT_CHARACTERS:
        return count_direct(encoding, text, pattern)
    total = 0
    for start, end in _spans(text):
        if end - start <= DIRECT_CHARACTERS:
            total += count_direct(encoding, text[start:end], pattern)
        else:
            total += count_by_pieces(encoding, text, start, end, pattern)
        advance(end - start)
    return total


def segments(text: str) -> Iterator[str]:
    """The text in parts whose tokens add up to those of the whole, in every encoding.

    Lone surrogates are replaced. A part has at most ``DIRECT_CHARACTERS``, unless the text cannot be cut there: a
    longer one is for :func:`count_text`.
    """
    for start, end in _spans(text):
        yield replace_lone_surrogates(text[start:end])
        advance(end - start)


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where the parts of a text begin and end."""
    start = 0
    while start < len(text):
        end = _cut_behind(text, start + CUT_CHARACTERS)
        yield start, end
        start = end


def _cut_behind(text: str, position: int) -> int:
    """The first safe place behind a position, or the text's end. It never parts a surrogate pair."""
    while position < len(text):
        # The steps overlap by one character, or a pair could be missed.
        found = SAFE_CUT.search(text, position, position + SEARCH_CHARACTERS + 1)
        if found:
            return found.end() - 1
        position += SEARCH_CHARACTERS
        checkpoint()
    return len(text)
