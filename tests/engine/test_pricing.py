"""Prices: exact, of the right tier, size and day, and refused where nobody knows."""

import subprocess
import sys
import warnings
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from math import ceil

import pytest
from genai_prices import Usage
from genai_prices.data import providers
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenward.engine.catalog import Catalog
from tokenward.engine.errors import InvalidInput, UnknownPrice
from tokenward.engine.money import MAX_NANO
from tokenward.engine.prices.listed import price_facts
from tokenward.engine.pricing import Cost, CostCalculator, Tier, nano, usd
from tokenward.engine.usage import MAX_TOKENS, TokenUsage

NOW_US = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * 1_000_000
MILLION = 1_000_000


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def calculator(aliases: dict[str, str] | None = None) -> CostCalculator:
    return CostCalculator(Catalog(aliases), clock=lambda: NOW_US)


def cost_of(model: str, usage: TokenUsage, tier: Tier = "standard", at: str | None = None) -> Cost:
    return calculator().calculate_cost(usage, model, tier=tier, at_us=us(at) if at else None)


def test_a_plain_request_costs_its_tokens() -> None:
    """gpt-4o: $2.50 per million tokens of input, $10 of output, $1.25 of cached input (2026-11-10)."""
    usage = TokenUsage(input_tokens=1000, output_tokens=100, cached_input_tokens=400)
    cost = cost_of("gpt-4o", usage)
    assert (cost.input_nano, cost.output_nano, cost.cache_nano) == (1_500_000, 1_000_000, 500_000)
    assert cost.total_nano == 3_000_000
    assert cost.prices == {"input": "2.50", "output": "10.00", "cached_input": "1.25"}
    assert (cost.model, cost.provider, cost.tier, cost.usage) == ("gpt-4o", "openai", "standard", usage)


def test_the_source_of_the_price_is_stated() -> None:
    cost = cost_of("gpt-4o", TokenUsage(1))
    assert (cost.price_source, cost.price_date) == ("genai-prices 0.2.3", "2026-11-10")


def test_cache_reads_and_writes_have_their_own_prices() -> None:
    """claude-opus-4-5: $5 in, $6.25 written for 5 minutes, $10 for an hour, $0.50 read."""
    usage = TokenUsage(
        input_tokens=10_000, cached_input_tokens=1_000, cache_write_tokens=2_000, cache_write_1h_tokens=3_000
    )
    cost = cost_of("claude-opus-4-5", usage)
    assert cost.input_nano == 4_000 * 5_000
    assert cost.cache_nano == 1_000 * 500 + 2_000 * 6_250 + 3_000 * 10_000
    assert cost.prices["cache_write"] == "6.25"
    assert cost.prices["cache_write_1h"] == "10.00"


def test_every_hour_long_write_that_anthropic_prices_is_twice_its_input() -> None:
    """The provider's documented rule holds in the data, so none of ours is needed."""
    anthropic = next(provider for provider in providers if provider.id == "anthropic")
    for model in anthropic.models:
        prices = model.get_prices(datetime(2026, 11, 21, tzinfo=UTC))
        if isinstance(prices.cache_write_1h_mtok, Decimal) and isinstance(prices.input_mtok, Decimal):
            assert prices.cache_write_1h_mtok == 2 * prices.input_mtok
        assert (prices.cache_write_mtok is None) == (prices.cache_write_1h_mtok is None)


@pytest.mark.parametrize(
    ("model", "usage", "missing"),
    [
        ("gpt-6-luna", TokenUsage(10, cache_write_1h_tokens=10), "writing to the cache for an hour"),
        ("gpt-4o", TokenUsage(10, cache_write_tokens=10), "writing to the cache"),
        ("text-embedding-3-small", TokenUsage(10, 1), "output"),
    ],
)
def test_a_kind_of_token_without_a_price_is_refused_by_name(model: str, usage: TokenUsage, missing: str) -> None:
    with pytest.raises(UnknownPrice, match=rf"none for {missing}\b"):
        cost_of(model, usage)


def test_short_writes_use_the_only_write_price_there_is() -> None:
    assert cost_of("gpt-6-luna", TokenUsage(1000, cache_write_tokens=1000)).cache_nano == 125_000


def test_cached_input_without_its_own_price_costs_as_input() -> None:
    cost = cost_of("gpt-4", TokenUsage(1000, cached_input_tokens=400))
    assert (cost.input_nano, cost.cache_nano) == (600 * 30_000, 400 * 30_000)
    assert "cached_input" not in cost.prices


def test_embeddings_cost_their_input_alone() -> None:
    assert cost_of("text-embedding-3-small", TokenUsage(MILLION)).total_nano == 20_000_000


@pytest.mark.parametrize(
    "model",
    [
        "no-such-model",
        "gpt-99",
        "claude-sonnet-9",
        "cl100k_base",
        "llama-3.3-70b",
        "ollama/gpt-oss:20b",
        "vllm/deepseek-chat",
        "groq/gpt-4o",
        "openrouter/no/such-model",
        "google/gemma-3",
        "ft:gpt-4.1-mini-2025-04-14:org::id",
    ],
)
def test_an_unknown_price_is_refused_and_never_zero(model: str) -> None:
    with pytest.raises(UnknownPrice):
        cost_of(model, TokenUsage(1, 1))


@pytest.mark.parametrize("model", ["llama-3.3-70b", "qwen3-32b"])
def test_open_models_ask_for_their_host(model: str) -> None:
    with pytest.raises(UnknownPrice, match="put the host in front, as in 'groq/"):
        cost_of(model, TokenUsage(1, 1))


def test_a_model_stated_to_be_free_costs_nothing() -> None:
    cost = cost_of("openrouter/nvidia/nemotron-nano-9b-v2:free", TokenUsage(MILLION, MILLION))
    assert cost.total_nano == 0
    assert cost.prices == {"input": "0.00", "output": "0.00"}


@pytest.mark.parametrize(
    ("model", "provider", "input_price"),
    [
        ("openai/gpt-4o", "openai", "2.50"),
        ("gpt-4o-2024-05-13", "openai", "5.00"),
        ("models/gemini-2.5-flash", "google", "0.30"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws", "3.30"),
        ("claude-opus-4-6@20260101", "google", "5.00"),
        ("groq/openai/gpt-oss-20b", "groq", "0.075"),
        ("azure/gpt-4o", "azure", "2.50"),
        ("openrouter/anthropic/claude-opus-4.5", "openrouter", "5.00"),
        ("ft:gpt-4o-mini-2024-07-18:org::id", "openai", "0.30"),
        ("openai/ft:gpt-4o-mini:org::id", "openai", "0.30"),
        ("pixtral-large", "mistral", "2.00"),
        ("azure/gpt-35-turbo", "azure", "0.50"),
    ],
)
def test_the_named_hosts_price_counts(model: str, provider: str, input_price: str) -> None:
    cost = cost_of(model, TokenUsage(1000))
    assert (cost.provider, cost.prices["input"]) == (provider, input_price)


@pytest.mark.parametrize("alias", ["my-deployment", "azure/prod", "gpt-4o-mini", "meta.prod", "prod_base"])
def test_an_alias_costs_what_its_target_costs(alias: str) -> None:
    cost = calculator({alias: "gpt-4o"}).calculate_cost(TokenUsage(1000), alias)
    assert (cost.model, cost.prices["input"]) == (alias, "2.50")


@pytest.mark.parametrize(
    ("model", "tier", "prices"),
    [
        ("gpt-5", "batch", ("0.625", "5.00")),
        ("gpt-5", "flex", ("0.625", "5.00")),
        ("gpt-5", "priority", ("2.50", "20.00")),
        ("claude-opus-4-5", "batch", ("2.50", "12.50")),
        ("gemini-2.5-flash", "batch", ("0.15", "1.25")),
    ],
)
def test_tiers_have_their_own_prices(model: str, tier: Tier, prices: tuple[str, str]) -> None:
    cost = cost_of(model, TokenUsage(10, 10), tier)
    assert (cost.prices["input"], cost.prices["output"], cost.tier) == (*prices, tier)


@pytest.mark.parametrize(
    ("model", "tier", "at"),
    [
        ("claude-opus-4-5", "flex", None),
        ("claude-opus-4-5", "priority", None),
        ("gpt-4", "flex", None),
        ("gemini-2.5-flash", "priority", None),
        ("deepseek-chat", "batch", None),
        ("azure/gpt-5", "batch", None),  # OpenAI's tiers say nothing about Azure's
        ("gpt-5", "batch", "2026-10-13T23:59:59"),  # the data knows batch prices from 2026-10-14 on
    ],
)
def test_a_tier_without_a_known_price_is_refused(model: str, tier: Tier, at: str | None) -> None:
    with pytest.raises(UnknownPrice, match=f"no {tier} price"):
        cost_of(model, TokenUsage(10, 10), tier, at)


def test_a_tier_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidInput, match="Did you mean 'batch'"):
        cost_of("gpt-5", TokenUsage(1), "batches")  # type: ignore[arg-type]


def test_every_tier_is_one_that_the_price_data_knows() -> None:
    """The library answers an unknown context with standard prices, so a renamed one must not go unnoticed."""
    known = [
        variant.when for provider in providers for model in provider.models for variant in model.price_variants or ()
    ]
    assert set(price_facts().contexts) == {"batch", "flex", "priority", "fast"}
    for when in price_facts().contexts.values():
        assert when in known


@pytest.mark.parametrize(
    ("model", "start", "low", "high"),
    [
        ("gemini-2.5-pro", 200_000, "1.25", "2.50"),
        ("gpt-6-luna", 272_000, "0.10", "0.20"),
        ("claude-haiku-5-5", 100_000, "0.10", None),
    ],
)
def test_long_inputs_reprice_every_token(model: str, start: int, low: str, high: str | None) -> None:
    """A cliff: one token more than the boundary raises the price of all of them, output included."""
    below, above = cost_of(model, TokenUsage(start, 1000)), cost_of(model, TokenUsage(start + 1, 1000))
    assert below.prices["input"] == low
    assert high in (None, above.prices["input"])
    assert below.input_nano == start * nano(below.prices["input"]) // MILLION
    assert above.input_nano == (start + 1) * nano(above.prices["input"]) // MILLION
    assert Decimal(above.prices["output"]) > Decimal(below.prices["output"])


def test_the_whole_input_decides_on_the_boundary_cached_parts_included() -> None:
    usage = TokenUsage(200_001, cached_input_tokens=200_000)
    cost = cost_of("gemini-2.5-pro", usage)
    assert cost.cache_nano == 200_000 * nano(cost.prices["cached_input"]) // MILLION
    assert cost.prices["cached_input"] == "0.25"


def test_a_tier_without_long_inputs_refuses_them() -> None:
    """gpt-5.4 has one priority price, and standard prices up to 272,000 tokens and above."""
    assert cost_of("gpt-5.4", TokenUsage(272_000), "priority").prices["input"] == "5.00"
    with pytest.raises(UnknownPrice, match="no priority price above 272000 input tokens"):
        cost_of("gpt-5.4", TokenUsage(272_001), "priority")


@pytest.mark.parametrize(
    ("at", "input_price"),
    [
        ("2026-08-16T12:00:00", "0.14"),
        ("2026-08-17T00:00:00", "0.22"),
        ("2026-11-21T00:59:59", "0.15"),
        ("2026-11-21T01:00:00", "0.30"),
    ],
)
def test_prices_are_those_of_the_day_and_the_hour(at: str, input_price: str) -> None:
    """deepseek-v4-flash has changed its price by date, and is dearer at certain hours."""
    assert Decimal(cost_of("deepseek-v4-flash", TokenUsage(10), at=at).prices["input"]) == Decimal(input_price)


def test_reasoning_with_its_own_price_is_priced_apart() -> None:
    """sonar-deep-research: $8 of output, $3 of reasoning."""
    cost = cost_of("perplexity/sonar-deep-research", TokenUsage(0, 1000, reasoning_tokens=400))
    assert cost.output_nano == 600 * 8_000 + 400 * 3_000


def test_a_fee_per_request_is_part_of_the_cost() -> None:
    """sonar: $12 per thousand requests beside its tokens."""
    cost = cost_of("perplexity/sonar", TokenUsage(1000))
    assert cost.input_nano == 1_000 * 1_000 + 12_000_000
    assert cost.prices["per_thousand_requests"] == "12.00"


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    cached, write, hour, fresh, output = (draw(st.integers(0, 10**7)) for _ in range(5))
    return TokenUsage(cached + write + hour + fresh, output, cached, write, hour, draw(st.integers(0, output)))


@settings(deadline=None, max_examples=150)
@given(usages(), st.sampled_from(["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-5-5", "claude-3-haiku"]))
def test_the_total_is_the_exact_cost_rounded_up_once(usage: TokenUsage, model: str) -> None:
    """The price library's own arithmetic is the oracle; parts are within one nano-dollar of exact and add up."""
    cost = cost_of(model, usage)
    anthropic = next(provider for provider in providers if provider.id == "anthropic")
    priced = anthropic.find_model(model)
    assert priced is not None
    exact = priced.calc_price(
        Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_tokens + usage.cache_write_1h_tokens,
            cache_write_5m_tokens=usage.cache_write_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            output_tokens=usage.output_tokens,
        ),
        anthropic,
        genai_request_timestamp=datetime(2026, 11, 21, 12, tzinfo=UTC),
    )
    assert cost.total_nano == ceil(Fraction(exact.total_price) * 10**9)
    assert cost.total_nano == cost.input_nano + cost.output_nano + cost.cache_nano
    assert abs(cost.output_nano - Fraction(exact.output_price) * 10**9) < 1
    assert abs(cost.input_nano + cost.cache_nano - Fraction(exact.input_price) * 10**9) < 2


def test_fractions_of_a_nano_dollar_are_rounded_up_once() -> None:
    """deepseek-v4-flash off-peak: $0.003 per million cached tokens, so one is 3 nano-dollars; 0.0028 before August."""
    cost = cost_of("deepseek-v4-flash", TokenUsage(1, cached_input_tokens=1), at="2026-01-01T00:00:00")
    assert (cost.input_nano, cost.output_nano, cost.cache_nano, cost.total_nano) == (0, 0, 3, 3)


def test_the_callers_decimal_settings_do_not_matter() -> None:
    usage = TokenUsage(123_456_789, 987_654_321)
    with localcontext() as context:
        context.prec = 3
        coarse = cost_of("gpt-4o", usage)
    assert coarse == cost_of("gpt-4o", usage)


def test_the_largest_request_of_the_dearest_model_fits_into_the_ledger() -> None:
    """o1-pro: $600 per million tokens of output, the dearest that the data lists."""
    assert cost_of("o1-pro", TokenUsage(MAX_TOKENS, MAX_TOKENS)).total_nano < MAX_NANO // 1000


@pytest.mark.parametrize("at_us", [10**30, -(10**30), 10**18])
def test_an_impossible_time_is_refused(at_us: int) -> None:
    with pytest.raises(InvalidInput, match=r"^at: "):
        calculator().calculate_cost(TokenUsage(1), "gpt-4o", at_us=at_us)


def test_pricing_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cost_of("gpt-audio", TokenUsage(10, 10))
        cost_of("claude-opus-4-5", TokenUsage(10, 10), "batch")


def test_importing_the_module_does_not_load_the_price_data() -> None:
    code = "import sys, tokenward.engine.pricing, tokenward.engine.extraction; sys.exit('genai_prices' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (4_125_000, "0.004125"),
        (100_000_000, "0.10"),
        (1_000_000_000, "1.00"),
        (12_345_678_901, "12.345678901"),
        (-5, "-0.000000005"),
        (MAX_NANO, "9223372036.854775807"),
    ],
)
def test_nano_dollars_as_text(amount: int, text: str) -> None:
    assert usd(amount) == text


@given(st.integers(0, MAX_NANO))
def test_text_and_nano_dollars_are_inverse(amount: int) -> None:
    assert nano(usd(amount)) == amount


@pytest.mark.parametrize(("text", "amount"), [("5", 5 * 10**9), ("0.5", 5 * 10**8), ("007.10", 71 * 10**8)])
def test_amounts_may_have_fewer_decimals(text: str, amount: int) -> None:
    assert nano(text) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "1.",
        ".5",
        "1e3",
        "$5",
        "1,5",
        "NaN",
        "inf",
        "0.1234567891",
        "9223372036.854775808",
        "\uff11",
        " 1",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^usd: "):
        nano(text)
