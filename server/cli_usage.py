"""``tokenward report`` and ``tokenward record``: reading and writing the ledger."""

from typing import TYPE_CHECKING

import click

from tokenward.engine.errors import InvalidInput
from tokenward.engine.types import JsonObject
from tokenward.server.cli_session import Session, emit, json_option, pass_session, read_json, warn

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.engine.analytics import GroupBy
    from tokenward.engine.quota import Priority
    from tokenward.tools.definition import ToolContext
    from tokenward.tools.record_usage import Recorded
    from tokenward.tools.usage_report import Outlook, Report

_COUNT = click.IntRange(min=0)
_GROUPS = ["user", "model", "session", "group", "endpoint", "day", "hour_of_day"]


@click.command()
@click.option("--user", help="Only this user's usage; everybody's by default.")
@click.option("--period", help="Such as 24h, 7d, 12w, today or month. [default: 7d]")
@click.option("--since", metavar="DATE", help="From 2026-11-21, or RFC 3339.")
@click.option("--until", metavar="DATE", help="To, not included; now by default.")
@click.option("--group-by", type=click.Choice(_GROUPS), default="user", show_default=True)
@click.option("--timezone", metavar="ZONE", help="IANA zone of days and hours.")
@click.option("--top", type=click.IntRange(1, 100), default=10, show_default=True, help="Users listed as the top ones.")
@click.option("--forecast-days", type=click.IntRange(min=1), metavar="N", help="Forecast the next N days.")
@json_option
@pass_session
def report(
    session: Session,
    *,
    user: str | None,
    period: str | None,
    since: str | None,
    until: str | None,
    group_by: "GroupBy",
    timezone: str | None,
    top: int,
    forecast_days: int | None,
    as_json: bool,
) -> None:
    """Report what was used and what it cost.

    \b
    Examples:
      tokenward report --period month --group-by model
      tokenward report --user alice --group-by day --forecast-days 7
    """  # noqa: D301 - click reads the character

    async def work(context: "ToolContext") -> "Report":
        from tokenward.tools.usage_report import usage_report  # noqa: PLC0415 - heavy

        return await usage_report(
            context,
            user=user,
            start=since,
            end=until,
            period=period,
            group_by=group_by,
            timezone=timezone,
            top=top,
            forecast_days=forecast_days,
            detail="full",
        )

    made = session.run(work)
    emit(made, as_json=as_json, show=lambda console: _show_report(console, made, group_by))


@click.command()
@click.option("--model", required=True)
@click.option("--input", "input_tokens", type=_COUNT, metavar="N", help="Input tokens, cached ones included.")
@click.option("--output", "output_tokens", type=_COUNT, metavar="N", help="Output, reasoning included.")
@click.option("--cached", type=_COUNT, metavar="N", default=0, help="Part of the input read from the cache.")
@click.option("--cache-write", type=_COUNT, metavar="N", default=0, help="Part of the input cached for 5 minutes.")
@click.option("--cache-write-1h", type=_COUNT, metavar="N", default=0, help="Part of the input cached for an hour.")
@click.option("--reasoning", type=_COUNT, metavar="N", default=0, help="Part of the output spent on reasoning.")
@click.option("--response", metavar="FILE", help='The provider\'s response instead of numbers; "-": standard input.')
@click.option("--reservation", metavar="ID", help="The hold that this usage settles.")
@click.option("--key", metavar="KEY", help="Idempotency key: the same one twice is one event.")
@click.option("--user")
@click.option("--group")
@click.option("--session", "session_name")
@click.option("--endpoint")
@click.option("--priority", type=click.Choice(["low", "normal", "high"]), default="normal")
@click.option("--at", metavar="TIME", help="When it happened, RFC 3339; now by default.")
@click.option("--counted", type=_COUNT, metavar="N", help="What the input had been counted as: estimates learn by it.")
@json_option
@pass_session
def record(
    session: Session,
    *,
    model: str,
    input_tokens: int | None,
    output_tokens: int | None,
    cached: int,
    cache_write: int,
    cache_write_1h: int,
    reasoning: int,
    response: str | None,
    reservation: str | None,
    key: str | None,
    user: str | None,
    group: str | None,
    session_name: str | None,
    endpoint: str | None,
    priority: "Priority",
    at: str | None,
    counted: int | None,
    as_json: bool,
) -> None:
    """Record what a request used: one event in the ledger.

    \b
    Examples:
      tokenward record --model gpt-4o --input 12000 --output 800 --key run-17
      curl … | tokenward record --model gpt-4o --response -
    """  # noqa: D301 - click reads the character
    answered = None if response is None else _response(response)

    async def work(context: "ToolContext") -> "Recorded":
        from tokenward.tools.record_usage import record_usage  # noqa: PLC0415 - heavy

        return await record_usage(
            context,
            model=model,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cached_input_tokens=cached,
            cache_write_tokens=cache_write,
            cache_write_1h_tokens=cache_write_1h,
            reasoning_tokens=reasoning,
            response=answered,
            user=user,
            group=group,
            session=session_name,
            endpoint=endpoint,
            priority=priority,
            reservation_id=reservation,
            idempotency_key=key,
            at=at,
            counted_tokens=counted,
        )

    receipt = session.run(work)
    emit(receipt, as_json=as_json, show=lambda console: _show_receipt(console, receipt))
    if receipt.overage:
        warn("this usage goes beyond what was reserved or a limit allows; it is recorded all the same.")
    for warning in receipt.warnings or ():
        warn(warning)


def _response(path: str) -> JsonObject:
    document = read_json(path, "response")
    if not isinstance(document, dict):
        raise InvalidInput("response", "expected a JSON object: the provider's response or its usage object.")
    return document


# For people ---------------------------------------------------------------------------------------------------------


def _show_receipt(console: "Console", receipt: "Recorded") -> None:
    from tokenward.server.render import line, money  # noqa: PLC0415 - heavy

    what = "Already recorded" if receipt.duplicate else "Recorded"
    cost = money(receipt.cost) or "an unknown price"
    line(console, f"{what} for {receipt.user}: {cost}. Event {receipt.event_id}.")


def _show_report(console: "Console", made: "Report", group_by: str) -> None:
    from tokenward.server.render import line, money, sparkline, table  # noqa: PLC0415 - heavy

    if not made.totals.requests:
        line(console, "Nothing was recorded in this time.")
    else:
        lines = [*((row.key or "(none)", row) for row in made.rows), ("total", made.totals)]
        cells = [
            (
                name,
                one.requests,
                one.input_tokens,
                one.output_tokens,
                one.cached_tokens,
                one.total_tokens,
                round(one.average_tokens_per_request),
                f"{money(one.cost)}{f' + {one.unpriced_requests} unpriced' if one.unpriced_requests else ''}",
            )
            for name, one in lines
        ]
        names = [group_by.replace("_", " "), ">requests", ">input", ">output", ">cached", ">tokens", ">per request"]
        console.print(table([*names, ">cost"], cells[:-1], footer=cells[-1]))
        if made.next_cursor is not None:
            line(console, f"Only the first {len(made.rows)} rows are shown; narrow the period.", "dim")
        if group_by == "day" and len(made.rows) > 1:
            days = sorted(made.rows, key=lambda row: row.key)
            bars = sparkline([day.total_tokens for day in days])
            line(console, f"Tokens per day, {days[0].key} to {days[-1].key}:  {bars}")
        line(console, f"Tokens by hour of day, 0 to 23:  {sparkline(made.by_hour_of_day)}")
        if group_by != "user" and len(made.top_users) > 1:
            top = [(one.user, one.total_tokens, money(one.cost)) for one in made.top_users]
            console.print(table(["top users", ">tokens", ">cost"], top))
    if made.forecast is not None:
        _show_forecast(console, made.forecast)


def _show_forecast(console: "Console", forecast: "Outlook") -> None:
    from tokenward.server.render import line, money, table  # noqa: PLC0415 - heavy

    if forecast.tokens is None or forecast.cost is None:
        line(console, f"No forecast: {forecast.method}.")
        return
    tokens, cost = forecast.tokens, forecast.cost
    rows = [
        ("tokens", tokens.p10, tokens.p50, tokens.p90),
        ("cost", money(cost.p10), money(cost.p50), money(cost.p90)),
    ]
    console.print(table([f"next {forecast.days} days", ">low (p10)", ">middle (p50)", ">high (p90)"], rows))
    line(console, f"Method: {forecast.method}.", "dim")
