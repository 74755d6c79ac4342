"""``tokenward cost`` and ``tokenward models``: prices."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import click

from tokenward.engine.types import JsonObject
from tokenward.server.cli_session import (
    ChatRequest,
    Session,
    emit,
    emit_json,
    json_option,
    pass_session,
    read_request,
    read_text,
)

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.engine.pricing import Tier
    from tokenward.tools.definition import ToolContext
    from tokenward.tools.estimate_cost import EstimatedCost, PricedWork

_COUNT = click.IntRange(min=0)
_WIDE_COLUMNS = 100


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

    async def work(context: "ToolContext") -> "EstimatedCost":
        from tokenward.tools.estimate_cost import estimate_cost  # noqa: PLC0415 - heavy

        if request is not None:
            price = partial(estimate_cost, context, output_tokens=output_tokens, tier=tier, at=at)
            return await _price_request(context, request, [model, *compare], price)
        return await estimate_cost(
            context,
            model=model,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cached_input_tokens=cached,
            cache_write_tokens=cache_write,
            cache_write_1h_tokens=cache_write_1h,
            reasoning_tokens=reasoning,
            text=text,
            tier=tier,
            compare=list(compare) or None,
            at=at,
        )

    priced = session.run(work)
    emit(priced, as_json=as_json, show=lambda console: _show_cost(console, priced))


async def _price_request(
    context: "ToolContext",
    request: ChatRequest,
    models: Sequence[str],
    price: "Callable[..., Awaitable[EstimatedCost]]",
) -> "EstimatedCost":
    """Price a whole request, its tool definitions and system prompt included, counted for each model."""
    from tokenward.tools.count_messages import count_messages  # noqa: PLC0415 - heavy
    from tokenward.tools.estimate_cost import EstimatedCost, PricedWork  # noqa: PLC0415 - heavy

    async def price_for(model: str) -> PricedWork:
        counted = await count_messages(
            context,
            messages=request.messages,
            model=model,
            tools=request.tools,
            tool_choice=request.tool_choice,
            system=request.system,
        )
        priced = await price(model=model, input_tokens=counted.tokens)
        return PricedWork.model_validate(priced.model_dump(exclude={"comparisons"}) | {"exact": counted.exact})

    first, *others = [await price_for(model) for model in models]
    return EstimatedCost(**dict(first), comparisons=others or None)


def _show_cost(console: "Console", priced: "EstimatedCost") -> None:
    from tokenward.server.render import line, money, table, tokens  # noqa: PLC0415 - heavy

    every: list[PricedWork] = [priced, *(priced.comparisons or [])]
    rows = [
        (
            one.model,
            one.provider,
            tokens(one.input_tokens, exact=one.exact),
            one.output_tokens,
            money(one.input_cost),
            money(one.output_cost),
            money(one.cache_cost),
            money(one.total_cost),
        )
        for one in every
    ]
    columns = ["model", "prices of", ">input", ">output", ">input cost", ">output cost", ">cache cost", ">total"]
    console.print(table(columns, rows))
    line(console, f"Tier {priced.tier}. Prices: {priced.price_source}, as of {priced.price_date}.", "dim")


# Models -------------------------------------------------------------------------------------------------------------


@click.command()
@click.option("--search", metavar="TEXT", default="", help="Only models whose name or provider contains this.")
@click.option("--family", metavar="NAME", default="", help="Only models of this family, such as openai or claude.")
@json_option
@pass_session
def models(session: Session, *, search: str, family: str, as_json: bool) -> None:
    """List the known models, what their counts are worth, their windows and prices."""

    async def work(context: "ToolContext") -> list[JsonObject]:
        rows = _known_models(context, search.lower(), family.lower())
        await _add_learned(context, rows)
        return rows

    found = session.run(work)
    listed: JsonObject = {"models": [*found]}
    emit_json(listed, as_json=as_json, show=lambda console: _show_models(console, found))


def _known_models(context: "ToolContext", search: str, family: str) -> list[JsonObject]:
    from tokenward.engine.errors import UnknownPrice  # noqa: PLC0415 - kept beside its only use
    from tokenward.engine.usage import TokenUsage  # noqa: PLC0415 - kept beside its only use
    from tokenward.server.worth import worth  # noqa: PLC0415 - heavy

    service = context.service
    rows: list[JsonObject] = []
    for info in service.counter.catalog.models():
        if search not in f"{info.name} {info.provider or ''}".lower() or family not in ("", info.family.lower()):
            continue
        counter = service.counter.text_counter(info.name)
        try:
            prices = service.calculator.calculate_cost(TokenUsage(1, 1), info.name).prices
        except UnknownPrice:
            prices = {}
        rows.append(
            {
                "model": info.name,
                "provider": info.provider,
                "family": info.family,
                "encoding": counter.info.encoding,
                **worth(counter),
                "learned": None,
                "context_window": info.context_window,
                "max_output_tokens": info.max_output_tokens,
                "prices": dict(prices) or None,
            }
        )
    return rows


async def _add_learned(context: "ToolContext", rows: Sequence[JsonObject]) -> None:
    """What recorded usage has taught about the estimates, where the ledger can be reached."""
    from tokenward.engine.errors import StoreError  # noqa: PLC0415 - kept beside its only use

    try:
        for row in rows:
            learned = None if row["exact"] else await context.service.learned(str(row["model"]))
            if learned is not None:
                row["learned"] = asdict(learned)
    except StoreError:
        return


def _show_models(console: "Console", rows: Sequence[JsonObject]) -> None:
    from tokenward.server.render import line, money, table  # noqa: PLC0415 - heavy
    from tokenward.server.worth import in_words  # noqa: PLC0415 - heavy

    def price(row: JsonObject, kind: str) -> str | None:
        prices = row["prices"]
        found = prices.get(kind) if isinstance(prices, dict) else None
        return money(found) if isinstance(found, str) else None

    columns = ["model", "provider", "count", ">window", ">input / M", ">output / M"]
    cells: list[list[object]] = [
        [
            row["model"],
            row["provider"],
            in_words(row),
            row["context_window"],
            price(row, "input"),
            price(row, "output"),
        ]
        for row in rows
    ]
    if console.width < _WIDE_COLUMNS:  # rather no provider than names in pieces
        del columns[1]
        for row_cells in cells:
            del row_cells[1]
            row_cells[1] = str(row_cells[1]).replace(" (", "\n(")
    console.print(table(columns, cells))
    line(console, f"{len(rows)} {'model' if len(rows) == 1 else 'models'}. Prices in USD per million tokens.", "dim")
    if any(in_words(row).startswith("learned") for row in rows):
        line(console, "Learned: real tokens per counted one, its range in nine requests of ten; requests.", "dim")
    ways = {str(row["make_exact"]): str(row["family"]) for row in rows if row["make_exact"]}
    for way, name in ways.items():
        line(console, f"Exact counts for {name}: {way}.", "dim")
