"""Cost cases at every boundary, checked against a second public list; and what the price library alone would answer."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from math import ceil

import pytest
from genai_prices import Usage, calc_price

from tokenward.engine.catalog import Catalog
from tokenward.engine.datafiles import object_at, read_json
from tokenward.engine.errors import UnknownPrice
from tokenward.engine.extraction import extract_usage
from tokenward.engine.prices.data import PriceData, bundled_prices, parse_providers
from tokenward.engine.pricing import STALE_DAYS, CostCalculator, nano
from tokenward.engine.types import DAY_US, JsonObject, JsonValue
from tokenward.engine.usage import Tier, TokenUsage
from tokenward.server.price_settings import own_prices_of

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000


def calculator(aliases: dict[str, str] | None = None, now_us: int = NOW_US) -> CostCalculator:
    return CostCalculator(Catalog(aliases), clock=lambda: now_us)


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def second_prices(model: str, tier: Tier, above: str) -> dict[str, Decimal]:
    """What the second list states."""
    rates = object_at(object_at(object_at(read_json("second_prices.json"), "models"), model), "rates")
    return {kind: Decimal(str(price)) for kind, price in object_at(object_at(rates, tier), above).items()}


SHORT, LONG = "0", "272000"
CASES: list[tuple[str, Tier, int, str]] = [
    ("gpt-4o", "standard", 10_000, SHORT),
    ("gpt-5", "standard", 10_000, SHORT),
    ("gpt-5", "batch", 10_000, SHORT),
    ("gpt-5", "flex", 10_000, SHORT),
    ("gpt-5", "priority", 10_000, SHORT),
    ("claude-sonnet-4-5", "standard", 10_000, SHORT),
    ("claude-sonnet-4-5", "standard", 200_000, SHORT),
    ("claude-opus-4-5", "standard", 10_000, SHORT),
    ("claude-opus-4-5", "batch", 10_000, SHORT),
    ("claude-haiku-5-5", "standard", 100_000, SHORT),
    ("claude-haiku-5-5", "standard", 100_001, "100000"),
    ("gemini-2.5-flash", "standard", 10_000, SHORT),
    ("gemini-2.5-flash", "batch", 10_000, SHORT),
    ("gemini-2.5-pro", "standard", 200_000, SHORT),
    ("gemini-2.5-pro", "standard", 200_001, "200000"),
    ("gemini-2.5-pro", "batch", 200_000, SHORT),
    ("gemini-2.5-pro", "batch", 200_001, "200000"),
    ("gemini-3.1-pro-preview", "standard", 200_000, SHORT),
    ("gemini-3.1-pro-preview", "standard", 200_001, "200000"),
    ("gpt-5.4", "standard", 272_000, SHORT),
    ("gpt-5.4", "standard", 272_001, LONG),
    ("gpt-5.5", "standard", 272_000, SHORT),
    ("gpt-5.5", "standard", 272_001, LONG),
    ("gpt-6-luna", "standard", 272_000, SHORT),
    ("gpt-6-luna", "standard", 272_001, LONG),
    ("gpt-6-luna", "batch", 272_000, SHORT),
    ("gpt-6-luna", "batch", 272_001, LONG),
    ("gpt-6-luna", "flex", 272_000, SHORT),
    ("gpt-6-luna", "flex", 272_001, LONG),
    ("gpt-6-luna", "priority", 272_000, SHORT),
    ("gpt-6-luna", "priority", 272_001, LONG),
    ("text-embedding-3-small", "standard", 8_000, SHORT),
]


@pytest.mark.parametrize(("model", "tier", "input_tokens", "above"), CASES)
def test_a_cost_is_what_a_second_list_makes_it(model: str, tier: Tier, input_tokens: int, above: str) -> None:
    """LiteLLM's list, reduced (``second_prices.json``); the arithmetic is done again here, in fractions."""
    prices = second_prices(model, tier, above)
    kinds: list[str] = [kind for kind in ("cached_input", "cache_write", "cache_write_1h") if kind in prices]
    tokens: dict[str, int] = dict.fromkeys(kinds, 1_234)
    output = 777 if "output" in prices else 0
    usage = TokenUsage(
        input_tokens,
        output,
        tokens.get("cached_input", 0),
        tokens.get("cache_write", 0),
        tokens.get("cache_write_1h", 0),
    )
    cost = calculator().calculate_cost(usage, model, tier=tier)
    by_price: dict[str, int] = {"input": input_tokens - sum(tokens.values()), "output": output, **tokens}
    exact = sum(Fraction(prices[kind]) * count * 1_000 for kind, count in by_price.items() if count)
    assert cost.total_nano == ceil(exact)
    assert cost.disagrees_with is None


def test_the_second_list_is_heard_where_it_differs() -> None:
    """deepseek-chat: 1.10 and 0.42 USD per million tokens of output, by two lists of November 2026."""
    found = calculator().calculate_cost(TokenUsage(1_000, 10), "deepseek-chat").disagrees_with
    assert found is not None
    assert found.source.startswith("litellm ")
    theirs = second_prices("deepseek-chat", "standard", SHORT)["output"]
    assert Decimal(found.prices["output"].theirs) == theirs
    assert Decimal(found.prices["output"].ours) != theirs
    aliased = calculator({"chat": "deepseek-chat"}).calculate_cost(TokenUsage(1_000, 10), "chat")
    assert aliased.disagrees_with == found


@pytest.mark.parametrize(
    ("context", "tier", "model"),
    [
        ({"service_tier": "bogus"}, "flex", "claude-opus-4-5"),
        ({"tier": "batch"}, "batch", "deepseek-chat"),
        ({"service_tier": "priority"}, "priority", "gpt-4"),
    ],
)
def test_a_price_context_that_the_library_passes_over_is_refused(
    context: dict[str, str], tier: Tier, model: str
) -> None:
    """genai-prices answers with standard prices where it does not know the context, and does not say so."""
    usage = Usage(input_tokens=1_000, output_tokens=10)
    standard = calc_price(usage, model, genai_request_timestamp=NOW)
    assert calc_price(usage, model, genai_request_timestamp=NOW, price_context=context).total_price == (
        standard.total_price
    )
    with pytest.raises(UnknownPrice, match=f"no {tier} price"):
        calculator().calculate_cost(TokenUsage(1_000, 10), model, tier=tier)


@pytest.mark.parametrize(
    ("name", "seller", "price"),
    [
        ("anthropic/claude-sonnet-4-5", "anthropic", "3.00"),
        ("anthropic/claude-sonnet-4.5", "anthropic", "3.00"),
        ("anthropic:claude-sonnet-4-5", "anthropic", "3.00"),
        ("litellm/anthropic/claude-sonnet-4-5", "anthropic", "3.00"),
        ("bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", "aws", "3.30"),
        ("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws", "3.30"),
        ("bedrock/converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws", "3.30"),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws", "3.00"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            "3.30",
        ),
        ("us.amazon.nova-lite-v1:0", "aws", "0.06"),
        ("vertex_ai/gemini-2.5-pro", "google", "1.25"),
        ("vertex_ai/claude-sonnet-4-5@20250929", "google", "3.00"),
        ("google-vertex:gemini-2.5-pro", "google", "1.25"),
        ("publishers/anthropic/models/claude-sonnet-4-5", "google", "3.00"),
        ("projects/p/locations/us-central1/publishers/google/models/gemini-2.5-pro", "google", "1.25"),
        ("azure/gpt-4o", "azure", "2.50"),
        ("azure_ai/gpt-4o", "azure", "2.50"),
        ("fireworks_ai/accounts/fireworks/models/gpt-oss-120b", "fireworks", "0.15"),
    ],
)
def test_names_of_routers_and_clouds_find_the_sellers_price(name: str, seller: str, price: str) -> None:
    cost = calculator().calculate_cost(TokenUsage(1_000), name)
    assert (cost.provider, cost.prices["input"]) == (seller, price)


@pytest.mark.parametrize(
    ("aliases", "name", "seller", "price"),
    [
        ({"prod": "us.anthropic.claude-sonnet-4-5-20250929-v1:0"}, "prod", "aws", "3.30"),
        ({"prod": "anthropic/claude-sonnet-4-5"}, "prod", "anthropic", "3.00"),
        ({"prod": "gpt-4o"}, "azure/prod", "azure", "2.50"),
        ({"azure/prod": "gpt-4o-2024-05-13"}, "azure/prod", "azure", "5.00"),
        ({"prod": "groq/openai/gpt-oss-20b"}, "azure/prod", "groq", "0.075"),
        ({"gpt-4o": "gpt-4o-mini"}, "gpt-4o", "openai", "0.15"),
    ],
)
def test_an_alias_is_sold_by_its_targets_host(aliases: dict[str, str], name: str, seller: str, price: str) -> None:
    cost = calculator(aliases).calculate_cost(TokenUsage(1_000), name)
    assert (cost.model, cost.provider, cost.prices["input"]) == (name, seller, price)


def test_an_alias_for_ones_own_server_has_no_price() -> None:
    with pytest.raises(UnknownPrice, match="one's own server"):
        calculator({"prod": "ollama/gpt-oss-20b"}).calculate_cost(TokenUsage(1), "prod")


def priced_by(prices: JsonObject, variants: list[JsonValue]) -> CostCalculator:
    """Prices of made-up data: one model of OpenAI's."""
    model: JsonObject = {"id": "m-1", "match": {"equals": "m-1"}, "prices": prices, "price_variants": variants}
    made: JsonObject = {"id": "openai", "name": "OpenAI", "api_pattern": "x", "models": [model]}
    made["model_match"] = {"equals": "m-1"}
    data = PriceData(parse_providers([made]), "made", "2026-11-20")
    return CostCalculator(clock=lambda: NOW_US, data=lambda: data)


def test_a_dearer_tier_takes_no_price_from_the_standard_one() -> None:
    standard: JsonObject = {"input_mtok": "2", "cache_read_mtok": "0.2", "cache_write_mtok": "2.5", "output_mtok": "8"}
    when: JsonObject = {"service_tier": "priority"}
    priced = priced_by(standard, [{"when": when, "prices": {"input_mtok": "4"}}])
    cached = priced.calculate_cost(TokenUsage(1_000, cached_input_tokens=1_000), "m-1", tier="priority")
    assert (cached.total_nano, cached.price_source) == (4_000_000, "made")
    for usage in (TokenUsage(1, 1), TokenUsage(1, cache_write_tokens=1)):
        assert priced.calculate_cost(usage, "m-1").total_nano
        with pytest.raises(UnknownPrice):
            priced.calculate_cost(usage, "m-1", tier="priority")
    unpriced = priced_by(standard, [{"when": when, "prices": {"output_mtok": "16"}}])
    with pytest.raises(UnknownPrice):
        unpriced.calculate_cost(TokenUsage(1), "m-1", tier="priority")


def test_what_is_wrong_with_the_data_is_said_with_every_price() -> None:
    data = replace(bundled_prices(), warning="The updated prices cannot be read.")
    cost = CostCalculator(clock=lambda: NOW_US, data=lambda: data).calculate_cost(TokenUsage(1), "gpt-4o")
    assert cost.warnings == ("The updated prices cannot be read.",)


RAW: list[tuple[str, JsonObject, tuple[int, int], int]] = [
    # gpt-5: 10 USD per million tokens of output, reasoning inside it.
    (
        "gpt-5",
        {
            "model": "gpt-5",
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 300,
                "completion_tokens_details": {"reasoning_tokens": 200},
            },
        },
        (300, 200),
        300 * 10_000,
    ),
    # gemini-2.5-flash: 2.50 USD per million tokens of output, thoughts beside the candidates.
    (
        "gemini-2.5-flash",
        {"usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 100, "thoughtsTokenCount": 200}},
        (300, 200),
        300 * 2_500,
    ),
    # claude-sonnet-4-5: 15 USD per million tokens of output, thinking inside it and not told apart.
    (
        "claude-sonnet-4-5",
        {"type": "message", "usage": {"input_tokens": 100, "output_tokens": 300}},
        (300, 0),
        300 * 15_000,
    ),
]


@pytest.mark.parametrize(("model", "response", "output", "output_nano"), RAW)
def test_reasoning_is_paid_once_inside_or_beside_the_output(
    model: str, response: JsonObject, output: tuple[int, int], output_nano: int
) -> None:
    usage = extract_usage(response, model, Catalog()).usage
    assert (usage.output_tokens, usage.reasoning_tokens) == output
    assert calculator().calculate_cost(usage, model).output_nano == output_nano


@pytest.mark.parametrize(
    ("model", "at", "price"),
    [
        ("o3", "2025-06-09T23:59:59", "10.00"),
        ("o3", "2025-06-10T00:00:00", "2.00"),
    ],
)
def test_a_price_is_that_of_the_day(model: str, at: str, price: str) -> None:
    """OpenAI lowered o3's price by 80 % on 2025-06-10 (its announcement of that day)."""
    assert calculator().calculate_cost(TokenUsage(1), model, at_us=us(at)).prices["input"] == price


def test_a_price_has_an_age_and_old_prices_a_warning() -> None:
    fresh = calculator().calculate_cost(TokenUsage(1), "gpt-4o")
    assert (fresh.price_date, fresh.price_age_days, fresh.warnings) == ("2026-11-10", 11, ())
    day = us("2026-11-10T00:00:00")
    at_limit = calculator(now_us=day + STALE_DAYS * DAY_US).calculate_cost(TokenUsage(1), "gpt-4o")
    assert (at_limit.price_age_days, at_limit.warnings) == (90, ())
    old = calculator(now_us=day + (STALE_DAYS + 1) * DAY_US).calculate_cost(TokenUsage(1), "gpt-4o")
    assert old.price_age_days == 91
    assert [warning.partition(" (")[0] for warning in old.warnings] == ["The prices are 91 days old"]
    before = calculator(now_us=day - DAY_US).calculate_cost(TokenUsage(1), "gpt-4o")
    assert before.price_age_days == 0


def test_the_state_of_the_prices_is_that_of_a_cost() -> None:
    state, cost = calculator().price_state, calculator().calculate_cost(TokenUsage(1), "gpt-4o")
    assert (state.source, state.date, state.age_days) == (cost.price_source, cost.price_date, cost.price_age_days)


def test_the_cheapest_and_the_dearest_tier_of_a_model_keep_their_order() -> None:
    """A reader's check on the data: batch <= flex <= standard <= priority, for all that OpenAI sells."""
    prices = [
        nano(calculator().calculate_cost(TokenUsage(1), "gpt-5", tier=tier).prices["input"])
        for tier in ("batch", "flex", "standard", "priority")
    ]
    assert prices == sorted(prices)


SIZES = [
    # Sonnet 4.5's long context costs double; the second list does not state it.
    ("claude-sonnet-4-5", "standard", 200_000, "3.00", "15.00"),
    ("claude-sonnet-4-5", "standard", 200_001, "6.00", "22.50"),
    ("gemini-pro-latest", "batch", 200_001, "2.00", "9.00"),
    # xAI's prices for long inputs begin with the 200,000th token, by the first list.
    ("grok-4.3", "standard", 199_999, "1.25", "2.50"),
    ("grok-4.3", "standard", 200_000, "2.50", "5.00"),
]


@pytest.mark.parametrize(("model", "tier", "input_tokens", "input_price", "output_price"), SIZES)
def test_a_second_list_that_is_silent_on_long_inputs_does_not_disagree(
    model: str, tier: Tier, input_tokens: int, input_price: str, output_price: str
) -> None:
    cost = calculator().calculate_cost(TokenUsage(input_tokens, 1), model, tier=tier)
    assert (cost.prices["input"], cost.prices["output"]) == (input_price, output_price)
    assert cost.disagrees_with is None


@pytest.mark.parametrize(
    ("model", "before", "after", "prices"),
    [
        ("gemini-4-argon", "2026-11-30", "2026-12-02", ("2.00", "4.00")),
        ("gemini-3.6-flash", "2026-12-31", "2027-01-01", ("0.75", "1.50")),
    ],
)
def test_an_announced_change_is_no_disagreement(model: str, before: str, after: str, prices: tuple[str, str]) -> None:
    """The second list has one price, of its own day."""
    costs = [calculator().calculate_cost(TokenUsage(1, 1), model, at_us=us(day)) for day in (before, after)]
    assert tuple(cost.prices["input"] for cost in costs) == prices
    assert [cost.disagrees_with for cost in costs] == [None, None]


@pytest.mark.parametrize(
    "name", ["claude-opus-4-8-fast", "claude-opus-4.8-fast", "anthropic/claude-opus-4-8-fast", "fast/claude-opus-4-8"]
)
def test_fast_mode_has_its_own_price(name: str) -> None:
    """Opus 4.8: 10 and 50 USD per million tokens in fast mode, 5 and 25 else, by genai-prices 0.2.3."""
    cost = calculator().calculate_cost(TokenUsage(1_000, 10), name)
    assert (cost.prices["input"], cost.prices["output"], cost.disagrees_with) == ("10.00", "50.00", None)


@pytest.mark.parametrize(
    "name", ["claude-opus-4-6-fast", "fast/claude-opus-4-6", "claude-sonnet-4-5-fast", "groq/claude-opus-4-8-fast"]
)
def test_fast_mode_without_a_price_is_refused(name: str) -> None:
    with pytest.raises(UnknownPrice):
        calculator().calculate_cost(TokenUsage(1_000, 10), name)


def test_fast_mode_is_no_tier() -> None:
    with pytest.raises(UnknownPrice, match="says fast, the request batch") as caught:
        calculator().calculate_cost(TokenUsage(1), "claude-opus-4-8-fast", tier="batch")
    assert caught.value.field == "tier"


@pytest.mark.parametrize(
    ("name", "tier"), [("gpt-4o:batch", "batch"), ("gpt-5:flex", "flex"), ("gpt-5:priority", "priority")]
)
def test_a_name_that_says_its_tier_has_the_tiers_price(name: str, tier: Tier) -> None:
    plain = name.partition(":")[0]
    expected = calculator().calculate_cost(TokenUsage(1_000, 10), plain, tier=tier)
    for stated in ("standard", tier):
        cost = calculator().calculate_cost(TokenUsage(1_000, 10), name, tier=stated)
        assert (cost.total_nano, cost.disagrees_with) == (expected.total_nano, None)
    assert calculator().calculate_cost(TokenUsage(1_000, 10), plain).total_nano != expected.total_nano


def test_a_name_and_a_tier_that_contradict_each_other_have_no_price() -> None:
    with pytest.raises(UnknownPrice, match="batch"):
        calculator().calculate_cost(TokenUsage(1), "gpt-5:batch", tier="flex")
    with pytest.raises(UnknownPrice):
        calculator().calculate_cost(TokenUsage(1), "gpt-4:flex")


def test_a_router_that_lists_such_a_name_states_its_price_itself() -> None:
    names = ("openrouter/openai/gpt-4o:batch", "openrouter/anthropic/claude-opus-4.8-fast")
    found = [calculator().calculate_cost(TokenUsage(1), name) for name in names]
    assert [cost.provider for cost in found] == ["openrouter", "openrouter"]
    plain = [calculator().calculate_cost(TokenUsage(1), name) for name in (names[0][:-6], names[1][:-5])]
    assert Decimal(found[0].prices["input"]) * 2 == Decimal(plain[0].prices["input"])
    assert Decimal(found[1].prices["input"]) > Decimal(plain[1].prices["input"])


def test_own_prices_of_a_tier_hold_for_a_name_that_says_it() -> None:
    own = own_prices_of(
        {
            "gpt-4o": {"input": "2", "output": "4", "batch": {"input": "1", "output": "2"}},
            "gpt-4o:flex": {"input": "3", "output": "3"},
        }
    )
    priced = CostCalculator(clock=lambda: NOW_US, own=own)
    found = [
        priced.calculate_cost(TokenUsage(1), name).prices["input"] for name in ("gpt-4o", "gpt-4o:batch", "gpt-4o:flex")
    ]
    assert found == ["2.00", "1.00", "3.00"]
    with pytest.raises(UnknownPrice):
        priced.calculate_cost(TokenUsage(1), "gpt-4o:priority")
