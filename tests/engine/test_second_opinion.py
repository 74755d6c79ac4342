"""The second list of prices: what it says at every boundary, where it is silent, and what a difference is."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tokenward.engine.catalog import Catalog
from tokenward.engine.datafiles import object_at, read_json
from tokenward.engine.errors import UnknownPrice
from tokenward.engine.prices.second_opinion import Difference, Disagreement, disagreement, second_source
from tokenward.engine.usage import Tier

CATALOG = Catalog()
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


def compared(
    model: str, *, tier: Tier = "standard", input_tokens: int = 1, provider: str | None = None, **rates: str
) -> dict[str, Difference]:
    """Where the list differs from prices."""
    stated = {kind: Decimal(price) for kind, price in rates.items()}
    found = disagreement(CATALOG.resolve(model), stated, tier=tier, input_tokens=input_tokens, provider=provider, at=AT)
    return found.prices if found else {}


def test_a_difference_says_both_prices_and_whose() -> None:
    found = disagreement(CATALOG.resolve("gpt-4o"), {"input": Decimal(5)}, tier="standard", input_tokens=1)
    source, day = second_source()
    assert found == Disagreement(source, day, {"input": Difference("5.00", "2.50", "2.0000")})
    assert source.startswith("litellm ")
    assert "2026-11-01" < day < "2027"


@pytest.mark.parametrize(
    ("price", "differs"),
    [("2.50", False), ("2.525", False), ("2.475", False), ("2.5251", True), ("2.4749", True), ("0", True)],
)
def test_more_than_one_percent_is_a_difference(price: str, differs: bool) -> None:
    assert bool(compared("gpt-4o", input=price)) == differs


# The makers' own prices of input and output: up to a boundary, and above it.
BOUNDARIES = [
    ("gemini-2.5-pro", 200_000, ("1.25", "10"), ("2.50", "15")),
    ("gpt-5.4", 272_000, ("2.50", "15"), ("5", "22.50")),
    ("claude-haiku-5-5", 100_000, ("0.10", "0.50"), ("0.50", "2.50")),
]


@pytest.mark.parametrize(("model", "boundary", "below", "above"), BOUNDARIES)
def test_the_boundary_itself_is_below_it(
    model: str, boundary: int, below: tuple[str, str], above: tuple[str, str]
) -> None:
    def differing(size: int, prices: tuple[str, str]) -> set[str]:
        return set(compared(model, input_tokens=size, input=prices[0], output=prices[1]))

    for size in (0, 1, boundary):
        assert differing(size, below) == set()
        assert differing(size, above) == {"input", "output"}
    for size in (boundary + 1, boundary * 2):
        assert differing(size, above) == set()
        assert differing(size, below) == {"input", "output"}


def test_tiers_are_compared_with_their_own_prices() -> None:
    assert not compared("gpt-5.4", tier="batch", input="1.25", output="7.50")
    assert not compared("gpt-5.4", tier="priority", input="5", output="30")
    assert compared("gpt-5.4", tier="batch", input="2.50")


@pytest.mark.parametrize(
    "model",
    [
        "no-such-model",
        "groq/llama-3.3-70b-instruct",
        "gpt-4o-2020-01-01",
        "text-davinci-003",
        "gemini-pro",
        "o200k_base",
    ],
)
def test_where_the_list_is_silent_nothing_is_said(model: str) -> None:
    assert not compared(model, input="12345")


def test_nothing_is_said_of_other_hosts_or_tiers_or_kinds() -> None:
    assert not compared("azure/gpt-4o", provider="azure", input="12345")
    assert not compared("gpt-4o", tier="flex", input="12345")
    assert not compared("gpt-4o", cache_write_1h="12345", per_thousand_requests="12345")


def test_nothing_is_said_of_days_before_the_list() -> None:
    info, rates = CATALOG.resolve("gpt-4o"), {"input": Decimal(5)}
    first = datetime.fromisoformat(second_source()[1]).replace(tzinfo=UTC)
    assert disagreement(info, rates, tier="standard", input_tokens=1, at=first)
    before = first.replace(year=first.year - 1)
    assert disagreement(info, rates, tier="standard", input_tokens=1, at=before) is None


def test_a_name_as_written_comes_before_the_catalogs() -> None:
    assert not compared("mistral/mistral-large-latest", input="0.50", output="1.50")
    assert not compared("mistral-large", input="12345")
    aliased = Catalog({"gpt-4o": "gpt-4o-mini"}).resolve("gpt-4o")
    assert disagreement(aliased, {"input": Decimal("0.15")}, tier="standard", input_tokens=1) is None
    assert disagreement(aliased, {"input": Decimal("2.50")}, tier="standard", input_tokens=1)


def test_every_price_of_the_list_is_one() -> None:
    models = object_at(read_json("second_prices.json"), "models")
    assert len(models) > 300
    for name in models:
        rates = object_at(object_at(models, name), "rates")
        assert rates.keys() <= {"standard", "batch", "flex", "priority"}
        for tier in rates:
            sizes = object_at(rates, tier)
            assert list(map(int, sizes)) == sorted(map(int, sizes))
            for size in sizes:
                for price in object_at(sizes, size).values():
                    assert isinstance(price, str)
                    assert 0 < Decimal(price) <= 1_000


def test_where_our_list_has_another_price_on_its_day_or_at_its_size_nothing_is_said() -> None:
    info, rates = CATALOG.resolve("gemini-2.5-pro"), {"input": Decimal(7)}
    asked: list[tuple[datetime, int]] = []

    def said(then: dict[str, Decimal], input_tokens: int) -> bool:
        def listed(day: datetime, size: int) -> dict[str, Decimal]:
            asked.append((day, size))
            return then

        return disagreement(info, rates, tier="standard", input_tokens=input_tokens, at=AT, listed=listed) is not None

    assert [said(rates, 100), said({"input": Decimal(8)}, 100), said(rates, 300_000)] == [True, False, True]
    day = datetime.fromisoformat(second_source()[1]).replace(hour=AT.hour, tzinfo=UTC)
    assert asked == [(day, 1), (day, 1), (day, 200_001)]

    def refused(_day: datetime, _size: int) -> dict[str, Decimal]:
        raise UnknownPrice("gemini-2.5-pro")

    assert disagreement(info, rates, tier="standard", input_tokens=1, at=AT, listed=refused) is None
