"""Compiled prices are the calculator's, at every size and moment."""

from datetime import UTC, date, datetime, time
from decimal import Decimal, localcontext
from typing import get_args

import pytest
from genai_prices.data import providers
from genai_prices.types import StartDateConstraint, TimeOfDateConstraint
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import FakeClock
from tokenward.engine.errors import UnknownPrice
from tokenward.engine.prices.own import OwnPrice, OwnPrices, OwnTable
from tokenward.engine.pricing import Cost, CostCalculator
from tokenward.engine.tariffs import PRICE_STEP_US, Price, Prices
from tokenward.engine.types import SECOND_US
from tokenward.engine.usage import MAX_TOKENS, Tier, TokenUsage

USAGE = TokenUsage(1_000, 100)


MODELS = [
    "gpt-4o",
    "gpt-5",
    "gpt-5.5",
    "claude-sonnet-4-5",
    "claude-opus-4-5",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "deepseek-chat",
    "grok-4",
    "perplexity/sonar-pro",
    "text-embedding-3-small",
    "mistral-large",
    "qwen/qwen3-max",
    "my-own-model",
    "ollama/llama3",
    "my-clone",
]
TOKENS = st.one_of(
    st.integers(0, 5_000),
    st.sampled_from([one + near for one in (777, 32_000, 50_000, 128_000, 200_000, 272_000) for near in (-1, 0, 1)]),
    st.integers(0, MAX_TOKENS // 4),
)
KINDS = st.sampled_from([0, 0, 1, 10, 1_234])


def whole(fresh: int, output: int, cached: int, write: int, write_1h: int, reasoning: int) -> TokenUsage:
    """Usage from its parts."""
    return TokenUsage(fresh + cached + write + write_1h, output + reasoning, cached, write, write_1h, reasoning)


USAGES = st.builds(whole, TOKENS, KINDS, KINDS, KINDS, KINDS, KINDS)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2026, 12, 31)).map(
    lambda moment: int(moment.replace(tzinfo=UTC).timestamp()) * SECOND_US
)


def expected(calculator: CostCalculator, usage: TokenUsage, model: str, tier: Tier, at_us: int) -> Price:
    """What the calculator says, event by event."""
    try:
        cost = calculator.calculate_cost(usage, model, tier=tier, at_us=at_us)
    except UnknownPrice as error:
        return Price(None, problem=str(error))
    return Price(cost.total_nano, cost.price_source)


def table(text: str, **above: str) -> OwnTable:
    """Own prices of input and output, and of input above some sizes (``above_200000="3"``)."""
    sizes = {int(size.removeprefix("above_")): {"input": Decimal(price)} for size, price in above.items()}
    kinds: list[str] = ["input", "output", "cached_input", "cache_write"]
    stated = dict(zip(kinds, map(Decimal, text.split()), strict=False))
    return OwnTable(stated, sizes)


OWN = OwnPrices(
    [
        OwnPrice(
            name="my-own-model",
            tables={"standard": table("0.123456789012345678 2 0.1 1", above_777="3", above_50000="4")},
            start=date(2025, 3, 2),
        ),
        OwnPrice(name="ollama/*", tables={"standard": table("0 0")}),
        OwnPrice(name="gpt-5*", discount_percent=Decimal("12.3456789"), end=date(2026, 6, 1)),
        OwnPrice(name="my-clone", like="gemini-2.5-pro", tables={"standard": table("", above_1000="3")}),
    ]
)
CALCULATOR = CostCalculator()
CALCULATORS = [CALCULATOR, CostCalculator(own=OWN)]
PRICES = {calculator: Prices(calculator) for calculator in CALCULATORS}


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(CALCULATORS), USAGES, st.sampled_from(MODELS), st.sampled_from(get_args(Tier)), MOMENTS)
def test_a_compiled_price_is_the_calculators(
    calculator: CostCalculator, usage: TokenUsage, model: str, tier: Tier, at_us: int
) -> None:
    found = PRICES[calculator].of(usage, model, tier, at_us)
    wanted = expected(calculator, usage, model, tier, at_us)
    assert (found.cost_nano, found.source) == (wanted.cost_nano, wanted.source)
    assert bool(found.problem) is bool(wanted.problem)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("near", [-1, 0, 1])
def test_prices_change_with_the_size_of_the_input_where_the_calculators_do(
    model: str, near: int, clock: FakeClock
) -> None:
    calculator = CostCalculator(clock=clock)
    prices = Prices(calculator)
    sizes = [1, 32_000, 100_000, 128_000, 199_999, 200_000, 256_000, 272_000, 512_000, 524_288]
    usages = [TokenUsage(size + near, 10) for size in sizes]
    found = [prices.of(usage, model, "standard", clock()) for usage in usages]
    assert found == [expected(calculator, usage, model, "standard", clock()) for usage in usages]


@pytest.mark.parametrize("tokens", [776, 777, 778, 1_000, 1_001, 49_999, 50_000, 50_001, 200_000, 200_001])
@pytest.mark.parametrize("model", ["my-own-model", "my-clone"])
def test_own_prices_change_with_the_size_of_the_input_too(model: str, tokens: int, clock: FakeClock) -> None:
    calculator = CostCalculator(clock=clock, own=OWN)
    prices, usage = Prices(calculator), TokenUsage(tokens, 10)
    prices.of(TokenUsage(1), model, "standard", clock())
    found = prices.of(usage, model, "standard", clock())
    assert found.cost_nano
    assert found == expected(calculator, usage, model, "standard", clock())


def test_callers_decimal_settings_do_not_matter(clock: FakeClock) -> None:
    usage = TokenUsage(777, 10)
    with localcontext() as context:
        context.prec = 2
        coarse = Prices(CostCalculator(clock=clock, own=OWN)).of(usage, "my-own-model", "standard", clock())
    assert coarse == expected(CostCalculator(clock=clock, own=OWN), usage, "my-own-model", "standard", clock())


class CountingCalculator(CostCalculator):
    """Counts what it is asked."""

    asked = 0

    def calculate_cost(
        self, usage: TokenUsage, model: str, *, tier: Tier = "standard", at_us: int | None = None
    ) -> Cost:
        self.asked += 1
        return super().calculate_cost(usage, model, tier=tier, at_us=at_us)


def test_a_models_prices_are_looked_up_once(clock: FakeClock) -> None:
    calculator = CountingCalculator(clock=clock)
    prices = Prices(calculator)
    for tokens in range(100):
        assert prices.of(TokenUsage(1_000 + tokens, 100), "gpt-4o", "standard", clock()).cost_nano
        assert prices.of(TokenUsage(1_000 + tokens, 100), "my-own-model", "standard", clock()).problem
    assert calculator.asked == 2


@pytest.mark.parametrize("at", ["00:29:59", "00:30:00", "03:59:59", "04:00:00", "09:59:59", "16:29:59", "16:30:00"])
@pytest.mark.parametrize("day", ["2025-07-01", "2026-11-21"])
@pytest.mark.parametrize("model", ["deepseek-chat", "deepseek-reasoner", "gpt-4o"])
def test_a_remembered_price_is_the_price_of_that_moment(model: str, day: str, at: str) -> None:
    at_us = int(datetime.fromisoformat(f"{day}T{at}").replace(tzinfo=UTC).timestamp()) * SECOND_US
    calculator = CostCalculator()
    prices = Prices(calculator)
    prices.of(USAGE, model, "standard", at_us // PRICE_STEP_US * PRICE_STEP_US)
    cost = calculator.calculate_cost(USAGE, model, at_us=at_us)
    assert prices.of(USAGE, model, "standard", at_us).cost_nano == cost.total_nano


def on_a_step(moment: time) -> bool:
    """Whether prices that change at this time of day change between two steps."""
    seconds = moment.hour * 3_600 + moment.minute * 60 + moment.second
    return (seconds * SECOND_US + moment.microsecond) % PRICE_STEP_US == 0


def test_prices_change_only_where_a_step_ends() -> None:
    models = [model for provider in providers for model in provider.models]
    dated = [price.constraint for model in models if isinstance(model.prices, list) for price in model.prices]
    variants = [variant.constraint for model in models for variant in model.price_variants or ()]
    constraints = [one for one in (*dated, *variants) if one is not None]
    by_day = [one for one in constraints if isinstance(one, StartDateConstraint)]
    by_time = [one for one in constraints if isinstance(one, TimeOfDateConstraint)]
    assert by_time
    assert len(by_day) + len(by_time) == len(constraints)
    assert all(on_a_step(one.start_time) and on_a_step(one.end_time) for one in by_time)
