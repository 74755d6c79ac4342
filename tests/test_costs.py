"""Estimates: each model counts the work with its own tokenizer, and own prices hold wherever money is counted."""

from collections.abc import AsyncGenerator
from datetime import date
from decimal import Decimal

import pytest

from tests.conftest import CountingIds, FakeClock
from tokenward import (
    EstimateRequest,
    InvalidInput,
    QuotaRequest,
    RecordRequest,
    ReportRequest,
    SyncTokenward,
    TokenLimit,
    TokenUsage,
    Tokenward,
    UnknownPrice,
)
from tokenward.costs import CostEstimate
from tokenward.engine.currency import Currencies, Currency
from tokenward.engine.prices.own import OwnPrice, OwnPrices, OwnTable
from tokenward.engine.types import DAY_US, JsonObject
from tokenward.reprice import reprice

pytestmark = pytest.mark.anyio

OWN = OwnPrices(
    [
        OwnPrice(
            name="my-model",
            tables={
                "standard": OwnTable({"input": Decimal(1), "output": Decimal(2)}, {200_000: {"input": Decimal(3)}})
            },
            date="2026-10-01",
        ),
        OwnPrice(name="ollama/*", tables={"standard": OwnTable({"input": Decimal(0), "output": Decimal(0)})}),
        OwnPrice(name="gpt-4o", discount_percent=Decimal(20)),
    ]
)
PROSE = "Naïve café owners frequently reorganise their spreadsheets. " * 20
TOOL: JsonObject = {
    "type": "function",
    "function": {
        "name": "find_orders",
        "description": "Finds orders by customer, day and state.",
        "parameters": {"type": "object", "properties": {"customer": {"type": "string"}, "day": {"type": "string"}}},
    },
}


@pytest.fixture
async def service(clock: FakeClock, new_id: CountingIds) -> AsyncGenerator[Tokenward]:
    euro = Currencies([Currency("EUR", Decimal("0.92"))], "EUR")
    async with Tokenward.open(
        "memory://",
        default_user="alice",
        aliases={"prod": "my-model"},
        prices=OWN,
        currencies=euro,
        clock=clock,
        new_id=new_id,
    ) as opened:
        yield opened


def input_tokens(estimate: CostEstimate) -> int:
    return estimate.cost.usage.input_tokens


async def test_the_same_text_is_more_tokens_on_another_model(service: Tokenward) -> None:
    estimate = service.estimate_cost(EstimateRequest(model="gpt-4o", text=PROSE, compare=["claude-sonnet-4-5"]))
    (other,) = estimate.comparisons
    assert input_tokens(other) == service.counter.count_tokens(PROSE, "claude-sonnet-4-5").token_count
    assert input_tokens(other) >= 1.2 * input_tokens(estimate)
    assert other.token_ratio == f"{Decimal(input_tokens(other)) / input_tokens(estimate):.3f}"
    assert other.recounted
    assert other.cost.input_nano == input_tokens(other) * 3_000


async def test_a_request_is_recounted_with_its_tools_and_its_system_text(service: Tokenward) -> None:
    messages: list[JsonObject] = [{"role": "user", "content": PROSE}]
    bare = EstimateRequest(model="gpt-4o", messages=messages, compare=["claude-sonnet-4-5", "gpt-4o"])
    whole = EstimateRequest(
        model="gpt-4o",
        messages=messages,
        tools=[TOOL],
        system="Answer briefly.",
        compare=["claude-sonnet-4-5", "gpt-4o"],
    )
    small, large = service.estimate_cost(bare), service.estimate_cost(whole)
    assert input_tokens(large) > input_tokens(small)
    for one, other in zip(small.comparisons, large.comparisons, strict=True):
        assert input_tokens(other) > input_tokens(one)
        assert other.recounted
    claude, same = large.comparisons
    counted = service.count_messages(messages, "claude-sonnet-4-5", tools=[TOOL], system="Answer briefly.")
    assert input_tokens(claude) == counted.tokens
    assert same.token_ratio == "1.000"


async def test_numbers_are_not_recounted_and_it_is_said(service: Tokenward) -> None:
    request = EstimateRequest(model="gpt-4o", usage=TokenUsage(1_000, 10), compare=["claude-sonnet-4-5"])
    (other,) = service.estimate_cost(request).comparisons
    assert (input_tokens(other), other.recounted, other.token_ratio, other.exact) == (1_000, False, None, False)


async def test_nothing_has_no_ratio(service: Tokenward) -> None:
    (other,) = service.estimate_cost(EstimateRequest(model="gpt-4o", text="", compare=["gpt-4"])).comparisons
    assert (input_tokens(other), other.token_ratio) == (0, None)


@pytest.mark.parametrize(("model", "nano"), [("my-model", 1_000), ("acme/my-model", 1_000), ("prod", 1_000)])
async def test_own_prices_count_in_estimates(service: Tokenward, model: str, nano: int) -> None:
    estimate = service.estimate_cost(EstimateRequest(model=model, usage=TokenUsage(1)))
    assert (estimate.cost.total_nano, estimate.cost.price_source) == (nano, "own prices")


async def test_own_prices_count_in_quotas_the_ledger_and_reports(service: Tokenward, clock: FakeClock) -> None:
    await service.set_limit(TokenLimit("user:alice", "cost", "day", 3_000_000))
    held = await service.check_quota(
        QuotaRequest(model="prod", input_tokens=1_000, max_output_tokens=500, reserve=True)
    )
    assert (held.allowed, held.requested.cost_nano) == (True, 2_000_000)
    assert not (await service.check_quota(QuotaRequest(model="my-model", input_tokens=1_001))).allowed
    free = await service.check_quota(QuotaRequest(model="ollama/llama3", input_tokens=10**6, max_output_tokens=10))
    assert (free.allowed, free.requested.cost_nano) == (True, 0)
    record = RecordRequest(model="my-model", usage=TokenUsage(1_000, 100), reservation_id=held.reservation_id)
    assert (await service.record_usage(record)).cost_nano == 1_200_000
    several = [
        RecordRequest(model=model, usage=usage)
        for model, usage in [
            ("my-model", TokenUsage(200_000)),
            ("my-model", TokenUsage(200_001)),
            ("gpt-4o", TokenUsage(1_000)),
            ("ollama/llama3", TokenUsage(1_000, 1_000)),
        ]
    ]
    costs = [receipt.cost_nano for receipt in await service.record_many(several)]
    assert costs == [200_000 * 1_000, 200_001 * 3_000, 1_000 * 2_000, 0]
    report = await service.usage_report(ReportRequest(clock() - DAY_US, clock() + 1))
    assert report.totals.cost_nano == 1_200_000 + 200_000_000 + 600_003_000 + 2_000_000


async def test_the_ledger_keeps_whose_prices_were_applied(service: Tokenward) -> None:
    await service.record_usage(RecordRequest(model="my-model", usage=TokenUsage(1)))
    await service.record_usage(RecordRequest(model="gpt-4o", usage=TokenUsage(1)))
    store = await service.ledger()
    found = {event.model: event.price_source async for event in store.events(0, 2**62)}
    assert found == {"my-model": "own prices", "gpt-4o": "own prices on genai-prices 0.2.3"}


async def test_own_prices_count_when_events_are_priced_again(clock: FakeClock, new_id: CountingIds) -> None:
    async with Tokenward.open("memory://", clock=clock, new_id=new_id) as before:
        await before.record_usage(RecordRequest(model="my-model", usage=TokenUsage(200_001)))
        await before.record_usage(RecordRequest(model="gpt-4o", usage=TokenUsage(1_000)))
        store = await before.ledger()
        calculator = Tokenward(before.tracker, before.counter, before.calculator, clock).calculator
        assert [one.unknown for one in await reprice(store, calculator)] == [0, 1]
        own = type(calculator)(clock=clock, own=OWN)
        found = await reprice(store, own)
    assert [(one.model, one.new_cost_nano, one.unknown) for one in found] == [
        ("gpt-4o", 2_000_000, 0),
        ("my-model", 600_003_000, 0),
    ]


async def test_an_own_price_that_does_not_hold_yet_is_none(clock: FakeClock, new_id: CountingIds) -> None:
    table = {"standard": OwnTable({"input": Decimal(1)})}
    later = OwnPrices([OwnPrice(name="my-model", tables={"standard": table["standard"]}, start=date(2090, 1, 1))])
    async with Tokenward.open("memory://", prices=later, clock=clock, new_id=new_id) as service:
        receipt = await service.record_usage(RecordRequest(model="my-model", usage=TokenUsage(1)))
        assert receipt.cost_nano is None
        with pytest.raises(UnknownPrice):
            service.estimate_cost(EstimateRequest(model="my-model", usage=TokenUsage(1)))


async def test_the_service_knows_its_currency(service: Tokenward, clock: FakeClock) -> None:
    assert service.currency.code == "EUR"
    assert service.currency.text(10**9) == "0.92"
    assert service.currencies.find("USD").is_usd
    with pytest.raises(InvalidInput, match="no rate is set for 'GBP'"):
        service.currencies.find("GBP")
    async with Tokenward.open("memory://", clock=clock) as plain:
        assert plain.currency.is_usd


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_own_prices_count_without_await(anyio_backend: str) -> None:
    assert anyio_backend
    with SyncTokenward.open("memory://", prices=OWN) as service:
        estimate = service.estimate_cost(EstimateRequest(model="my-model", usage=TokenUsage(1)))
        assert estimate.cost.total_nano == 1_000
