"""``tokenward statusline``: the long way, for every store and every setting."""

from typing import TYPE_CHECKING

import click

from tokenward.engine.types import JsonObject
from tokenward.server.commands.session import Session, emit_json, json_option, pass_session, plain

if TYPE_CHECKING:
    from tokenward.engine.currency import Currency
    from tokenward.storage.glance import Glance
    from tokenward.tools.definition import ToolContext

PATIENCE_SECONDS = 5


@click.command()
@json_option
@pass_session
def statusline(session: Session, *, as_json: bool) -> None:
    """Print one line for an editor's status bar: today's usage, and the limit that is used most.

    \b
    Examples:
      tokenward statusline
      tokenward --user alice statusline --json
    """  # noqa: D301 - click reads the character
    found, timezone, currency = session.run(_look)
    from tokenward.server.statusline import line_of  # noqa: PLC0415 - kept beside its only use

    if as_json:
        emit_json(_document(found), as_json=True, show=lambda _: None)
    else:
        click.echo(plain(line_of(found, timezone, currency)))


async def _look(context: "ToolContext") -> "tuple[Glance, str, Currency]":
    """How the user stands; soon, or an error: a status bar does not wait as long as other commands do."""
    import anyio  # noqa: PLC0415 - heavy

    from tokenward.engine.errors import StoreUnavailable  # noqa: PLC0415 - kept beside its only use

    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            return await _looked(context)
    except TimeoutError:
        raise StoreUnavailable(f"The ledger did not answer within {PATIENCE_SECONDS} seconds.") from None


async def _looked(context: "ToolContext") -> "tuple[Glance, str, Currency]":
    from tokenward.engine.limits import Subjects  # noqa: PLC0415 - kept beside its only use
    from tokenward.engine.usage import UsageQuery  # noqa: PLC0415 - heavy
    from tokenward.engine.windows import Span  # noqa: PLC0415 - heavy
    from tokenward.storage.glance import Glance  # noqa: PLC0415 - heavy

    service, user = context.service, context.service.default_user
    start_us, end_us = Span("day", "calendar", context.timezone).period(service.clock())
    sums = await service.tracker.usage(UsageQuery(start_us, end_us, "user", user))
    limits = await (await service.ledger()).status(Subjects(user))
    tokens = sum(one.total_tokens for one in sums)
    cost_nano = sum(one.cost_nano for one in sums)
    unpriced = sum(one.unpriced_requests for one in sums)
    return Glance(user, tokens, cost_nano, unpriced, limits), context.timezone, service.currency


def _document(one: "Glance") -> JsonObject:
    from tokenward.engine.limits import amount_text  # noqa: PLC0415 - kept beside its only use
    from tokenward.engine.money import usd  # noqa: PLC0415 - kept beside its only use

    return {
        "user": one.user,
        "tokens_today": one.tokens,
        "cost_today": usd(one.cost_nano),
        "unpriced_requests": one.unpriced_requests,
        "limits": [
            {
                "limit": each.limit.label,
                "used": amount_text(each.limit.metric, each.used + each.reserved),
                "remaining": amount_text(each.limit.metric, each.remaining),
            }
            for each in one.limits
        ],
    }
