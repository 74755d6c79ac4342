"""``record_usage``: one event for the ledger."""

from collections.abc import Sequence
from typing import Annotated

from tokenward.engine.errors import InvalidInput
from tokenward.engine.extraction import ExtractedUsage, extract_usage
from tokenward.engine.money import usd
from tokenward.engine.quota import Priority
from tokenward.engine.types import JsonObject
from tokenward.engine.usage import TokenUsage
from tokenward.requests import RecordRequest
from tokenward.tools.definition import ANYTHING, Result, Tool, ToolContext
from tokenward.tools.times import moment_us


class Recorded(Result):
    """The ledger's receipt. ``cost`` is unknown for a model without a price, and never 0 for unknown."""

    recorded: bool
    duplicate: bool
    event_id: str
    cost: str | None
    overage: bool
    user: str
    warnings: list[str] | None = None


async def record_usage(
    context: ToolContext,
    *,
    model: str,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cached_input_tokens: int = 0,
    cache_write_tokens: int = 0,
    cache_write_1h_tokens: Annotated[int, ANYTHING] = 0,
    reasoning_tokens: Annotated[int, ANYTHING] = 0,
    response: Annotated[JsonObject | None, ANYTHING] = None,
    user: str | None = None,
    group: str | None = None,
    session: str | None = None,
    endpoint: Annotated[str | None, ANYTHING] = None,
    priority: Annotated[Priority, ANYTHING] = "normal",
    reservation_id: str | None = None,
    idempotency_key: str | None = None,
    at: Annotated[str | None, ANYTHING] = None,
    counted_tokens: Annotated[int | None, ANYTHING] = None,
) -> Recorded:
    """Write one event, from token numbers or from the provider's own response, and settle its reservation."""
    parts = (cached_input_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens)
    extracted = usage_of(context, model, input_tokens, output_tokens, parts=parts, response=response)
    request = RecordRequest(
        model=model,
        usage=extracted.usage,
        tier=extracted.tier,
        user=user,
        group=group,
        session=session,
        endpoint=endpoint,
        priority=priority,
        reservation_id=reservation_id,
        idempotency_key=idempotency_key,
        at_us=None if at is None else moment_us("at", at, context.timezone),
        counted_tokens=counted_tokens,
    )
    return await recorded(context, request, extracted.warnings)


def usage_of(
    context: ToolContext,
    model: str,
    input_tokens: int | None,
    output_tokens: int | None,
    *,
    parts: Sequence[int],
    response: JsonObject | None,
) -> ExtractedUsage:
    """What was used, from token numbers or from the provider's response.

    Args:
        context: Knows the models.
        model: Whose usage it is.
        input_tokens: The whole input.
        output_tokens: The whole output.
        parts: Cached input, writes for 5 minutes, writes for an hour, reasoning.
        response: The provider's response, instead of all the numbers.

    Raises:
        InvalidInput: Both, neither, or numbers that cannot be.
    """
    if response is not None:
        if input_tokens is not None or output_tokens is not None or any(parts):
            raise InvalidInput("response", "give either response or the token numbers, not both.")
        return extract_usage(response, model, context.service.counter.catalog)
    if input_tokens is None or output_tokens is None:
        missing = "input_tokens" if input_tokens is None else "output_tokens"
        raise InvalidInput(missing, "give both input_tokens and output_tokens, or the provider's response instead.")
    return ExtractedUsage(model, TokenUsage(input_tokens, output_tokens, *parts))


async def recorded(context: ToolContext, request: RecordRequest, warnings: Sequence[str]) -> Recorded:
    """Write the event; the receipt, with what was to be said before."""
    receipt = await context.service.record_usage(request)
    return Recorded(
        recorded=receipt.recorded,
        duplicate=receipt.duplicate,
        event_id=receipt.event_id,
        cost=None if receipt.cost_nano is None else usd(receipt.cost_nano),
        overage=receipt.overage,
        user=receipt.user,
        warnings=[*warnings, *receipt.warnings] or None,
    )


TOOL = Tool(
    run=record_usage,
    description="Record tokens used.",
    result=Recorded,
    read_only=False,
    idempotent=False,
)
