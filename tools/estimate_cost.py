"""``estimate_cost``: the price of a request, from token numbers or from the text itself."""

from typing import Annotated

from tokenward.engine.errors import InvalidInput
from tokenward.engine.money import usd
from tokenward.engine.pricing import Tier
from tokenward.engine.types import JsonObject
from tokenward.engine.usage import MAX_TOKENS, TokenUsage
from tokenward.service import CostEstimate, EstimateRequest
from tokenward.tools.definition import TEXT, Result, Tool, ToolContext
from tokenward.tools.times import moment_us
from tokenward.workers import run_sized

MAX_COMPARED = 20
"""Most models compared in one call, so that the answer stays small."""


class PricedWork(Result):
    """The work's price with one model. Money is in decimal strings."""

    model: str
    provider: str
    input_cost: str
    output_cost: str
    cache_cost: str
    total_cost: str
    currency: str = "USD"
    input_tokens: int
    output_tokens: int
    exact: bool
    prices: dict[str, str]
    price_source: str
    price_date: str
    tier: Tier


class EstimatedCost(PricedWork):
    """The price with the model asked for, and the same work with others."""

    comparisons: list[PricedWork] | None = None


async def estimate_cost(
    context: ToolContext,
    *,
    model: str,
    input_tokens: int | None = None,
    output_tokens: int = 0,
    cached_input_tokens: int = 0,
    cache_write_tokens: int = 0,
    cache_write_1h_tokens: int = 0,
    reasoning_tokens: int = 0,
    text: str | None = None,
    messages: list[JsonObject] | None = None,
    max_output_tokens: int | None = None,
    tier: Annotated[Tier, TEXT] = "standard",
    compare: list[str] | None = None,
    at: str | None = None,
) -> EstimatedCost:
    """Price token numbers, a text or messages."""
    if [input_tokens, text, messages].count(None) != 2:
        raise InvalidInput("input_tokens", "give exactly one of input_tokens, text or messages.")
    if output_tokens and max_output_tokens is not None:
        raise InvalidInput("max_output_tokens", "give either output_tokens or max_output_tokens.")
    if input_tokens is None:
        _refuse_parts(
            cached_input_tokens=cached_input_tokens,
            cache_write_tokens=cache_write_tokens,
            cache_write_1h_tokens=cache_write_1h_tokens,
            reasoning_tokens=reasoning_tokens,
        )
    if max_output_tokens is not None and not 0 <= max_output_tokens <= MAX_TOKENS:
        raise InvalidInput("max_output_tokens", f"give an integer from 0 to {MAX_TOKENS}.")
    if compare and len(compare) > MAX_COMPARED:
        raise InvalidInput("compare", f"names {len(compare)} models; give at most {MAX_COMPARED}.")
    usage = TokenUsage(
        input_tokens=input_tokens or 0,
        output_tokens=output_tokens or max_output_tokens or 0,
        cached_input_tokens=cached_input_tokens,
        cache_write_tokens=cache_write_tokens,
        cache_write_1h_tokens=cache_write_1h_tokens,
        reasoning_tokens=reasoning_tokens,
    )
    request = EstimateRequest(
        model=model,
        usage=None if input_tokens is None else usage,
        text=text,
        messages=messages,
        output_tokens=usage.output_tokens,
        tier=tier,
        compare=compare or (),
        at_us=None if at is None else moment_us("at", at, context.timezone),
    )

    def work() -> EstimatedCost:
        # Prices are loaded by the first call, vocabularies by the first text: 0.1 to 0.5 seconds.
        return _answer(context.service.estimate_cost(request))

    return await run_sized(work, text, messages)


def _answer(estimate: CostEstimate) -> EstimatedCost:
    comparisons = [_priced(one) for one in estimate.comparisons]
    return EstimatedCost(**dict(_priced(estimate)), comparisons=comparisons or None)


def _refuse_parts(**parts: int) -> None:
    for name, tokens in parts.items():
        if tokens:
            raise InvalidInput(name, "goes with input_tokens; a text or messages are priced as plain input.")


def _priced(estimate: CostEstimate) -> PricedWork:
    cost = estimate.cost
    return PricedWork(
        model=cost.model,
        provider=cost.provider,
        input_cost=usd(cost.input_nano),
        output_cost=usd(cost.output_nano),
        cache_cost=usd(cost.cache_nano),
        total_cost=usd(cost.total_nano),
        input_tokens=cost.usage.input_tokens,
        output_tokens=cost.usage.output_tokens,
        exact=estimate.exact,
        prices=cost.prices,
        price_source=cost.price_source,
        price_date=cost.price_date,
        tier=cost.tier,
    )


TOOL = Tool(
    run=estimate_cost,
    description="Price a request.",
    result=EstimatedCost,
    read_only=True,
    idempotent=True,
)
