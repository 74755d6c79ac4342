"""``usage_report``: what was used, by whom, when, and what is to come."""

from collections.abc import Sequence

from tokenward.engine.analytics import GroupBy, ReportRequest, UsageReport, UsageStats
from tokenward.engine.errors import InvalidInput
from tokenward.engine.forecast import Forecast, Quantiles
from tokenward.engine.money import usd
from tokenward.tools.cursor import cursor_of, offset_of
from tokenward.tools.definition import Detail, Result, Tool, ToolContext
from tokenward.tools.times import moment_us, period_us

BRIEF_ROWS = 20
FULL_ROWS = 200


class Totals(Result):
    """Sums. ``cost`` is of the priced requests; ``unpriced_requests`` counts the others."""

    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    total_tokens: int
    cost: str
    unpriced_requests: int | None = None
    average_tokens_per_request: float


class _Keyed(Result):
    """The group's name, day or hour."""

    key: str


class Row(Totals, _Keyed):
    """One group's sums."""


class TopUser(Result):
    """One of those who used the most."""

    user: str
    total_tokens: int
    cost: str


class TokenRange(Result):
    """One chance in ten below ``p10``, one in ten above ``p90``."""

    p10: int
    p50: int
    p90: int


class CostRange(Result):
    """As :class:`TokenRange`, in USD."""

    p10: str
    p50: str
    p90: str


class Outlook(Result):
    """What the coming days together may use."""

    days: int
    tokens: TokenRange | None
    cost: CostRange | None
    cost_by_model: dict[str, str]
    method: str
    backtest_coverage: float | None


class Report(Result):
    """A report's page."""

    totals: Totals
    rows: list[Row]
    top_users: list[TopUser]
    by_hour_of_day: list[int]
    forecast: Outlook | None = None
    next_cursor: str | None = None


async def usage_report(
    context: ToolContext,
    *,
    user: str | None = None,
    start: str | None = None,
    end: str | None = None,
    period: str | None = None,
    group_by: GroupBy = "user",
    timezone: str | None = None,
    top: int = 10,
    forecast_days: int | None = None,
    cursor: str | None = None,
    detail: Detail = "brief",
) -> Report:
    """Report on a period (7 days if none is named) or on the time from start to end."""
    zone = timezone or context.timezone
    query = [user, start, end, period, group_by, zone, top, forecast_days, detail]
    now_us = context.service.clock()
    start_us, end_us = _span(start, end, period, now_us, zone)
    request = ReportRequest(
        start_us=start_us,
        end_us=end_us,
        group_by=group_by,
        timezone=zone,
        top=top,
        forecast_days=forecast_days,
        offset=0 if cursor is None else offset_of(cursor, query),
        limit=BRIEF_ROWS if detail == "brief" else FULL_ROWS,
        user=user,
    )
    report = await context.service.usage_report(request)
    following = report.next_offset
    return _result(report, None if following is None else cursor_of(following, query))


def _span(start: str | None, end: str | None, period: str | None, now_us: int, zone: str) -> tuple[int, int]:
    if start is None:
        if end is not None:
            raise InvalidInput("end", "give a start as well.")
        return period_us(period or "7d", now_us, zone)
    if period is not None:
        raise InvalidInput("period", "give either a period or a start, not both.")
    end_us = period_us("24h", now_us)[1] if end is None else moment_us("end", end, zone)
    return moment_us("start", start, zone), end_us


def _result(report: UsageReport, next_cursor: str | None) -> Report:
    return Report(
        totals=_totals(report.totals),
        rows=[Row(key=one.key, **dict(_totals(one))) for one in report.rows],
        top_users=_top_users(report.top_users),
        by_hour_of_day=list(report.by_hour_of_day),
        forecast=None if report.forecast is None else _outlook(report.forecast),
        next_cursor=next_cursor,
    )


def _totals(one: UsageStats) -> Totals:
    return Totals(
        requests=one.requests,
        input_tokens=one.input_tokens,
        output_tokens=one.output_tokens,
        cached_tokens=one.cached_tokens,
        reasoning_tokens=one.reasoning_tokens,
        total_tokens=one.total_tokens,
        cost=usd(one.cost_nano),
        unpriced_requests=one.unpriced_requests or None,
        average_tokens_per_request=round(one.average_tokens_per_request, 2),
    )


def _top_users(users: Sequence[UsageStats]) -> list[TopUser]:
    return [TopUser(user=one.key, total_tokens=one.total_tokens, cost=usd(one.cost_nano)) for one in users]


def _outlook(one: Forecast) -> Outlook:
    return Outlook(
        days=one.days,
        tokens=_token_range(one.tokens),
        cost=_cost_range(one.cost_nano),
        cost_by_model={model: usd(cost_nano) for model, cost_nano in one.cost_by_model.items()},
        method=one.method,
        backtest_coverage=one.backtest_coverage,
    )


def _token_range(one: Quantiles | None) -> TokenRange | None:
    return None if one is None else TokenRange(p10=one.p10, p50=one.p50, p90=one.p90)


def _cost_range(one: Quantiles | None) -> CostRange | None:
    return None if one is None else CostRange(p10=usd(one.p10), p50=usd(one.p50), p90=usd(one.p90))


TOOL = Tool(
    run=usage_report,
    description="Report tokens and cost over a period (24h, 7d, 12w, today, month).",
    result=Report,
    read_only=True,
    idempotent=True,
)
