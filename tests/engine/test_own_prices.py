"""Own prices: their names, tiers, sizes and days, discounts on the list, and what they refuse."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext

import pytest

from tokenward.engine.catalog import Catalog
from tokenward.engine.errors import InvalidInput, UnknownPrice
from tokenward.engine.prices.own import OwnPrice, OwnPrices, OwnTable
from tokenward.engine.pricing import Cost, CostCalculator
from tokenward.engine.usage import Tier, TokenUsage

NOW_US = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * 1_000_000
MILLION = 1_000_000


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def rates(**prices: str) -> dict[str, Decimal]:
    return {name: Decimal(price) for name, price in prices.items()}


def own(
    name: str,
    *,
    start: date | None = None,
    end: date | None = None,
    day: str = "2026-10-01",
    tier: Tier = "standard",
    **prices: str,
) -> OwnPrice:
    return OwnPrice(name=name, tables={tier: OwnTable(rates(**prices))}, start=start, end=end, date=day)


def calculator(*prices: OwnPrice, aliases: Mapping[str, str] | None = None) -> CostCalculator:
    return CostCalculator(Catalog(aliases), clock=lambda: NOW_US, own=OwnPrices(prices))


def cost_of(
    model: str, *prices: OwnPrice, usage: TokenUsage | None = None, tier: Tier = "standard", at: str | None = None
) -> Cost:
    usage = usage or TokenUsage(1_000, 100)
    return calculator(*prices).calculate_cost(usage, model, tier=tier, at_us=us(at) if at else None)


def test_an_own_model_costs_what_its_owner_says() -> None:
    price = own("my-model", input="0.50", output="2", cached_input="0.05", cache_write="0.75", cache_write_1h="1")
    usage = TokenUsage(10_000, 1_000, 1_000, 2_000, 3_000)
    cost = cost_of("my-model", price, usage=usage)
    assert cost.input_nano == 4_000 * 500
    assert cost.output_nano == 1_000 * 2_000
    assert cost.cache_nano == 1_000 * 50 + 2_000 * 750 + 3_000 * 1_000
    assert (cost.provider, cost.price_source, cost.price_date) == ("own", "own prices", "2026-10-01")
    assert (cost.price_age_days, cost.warnings, cost.disagrees_with) == (51, (), None)
    assert cost.prices["input"] == "0.50"


def test_reasoning_and_requests_can_have_own_prices() -> None:
    price = own("my-model", input="1", output="2", reasoning="3", per_thousand_requests="5")
    cost = cost_of("my-model", price, usage=TokenUsage(1_000, 100, reasoning_tokens=40))
    assert (cost.input_nano, cost.output_nano) == (1_000 * 1_000 + 5_000_000, 60 * 2_000 + 40 * 3_000)


@pytest.mark.parametrize("missing", ["output", "cache_write", "cache_write_1h"])
def test_what_an_own_price_leaves_out_is_refused(missing: str) -> None:
    usage = TokenUsage(10, **{f"{missing}_tokens": 10})
    with pytest.raises(UnknownPrice, match="none for"):
        cost_of("my-model", own("my-model", input="1"), usage=usage)


def test_a_model_of_ones_own_server_can_be_free() -> None:
    cost = cost_of("ollama/llama3.3:70b", own("ollama/*", input="0", output="0"))
    assert (cost.total_nano, cost.provider) == (0, "ollama")
    assert cost.prices == {"input": "0.00", "output": "0.00"}
    with pytest.raises(UnknownPrice, match="one's own server"):
        cost_of("vllm/llama3.3:70b", own("ollama/*", input="0", output="0"))


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("my-model", "my-model"),
        ("My-Model", "MY-model "),
        ("my-model", "acme/my-model"),
        ("my-model", "gateway/acme/my-model"),
        ("acme/my-model", "acme/my-model"),
        ("acme/*", "acme/my-model"),
        ("my-*", "acme/my-model"),
        ("gpt-4o", "openai/gpt-4o"),
        ("openai/gpt-4o", "gpt-4o"),
        ("openai/*", "gpt-4o"),
        ("azure/*", "azure/gpt-4o"),
        ("gpt-4o*", "gpt-4o-2024-05-13"),
        ("claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5", "anthropic/claude-sonnet-4.5"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5-20250929"),
        ("aws/*", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("x-ai/*", "grok-4"),
    ],
)
def test_a_name_is_found_with_and_without_its_provider(key: str, asked: str) -> None:
    assert cost_of(asked, own(key, input="7", output="7")).prices["input"] == "7.00"


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("openai/gpt-4o", "azure/gpt-4o"),
        ("openai/*", "azure/gpt-4o"),
        ("anthropic/*", "openrouter/anthropic/claude-sonnet-4.5"),
        ("anthropic/*", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o", "gpt-4o-2024-05-13"),
        ("gpt-4*", "o3"),
    ],
)
def test_a_price_for_one_seller_or_model_is_not_anothers(key: str, asked: str) -> None:
    assert cost_of(asked, own(key, input="7", output="7")).price_source.startswith("genai-prices")


def test_tags_of_unknown_models_are_models_of_their_own() -> None:
    with pytest.raises(UnknownPrice):
        cost_of("my-model:70b", own("my-model:8b", input="1", output="1"), own("my-model", input="1", output="1"))


@pytest.mark.parametrize(
    ("asked", "price"), [("azure/gpt-4o", "1.00"), ("gpt-4o", "2.00"), ("gpt-4o-mini", "3.00"), ("o3", "4.00")]
)
def test_the_most_telling_name_counts(asked: str, price: str) -> None:
    several = [
        own("openai/*", input="4", output="1"),
        own("azure/gpt-4o", input="1", output="1"),
        own("gpt-4o", input="2", output="1"),
        own("openai/gpt-4o*", input="3", output="1"),
    ]
    assert cost_of(asked, *several).prices["input"] == price


@pytest.mark.parametrize(
    ("aliases", "asked"),
    [
        ({"prod": "my-model"}, "prod"),
        ({"prod": "acme/my-model"}, "prod"),
        ({"prod": "My-Model"}, "azure/prod"),
        ({"azure/prod": "my-model"}, "azure/prod"),
    ],
)
def test_an_alias_may_stand_for_an_own_name(aliases: dict[str, str], asked: str) -> None:
    priced = calculator(own("my-model", input="7", output="7"), aliases=aliases)
    cost = priced.calculate_cost(TokenUsage(1), asked)
    assert (cost.model, cost.prices["input"]) == (asked, "7.00")


def test_an_alias_for_another_server_takes_no_own_price() -> None:
    free = own("ollama/llama3", input="0", output="0")
    assert calculator(free, aliases={"a": "ollama/llama3"}).calculate_cost(TokenUsage(1), "a").total_nano == 0
    with pytest.raises(UnknownPrice):
        calculator(free, aliases={"a": "vllm/llama3"}).calculate_cost(TokenUsage(1), "a")


def test_tiers_have_own_tables_and_none_is_taken_for_another() -> None:
    tables: dict[Tier, OwnTable] = {
        "standard": OwnTable(rates(input="2", output="4")),
        "batch": OwnTable(rates(input="1", output="2")),
    }
    price = OwnPrice(name="my-model", tables=tables)
    assert cost_of("my-model", price, tier="batch").total_nano == 1_000 * 1_000 + 100 * 2_000
    with pytest.raises(UnknownPrice, match="own prices state no flex price") as refused:
        cost_of("my-model", price, tier="flex")
    assert str(refused.value).startswith("tier: ")


@pytest.mark.parametrize(
    ("tokens", "prices"),
    [
        (200_000, ("1.00", "2.00")),
        (200_001, ("3.00", "2.00")),
        (272_000, ("3.00", "2.00")),
        (272_001, ("3.00", "5.00")),
    ],
)
def test_long_inputs_reprice_every_token(tokens: int, prices: tuple[str, str]) -> None:
    sizes = {272_000: rates(output="5"), 200_000: rates(input="3")}
    table = OwnTable(rates(input="1", output="2"), sizes)
    price = OwnPrice(name="my-model", tables={"standard": table})
    cost = cost_of("my-model", price, usage=TokenUsage(tokens, 10))
    assert (cost.prices["input"], cost.prices["output"]) == prices
    assert cost.input_nano == tokens * int(Decimal(prices[0]) * 1_000)


@pytest.mark.parametrize(
    ("at", "price"),
    [
        ("2026-06-30T23:59:59", "2.50"),  # the list's
        ("2026-07-01T00:00:00", "1.00"),
        ("2026-09-30T23:59:59", "1.00"),
        ("2026-10-01T00:00:00", "0.50"),
    ],
)
def test_prices_hold_from_a_day_until_another(at: str, price: str) -> None:
    summer = own("gpt-4o", input="1", output="1", start=date(2026, 7, 1), end=date(2026, 10, 1))
    autumn = own("gpt-4o", input="0.5", output="1", start=date(2026, 10, 1))
    for several in ((autumn, summer), (summer, autumn)):
        assert cost_of("gpt-4o", *several, at=at).prices["input"] == price


def test_an_own_model_has_no_price_outside_its_days() -> None:
    price = own("my-model", input="1", output="1", start=date(2026, 7, 1))
    with pytest.raises(UnknownPrice):
        cost_of("my-model", price, at="2026-06-30T12:00:00")


# On the price list --------------------------------------------------------------------------------------------------


def test_a_discount_is_taken_off_every_price_of_the_list() -> None:
    """gpt-4o: $2.50, $10, $1.25; less 15 percent."""
    cost = cost_of("gpt-4o", OwnPrice(name="openai/*", discount_percent=Decimal(15)))
    assert cost.prices == {"input": "2.125", "output": "8.50", "cached_input": "1.0625"}
    assert (cost.provider, cost.price_date) == ("openai", "2026-11-10")
    assert cost.price_source == "own prices on genai-prices 0.2.3"
    assert cost.disagrees_with is None


def test_a_discount_holds_for_tiers_and_long_inputs_too() -> None:
    """gpt-6-luna in batch above 272,000 tokens: $0.10, halved."""
    half = OwnPrice(name="openai/*", discount_percent=Decimal(50))
    cost = cost_of("gpt-6-luna", half, usage=TokenUsage(272_001), tier="batch")
    assert cost.prices["input"] == "0.05"
    with pytest.raises(UnknownPrice, match="states no flex price"):
        cost_of("gpt-4", half, tier="flex")


def test_a_model_may_be_priced_like_another_with_some_prices_of_its_own() -> None:
    price = OwnPrice(name="my-clone", like="gpt-4o", provider="acme", tables={"standard": OwnTable(rates(output="6"))})
    cost = cost_of("my-clone", price)
    assert cost.prices == {"input": "2.50", "output": "6.00", "cached_input": "1.25"}
    assert cost.provider == "acme"


def test_a_discount_on_an_unknown_price_is_no_price() -> None:
    with pytest.raises(UnknownPrice, match="stand on the price list, like 'no-such': no provider lists it"):
        cost_of("my-clone", OwnPrice(name="my-clone", like="no-such"))
    with pytest.raises(UnknownPrice, match="stand on the price list, "):
        cost_of("acme/x", OwnPrice(name="acme/*", discount_percent=Decimal(5)))


def test_old_list_prices_warn_under_a_discount_too_and_old_contracts_do_not() -> None:
    late = us("2027-06-01T00:00:00")
    prices = OwnPrices([OwnPrice(name="gpt-4o", discount_percent=Decimal(5)), own("my-model", input="1", output="1")])
    priced = CostCalculator(clock=lambda: late, own=prices)
    assert "days old" in priced.calculate_cost(TokenUsage(1), "gpt-4o").warnings[0]
    contract = priced.calculate_cost(TokenUsage(1), "my-model")
    assert (contract.warnings, contract.price_age_days) == ((), 243)


def test_the_callers_decimal_settings_do_not_matter() -> None:
    price = OwnPrice(name="gpt-4o", discount_percent=Decimal("12.345678"))
    with localcontext() as context:
        context.prec = 2
        coarse = cost_of("gpt-4o", price)
    assert coarse == cost_of("gpt-4o", price)
    assert coarse.prices["input"] == "2.19135805"


# What cannot be -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ({"input": Decimal(-1)}, "^input: -1 is negative"),
        ({"input": 0.5}, "^input: give a decimal number as text"),
        ({"input": Decimal("NaN")}, "^input: give a decimal"),
        ({"input": Decimal(100_001)}, "^input: 100001 is more than 100000"),
        ({"input": Decimal("1e-19")}, "^input: it has more than 18 decimals"),
        ({"inptu": Decimal(1)}, "^inptu: it is no kind of price. Did you mean 'input'"),
    ],
)
def test_prices_that_cannot_be_are_refused(prices: dict[str, Decimal], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        OwnTable(prices)
    with pytest.raises(InvalidInput, match=message):
        OwnTable(rates(input="1"), {1_000: prices})


@pytest.mark.parametrize("above", [0, -1, 10**9 + 1])
def test_a_size_that_cannot_be_is_refused(above: int) -> None:
    with pytest.raises(InvalidInput, match=r"^long_context.above: "):
        OwnTable(rates(input="1"), {above: rates(input="2")})


@pytest.mark.parametrize("name", ["", "  ", "*", "a*b", "x" * 257])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"^name: "):
        own(name, input="1")


def test_an_own_price_says_something() -> None:
    with pytest.raises(InvalidInput, match=r"^input: no price is set"):
        OwnPrice(name="my-model")
    with pytest.raises(InvalidInput, match=r"^input: it is missing"):
        own("my-model", output="1")
    with pytest.raises(InvalidInput, match=r"^batch.input: it is missing"):
        own("my-model", tier="batch", output="1")


@pytest.mark.parametrize("discount", ["-1", "100.5"])
def test_a_discount_is_a_percentage(discount: str) -> None:
    with pytest.raises(InvalidInput, match=r"^discount_percent: "):
        OwnPrice(name="gpt-4o", discount_percent=Decimal(discount))


def test_days_are_in_order_and_of_one_price() -> None:
    first = own("my-model", input="1", end=date(2026, 7, 2))
    with pytest.raises(InvalidInput, match=r"^until: it is not after 'from'"):
        own("my-model", input="1", start=date(2026, 7, 1), end=date(2026, 7, 1))
    with pytest.raises(InvalidInput, match=r"^prices: two prices of 'My-Model' hold on the same day"):
        OwnPrices([first, own("My-Model", input="2", start=date(2026, 7, 1))])
    assert OwnPrices([first, own("my-model", input="2", start=date(2026, 7, 2))])
    assert not OwnPrices()
