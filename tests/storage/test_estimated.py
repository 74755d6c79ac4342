"""Numbers that are an estimate, and cache writes for an hour: kept, summed, moved, and told apart from the rest."""

import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import reduce
from pathlib import Path

import psycopg
import pytest

from tests.conftest import CountingIds, FakeClock, events_of
from tests.storage.older import sqlite_of_version, without_estimates
from tests.storage.requests import hold, used
from tokenward.archive import export_ledger, import_ledger
from tokenward.engine.errors import InvalidInput
from tokenward.engine.types import DAY_US, HOUR_US, MINUTE_US
from tokenward.engine.usage import Dimension, TokenUsage, UsageQuery, UsageSum
from tokenward.storage.base import HourlyUsage, Record, Repricing, UsageStore
from tokenward.storage.factory import open_store
from tokenward.storage.migrate import latest_version
from tokenward.storage.postgres import PostgresStore, partition

pytestmark = pytest.mark.anyio

REAL = Record(user="alice", model="m", usage=TokenUsage(100, 10, 5, 20, 30, 2), cost_nano=7)
ESTIMATED = replace(REAL, estimated=True)
ROLLED: tuple[Dimension, ...] = ("user", "model", "group", "endpoint", "quarter_hour")


async def total(store: UsageStore, user: str | None = None) -> UsageSum:
    """The whole ledger's sum, which every dimension says alike."""
    sums = [await store.usage(UsageQuery(0, 2**53, dimension, user)) for dimension in ROLLED]
    totals = {reduce(UsageSum.plus, found, UsageSum("")) for found in sums}
    assert len(totals) == 1
    return totals.pop()


async def test_an_estimate_is_kept_as_one(store: UsageStore) -> None:
    for one in (REAL, ESTIMATED):
        await store.record(one)
    await store.record_many([ESTIMATED, REAL])
    assert [one.estimated for one in await events_of(store)] == [False, True, True, False]
    for user in (None, "alice"):
        sums = await total(store, user)
        assert (sums.requests, sums.estimated_requests) == (4, 2)
        assert (sums.cache_write_tokens, sums.cache_write_1h_tokens) == (200, 120)


async def test_thousands_at_once(store: UsageStore) -> None:
    await store.record_many([ESTIMATED if index % 3 else REAL for index in range(1_200)])
    assert sum(one.estimated for one in await events_of(store)) == 800
    assert (await total(store)).estimated_requests == 800


async def test_a_hold_can_be_settled_by_an_estimate(store: UsageStore) -> None:
    reservation_id = str((await store.reserve(hold(500))).reservation_id)
    await store.record(replace(ESTIMATED, reservation_id=reservation_id))
    assert [one.estimated for one in await events_of(store)] == [True]


async def test_an_estimate_sent_again_as_the_truth_is_another_content(store: UsageStore) -> None:
    first = await store.record(replace(ESTIMATED, key="k"))
    same = await store.record(replace(ESTIMATED, key="k"))
    other = await store.record(replace(REAL, key="k"))
    assert (same.duplicate, same.differs, other.duplicate, other.differs) == (True, False, True, True)
    assert [(one.event_id, one.estimated) for one in await events_of(store)] == [(first.event_id, True)]


@pytest.mark.parametrize("wrong", [1, 0, None, "yes"])
async def test_only_a_boolean_says_it(store: UsageStore, wrong: object) -> None:
    record = Record(user="alice", model="m", usage=TokenUsage(1), cost_nano=1, estimated=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"estimated: .* is neither true nor false"):
        await store.record(record)
    with pytest.raises(InvalidInput, match=r"records\[1\].estimated"):
        await store.record_many([REAL, record])
    assert await events_of(store) == []


async def test_an_event_put_in_differs_by_it(store: UsageStore) -> None:
    await store.record(replace(REAL, event_id="e"))
    (event,) = await events_of(store)
    added = await store.add_events([replace(event, estimated=True), replace(event, event_id="f", estimated=True)])
    assert (added.new, added.known, added.differing) == (1, 1, 1)
    assert [one.estimated for one in await events_of(store)] == [False, True]
    assert (await total(store)).estimated_requests == 1


async def test_pruning_keeps_the_sums_and_pricing_again_changes_none(store: UsageStore, clock: FakeClock) -> None:
    for at_us in (clock() - DAY_US, clock()):
        await store.record_many([replace(one, at_us=at_us) for one in (REAL, ESTIMATED)])
    before = await total(store)
    assert await store.prune(clock() - HOUR_US) == 2
    assert await total(store) == before
    events = await events_of(store)
    await store.reprice([Repricing(one, 1_000, "new") for one in events])
    assert [one.estimated for one in await events_of(store)] == [one.estimated for one in events]
    assert await total(store) == replace(before, cost_nano=2 * 7 + 2 * 1_000)


async def exported(store: UsageStore, clock: FakeClock) -> list[str]:
    lines: list[str] = []
    await export_ledger(store, lines.append, clock=clock, version="1")
    return lines


@pytest.fixture
async def other(clock: FakeClock) -> AsyncIterator[UsageStore]:
    """Where archives go to."""
    async with open_store("memory://", clock=clock, new_id=CountingIds("other-")) as opened:
        yield opened


async def test_an_archive_carries_both(store: UsageStore, other: UsageStore, clock: FakeClock) -> None:
    for at_us in (clock() - DAY_US, clock()):
        await store.record_many([replace(one, at_us=at_us) for one in (REAL, ESTIMATED)])
    await store.prune(clock() - HOUR_US)
    lines = await exported(store, clock)
    await import_ledger(other, io.BytesIO("".join(lines).encode()), clock=clock)
    assert await total(other) == await total(store)
    assert await events_of(other) == await events_of(store)
    assert (await exported(other, clock))[1:] == lines[1:]


async def test_an_archive_without_them_says_nothing_new(store: UsageStore, clock: FakeClock) -> None:
    """So an older tokenward reads it; and its archives are read here."""
    for at_us in (clock() - DAY_US, clock()):
        await store.record(replace(REAL, usage=TokenUsage(10, 5, 1, 2), at_us=at_us))
    await store.prune(clock() - HOUR_US)
    named = {name for line in await exported(store, clock) for name in json.loads(line)}
    assert named.isdisjoint({"estimated", "estimated_requests"})
    assert "cache_write_1h_tokens" not in next(
        json.loads(line) for line in await exported(store, clock) if json.loads(line)["kind"] == "hourly"
    )


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"estimated_requests": 3}, "estimated_requests is more than all requests"),
        ({"cache_write_1h_tokens": 41}, "cache_write_1h_tokens is more than all cache_write_tokens"),
        ({"estimated_requests": -1}, "estimated_requests"),
        ({"cache_write_1h_tokens": "1"}, "cache_write_1h_tokens"),
    ],
)
async def test_sums_that_cannot_be_are_refused(
    store: UsageStore, other: UsageStore, clock: FakeClock, wrong: dict[str, object], problem: str
) -> None:
    sums = UsageSum("", 2, 100, 50, 0, 40, 0, 7, 0, 2, 40)
    await store.add_hourly([HourlyUsage(clock() // (15 * MINUTE_US) - 9, "alice", "", "m", "", sums)])
    header, line, end = await exported(store, clock)
    content = "".join([header, json.dumps(json.loads(line) | wrong) + "\n", end])
    with pytest.raises(InvalidInput) as refused:
        await import_ledger(other, io.BytesIO(content.encode()), clock=clock)
    assert problem.replace(" is", ": is") in str(refused.value)
    assert (await import_ledger(other, io.BytesIO(f"{header}{line}{end}".encode()), clock=clock)).hourly == 1


async def test_partitions_carry_it(postgres_url: str, clock: FakeClock) -> None:
    async with PostgresStore(postgres_url, clock=clock) as store:
        await store.record(ESTIMATED)
        await partition(postgres_url)
        await store.record_many([ESTIMATED] * 1_100)
        assert {one.estimated for one in await events_of(store)} == {True}
        assert (await total(store)).estimated_requests == 1_101


# Ledgers of the version before -------------------------------------------------------------------------------------

# Two events of one quarter hour, one of another; and a quarter hour whose events are gone.
_EVENTS = """
    INSERT INTO token_usage (event_id, timestamp, admitted, user_id, group_id, session_id, model, input_tokens,
        output_tokens, cached_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, tokens_used,
        cost_nano, price_source, api_endpoint, priority_level, reservation_id, overage, service_tier, ancestors)
    VALUES
        ('a', 1800000000, 1800000000, 'alice', 'g', '', 'm', 9, 1, 0, 2, 3, 0, 10, 7, '', '', '', '', 0, 'batch', ''),
        ('b', 1800000001, 1800000001, 'bob', 'g', '', 'm', 9, 1, 0, 0, 5, 0, 10, 7, '', '', '', '', 0, 'batch', ''),
        ('c', 2700000000, 2700000000, 'bob', '', '', 'n', 9, 1, 0, 4, 0, 0, 10, 7, '', '', '', '', 0, 'batch', '')
"""
_HOURLY = """
    INSERT INTO usage_hourly (quarter_hour, user_id, group_id, model, api_endpoint, requests, input_tokens,
        output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost_usd, cost_nano, unpriced_requests)
    VALUES (0, 'bob', '', 'n', '', 1, 9, 1, 0, 4, 0, 0, 7, 0), (2, 'alice', 'g', 'm', '', 1, 9, 1, 0, 5, 0, 0, 7, 0),
        (2, 'bob', 'g', 'm', '', 1, 9, 1, 0, 5, 0, 0, 7, 0), (3, 'bob', '', 'n', '', 1, 9, 1, 0, 4, 0, 0, 7, 0)
"""
# Two servers had written alice's and bob's.
_ALL = """
    INSERT INTO usage_hourly_all (quarter_hour, group_id, model, api_endpoint, shard, requests, input_tokens,
        output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost_usd, cost_nano, unpriced_requests)
    VALUES (0, '', 'n', '', 0, 1, 9, 1, 0, 4, 0, 0, 7, 0), (2, 'g', 'm', '', 3, 1, 9, 1, 0, 5, 0, 0, 7, 0),
        (2, 'g', 'm', '', 11, 1, 9, 1, 0, 5, 0, 0, 7, 0), (3, '', 'n', '', 5, 1, 9, 1, 0, 4, 0, 0, 7, 0)
"""
_PRUNED = "UPDATE ledger_meta SET value = 900000000 WHERE name = 'pruned_before'"


@pytest.fixture(params=["sqlite", "postgres", "partitions"])
async def older_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a ledger of the version before, with events."""
    if request.param == "sqlite":
        sqlite_of_version(tmp_path / "ledger.db", 3, _EVENTS, _HOURLY, _ALL, _PRUNED)
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    url = str(request.getfixturevalue("postgres_url"))
    async with PostgresStore(url):
        pass
    if request.param == "partitions":
        await partition(url)
    with psycopg.connect(url) as connection:
        without_estimates(connection)
        for statement in (_EVENTS, _HOURLY, _ALL, _PRUNED):
            connection.execute(statement.encode())
    return url


async def test_an_older_ledger_is_taken_along(older_url: str, clock: FakeClock) -> None:
    async with open_store(older_url, clock=clock, new_id=CountingIds("new-")) as store:
        status = await store.describe()
        assert status.schema_version == latest_version("sqlite" if older_url.startswith("sqlite") else "postgres")
        assert status.found_version == status.schema_version - 1
        assert [(one.event_id, one.estimated) for one in await events_of(store)] == [
            ("a", False),
            ("b", False),
            ("c", False),
        ]
        for user, writes in ((None, {"m": (10, 8, 2), "n": (8, 0, 2)}), ("alice", {"m": (5, 3, 1)})):
            sums = await store.usage(UsageQuery(0, 2**53, "model", user))
            found = {one.key: (one.cache_write_tokens, one.cache_write_1h_tokens, one.requests) for one in sums}
            assert found == writes
            assert {one.estimated_requests for one in sums} == {0}
        lines = [one async for one in store.hourly(2**53)]
        assert [one.sums.cache_write_1h_tokens for one in lines] == [0, 3, 5, 0]


async def test_an_older_ledger_goes_on(older_url: str, clock: FakeClock) -> None:
    async with open_store(older_url, clock=clock, new_id=CountingIds("new-")) as store:
        await store.record_many([replace(one, at_us=1_800_000_002, group="g") for one in (ESTIMATED, REAL)])
        await store.record(used(1))
        for user in (None, "alice"):
            sums = {one.key: one for one in await store.usage(UsageQuery(0, 2**53, "model", user))}
            assert sums["m"].estimated_requests == 1
            assert sums["m"].cache_write_1h_tokens == 60 + (8 if user is None else 3)
        assert len(await store.cursor_key()) == 32
        assert await store.claim_alert("user:alice", "cost", "day", 0, 80)
