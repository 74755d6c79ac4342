"""``estimate_cost``: the price of a request, from token numbers or from the text itself."""

from typing import Annotated

from tokenward.costs import CostEstimate, EstimateRequest
from tokenward.engine.currency import Currency
from tokenward.engine.errors import InvalidInput
from tokenward.engine.money import decimal_text
from tokenward.engine.prices.second_opinion import Disagreement
from tokenward.engine.pricing import Tier
from tokenward.engine.types import JsonObject
from tokenward.engine.usage import MAX_TOKENS, TokenUsage
from tokenward.tools.definition import TEXT, Result, Tool, ToolContext
from tokenward.tools.times import moment_us
from tokenward.workers import run_sized

MAX_COMPARED = 20
"""Most models compared in one call, so that the answer stays small."""


class OtherPrice(Result):
    """A price that two lists state differently, per million tokens."""

    ours: str
    theirs: str
    ratio: str


class OtherPrices(Result):
    """Where another price list states other prices."""

    source: str
    date: str
    prices: dict[str, OtherPrice]


class ExchangeRate(Result):
    """What one US dollar is in the currency of the answer."""

    rate: str
    date: str | None
    source: str | None


class PricedWork(Result):
    """The work's price with one model. Money is in decimal strings, in ``currency``."""

    model: str
    provider: str
    input_cost: str
    output_cost: str
    cache_cost: str
    total_cost: str
    currency: str
    input_tokens: int
    output_tokens: int
    exact: bool
    prices: dict[str, str]
    price_source: str
    price_date: str
    price_age_days: int | None
    tier: Tier
    disagrees_with: OtherPrices | None = None
    warnings: list[str] | None = None


class ComparedWork(PricedWork):
    """The same work with another model."""

    recounted: bool
    token_ratio: str | None


class EstimatedCost(PricedWork):
    """The price with the model asked for, and the same work with others."""

    exchange_rate: ExchangeRate | None = None
    comparisons: list[ComparedWork] | None = None


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
    if max_output_tokens is not None and not 0 <= max_output_tokens <= MAX_TOKENS:
        raise InvalidInput("max_output_tokens", f"give an integer from 0 to {MAX_TOKENS}.")
    output_tokens = output_tokens or max_output_tokens or 0
    usage = stated_usage(
        input_tokens,
        output_tokens,
        cached_input_tokens=cached_input_tokens,
        cache_write_tokens=cache_write_tokens,
        cache_write_1h_tokens=cache_write_1h_tokens,
        reasoning_tokens=reasoning_tokens,
    )
    request = EstimateRequest(
        model=model,
        usage=usage,
        text=text,
        messages=messages,
        output_tokens=output_tokens,
        tier=tier,
        compare=compare or (),
        at_us=None if at is None else moment_us("at", at, context.timezone),
    )
    return await price_work(context, request, context.service.currency)


def stated_usage(input_tokens: int | None, output_tokens: int, **parts: int) -> TokenUsage | None:
    """The usage that numbers state; ``None`` where the input is to be counted, whose parts nobody knows.

    Raises:
        InvalidInput: Numbers that cannot be, or parts of an input that is to be counted.
    """
    for name, tokens in parts.items():
        if tokens and input_tokens is None:
            raise InvalidInput(name, "goes with input_tokens; a text or messages are priced as plain input.")
    usage = TokenUsage(input_tokens or 0, output_tokens, **parts)
    return None if input_tokens is None else usage


async def price_work(context: ToolContext, request: EstimateRequest, currency: Currency) -> EstimatedCost:
    """Price work, with at most ``MAX_COMPARED`` other models beside it."""
    if len(request.compare) > MAX_COMPARED:
        raise InvalidInput("compare", f"names {len(request.compare)} models; give at most {MAX_COMPARED}.")

    def work() -> EstimatedCost:
        # Prices are loaded by the first call, vocabularies by the first text: 0.1 to 0.5 seconds.
        return answer(context.service.estimate_cost(request), currency)

    return await run_sized(work, request.text, request.messages)


def answer(estimate: CostEstimate, currency: Currency) -> EstimatedCost:
    """An estimate as it is shown."""
    others = [
        ComparedWork(**dict(_priced(one, currency)), recounted=one.recounted, token_ratio=one.token_ratio)
        for one in estimate.comparisons
    ]
    return EstimatedCost(
        **dict(_priced(estimate, currency)), exchange_rate=_exchange_rate(currency), comparisons=others or None
    )


def _priced(estimate: CostEstimate, currency: Currency) -> PricedWork:
    cost = estimate.cost
    return PricedWork(
        model=cost.model,
        provider=cost.provider,
        input_cost=currency.text(cost.input_nano),
        output_cost=currency.text(cost.output_nano),
        cache_cost=currency.text(cost.cache_nano),
        total_cost=currency.text(cost.total_nano),
        currency=currency.code,
        input_tokens=cost.usage.input_tokens,
        output_tokens=cost.usage.output_tokens,
        exact=estimate.exact,
        prices={kind: currency.price(price) for kind, price in cost.prices.items()},
        price_source=cost.price_source,
        price_date=cost.price_date,
        price_age_days=cost.price_age_days,
        tier=cost.tier,
        disagrees_with=_other_prices(cost.disagrees_with, currency),
        warnings=list(cost.warnings) or None,
    )


def _other_prices(found: Disagreement | None, currency: Currency) -> OtherPrices | None:
    if found is None:
        return None
    prices = {
        kind: OtherPrice(ours=currency.price(one.ours), theirs=currency.price(one.theirs), ratio=one.ratio)
        for kind, one in found.prices.items()
    }
    return OtherPrices(source=found.source, date=found.date, prices=prices)


def _exchange_rate(currency: Currency) -> ExchangeRate | None:
    if currency.is_usd:
        return None
    return ExchangeRate(rate=decimal_text(currency.rate), date=currency.date or None, source=currency.source or None)


TOOL = Tool(
    run=estimate_cost,
    description="Price a request.",
    result=EstimatedCost,
    read_only=True,
    idempotent=True,
)
