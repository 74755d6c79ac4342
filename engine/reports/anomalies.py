"""Anomalies: a user's burn rate far above that user's own history.

A rate is tokens per hour or per day. It is compared with the same user's active hours or days (those with any usage)
of the :data:`HISTORY_DAYS` days before: their median, and how far the upper half scatters above it, as the median
absolute deviation of that half. Both hold although some of the history is itself unusual, and idle weekends change
neither. The scatter is of logarithms, since usage scatters by factors.

An hour or a day is far above the usual when it is all of these:

- more than :data:`DEVIATIONS` (robust) standard deviations above the median;
- more than :data:`LEAST_RATIO` times the median, so that somebody who always uses the same raises no alarm by a little;
- more than :data:`ACCUSTOMED_RATIO` times what was reached on :data:`ACCUSTOMED_DAYS` days of the history: a weekly
  batch job is known after three weeks, busy weekends are ordinary, and one or two earlier anomalies hide no new one.

The numbers were chosen by simulation (the tests repeat it): of users whose hours scatter by a standard deviation of 0.5
in the logarithm, hours at ten times the usual are found and less than one ordinary hour in a thousand raises an alarm.

With less than :data:`LEAST_DAYS` active days nothing is ever said. Hours and days are UTC.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import median
from typing import Literal, TypeAlias

from tokenward.engine.types import DAY_US, QUARTER_HOUR_US
from tokenward.engine.usage import UsageSum

AnomalySpan: TypeAlias = Literal["hour", "day"]

HISTORY_DAYS = 28
"""Four whole weeks: every day of the week counts alike."""

LEAST_DAYS = 7
"""Active days below which a history says nothing."""

LEAST_HOURS = 20
"""Active hours below which a history says nothing about hours."""

DEVIATIONS = 3.0
LEAST_RATIO = 4.0
ACCUSTOMED_DAYS = 3
ACCUSTOMED_RATIO = 1.5

_MAD_TO_DEVIATION = 1.4826  # of a normal distribution
_IN_SPAN: dict[AnomalySpan, int] = {"hour": 4, "day": 96}
_IN_DAY = 96


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A span of time in which a user used far more than usual.

    Attributes:
        span: ``hour`` or ``day``.
        start_us: Its start, microseconds UTC.
        end_us: Its end, outside it; of one that still runs, the moment of looking.
        used_tokens: What was used in it.
        usual_tokens: The median of the user's active hours or days before.
    """

    user: str
    span: AnomalySpan
    start_us: int
    end_us: int
    used_tokens: int
    usual_tokens: int

    @property
    def ratio(self) -> float:
        """How many times the usual it is."""
        return self.used_tokens / self.usual_tokens

    @property
    def warning(self) -> str:
        """For people: ``alice: 120,000 tokens within an hour, 12 times the usual 10,000``."""
        within = "an hour" if self.span == "hour" else "a day"
        return (
            f"{self.user}: {self.used_tokens:,} tokens within {within}, {self.ratio:.0f} times the usual "
            f"{self.usual_tokens:,}"
        )


@dataclass(frozen=True, slots=True)
class _Habit:
    """What is usual for a user per span, and above how many tokens it is an anomaly."""

    usual_tokens: int
    threshold_tokens: int


Quarters: TypeAlias = Mapping[int, int]
"""Quarter hour since the epoch → tokens of one user."""


def quarters_of(sums: Iterable[UsageSum]) -> dict[int, int]:
    """One user's tokens by quarter hour, from sums by ``quarter_hour``."""
    return {int(one.key): one.total_tokens for one in sums if one.total_tokens}


def history_start_us(start_us: int) -> int:
    """From when usage is needed to judge what is used from ``start_us`` on."""
    return max(0, (start_us // DAY_US - HISTORY_DAYS - 1) * DAY_US)


def running_anomalies(user: str, quarters: Quarters, now_us: int) -> tuple[Anomaly, ...]:
    """What is unusual about the hour and the day that end now.

    Args:
        user: Whose usage it is.
        quarters: From :func:`history_start_us` of now on.
        now_us: Now, microseconds UTC.
    """
    quarter = now_us // QUARTER_HOUR_US
    found: list[Anomaly] = []
    for span, length in _IN_SPAN.items():
        first = quarter - length + 1
        used = sum(quarters.get(one, 0) for one in range(first, quarter + 1))
        end = first // length
        history = range(end - HISTORY_DAYS * _IN_DAY // length, end)
        past = _Past(span)
        for index, amount in _summed(quarters, length).items():
            if index in history:
                past.add(index * length // _IN_DAY, amount)
        habit = past.habit()
        if habit and used > habit.threshold_tokens:
            found.append(Anomaly(user, span, first * QUARTER_HOUR_US, now_us, used, habit.usual_tokens))
    return tuple(found)


def past_anomalies(user: str, quarters: Quarters, start_us: int, end_us: int) -> tuple[Anomaly, ...]:
    """The unusual hours and days that begin in a period, in order of time, each judged by what was before its day.

    Args:
        user: Whose usage it is.
        quarters: From :func:`history_start_us` of the period's start on, up to its end.
        start_us: Start of the period, microseconds UTC.
        end_us: End of the period, outside it.
    """
    found: list[Anomaly] = []
    for span, length in _IN_SPAN.items():
        by_day: dict[int, list[tuple[int, int]]] = {}
        for index, used in sorted(_summed(quarters, length).items()):
            by_day.setdefault(index * length // _IN_DAY, []).append((index * length, used))
        past = _Past(span)
        for day, spans in by_day.items():
            past.forget_before(day - HISTORY_DAYS)
            habit = past.habit() if start_us < (day + 1) * DAY_US and day * DAY_US < end_us else None
            for first, used in spans:
                begin_us, until_us = first * QUARTER_HOUR_US, (first + length) * QUARTER_HOUR_US
                if habit and start_us <= begin_us < end_us and used > habit.threshold_tokens:
                    found.append(Anomaly(user, span, begin_us, min(until_us, end_us), used, habit.usual_tokens))
                past.add(day, used)
    return tuple(sorted(found, key=lambda one: (one.start_us, one.span)))


def _summed(quarters: Quarters, length: int) -> dict[int, int]:
    """The tokens of the active spans of so many quarter hours, by the span since the epoch."""
    sums: dict[int, int] = {}
    for quarter, tokens in quarters.items():
        if tokens:
            sums[quarter // length] = sums.get(quarter // length, 0) + tokens
    return sums


class _Past:
    """The active spans of a history that moves on: kept in order, so that no day has to sort them anew."""

    def __init__(self, span: AnomalySpan) -> None:
        self._least = LEAST_HOURS if span == "hour" else LEAST_DAYS
        self._by_day: dict[int, list[int]] = {}
        self._amounts: list[int] = []

    def add(self, day: int, tokens: int) -> None:
        """A span of a day; days come in their order where they are forgotten."""
        self._by_day.setdefault(day, []).append(tokens)
        insort(self._amounts, tokens)

    def forget_before(self, day: int) -> None:
        """Leave out what is of earlier days."""
        while self._by_day and (earliest := next(iter(self._by_day))) < day:
            for tokens in self._by_day.pop(earliest):
                del self._amounts[bisect_left(self._amounts, tokens)]

    def habit(self) -> _Habit | None:
        """What is usual; ``None`` after too little."""
        if len(self._by_day) < LEAST_DAYS or len(self._amounts) < self._least:
            return None
        peaks = sorted((max(amounts) for amounts in self._by_day.values()), reverse=True)
        usual, threshold = _threshold(self._amounts)
        return _Habit(usual, max(threshold, int(ACCUSTOMED_RATIO * peaks[ACCUSTOMED_DAYS - 1])))


def _threshold(amounts: Sequence[int]) -> tuple[int, int]:
    """The median of amounts in order, and the number of tokens that is far above it."""
    middle = median(amounts)
    upper = amounts[bisect_left(amounts, middle) :]
    # The logarithm keeps the order: the median is that of the middle one or two.
    in_middle = upper[(len(upper) - 1) // 2 : len(upper) // 2 + 1]
    deviation = _MAD_TO_DEVIATION * median(log(one / middle) for one in in_middle)
    # A scatter without bounds would overflow; nothing is that large.
    far = max(LEAST_RATIO, exp(min(DEVIATIONS * deviation, 100.0)))
    return max(1, round(middle)), int(middle * far)
