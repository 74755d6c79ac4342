"""What the admin API can do: functions like the tools', which no agent is given."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Literal, TypeAlias, TypeVar

from tokenward.engine.errors import InvalidInput, TokenwardError, in_range
from tokenward.engine.limits import MAX_LIMIT, LimitQuery, Metric, TokenLimit, amount_value, counted_in
from tokenward.engine.reports.cursor import Cursor, opened, signed
from tokenward.engine.reports.report import MAX_ROWS, GroupBy, ReportRequest
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.engine.windows import Window
from tokenward.server.crashes import log_crash
from tokenward.server.http.admin_models import (
    Amount,
    CalendarZone,
    ForecastDays,
    Limit,
    LimitDeleted,
    Limits,
    LimitSet,
    MaybeCursor,
    MaybeMode,
    MaybeModel,
    MaybeMoment,
    MaybeName,
    MaybePeriod,
    MaybeSubject,
    MaybeZone,
    NameOrNone,
    Rows,
    Subject,
    Top,
    amount_of,
    limit_fields,
)
from tokenward.server.http.paths import LIMITS_PATH, QUOTA_PATH, USAGE_PATH
from tokenward.tools.check_quota import QuotaAnswer, check_quota
from tokenward.tools.definition import Result, Tool, ToolContext
from tokenward.tools.times import asked_period
from tokenward.tools.usage_report import Report, report_page

Method: TypeAlias = Literal["GET", "PUT", "DELETE"]

_LOG = logging.getLogger(__name__)

_Outcome = TypeVar("_Outcome")


class UnknownLimit(InvalidInput):
    """There is no such limit."""

    def __init__(self, label: str) -> None:
        super().__init__("subject", f"there is no limit {label}; GET /admin/limits shows all.")


async def list_limits(
    context: ToolContext,
    *,
    subject: MaybeSubject = None,
    metric: Metric | None = None,
    window: Window | None = None,
    rows: Rows = 100,
    cursor: MaybeCursor = None,
) -> Limits:
    """The limits as they were set, one page of them."""
    in_range("rows", rows, 1, MAX_ROWS)
    if subject is not None:
        TokenLimit(subject, "tokens", "day", 0)  # refuses what no limit can bind
    asked: list[JsonValue] = ["limits", subject, metric, window, rows]
    ledger = await context.service.ledger()
    query = LimitQuery(subject, metric, window, size=rows + 1)
    if cursor is not None:
        after_subject, after_metric, after_window = opened(cursor, asked, await ledger.cursor_key()).key.split("\n")
        query = replace(query, after=(after_subject, after_metric, after_window))
    found = await ledger.limits_page(query)
    following = None
    if len(found) > rows:
        last = found[rows - 1]
        place = Cursor(0, 0, 0, f"{last.subject}\n{last.metric}\n{last.window}")
        following = signed(place, asked, await ledger.cursor_key())
    limits = [Limit.model_validate(limit_fields(one)) for one in found[:rows]]
    return Limits(limits=limits, next_cursor=following)


async def set_limit(
    context: ToolContext,
    *,
    subject: Subject,
    metric: Metric,
    window: Window,
    limit: Amount,
    mode: MaybeMode = None,
    timezone: CalendarZone = None,
) -> LimitSet:
    """Add a limit, or replace the one of the same subject, metric and window."""
    counted, zone = counted_in(window, mode, timezone, context.timezone)
    made = TokenLimit(subject, metric, window, amount_of(metric, limit), counted, zone)
    standing = await (await context.service.ledger()).limits_page(LimitQuery(subject, metric, window))
    if standing != [made]:  # setting it anew would count all of its window again, while others wait

        async def change() -> None:
            await context.service.set_limit(made)
            _log_change(context, f"set {made.label} to at most {limit}", made, limit=amount_value(metric, made.limit))

        await _whole(change())
    return LimitSet.model_validate(limit_fields(made))


async def delete_limit(context: ToolContext, *, subject: Subject, metric: Metric, window: Window) -> LimitDeleted:
    """Delete a limit. What was used stays in the ledger."""
    named = TokenLimit(subject, metric, window, 0)

    async def change() -> bool:
        deleted = await context.service.delete_limit(subject, metric, window)
        if deleted:
            _log_change(context, f"deleted {named.label}", named)
        return deleted

    await context.service.ledger()  # connecting it is nothing to finish for somebody who has left
    if not await _whole(change()):
        raise UnknownLimit(named.label)
    return LimitDeleted(subject=subject, metric=metric, window=window)


async def _whole(change: Coroutine[None, None, _Outcome]) -> _Outcome:
    """A change and the line about it, which whoever asked for it cannot part by leaving: the store ends what it began.

    The store holds its own task until the change is made, and with it this one, which waits for that.
    """
    task = asyncio.create_task(change)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_ended_alone)
        raise


def _ended_alone(task: "asyncio.Task[Any]") -> None:
    """What goes wrong when nobody waits any more would be logged by asyncio, with its message."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, TokenwardError):
        log_crash("a change of limits", error)


def _no_empty(**given: str | None) -> None:
    for name, value in given.items():
        if value == "":
            raise InvalidInput(name, "it is empty; give a value or leave it out.")


def _log_change(context: ToolContext, what: str, one: TokenLimit, **more: int | str) -> None:
    """Who changed which limit: the one kind of line in the log that names people."""
    who = context.principal.subject if context.principal else context.service.default_user
    fields = {"by": who, "subject": one.subject, "metric": one.metric, "window": one.window, **more}
    _LOG.info("Admin API: %s %s", who, what, extra={"fields": fields})


async def quota_status(
    context: ToolContext,
    *,
    user: MaybeName = None,
    group: MaybeName = None,
    session: MaybeName = None,
) -> QuotaAnswer:
    """Every limit that applies to a user, and what is left of it; the token's own subject if nobody is named."""
    _no_empty(user=user, group=group, session=session)
    whose = user if context.principal is None else context.principal.user(user)
    return await check_quota(context, user=whose, group=group, session=session)


async def usage(
    context: ToolContext,
    *,
    user: MaybeName = None,
    model: MaybeModel = None,
    group: NameOrNone = None,
    session: NameOrNone = None,
    start: MaybeMoment = None,
    end: MaybeMoment = None,
    period: MaybePeriod = None,
    group_by: GroupBy = "user",
    timezone: MaybeZone = None,
    top: Top = 10,
    rows: Rows = 100,
    forecast_days: ForecastDays = None,
    cursor: MaybeCursor = None,
) -> Report:
    """What was used and what it cost, of everybody or of one user, model, group or session."""
    _no_empty(user=user, model=model, period=period)
    in_range("rows", rows, 1, MAX_ROWS)
    request = ReportRequest(
        **asked_period(context, start, end, period, timezone),
        group_by=group_by,
        top=top,
        forecast_days=forecast_days,
        limit=rows,
        user=user,
        model=model,
        group=group,
        session=session,
    )
    return await report_page(context, request, cursor=cursor, asked=[start, end, period])


_LIMIT_NAME = ("subject", "metric", "window")
_AMOUNT_BY_METRIC: JsonObject = {
    "oneOf": [
        {
            "properties": {
                "metric": {"enum": ["tokens", "requests"]},
                "limit": {"type": "integer", "minimum": 0, "maximum": MAX_LIMIT},
            }
        },
        {
            "properties": {
                "metric": {"const": "cost"},
                "limit": {"type": "string", "format": "usd", "pattern": "^[0-9]{1,10}(\\.[0-9]{1,9})?$"},
            }
        },
    ]
}
_MODE_BY_WINDOW: JsonObject = {
    "anyOf": [
        {"properties": {"mode": {"const": "rolling"}, "timezone": {"enum": ["UTC", None]}}, "required": ["mode"]},
        {"properties": {"mode": {"const": None}, "timezone": {"enum": ["UTC", None]}}},
        {"properties": {"mode": {"enum": ["calendar", None]}, "window": {"enum": ["day", "month"]}}},
    ]
}


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        run: The function. A ``PUT`` takes its arguments as a JSON body, the others as a query.
        result: What it answers with.
        rules: What the body's fields must fulfil together, as JSON schema.
        links: What can be done with the answer: operations by name, and where their arguments stand in it.
        may_miss: It answers 404 where there is nothing of that name.
    """

    method: Method
    path: str
    run: Callable[..., Awaitable[Result]]
    result: type[Result]
    rules: JsonObject = field(default_factory=dict[str, JsonValue])
    links: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    may_miss: bool = False

    @cached_property
    def tool(self) -> Tool:
        """The function with the schema of its arguments."""
        return Tool(
            run=self.run,
            description=(self.run.__doc__ or "").partition("\n")[0],
            result=self.result,
            read_only=self.method == "GET",
            idempotent=True,
            destructive=self.method == "DELETE",
            scope="admin",
        )


@cache
def operations() -> tuple[Operation, ...]:
    """Everything the admin API does, in the order of its document."""
    return (
        Operation("GET", LIMITS_PATH, list_limits, Limits),
        Operation(
            "PUT",
            LIMITS_PATH,
            set_limit,
            LimitSet,
            {"allOf": [_AMOUNT_BY_METRIC, _MODE_BY_WINDOW]},
            {"list_limits": _LIMIT_NAME, "delete_limit": _LIMIT_NAME},
        ),
        Operation("DELETE", LIMITS_PATH, delete_limit, LimitDeleted, may_miss=True),
        Operation("GET", QUOTA_PATH, quota_status, QuotaAnswer),
        Operation("GET", USAGE_PATH, usage, Report),
    )
