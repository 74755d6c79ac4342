"""A forecast from a user's own days: which sums the coming days would give if they were like the past ones.

Past days are drawn again at random (a bootstrap), from the same weekday once there are two weeks of them. No trend and
no growth factor is assumed; the width of the answer and its hit rate on the past say what it is worth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil
from random import Random
from typing import Literal, TypeAlias

Method: TypeAlias = Literal["resampled days", "resampled weekdays", "not enough data"]

_DRAWS = 1_000
_MIN_ACTIVE_DAYS = 3
_MIN_WEEKDAY_DAYS = 14
_BACKTEST_HISTORY = 7
_BACKTEST_DAYS = 5
_LOW, _MIDDLE, _HIGH = 0.1, 0.5, 0.9


@dataclass(frozen=True, slots=True)
class DayUsage:
    """One whole local day of the history."""

    day: date
    tokens: int
    cost_nano: int


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
        cost_nano: Their sum of cost in nano-dollars, of priced requests only; ``None`` without enough data.
        cost_by_model: ``cost_nano.p50`` by model, in the proportions of the real past cost.
        method: How the past was drawn.
        backtest_coverage: Share of past days whose tokens fell between the P10 and P90 that their own past gave, 0.8
            being the ideal; ``None`` with too few days to tell.
    """

    days: int
    tokens: Quantiles | None
    cost_nano: Quantiles | None
    cost_by_model: Mapping[str, int]
    method: Method
    backtest_coverage: float | None


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
    if sum(day.tokens > 0 for day in history) < _MIN_ACTIVE_DAYS:
        return Forecast(days, None, None, {}, "not enough data", None)
    tokens, costs = _drawn_sums(history, first, days, random)
    cost = _quantiles(costs)
    return Forecast(
        days=days,
        tokens=_quantiles(tokens),
        cost_nano=cost,
        cost_by_model=shared_out(cost.p50, model_costs),
        method="resampled weekdays" if len(history) >= _MIN_WEEKDAY_DAYS else "resampled days",
        backtest_coverage=_coverage(history),
    )


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


def _drawn_sums(history: Sequence[DayUsage], first: date, days: int, random: Random) -> tuple[list[int], list[int]]:
    """Sums of tokens and of cost over the coming days, one of each per draw."""
    weekdays = [(first + timedelta(days=offset)).weekday() for offset in range(days)]
    pools = [(_like(history, weekday), weekdays.count(weekday)) for weekday in sorted(set(weekdays))]
    draws = [[day for pool, times in pools for day in random.choices(pool, k=times)] for _ in range(_DRAWS)]
    return [sum(day.tokens for day in draw) for draw in draws], [sum(day.cost_nano for day in draw) for draw in draws]


def _like(history: Sequence[DayUsage], weekday: int) -> Sequence[DayUsage]:
    """The past days that a day of this weekday is drawn from."""
    if len(history) < _MIN_WEEKDAY_DAYS:
        return history
    return [day for day in history if day.day.weekday() == weekday]


def _coverage(history: Sequence[DayUsage]) -> float | None:
    """Walk forward through the past: how often a day's tokens lay within the P10 to P90 of the days before it."""
    tested = range(_BACKTEST_HISTORY, len(history))
    if len(tested) < _BACKTEST_DAYS:
        return None
    hits = 0
    for index in tested:
        expected = _quantiles([day.tokens for day in _like(history[:index], history[index].day.weekday())])
        hits += expected.p10 <= history[index].tokens <= expected.p90
    return hits / len(tested)


def _quantiles(values: Sequence[int]) -> Quantiles:
    """By the nearest rank, so that each is a value that was really drawn."""
    ordered = sorted(values)
    low, middle, high = (ordered[ceil(share * len(ordered)) - 1] for share in (_LOW, _MIDDLE, _HIGH))
    return Quantiles(low, middle, high)
