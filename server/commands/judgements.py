"""``tokenward what-if`` and ``tokenward replay``: what recorded requests would have cost or been refused otherwise."""

from typing import TYPE_CHECKING, get_args

import click

from tokenward.engine.usage import Tier
from tokenward.server.commands.judgements_show import replay_json, show_replay, show_what_if, what_if_json
from tokenward.server.commands.limits import limit_of
from tokenward.server.commands.session import Session, emit_json, json_option, pass_session, since_option, until_option

if TYPE_CHECKING:
    from tokenward.engine.currency import Currency
    from tokenward.engine.reports.replay import ReplayReport
    from tokenward.engine.reports.what_if import WhatIfReport
    from tokenward.tools.definition import ToolContext

_DEFAULT_PERIOD = "30d"

_period = click.option("--period", help=f"Such as 24h, 7d, 12w, today or month. [default: {_DEFAULT_PERIOD}]")
_timezone = click.option("--timezone", metavar="ZONE", help="IANA zone of dates and calendar limits.")


@click.command("what-if")
@click.option("--model", help="Every request goes to this model.")
@click.option("--tier", type=click.Choice(get_args(Tier)), help="Every request is served in this tier, such as batch.")
@click.option("--cached", type=click.IntRange(0, 100), metavar="PERCENT", help="So much of every input is cached.")
@click.option("--user", help="Only this user's requests; everybody's by default.")
@_period
@since_option
@until_option
@_timezone
@json_option
@pass_session
def what_if(
    session: Session,
    *,
    model: str | None,
    tier: Tier | None,
    cached: int | None,
    user: str | None,
    period: str | None,
    since: str | None,
    until: str | None,
    timezone: str | None,
    as_json: bool,
) -> None:
    """Price recorded requests as if they had been served otherwise.

    Their tokens stay as they were recorded. Each is priced at its own date and by its own size.

    \b
    Examples:
      tokenward what-if --model gpt-4o-mini --period month
      tokenward what-if --tier batch --since 2026-11-01
      tokenward what-if --model claude-sonnet-4-5 --cached 70
    """  # noqa: D301 - click reads the character
    from tokenward.engine.reports.what_if import Scenario  # noqa: PLC0415 - heavy

    scenario = Scenario(model=model, tier=tier, cached_percent=cached)

    async def work(context: "ToolContext") -> "tuple[WhatIfReport, Currency]":
        from tokenward.judgements import WhatIfRequest  # noqa: PLC0415 - heavy

        start_us, end_us = _span(context, since, until, period, timezone)
        request = WhatIfRequest(start_us=start_us, end_us=end_us, scenario=scenario, user=user)
        return await context.service.reports.what_if(request), context.service.currencies.default

    made, currency = session.run(work)
    emit_json(what_if_json(made, currency), as_json=as_json, show=lambda console: show_what_if(console, made, currency))


@click.command()
@click.option("--limit", "limits", multiple=True, metavar="LIMIT", help="A limit to try; those in force by default.")
@_period
@since_option
@until_option
@_timezone
@json_option
@pass_session
def replay(
    session: Session,
    *,
    limits: tuple[str, ...],
    period: str | None,
    since: str | None,
    until: str | None,
    timezone: str | None,
    as_json: bool,
) -> None:
    """Find out what limits would have refused. Nothing is changed.

    LIMIT is SUBJECT:METRIC:WINDOW=AMOUNT, such as user:alice:tokens:day=100000 or default:cost:month=25.00. A window
    rolls, and a month is the calendar's; day@Europe/Berlin is the calendar's in that zone, month@rolling rolls.

    \b
    Examples:
      tokenward replay --since 2026-10-01 --until 2026-11-01
      tokenward replay --limit default:tokens:day=500000 --limit global:cost:month=200
    """  # noqa: D301 - click reads the character

    async def work(context: "ToolContext") -> "tuple[ReplayReport, Currency]":
        from tokenward.judgements import ReplayRequest  # noqa: PLC0415 - heavy

        zone = context.timezone if timezone is None else timezone
        start_us, end_us = _span(context, since, until, period, timezone)
        tried = [limit_of(one, zone) for one in limits] or None
        request = ReplayRequest(start_us=start_us, end_us=end_us, limits=tried)
        return await context.service.reports.replay(request), context.service.currencies.default

    made, currency = session.run(work)
    emit_json(replay_json(made), as_json=as_json, show=lambda console: show_replay(console, made, currency))


def _span(
    context: "ToolContext", since: str | None, until: str | None, period: str | None, timezone: str | None
) -> tuple[int, int]:
    from tokenward.tools.times import asked_period  # noqa: PLC0415 - heavy

    if since is None and until is None and period is None:
        period = _DEFAULT_PERIOD
    asked = asked_period(context, since, until, period, timezone)
    return asked["start_us"], asked["end_us"]
