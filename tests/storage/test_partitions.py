"""The opt-in partitions of Postgres: the same ledger, its events in a table per month."""

from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest

from tests.conftest import FakeClock, events_of
from tokenward.engine.limits import TokenLimit
from tokenward.engine.types import DAY_US
from tokenward.engine.usage import TokenUsage, UsageQuery
from tokenward.storage.base import Record, UsageStore
from tokenward.storage.factory import open_store
from tokenward.storage.postgres import partition
from tokenward.storage.postgres.partitions import MONTHS_AHEAD

pytestmark = pytest.mark.anyio

INDEX_KINDS = """
    SELECT DISTINCT amname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
    WHERE indrelid = 'token_usage'::regclass ORDER BY 1
"""
EVENT = Record(user="alice", model="m", usage=TokenUsage(7, 3), cost_nano=5)


@pytest.fixture
async def store(postgres_url: str, clock: FakeClock) -> AsyncIterator[UsageStore]:
    async with open_store(postgres_url, clock=clock) as opened:
        for days in range(0, 200, 10):
            await opened.record(replace(EVENT, event_id=f"e{days}", at_us=clock() - days * DAY_US))
        yield opened


def rows_of(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()


async def test_events_move_to_their_months_and_stay_as_they_are(store: UsageStore, postgres_url: str) -> None:
    before = await events_of(store)
    # From May to November, and a year ahead.
    assert await partition(postgres_url) == 7 + MONTHS_AHEAD
    assert await events_of(store) == before
    assert (await store.describe()).partitioned
    months = rows_of(postgres_url, "SELECT DISTINCT tableoid::regclass::text FROM token_usage ORDER BY 1")
    assert [one for (one,) in months] == [f"token_usage_2026_{month:02}" for month in range(5, 12)]
    kinds = rows_of(postgres_url, INDEX_KINDS)
    assert [one for (one,) in kinds] == ["brin", "btree"]


async def test_a_second_time_adds_what_is_missing(store: UsageStore, postgres_url: str, clock: FakeClock) -> None:
    await partition(postgres_url)
    assert await partition(postgres_url) == 0
    await store.record(replace(EVENT, event_id="old", at_us=clock() - 300 * DAY_US))
    assert rows_of(postgres_url, "SELECT event_id FROM token_usage_other") == [("old",)]
    made = await partition(postgres_url)
    assert made > 0
    assert rows_of(postgres_url, "SELECT event_id FROM token_usage_other") == []
    assert "old" in {one.event_id for one in await events_of(store)}


async def test_the_ledger_goes_on(store: UsageStore, postgres_url: str, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "month", 1_000))
    await partition(postgres_url)
    again = await store.record(replace(EVENT, event_id="e10"))
    assert (again.duplicate, again.event_id) == (True, "e10")
    assert (await store.record(replace(EVENT, key="k"))).event_id == (
        await store.record(replace(EVENT, key="k"))
    ).event_id
    await store.record_many([replace(EVENT, event_id=f"many{index}") for index in range(1_500)])
    await store.set_limit(TokenLimit("user:alice", "tokens", "month", 20_000))
    (row,) = await store.usage(UsageQuery(0, clock() + DAY_US, "user"))
    assert row.requests == 20 + 1 + 1_500
    gone = await store.prune(clock() - 70 * DAY_US)
    assert gone == 12
    (row,) = await store.usage(UsageQuery(0, clock() + DAY_US, "user"))
    assert row.requests == 20 + 1 + 1_500
