"""Where the sentences of prose end: sentencex's rules for several languages at once.

Nobody says which language a text is written in, and an abbreviation of one language ends a sentence in another. So a
sentence ends where sentencex says so in every one of the languages: two sentences taken for one are no harm, half a
sentence left out is.
"""

import importlib
import re
from functools import cache
from typing import Final, Protocol

from tokenward.engine.steps import checkpoint

_LANGUAGES: Final = ("en", "de", "es", "fr", "ru")
"""Each with abbreviations of its own, and all with the full stops of Chinese, Japanese, Hindi and Arabic."""

_WINDOW: Final = 8_000
"""Characters that sentencex sees at once. Some of its rules take quadratic time on a text made for it."""

TERMINATORS: Final = ".!?…\u3002\uff01\uff1f\uff61\u0964\u0965\u061f\u06d4\u0589\u1362\u104b"
"""What ends a sentence: Latin, Chinese and Japanese, Hindi, Arabic and Urdu, Armenian, Amharic, Burmese."""

# Quotes are dealt with before; those that are left are odd ones, in which sentencex would look for sentences for long.
_UNSEEN: Final = re.compile("[\ud800-\udfff\"'`\u00ab\u00bb\u2018-\u201f\u2039\u203a\u300a-\u300f]")
_EMPHASIS: Final = re.compile(r"(?<![.!?…])([.!?…]++)([*_]++)(?=\s)")
_ENDED: Final = re.compile(rf"[{TERMINATORS}][)\]}}*_]*+\s*\Z")
_LOOK_BACK: Final = 32
_WIDE: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
# Behind a full stop of their own, Chinese and Japanese need no space; a Latin "!" or "?" is one between their letters.
_ENDED_WITHOUT_SPACE: Final = re.compile(
    rf"[\u3002\uff01\uff1f\uff61][)\]}}*_\u3009\u300b\u300d\u300f\u3011\uff09]*+\Z|(?<=[{_WIDE}])[!?]++\Z"
)
_WIDE_LETTER: Final = re.compile(f"[{_WIDE}]")


class Segment(Protocol):
    """Sentencex's function: the sentences of a text, which joined are the text."""

    def __call__(self, language: str, text: str, /) -> list[str]:
        """Split a text."""
        ...


def sentence_ends(text: str) -> list[int]:
    """Positions between the sentences of a paragraph, ascending; white space belongs to the sentence before it.

    Args:
        text: One paragraph, list item or heading, without its marker; what must not be cut is hidden in it.
    """
    seen = _UNSEEN.sub("x", _EMPHASIS.sub(r"\2\1", text))
    ends: list[int] = []
    start = 0
    while start < len(seen):
        window = seen[start : _window_end(seen, start)]
        ends += [start + end for end in _agreed(window)]
        start += len(window)
    return [end for end in ends if _is_end(text, end)]


def _is_end(text: str, end: int) -> bool:
    """Whether a sentence can end here: never inside a word, a path or a name such as ``ASP.NET``."""
    start = max(0, end - _LOOK_BACK)
    if text[end - 1].isspace():
        return _ENDED.search(text, start, end) is not None
    found = _ENDED_WITHOUT_SPACE.search(text, start, end)
    return found is not None and (found.group()[0] not in "!?" or _WIDE_LETTER.match(text, end) is not None)


def _window_end(text: str, start: int) -> int:
    """Behind the last white space that is near enough; a text without any is cut anywhere."""
    end = start + _WINDOW
    if end >= len(text):
        return len(text)
    return max(text.rfind(" ", start, end), text.rfind("\n", start, end)) + 1 or end


def _agreed(text: str) -> list[int]:
    """The ends inside a text that all languages agree on."""
    ends = _ends("en", text)
    for language in _LANGUAGES[1:]:
        if not ends:
            break
        ends &= _ends(language, text)
    return sorted(ends)


def _ends(language: str, text: str) -> set[int]:
    checkpoint()
    try:
        sentences = _segment()(language, text)
    except BaseException as error:
        # A panic of Rust code is a BaseException, of a class that cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        return set()
    ends: set[int] = set()
    end = 0
    for sentence in sentences:
        end += len(sentence)
        ends.add(end)
    # Runs of line ends it does not always give back; then its positions mean nothing.
    return ends - {len(text)} if end == len(text) else set()


@cache
def _segment() -> Segment:
    segment: Segment = importlib.import_module("sentencex").segment
    return segment
