"""What requests had been counted as is remembered beside what they used: once, bounded, and in older ledgers too."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.conftest import CountingIds, FakeClock, events_of
from tests.storage.older import sqlite_of_version, without_estimates
from tests.storage.requests import hold
from tokenward.engine.counting.calibration import WINDOW, Sample
from tokenward.engine.errors import InvalidInput
from tokenward.engine.types import DAY_US, HOUR_US
from tokenward.engine.usage import MAX_TOKENS, TokenUsage, UsageEvent
from tokenward.storage.base import Record, UsageStore
from tokenward.storage.factory import open_store
from tokenward.storage.migrate import latest_version
from tokenward.storage.postgres import PostgresStore, partition
from tokenward.storage.sqlite import SqliteStore, sql

pytestmark = pytest.mark.anyio

A, B = "estimate model-a", "ctok model-b"
PLAIN = Record(user="alice", model="model-a", usage=TokenUsage(110, 20), cost_nano=1)
COUNTED = replace(PLAIN, counted_tokens=100, counted_as=A)


def numbered(numbers: Iterable[int], name: str = A) -> list[Record]:
    """Records that can be told apart, one second after the other."""
    return [
        replace(COUNTED, counted_as=name, counted_tokens=1_000 + number, at_us=number * 1_000_000) for number in numbers
    ]


async def test_a_ledger_without_counts_has_no_samples(store: UsageStore) -> None:
    await store.record(PLAIN)
    assert await store.samples() == []


async def test_an_event_is_a_sample_once(store: UsageStore) -> None:
    first = await store.record(replace(COUNTED, key="k"))
    again = await store.record(replace(COUNTED, key="k", counted_tokens=200))
    held = await store.reserve(hold(500))
    settling = replace(COUNTED, reservation_id=str(held.reservation_id), counted_as=B)
    await store.record(settling)
    await store.record(replace(settling, counted_tokens=300))
    assert again.duplicate
    assert not again.differs
    assert sorted(await store.samples(), key=lambda one: one.counted_as) == [Sample(B, 100, 110), Sample(A, 100, 110)]
    assert {one.event_id: one.counted_tokens for one in await events_of(store)}[first.event_id] == 100


async def test_many_at_once(store: UsageStore) -> None:
    records = [replace(one, key=str(one.counted_tokens)) for one in numbered(range(5))]
    await store.record_many([*records, records[0], PLAIN])
    await store.record_many(records)
    assert [one.counted_tokens for one in await store.samples()] == [1_000, 1_001, 1_002, 1_003, 1_004]


async def test_of_each_model_the_latest(store: UsageStore) -> None:
    await store.record_many([*numbered(range(WINDOW + 50)), *numbered(range(30), B), *numbered(range(2), "z"), PLAIN])
    samples = await store.samples()
    counts = {name: [one.counted_tokens for one in samples if one.counted_as == name] for name in (A, B, "z")}
    assert counts[A] == list(range(1_050, 1_250))
    assert counts[B] == list(range(1_000, 1_030))
    assert len(samples) == WINDOW + 32
    assert [one.counted_tokens for one in samples] == sorted(one.counted_tokens for one in samples)


async def test_events_of_another_ledger_bring_theirs(store: UsageStore, clock: FakeClock) -> None:
    event = UsageEvent("e1", clock(), clock(), "bob", "m", TokenUsage(70), counted_tokens=60, counted_as="estimate m")
    await store.add_events([event])
    assert (await store.add_events([event])).differing == 0
    assert await events_of(store) == [event]
    assert await store.samples() == [Sample("estimate m", 60, 70)]


async def test_pruned_events_are_samples_no_more(store: UsageStore, clock: FakeClock) -> None:
    await store.record(replace(COUNTED, at_us=clock() - 100 * DAY_US))
    await store.record(replace(COUNTED, counted_tokens=90))
    assert await store.prune(clock() - 70 * DAY_US) == 1
    assert await store.samples() == [Sample(A, 90, 110)]


WRONG = {
    "counted_tokens: -1": replace(COUNTED, counted_tokens=-1),
    "counted_tokens: 1000000001": replace(COUNTED, counted_tokens=MAX_TOKENS + 1),
    "counted_as": replace(COUNTED, counted_as="estimate \0"),
}


@pytest.mark.parametrize("problem", WRONG)
async def test_what_no_database_keeps_is_refused(store: UsageStore, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        await store.record(WRONG[problem])
    with pytest.raises(InvalidInput, match=problem):
        await store.record_many([COUNTED, WRONG[problem]])
    assert await store.samples() == []


async def test_reading_does_not_look_at_every_event(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with SqliteStore(path) as store:
        await store.record_many(numbered(range(3)))
    with closing(sqlite3.connect(path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql.SAMPLES}", {"models": 9, "each": 9}).fetchall()
    steps = [step for *_, step in plan if "token_usage" in step]
    assert any("token_usage_counted" in step for step in steps)
    assert all(step.startswith("SEARCH token_usage USING") for step in steps), steps


async def test_reading_in_postgres_does_not_look_at_every_event(postgres_url: str) -> None:
    async with PostgresStore(postgres_url) as store:
        await store.record_many([replace(PLAIN, at_us=number) for number in range(20_000)])
        await store.record_many(numbered(range(300)))
    with psycopg.connect(postgres_url) as connection:
        connection.execute("ANALYZE token_usage")
        values = {"models": 9, "each": 9}
        plan = "\n".join(one for (one,) in connection.execute(f"EXPLAIN {_samples()}".encode(), values).fetchall())
    assert "token_usage_counted" in plan
    assert "Seq Scan on token_usage" not in plan


def _samples() -> str:
    from tokenward.storage.postgres.sql import SAMPLES

    return SAMPLES


async def test_a_ledger_of_the_version_before(tmp_path: Path, clock: FakeClock, new_id: CountingIds) -> None:
    path = tmp_path / "ledger.db"
    sqlite_of_version(path, 2, _OLD_EVENT.replace(":at", str(clock() - HOUR_US)))
    await _upgraded(f"sqlite:///{path}", clock, new_id)


@pytest.mark.parametrize("partitioned", [False, True])
async def test_a_postgres_ledger_of_the_version_before(
    postgres_url: str, clock: FakeClock, new_id: CountingIds, *, partitioned: bool
) -> None:
    async with PostgresStore(postgres_url):
        pass
    if partitioned:
        await partition(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        # As version 1 left it.
        connection.execute("ALTER TABLE token_usage DROP COLUMN counted_tokens, DROP COLUMN counted_as")
        without_estimates(connection)
        connection.execute("DELETE FROM schema_version WHERE version > 1")
        values = _OLD_EVENT.replace(":at", str(clock() - HOUR_US))
        connection.execute(values.encode())
    await _upgraded(postgres_url, clock, new_id)
    if partitioned:
        await partition(postgres_url)
        async with open_store(postgres_url, clock=clock, new_id=new_id) as store:
            assert await store.samples() == [Sample(A, 100, 110)]


_OLD_EVENT = """
    INSERT INTO token_usage (event_id, timestamp, admitted, user_id, group_id, session_id, model, input_tokens,
        output_tokens, cached_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, tokens_used,
        cost_nano, price_source, api_endpoint, priority_level, reservation_id, overage, service_tier, ancestors)
    VALUES ('old', :at, :at, 'alice', '', '', 'm', 5, 5, 0, 0, 0, 0, 10, 7, '', '', 'normal', '', 0, 'standard', '')
"""


async def _upgraded(url: str, clock: FakeClock, new_id: CountingIds) -> None:
    """An older ledger is taken along, its events without a count, and new ones may have one."""
    async with open_store(url, clock=clock, new_id=new_id) as store:
        (old,) = await events_of(store)
        assert (old.event_id, old.counted_tokens, old.counted_as) == ("old", None, "")
        assert await store.samples() == []
        await store.record(COUNTED)
        assert await store.samples() == [Sample(A, 100, 110)]
        status = await store.describe()
        assert (
            status.schema_version == status.latest_version == latest_version(url.partition(":")[0].removesuffix("ql"))
        )


async def test_partitions_keep_the_samples(postgres_url: str, clock: FakeClock) -> None:
    async with open_store(postgres_url, clock=clock) as store:
        records = [
            replace(COUNTED, counted_tokens=1_000 + day, at_us=clock() - (100 - day) * DAY_US) for day in range(100)
        ]
        await store.record_many(records)
        before = await store.samples()
        await partition(postgres_url)
        assert await store.samples() == before
        assert len(before) == 100
