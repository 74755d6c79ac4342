"""``estimate_cost`` over the protocol: source and age of prices, a second opinion, own prices, other currencies."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from mcp.client import Client

from tests.conftest import CountingIds, FakeClock
from tests.tools.conftest import Connect, ToolClient
from tokenward.engine.currency import Currencies, Currency
from tokenward.engine.prices.own import OwnPrice, OwnPrices, OwnTable
from tokenward.server.strict import StrictServer
from tokenward.service import Tokenward
from tokenward.tools.definition import ToolContext
from tokenward.tools.registry import load_tools

pytestmark = pytest.mark.anyio

EURO = Currencies([Currency("EUR", Decimal("0.92"), "2026-11-20", "ECB")], "EUR")
OWN = OwnPrices([OwnPrice(name="my-model", tables={"standard": OwnTable({"input": Decimal(1), "output": Decimal(2)})})])


@pytest.fixture
async def european(clock: FakeClock, new_id: CountingIds) -> AsyncGenerator[ToolClient]:
    """A client of an owner with own prices who counts in euros."""

    @asynccontextmanager
    async def open_context() -> AsyncGenerator[ToolContext]:
        async with Tokenward.open("memory://", prices=OWN, currencies=EURO, clock=clock, new_id=new_id) as service:
            yield ToolContext(service=service)

    server = StrictServer("tokenward", version="0", instructions="", load_tools=load_tools, open_context=open_context)
    async with Client(server) as client:
        yield ToolClient(client)


async def test_every_answer_says_source_day_and_age(connect: Connect) -> None:
    async with connect() as client:
        answer = await client.answer("estimate_cost", model="gpt-4o", input_tokens=1)
    assert str(answer["price_source"]).startswith("genai-prices ")
    assert answer["price_date"] == "2026-11-10"
    assert isinstance(answer["price_age_days"], int)
    assert (answer["disagrees_with"], answer["exchange_rate"], answer["currency"]) == (None, None, "USD")


async def test_a_second_opinion_is_passed_on(connect: Connect) -> None:
    async with connect() as client:
        answer = await client.answer("estimate_cost", model="deepseek-chat", input_tokens=1)
    found = answer["disagrees_with"]
    assert isinstance(found, dict)
    assert isinstance(found["prices"], dict)
    assert str(found["source"]).startswith("litellm ")
    output = found["prices"]["output"]
    assert isinstance(output, dict)
    assert set(output) == {"ours", "theirs", "ratio"}


async def test_comparisons_say_how_many_times_the_tokens_they_are(connect: Connect) -> None:
    text = "Naïve café owners frequently reorganise their spreadsheets. " * 20
    async with connect() as client:
        counted = await client.answer("estimate_cost", model="gpt-4o", text=text, compare=["claude-sonnet-4-5"])
        given = await client.answer("estimate_cost", model="gpt-4o", input_tokens=9, compare=["claude-sonnet-4-5"])
    for answer, recounted in ((counted, True), (given, False)):
        assert isinstance(answer["comparisons"], list)
        (other,) = answer["comparisons"]
        assert isinstance(other, dict)
        assert other["recounted"] is recounted
        if recounted:
            assert Decimal(str(other["token_ratio"])) >= Decimal("1.2")
        else:
            assert other["token_ratio"] is None


async def test_all_amounts_of_an_answer_are_in_the_set_currency(european: ToolClient) -> None:
    """gpt-4o at $2.50 and $10: 2.30 and 9.20 euros."""
    answer = await european.answer(
        "estimate_cost", model="gpt-4o", input_tokens=1_000_000, output_tokens=100_000, compare=["my-model"]
    )
    assert (answer["input_cost"], answer["output_cost"], answer["total_cost"]) == ("2.30", "0.92", "3.22")
    assert answer["prices"] == {"input": "2.30", "output": "9.20", "cached_input": "1.15"}
    assert answer["currency"] == "EUR"
    assert answer["exchange_rate"] == {"rate": "0.92", "date": "2026-11-20", "source": "ECB"}
    assert isinstance(answer["comparisons"], list)
    (own,) = answer["comparisons"]
    assert isinstance(own, dict)
    assert (own["total_cost"], own["currency"], own["price_source"]) == ("1.104", "EUR", "own prices")


async def test_quotas_and_the_ledger_stay_in_dollars(european: ToolClient) -> None:
    check = await european.answer("check_quota", model="my-model", input_tokens=1_000_000, max_output_tokens=0)
    assert isinstance(check["requested"], dict)
    assert check["requested"]["cost"] == "1.00"
    receipt = await european.answer("record_usage", model="my-model", input_tokens=1_000_000, output_tokens=0)
    assert receipt["cost"] == "1.00"


async def test_an_own_models_missing_tier_is_refused_in_a_line(european: ToolClient) -> None:
    refusal = await european.refusal("estimate_cost", model="my-model", input_tokens=1, tier="batch")
    assert refusal.startswith("tier: no price is known for 'my-model' (own prices state no batch price)")
