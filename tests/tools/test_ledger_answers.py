"""What the tools answer when a budget decides, a key is reused, or the store does not do what it is asked."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from mcp.client import Client

from tests.conftest import CountingIds, FakeClock
from tests.scripted_store import ScriptedStore
from tests.tools.conftest import ToolClient
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.errors import SchemaTooNew, StoreError, StoreOverloaded, StoreUnavailable, UnknownBudget
from tokenward.engine.limits import TokenLimit
from tokenward.engine.pricing import CostCalculator
from tokenward.requests import BudgetRequest
from tokenward.server.strict import StrictServer
from tokenward.service import Tokenward
from tokenward.storage.base import UsageStore
from tokenward.tools.definition import ToolContext
from tokenward.tools.registry import load_tools
from tokenward.tracker import UsageTracker

pytestmark = pytest.mark.anyio

LIMITS = [TokenLimit("user:alice", "tokens", "day", 1_000)]


@asynccontextmanager
async def connected(service: Tokenward) -> AsyncGenerator[ToolClient]:
    @asynccontextmanager
    async def open_context() -> AsyncGenerator[ToolContext]:
        yield ToolContext(service=service)

    server = StrictServer("test", version="1", instructions="", load_tools=load_tools, open_context=open_context)
    async with Client(server) as client:
        yield ToolClient(client)


@pytest.fixture
async def service(clock: FakeClock, new_id: CountingIds) -> AsyncGenerator[Tokenward]:
    async with Tokenward.open("memory://", default_user="alice", limits=LIMITS, clock=clock, new_id=new_id) as opened:
        yield opened


def on(store: UsageStore, clock: FakeClock) -> Tokenward:
    """The service before a store that a test has made."""
    counter, calculator = TokenCounter(), CostCalculator(clock=clock)
    tracker = UsageTracker(store, counter=counter, calculator=calculator, clock=clock, default_user="alice")
    return Tokenward(tracker, counter, calculator, clock)


async def test_work_in_a_session_with_a_budget_draws_from_it(service: Tokenward) -> None:
    await service.open_budget(BudgetRequest(session="main", tokens=500))
    async with connected(service) as client:
        held = await client.answer("check_quota", tokens=400, session="main", reserve=True)
        denied = await client.answer("check_quota", tokens=101, session="main")
        outside = await client.answer("check_quota", tokens=500)
        await client.answer(
            "record_usage", model="gpt-4o", input_tokens=1, output_tokens=1, reservation_id=held["reservation_id"]
        )
        again = await client.answer("check_quota", tokens=101, session="main")
    assert held["allowed"]
    # What the budget holds under the limit of alice is not counted twice.
    assert isinstance(held["limits"], list)
    assert held["limits"][0] == {
        "scope": "user",
        "window": "day",
        "metric": "tokens",
        "limit": 1_000,
        "used": 0,
        "reserved": 500,
        "remaining": 500,
        "resets_at": "2026-11-22T13:00:00+00:00",
    }
    assert denied["allowed"] is False
    assert denied["denied_by"] == "session:main, budget"
    assert denied["reason"] == "session:main, budget: 100 of 500 tokens left, 101 more asked for."
    assert (denied["reservation_id"], denied["expires_at"]) == (None, None)
    assert outside["allowed"]
    assert again["allowed"]


async def test_a_budget_in_money_is_told_in_usd_and_needs_a_price(service: Tokenward) -> None:
    await service.open_budget(BudgetRequest(session="main", cost="0.01"))
    async with connected(service) as client:
        work = {"input_tokens": 4_000, "max_output_tokens": 100, "session": "main"}
        denied = await client.answer("check_quota", model="gpt-4o", **work)
        unpriced = await client.refusal("check_quota", **work)
    assert denied["reason"] == "session:main, budget: 0.01 of 0.01 USD left, 0.011 more asked for."
    assert unpriced == "model: a cost budget applies (session:main, budget); name a model with a known price."


async def test_a_denial_by_a_childs_parent_names_the_parent(service: Tokenward) -> None:
    await service.open_budget(BudgetRequest(session="main", tokens=500, requests=1))
    await service.open_budget(BudgetRequest(session="child", parent="main", tokens=200))
    async with connected(service) as client:
        first = await client.answer("check_quota", tokens=100, session="child", reserve=True)
        second = await client.answer("check_quota", tokens=50, session="child")
    assert first["allowed"]
    assert (second["allowed"], second["denied_by"]) == (False, "session:main, budget")


async def test_a_key_reused_with_other_content_is_said(service: Tokenward) -> None:
    async with connected(service) as client:
        first = await client.answer("check_quota", tokens=10, reserve=True, idempotency_key="k")
        same = await client.answer("check_quota", tokens=10, reserve=True, idempotency_key="k")
        other = await client.answer("check_quota", tokens=20, reserve=True, idempotency_key="k")
        event = {"model": "gpt-4o", "input_tokens": 5, "output_tokens": 5, "idempotency_key": "e"}
        recorded = await client.answer("record_usage", **event)
        repeated = await client.answer("record_usage", **event)
        differing = await client.answer("record_usage", **(event | {"output_tokens": 6}))
    assert first["reservation_id"] == same["reservation_id"] == other["reservation_id"]
    assert (first["warnings"], same["warnings"]) == ([], [])
    assert other["warnings"] == ["idempotency key reused with other content: the hold stands as it was given first."]
    assert (recorded["warnings"], repeated["warnings"]) == (None, None)
    assert (repeated["duplicate"], differing["duplicate"], differing["recorded"]) == (True, True, False)
    assert differing["event_id"] == recorded["event_id"]
    stands = f"event {recorded['event_id']} stands as it was recorded first, this one is not recorded"
    assert differing["warnings"] == [f"idempotency key reused with other content: {stands}."]


FAULTS = [
    StoreOverloaded(10_000),
    StoreUnavailable("The ledger's store is unavailable: the disk is full."),
    SchemaTooNew(9, 2),
    UnknownBudget("main"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: type(one).__name__)
async def test_a_fault_of_the_store_is_one_clear_line(clock: FakeClock, fault: StoreError) -> None:
    store = ScriptedStore()
    service = on(store, clock)
    event = {"model": "gpt-4o", "input_tokens": 5, "output_tokens": 5}
    async with connected(service) as client:
        await client.answer("check_quota", tokens=1)
        store.fault = fault
        checked = await client.refusal("check_quota", tokens=1)
        recorded = await client.refusal("record_usage", **event)
        assert (await client.answer("count_tokens", text="hello world", model="gpt-4o"))["tokens"] == 2
        store.fault = None
        assert (await client.answer("record_usage", **event))["recorded"]
    await service.tracker.aclose()
    assert checked == str(fault)
    assert recorded.startswith(str(fault))
    assert "\n" not in recorded
    assert ("idempotency_key" in recorded) == (type(fault) is StoreUnavailable)
