"""Bad input, on every store: a specific error or the documented answer, nothing lost, and no neighbour harmed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tests.conftest import FakeClock, events_of
from tests.storage.requests import ALICE, TTL_US, give, given, hold, settled, taken, used
from tokenward.engine.errors import InvalidInput, TokenwardError, UnknownReservation
from tokenward.engine.limits import MAX_LIMIT, Amounts, Subjects, TokenLimit
from tokenward.engine.types import DAY_US
from tokenward.storage.base import Record, RecordOutcome, Reserve, ReserveOutcome, UsageStore
from tokenward.storage.checks import LATEST_US

pytestmark = pytest.mark.anyio

HUGE = 2**63

BAD_RESERVES: dict[str, Reserve] = {
    "tokens": replace(hold(0), amounts=Amounts(-1)),
    "tokens huge": replace(hold(0), amounts=Amounts(HUGE)),
    "cost_nano": replace(hold(0), amounts=Amounts(0, -1)),
    "cost_nano huge": replace(hold(0), amounts=Amounts(0, HUGE)),
    "requests": replace(hold(0), amounts=Amounts(0, 0, -1)),
    "ttl_us": replace(hold(0), ttl_us=-1),
    "ttl_us zero": replace(hold(0), ttl_us=0),
    "ttl_us huge": replace(hold(0), ttl_us=HUGE),
    "model": replace(hold(0), model="a\0b"),
    "model half": replace(hold(0), model="a\ud800b"),
    "key": hold(0, key="a\0b"),
}
BAD_RECORDS: dict[str, Record] = {
    "cost_nano": used(1, cost_nano=-1),
    "cost_nano huge": used(1, cost_nano=HUGE),
    "at_us": replace(used(1), at_us=-1),
    "at_us huge": replace(used(1), at_us=LATEST_US + 1),
    "model": replace(used(1), model="a\0b"),
    "model half": replace(used(1), model="a\udfffb"),
    "price_source": replace(used(1), price_source="\0"),
    "endpoint": replace(used(1), endpoint="\0"),
    "key": used(1, key="\0"),
    "event_id": used(1, event_id="\0"),
    "reservation_id": used(1, reservation_id="\0"),
    "user": used(1, None),
}


@pytest.mark.parametrize("name", BAD_RESERVES)
async def test_a_bad_question_names_its_field_and_holds_nothing(store: UsageStore, name: str) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    with pytest.raises(InvalidInput, match=f"^{name.split(maxsplit=1)[0]}: "):
        await store.reserve(BAD_RESERVES[name])
    assert await taken(store) == (0, 0)
    assert (await store.describe()).holds == 0


@pytest.mark.parametrize("name", BAD_RECORDS)
async def test_a_bad_event_names_its_field_and_writes_nothing(store: UsageStore, name: str) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100, "calendar", "America/New_York"))
    with pytest.raises(InvalidInput, match=f"^{name.split(maxsplit=1)[0]}: "):
        await store.record(BAD_RECORDS[name])
    with pytest.raises(InvalidInput, match=rf"records\[1\]\.{name.split(maxsplit=1)[0]}: "):
        await store.record_many([used(1), BAD_RECORDS[name], used(1)])
    assert await events_of(store) == []
    assert await taken(store) == (0, 0)


async def test_a_bad_time_to_live_is_refused_everywhere(store: UsageStore) -> None:
    reservation_id = str((await store.reserve(hold(1))).reservation_id)
    for ttl_us in (-1, 0, HUGE):
        with pytest.raises(InvalidInput, match=r"^ttl_us: "):
            await store.extend(reservation_id, ttl_us)
        with pytest.raises(InvalidInput, match=r"^ttl_us: "):
            await store.open_budget(give("worker", tokens=1, ttl_us=ttl_us))
    for text in ("\0", "\ud800"):
        with pytest.raises(InvalidInput, match=r"^reservation_id: "):
            await store.release(text)
        with pytest.raises(InvalidInput, match=r"^reservation_id: "):
            await store.extend(text, TTL_US)


async def test_what_fits_exactly_is_kept(store: UsageStore) -> None:
    await store.record(replace(used(1, cost_nano=MAX_LIMIT), model="\u00fc\u4f60\U0001f600 \n\t'\"\\", at_us=0))
    await store.record(replace(used(1), at_us=LATEST_US))
    first, last = await events_of(store)
    assert (first.cost_nano, first.model, first.timestamp_us) == (MAX_LIMIT, "\u00fc\u4f60\U0001f600 \n\t'\"\\", 0)
    assert last.timestamp_us == LATEST_US


@pytest.mark.parametrize("name", ["\0", "a\0b", "a\nb", "\ud800", " a", "", "x" * 201])
def test_a_name_is_printable_and_short(name: str) -> None:
    for made in (lambda: Subjects(name), lambda: TokenLimit(f"user:{name}", "tokens", "day", 1)):
        with pytest.raises(InvalidInput):
            made()
    for group, session in ((name, ""), ("", name)):
        if name:
            with pytest.raises(InvalidInput):
                Subjects("alice", group, session)


async def test_an_unknown_reservation_loses_nothing(store: UsageStore) -> None:
    with pytest.raises(UnknownReservation, match="'nothing'"):
        await store.record(used(5, ALICE, "nothing"))
    assert not (await store.record(used(5))).duplicate


async def test_another_users_reservation_stays_theirs(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    reservation_id = str((await store.reserve(hold(5))).reservation_id)
    with pytest.raises(UnknownReservation):
        await store.record(used(5, Subjects("mallory"), reservation_id))
    assert await taken(store) == (0, 5)
    await settled(store, reservation_id, 5)
    with pytest.raises(UnknownReservation):
        await store.record(used(5, Subjects("mallory"), reservation_id))
    assert len(await events_of(store)) == 1


async def test_a_settled_reservation_again_is_the_first_event(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    reservation_id = str((await store.reserve(hold(50))).reservation_id)
    first = await settled(store, reservation_id, 5)
    assert await settled(store, reservation_id, 5) == replace(first, duplicate=True)
    assert await settled(store, reservation_id, 6) == replace(first, duplicate=True, differs=True)
    assert await taken(store) == (5, 0)


async def test_an_expired_reservation_is_recorded_once_and_flagged(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    reservation_id = str((await store.reserve(hold(50))).reservation_id)
    clock.advance(600)
    first = await settled(store, reservation_id, 5)
    assert (first.overage, first.duplicate) == (True, False)
    assert await settled(store, reservation_id, 5) == replace(first, duplicate=True)
    assert await taken(store) == (5, 0)
    with pytest.raises(UnknownReservation):
        await store.extend(reservation_id, TTL_US)


async def test_a_released_reservation_is_recorded_and_flagged(store: UsageStore) -> None:
    reservation_id = str((await store.reserve(hold(50))).reservation_id)
    await store.release(reservation_id)
    assert (await settled(store, reservation_id, 5)).overage
    assert (await store.release(reservation_id)).ended == "released"


@pytest.mark.parametrize(
    "other",
    [hold(51, key="k"), hold(50, cost_nano=1, key="k"), replace(hold(50, key="k"), model="other")],
)
async def test_a_key_of_a_hold_with_other_content_says_so(store: UsageStore, other: Reserve) -> None:
    first = await store.reserve(hold(50, key="k"))
    assert (await store.reserve(hold(50, key="k"))).differs is False
    again = await store.reserve(other)
    assert (again.reservation_id, again.differs) == (first.reservation_id, True)
    assert (await store.describe()).holds == 1


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        # A price may be another one by the time the event is sent again: that is no other content.
        (used(50, key="k", cost_nano=7), False),
        (used(51, key="k", cost_nano=7), True),
        (replace(used(50, key="k", cost_nano=7), model="other"), True),
        (used(50, key="k", cost_nano=8), False),
    ],
)
async def test_a_key_of_an_event_with_other_content_says_so(store: UsageStore, other: Record, *, differs: bool) -> None:
    first = await store.record(used(50, key="k", cost_nano=7))
    again = await store.record(other)
    assert (again.event_id, again.cost_nano, again.duplicate, again.differs) == (first.event_id, 7, True, differs)
    assert len(await events_of(store)) == 1


async def test_an_event_id_sent_again_later_is_the_same_event(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    first = await store.record(used(5, event_id="e"))
    clock.advance(1)
    again = await store.record(used(5, event_id="e"))
    assert again == replace(first, duplicate=True)
    assert (await store.record(used(6, event_id="e"))).differs
    assert await taken(store) == (5, 0)


BAD: list[Callable[[UsageStore], Awaitable[object]]] = [
    lambda store: store.record(used(1, None, "nothing")),
    lambda store: store.record(replace(used(1), model="\0")),
    lambda store: store.record(used(1, cost_nano=HUGE)),
    lambda store: store.record(replace(used(1), at_us=-(2**60))),
    lambda store: store.reserve(replace(hold(0), amounts=Amounts(HUGE))),
    lambda store: store.release("\0"),
    lambda store: store.open_budget(give("worker", parent="nobody", tokens=1)),
]


@pytest.mark.parametrize("bad", range(len(BAD)))
async def test_a_bad_one_in_a_batch_fails_alone(store: UsageStore, bad: int) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100, "calendar", "America/New_York"))
    waiting: list[Awaitable[object]] = [store.record(used(1, key=f"k{index}")) for index in range(63)]
    waiting.insert(31, BAD[bad](store))
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcomes.pop(31), TokenwardError)
    assert all(isinstance(one, RecordOutcome) and not one.duplicate for one in outcomes)
    assert await taken(store) == (63, 0)
    assert len(await events_of(store)) == 63


async def test_the_same_event_twice_in_a_batch_and_once_before(store: UsageStore) -> None:
    await store.record(used(1, event_id="e0"))
    waiting = [store.record(used(1, event_id=f"e{index % 32}")) for index in range(64)]
    outcomes = await asyncio.gather(*waiting)
    assert [one.event_id for one in outcomes if not one.duplicate] == [f"e{index}" for index in range(1, 32)]
    assert len(await events_of(store)) == 32


async def test_unpriced_work_under_a_cost_limit_fails_alone(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "cost", "day", 100))
    asked = [store.reserve(hold(1, cost_nano=None if index == 5 else 1)) for index in range(20)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(outcomes.pop(5), InvalidInput)
    assert all(isinstance(one, ReserveOutcome) and one.decision.allowed for one in outcomes)
    assert await taken(store) == (0, 19)


async def test_events_far_in_the_past_and_future(store: UsageStore, clock: FakeClock) -> None:
    for window in ("minute", "month"):
        await store.set_limit(TokenLimit("user:alice", "tokens", window, 100))
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100, "calendar", "Pacific/Kiritimati"))
    await store.record(replace(used(7), at_us=0))
    await store.record(replace(used(9), at_us=LATEST_US))
    assert {one.used for one in await store.status(ALICE)} == {9}
    assert [one.admitted_us for one in await events_of(store)] == [0, clock()]
    clock.advance(40 * 86_400)
    assert {one.used for one in await store.status(ALICE)} == {0}
    await given(store, give("worker", tokens=1, ttl_us=DAY_US))
