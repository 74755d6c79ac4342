"""``record_many`` on every store: the same as recording one by one, all or nothing, thousands at once."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.conftest import FakeClock, events_of
from tests.storage.requests import ALICE, give, given, held_in, hold, left, taken, used
from tokenward.engine.errors import InvalidInput, UnknownReservation
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.types import DAY_US, HOUR_US, SECOND_US
from tokenward.engine.usage import Dimension, TokenUsage, UsageEvent, UsageQuery
from tokenward.storage.base import Record, RecordOutcome, UsageStore
from tokenward.storage.factory import open_store

pytestmark = pytest.mark.anyio

EVERYBODY = (
    Subjects("alice", "team", "chat"),
    Subjects("bob", "team"),
    Subjects("carol"),
    Subjects("alice", "", "worker"),
)
LIMITS = (
    TokenLimit("default", "tokens", "hour", 900),
    TokenLimit("user:alice", "tokens", "minute", 500),
    TokenLimit("group:team", "cost", "day", 700, "calendar", "Europe/Berlin"),
    TokenLimit("session:worker", "requests", "hour", 6),
    TokenLimit("global", "requests", "month", 60),
)


async def prepared(store: UsageStore, clock: FakeClock) -> list[str]:
    """Limits, a budget, something recorded already, and a few holds: pending, used, released, over."""
    for limit in LIMITS:
        await store.set_limit(limit)
    await store.record(used(1, ALICE, key="before", event_id="alice-before"))
    over = str((await store.reserve(replace(hold(40), ttl_us=SECOND_US))).reservation_id)
    await given(store, give("worker", tokens=200, ttl_us=DAY_US))
    clock.advance(5)
    pending = [str((await store.reserve(hold(30, who, 20))).reservation_id) for who in EVERYBODY]
    await store.record(used(5, None, pending[1]))
    await store.release(pending[2])
    return [over, *pending]


def random_records(chance: random.Random, reservation_ids: Sequence[str], now_us: int) -> list[Record]:
    """Events of every kind, some of them several times."""
    records: list[Record] = []
    for index in range(chance.randint(1, 40)):
        who = chance.choice(EVERYBODY)
        one = used(chance.randint(0, 60), who, cost_nano=chance.choice([None, 0, 30, 90]))
        one = replace(
            one,
            model=chance.choice(["gpt-4o", "claude"]),
            endpoint=chance.choice(["", "/chat"]),
            at_us=chance.choice([None, None, now_us - 50 * SECOND_US, now_us - HOUR_US, now_us + HOUR_US]),
            key=chance.choice(["", "", f"k{index % 7}", "before"]),
            event_id=chance.choice(["", "", f"{who.user}-{index % 5}", "alice-before" if who.user == "alice" else ""]),
        )
        if chance.random() < 0.2:
            # Whose it is, the reservation says: another user's event id would be refused.
            one = replace(one, reservation_id=chance.choice(reservation_ids), event_id="")
            one = replace(one, user="", group="", session="")
        records.append(one)
    return records


async def settled_state(store: UsageStore, clock: FakeClock) -> list[object]:
    """All that recording can change, without the ids that the store makes."""
    dimensions: list[Dimension] = ["user", "model", "session", "group", "endpoint", "quarter_hour"]
    sums = [await store.usage(UsageQuery(0, clock() + DAY_US, one)) for one in dimensions]
    statuses = [await store.status(who) for who in EVERYBODY]
    events = sorted((replace(one, event_id="", reservation_id="") for one in await events_of(store)), key=repr)
    budget = await store.budget("alice", "worker")
    return [sums, statuses, events, budget.remaining, budget.budget.used]


def told(outcomes: Sequence[RecordOutcome]) -> list[object]:
    """Outcomes without the ids that the store makes, but with which of them are the same."""
    first = {one.event_id: index for index, one in reversed(list(enumerate(outcomes)))}
    return [(first[one.event_id], replace(one, event_id="")) for one in outcomes]


@pytest.mark.parametrize("seed", range(12))
async def test_many_are_recorded_as_one_by_one(store: UsageStore, clock: FakeClock, seed: int) -> None:
    reservation_ids = await prepared(store, clock)
    records = random_records(random.Random(seed), reservation_ids, clock())
    outcomes = await store.record_many(records)
    state = await settled_state(store, clock)
    clock.advance(-5)
    async with open_store("memory://", clock=clock) as slow:
        named = dict(zip(reservation_ids, await prepared(slow, clock), strict=True))
        singly = [replace(one, reservation_id=named.get(one.reservation_id, "")) for one in records]
        assert told([await slow.record(one) for one in singly]) == told(outcomes)
        assert await settled_state(slow, clock) == state


async def test_which_event_is_the_one_too_many_depends_on_the_order_alone(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    reservation_id = str((await store.reserve(hold(10))).reservation_id)
    held = used(60, None, reservation_id)
    assert [one.overage for one in await store.record_many([held, used(50)])] == [True, True]
    await store.set_limit(TokenLimit("user:bob", "tokens", "day", 100))
    bob = Subjects("bob")
    unpriced = str((await store.reserve(hold(10, bob, None))).reservation_id)
    late = replace(used(10, None, unpriced), usage=TokenUsage(10))
    assert [one.overage for one in await store.record_many([late, used(85, bob), used(5, bob), used(1, bob)])] == [
        False,
        False,
        False,
        True,
    ]


async def test_work_of_a_budget_comes_in_its_turn(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    await given(store, give("worker", tokens=10))
    worker = Subjects("alice", "", "worker")
    outcomes = await store.record_many([used(60, worker), used(50), used(5, worker)])
    assert [one.overage for one in outcomes] == [True, True, True]
    assert await left(store, "worker") == Amounts(0, 0, 0)
    assert await taken(store) == (115, 0)


async def test_a_duplicate_within_the_list_is_one_event(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    reservation_id = str((await store.reserve(hold(30))).reservation_id)
    records = [
        used(10, key="k"),
        used(10, key="k"),
        used(11, key="k"),
        used(5, event_id="e"),
        used(5, event_id="e", key="e"),
        used(20, None, reservation_id),
        used(20, None, reservation_id, key="r"),
    ]
    for again in (False, True):
        outcomes = await store.record_many(records)
        first = [again, True, True, again, True, again, True]
        assert [one.duplicate for one in outcomes] == first
        assert [one.differs for one in outcomes] == [False, False, True, False, False, False, False]
        assert await taken(store) == (35, 0)
    assert len(await events_of(store)) == 3


async def test_nothing_is_nothing(store: UsageStore) -> None:
    assert await store.record_many([]) == []


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (used(1, None, "nothing"), UnknownReservation),
        (used(1, None), InvalidInput),
        (used(1, Subjects("alice", "other", "worker")), InvalidInput),
    ],
)
async def test_a_bad_one_in_the_middle_and_nothing_is_written(
    store: UsageStore, bad: Record, error: type[Exception]
) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    await given(store, give("worker", group="team", tokens=50))
    reservation_id = await held_in(store, "worker", 10)
    good = [used(1, key="a"), used(5, None, reservation_id), used(2)]
    with pytest.raises(error):
        await store.record_many([*good, bad, used(3)])
    assert await events_of(store) == []
    assert await taken(store) == (0, 50)
    assert await left(store, "worker") == Amounts(40, 0, 0)
    assert await store.usage(UsageQuery(0, 2**62, "user")) == []
    assert [one.duplicate for one in await store.record_many(good)] == [False] * 3
    assert await taken(store) == (8, 45)


@pytest.mark.parametrize("count", [999, 1_000, 1_001])
async def test_hundreds_and_thousands_are_counted_alike(store: UsageStore, clock: FakeClock, count: int) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 2 * count))
    session = Subjects("alice", "team", 'a "quoted", \\N session\\')
    records = [
        replace(used(index % 4, session, event_id=f"e{index}"), model="tab\tnew\nline\\", at_us=clock() - index)
        for index in range(count)
    ]
    outcomes = await store.record_many(records)
    assert [one.event_id for one in outcomes] == [one.event_id for one in records]
    total = sum(one.usage.total_tokens for one in records)
    assert await taken(store) == (total, 0)
    assert [one.duplicate for one in await store.record_many(records)] == [True] * count
    found = await events_of(store)
    assert (len(found), sum(one.usage.total_tokens for one in found)) == (count, total)
    assert {(one.session, one.model) for one in found} == {(session.session, "tab\tnew\nline\\")}
    (row,) = await store.usage(UsageQuery(0, clock() + 1, "model"))
    assert (row.requests, row.total_tokens) == (count, total)


async def test_more_than_a_transaction_takes(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "requests", "day", 10_000))
    outcomes = await store.record_many([used(1, event_id=f"e{index:05}") for index in range(10_001)])
    assert [index for index, one in enumerate(outcomes) if one.overage] == [10_000]
    assert len(await events_of(store)) == 10_001
    assert await taken(store) == (10_001, 0)


async def test_transactions_before_the_bad_one_stand(store: UsageStore) -> None:
    records = [used(1, event_id=f"e{index:05}") for index in range(10_001)]
    with pytest.raises(UnknownReservation):
        await store.record_many([*records, used(1, None, "nothing")])
    assert len(await events_of(store)) == 10_000
    again = await store.record_many(records)
    assert [one.duplicate for one in again] == [True] * 10_000 + [False]


async def test_the_events_themselves_are_the_same(store: UsageStore, clock: FakeClock) -> None:
    record = Record(
        model="gpt-4o",
        usage=TokenUsage(40, 8, 10, 5, 1, 2),
        cost_nano=123,
        user="alice",
        group="team",
        session="s",
        price_source="list",
        tier="flex",
        endpoint="/v1",
        priority="high",
        at_us=clock() - DAY_US,
    )
    many = await store.record_many([replace(record, event_id="many")] * 2)
    one = await store.record(replace(record, event_id="one"))
    assert many == [replace(one, event_id="many"), replace(one, event_id="many", duplicate=True)]
    first, second = await events_of(store)
    assert first == replace(second, event_id="many")
    assert first == UsageEvent(
        event_id="many",
        timestamp_us=clock() - DAY_US,
        admitted_us=clock() - DAY_US,
        user="alice",
        model="gpt-4o",
        usage=record.usage,
        cost_nano=123,
        price_source="list",
        group="team",
        session="s",
        endpoint="/v1",
        priority="high",
        tier="flex",
    )


async def test_another_users_event_is_not_answered_with(store: UsageStore) -> None:
    await store.record(used(5, ALICE, event_id="hers"))
    mallory = used(7, Subjects("mallory"), event_id="hers")
    with pytest.raises(InvalidInput, match=r"^event_id: it is an event of another user"):
        await store.record(mallory)
    with pytest.raises(InvalidInput, match=r"^records\[1\].event_id"):
        await store.record_many([used(1, Subjects("mallory")), mallory])
    assert [one.user for one in await events_of(store)] == ["alice"]
