"""Counting a long text in parts, with a tokenizer of which nothing is known but that it encodes.

Tokenizers from files need up to 500 bytes of memory for each character of a text, so a long one is cut. A cut is made
only between words, and only where the text around it gives the same tokens cut and uncut.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

from tokenward.engine.steps import advance, checkpoint

Encode: TypeAlias = Callable[[str], Sequence[int]]

PART_CHARACTERS = 100_000
"""A long text is cut at the first good place after this many characters."""

WINDOW_CHARACTERS = 200
"""How much text on either side of a cut is encoded to see whether the cut changes anything."""

_ATTEMPTS = 10
"""How many places in a row are tried before a stretch is passed over: what is alike fails alike."""

_STRETCHES = 10
"""How many such stretches there are in a part; so trying costs about as much as encoding, however long the text."""

_LETTER = r"[^\W_]"
_WORDS = rf"(?<={_LETTER})(?: (?={_LETTER})|(?=\n))"
_MARKED = rf"(?<={_LETTER}[^\x00-\x7f\s])(?: (?={_LETTER})|(?=\n))"
_CHINESE = "(?<=[\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff])(?=[\u3001\u3002\uff0c\n])"
_PLACE = re.compile(f"{_WORDS}|{_MARKED}|{_CHINESE}")
"""Before a space between two words of any script, before the end of a line, and before Chinese punctuation.

A word of Devanagari or of some other scripts may end in a mark, which is no letter to ``re``."""


def count_in_parts(encode: Encode, text: str, part_characters: int = PART_CHARACTERS) -> int:
    """The number of tokens of a text; what has no good place for a cut is encoded in one go.

    Args:
        encode: A text's tokens, without any that the text does not hold.
        text: What to count, without lone surrogates.
        part_characters: The least length of a part.
    """
    total = start = 0
    while len(text) - start > part_characters:
        cut = _cut(encode, text, start + part_characters, part_characters // _STRETCHES)
        if cut is None:
            break
        end, following = cut
        total += len(encode(text[start:end]))
        advance(following - start)
        start = following
    return total + len(encode(text[start:]))


def _cut(encode: Encode, text: str, earliest: int, stretch: int) -> tuple[int, int] | None:
    """Where a part ends and where the next begins."""
    for place in _places(text, earliest, stretch):
        checkpoint()
        end = place.start()
        before, after = text[max(0, end - WINDOW_CHARACTERS) : end], text[end : end + WINDOW_CHARACTERS]
        whole = list(encode(before + after))
        left = list(encode(before))
        # Some tokenizers put a space before every text; it stands for the one that is left out.
        for skipped in range(place.end() - end + 1):
            if left + list(encode(after[skipped:])) == whole:
                return end, end + skipped
    return None


def _places(text: str, start: int, stretch: int) -> Iterator[re.Match[str]]:
    """Some places in every stretch from ``start`` on."""
    found = True
    while found:
        found, following = False, start + stretch
        for place in islice(_PLACE.finditer(text, start), _ATTEMPTS):
            found, following = True, max(following, place.end() + 1)
            yield place
        start = following
