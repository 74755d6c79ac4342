"""``tokenward quota``: limits, how they stand, and whether some work would fit."""

from typing import TYPE_CHECKING

import click

from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import TokenLimit, counted_in
from tokenward.engine.money import usd
from tokenward.engine.types import JsonObject
from tokenward.engine.windows import Mode
from tokenward.server.commands.limits import amount_of, limit_json, metric_and_window
from tokenward.server.commands.session import Session, emit, emit_json, json_option, pass_session, read_request

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.engine.quota import Priority
    from tokenward.tools.check_quota import QuotaAnswer
    from tokenward.tools.definition import ToolContext

DENIED = 3


@click.group()
def quota() -> None:
    """Show, set and check limits.

    SUBJECT is user:NAME, group:NAME, session:NAME, default (each user without an own limit) or global.
    A limit is named METRIC/WINDOW: tokens, cost or requests per minute, hour, day or month.
    """


@quota.command("show")
@click.option("--user", help="Whose limits; the configured user by default.")
@click.option("--group")
@click.option("--session", "session_name")
@json_option
@pass_session
def quota_show(
    session: Session, *, user: str | None, group: str | None, session_name: str | None, as_json: bool
) -> None:
    """Show every limit that applies to a user, and what is left of it."""

    async def work(context: "ToolContext") -> "QuotaAnswer":
        from tokenward.tools.check_quota import check_quota  # noqa: PLC0415 - heavy

        return await check_quota(context, user=user, group=group, session=session_name)

    answer = session.run(work)
    emit(answer, as_json=as_json, show=lambda console: _show_answer(console, answer))


@quota.command("list")
@click.argument("subject", required=False)
@json_option
@pass_session
def quota_list(session: Session, *, subject: str | None, as_json: bool) -> None:
    """List the limits as they were set, of one SUBJECT or of all."""

    async def work(context: "ToolContext") -> list[TokenLimit]:
        return await context.service.limits(subject)

    limits = session.run(work)
    listed: JsonObject = {"limits": [{"subject": one.subject, **limit_json(one)} for one in limits]}

    def show(console: "Console") -> None:
        from tokenward.server.commands.render import table  # noqa: PLC0415 - heavy

        rows = [(one.subject, one.metric, one.window, _amount(one), _mode(one)) for one in limits]
        console.print(table(["subject", "metric", "window", ">limit", "counted"], rows))

    emit_json(listed, as_json=as_json, show=show)


@quota.command("set")
@click.argument("subject")
@click.argument("what", metavar="METRIC/WINDOW")
@click.argument("limit")
@click.option(
    "--calendar/--rolling",
    "calendar",
    default=None,
    help="By the calendar's day or month, or always the time just gone. [default: calendar for months, else rolling]",
)
@click.option(
    "--timezone", metavar="ZONE", help="IANA zone of the calendar, such as Europe/Berlin. [default: the settings']"
)
@json_option
@pass_session
def quota_set(
    session: Session,
    *,
    subject: str,
    what: str,
    limit: str,
    calendar: bool | None,
    timezone: str | None,
    as_json: bool,
) -> None:
    """Set a limit: tokens and requests as integers, cost in USD.

    \b
    Examples:
      tokenward quota set user:alice tokens/day 100000
      tokenward quota set default cost/month 25.00 --timezone Europe/Berlin
    """  # noqa: D301 - click reads the character
    metric, window = metric_and_window(what)
    said: Mode | None = None if calendar is None else "calendar" if calendar else "rolling"
    mode, zone = counted_in(window, said, timezone, session.settings().timezone)
    made = TokenLimit(subject, metric, window, amount_of("LIMIT", metric, limit), mode, zone)

    async def work(context: "ToolContext") -> None:
        await context.service.set_limit(made)

    session.run(work)
    emit_json(
        {"set": True, "subject": made.subject, **limit_json(made)},
        as_json=as_json,
        show=lambda console: _say(console, f"Set: {made.label} at most {_amount(made)}, {_mode(made)}."),
    )


@quota.command("delete")
@click.argument("subject")
@click.argument("what", metavar="METRIC/WINDOW")
@json_option
@pass_session
def quota_delete(session: Session, *, subject: str, what: str, as_json: bool) -> None:
    """Delete a limit. What was used stays in the ledger."""
    metric, window = metric_and_window(what)
    named = TokenLimit(subject, metric, window, 0)

    async def work(context: "ToolContext") -> bool:
        return await context.service.delete_limit(subject, metric, window)

    if not session.run(work):
        raise InvalidInput("subject", f"there is no limit {named.label}; `tokenward quota list` shows all.")
    emit_json(
        {"deleted": True, "subject": subject, "metric": metric, "window": window},
        as_json=as_json,
        show=lambda console: _say(console, f"Deleted: {named.label}."),
    )


@quota.command("check")
@click.option("--tokens", type=click.IntRange(min=0), metavar="N", help="Input and output together.")
@click.option("--input", "input_tokens", type=click.IntRange(min=0), metavar="N")
@click.option("--max-output", type=click.IntRange(min=0), metavar="N")
@click.option("--messages", metavar="FILE", help="Count a chat request as the input: a JSON file.")
@click.option("--model", help="Needed where a limit is in money.")
@click.option("--user")
@click.option("--group")
@click.option("--session", "session_name")
@click.option("--priority", type=click.Choice(["low", "normal", "high"]), default="normal")
@click.option("--reserve", is_flag=True, help="Hold the amount; `record --reservation` settles it.")
@click.option("--ttl", type=click.IntRange(min=1), default=600, show_default=True, help="Seconds that a hold lasts.")
@click.option("--key", "idempotency_key", help="Idempotency key: the same one twice is one hold.")
@json_option
@pass_session
def quota_check(
    session: Session,
    *,
    tokens: int | None,
    input_tokens: int | None,
    max_output: int | None,
    messages: str | None,
    model: str | None,
    user: str | None,
    group: str | None,
    session_name: str | None,
    priority: "Priority",
    reserve: bool,
    ttl: int,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    """Check whether some work fits under every limit. Exits with 3 if it does not."""
    request = None if messages is None else read_request(messages).messages

    async def work(context: "ToolContext") -> "QuotaAnswer":
        from tokenward.tools.check_quota import check_quota  # noqa: PLC0415 - heavy

        return await check_quota(
            context,
            user=user,
            model=model,
            tokens=tokens,
            input_tokens=input_tokens,
            max_output_tokens=max_output,
            messages=request,
            group=group,
            session=session_name,
            priority=priority,
            reserve=reserve,
            ttl_seconds=ttl,
            idempotency_key=idempotency_key,
        )

    answer = session.run(work)
    emit(answer, as_json=as_json, show=lambda console: _show_answer(console, answer, asked=True))
    if not answer.allowed:
        raise click.exceptions.Exit(DENIED)


@quota.command("release")
@click.argument("reservation_id")
@json_option
@pass_session
def quota_release(session: Session, *, reservation_id: str, as_json: bool) -> None:
    """Give an unused hold back."""
    from tokenward.tools.release_quota import Released, release_quota  # noqa: PLC0415 - heavy

    async def work(context: "ToolContext") -> Released:
        return await release_quota(context, reservation_id)

    back = session.run(work)
    said = f"Gave {back.tokens:,} tokens back." if back.released else f"Nothing to give back: {back.reason}"
    emit(back, as_json=as_json, show=lambda console: _say(console, said))


# For people ---------------------------------------------------------------------------------------------------------


def _amount(limit: TokenLimit) -> str:
    return f"${usd(limit.limit)}" if limit.metric == "cost" else f"{limit.limit:,}"


def _mode(limit: TokenLimit) -> str:
    return "rolling" if limit.mode == "rolling" else f"by the calendar of {limit.timezone}"


def _say(console: "Console", text: str) -> None:
    from tokenward.server.commands.render import line  # noqa: PLC0415 - heavy

    line(console, text)


def _show_answer(console: "Console", answer: "QuotaAnswer", *, asked: bool = False) -> None:

    from tokenward.server.commands.render import duration, line, table  # noqa: PLC0415 - heavy

    if asked:
        line(
            console, "Allowed." if answer.allowed else f"Denied. {answer.reason}", "" if answer.allowed else "bold red"
        )
        if answer.retry_after_seconds is not None:
            line(console, f"It fits again in {duration(answer.retry_after_seconds)}.")
        if answer.reservation_id is not None:
            line(console, f"Reservation {answer.reservation_id} until {answer.expires_at}.")
    if answer.limits:
        rows = [
            (
                one.scope,
                f"{one.metric} per {one.window}",
                *(_unit(one.metric, value) for value in (one.limit, one.used, one.reserved, one.remaining)),
                one.resets_at,
            )
            for one in answer.limits
        ]
        columns = ["scope", "limit on", ">limit", ">used", ">reserved", ">left", "resets"]
        console.print(table(columns, rows))
    else:
        line(console, f"No limit applies to {answer.user}.")
    for warning in answer.warnings:
        line(console, f"Warning: {warning}", "yellow")


def _unit(metric: str, value: int | str) -> int | str:
    return f"${value}" if metric == "cost" else value
