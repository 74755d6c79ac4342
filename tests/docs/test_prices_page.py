"""The page on prices says what is true: its settings can be loaded and price what they are said to price."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tokenward.engine.datafiles import object_at, read_json
from tokenward.engine.errors import UnknownPrice
from tokenward.engine.pricing import STALE_DAYS, Cost, CostCalculator
from tokenward.engine.usage import Tier, TokenUsage
from tokenward.server.price_settings import PriceSetting
from tokenward.server.settings import Settings, load_settings

PAGE = (Path(__file__).parents[2] / "docs" / "prices.md").read_text("utf-8")
NOW_US = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Settings]:
    """The settings of one of the page's blocks."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TOKENWARD_{name.upper()}", raising=False)

    def read(number: int) -> Settings:
        file = tmp_path / "config.toml"
        file.write_text(PAGE.split("```toml\n")[number].partition("```")[0], "utf-8")
        return load_settings(file)

    return read


@pytest.mark.parametrize(
    ("model", "day", "price", "source"),
    [
        ("my-model", "2026-11-21", "0.50", "own prices (contract 4711)"),
        ("ollama/llama3", "2026-11-21", "0.00", "own prices"),
        ("gpt-4o", "2026-11-21", "2.125", "own prices on genai-prices"),
        ("my-clone", "2026-11-21", "2.50", "own prices on genai-prices"),
        ("gpt-5", "2026-06-30", "1.00", "own prices"),
        ("gpt-5", "2026-07-01", "1.125", "own prices on genai-prices"),
    ],
)
def test_own_prices_of_the_page(load: Callable[[int], Settings], model: str, day: str, price: str, source: str) -> None:
    calculator = CostCalculator(clock=lambda: NOW_US, own=load(1).own_prices)
    at_us = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000
    cost = calculator.calculate_cost(TokenUsage(1), model, at_us=at_us)
    assert cost.prices["input"] == price
    assert cost.price_source.startswith(source)


def test_currencies_of_the_page(load: Callable[[int], Settings]) -> None:
    currencies = load(2).currencies
    assert currencies.default.note == "1 USD = 0.92 EUR, as of 2026-11-20 (ECB)"
    assert currencies.find("GBP").text(10**9) == "0.79"


def test_every_key_of_a_price_is_named() -> None:
    keys = {field.alias or name for name, field in PriceSetting.model_fields.items()}
    assert {key for key in keys if key not in PAGE} == set()
    assert f"older than {STALE_DAYS} days" in PAGE


TIERS: tuple[Tier, ...] = ("standard", "batch", "flex", "priority")


def rows_of_differences() -> Iterator[tuple[str, int, str, str]]:
    """The page's table: each model, the input from which it holds, and input and output by either list."""
    table = PAGE.partition("| Model | genai-prices | LiteLLM |")[2].partition("\n\n")[0]
    for row in table.splitlines()[2:]:
        models, ours, theirs = (cell.strip() for cell in row.split("|")[1:4])
        above = re.search(r"above ([\d,]+)", models)
        names = re.findall("`(.+?)`", models)
        for index, name in enumerate(names):
            prices = [cell.split(", ")[index if ", " in cell else 0] for cell in (ours, theirs)]
            yield name, int(above[1].replace(",", "")) + 1 if above else 1, prices[0], prices[1]


def costs_of_the_second_list() -> Iterator[tuple[str, Cost]]:
    """Our cost of all that it states a price for: each model, tier and size."""
    calculator, models = CostCalculator(clock=lambda: NOW_US), object_at(read_json("second_prices.json"), "models")
    for name in models:
        rates = object_at(object_at(models, name), "rates")
        for tier in TIERS:
            for size in object_at(rates, tier) if tier in rates else ():
                try:
                    yield name, calculator.calculate_cost(TokenUsage(int(size) + 1), name, tier=tier)
                except UnknownPrice:
                    continue


def test_the_table_of_differences_is_what_a_cost_says() -> None:
    for name, tokens, ours, theirs in rows_of_differences():
        cost = CostCalculator(clock=lambda: NOW_US).calculate_cost(TokenUsage(tokens, 1), name)
        found = cost.disagrees_with
        assert found is not None, name
        stated = [found.prices[kind] for kind in ("input", "output")]
        assert " / ".join(price.ours for price in stated) == ours, name
        assert " / ".join(price.theirs for price in stated) == theirs, name


def test_the_table_of_differences_names_all_of_them() -> None:
    """Each was looked at; a new one must be too."""
    costs = list(costs_of_the_second_list())
    differing = {name for name, cost in costs if cost.disagrees_with}
    assert differing == {name for name, *_ in rows_of_differences()}
    assert f"stated prices for {len(costs)} combinations" in PAGE


@pytest.mark.parametrize(
    ("model", "last", "price", "next_price"),
    [
        ("claude-sonnet-4-5", 200_000, "3.00", "6.00"),
        ("gpt-5.4", 272_000, "2.50", "5.00"),
        ("claude-haiku-5-5", 100_000, "0.10", "0.50"),
        ("gemini-2.5-pro", 200_000, "1.25", "2.50"),
        ("gemini-1.5-pro", 128_000, "1.25", "2.50"),
        ("grok-4.3", 199_999, "1.25", "2.50"),
    ],
)
def test_the_boundaries_of_the_page(model: str, last: int, price: str, next_price: str) -> None:
    calculator = CostCalculator(clock=lambda: NOW_US)
    found = [calculator.calculate_cost(TokenUsage(size), model).prices["input"] for size in (last, last + 1)]
    assert found == [price, next_price]
    assert f"{last:,}" in PAGE
