"""Mistakes that ledgers are known to make, one test each, on every store that can make them.

Where several stores or processes are needed, or a server that dies, the test is in a neighbour:

=====================================================  ============================================================
The first request of a new subject, eight processes    ``test_processes.py``
A commit whose reply is lost                           ``test_postgres.py``
An event's id across partitions                        ``test_partitions.py``
A full disk, a locked file                             ``test_sqlite.py``, ``test_faults.py``
=====================================================  ============================================================
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import psycopg
import pytest

from tests.conftest import CountingIds, FakeClock, events_of
from tests.storage.requests import ALICE, give, given, hold, left, settled, taken, unheld, used, work_in
from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.types import DAY_US, SECOND_US
from tokenward.engine.usage import UsageQuery
from tokenward.requests import QuotaRequest
from tokenward.service import Tokenward
from tokenward.storage.base import UsageStore
from tokenward.storage.factory import open_store

pytestmark = pytest.mark.anyio

DAY = TokenLimit("user:alice", "tokens", "day", 100)
BOTH = Subjects("alice", "team", "chat")


@pytest.fixture
async def servers(store_url: str, clock: FakeClock) -> AsyncIterator[list[UsageStore]]:
    """Four servers over one ledger. What is in memory has one."""
    count = 1 if store_url == "memory://" else 4
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(open_store(store_url, clock=clock, new_id=CountingIds(f"server{index}-")))
            for index in range(count)
        ]


async def test_the_first_request_of_a_new_subject_is_neither_lost_nor_refused(servers: list[UsageStore]) -> None:
    await servers[0].set_limit(TokenLimit("default", "tokens", "day", 30))
    asked = [servers[index % len(servers)].reserve(hold(10, Subjects(f"user{index // 8}"))) for index in range(10 * 8)]
    allowed = [one.decision.allowed for one in await asyncio.gather(*asked)]
    assert [sum(allowed[first : first + 8]) for first in range(0, 80, 8)] == [3] * 10


async def test_the_first_request_is_checked_too(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("default", "tokens", "day", 30))
    assert not (await store.reserve(hold(31, Subjects("somebody new")))).decision.allowed


async def test_settling_touches_every_subject_of_the_reservation(servers: list[UsageStore]) -> None:
    for subject in ("user:alice", "group:team", "session:chat", "global"):
        await servers[0].set_limit(TokenLimit(subject, "tokens", "day", 1_000))
    holds = [servers[index % len(servers)].reserve(hold(20, BOTH)) for index in range(40)]
    ids = [str(one.reservation_id) for one in await asyncio.gather(*holds)]
    await asyncio.gather(*[settled(servers[index % len(servers)], name, 7) for index, name in enumerate(ids)])
    assert {(one.used, one.reserved) for one in await servers[-1].status(BOTH)} == {(280, 0)}


async def test_writers_that_read_first_wait_for_each_other(servers: list[UsageStore]) -> None:
    """A transaction that begins by reading and then writes fails at once on SQLite if somebody else wrote meanwhile."""
    await servers[0].set_limit(TokenLimit("global", "tokens", "day", 10**6))
    work = [servers[index % len(servers)].record(used(1, key=f"k{index}")) for index in range(100)]
    assert not any(one.duplicate for one in await asyncio.gather(*work))
    assert await taken(servers[0]) == (100, 0)


async def test_an_event_is_there_once_whatever_its_month(store: UsageStore, clock: FakeClock) -> None:
    await store.record(replace(used(5, event_id="e"), at_us=clock()))
    for days in (1, 40, 400):
        again = await store.record(replace(used(5, event_id="e"), at_us=clock() - days * DAY_US))
        assert (again.event_id, again.duplicate) == ("e", True)
    assert len(await events_of(store)) == 1


def cells(url: str) -> Iterator[tuple[str, str, str]]:
    """(table, column, kind of every value in it) of a SQLite file."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for column in [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]:
                for (kind,) in connection.execute(f"SELECT DISTINCT typeof({column}) FROM {table}"):
                    yield table, column, kind


async def test_money_stays_integers(store: UsageStore, store_url: str) -> None:
    await store.set_limit(TokenLimit("user:alice", "cost", "day", 10**9))
    tenth = 100_000_000
    for _ in range(3):
        await store.record(used(1, cost_nano=tenth))
    await settled(store, str((await store.reserve(hold(1, cost_nano=tenth))).reservation_id), 1, 1)
    (row,) = await store.usage(UsageQuery(0, 2**62, "user"))
    found = [row.cost_nano, (await taken(store))[0], *sorted(one.cost_nano or 0 for one in await events_of(store))]
    assert found == [300_000_001, 300_000_001, 1, tenth, tenth, tenth]
    assert {type(one) for one in found} == {int}
    if store_url.startswith("sqlite"):
        assert {kind for _, _, kind in cells(store_url)} <= {"integer", "text", "null"}
    elif store_url.startswith("postgres"):
        with psycopg.connect(store_url) as connection:
            kinds = connection.execute(
                "SELECT DISTINCT data_type FROM information_schema.columns WHERE table_schema = current_schema()"
            ).fetchall()
        assert {kind for (kind,) in kinds} <= {"bigint", "smallint", "integer", "text"}


async def test_no_table_is_emptied_by_a_crash(postgres_url: str) -> None:
    async with open_store(postgres_url):
        with psycopg.connect(postgres_url) as connection:
            tables = connection.execute(
                "SELECT relname, relpersistence FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
                "WHERE nspname = current_schema() AND relkind IN ('r', 'p', 'i')"
            ).fetchall()
    assert {"token_usage", "quota_state", "reservation", "usage_hourly"} <= {name for name, _ in tables}
    assert {kind for _, kind in tables} == {"p"}


async def test_what_was_never_released_does_not_refuse_for_ever(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(DAY)
    for _ in range(10):
        assert (await store.reserve(hold(100))).decision.allowed
        assert not (await store.reserve(hold(1))).decision.allowed
        clock.advance(600)
    assert await taken(store) == (0, 0)


async def test_what_a_stopped_server_held_comes_back(store_url: str, clock: FakeClock) -> None:
    if store_url == "memory://":
        pytest.skip("what is in memory goes with its process")
    async with open_store(store_url, clock=clock) as first:
        await first.set_limit(DAY)
        await first.reserve(hold(100))
    async with open_store(store_url, clock=clock) as second:
        assert not (await second.reserve(hold(1))).decision.allowed
        clock.advance(600)
        assert (await second.reserve(hold(100))).decision.allowed


async def test_a_request_without_max_tokens_does_not_pin_all_headroom(store_url: str) -> None:
    async with Tokenward.open(store_url, default_user="alice") as service:
        await service.set_limit(TokenLimit("user:alice", "tokens", "day", 10_000))
        held = await service.check_quota(QuotaRequest(model="gpt-4o", input_tokens=100, reserve=True))
        assert (held.allowed, held.limits[0].reserved) == (True, 100 + 1_024)


async def test_parent_and_child_are_checked_in_one_step(servers: list[UsageStore]) -> None:
    """The user has room for 10 pieces of work, the group for 6: never one is held in the user's limit alone."""
    await servers[0].set_limit(DAY)
    await servers[0].set_limit(TokenLimit("group:team", "tokens", "day", 60))
    await given(servers[0], give("worker", group="team", tokens=30))
    asked = [servers[index % len(servers)].reserve(hold(10, BOTH)) for index in range(20)]
    drawn = [work_in(servers[index % len(servers)], "worker", 10) for index in range(20)]
    outcomes = await asyncio.gather(*asked, *drawn)
    assert sum(one.decision.allowed for one in outcomes[:20]) == 3
    assert sum(one.decision.allowed for one in outcomes[20:]) == 3
    assert {(one.used, one.reserved) for one in await servers[0].status(Subjects("alice", "team"))} == {(0, 60)}
    assert await left(servers[0], "worker") == Amounts(0, 0, 0)


async def test_every_checker_agrees_on_the_limit_itself(store: UsageStore) -> None:
    await store.set_limit(DAY)
    for amount, fits in ((100, True), (101, False)):
        assert (await store.reserve(unheld(hold(amount)))).decision.allowed is fits
    held = await store.reserve(hold(100))
    assert held.decision.allowed
    assert not (await settled(store, str(held.reservation_id), 100)).overage
    (full,) = await store.status(ALICE)
    assert (full.used, full.remaining) == (100, 0)
    for amount in (0, 1):
        allowed = (await store.reserve(unheld(hold(amount)))).decision.allowed
        assert allowed is (amount == 0)
    assert not (await store.record(used(0))).overage
    assert (await store.record(used(1))).overage
    assert not (await store.reserve(unheld(hold(0)))).decision.allowed
    await store.set_limit(TokenLimit("user:bob", "tokens", "day", 100))
    bob = Subjects("bob")
    assert not (await store.record(used(100, bob))).overage
    share = replace(give("b", tokens=1), subjects=Subjects("bob", "", "b"))
    assert not (await store.open_budget(share)).decision.allowed


async def test_a_question_without_work_asks_whether_anything_is_left(store: UsageStore) -> None:
    await store.set_limit(DAY)
    nothing = replace(unheld(hold(0)), amounts=Amounts(0, 0, 0))
    assert (await store.reserve(nothing)).decision.allowed
    await store.record(used(100))
    assert not (await store.reserve(nothing)).decision.allowed


@contextmanager
def blocked(url: str) -> Generator[None]:
    """Nobody else can write meanwhile."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
    else:
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE token_usage, quota_state IN ACCESS EXCLUSIVE MODE")
            yield


async def test_no_increment_is_lost_when_the_database_blinks(store: UsageStore, store_url: str) -> None:
    if store_url == "memory://":
        pytest.skip("what is in memory does not blink")
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 1_000))
    with blocked(store_url):
        waiting = [asyncio.ensure_future(store.record(used(1, key=f"k{index}"))) for index in range(50)]
        await asyncio.sleep(0)
        assert not any(one.done() for one in waiting)
    assert not any(one.duplicate or one.overage for one in await asyncio.gather(*waiting))
    assert await taken(store) == (50, 0)
    assert len(await events_of(store)) == 50


async def test_a_settle_of_nothing_is_a_settle(store: UsageStore) -> None:
    await store.set_limit(DAY)
    reservation_id = str((await store.reserve(hold(100))).reservation_id)
    first = await settled(store, reservation_id, 0)
    assert not first.overage
    assert await taken(store) == (0, 0)
    assert [one.event_id for one in await events_of(store)] == [first.event_id]
    assert (await settled(store, reservation_id, 0)).duplicate
    assert (await store.release(reservation_id)).ended == "settled"
    (row,) = await store.usage(UsageQuery(0, 2**62, "user"))
    assert (row.requests, row.total_tokens) == (1, 0)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/New_York", "Asia/Kathmandu", "UTC"])
async def test_a_reset_comes_at_the_zones_midnight(store: UsageStore, clock: FakeClock, zone: str) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100, "calendar", zone))
    await store.record(used(100))
    decision = (await store.reserve(hold(1))).decision
    resets_us = decision.limits[0].resets_us
    assert resets_us is not None
    local = datetime.fromtimestamp(resets_us / SECOND_US, ZoneInfo(zone))
    now = datetime.fromtimestamp(clock() / SECOND_US, ZoneInfo(zone))
    assert (local.hour, local.minute, local.second) == (0, 0, 0)
    assert (local.date() - now.date()).days == 1
    assert decision.retry_after_seconds is not None
    clock.advance(decision.retry_after_seconds - 1)
    assert not (await store.reserve(hold(1))).decision.allowed
    clock.advance(1)
    assert (await store.reserve(hold(1))).decision.allowed


async def test_work_without_a_price_is_not_free(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "cost", "day", 10))
    with pytest.raises(InvalidInput, match="cost limit applies"):
        await store.reserve(hold(5, cost_nano=None))
    await store.record(used(5, cost_nano=None))
    await store.record(used(5, cost_nano=3))
    (row,) = await store.usage(UsageQuery(0, 2**62, "model"))
    assert (row.requests, row.cost_nano, row.unpriced_requests) == (2, 3, 1)
    assert [one.cost_nano for one in await events_of(store)] == [None, 3]
