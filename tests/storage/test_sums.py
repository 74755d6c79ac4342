"""Sums for reports: each equals a plain sum over the raw events, all of a report are of one moment, none is slow."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from itertools import pairwise, product
from pathlib import Path
from random import Random
from typing import get_args

import psycopg
import pytest

from tests.conftest import CountingIds, FakeClock, events_of
from tests.storage.requests import used
from tokenward.engine.errors import InvalidInput
from tokenward.engine.types import DAY_US, HOUR_US, MINUTE_US, NANO_PER_USD, SECOND_US
from tokenward.engine.usage import Dimension, TokenUsage, UsageEvent, UsageQuery, UsageSum
from tokenward.engine.zones import time_zone
from tokenward.storage import reading
from tokenward.storage.base import Record, UsageStore
from tokenward.storage.factory import open_store
from tokenward.storage.postgres import PostgresStore
from tokenward.storage.sqlite import SqliteStore, sql

pytestmark = pytest.mark.anyio

QUARTER_US = 15 * MINUTE_US
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
USERS, MODELS, GROUPS = ("alice", "bob", "carol"), ("gpt-4o", "claude", "own"), ("", "team", "staff")
SESSIONS, ENDPOINTS = ("", "s1", "s2"), ("", "/chat", "/batch")
FILTERS: dict[str, tuple[str | None, ...]] = {
    "user": (None, None, None, *USERS, "nobody"),
    "model": (None, None, None, *MODELS, "no model"),
    "group": (None, None, None, *GROUPS, "no group"),
    "session": (None, None, None, None, None, *SESSIONS, "no session"),
}
# Clocks in Berlin go back in the night to 2026-10-25 and forward in that to 2026-03-29; Kolkata is off by 30 minutes.
NIGHTS = (1_792_890_000 * SECOND_US, 1_774_746_000 * SECOND_US)


def moments(random: Random, now_us: int) -> list[int]:
    """Times where a sum can go wrong: at and beside quarter hours, days, changes of clocks, and anywhere."""
    days = [now_us - now_us % DAY_US - day * DAY_US for day in range(4)]
    centres = [*days, *NIGHTS, *(one - int(5.5 * HOUR_US) for one in days)]
    near = [one + random.randint(-8, 8) * QUARTER_US + random.choice((-1, 0, 0, 1)) for one in centres * 4]
    return [*near, *(now_us - random.randrange(4 * DAY_US) for _ in range(60))]


def random_records(random: Random, now_us: int) -> list[Record]:
    """Events of everything that can be summed by, and with everything that is summed."""
    made: list[Record] = []
    for at_us in moments(random, now_us) * 2:
        read, written, kept = (random.choice((0, 0, random.randrange(1_000))) for _ in range(3))
        output = random.randrange(2_000)
        one = Record(
            user=random.choice(USERS),
            model=random.choice(MODELS),
            group=random.choice(GROUPS),
            session=random.choice(SESSIONS),
            endpoint=random.choice(ENDPOINTS),
            usage=TokenUsage(
                read + written + kept + random.randrange(5_000),
                *(output, read, written, kept, random.randint(0, output)),
            ),
            cost_nano=random.choice((None, 0, random.randrange(10**6), random.randrange(90) * NANO_PER_USD + 999)),
            estimated=random.random() < 0.3,
            at_us=at_us,
        )
        made.append(one)
    return made


def spelled_out(
    query: UsageQuery, events: Sequence[UsageEvent], pruned: Sequence[UsageEvent] = (), pruned_us: int = 0
) -> list[UsageSum]:
    """The answer to a query, one event after the other.

    Of pruned time the ledger knows whole quarter hours, and no sessions.
    """
    start_us, end_us = query.start_us, query.end_us
    known = [*pruned, *events]
    if query.dimension == "session" or query.session is not None:
        known = list(events)
    elif start_us < end_us:
        start_us -= start_us % QUARTER_US if start_us < pruned_us else 0
        end_us += -end_us % QUARTER_US if end_us < pruned_us else 0
    found: dict[str, UsageSum] = {}
    for one in known:
        if not start_us <= one.timestamp_us < end_us or not matches(query, one):
            continue
        tokens, quarter = one.usage, one.timestamp_us // QUARTER_US
        key = str(quarter if query.dimension == "quarter_hour" else getattr(one, query.dimension))
        line = UsageSum(
            key=key,
            requests=1,
            input_tokens=tokens.input_tokens,
            output_tokens=tokens.output_tokens,
            cached_tokens=tokens.cached_input_tokens,
            cache_write_tokens=tokens.cache_write_tokens + tokens.cache_write_1h_tokens,
            cache_write_1h_tokens=tokens.cache_write_1h_tokens,
            reasoning_tokens=tokens.reasoning_tokens,
            cost_nano=one.cost_nano or 0,
            unpriced_requests=int(one.cost_nano is None),
            estimated_requests=int(one.estimated),
        )
        found[key] = line.plus(found[key]) if key in found else line
    return [found[key] for key in sorted(found)]


def matches(query: UsageQuery, event: UsageEvent) -> bool:
    return all(getattr(query, name) in (None, getattr(event, name)) for name in FILTERS)


def random_query(random: Random, edges: Sequence[int]) -> UsageQuery:
    filters = {name: random.choice(values) for name, values in FILTERS.items()}
    span = [random.choice(edges), random.choice(edges)]
    # A few are turned round.
    start_us, end_us = sorted(span) if random.random() < 0.9 else span
    return UsageQuery(start_us, end_us, random.choice(DIMENSIONS), **filters)


@pytest.mark.parametrize("seed", range(4))
async def test_every_sum_is_the_sum_of_the_events(store: UsageStore, clock: FakeClock, seed: int) -> None:
    random = Random(seed)
    await store.record_many(random_records(random, clock()))
    events, pruned, pruned_us = await events_of(store), list[UsageEvent](), 0
    assert len(events) == 200
    edges = [0, 2**53, clock(), *moments(random, clock())]
    for _ in range(2):
        queries = [random_query(random, edges) for _ in range(250)]
        queries += [UsageQuery(start_us, 2**53, dimension) for start_us in edges[:9] for dimension in DIMENSIONS]
        found = await store.usage_many(queries)
        for query, sums in zip(queries, found, strict=True):
            assert sums == spelled_out(query, events, pruned, pruned_us), query
        assert sum(map(bool, found)) > 100
        # Once more, with half of it pruned.
        before_us = random.choice(edges[3:])
        await store.prune(before_us)
        left = await events_of(store)
        pruned, events = [one for one in events if one not in left], left
        pruned_us = (await store.describe()).pruned_before_us
        edges += [before_us // QUARTER_US * QUARTER_US + off for off in (-QUARTER_US, -1, 0, 1, QUARTER_US)]


async def test_days_of_every_zone_are_whole_quarter_hours(store: UsageStore, clock: FakeClock) -> None:
    """A day of 23 or 25 hours, or one that starts at half past, is summed from its quarter hours."""
    await store.record_many(random_records(Random(5), clock()))
    events = await events_of(store)
    for name, days in product(("Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu"), ((24, 25, 26), (28, 29, 30))):
        zone = time_zone(name)
        month = 10 if days[0] == 24 else 3
        starts = [int(datetime(2026, month, day, tzinfo=zone).timestamp()) * SECOND_US for day in days]
        for start_us, end_us in pairwise(starts):
            assert start_us % QUARTER_US == end_us % QUARTER_US == 0
            query = UsageQuery(start_us, end_us, "quarter_hour")
            assert await store.usage(query) == spelled_out(query, events)


@pytest.mark.parametrize("offset_us", [0, 1, QUARTER_US, DAY_US])
async def test_an_empty_or_turned_period_has_nothing(store: UsageStore, clock: FakeClock, offset_us: int) -> None:
    await store.record_many([replace(used(1), at_us=clock() - DAY_US), used(1)])
    await store.prune(clock() - HOUR_US)
    moment_us = clock() - DAY_US + 7
    queries = [UsageQuery(moment_us, moment_us - offset_us, dimension) for dimension in DIMENSIONS]
    assert await store.usage_many(queries) == [[]] * len(DIMENSIONS)


async def test_nothing_asked_nothing_answered(store: UsageStore) -> None:
    assert await store.usage_many([]) == []


@pytest.mark.parametrize("name", FILTERS)
async def test_a_name_that_no_database_keeps_is_refused(store: UsageStore, name: str) -> None:
    wrong = UsageQuery(0, 1, "user", **{name: "a\0b"})
    with pytest.raises(InvalidInput, match=f"^{name}: "):
        await store.usage_many([UsageQuery(0, 1, "user"), wrong])


async def test_events_of_one_user(store: UsageStore, clock: FakeClock) -> None:
    records = [replace(used(1, event_id=f"e{index:04}"), at_us=clock() - index // 7) for index in range(2_501)]
    await store.record_many([replace(one, user=USERS[index % 3]) for index, one in enumerate(records)])
    events = await events_of(store)
    for user in (*USERS, "nobody"):
        of_user = [one for one in events if one.user == user]
        assert [one async for one in store.events(0, 2**62, user)] == of_user
    span = (clock() - 90, clock() - 9)
    assert [one async for one in store.events(*span, user="bob")] == [
        one for one in events if one.user == "bob" and span[0] <= one.timestamp_us < span[1]
    ]
    with pytest.raises(InvalidInput, match="user"):
        _ = [one async for one in store.events(0, 1, "\ud800")]


# One moment --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def others(store: UsageStore, store_url: str, clock: FakeClock) -> AsyncIterator[UsageStore]:
    """Who records meanwhile: another server, where there can be one."""
    if store_url == "memory://":
        yield store
        return
    async with open_store(store_url, clock=clock, new_id=CountingIds("other-")) as opened:
        yield opened


async def test_a_report_is_not_torn_by_what_is_recorded_meanwhile(
    store: UsageStore, others: UsageStore, clock: FakeClock
) -> None:
    """Sums over different dimensions, and of the parts of a period, say the same at any moment."""
    done = asyncio.Event()
    # The end falls into a quarter hour, so that rollup and events are read.
    span = (clock() - DAY_US + 1, clock() + 1)

    async def record(number: int) -> None:
        for turn in range(25):
            name = f"{number}-{turn}"
            at_us = clock() - (number * 25 + turn) * 3 * MINUTE_US
            await others.record(replace(used(3, cost_nano=5), user=name, model=name, session=name, at_us=at_us))

    async def record_all() -> None:
        await asyncio.gather(*(record(number) for number in range(6)))
        done.set()

    recording = asyncio.create_task(record_all())
    seen: list[int] = []
    while not done.is_set():
        found = await store.usage_many([UsageQuery(*span, dimension) for dimension in DIMENSIONS])
        totals = {(sum(one.requests for one in sums), sum(one.cost_nano for one in sums)) for sums in found}
        assert len(totals) == 1
        seen.append(totals.pop()[0])
    await recording
    assert seen == sorted(seen)
    assert len({*seen} - {0, 150}) >= 3


async def test_a_report_is_not_torn_by_pruning(store: UsageStore, others: UsageStore, clock: FakeClock) -> None:
    """The edge of a period is read from the events, or from its whole quarter hour, but never not at all."""
    await store.record_many([replace(used(1), at_us=clock() - 1 - index * MINUTE_US) for index in range(3_000)])
    hours = range(48, 0, -1)
    # Each starts in the middle of a quarter hour: five of its minutes are in the period.
    starts = [clock() - hour * HOUR_US + 10 * MINUTE_US for hour in hours]
    queries = [UsageQuery(start_us, clock(), "user") for start_us in starts]
    exact, whole = [60 * hour - 10 for hour in hours], [60 * hour for hour in hours]
    done = asyncio.Event()

    async def prune() -> None:
        for hour in hours:
            await others.prune(clock() - hour * HOUR_US + 30 * MINUTE_US)
        done.set()

    async def requests() -> list[int]:
        return [row.requests for (row,) in await store.usage_many(queries)]

    assert await requests() == exact
    pruning = asyncio.create_task(prune())
    while not done.is_set():
        found = await requests()
        pruned = sum(one == two for one, two in zip(found, whole, strict=True))
        assert found == [*whole[:pruned], *exact[pruned:]]
    await pruning
    assert await requests() == whole


async def test_a_report_that_is_given_up_leaves_no_transaction(store: UsageStore, clock: FakeClock) -> None:
    queries = [UsageQuery(0, clock(), dimension) for dimension in DIMENSIONS] * 20
    for turn in range(12):
        task = asyncio.create_task(store.usage_many(queries))
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.record(replace(used(1), at_us=clock() - 1))
        (row,) = await store.usage(queries[0])
        assert row.requests == turn + 1


# How they are read -------------------------------------------------------------------------------------------------


FILTERED = [
    (None, None, None), ("heavy", None, None), (None, "m1", None), (None, None, "g1"), ("heavy", "m1", None)
]  # fmt: skip
SERIES = "SELECT CAST(value AS bigint) AS n FROM generate_series(0, 40000) AS value"
SERIES_SQLITE = "WITH RECURSIVE one (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM one WHERE n < 40000) SELECT n FROM one"


def many_lines(now_us: int, series: str) -> tuple[str, ...]:
    """60 days of a rollup with its events, made by the database."""
    first = now_us // QUARTER_US - 60 * 96
    who = "CASE WHEN n % 2 = 0 THEN 'heavy' ELSE 'u' || n % 50 END"
    zeros = ", ".join(["1", *["0"] * 10])
    many, key = f"FROM ({series}) AS many", "'g' || n % 7, 'm' || n % 5, n"
    rest = "1, 0, 0, 0, 0, 0, 1, 1, '', n, '', '', 0, 'standard', '', NULL, '', 0"
    times = f"n, {first * QUARTER_US} + n * {QUARTER_US // 7}, 0"
    return (
        f"INSERT INTO usage_hourly SELECT {first} + n / 7, {who}, {key}, {zeros} {many}",
        f"INSERT INTO usage_hourly_all SELECT {first} + n / 7, {key}, 0, {zeros} {many}",
        f"INSERT INTO token_usage SELECT {times}, {who}, 'g' || n % 7, 's' || n % 400, 'm' || n % 5, {rest} {many}",
    )


def check_plans(now_us: int, plan: Callable[[reading.Part], str], scan: str) -> None:
    """A week's sums are read from the rollup's part of the week, its edges from their quarter hours."""
    week = (now_us - 7 * DAY_US - 1, now_us + 1)
    for filters, dimension in product(FILTERED, DIMENSIONS):
        if dimension == "session":
            continue
        whole, *edges = reading.parts(UsageQuery(*week, dimension, *filters), 0)
        assert whole.table.startswith("usage_hourly")
        assert scan not in plan(whole)
        assert len(edges) == 2
        for edge in edges:
            assert "token_usage_time" in plan(edge)
    for dimension in DIMENSIONS:
        (only,) = reading.parts(UsageQuery(*week, dimension, session="s1"), 0)
        assert "token_usage_session" in plan(only)


async def test_sums_stay_on_the_rollup_in_sqlite(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "ledger.db"
    async with SqliteStore(path, clock=clock):
        pass
    with closing(sqlite3.connect(path)) as connection:
        for statement in many_lines(clock(), SERIES_SQLITE):
            connection.execute(statement)

        def plan(part: reading.Part) -> str:
            found = connection.execute(f"EXPLAIN QUERY PLAN {part.statement(':')}", part.values)
            return "\n".join(row[3] for row in found)

        check_plans(clock(), plan, scan="SCAN")
        values = {"moment": 0, "name": "", "end": clock(), "size": 9, "user": "heavy"}
        page = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql.EVENTS_OF_USER}", values)]
        assert "token_usage_time" in page[0]
        assert "SCAN" not in page[0]


async def test_sums_stay_on_the_rollup_in_postgres(postgres_url: str, clock: FakeClock) -> None:
    async with PostgresStore(postgres_url, clock=clock):
        pass
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in (*many_lines(clock(), SERIES), "ANALYZE token_usage, usage_hourly, usage_hourly_all"):
            connection.execute(statement.encode())

        def plan(part: reading.Part) -> str:
            found = connection.execute(f"EXPLAIN {part.statement('%(', ')s')}".encode(), part.values)
            return "\n".join(str(row[0]) for row in found)

        check_plans(clock(), plan, scan="Seq Scan")
