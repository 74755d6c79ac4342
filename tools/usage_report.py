"""``usage_report``: what was used, by whom, when, and what is to come."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BeforeValidator

from tokenward.engine.reports.prediction import PredictionRequest
from tokenward.engine.reports.report import GroupBy, ReportRequest
from tokenward.engine.reports.text import report_object, run_out_object
from tokenward.engine.types import JsonValue
from tokenward.tools.definition import Detail, Result, Tool, ToolContext
from tokenward.tools.times import asked_period

BRIEF_ROWS = 20
FULL_ROWS = 200


def _if_any(value: object) -> object:
    """What says nothing is left out: every field costs whoever reads it."""
    return value or None


IfAny = BeforeValidator(_if_any)


class Totals(Result):
    """Sums. ``cost`` is of the priced requests; ``unpriced_requests`` counts the others.

    ``estimated_requests`` are those whose numbers are an estimate and not the provider's.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: Annotated[int | None, IfAny] = None
    reasoning_tokens: int
    total_tokens: int
    cost: str
    unpriced_requests: Annotated[int | None, IfAny] = None
    estimated_requests: Annotated[int | None, IfAny] = None
    average_tokens_per_request: float
    average_cost_per_request: str | None = None


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
    """As :class:`TokenRange`, in the report's currency."""

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
    unpriced_requests: Annotated[int | None, IfAny] = None


class CacheSaved(Result):
    """What the providers' caches saved; ``unpriced_tokens`` are in no sum, because a price is not known."""

    total: str
    by_model: dict[str, str]
    unpriced_tokens: Annotated[int | None, IfAny] = None


class RunsOut(Result):
    """When a limit may be used up, counted by whole days: one chance in ten by ``p10``, nine in ten by ``p90``."""

    budget: str
    metric: str
    remaining: int | str
    within_days: int
    p10: str
    p50: str | None
    p90: str | None
    problem: Annotated[str | None, IfAny] = None


class Report(Result):
    """A report's page."""

    start: str
    end: str
    timezone: str
    group_by: str
    currency: str
    totals: Totals
    rows: list[Row]
    total_rows: int
    top_users: list[TopUser]
    by_hour_of_day: list[int]
    estimated_share: float
    cache_savings: CacheSaved | None = None
    forecast: Outlook | None = None
    runs_out: Annotated[list[RunsOut] | None, IfAny] = None
    anomalies: Annotated[list[str] | None, IfAny] = None
    warnings: Annotated[list[str] | None, IfAny] = None
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
    request = ReportRequest(
        **asked_period(context, start, end, period, timezone),
        group_by=group_by,
        top=top,
        forecast_days=forecast_days,
        limit=BRIEF_ROWS if detail == "brief" else FULL_ROWS,
        user=user,
    )
    return await report_page(context, request, cursor=cursor, asked=[start, end, period])


async def report_page(
    context: ToolContext, request: ReportRequest, *, cursor: str | None, asked: Sequence[JsonValue]
) -> Report:
    """A page of a report; ``asked`` is how the period was asked for. With a forecast also the limits in danger."""
    report = await context.service.reports.usage_report(request, cursor=cursor, asked=asked)
    made = report_object(report, context.service.currency)
    if request.forecast_days is not None:
        prediction = PredictionRequest(days=request.forecast_days, user=request.user, timezone=request.timezone)
        made["runs_out"] = await _runs_out(context, prediction)
    return Report.model_validate(made)


async def _runs_out(context: ToolContext, request: PredictionRequest) -> list[JsonValue]:
    """The limits that may be used up within the forecast's days: the user's, or with no user everybody's."""
    prediction = await context.service.reports.predict_cost(request)
    in_sight = (one for one in prediction.run_outs if one.p10 is not None)
    return [run_out_object(one, context.service.currency) for one in in_sight]


TOOL = Tool(
    run=usage_report,
    description="Report tokens and cost over a period (24h, 7d, 12w, today, month).",
    result=Report,
    read_only=True,
    idempotent=True,
    scope="report",
)
