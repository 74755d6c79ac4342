"""toktok-rs, the ``fast`` extra: a faster core for OpenAI's encodings, which counts only while it agrees with tiktoken.

At the first use of an encoding it has to give the counts in ``engine/data/fast_checks.json``. tiktoken made them, and a
test keeps them true, so tiktoken itself need not be loaded beside toktok. Where toktok differs, cannot be imported or
fails, tiktoken counts instead, and the log says so.

What a letter is depends on the version of Unicode that a library was built with. So texts with characters that were
added of late, the ``unsettled`` ones of that file, are counted by tiktoken always.
"""

import importlib
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Protocol

from tokenward.engine.datafiles import list_at, read_json
from tokenward.engine.errors import CorruptData
from tokenward.engine.tokenizers.encodings import load_encoding
from tokenward.engine.tokenizers.pieces import replace_lone_surrogates
from tokenward.engine.tokenizers.text import DIRECT_CHARACTERS, count_text, segments

_LOG = logging.getLogger(__name__)

_FILE = "fast_checks.json"

CHECKED_RANKS = {"cl100k_base": "cl100k_base", "o200k_base": "o200k_base", "o200k_harmony": "o200k_base"}
"""The encodings that toktok has, and whose counts it must give: harmony differs from o200k in special tokens only."""

# toktok would let two threads load the same encoding at once.
_LOADING = threading.Lock()


class Truncate(Protocol):
    """Of toktok's public functions the one that costs least for one text: ``batch_count`` brings its threads along."""

    def __call__(self, text: str, max_tokens: int, encoding: str) -> tuple[str, int]:
        """What is left of a text, and the number of all its tokens."""
        ...


def toktok_core(encoding: str) -> Callable[[str], int] | None:
    """Toktok's way to count a text by an encoding, loaded and checked at the first call, or ``None`` without one.

    It never raises on a string: lone surrogates count as U+FFFD, and what toktok fails at is counted by tiktoken.
    """
    if encoding not in CHECKED_RANKS:
        return None
    with _LOADING:
        return checked_core(encoding)


@cache
def checked_core(encoding: str) -> Callable[[str], int] | None:
    """What ``toktok_core`` gives, found out once for each encoding."""
    truncate = load_toktok()
    if truncate is None:
        return None
    ranks = CHECKED_RANKS[encoding]
    try:
        differing = sum(truncate(text, sys.maxsize, encoding)[1] != counts[ranks] for text, counts in checks())
    except BaseException as error:
        if not _is_failure(error):
            raise
        _log_failure(error, encoding)
        return None
    if differing:
        _LOG.warning("toktok counts %d known texts otherwise than %s does; tiktoken counts.", differing, encoding)
        return None
    return _Core(truncate, encoding).count


@cache
def load_toktok() -> Truncate | None:
    """Toktok's function, imported once, or ``None`` where it is not installed or cannot be imported."""
    try:
        truncate: Truncate = importlib.import_module("toktok").truncate
    except ModuleNotFoundError:
        return None
    except BaseException as error:
        if not _is_failure(error):
            raise
        _log_failure(error, "any encoding")
        return None
    return truncate


def checks() -> Iterator[tuple[str, dict[str, int]]]:
    """The texts of ``fast_checks.json``, with their counts by each of the ranks.

    A text is written out, repeated, or made of a range of code points with something after each.
    """
    unsettled = unsettled_characters()
    for check in list_at(read_json(_FILE), "checks"):
        match check:
            case {"text": str(text), "counts": dict(counts)}:
                made = text
            case {"repeated": str(text), "times": int(times), "counts": dict(counts)}:
                made = text * times
            case {"from": int(first), "to": int(last), "step": int(step), "after": str(after), "counts": dict(counts)}:
                made = "".join(chr(code) + after for code in range(first, last, step) if not unsettled.match(chr(code)))
            case _:
                raise CorruptData(_FILE)
        yield made, {ranks: count for ranks, count in counts.items() if isinstance(count, int)}


@cache
def unsettled_characters() -> re.Pattern[str]:
    """One of the characters that libraries with different versions of Unicode take for different things."""
    start, settled = 0, list[str]()
    for pair in list_at(read_json(_FILE), "unsettled"):
        match pair:
            case [str(first), str(last)]:
                settled.append(f"{_escape(start)}-{_escape(int(first, 16) - 1)}")
                start = int(last, 16) + 1
            case _:
                raise CorruptData(_FILE)
    settled.append(f"{_escape(start)}-{_escape(sys.maxunicode)}")
    # By what it is not, because a class is left at the first range that matches, and nearly all characters are settled.
    return re.compile(f"[^{''.join(settled)}]")


class _Core:
    """toktok's counts by one encoding."""

    def __init__(self, truncate: Truncate, encoding: str) -> None:
        self._truncate = truncate
        self._encoding = encoding
        self._unsettled = unsettled_characters()

    def count(self, text: str) -> int:
        """The exact count of any string."""
        try:
            if len(text) <= DIRECT_CHARACTERS:
                return self._direct(text)
            return sum(map(self._direct, segments(text)))
        except UnicodeEncodeError:
            return self.count(replace_lone_surrogates(text))
        except BaseException as error:
            if not _is_failure(error):
                raise
            _log_failure(error, self._encoding)
        return count_text(load_encoding(self._encoding), text)

    def _direct(self, text: str) -> int:
        # A long text that is not ASCII is not passed on whole: it would be copied first, and others would have to wait.
        if text.isascii() or (len(text) <= DIRECT_CHARACTERS and not self._unsettled.search(text)):
            return self._truncate(text, sys.maxsize, self._encoding)[1]
        return count_text(load_encoding(self._encoding), text)


def _escape(code: int) -> str:
    return f"\\U{code:08x}"


def _is_failure(error: BaseException) -> bool:
    """Whether toktok failed, and nobody means to end the program. A panic of its Rust code is a ``BaseException``."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _log_failure(error: BaseException, encoding: str) -> None:
    # The error's own words may hold some of the text.
    _LOG.warning("toktok fails for %s with %s; tiktoken counts.", encoding, type(error).__name__)
