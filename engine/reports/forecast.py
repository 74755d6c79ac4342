"""A forecast from a user's own days: which sums the coming days would give if they were like the past ones.

Past days are drawn again at random (a bootstrap), from the same weekday once there are two weeks of them. No trend and
no growth factor is assumed; the width of the answer and its hit rate on the past say what it is worth.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil
from random import Random
from typing import Literal, TypeAlias, TypeVar

from tokenward.engine.limits import Metric
from tokenward.engine.steps import checkpoint
from tokenward.engine.usage import UsageSum

Method: TypeAlias = Literal["resampled days", "resampled weekdays", "not enough data"]

_DRAWS = 1_000
_MIN_ACTIVE_DAYS = 3
_MIN_WEEKDAY_DAYS = 14
_BACKTEST_HISTORY = 7
_BACKTEST_DAYS = 5
_LOW, _MIDDLE, _HIGH = 0.1, 0.5, 0.9
_WEEK = 7
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class DayUsage:
    """One whole local day of the history."""

    day: date
    tokens: int
    cost_nano: int
    requests: int = 0
    unpriced_requests: int = 0

    def of(self, metric: Metric) -> int:
        """The amount in the metric's unit."""
        if metric == "tokens":
            return self.tokens
        return self.requests if metric == "requests" else self.cost_nano


def day_usage(one: UsageSum) -> DayUsage:
    """A day of the history from its sum, whose key is its date."""
    return DayUsage(date.fromisoformat(one.key), one.total_tokens, one.cost_nano, one.requests, one.unpriced_requests)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """One chance in ten below ``p10``, even chances around ``p50``, one in ten above ``p90``."""

    p10: int
    p50: int
    p90: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the coming days together may use.

    Attributes:
        days: How many whole local days, from the one after the report's last.
        tokens: Their sum of tokens; ``None`` without enough data.
        cost_nano: Their sum of cost in nano-dollars, of priced requests only; ``None`` without enough data, and where
            no request of the past has a price.
        cost_by_model: ``cost_nano.p50`` by model, in the proportions of the real past cost.
        method: How the past was drawn.
        backtest_coverage: Share of past days whose tokens fell between the P10 and P90 that their own past gave, 0.8
            being the ideal; ``None`` with too few days to tell.
        unpriced_requests: Requests of the past days whose cost is in no sum.
    """

    days: int
    tokens: Quantiles | None
    cost_nano: Quantiles | None
    cost_by_model: Mapping[str, int]
    method: Method
    backtest_coverage: float | None
    unpriced_requests: int = 0


@dataclass(frozen=True, slots=True)
class Futures:
    """Possible futures: for each, which day of the history each coming day is like.

    Attributes:
        draws: For each future and each coming day, an index into the history.
    """

    draws: Sequence[Sequence[int]]

    def sums(self, series: Sequence[int]) -> Quantiles:
        """What the coming days together sum to, given what each day of the history had."""
        return quantiles([sum(series[index] for index in draw) for draw in self.draws])

    def without_first(self) -> "Futures":
        """The same futures from the second day on."""
        return Futures([draw[1:] for draw in self.draws])


def not_enough(days: int) -> Forecast:
    """The answer to a history of too few days."""
    return Forecast(days, None, None, {}, "not enough data", None)


def enough(history: Sequence[DayUsage]) -> bool:
    """Whether there are three days with usage: with fewer, nothing is forecast."""
    return sum(day.tokens > 0 for day in history) >= _MIN_ACTIVE_DAYS


def forecast(
    history: Sequence[DayUsage], *, first: date, days: int, model_costs: Mapping[str, int], random: Random
) -> Forecast:
    """Forecast the sums of coming days.

    Args:
        history: The past days in order, without gaps, starting with a day of usage.
        first: The first of the coming days.
        days: How many.
        model_costs: Past cost in nano-dollars by model.
        random: Draws the days; the same state gives the same forecast.
    """
    if not enough(history):
        return not_enough(days)
    return forecast_of(history, futures(history, first=first, days=days, random=random), model_costs)


def forecast_of(history: Sequence[DayUsage], coming: Futures, model_costs: Mapping[str, int]) -> Forecast:
    """The forecast that certain futures give."""
    cost = coming.sums([day.cost_nano for day in history]) if any_price(history) else None
    return Forecast(
        days=len(coming.draws[0]),
        tokens=coming.sums([day.tokens for day in history]),
        cost_nano=cost,
        cost_by_model={} if cost is None else shared_out(cost.p50, model_costs),
        method="resampled weekdays" if len(history) >= _MIN_WEEKDAY_DAYS else "resampled days",
        backtest_coverage=coverage(history, [day.tokens for day in history]),
        unpriced_requests=sum(day.unpriced_requests for day in history),
    )


def any_price(history: Sequence[DayUsage]) -> bool:
    """Whether the history's cost says anything: not where every request is without a price."""
    unpriced = sum(day.unpriced_requests for day in history)
    return not unpriced or unpriced < sum(day.requests for day in history)


def futures(history: Sequence[DayUsage], *, first: date, days: int, random: Random) -> Futures:
    """A thousand futures, each day drawn from the past days that are like it.

    Args:
        history: The past days in order, without gaps, at least one.
        first: The first of the coming days.
        days: How many.
        random: Draws the days.
    """
    weekdays = [(first + timedelta(days=offset)).weekday() for offset in range(min(days, _WEEK))]
    pools = [_alike(history, range(len(history)), weekday) for weekday in weekdays]
    draws = [[0] * days for _ in range(_DRAWS)]
    for draw in draws:
        checkpoint()
        for offset, pool in enumerate(pools):
            draw[offset::_WEEK] = random.choices(pool, k=len(range(offset, days, _WEEK)))
    return Futures(draws)


def _alike(history: Sequence[DayUsage], values: Sequence[_Value], weekday: int) -> Sequence[_Value]:
    """Of one value for each past day, those that a day of this weekday is drawn from."""
    if len(history) < _MIN_WEEKDAY_DAYS:
        return values
    return [value for day, value in zip(history, values, strict=True) if day.day.weekday() == weekday]


def shared_out(total: int, weights: Mapping[str, int]) -> dict[str, int]:
    """An amount in the proportions of the weights, in whole units that add up to it (largest remainders)."""
    whole = sum(weights.values())
    if not whole:
        return {}
    shares = {key: total * weight // whole for key, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda key: (-(total * weights[key] % whole), key))
    for key in by_remainder[: total - sum(shares.values())]:
        shares[key] += 1
    return shares


def coverage(history: Sequence[DayUsage], series: Sequence[int]) -> float | None:
    """Walk forward through the past: how often a day's value lay within the P10 to P90 of the days before it.

    Args:
        history: The past days in order, without gaps.
        series: The value of each.

    Returns:
        A share of the days tested, 0.8 being the ideal; ``None`` with fewer than five to test.
    """
    tested = range(_BACKTEST_HISTORY, len(history))
    if len(tested) < _BACKTEST_DAYS:
        return None
    hits = 0
    for index in tested:
        checkpoint()
        expected = quantiles(_alike(history[:index], series[:index], history[index].day.weekday()))
        hits += expected.p10 <= series[index] <= expected.p90
    return hits / len(tested)


def quantiles(values: Iterable[int]) -> Quantiles:
    """By the nearest rank, so that each is a value that was really drawn."""
    return Quantiles(*ranked(values))


def ranked(values: Iterable[int]) -> tuple[int, int, int]:
    """The values at P10, P50 and P90."""
    ordered = sorted(values)
    low, middle, high = (ordered[ceil(share * len(ordered)) - 1] for share in (_LOW, _MIDDLE, _HIGH))
    return low, middle, high
