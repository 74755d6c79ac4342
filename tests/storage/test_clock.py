"""Clocks and calendars, on every store: time going back, days of 23 and 25 hours, the ends of months, odd zones."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tests.conftest import FakeClock, events_of
from tests.storage.requests import ALICE, TTL_US, give, given, held_in, hold, left, settled, taken, used
from tokenward.engine.errors import UnknownBudget
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.types import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tokenward.engine.windows import Mode, Window
from tokenward.storage.base import UsageStore

pytestmark = pytest.mark.anyio

BACK = {"second": 1, "hour": 3_600, "year": 365 * 86_400}


def us(text: str, zone: str = "UTC") -> int:
    """A local time as microseconds UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND_US


def at(clock: FakeClock, text: str, zone: str = "UTC") -> None:
    clock.now_us = us(text, zone)


async def test_an_event_ahead_of_the_clock_counts_now(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "minute", 100))
    await store.record(replace(used(70), at_us=clock() + 4 * MINUTE_US))
    assert await taken(store) == (70, 0)


async def test_old_events_count_in_their_own_window(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "hour", 100))
    await store.record(replace(used(70), at_us=clock() - 30 * MINUTE_US))
    await store.record(replace(used(90), at_us=clock() - 3 * HOUR_US))
    assert await taken(store) == (70, 0)


async def test_rolling_windows_let_go(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "minute", 100))
    await store.record(used(100))
    clock.advance(60)
    assert await taken(store) == (100, 0)
    clock.advance(10)
    assert await taken(store) == (0, 0)


async def test_the_clock_may_go_backwards(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "minute", 100))
    await store.record(used(100))
    clock.advance(-30)
    assert not (await store.reserve(hold(1))).decision.allowed
    clock.advance(-3_600)
    assert (await store.reserve(hold(1))).decision.allowed


async def test_a_clock_that_jumped_and_came_back_forgets_nothing(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    await store.record(used(100))
    clock.advance(2 * 86_400)
    await store.record(used(0))
    clock.advance(-2 * 86_400)
    assert not (await store.reserve(hold(1))).decision.allowed


@pytest.mark.parametrize(("window", "mode"), [("day", "rolling"), ("day", "calendar"), ("month", "calendar")])
async def test_a_clock_that_was_wrong_by_years_locks_nobody_out(
    store: UsageStore, clock: FakeClock, window: Window, mode: Mode
) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", window, 100, mode))
    clock.advance(4 * 365 * 86_400)
    await store.record(used(90))
    clock.advance(-4 * 365 * 86_400)
    assert (await store.reserve(hold(50))).decision.allowed
    assert await taken(store) == (0, 50)


@pytest.mark.parametrize("back", BACK)
async def test_a_hold_given_before_the_clock_went_back_can_be_ended(
    store: UsageStore, clock: FakeClock, back: str
) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    ids = [str((await store.reserve(hold(20))).reservation_id) for _ in range(3)]
    clock.advance(-BACK[back])
    ahead = 0 if back == "year" else 60
    assert await taken(store) == (0, ahead)
    assert not (await settled(store, ids[0], 15)).overage
    await store.release(ids[1])
    assert await store.extend(ids[2], TTL_US) == clock() + BACK[back] * SECOND_US + TTL_US
    assert await taken(store) == ((0, 0) if back == "year" else (15, 20))
    clock.advance(BACK[back])
    assert await taken(store) == (15, 20)
    clock.advance(600)
    assert await taken(store) == (15, 0)


async def test_a_clock_that_was_behind_for_a_moment_forgets_nothing(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    await store.record(used(100))
    clock.advance(-BACK["year"])
    await store.record(used(1))
    clock.advance(BACK["year"])
    assert not (await store.reserve(hold(1))).decision.allowed


@pytest.mark.parametrize("back", BACK)
async def test_keys_are_the_same_after_the_clock_went_back(store: UsageStore, clock: FakeClock, back: str) -> None:
    first = await store.record(used(5, key="k"))
    held = await store.reserve(hold(5, key="h"))
    clock.advance(-BACK[back])
    assert (await store.record(used(5, key="k"))).event_id == first.event_id
    assert (await store.reserve(hold(5, key="h"))).reservation_id == held.reservation_id
    assert len(await events_of(store)) == 1


@pytest.mark.parametrize("back", BACK)
async def test_a_budget_lives_through_a_clock_going_back(store: UsageStore, clock: FakeClock, back: str) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    await given(store, give("worker", tokens=60))
    clock.advance(-BACK[back])
    await settled(store, await held_in(store, "worker", 40), 30)
    assert await left(store, "worker") == Amounts(30, 0, 0)
    assert await taken(store) == (30, 0 if back == "year" else 30)
    clock.advance(BACK[back])
    assert await taken(store) == (0 if back == "year" else 30, 30)
    assert (await store.close_budget("alice", "worker")).remaining == Amounts(30, 0, 0)
    with pytest.raises(UnknownBudget):
        await store.budget("alice", "worker")


DAYS = {
    "Berlin, 23 hours": ("Europe/Berlin", "2026-03-29", "2026-03-30", 23.0),
    "Berlin, 25 hours": ("Europe/Berlin", "2026-10-25", "2026-10-26", 25.0),
    "New York, 23 hours": ("America/New_York", "2026-03-08", "2026-03-09", 23.0),
    "New York, 25 hours": ("America/New_York", "2026-11-01", "2026-11-02", 25.0),
    "Lord Howe, 24.5 hours": ("Australia/Lord_Howe", "2026-04-05", "2026-04-06", 24.5),
    "Lord Howe, 23.5 hours": ("Australia/Lord_Howe", "2026-10-04", "2026-10-05", 23.5),
    "Kathmandu, 24 hours": ("Asia/Kathmandu", "2026-03-29", "2026-03-30", 24.0),
}


@pytest.mark.parametrize("name", DAYS)
async def test_a_calendar_day_is_as_long_as_its_zone_says(store: UsageStore, clock: FakeClock, name: str) -> None:
    zone, day, next_day, hours = DAYS[name]
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100, "calendar", zone))
    start_us, end_us = us(f"{day}T00:00", zone), us(f"{next_day}T00:00", zone)
    assert end_us - start_us == hours * HOUR_US
    clock.now_us = start_us - 1
    await store.record(used(90))
    clock.now_us = start_us
    assert await taken(store) == (0, 0)
    await store.record(used(60))
    clock.now_us = end_us - 1
    await store.record(used(40))
    denied = (await store.reserve(hold(1))).decision
    assert (denied.limits[0].resets_us, denied.retry_after_seconds) == (end_us, 1)
    await rebuilt(store)
    assert await taken(store) == (100, 0)
    clock.now_us = end_us
    assert (await store.reserve(hold(100))).decision.allowed


async def rebuilt(store: UsageStore) -> None:
    """Forget what was counted: every limit is set anew."""
    for limit in await store.limits():
        await store.set_limit(limit)


MONTHS = {
    "leap February": ("UTC", "2028-02-01", "2028-03-01", 29),
    "February": ("UTC", "2027-02-01", "2027-03-01", 28),
    "no leap year": ("UTC", "2100-02-01", "2100-03-01", 28),
    "April": ("UTC", "2026-04-01", "2026-05-01", 30),
    "December": ("Asia/Tokyo", "2026-12-01", "2027-01-01", 31),
}


@pytest.mark.parametrize("name", MONTHS)
async def test_a_calendar_month_ends_with_its_last_day(store: UsageStore, clock: FakeClock, name: str) -> None:
    zone, first, following, days = MONTHS[name]
    await store.set_limit(TokenLimit("user:alice", "tokens", "month", 100, "calendar", zone))
    start_us, end_us = us(f"{first}T00:00", zone), us(f"{following}T00:00", zone)
    assert end_us - start_us == days * DAY_US
    for moment_us in (start_us - 1, start_us, end_us - 1):
        clock.now_us = moment_us
        await store.record(used(50))
    assert await taken(store) == (100, 0)
    await rebuilt(store)
    assert await taken(store) == (100, 0)
    clock.now_us = end_us
    assert await taken(store) == (0, 0)


async def test_zones_of_different_limits_do_not_mix(store: UsageStore, clock: FakeClock) -> None:
    at(clock, "2026-03-31T23:30")
    await store.set_limit(TokenLimit("user:alice", "tokens", "month", 100, "calendar", "UTC"))
    await store.set_limit(TokenLimit("global", "tokens", "month", 100, "calendar", "Asia/Tokyo"))
    await store.record(replace(used(40), at_us=us("2026-03-31T14:00")))
    await store.record(used(30))
    rows = {one.limit.subject: one.used for one in await store.status(ALICE)}
    assert rows == {"user:alice": 70, "global": 30}
    at(clock, "2026-04-01T00:00")
    rows = {one.limit.subject: one.used for one in await store.status(ALICE)}
    assert rows == {"user:alice": 0, "global": 30}


async def test_a_hold_over_midnight_counts_where_it_was_given(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100, "calendar", "Europe/Berlin"))
    at(clock, "2026-10-25T23:59", "Europe/Berlin")
    reservation_id = str((await store.reserve(hold(80))).reservation_id)
    at(clock, "2026-10-26T00:01", "Europe/Berlin")
    assert await taken(store) == (0, 0)
    await settled(store, reservation_id, 70)
    assert await taken(store) == (0, 0)
    at(clock, "2026-10-25T23:59", "Europe/Berlin")
    assert await taken(store) == (70, 0)


async def test_a_clock_going_back_over_midnight_passes_no_limit(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100, "calendar"))
    at(clock, "2026-11-22T00:00:01")
    await store.record(used(80))
    at(clock, "2026-11-21T23:59:59")
    assert not (await store.reserve(hold(21))).decision.allowed
    await store.record(used(20))
    at(clock, "2026-11-22T00:00:01")
    assert await taken(store) == (80, 0)


async def test_events_far_in_the_past_and_future_stay_where_they_are(store: UsageStore, clock: FakeClock) -> None:
    group = Subjects("alice", "team")
    for subject in ("user:alice", "group:team"):
        for window in ("minute", "month"):
            await store.set_limit(TokenLimit(subject, "tokens", window, 100))
    moments = [0, us("1999-12-31T23:59"), clock() + 20 * 365 * DAY_US, us("9000-01-01T00:00")]
    for index, moment in enumerate(moments):
        await store.record(replace(used(2**index, group), at_us=moment))
    assert [one.timestamp_us for one in await events_of(store)] == moments
    assert {one.used for one in await store.status(group)} == {4 + 8}
    await rebuilt(store)
    assert {one.used for one in await store.status(group)} == {4 + 8}
    clock.advance(31 * 86_400)
    assert {one.used for one in await store.status(group)} == {0}
    assert datetime.fromtimestamp(clock() / SECOND_US, UTC).year == 2026
