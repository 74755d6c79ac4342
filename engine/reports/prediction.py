"""Predictions of cost: what the coming days may cost, on other models too, and the day on which a budget runs out.

All answers come from the same thousand futures (:mod:`tokenward.engine.reports.forecast`), in which each coming day is
one of the user's own past days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from zoneinfo import ZoneInfo

from tokenward.engine.errors import InvalidInput, UnknownPrice, in_range
from tokenward.engine.limits import MAX_LIMIT, Metric, check_name
from tokenward.engine.quota import LimitStatus
from tokenward.engine.reports.forecast import (
    DayUsage,
    Forecast,
    Futures,
    Quantiles,
    any_price,
    coverage,
    day_usage,
    enough,
    forecast_of,
    futures,
    not_enough,
)
from tokenward.engine.reports.local_days import grouped, midnight_us, whole_days
from tokenward.engine.reports.run_out import Budget, DayClock, RunOut, budget_of, run_out
from tokenward.engine.reports.sum_prices import SumPrices
from tokenward.engine.times import local
from tokenward.engine.usage import UsageSum, summed
from tokenward.engine.zones import time_zone

MAX_FORECAST_DAYS = 366
MAX_HISTORY_DAYS = 400
MAX_OTHER_MODELS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRequest:
    """What to predict.

    Attributes:
        days: So many whole days from tomorrow on, 1 to 366; dates are looked for from today to the last of them.
        user: Whose usage; everybody's if not given.
        history_days: How many whole days of the past to draw from, 3 to 400.
        timezone: IANA name of the zone whose days are meant.
        models: Other models to price the same work on, 20 at most.
        tokens_left: A budget of tokens from now on: when does it run out?
        cost_left_nano: A budget of nano-dollars from now on.

    Raises:
        InvalidInput: An unknown zone, or a value out of its range.
    """

    days: int = 30
    user: str | None = None
    history_days: int = 84
    timezone: str = "UTC"
    models: Sequence[str] = ()
    tokens_left: int | None = None
    cost_left_nano: int | None = None

    def __post_init__(self) -> None:
        in_range("days", self.days, 1, MAX_FORECAST_DAYS)
        in_range("history_days", self.history_days, 3, MAX_HISTORY_DAYS)
        for field, left in (("tokens_left", self.tokens_left), ("cost_left_nano", self.cost_left_nano)):
            if left is not None:
                in_range(field, left, 0, MAX_LIMIT)
        if isinstance(self.models, str) or len(self.models) > MAX_OTHER_MODELS:
            raise InvalidInput("models", f"give a list of at most {MAX_OTHER_MODELS} names.")
        if self.user is not None:
            check_name("user", self.user)
        time_zone(self.timezone)

    def period_us(self, now_us: int) -> tuple[int, int]:
        """Start and end of the history: whole local days, and today up to now."""
        zone = time_zone(self.timezone)
        first = local(now_us, zone).date() - timedelta(days=self.history_days)
        return max(midnight_us(first, zone), 0), now_us


@dataclass(frozen=True, slots=True)
class OtherModel:
    """The same work on another model.

    Attributes:
        cost_nano: Nano-dollars for the predicted days; ``None`` without enough data or without a price.
        history_nano: What the history's whole days would have cost on it; ``None`` without a price.
        problem: Why there is none.
    """

    model: str
    cost_nano: Quantiles | None
    history_nano: int | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CostPrediction:
    """What the coming days may cost.

    Attributes:
        forecast: The days together, and the coverage of the back-test on tokens.
        cost_backtest_coverage: The same share for cost; ``None`` with too few days to tell.
        other_models: The same work on other models.
        run_outs: When each budget is used up.
        notes: What the numbers rest on.
    """

    forecast: Forecast
    cost_backtest_coverage: float | None
    other_models: tuple[OtherModel, ...]
    run_outs: tuple[RunOut, ...]
    notes: tuple[str, ...]


def predict(
    request: PredictionRequest,
    quarters: Sequence[UsageSum],
    models: Sequence[UsageSum],
    *,
    now_us: int,
    limits: Sequence[LimitStatus],
    prices: SumPrices,
    random: Random,
) -> CostPrediction:
    """The prediction.

    Args:
        request: What to predict.
        quarters: Sums by quarter hour over the request's period up to now.
        models: Sums by model over the same.
        now_us: Now, in microseconds UTC.
        limits: How the limits stand whose end is to be told.
        prices: The prices of now.
        random: Draws the days; the same state gives the same prediction.
    """
    zone = time_zone(request.timezone)
    start_us, _ = request.period_us(now_us)
    days = whole_days(start_us, now_us, quarters, zone)
    history = [day_usage(day) for day in days]
    clock = _clock(now_us, request.days, quarters, zone)
    coming = futures(history, first=clock.today, days=request.days + 1, random=random) if enough(history) else None
    later = None if coming is None else coming.without_first()
    costs = {one.key: one.cost_nano for one in models if one.cost_nano}
    return CostPrediction(
        forecast=not_enough(request.days) if later is None else forecast_of(history, later, costs),
        cost_backtest_coverage=None if later is None else _cost_coverage(history),
        other_models=tuple(_other_model(model, days, later, prices) for model in request.models),
        run_outs=_run_outs(request, limits, history, coming, clock),
        notes=_notes(request, days),
    )


def _cost_coverage(history: Sequence[DayUsage]) -> float | None:
    return coverage(history, [day.cost_nano for day in history]) if any_price(history) else None


def _clock(now_us: int, days: int, quarters: Sequence[UsageSum], zone: ZoneInfo) -> DayClock:
    today = local(now_us, zone).date()
    start_us, end_us = midnight_us(today, zone), midnight_us(today + timedelta(days=1), zone)
    so_far = summed(today.isoformat(), grouped(quarters, lambda moment: moment.date(), zone).get(today, ()))
    return DayClock(today, days, end_us - now_us, end_us - start_us, day_usage(so_far))


def _other_model(model: str, days: Sequence[UsageSum], later: Futures | None, prices: SumPrices) -> OtherModel:
    try:
        tariff = prices.tariff(model, summed("", days))
    except (UnknownPrice, InvalidInput) as error:
        return OtherModel(model, None, None, str(error))
    costs = [tariff.cost_nano(day) for day in days]
    return OtherModel(model, None if later is None else later.sums(costs), sum(costs))


def _run_outs(
    request: PredictionRequest,
    limits: Sequence[LimitStatus],
    history: Sequence[DayUsage],
    coming: Futures | None,
    clock: DayClock,
) -> tuple[RunOut, ...]:
    given: tuple[tuple[Metric, int | None], ...] = (("tokens", request.tokens_left), ("cost", request.cost_left_nano))
    budgets = [Budget(metric, metric, left) for metric, left in given if left is not None]
    return tuple(run_out(budget, history, coming, clock) for budget in (*budgets, *map(budget_of, limits)))


def _notes(request: PredictionRequest, days: Sequence[UsageSum]) -> tuple[str, ...]:
    notes = [f"Drawn from {len(days)} whole days of the past; neither growth nor a trend is assumed."]
    if unpriced := sum(day.unpriced_requests for day in days):
        notes.append(f"{unpriced} requests of these days have no known price; their cost is in no sum.")
    if request.models:
        notes.append(
            "Other models are priced for the tokens that were recorded, with their share of cached, written and output "
            "tokens, at the standard prices of their average request; how many tokens their own tokenizers would "
            "make of the same texts is not in the ledger's sums."
        )
    return tuple(notes)
