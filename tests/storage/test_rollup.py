"""Reports from the rollup, retention and new prices, on every store: the sums stay the events' sums."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.conftest import FakeClock, events_of
from tests.storage.requests import ALICE, give, given, hold, settled, taken, used
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.types import DAY_US, HOUR_US, MINUTE_US, NANO_PER_USD, SECOND_US
from tokenward.engine.usage import Dimension, TokenUsage, UsageEvent, UsageQuery, UsageSum
from tokenward.storage.base import HourlyUsage, Record, Repricing, UsageStore

pytestmark = pytest.mark.anyio

QUARTER_US = 15 * MINUTE_US
DIMENSIONS: tuple[Dimension, ...] = ("user", "model", "session", "group", "endpoint", "quarter_hour")
ROLLED: tuple[Dimension, ...] = ("user", "model", "group", "endpoint", "quarter_hour")


def some_records(now_us: int) -> list[Record]:
    """Events of two hours, of several of everything, with and without a price."""
    return [
        Record(
            model=("gpt-4o", "claude", "gemini")[index % 3],
            usage=TokenUsage(10 + index, 5, 3, 2, 1, index % 4),
            cost_nano=(None, 7, 3 * NANO_PER_USD + 5, NANO_PER_USD - 1)[index % 4],
            user=("alice", "bob")[index % 2],
            group=("", "team")[index % 5 % 2],
            session=("", "s1", "s2")[index % 7 % 3],
            endpoint=("", "/chat")[index % 3 % 2],
            estimated=index % 6 == 1,
            at_us=now_us - index * 7 * MINUTE_US - index,
        )
        for index in range(20)
    ]


def summed(events: Sequence[UsageEvent], query: UsageQuery) -> list[UsageSum]:
    """A report, one event after the other."""
    found: dict[str, UsageSum] = {}
    for one in events:
        if query.start_us <= one.timestamp_us < query.end_us and query.user in (None, one.user):
            spent, quarter = one.usage, str(one.timestamp_us // QUARTER_US)
            line = UsageSum(
                quarter if query.dimension == "quarter_hour" else str(getattr(one, query.dimension)),
                1,
                spent.input_tokens,
                spent.output_tokens,
                spent.cached_input_tokens,
                spent.cache_write_tokens + spent.cache_write_1h_tokens,
                spent.reasoning_tokens,
                one.cost_nano or 0,
                int(one.cost_nano is None),
                int(one.estimated),
                spent.cache_write_1h_tokens,
            )
            found[line.key] = found[line.key].plus(line) if line.key in found else line
    return [found[key] for key in sorted(found)]


async def lines_of(store: UsageStore, end_us: int = 2**62) -> list[HourlyUsage]:
    return [one async for one in store.hourly(end_us)]


@pytest.mark.parametrize("user", [None, "alice", "nobody"])
async def test_reports_say_what_the_events_say(store: UsageStore, clock: FakeClock, user: str | None) -> None:
    await store.record_many(some_records(clock()))
    events = await events_of(store)
    quarter = clock() // QUARTER_US * QUARTER_US
    edges = (
        0,
        quarter - HOUR_US,
        quarter - HOUR_US + 1,
        quarter - HOUR_US - 1,
        quarter - 5 * MINUTE_US,
        quarter,
        clock() + 1,
    )
    for start_us in edges:
        for end_us in edges:
            for dimension in DIMENSIONS:
                query = UsageQuery(start_us, end_us, dimension, user)
                assert await store.usage(query) == (summed(events, query) if start_us < end_us else [])


async def test_the_rollup_grows_with_single_events_as_with_many(store: UsageStore, clock: FakeClock) -> None:
    records = some_records(clock())
    for one in records[:10]:
        await store.record(one)
    await store.record_many(records[10:])
    again = [replace(one, user=f"{one.user}2") for one in records]
    await store.record_many(again)
    lines = await lines_of(store)
    first = [one for one in lines if not one.user.endswith("2")]
    assert [replace(one, user=f"{one.user}2") for one in first] == [one for one in lines if one.user.endswith("2")]
    assert lines == sorted(lines, key=lambda one: (one.quarter_hour, one.user, one.group, one.model, one.endpoint))


async def test_pruning_keeps_the_reports(store: UsageStore, clock: FakeClock) -> None:
    await store.record_many(some_records(clock()))
    events = await events_of(store)
    before_us = clock() - HOUR_US + 3 * MINUTE_US
    whole_us = before_us // QUARTER_US * QUARTER_US
    lines = await lines_of(store)
    old = [one for one in events if one.timestamp_us < whole_us]
    assert 0 < len(old) < len(events)
    assert await store.prune(before_us) == len(old)
    assert await events_of(store) == [one for one in events if one.timestamp_us >= whole_us]
    assert await lines_of(store) == lines
    for dimension in ROLLED:
        for user in (None, "alice"):
            for span in ((0, clock() + 1), (whole_us - HOUR_US, clock() + 1), (whole_us - HOUR_US, whole_us)):
                query = UsageQuery(*span, dimension, user)
                assert await store.usage(query) == summed(events, query)
    assert await store.prune(before_us) == 0
    assert (await store.describe()).pruned_before_us == await store.pruned_before_us() == whole_us


async def test_a_reports_edge_among_pruned_events_takes_its_whole_quarter(store: UsageStore, clock: FakeClock) -> None:
    quarter = clock() // QUARTER_US * QUARTER_US - DAY_US
    for minute in (1, 5, 14, 16, 29):
        await store.record(replace(used(1), at_us=quarter + minute * MINUTE_US))
    minutes = {minute: quarter + minute * MINUTE_US for minute in (0, 4, 6, 15, 20, 30)}

    async def requests(start: int, end: int) -> int:
        return sum(one.requests for one in await store.usage(UsageQuery(minutes[start], minutes[end], "user")))

    assert [await requests(*span) for span in ((0, 15), (4, 6), (6, 20), (20, 30))] == [3, 1, 2, 1]
    assert await store.prune(quarter + HOUR_US) == 5
    assert [await requests(*span) for span in ((0, 15), (4, 6), (6, 20), (20, 30))] == [3, 3, 5, 2]


async def test_pruning_leaves_counters_holds_and_answers(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "month", 1_000))
    await store.record(replace(used(7, key="old"), at_us=clock() - 90 * DAY_US))
    await store.record(used(20, key="new"))
    await given(store, give("worker", tokens=100, ttl_us=DAY_US))
    worker = Subjects("alice", "", "worker")
    await store.record(replace(used(3, worker), at_us=clock() - 80 * DAY_US))
    await store.reserve(hold(30))
    assert await store.prune(clock() - 62 * DAY_US) == 2
    assert await taken(store) == (20, 127)
    await store.set_limit(TokenLimit("user:alice", "tokens", "month", 1_000))
    assert await taken(store) == (20, 127)
    assert (await store.record(used(7, key="old"))).duplicate
    assert (await store.record(used(20, key="new"))).duplicate
    assert len(await events_of(store)) == 1


async def test_pruning_everything_in_an_empty_ledger(store: UsageStore, clock: FakeClock) -> None:
    assert await store.prune(clock()) == 0
    assert await lines_of(store) == []


async def test_more_events_than_one_transaction_prunes(store: UsageStore, clock: FakeClock) -> None:
    old = [replace(used(1), at_us=clock() - DAY_US) for _ in range(10_001)]
    await store.record_many(old)
    assert await store.prune(clock() - HOUR_US) == 10_001
    (row,) = await store.usage(UsageQuery(0, clock(), "user"))
    assert row.requests == 10_001


async def test_events_that_come_after_pruning_are_added(store: UsageStore, clock: FakeClock) -> None:
    moment_us = clock() - DAY_US
    await store.record(replace(used(5), at_us=moment_us))
    await store.prune(clock())
    await store.record(replace(used(7), at_us=moment_us + 1))
    (row,) = await store.usage(UsageQuery(0, clock(), "user"))
    assert (row.requests, row.total_tokens) == (2, 12)
    assert await store.prune(clock()) == 1
    (row,) = await store.usage(UsageQuery(0, clock(), "user"))
    assert (row.requests, row.total_tokens) == (2, 12)


async def test_the_rollups_lines_are_added_once(store: UsageStore, clock: FakeClock) -> None:
    await store.record_many(some_records(clock()))
    lines, events = await lines_of(store), await events_of(store)
    assert await store.add_hourly(lines) == 0
    assert await lines_of(store) == lines
    for dimension in ROLLED:
        query = UsageQuery(0, clock() + 1, dimension)
        assert await store.usage(query) == summed(events, query)


async def test_lines_of_another_ledger_are_reported(store: UsageStore, clock: FakeClock) -> None:
    quarter = clock() // QUARTER_US - 500
    sums = UsageSum("", 3, 100, 50, 20, 10, 5, 2**62, 1, 2, 4)
    lines = [HourlyUsage(quarter + index, "alice", "team", "gpt-4o", "/chat", sums) for index in range(3)]
    assert await store.add_hourly(lines) == 3
    assert await store.add_hourly(lines) == 0
    assert await lines_of(store) == lines
    for user in (None, "alice"):
        (row,) = await store.usage(UsageQuery(0, clock(), "model", user))
        assert row == replace(sums.plus(sums).plus(sums), key="gpt-4o")
    assert (await store.describe()).pruned_before_us == (quarter + 3) * QUARTER_US
    assert await store.add_hourly([]) == 0


async def test_pages_of_the_rollup_miss_nothing(store: UsageStore, clock: FakeClock) -> None:
    quarter = clock() // QUARTER_US - 5_000
    lines = [
        HourlyUsage(quarter + index // 3, f"u{index % 3}", "", "m", "", UsageSum("", 1, index))
        for index in range(2_501)
    ]
    await store.add_hourly(lines)
    assert await lines_of(store) == lines
    assert await lines_of(store, (quarter + 1) * QUARTER_US) == lines[:3]


async def test_pages_of_events_miss_nothing(store: UsageStore, clock: FakeClock) -> None:
    records = [replace(used(1, event_id=f"e{index:04}"), at_us=clock() - index // 7) for index in range(2_501)]
    await store.record_many(records)
    found = await events_of(store)
    assert [(one.timestamp_us, one.event_id) for one in found] == sorted(
        (one.at_us or 0, one.event_id) for one in records
    )
    assert len([one async for one in store.events(clock() - 10, clock())]) == 70


async def test_a_new_price_changes_cost_rollup_and_counters(store: UsageStore, clock: FakeClock) -> None:
    limits = [TokenLimit(subject, "cost", "day", 10**12) for subject in ("user:alice", "group:team", "global")]
    for limit in limits:
        await store.set_limit(limit)
    team = Subjects("alice", "team")
    for cost_nano in (5, None, 3 * NANO_PER_USD + 1, 8):
        await store.record(used(1, team, cost_nano=cost_nano))
    await store.reserve(hold(1, team, 100))
    events = await events_of(store)
    changes = [
        Repricing(one, cost, "new list")
        for one, cost in zip(events, (NANO_PER_USD + 2, 7, 1, None), strict=True)
    ]  # fmt: skip
    assert await store.reprice(changes) == 4
    again = await events_of(store)
    assert [(one.cost_nano, one.price_source) for one in again] == [
        (NANO_PER_USD + 2, "new list"),
        (7, "new list"),
        (1, "new list"),
        (None, "new list"),
    ]
    assert [replace(one, cost_nano=None, price_source="") for one in again] == [
        replace(one, cost_nano=None, price_source="") for one in events
    ]
    assert {(one.used, one.reserved) for one in await store.status(team)} == {(NANO_PER_USD + 10, 100)}
    for dimension in DIMENSIONS:
        for user in (None, "alice"):
            query = UsageQuery(0, clock() + QUARTER_US, dimension, user)
            assert await store.usage(query) == summed(again, query)


async def test_a_new_price_counts_in_every_session_above(store: UsageStore) -> None:
    for session in ("outer", "inner"):
        await store.set_limit(TokenLimit(f"session:{session}", "cost", "day", 1_000))
    await given(store, give("outer", tokens=100))
    await given(store, give("inner", parent="outer", tokens=50))
    await store.record(used(1, Subjects("alice", "", "inner"), cost_nano=5))
    (event,) = await events_of(store)
    await store.reprice([Repricing(event, 9, "new")])
    rows = await store.status(Subjects("alice", "", "inner"))
    assert {one.limit.subject: one.used for one in rows} == {"session:outer": 9, "session:inner": 9}


async def test_an_event_that_is_gone_is_not_repriced(store: UsageStore, clock: FakeClock) -> None:
    await store.record(replace(used(1, cost_nano=5), at_us=clock() - DAY_US))
    await store.record(used(1, cost_nano=6))
    events = await events_of(store)
    await store.prune(clock() - HOUR_US)
    assert await store.reprice([Repricing(one, 10, "new") for one in events]) == 1
    assert await store.reprice([]) == 0
    (row,) = await store.usage(UsageQuery(0, clock() + 1, "user"))
    assert row.cost_nano == 15


async def test_the_price_changes_nothing_for_the_same_key(store: UsageStore) -> None:
    await store.record(used(1, key="k", cost_nano=5))
    (event,) = await events_of(store)
    await store.reprice([Repricing(event, 9, "new")])
    again = await store.record(used(1, key="k", cost_nano=5))
    assert (again.duplicate, again.differs, again.event_id) == (True, False, event.event_id)


async def test_sums_of_money_pass_64_bits(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("global", "cost", "day", 1_000))
    most = 2**53 - 1
    records = [replace(used(1, cost_nano=most), at_us=clock() - index % 2 * SECOND_US) for index in range(1_100)]
    await store.record_many(records)
    for user in (None, "alice"):
        (row,) = await store.usage(UsageQuery(0, clock() + QUARTER_US, "user", user))
        assert row.cost_nano == 1_100 * most > 2**63
    assert await taken(store) == (1_100 * most, 0)
    await store.set_limit(TokenLimit("global", "cost", "day", 2_000))
    assert await taken(store) == (1_100 * most, 0)


async def test_the_store_says_what_it_holds(store: UsageStore, clock: FakeClock) -> None:
    empty = await store.describe()
    assert (empty.events, empty.oldest_us, empty.holds, empty.budgets, empty.limits) == (0, None, 0, 0, 0)
    assert empty.schema_version == empty.latest_version
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    await store.record(replace(used(1), at_us=clock() - 5))
    reservation_id = str((await store.reserve(hold(1))).reservation_id)
    await given(store, give("worker", tokens=5))
    full = await store.describe()
    assert (full.events, full.oldest_us, full.budgets, full.limits) == (1, clock() - 5, 1, 1)
    await settled(store, reservation_id, 1)
    await store.close_budget("alice", "worker")
    done = await store.describe()
    assert (done.events, done.holds, done.budgets) == (2, 0, 0)
    assert (await store.status(ALICE))[0].used == Amounts(2).tokens


async def test_what_counts_today_is_not_pruned_whenever_it_happened(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    reservation_id = str((await store.reserve(hold(100))).reservation_id)
    await store.record(replace(used(100, None, reservation_id), at_us=clock() - 100 * DAY_US))
    assert await store.prune(clock() - 90 * DAY_US) == 0
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 101))
    assert await taken(store) == (100, 0)
