"""What an update of prices is refused for, and that every price it changes is seen."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import FakeClock
from tests.price_data import model_of, provider_of, published, published_bytes
from tokenward.engine.errors import PricesRefused, UnknownPrice
from tokenward.engine.prices.data import PriceData, parse_providers
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.tariffs import Prices
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.engine.usage import TokenUsage
from tokenward.price_update import PriceFile

URL = "https://prices.example/data.json"
TIERED = {"base": 2.5, "tiers": [{"start": 272_000, "price": 5}]}


@pytest.fixture
def prices(tmp_path: Path, clock: FakeClock) -> PriceFile:
    return PriceFile(tmp_path / "data" / "prices.json", clock=clock)


def refusal(prices: PriceFile, content: bytes, *, force: bool = False) -> str:
    with pytest.raises(PricesRefused) as caught:
        prices.update(content, URL, force=force)
    return str(caught.value)


def with_starts(*starts: JsonValue) -> Callable[[JsonObject], None]:
    def change(model: JsonObject) -> None:
        tiers: list[JsonValue] = [{"start": start, "price": 5} for start in starts]
        model["prices"] = {"input_mtok": {"base": 2.5, "tiers": tiers}, "output_mtok": 10}

    return change


@pytest.mark.parametrize("starts", [(-5,), (0,), (10**9 + 1,), (200_000, 200_000)])
def test_a_size_that_cannot_be_is_refused(prices: PriceFile, starts: tuple[JsonValue, ...]) -> None:
    assert "size" in refusal(prices, published_bytes(with_starts(*starts)), force=True)


def test_sizes_in_order_are_taken(prices: PriceFile) -> None:
    prices.update(published_bytes(with_starts(200_000, 272_000)), URL)


def test_a_model_without_prices_is_refused(prices: PriceFile) -> None:
    def without(model: JsonObject) -> None:
        model["prices"] = []

    assert "no price" in refusal(prices, published_bytes(without), force=True)


def calculator_with(change: Callable[[JsonObject], None]) -> CostCalculator:
    """As with a file that was put in place by hand: nothing checked it."""
    document = published()
    change(model_of(document, "openai", "gpt-4o"))
    return CostCalculator(data=lambda: PriceData(parse_providers(document), "by hand", "unknown"))


def test_unchecked_data_without_prices_is_an_unknown_price() -> None:
    def without(model: JsonObject) -> None:
        model["prices"] = []

    with pytest.raises(UnknownPrice, match="lists no price"):
        calculator_with(without).calculate_cost(TokenUsage(1), "gpt-4o")


@pytest.mark.parametrize("start", [-5, 0, 10**9])
def test_unchecked_sizes_do_not_stop_other_models(start: int) -> None:
    prices = Prices(calculator_with(with_starts(start)))
    assert prices.of(TokenUsage(0), "gpt-4o-mini", "standard", 0).cost_nano == 0
    assert prices.of(TokenUsage(1_000), "gpt-4o", "standard", 0).cost_nano == 1_000 * (
        5_000 if start < 10**9 else 2_500
    )


# Patterns -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "regex",
    [
        "^(p|p)+$",
        "^(a+)+$",
        "^((a*)b)*$",
        "(?:a|b*){2,}x",
        "(?P<n>x+)*",
        "a" * 201,
        ".*.*.*.*.*x",
        r"(\w+\s?)*$",
        "(.)\\1+",
    ],
)
def test_a_pattern_that_may_take_forever_is_refused(prices: PriceFile, regex: str) -> None:
    def change(model: JsonObject) -> None:
        model["match"] = {"or": [{"equals": "gpt-4o"}, {"regex": regex}]}

    assert "pattern" in refusal(prices, published_bytes(change), force=True)


# What changes ---------------------------------------------------------------------------------------------------------


def changed(
    prices: PriceFile, *changes: Callable[[JsonObject], None], model: str = "gpt-4o"
) -> dict[str, tuple[str, str]]:
    done = prices.update(published_bytes(*changes, model=model), URL).changes.changed
    assert {one.model for one in done} == {model}
    return {one.price: (one.before, one.after) for one in done}


def test_another_size_is_a_change(prices: PriceFile, clock: FakeClock) -> None:
    prices.update(published_bytes(with_starts(272_000)), URL)
    clock.advance(86_400)
    assert changed(prices, with_starts(1)) == {
        "input_mtok above 1": ("", "5.00"),
        "input_mtok above 272,000": ("5.00", ""),
    }


@pytest.mark.parametrize("when", [{"processing": "batch"}, {"service_tier": "flex"}, {"service_tier": "priority"}])
def test_a_tiers_price_that_is_drastic_needs_force(prices: PriceFile, when: JsonValue) -> None:
    def change(model: JsonObject) -> None:
        model["price_variants"] = [{"when": when, "prices": {"input_mtok": 9_999}}]

    content = published_bytes(change, model="gpt-5")
    assert "9,999" in refusal(prices, content) or "9999" in refusal(prices, content)
    prices.update(content, URL, force=True)


def test_a_price_to_come_that_is_drastic_needs_force(prices: PriceFile) -> None:
    def change(model: JsonObject) -> None:
        model["prices"] = [
            {"prices": {"input_mtok": 2.5, "cache_read_mtok": 1.25, "output_mtok": 10}},
            {"constraint": {"start_date": "2026-11-22"}, "prices": {"input_mtok": 5_000, "output_mtok": 10}},
        ]

    content = published_bytes(change)
    assert "openai/gpt-4o" in refusal(prices, content)
    assert "from 2026-11-22" in refusal(prices, content)
    prices.update(content, URL, force=True)


def test_a_price_to_come_is_a_change(prices: PriceFile) -> None:
    def change(model: JsonObject) -> None:
        model["prices"] = [
            {"prices": {"input_mtok": 2.5, "cache_read_mtok": 1.25, "output_mtok": 10}},
            {"constraint": {"start_date": "2026-11-22"}, "prices": {"input_mtok": 3}},
        ]

    assert changed(prices, change)["input_mtok from 2026-11-22"] == ("", "3.00")


def test_the_same_data_changes_nothing(prices: PriceFile) -> None:
    done = prices.update(published_bytes(), URL).changes
    assert (done.new, done.gone, done.changed, done.drastic) == ((), (), (), ())


# Names ----------------------------------------------------------------------------------------------------------------


def with_model(model: JsonObject) -> bytes:
    document = published()
    models = provider_of(document, "openai")["models"]
    assert isinstance(models, list)
    models.insert(0, model)
    return json.dumps(document).encode()


def test_a_name_that_is_there_twice_is_refused(prices: PriceFile) -> None:
    twice = dict(model_of(published(), "openai", "gpt-4o"))
    assert "twice" in refusal(prices, with_model(twice), force=True)
    document = published()
    document.append(provider_of(document, "openai"))
    assert "twice" in refusal(prices, json.dumps(document).encode(), force=True)


def test_a_new_model_that_takes_anothers_name_is_refused(prices: PriceFile) -> None:
    thief: JsonObject = {"id": "cheap", "match": {"starts_with": "gpt-4o"}, "prices": {"input_mtok": 0.1}}
    assert "openai/gpt-4o" in refusal(prices, with_model(thief), force=True)


def test_a_new_model_of_its_own_is_taken(prices: PriceFile) -> None:
    new: JsonObject = {"id": "gpt-99", "match": {"equals": "gpt-99"}, "prices": {"input_mtok": 1}}
    assert prices.update(with_model(new), URL).changes.new == ("openai/gpt-99",)
