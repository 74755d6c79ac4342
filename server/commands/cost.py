"""``tokenward cost``: what work costs."""

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from tokenward.server.commands.session import (
    ChatRequest,
    Session,
    emit,
    json_option,
    pass_session,
    read_request,
    read_text,
)

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.costs import CostEstimate, EstimateRequest
    from tokenward.engine.currency import Currency
    from tokenward.engine.pricing import Tier
    from tokenward.tools.definition import ToolContext
    from tokenward.tools.estimate_cost import ComparedWork, EstimatedCost, OtherPrices, PricedWork

_COUNT = click.IntRange(min=0)


@click.command()
@click.option("--model", required=True)
@click.option("--input", "input_tokens", type=_COUNT, metavar="N", help="Input tokens, cached ones included.")
@click.option("--output", "output_tokens", type=_COUNT, metavar="N", default=0, help="Output, reasoning included.")
@click.option("--cached", type=_COUNT, metavar="N", default=0, help="Part of the input read from the cache.")
@click.option("--cache-write", type=_COUNT, metavar="N", default=0, help="Part of the input cached for 5 minutes.")
@click.option("--cache-write-1h", type=_COUNT, metavar="N", default=0, help="Part of the input cached for an hour.")
@click.option("--reasoning", type=_COUNT, metavar="N", default=0, help="Part of the output spent on reasoning.")
@click.option("--tier", type=click.Choice(["standard", "batch", "flex", "priority"]), default="standard")
@click.option("--at", metavar="DATE", help="The price of that day: 2026-11-21 or RFC 3339.")
@click.option("--compare", "compare", multiple=True, metavar="MODEL", help="Price it with this model too; repeatable.")
@click.option("--text", help='Count this text as the input; "-" reads standard input.')
@click.option("--messages", metavar="FILE", help="Count a chat request as the input: a JSON file.")
@click.option("--currency", metavar="CODE", help="Show it in this currency: USD, or one with a rate in the settings.")
@json_option
@pass_session
def cost(
    session: Session,
    *,
    model: str,
    input_tokens: int | None,
    output_tokens: int,
    cached: int,
    cache_write: int,
    cache_write_1h: int,
    reasoning: int,
    tier: "Tier",
    at: str | None,
    compare: tuple[str, ...],
    text: str | None,
    messages: str | None,
    currency: str | None,
    as_json: bool,
) -> None:
    """Price a request.

    Its input is given as a number of tokens, or counted from a text or a chat request.

    \b
    Examples:
      tokenward cost --model gpt-4o --input 12000 --output 800 --cached 10000
      tokenward cost --model gpt-4o --messages request.json --output 500 --compare claude-sonnet-4-5
    """  # noqa: D301 - click reads the character
    if [input_tokens, text, messages].count(None) != 2:
        raise click.UsageError("Give exactly one of --input, --text and --messages.")
    request = None if messages is None else read_request(messages)
    if text == "-":
        text = read_text("-", "text")

    async def priced_work(context: "ToolContext") -> "tuple[EstimatedCost, Currency]":
        from tokenward.costs import EstimateRequest  # noqa: PLC0415 - heavy
        from tokenward.tools.estimate_cost import price_work, stated_usage  # noqa: PLC0415 - heavy
        from tokenward.tools.times import moment_us  # noqa: PLC0415 - heavy

        shown_in = context.service.currencies.find(currency)
        work = EstimateRequest(
            model=model,
            usage=stated_usage(
                input_tokens,
                output_tokens,
                cached_input_tokens=cached,
                cache_write_tokens=cache_write,
                cache_write_1h_tokens=cache_write_1h,
                reasoning_tokens=reasoning,
            ),
            text=text,
            output_tokens=output_tokens,
            tier=tier,
            compare=compare,
            at_us=None if at is None else moment_us("at", at, context.timezone),
        )
        if request is None:
            return await price_work(context, work, shown_in), shown_in
        return await _price_request(context, request, work, shown_in), shown_in

    priced, shown_in = session.run(priced_work)
    emit(priced, as_json=as_json, show=lambda console: _show_cost(console, priced, shown_in))


async def _price_request(
    context: "ToolContext", request: ChatRequest, work: "EstimateRequest", currency: "Currency"
) -> "EstimatedCost":
    """Price a whole request, its tool definitions and system prompt included, counted for each model."""
    from tokenward.costs import EstimateRequest  # noqa: PLC0415 - heavy
    from tokenward.engine.usage import TokenUsage  # noqa: PLC0415 - kept beside its only use
    from tokenward.tools.count_messages import count_messages  # noqa: PLC0415 - heavy
    from tokenward.tools.estimate_cost import answer  # noqa: PLC0415 - heavy

    async def price(model: str) -> "CostEstimate":
        counted = await count_messages(
            context,
            messages=request.messages,
            model=model,
            tools=request.tools or None,
            tool_choice=request.tool_choice,
            system=request.system,
        )
        usage = TokenUsage(counted.tokens, work.output_tokens)
        numbers = EstimateRequest(model=model, usage=usage, tier=work.tier, at_us=work.at_us)
        return replace(context.service.estimate_cost(numbers), exact=counted.exact)

    first, *others = [await price(model) for model in (work.model, *work.compare)]
    return answer(first.compared(others), currency)


def _show_cost(console: "Console", priced: "EstimatedCost", currency: "Currency") -> None:
    from tokenward.server.commands.render import line, table  # noqa: PLC0415 - heavy

    every: list[PricedWork] = [priced, *(priced.comparisons or [])]
    columns = ["model", "prices of", ">input", ">output", ">input cost", ">output cost", ">cache cost", ">total"]
    rows = [_cost_row(one, currency) for one in every]
    if priced.comparisons:
        columns.insert(3, ">tokens")
        for row, ratio in zip(rows, ["", *map(_ratio, priced.comparisons)], strict=True):
            row.insert(3, ratio)
    console.print(table(columns, rows))
    line(console, f"Tier {priced.tier}. {_prices_in_words(priced, currency)}", "dim")
    for one in every:
        if one.disagrees_with is not None:
            line(console, f"{one.model}: {_difference(one.disagrees_with)}", "yellow")
    for warning in dict.fromkeys(warning for one in every for warning in one.warnings or ()):
        line(console, warning, "yellow")


def _cost_row(one: "PricedWork", currency: "Currency") -> list[object]:
    from tokenward.server.commands.render import tokens  # noqa: PLC0415 - heavy

    costs = (one.input_cost, one.output_cost, one.cache_cost, one.total_cost)
    numbers = (tokens(one.input_tokens, exact=one.exact), one.output_tokens)
    return [one.model, one.provider, *numbers, *map(currency.label, costs)]


def _ratio(one: "ComparedWork") -> str:
    """How many times the first model's tokens it has, or that they are the first model's numbers."""
    if not one.recounted:
        return "as given"
    return f"x {one.token_ratio}" if one.token_ratio else ""


def _difference(other: "OtherPrices") -> str:
    prices = (f"{price.theirs} for {kind}, not {price.ours}" for kind, price in other.prices.items())
    return f"{other.source} of {other.date} states other prices per million: {'; '.join(prices)}."


def _prices_in_words(priced: "EstimatedCost", currency: "Currency") -> str:
    """Where the prices are from, how old they are, and the exchange rate."""
    age = "" if priced.price_age_days is None else f" ({priced.price_age_days} days old)"
    words = f"Prices: {priced.price_source}, as of {priced.price_date}{age}."
    return words if currency.is_usd else f"{words} {currency.note}."
