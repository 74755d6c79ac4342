"""Reports: what was used and what it may come to, from the ledger's sums. The attribute ``reports`` of the service.

All sums of a report come from one snapshot of the ledger. They are read from the rollup, whatever the number of events
is: only a period's first and last quarter of an hour and what concerns sessions are summed from events.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from tokenward.engine.analytics import UsageAnalytics
from tokenward.engine.limits import Scope, Subjects
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.quota import LimitStatus
from tokenward.engine.reports.cursor import Cursor, opened, signed
from tokenward.engine.reports.prediction import CostPrediction, PredictionRequest
from tokenward.engine.reports.replay import ReplayReport
from tokenward.engine.reports.report import ReportRequest, UsageReport, UsageStats
from tokenward.engine.reports.what_if import WhatIfReport
from tokenward.engine.times import rfc3339
from tokenward.engine.types import Clock, JsonValue
from tokenward.engine.usage import Dimension, UsageQuery
from tokenward.judgements import ReplayRequest, WhatIfRequest, past_unusual, replay, what_if
from tokenward.storage.base import UsageStore
from tokenward.tracker import UsageTracker
from tokenward.workers import run_in_thread

_PREDICTED_FROM: tuple[Dimension, ...] = ("quarter_hour", "model")


class Reports:
    """Reports and predictions over the ledger.

    Args:
        tracker: Knows the ledger.
        calculator: Knows the prices.
        clock: Now, microseconds UTC.
    """

    def __init__(self, tracker: UsageTracker, calculator: CostCalculator, clock: Clock) -> None:
        self._tracker = tracker
        self._calculator = calculator
        self._clock = clock
        self._analytics = UsageAnalytics(calculator)

    async def usage_report(
        self, request: ReportRequest, *, cursor: str | None = None, asked: Sequence[JsonValue] | None = None
    ) -> UsageReport:
        """One page of a report: totals, rows, top users, hours of the day, cache savings and a forecast.

        The pages of a query together are all its rows, and no row comes twice. The period is the first page's. What is
        recorded into it between two pages (late events) can lift a row past the place where the next page starts:
        that row is then on neither page; the totals of each page are those of its own moment.

        Args:
            request: What to report. ``after`` is taken from the cursor.
            cursor: The ``next_cursor`` of the page before, with the same request.
            asked: How the period was asked for, where the next page's request may have other ends, as with "the last 7
                days"; else the ends themselves are part of the query.

        Raises:
            InvalidInput: The cursor was changed, or is another query's or another ledger's.
            StoreUnavailable: The ledger cannot be reached.
        """
        store = await self._tracker.ledger()
        query = _query(request, asked)
        if cursor is not None:
            place = opened(cursor, query, await store.cursor_key())
            after = (place.tokens, place.key)
            request = replace(request, start_us=place.start_us, end_us=place.end_us, after=after)
        dimensions = self._analytics.dimensions(request)
        found = await store.usage_many([request.query(one) for one in dimensions])
        sums = dict(zip(dimensions, found, strict=True))
        # Prices are loaded at the first report, and a forecast takes tenths of a second.
        report = await run_in_thread(partial(self._analytics.generate_report, request, sums))
        report = replace(await _judged(store, report), warnings=await _missing(store, request))
        if report.next_position is None:
            return report
        following = Cursor(request.start_us, request.end_us, *report.next_position)
        return replace(report, next_cursor=signed(following, query, await store.cursor_key()))

    async def breakdown(self, request: ReportRequest) -> dict[str, tuple[UsageStats, ...]]:
        """Every row of a report by model: the row's key, and a sum for each model with usage, the largest first.

        It is of its own moment: what is recorded between it and the report is in one of the two only.

        Raises:
            StoreUnavailable: The ledger cannot be reached.
        """
        store = await self._tracker.ledger()
        models = [one.key for one in await store.usage(request.query("model"))]
        dimension = self._analytics.row_dimension(request)
        found = await store.usage_many([request.query(dimension, model=model) for model in models])
        return self._analytics.breakdown(request, dict(zip(models, found, strict=True)))

    async def predict_cost(self, request: PredictionRequest) -> CostPrediction:
        """What the coming days may cost, on these and on other models, and when budgets run out.

        With a user, the limits on that user are among the budgets; without one, those on everybody together.

        Raises:
            StoreUnavailable: The ledger cannot be reached.
        """
        store = await self._tracker.ledger()
        now_us = self._clock()
        start_us, end_us = request.period_us(now_us)
        query = partial(UsageQuery, start_us, end_us, user=request.user)
        sums = dict(zip(_PREDICTED_FROM, await store.usage_many([query(one) for one in _PREDICTED_FROM]), strict=True))
        limits = await self._limits(store, request.user)
        predict = partial(self._analytics.predict_cost, request, sums, now_us=now_us, limits=limits)
        return await run_in_thread(predict)

    async def what_if(self, request: WhatIfRequest) -> WhatIfReport:
        """What the recorded requests of a period would have cost in a scenario, from their events.

        Raises:
            InvalidInput: The scenario's model cannot be a model's name.
            StoreUnavailable: The ledger cannot be reached.
        """
        return await what_if(await self._tracker.ledger(), self._calculator, self._tracker.catalog, request)

    async def replay(self, request: ReplayRequest) -> ReplayReport:
        """What limits would have refused in a period, from its events.

        Raises:
            StoreUnavailable: The ledger cannot be reached.
        """
        return await replay(await self._tracker.ledger(), request, policy=self._tracker.policy)

    async def _limits(self, store: UsageStore, user: str | None) -> list[LimitStatus]:
        """The limits that count exactly this usage."""
        scopes: tuple[Scope, ...] = ("global",) if user is None else ("user", "default")
        statuses = await store.status(Subjects(user or self._tracker.default_user))
        return [one for one in statuses if one.limit.scope in scopes]


async def _judged(store: UsageStore, report: UsageReport) -> UsageReport:
    """The report with what is far above the users' own history, on the first page of an unfiltered one."""
    request = report.request
    if request.after is not None or (request.model, request.group, request.session) != (None, None, None):
        return report
    users = [one.key for one in report.top_users] if request.user is None else [request.user]
    return replace(report, anomalies=await past_unusual(store, users, request.start_us, request.end_us))


async def _missing(store: UsageStore, request: ReportRequest) -> tuple[str, ...]:
    """What a report cannot know any more. Sessions are summed from events; all else is in the rollup, which stays."""
    if request.group_by != "session" and request.session is None:
        return ()
    # Asked after the sums were read: what is pruned in between is named although it was still there.
    before_us = await store.pruned_before_us()
    if before_us <= request.start_us:
        return ()
    return (f"Events before {rfc3339(before_us)} were pruned; what sessions used before is not in these numbers.",)


def _query(request: ReportRequest, asked: Sequence[JsonValue] | None) -> list[JsonValue]:
    """What a cursor belongs to: everything but the place, and the period as it was asked for."""
    period: list[JsonValue] = [request.start_us, request.end_us] if asked is None else list(asked)
    filters: list[JsonValue] = [request.user, request.model, request.group, request.session]
    return [*period, *filters, request.group_by, request.timezone, request.top, request.forecast_days, request.limit]
