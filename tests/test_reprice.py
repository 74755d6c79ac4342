"""Repricing: events get the price of today's data for their time, and every sum follows."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import CountingIds, FakeClock
from tokenward import reprice as module
from tokenward.archive_lines import END_US
from tokenward.engine.limits import Subjects, TokenLimit
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.types import DAY_US
from tokenward.engine.usage import Tier, TokenUsage, UsageEvent, UsageQuery
from tokenward.reprice import Repriced, reprice
from tokenward.storage.base import Record, Repricing, UsageStore
from tokenward.storage.factory import open_store

pytestmark = pytest.mark.anyio

USAGE = TokenUsage(1_000_000, 100_000, 200_000)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock, new_id: CountingIds
) -> AsyncIterator[UsageStore]:
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'ledger.db'}"}
    url: str = urls.get(request.param) or request.getfixturevalue("postgres_url")
    async with open_store(url, clock=clock, new_id=new_id) as opened:
        yield opened


@pytest.fixture
def calculator(clock: FakeClock) -> CostCalculator:
    return CostCalculator(clock=clock)


def event(
    clock: FakeClock, model: str, cost_nano: int | None, *, days: int = 0, tier: Tier = "standard", user: str = "alice"
) -> Record:
    return Record(
        user=user,
        model=model,
        usage=USAGE,
        cost_nano=cost_nano,
        price_source="old",
        tier=tier,
        at_us=clock() - days * DAY_US,
        event_id=f"{model} {tier} {days} {user}",
    )


async def events_of(store: UsageStore) -> dict[str, UsageEvent]:
    return {one.event_id: one async for one in store.events(0, END_US)}


async def test_costs_sources_sums_and_counters_follow(
    store: UsageStore, calculator: CostCalculator, clock: FakeClock
) -> None:
    right = calculator.calculate_cost(USAGE, "gpt-4o", at_us=clock())
    batch = calculator.calculate_cost(USAGE, "gpt-4o", tier="batch", at_us=clock())
    assert right.total_nano != batch.total_nano
    await store.set_limit(TokenLimit("user:alice", "cost", "day", 10**12))
    await store.record_many(
        [
            event(clock, "gpt-4o", 1),
            event(clock, "gpt-4o", None, tier="batch"),
            event(clock, "gpt-4o", right.total_nano, user="bob"),
            event(clock, "no-such-model", 7),
            event(clock, "no-such-model", None, user="bob"),
        ]
    )
    old_nano, new_nano = 1 + right.total_nano, 2 * right.total_nano + batch.total_nano
    expected = [
        Repriced("gpt-4o", 3, 2, 0, old_nano, new_nano),
        Repriced("no-such-model", 2, 0, 2, 7, 7),
    ]
    assert await reprice(store, calculator, dry_run=True) == expected
    assert (await events_of(store))["gpt-4o standard 0 alice"].cost_nano == 1
    assert await reprice(store, calculator) == expected

    found = await events_of(store)
    assert found["gpt-4o standard 0 alice"].cost_nano == right.total_nano
    assert found["gpt-4o standard 0 alice"].price_source == right.price_source
    assert found["gpt-4o batch 0 alice"].cost_nano == batch.total_nano
    # Its cost stays, so what it was priced with stays as well.
    assert found["gpt-4o standard 0 bob"].price_source == "old"
    assert found["no-such-model standard 0 alice"].cost_nano == 7
    assert found["no-such-model standard 0 bob"].cost_nano is None
    sums = {one.key: one for one in await store.usage(UsageQuery(0, clock() + DAY_US, "model"))}
    assert (sums["gpt-4o"].cost_nano, sums["gpt-4o"].unpriced_requests) == (new_nano, 0)
    assert (sums["no-such-model"].cost_nano, sums["no-such-model"].unpriced_requests) == (7, 1)
    (status,) = await store.status(Subjects("alice"))
    assert status.used == right.total_nano + batch.total_nano + 7
    assert await reprice(store, calculator) == [
        Repriced("gpt-4o", 3, 0, 0, new_nano, new_nano),
        Repriced("no-such-model", 2, 0, 2, 7, 7),
    ]


async def test_a_span_of_time_and_a_model(store: UsageStore, calculator: CostCalculator, clock: FakeClock) -> None:
    await store.record_many(
        [event(clock, model, 1, days=days) for model in ("gpt-4o", "gpt-4o-mini") for days in range(4)]
    )
    (done,) = await reprice(store, calculator, start_us=clock() - 2 * DAY_US, end_us=clock(), model="gpt-4o")
    assert (done.model, done.events, done.changed) == ("gpt-4o", 2, 2)
    changed = {name for name, one in (await events_of(store)).items() if one.cost_nano != 1}
    assert changed == {"gpt-4o standard 1 alice", "gpt-4o standard 2 alice"}
    assert await reprice(store, calculator, model="gpt-4") == []


async def test_changes_are_written_in_batches(
    store: UsageStore, calculator: CostCalculator, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.record_many([event(clock, "gpt-4o", 1, days=days) for days in range(7)])
    sizes: list[int] = []
    original = store.reprice

    async def watched(changes: list[Repricing]) -> int:
        sizes.append(len(changes))
        return await original(changes)

    told: list[int] = []

    async def tell(done: int) -> None:
        told.append(done)

    monkeypatch.setattr(module, "BATCH", 3)
    monkeypatch.setattr(store, "reprice", watched)
    (done,) = await reprice(store, calculator, progress=tell)
    assert (done.changed, sizes, told) == (7, [3, 3, 1], [3, 6])
