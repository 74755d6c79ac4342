"""``tokenward budget``: a session's share of the limits or of another session's budget."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tokenward.engine.times import rfc3339
from tokenward.engine.types import SECOND_US, JsonObject
from tokenward.server.commands.quota import DENIED
from tokenward.server.commands.session import Session, emit_json, json_option, pass_session

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.requests import BudgetAnswer
    from tokenward.tools.definition import ToolContext

_user_option = click.option("--user", help="Whose session; the configured user by default.")


@click.group()
def budget() -> None:
    """Give a session a budget of its own, see how it stands, take it back.

    Work that names the session draws from its budget. What it uses counts under every limit above it too.
    """


@budget.command("open")
@click.argument("session_name", metavar="SESSION")
@_user_option
@click.option("--group", help="A group whose limits apply too.")
@click.option("--parent", metavar="SESSION", help="Take it from this session's budget, not from the limits.")
@click.option("--tokens", type=click.IntRange(min=0), metavar="N")
@click.option("--cost", metavar="USD", help="Such as 2.50.")
@click.option("--requests", type=click.IntRange(min=0), metavar="N")
@click.option("--ttl", type=click.IntRange(min=1), default=3600, show_default=True, help="Seconds that it lasts.")
@json_option
@pass_session
def budget_open(
    session: Session,
    *,
    session_name: str,
    user: str | None,
    group: str | None,
    parent: str | None,
    tokens: int | None,
    cost: str | None,
    requests: int | None,
    ttl: int,
    as_json: bool,
) -> None:
    """Give a SESSION a budget. Exits with 3 if it does not fit.

    \b
    Examples:
      tokenward budget open research --cost 2.50 --tokens 500000
      tokenward budget open research-helper --parent research --tokens 100000
    """  # noqa: D301 - click reads the character

    async def work(context: "ToolContext") -> "BudgetAnswer":
        from tokenward.requests import BudgetRequest  # noqa: PLC0415 - heavy

        request = BudgetRequest(
            session=session_name,
            user=user,
            group=group,
            parent=parent,
            tokens=tokens,
            cost=None if cost is None else cost.removeprefix("$"),
            requests=requests,
            ttl_seconds=ttl,
        )
        return await context.service.open_budget(request)

    answer = session.run(work)
    _emit(answer, as_json=as_json)
    if not answer.allowed:
        raise click.exceptions.Exit(DENIED)


@budget.command("show")
@click.argument("session_name", metavar="SESSION")
@_user_option
@json_option
@pass_session
def budget_show(session: Session, *, session_name: str, user: str | None, as_json: bool) -> None:
    """Show how a SESSION's open budget stands."""

    async def work(context: "ToolContext") -> "BudgetAnswer":
        return await context.service.budget(session_name, user)

    _emit(session.run(work), as_json=as_json)


@budget.command("close")
@click.argument("session_name", metavar="SESSION")
@_user_option
@json_option
@pass_session
def budget_close(session: Session, *, session_name: str, user: str | None, as_json: bool) -> None:
    """Close a SESSION's budget; what is left goes back."""

    async def work(context: "ToolContext") -> "BudgetAnswer":
        return await context.service.close_budget(session_name, user)

    _emit(session.run(work), as_json=as_json)


def _emit(answer: "BudgetAnswer", *, as_json: bool) -> None:
    emit_json(_document(answer), as_json=as_json, show=lambda console: _show(console, answer))


def _document(answer: "BudgetAnswer") -> JsonObject:
    """The answer with its times as callers write them."""
    document: JsonObject = asdict(answer)
    for name in ("expires", "ended"):
        moment_us = document.pop(f"{name}_us")
        document[f"{name}_at"] = rfc3339(moment_us) if isinstance(moment_us, int) else None
    return document


def _show(console: "Console", answer: "BudgetAnswer") -> None:
    from tokenward.server.commands.render import duration, line, money, table  # noqa: PLC0415 - heavy

    if not answer.allowed:
        line(console, f"Denied. {answer.reason}", "bold red")
        if answer.retry_after_seconds is not None:
            line(console, f"It fits again in {duration(answer.retry_after_seconds)}.")
    else:
        source = "the limits" if answer.parent is None else f"session {answer.parent}"
        line(console, f"Budget of session {answer.session} of {answer.user}, from {source}.")
        if answer.ended_us is not None:
            line(console, f"Closed {_second(answer.ended_us)}; what was left went back.")
        elif answer.expires_us is not None:
            line(console, f"Open until {_second(answer.expires_us)}.")
        given, used, left = answer.given, answer.used, answer.remaining
        rows = [
            ("tokens", given.tokens, used.tokens, left.tokens),
            ("cost", money(given.cost), money(used.cost), money(left.cost)),
            ("requests", given.requests, used.requests, left.requests),
        ]
        columns = ["of", ">given", ">used", ">went back" if answer.ended_us is not None else ">left"]
        console.print(table(columns, [row for row in rows if row[1] is not None]))
    for warning in answer.warnings:
        line(console, f"Warning: {warning}", "yellow")


def _second(moment_us: int) -> str:
    """A moment as far as people care."""
    return rfc3339(moment_us // SECOND_US * SECOND_US)
