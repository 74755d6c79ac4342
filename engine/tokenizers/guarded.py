"""Tokenizers that others made: a failure never reaches whoever counts, and never happens twice.

A plug-in, a user's vocabulary file and an optional library are each a :class:`Source`. Whatever goes wrong in one is
noted there, logged once, and ends its use for this process; the next way counts, the text at hand included.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import cast

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.errors import InvalidInput
from tokenward.engine.steps import Stopped
from tokenward.engine.tokenizers.base import Method, Tokenizer, TokenizerOptions, warnings_of
from tokenward.engine.usage import MAX_TOKENS

_LOG = logging.getLogger(__name__)

MAX_COUNT = 1000 * MAX_TOKENS
"""No text has more tokens than this; a larger number breaks sums of 64 bits, and ratios of floating point."""

EXHAUSTED = (MemoryError, RecursionError)
"""What a single text, or a caller deep in its own calls, can bring about in a tokenizer with nothing wrong."""


class Source(ABC):
    """Where tokenizers come from that are not tokenward's own. Safe to share between threads.

    Args:
        label: What it is, in words that can stand in a log and in a warning.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._problem: str | None = None
        self._exhausted = False
        self._lock = threading.Lock()

    @property
    def problem(self) -> str | None:
        """Why it is not used, in half a sentence, or ``None`` while nothing is wrong."""
        return self._problem

    def fail(self, problem: str) -> None:
        """End its use in this process. Only the first failure is kept and logged."""
        with self._lock:
            if self._problem is not None:
                return
            self._problem = problem
        _LOG.warning("%s %s; others count in its place.", self.label, problem)

    def pass_over(self, exhaustion: BaseException) -> None:
        """Note that one text was too much for it, which does not end its use. Only the first one is logged."""
        with self._lock:
            if self._exhausted:
                return
            self._exhausted = True
        _LOG.warning("%s raised %s for a text; another counted it.", self.label, type(exhaustion).__name__)

    @abstractmethod
    def tokenizer(self, info: ModelInfo, options: TokenizerOptions) -> Tokenizer | None:
        """Its tokenizer of a model, or ``None`` where it has none, or is not used any more."""

    @abstractmethod
    def note(self, info: ModelInfo) -> str | None:
        """What whoever counts for a model is told while this source should serve it and cannot."""


class GuardedTokenizer:
    """A source's tokenizer until it fails, and for good the next way of counting from then on.

    A text that it has not the memory or the stack for is counted the next way too, and the source stays.

    ``method``, ``exact``, ``encoding`` and ``warnings`` are those of the one in force, so they are to be read after a
    count, not before, and in the thread that counted.

    Args:
        source: Where the tokenizer comes from.
        tokenizer: What counts while nothing is wrong.
        info: The model.
        following: Makes the next way of counting, at the first failure.
    """

    def __init__(
        self, source: Source, tokenizer: Tokenizer, info: ModelInfo, following: Callable[[], Tokenizer]
    ) -> None:
        self._source = source
        self._tokenizer = tokenizer
        self._info = info
        self._make_following = following
        self._following: Tokenizer | None = None
        self._latest = _Latest()
        self._lock = threading.Lock()

    @property
    def in_force(self) -> Tokenizer:
        """What counts now; after a text that was too much for the source, what counted it for this thread."""
        given_way = self._source.problem is not None or self._latest.exhausted
        return self._fallback() if given_way else self._tokenizer

    @property
    def method(self) -> Method:
        """How the one in force counts."""
        return self.in_force.method

    @property
    def exact(self) -> bool:
        """Whether the counts of the one in force are the true ones."""
        return self.in_force.exact

    @property
    def encoding(self) -> str:
        """The vocabulary of the one in force."""
        return self.in_force.encoding

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the counts of the one in force assume."""
        return warnings_of(self.in_force, self._info)

    def count(self, text: str) -> int:
        """The tokens of a text, by the one in force at the end.

        Raises:
            InvalidInput: The text is no string, which is no failure of the source.
        """
        self._latest.exhausted = False
        counted = self._checked(text, None)
        return self._fallback().count(text) if counted is None else counted[0]

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        """Between which counts the truth is to be expected, by the one in force.

        Raises:
            InvalidInput: The text is no string, or the tokens are no integer.
        """
        if self.exact:
            return tokens, tokens
        counted = None if self._latest.exhausted else self._checked(text, tokens)
        return self._widened(text, tokens) if counted is None else counted[1:]

    def _checked(self, text: str, known: int | None) -> tuple[int, int, int] | None:
        """The source's count, unless it is known, and its bounds; ``None`` if it is not in force at the end."""
        _refuse_wrong_types(text, known)
        if self._source.problem is not None:
            return None
        try:
            counted = checked_count(self._tokenizer, text, known)
        except BrokenContract as broken:
            self._source.fail(str(broken))
        except EXHAUSTED as exhaustion:
            self._latest.exhausted = True
            self._source.pass_over(exhaustion)
        except Stopped:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, the next way counts
            self._source.fail(failure(error))
        else:
            # Another thread may have ended its use while it counted.
            return counted if self._source.problem is None else None
        return None

    def _widened(self, text: str, tokens: int) -> tuple[int, int]:
        """The fallback's bounds, which hold whoever made ``tokens``: the tokenizer may have failed since."""
        fallback = self._fallback()
        lower, upper = fallback.bounds(text, fallback.count(text))
        return min(lower, tokens), max(upper, tokens)

    def _fallback(self) -> Tokenizer:
        with self._lock:
            if self._following is None:
                self._following = self._make_following()
            return self._following


class NotedTokenizer:
    """A tokenizer with more to tell: why it counts, and not who should.

    Args:
        tokenizer: What counts.
        sources: All that could have counted. They are asked at each reading, for any may fail later.
        info: The model.
    """

    def __init__(self, tokenizer: Tokenizer, sources: Sequence[Source], info: ModelInfo) -> None:
        self.count = tokenizer.count
        self.bounds = tokenizer.bounds
        self._tokenizer = tokenizer
        self._sources = sources
        self._info = info

    @property
    def method(self) -> Method:
        """The tokenizer's."""
        return self._tokenizer.method

    @property
    def exact(self) -> bool:
        """The tokenizer's."""
        return self._tokenizer.exact

    @property
    def encoding(self) -> str:
        """The tokenizer's."""
        return self._tokenizer.encoding

    @property
    def warnings(self) -> tuple[str, ...]:
        """The tokenizer's, and a note of each source that should count and cannot."""
        return (*warnings_of(self._tokenizer, self._info), *notes_of(self._sources, self._info))


def notes_of(sources: Sequence[Source], info: ModelInfo) -> tuple[str, ...]:
    """What whoever counts for a model is told now of sources that should serve it and cannot."""
    return tuple(note for source in sources if (note := source.note(info)))


def failure(error: BaseException, doing: str = "when counting") -> str:
    """What an exception says about its source: its type, and nothing of its text.

    A panic of Rust code, an exit, a closed generator and a cancellation are failures like any other. Nobody cancels a
    tokenizer: its code is synchronous, event loops cancel tasks where they wait, and only the tokenizer's own loops and
    futures can raise a cancellation here.

    Raises:
        KeyboardInterrupt: The exception itself, on the main thread, the only one that the user can interrupt.
    """
    if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        raise error
    if isinstance(error, SystemExit):
        return f"tried to end the program {doing}"
    return f"raised {type(error).__name__} {doing}"


class _Latest(threading.local):
    """Whether the latest text of a thread was too much for the source."""

    exhausted: bool = False


class BrokenContract(Exception):  # noqa: N818 - never leaves the tokenizers
    """What a source gave is not what a tokenizer gives; the text says why, in half a sentence."""


def checked_count(tokenizer: Tokenizer, text: str, known: int | None = None) -> tuple[int, int, int]:
    """A tokenizer's count of a text, unless it is known, and the bounds, all as the protocol has them.

    Raises:
        BrokenContract: They are not.
    """
    tokens = _integer(tokenizer.count(text)) if known is None else known
    lower, upper = _pair(tokenizer.bounds(text, tokens))
    if not lower <= tokens <= upper:
        raise BrokenContract("gave bounds that the count is not between")
    if tokenizer.exact and lower != upper:
        raise BrokenContract("says that it is exact, and gave bounds that differ")
    return tokens, lower, upper


def _refuse_wrong_types(text: object, tokens: object) -> None:
    """What types promise, callers break; a source must not pay for it."""
    if not isinstance(text, str):
        raise InvalidInput("text", f"expected a string, not {type(text).__name__}.")
    if tokens is not None and not isinstance(tokens, int):
        raise InvalidInput("tokens", f"expected an integer, not {type(tokens).__name__}.")


def _pair(value: object) -> tuple[int, int]:
    numbers = [_integer(one) for one in cast("tuple[object, ...]", value)] if isinstance(value, tuple) else []
    if len(numbers) != 2:
        raise BrokenContract("gave bounds that are no pair of integers")
    return numbers[0], numbers[1]


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BrokenContract(f"gave {type(value).__name__} where an integer belongs")
    if value < 0:
        raise BrokenContract("gave a negative number of tokens")
    if value > MAX_COUNT:
        raise BrokenContract("gave a number of tokens that no text has")
    return value
