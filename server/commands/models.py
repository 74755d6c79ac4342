"""``tokenward models``: what is known of each model."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tokenward.engine.types import JsonObject
from tokenward.server.commands.session import Session, emit_json, json_option, pass_session

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.engine.pricing import PriceState
    from tokenward.tools.definition import ToolContext

_WIDE_COLUMNS = 100


@click.command()
@click.option("--search", metavar="TEXT", default="", help="Only models whose name or provider contains this.")
@click.option("--family", metavar="NAME", default="", help="Only models of this family, such as openai or claude.")
@json_option
@pass_session
def models(session: Session, *, search: str, family: str, as_json: bool) -> None:
    """List the known models, what their counts are worth, their limits and prices, and how old the prices are."""

    async def work(context: "ToolContext") -> tuple[list[JsonObject], "PriceState"]:
        rows = _known_models(context, search.lower(), family.lower())
        await _add_learned(context, rows)
        return rows, context.service.calculator.price_state

    found, state = session.run(work)
    listed: JsonObject = {
        "models": [*found],
        "price_source": state.source,
        "price_date": state.date,
        "price_age_days": state.age_days,
        "warnings": [*state.warnings],
    }
    emit_json(listed, as_json=as_json, show=lambda console: _show_models(console, found, state))


def _known_models(context: "ToolContext", search: str, family: str) -> list[JsonObject]:
    from tokenward.engine.errors import UnknownPrice  # noqa: PLC0415 - kept beside its only use
    from tokenward.engine.usage import TokenUsage  # noqa: PLC0415 - kept beside its only use
    from tokenward.server.commands.worth import worth  # noqa: PLC0415 - heavy

    service = context.service
    rows: list[JsonObject] = []
    catalog = service.counter.catalog
    own = [info for info in map(catalog.resolve, service.calculator.own_names) if not info.known]
    for info in [*catalog.models(), *own]:
        if search not in f"{info.requested} {info.provider or ''}".lower() or family not in ("", info.family.lower()):
            continue
        counter = service.counter.text_counter(info.requested)
        try:
            prices = service.calculator.calculate_cost(TokenUsage(1, 1), info.requested).prices
        except UnknownPrice:
            prices = {}
        rows.append(
            {
                "model": info.requested,
                "provider": info.provider,
                "family": info.family,
                "encoding": counter.info.encoding,
                **worth(counter),
                "learned": None,
                "context_window": info.context_window,
                "max_input_tokens": info.max_input_tokens or info.context_window,
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


def _show_models(console: "Console", rows: Sequence[JsonObject], state: "PriceState") -> None:
    from tokenward.server.commands.render import line, money, table  # noqa: PLC0415 - heavy
    from tokenward.server.commands.worth import in_words  # noqa: PLC0415 - heavy

    def price(row: JsonObject, kind: str) -> str | None:
        prices = row["prices"]
        found = prices.get(kind) if isinstance(prices, dict) else None
        return money(found) if isinstance(found, str) else None

    columns = ["model", "provider", "count", ">window", ">max output", ">input / M", ">output / M"]
    cells: list[list[object]] = [
        [
            row["model"],
            row["provider"],
            in_words(row),
            row["context_window"],
            row["max_output_tokens"],
            price(row, "input"),
            price(row, "output"),
        ]
        for row in rows
    ]
    if console.width < _WIDE_COLUMNS:  # rather no provider and no limit of output than names in pieces
        del columns[1], columns[3]
        for row_cells in cells:
            del row_cells[1], row_cells[3]
            row_cells[1] = str(row_cells[1]).replace(" (", "\n(")
    console.print(table(columns, cells))
    line(console, f"{len(rows)} {'model' if len(rows) == 1 else 'models'}. Prices in USD per million tokens.", "dim")
    age = "" if state.age_days is None else f", {state.age_days} days old"
    line(console, f"Prices: {state.source}, as of {state.date}{age}.", "dim")
    for warning in state.warnings:
        line(console, warning, "yellow")
    if any(in_words(row).startswith("learned") for row in rows):
        line(console, "Learned: real tokens per counted one, its range in nine requests of ten; requests.", "dim")
    ways = {str(row["make_exact"]): str(row["family"]) for row in rows if row["make_exact"]}
    for way, name in ways.items():
        line(console, f"Exact counts for {name}: {way}.", "dim")
