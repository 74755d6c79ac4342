"""UsageAnalytics: what was used, by whom, by what and when, from sums that a store has made.

A pure function of its request and the sums. A store sums by quarter hours since the epoch; the hours and days of every
time zone are whole numbers of those, so one sum serves all zones and the change of the clocks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from datetime import timedelta
from heapq import nsmallest
from random import Random
from zoneinfo import ZoneInfo

from tokenward.engine.pricing import CostCalculator
from tokenward.engine.quota import LimitStatus
from tokenward.engine.reports.forecast import Forecast, day_usage, forecast
from tokenward.engine.reports.local_days import days_between, grouped, whole_days
from tokenward.engine.reports.prediction import CostPrediction, PredictionRequest, predict
from tokenward.engine.reports.report import Position, ReportRequest, UsageReport, UsageStats
from tokenward.engine.reports.sum_prices import SumPrices
from tokenward.engine.times import local
from tokenward.engine.usage import Dimension, UsageSum, summed
from tokenward.engine.zones import time_zone

MAX_FILLED_DAYS = 400
"""Days without usage are listed as rows of zero in periods up to this length."""


class UsageAnalytics:
    """Makes reports.

    Args:
        calculator: Knows the prices of models, for what a cache saved and what other models would cost.
        seed: Seeds the forecast's draws, so that the same request and sums give the same report.
    """

    def __init__(self, calculator: CostCalculator | None = None, *, seed: int = 0) -> None:
        self._calculator = calculator or CostCalculator()
        self._seed = seed

    def dimensions(self, request: ReportRequest) -> tuple[Dimension, ...]:
        """The sums that a report needs, each over the request's period, of what it is restricted to."""
        needed: list[Dimension] = ["quarter_hour", "user", "model", self.row_dimension(request)]
        return tuple(dict.fromkeys(needed))

    def generate_report(self, request: ReportRequest, sums: Mapping[Dimension, Sequence[UsageSum]]) -> UsageReport:
        """The report.

        Args:
            request: What to report.
            sums: For each of :meth:`dimensions`, the store's sums over the period, of what it is restricted to.

        Raises:
            KeyError: A needed dimension is missing.
        """
        zone = time_zone(request.timezone)
        quarters = sums["quarter_hour"]
        rows = _rows(request, sums, zone)
        page, following = _page(request, rows)
        return UsageReport(
            request=request,
            totals=_stats(summed("", quarters)),
            rows=tuple(map(_stats, page)),
            total_rows=len(rows),
            top_users=tuple(map(_stats, nsmallest(request.top, sums["user"], key=_place))),
            by_hour_of_day=tuple(row.total_tokens for row in _hour_rows(quarters, zone)),
            by_day=tuple(row.total_tokens for row in _day_rows(request, quarters, zone)),
            forecast=None if request.forecast_days is None else self._forecast(request, sums, request.forecast_days),
            cache_savings=SumPrices(self._calculator, request.end_us).cache_savings(sums["model"]),
            next_position=following,
        )

    def breakdown(
        self, request: ReportRequest, sums: Mapping[str, Sequence[UsageSum]]
    ) -> dict[str, tuple[UsageStats, ...]]:
        """Every row of a report by model, the model with the most tokens first; rows without usage are left out.

        Args:
            request: The report.
            sums: For each model, the store's sums over the period by :meth:`row_dimension`.
        """
        zone = time_zone(request.timezone)
        found: dict[str, list[UsageSum]] = {}
        for model, of_model in sums.items():
            for row in _rows(request, {self.row_dimension(request): of_model}, zone):
                if row.requests:
                    found.setdefault(row.key, []).append(replace(row, key=model))
        return {key: tuple(map(_stats, sorted(models, key=_place))) for key, models in found.items()}

    def row_dimension(self, request: ReportRequest) -> Dimension:
        """The sums that a report's rows are made of."""
        match request.group_by:
            case "day" | "hour_of_day":
                return "quarter_hour"
            case dimension:
                return dimension

    def predict_cost(
        self,
        request: PredictionRequest,
        sums: Mapping[Dimension, Sequence[UsageSum]],
        *,
        now_us: int,
        limits: Sequence[LimitStatus] = (),
    ) -> CostPrediction:
        """What the coming days may cost, on these and on other models, and when budgets run out.

        Args:
            request: What to predict.
            sums: The store's sums by quarter hour and by model, over the request's period up to ``now_us``.
            now_us: Now, in microseconds UTC.
            limits: How the limits stand whose end is to be told.

        Raises:
            KeyError: A needed dimension is missing.
        """
        return predict(
            request,
            sums["quarter_hour"],
            sums["model"],
            now_us=now_us,
            limits=limits,
            prices=SumPrices(self._calculator, now_us),
            random=Random(self._seed),  # noqa: S311 - no secret
        )

    def _forecast(self, request: ReportRequest, sums: Mapping[Dimension, Sequence[UsageSum]], days: int) -> Forecast:
        zone = time_zone(request.timezone)
        last = local(request.end_us - 1, zone).date()
        history = whole_days(request.start_us, request.end_us, sums["quarter_hour"], zone)
        return forecast(
            [day_usage(day) for day in history],
            first=last + timedelta(days=1),
            days=days,
            model_costs={model.key: model.cost_nano for model in sums["model"] if model.cost_nano},
            random=Random(self._seed),  # noqa: S311 - no secret
        )


def _rows(request: ReportRequest, sums: Mapping[Dimension, Sequence[UsageSum]], zone: ZoneInfo) -> list[UsageSum]:
    """All rows in their order."""
    if request.group_by == "hour_of_day":
        return _hour_rows(sums["quarter_hour"], zone)
    if request.group_by == "day":
        return _day_rows(request, sums["quarter_hour"], zone)
    return sorted(sums[request.group_by], key=_place)


def _place(row: UsageSum) -> tuple[int, str]:
    """The largest first, equal ones by name."""
    return -row.total_tokens, row.key


def _hour_rows(quarters: Iterable[UsageSum], zone: ZoneInfo) -> list[UsageSum]:
    """24 rows, one per hour of the day."""
    groups = grouped(quarters, lambda moment: moment.hour, zone)
    return [summed(f"{hour:02d}", groups.get(hour, ())) for hour in range(24)]


def _day_rows(request: ReportRequest, quarters: Iterable[UsageSum], zone: ZoneInfo) -> list[UsageSum]:
    """A row per local day; days without usage too, unless the period is very long."""
    groups = grouped(quarters, lambda moment: moment.date(), zone)
    first, last = local(request.start_us, zone).date(), local(request.end_us - 1, zone).date()
    listed = days_between(first, last) if (last - first).days < MAX_FILLED_DAYS else sorted(groups)
    return [summed(day.isoformat(), groups.get(day, ())) for day in listed]


def _page(request: ReportRequest, rows: list[UsageSum]) -> tuple[list[UsageSum], Position | None]:
    """The rows of one page, and the place of its last if more follow.

    A page starts behind a row's place and not behind a number of rows: what is recorded between two pages moves rows,
    but a row's tokens only grow, so that none comes twice.
    """
    if request.after is not None:
        tokens, key = request.after
        if request.group_by in ("day", "hour_of_day"):
            rows = [row for row in rows if row.key > key]
        else:
            rows = [row for row in rows if _place(row) > (-tokens, key)]
    page = rows[: request.limit]
    return page, (page[-1].total_tokens, page[-1].key) if len(rows) > len(page) else None


def _stats(one: UsageSum) -> UsageStats:
    return UsageStats(*astuple(one))
