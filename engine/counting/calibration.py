"""Calibration: what recorded usage teaches about a model's estimates.

Each request that was counted and whose real usage was recorded is a sample: real input tokens per token of the
*uncalibrated* count. The median of a model's last samples moves its estimates; their outer quantiles narrow its bounds.

Why learning from adjusted counts cannot feed on itself:

- A sample is taken against the uncalibrated count: what this process's latest counts of the model were really adjusted
  by is divided out again. That is not what would be applied now, and no more than the texts' bounds let through; counts
  that were made before anything was known are divided by nothing.
- Each text's own bounds hold whatever was learned. So what is divided out lies between these bounds too, and a request
  that was counted elsewhere, unadjusted, is off by no more than that.
- The median does not heed a minority of wrong samples.
"""

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from tokenward.engine.tokenizers.base import Method

if TYPE_CHECKING:
    from tokenward.engine.catalog import ModelInfo
    from tokenward.engine.counting.counter import TextCounter

MIN_SAMPLES = 20
"""Fewer change nothing: from 19 on the smallest and the largest ratio bound 90 % of the next requests."""

WINDOW = 200
"""The latest samples of a model are learned from, so that a new tokenizer of the provider is followed."""

SMALLEST_TOKENS = 50
"""Of a smaller request the provider's own overhead is most: it says nothing about text."""

LOWEST_RATIO, HIGHEST_RATIO = 0.25, 4.0
"""Outside of these the count was another request's."""

MAX_MODELS = 256
"""Models whose samples are remembered; callers choose the names, so it has a limit."""

_SLACK_TOKENS = 2
"""How far a single text's count may be off besides: short texts vary more than requests."""

_TAILS = 20
"""One in so many samples may lie below the lower quantile, and one above the upper."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A request that was counted, and what the provider then said.

    Attributes:
        counted_as: The model and the way it was counted, from :func:`counted_as`.
        counted_tokens: The uncalibrated count.
        input_tokens: The provider's number.
    """

    counted_as: str
    counted_tokens: int
    input_tokens: int

    @property
    def ratio(self) -> float:
        """Real tokens per counted one."""
        return self.input_tokens / self.counted_tokens

    @property
    def large(self) -> bool:
        """Whether the request was large enough to tell anything."""
        return self.counted_tokens >= SMALLEST_TOKENS

    @property
    def plausible(self) -> bool:
        """Whether the count can have been this request's."""
        return self.large and LOWEST_RATIO <= self.ratio <= HIGHEST_RATIO


@dataclass(frozen=True, slots=True)
class Learned:
    """What a model's samples say.

    Attributes:
        samples: How many there are.
        ratio: The median of real tokens per counted one.
        low: At most one request in twenty is to be expected below.
        high: At most one request in twenty is to be expected above.
    """

    samples: int
    ratio: float
    low: float
    high: float

    @property
    def enough(self) -> bool:
        """Whether estimates are adjusted by it."""
        return self.samples >= MIN_SAMPLES


@dataclass(frozen=True, slots=True)
class Correction:
    """What adjusts one model's counts. It stays as it is while new samples come in.

    Attributes:
        learned: By what.
        note: Told every uncalibrated count, and what it became.
    """

    learned: Learned
    note: Callable[[int, int], None]

    @property
    def warning(self) -> str:
        """What a result says about it."""
        return f"calibrated on {self.learned.samples} recorded requests"

    def adjusted(self, tokens: int, lower: int, upper: int) -> tuple[int, int, int]:
        """A text's uncalibrated count and its bounds to the adjusted ones, which lie between the same bounds.

        Where what was learned contradicts the bounds, the count goes as far as they do, and they stay as wide as they
        are.
        """
        learned = self.learned
        aimed = round(tokens * learned.ratio)
        moved = min(max(aimed, lower), upper)
        self.note(tokens, moved)
        if moved != aimed:
            return moved, lower, upper
        low = math.floor(tokens * learned.low) - _SLACK_TOKENS
        high = math.ceil(tokens * learned.high) + _SLACK_TOKENS
        return moved, max(lower, low), min(upper, high)


class Calibration:
    """The latest samples of every model, and what they teach. Safe to share between threads; one per process.

    It knows nothing until samples are added: those that the ledger remembers, then those that are recorded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: OrderedDict[str, deque[float]] = OrderedDict()
        self._learned: dict[str, Learned] = {}
        self._given: dict[str, tuple[float, float]] = {}

    def add(self, samples: Iterable[Sample]) -> None:
        """Learn from samples, the oldest first. Those that say nothing are passed over."""
        with self._lock:
            touched = {one.counted_as for one in samples if self._keep(one)}
            for name in touched & self._samples.keys():
                self._learned[name] = _learned(self._samples[name])
                # The counts since the last sample are most likely the next one's.
                tokens, moved = self._given.get(name, (0.0, 0.0))
                self._given[name] = tokens / 2, moved / 2

    def _keep(self, sample: Sample) -> bool:
        if not sample.plausible:
            return False
        name = sample.counted_as
        self._samples.setdefault(name, deque(maxlen=WINDOW)).append(sample.ratio)
        self._samples.move_to_end(name)
        if len(self._samples) > MAX_MODELS:
            oldest, _ = self._samples.popitem(last=False)
            self._learned.pop(oldest, None)
            self._given.pop(oldest, None)
        return True

    def _note(self, name: str, tokens: int, moved: int) -> None:
        """Add an uncalibrated count, and what it became, to those of late."""
        with self._lock:
            before, after = self._given.get(name, (0.0, 0.0))
            self._given[name] = before + tokens, after + moved

    def learned(self, model: str, method: Method) -> Learned | None:
        """What is known of a model that is counted by a method; ``None`` without a sample.

        Args:
            model: The bare name, a counter's ``info.name``.
            method: A counter's ``method``.
        """
        return self._learned.get(_counted_as(method, model))

    def sample(self, counter: "TextCounter", counted_tokens: int, input_tokens: int) -> Sample:
        """The sample of a request, with what its count was adjusted by divided out.

        Args:
            counter: The model's, adjusted or not.
            counted_tokens: What this process had counted the request as.
            input_tokens: The provider's number.
        """
        name = counted_as(counter)
        before, after = self._given.get(name, (0.0, 0.0))
        return Sample(name, round(counted_tokens * before / after) if after else counted_tokens, input_tokens)

    def correction(self, counter: "TextCounter") -> Correction | None:
        """What adjusts the counts of an unadjusted counter; ``None`` where it is exact or too little is known."""
        if counter.exact:
            return None
        name = counted_as(counter)
        learned = self._learned.get(name)
        if learned is None or not learned.enough:
            return None
        return Correction(learned, partial(self._note, name))

    def applied(self, counter: "TextCounter") -> "TextCounter":
        """An unadjusted counter itself, or one whose counts and bounds are adjusted by what is known now.

        A result's ``warnings`` say so through the counter's ``info``; ``method`` stays what it is.
        """
        correction = self.correction(counter)
        return counter if correction is None else _Calibrated(counter, correction)


class _Calibrated:
    """A text counter with a correction."""

    def __init__(self, counter: "TextCounter", correction: Correction) -> None:
        info = counter.info
        self.info: ModelInfo = replace(info, warnings=(*info.warnings, correction.warning))
        self.method: Method = counter.method
        self.exact = False
        self._counter = counter
        self._correction = correction

    @property
    def inline_characters(self) -> int:
        """How many characters an event loop may count itself."""
        return self._counter.inline_characters

    def count(self, text: str) -> int:
        """The adjusted count."""
        return self._adjusted(text)[0]

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        """Between which counts the truth is to be expected."""
        del tokens
        _, lower, upper = self._adjusted(text)
        return lower, upper

    def _adjusted(self, text: str) -> tuple[int, int, int]:
        # The adjusted count does not tell the uncalibrated one; that comes from the counter's cache.
        tokens = self._counter.count(text)
        return self._correction.adjusted(tokens, *self._counter.bounds(text, tokens))


def counted_as(counter: "TextCounter") -> str:
    """What samples are kept under: counts of a model by two methods say nothing about each other."""
    return _counted_as(counter.method, counter.info.name)


def _counted_as(method: Method, model: str) -> str:
    return f"{method} {model}"


def _learned(ratios: Iterable[float]) -> Learned:
    """The median, and between which ratios the next one lies nine times in ten.

    Whatever the distribution, with n samples it falls below the k-th smallest with a probability of k / (n + 1).
    """
    ordered = sorted(ratios)
    rank = max(1, (len(ordered) + 1) // _TAILS)
    return Learned(len(ordered), median(ordered), ordered[rank - 1], ordered[-rank])
