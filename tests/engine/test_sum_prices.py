"""Prices of sums: what the cache saved and what the same tokens would cost on another model."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenward.engine.analytics import UsageAnalytics
from tokenward.engine.errors import InvalidInput, UnknownPrice
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.reports.report import ReportRequest
from tokenward.engine.reports.sum_prices import CacheSavings, SumPrices, Tariff
from tokenward.engine.usage import TokenUsage, UsageSum

AT_US = 1_795_262_400_000_000
CALCULATOR = CostCalculator(clock=lambda: AT_US)
PRICES = SumPrices(CALCULATOR, AT_US)
MILLION = 1_000_000
USD = 10**9


def cost_nano(used: UsageSum, model: str) -> int:
    return PRICES.tariff(model, used).cost_nano(used)


def test_what_is_read_from_a_cache_saves_the_difference() -> None:
    """gpt-4o: 2.50 USD per million tokens of input, 1.25 from the cache."""
    saved = PRICES.cache_savings([UsageSum("gpt-4o", 100, 3 * MILLION, cached_tokens=2 * MILLION)])
    assert saved == CacheSavings(int(2.5 * USD), {"gpt-4o": int(2.5 * USD)}, 0)


def test_what_is_written_costs_extra() -> None:
    """claude-sonnet-4-5: 3 USD; 0.30 read, 3.75 written for 5 minutes, 6 for an hour."""
    used = UsageSum(
        "claude-sonnet-4-5",
        1_000,
        10 * MILLION,
        cached_tokens=4 * MILLION,
        cache_write_tokens=3 * MILLION,
        cache_write_1h_tokens=1 * MILLION,
    )
    assert PRICES.cache_savings([used]).total_nano == 4 * 2_700_000_000 - 2 * 750_000_000 - 3_000_000_000


def test_writing_without_reading_is_a_loss() -> None:
    written = UsageSum("claude-sonnet-4-5", 1_000, 10 * MILLION, cache_write_tokens=2 * MILLION)
    assert PRICES.cache_savings([written]).total_nano == -1_500_000_000


@pytest.mark.parametrize(
    "used",
    [
        UsageSum("my-own-model", 1, 100, cached_tokens=60),
        UsageSum("gpt-4o", 1, 100, cache_write_tokens=60),
        UsageSum("", 1, 100, cached_tokens=50, cache_write_tokens=10),
    ],
    ids=["no prices", "no price for a write", "no name"],
)
def test_without_a_price_nothing_is_saved_and_the_tokens_are_told(used: UsageSum) -> None:
    known = UsageSum("gpt-4o-mini", 1, MILLION, cached_tokens=MILLION)
    assert PRICES.cache_savings([used, known]) == CacheSavings(75_000_000, {"gpt-4o-mini": 75_000_000}, 60)


def test_models_without_cache_traffic_are_not_named() -> None:
    assert PRICES.cache_savings([UsageSum("gpt-4o", 1, 100), UsageSum("my-own-model", 1, 100)]) == CacheSavings()


@pytest.mark.parametrize(("average", "nano_per_million"), [(200_000, 1_250_000_000), (200_001, 2_500_000_000)])
def test_a_price_by_size_is_that_of_the_average_request(average: int, nano_per_million: int) -> None:
    """gemini-2.5-pro: twice as much for requests of more than 200,000 tokens."""
    used = UsageSum("", 10, 10 * average)
    assert cost_nano(used, "gemini-2.5-pro") == -(-10 * average * nano_per_million // MILLION)


@settings(max_examples=60, deadline=None)
@given(
    parts=st.tuples(*[st.integers(0, 20_000)] * 6),
    requests=st.integers(1, 50),
    model=st.sampled_from(["claude-sonnet-4-5", "gpt-4o", "gemini-2.5-flash", "o3"]),
)
def test_equal_requests_cost_what_the_calculator_says(parts: tuple[int, ...], requests: int, model: str) -> None:
    fresh, cached, write, write_1h, output, reasoning = parts
    if model != "claude-sonnet-4-5":
        write = write_1h = 0
    usage = TokenUsage(fresh + cached + write + write_1h, output + reasoning, cached, write, write_1h, reasoning)
    used = UsageSum(
        "somebody",
        requests,
        usage.input_tokens * requests,
        usage.output_tokens * requests,
        cached * requests,
        (write + write_1h) * requests,
        reasoning * requests,
        cache_write_1h_tokens=write_1h * requests,
    )
    one_nano = CALCULATOR.calculate_cost(usage, model, at_us=AT_US).total_nano
    # Each request of the calculator is rounded up, the sum only once.
    assert requests * one_nano - requests < cost_nano(used, model) <= requests * one_nano


def test_every_price_counts_its_own_tokens() -> None:
    """Powers of ten, so that each digit is one kind's tokens; USD per million are thousands of nano-dollars each."""
    names = ["input", "output", "cached_input", "cache_write", "cache_write_1h", "reasoning", "per_thousand_requests"]
    tariff = Tariff({name: Fraction(10**index) for index, name in enumerate(names)})
    used = UsageSum("", 9, 1 + 3 + 4 + 5, 2 + 6, 3, 4 + 5, 6, cache_write_1h_tokens=5)
    assert tariff.cost_nano(used) == 654_321 * 1_000 + 9 * 10**6 * 10**6


def test_writes_to_a_cache_are_input_where_they_have_no_price() -> None:
    used = UsageSum("claude-sonnet-4-5", 1, MILLION, cache_write_tokens=MILLION, cache_write_1h_tokens=MILLION // 2)
    assert cost_nano(used, "gpt-4o") == cost_nano(UsageSum("", 1, MILLION), "gpt-4o")


def test_an_unknown_model_has_no_price() -> None:
    with pytest.raises(UnknownPrice):
        cost_nano(UsageSum("", 1, 100), "my-own-model")
    with pytest.raises(InvalidInput):
        cost_nano(UsageSum("", 1, 100), "")


def test_a_report_says_what_the_cache_saved() -> None:
    model = UsageSum("gpt-4o", 1, MILLION, cached_tokens=MILLION)
    report = UsageAnalytics(CALCULATOR).generate_report(
        ReportRequest(AT_US - 1, AT_US), {"quarter_hour": [], "user": [], "model": [model]}
    )
    assert report.cache_savings.by_model == {"gpt-4o": 1_250_000_000}
