"""``tokenward record``: writing to the ledger."""

from typing import TYPE_CHECKING

import click

from tokenward.engine.errors import InvalidInput
from tokenward.engine.types import JsonObject
from tokenward.server.commands.session import Session, emit, json_option, pass_session, read_json, warn

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.engine.quota import Priority
    from tokenward.tools.definition import ToolContext
    from tokenward.tools.record_usage import Recorded

_COUNT = click.IntRange(min=0)


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
@click.option("--estimated", is_flag=True, help="The numbers are an estimate, not the provider's.")
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
    estimated: bool,
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
        from tokenward.requests import RecordRequest  # noqa: PLC0415 - heavy
        from tokenward.tools.record_usage import recorded, usage_of  # noqa: PLC0415 - heavy
        from tokenward.tools.times import moment_us  # noqa: PLC0415 - heavy

        parts = (cached, cache_write, cache_write_1h, reasoning)
        extracted = usage_of(context, model, input_tokens, output_tokens, parts=parts, response=answered)
        request = RecordRequest(
            model=model,
            usage=extracted.usage,
            tier=extracted.tier,
            user=user,
            group=group,
            session=session_name,
            endpoint=endpoint,
            priority=priority,
            reservation_id=reservation,
            idempotency_key=key,
            at_us=None if at is None else moment_us("at", at, context.timezone),
            counted_tokens=counted,
            estimated=estimated,
        )
        return await recorded(context, request, extracted.warnings)

    receipt = session.run(work)
    emit(receipt, as_json=as_json, show=lambda console: _show_receipt(console, receipt))
    for warning in receipt.warnings or ():
        warn(warning)


def _response(path: str) -> JsonObject:
    document = read_json(path, "response")
    if not isinstance(document, dict):
        raise InvalidInput("response", "expected a JSON object: the provider's response or its usage object.")
    return document


# For people ---------------------------------------------------------------------------------------------------------


def _show_receipt(console: "Console", receipt: "Recorded") -> None:
    from tokenward.server.commands.render import line, money  # noqa: PLC0415 - heavy

    what = "Already recorded" if receipt.duplicate else "Recorded"
    cost = money(receipt.cost) or "an unknown price"
    line(console, f"{what} for {receipt.user}: {cost}. Event {receipt.event_id}.")
