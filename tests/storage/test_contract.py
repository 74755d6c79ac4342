"""What every store promises, on every store: holds, keys, limits, reports.

Its neighbours: ``test_clock``, ``test_budgets`` and ``test_budget_ends``, ``test_bulk``, ``test_rollup``,
``test_bad_input``, ``test_bugs``, ``test_property``.
"""

from dataclasses import replace

import pytest

from tests.conftest import FakeClock, events_of
from tests.storage.requests import ALICE, TTL_US, hold, taken, used
from tokenward.engine.errors import InvalidInput, UnknownReservation
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.quota import Policy
from tokenward.engine.types import DAY_US, SECOND_US
from tokenward.engine.usage import TokenUsage, UsageQuery
from tokenward.storage.base import Record, UsageStore
from tokenward.storage.transaction import KEEP_ANSWERS_US

pytestmark = pytest.mark.anyio


async def test_without_limits_everything_is_allowed_and_held(store: UsageStore) -> None:
    outcome = await store.reserve(hold(10**9))
    assert outcome.decision.allowed
    assert outcome.reservation_id is not None
    assert outcome.decision.limits == ()


async def test_reserve_settle_counts_what_was_used(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    outcome = await store.reserve(hold(60))
    assert await taken(store) == (0, 60)
    receipt = await store.record(used(45, None, str(outcome.reservation_id)))
    assert (receipt.overage, receipt.user) == (False, "alice")
    assert await taken(store) == (45, 0)


async def test_the_limit_is_reached_exactly_and_never_passed(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    assert (await store.reserve(hold(100))).decision.allowed
    denied = await store.reserve(hold(1))
    assert not denied.decision.allowed
    assert denied.reservation_id is None
    assert denied.decision.denied_by is not None


async def test_a_question_holds_nothing(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    for _ in range(3):
        assert (await store.reserve(replace(hold(60), ttl_us=None))).decision.allowed
    assert await taken(store) == (0, 0)


async def test_all_subjects_at_once_all_or_nothing(store: UsageStore) -> None:
    both = Subjects("alice", "team", "s1")
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 1_000))
    await store.set_limit(TokenLimit("group:team", "tokens", "day", 500))
    await store.set_limit(TokenLimit("session:s1", "tokens", "day", 700))
    await store.set_limit(TokenLimit("global", "tokens", "day", 600))
    assert not (await store.reserve(hold(501, both))).decision.allowed
    assert {(one.used, one.reserved) for one in await store.status(both)} == {(0, 0)}
    outcome = await store.reserve(hold(500, both))
    assert {(one.used, one.reserved) for one in await store.status(both)} == {(0, 500)}
    await store.record(used(500, None, str(outcome.reservation_id)))
    assert {(one.used, one.reserved) for one in await store.status(both)} == {(500, 0)}
    other = await store.reserve(hold(101, Subjects("bob")))
    assert other.decision.denied_by is not None
    assert other.decision.denied_by.subject == "global"


async def test_a_default_limit_binds_each_user_who_has_none(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("default", "tokens", "day", 10))
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    assert (await store.reserve(hold(50))).decision.allowed
    for user in ("bob", "carol"):
        assert (await store.reserve(hold(10, Subjects(user)))).decision.allowed
        assert not (await store.reserve(hold(1, Subjects(user)))).decision.allowed


async def test_a_hold_returns_by_itself(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    await store.reserve(hold(100))
    clock.advance(599)
    assert not (await store.reserve(hold(1))).decision.allowed
    clock.advance(1)
    assert (await store.reserve(hold(100))).decision.allowed


async def test_expire_counts_what_it_ended(store: UsageStore, clock: FakeClock) -> None:
    await store.reserve(hold(1))
    await store.reserve(hold(1))
    assert await store.expire() == 0
    clock.advance(600)
    assert await store.expire() == 2
    assert await store.expire() == 0


async def test_release_gives_back_and_answers_the_same_again(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    reservation_id = str((await store.reserve(hold(100, cost_nano=7))).reservation_id)
    first = await store.release(reservation_id)
    assert (first.released, first.amounts) == (True, Amounts(100, 7))
    assert await store.release(reservation_id) == first
    assert await taken(store) == (0, 0)


async def test_release_after_settling_or_expiry_gives_nothing(store: UsageStore, clock: FakeClock) -> None:
    settled = str((await store.reserve(hold(5))).reservation_id)
    await store.record(used(5, None, settled))
    assert (await store.release(settled)).ended == "settled"
    expired = str((await store.reserve(hold(5))).reservation_id)
    clock.advance(600)
    outcome = await store.release(expired)
    assert (outcome.released, outcome.ended) == (False, "expired")


async def test_unknown_reservations_are_refused(store: UsageStore) -> None:
    with pytest.raises(UnknownReservation):
        await store.release("nothing")
    with pytest.raises(UnknownReservation):
        await store.extend("nothing", TTL_US)
    with pytest.raises(UnknownReservation):
        await store.record(used(1, None, "nothing"))
    assert await events_of(store) == []


async def test_extend_keeps_a_hold_alive(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    reservation_id = str((await store.reserve(hold(100))).reservation_id)
    clock.advance(500)
    assert await store.extend(reservation_id, TTL_US) == clock() + TTL_US
    clock.advance(599)
    assert await taken(store) == (0, 100)
    clock.advance(1)
    assert await taken(store) == (0, 0)


async def test_settling_above_the_hold_is_recorded_whole_and_flagged(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    reservation_id = str((await store.reserve(hold(50))).reservation_id)
    assert (await store.record(used(130, None, reservation_id))).overage
    assert await taken(store) == (130, 0)
    dearer = str((await store.reserve(hold(0, Subjects("bob"), cost_nano=5))).reservation_id)
    assert (await store.record(used(0, None, dearer, cost_nano=6))).overage
    unpriced = str((await store.reserve(hold(0, Subjects("bob"), cost_nano=None))).reservation_id)
    assert not (await store.record(used(0, None, unpriced, cost_nano=6))).overage


async def test_settling_after_expiry_is_recorded_whole_and_flagged(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "hour", 100))
    reservation_id = str((await store.reserve(hold(50))).reservation_id)
    clock.advance(700)
    receipt = await store.record(used(40, None, reservation_id))
    assert (receipt.overage, receipt.user) == (True, "alice")
    assert await taken(store) == (40, 0)


async def test_usage_without_a_reservation_is_flagged_when_it_passes_a_limit(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    assert not (await store.record(used(100))).overage
    assert (await store.record(used(1))).overage


async def test_the_same_key_is_one_event(store: UsageStore) -> None:
    first = await store.record(used(5, key="k"))
    again = await store.record(used(5, key="k"))
    assert (first.duplicate, again.duplicate) == (False, True)
    assert replace(again, duplicate=False) == first
    assert (await store.record(used(5, Subjects("bob"), key="k"))).event_id != first.event_id
    assert len(await events_of(store)) == 2


async def test_the_same_reservation_is_one_event(store: UsageStore) -> None:
    reservation_id = str((await store.reserve(hold(5))).reservation_id)
    first = await store.record(used(5, None, reservation_id, key="a"))
    again = await store.record(used(7, None, reservation_id, key="b"))
    assert again.duplicate
    assert again.event_id == first.event_id
    assert len(await events_of(store)) == 1


async def test_the_same_key_is_one_hold(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    first = await store.reserve(hold(60, key="k"))
    clock.advance(10)
    again = await store.reserve(hold(60, key="k"))
    assert (again.reservation_id, again.expires_us) == (first.reservation_id, first.expires_us)
    assert await taken(store) == (0, 60)
    await store.record(used(60, None, str(first.reservation_id)))
    settled = await store.reserve(hold(60, key="k"))
    assert settled.reservation_id == first.reservation_id
    assert await taken(store) == (60, 0)


async def test_a_key_whose_hold_is_gone_holds_anew(store: UsageStore, clock: FakeClock) -> None:
    first = await store.reserve(hold(60, key="k"))
    clock.advance(600)
    second = await store.reserve(hold(60, key="k"))
    assert second.reservation_id not in (None, first.reservation_id)
    await store.release(str(second.reservation_id))
    assert (await store.reserve(hold(60, key="k"))).reservation_id != second.reservation_id


async def test_a_denial_is_not_kept_for_its_key(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "minute", 100))
    await store.record(used(100))
    denied = await store.reserve(hold(50, key="k"))
    assert denied.decision.retry_after_seconds is not None
    clock.advance(denied.decision.retry_after_seconds)
    assert (await store.reserve(hold(50, key="k"))).decision.allowed


async def test_answers_are_forgotten_after_their_keeping_time(store: UsageStore, clock: FakeClock) -> None:
    first = await store.record(used(5, key="k"))
    clock.now_us += KEEP_ANSWERS_US + 1
    await store.record(used(5, key="other"))
    assert (await store.record(used(5, key="k"))).event_id != first.event_id


async def test_another_users_reservation_cannot_be_settled_or_seen(store: UsageStore) -> None:
    reservation_id = str((await store.reserve(hold(5, Subjects("alice", "team")))).reservation_id)
    with pytest.raises(UnknownReservation):
        await store.record(used(5, Subjects("mallory"), reservation_id))
    with pytest.raises(InvalidInput, match="another group"):
        await store.record(used(5, Subjects("alice", "other"), reservation_id))
    assert not (await store.record(used(5, ALICE, reservation_id))).duplicate


async def test_what_the_reservation_knows_need_not_be_said(store: UsageStore) -> None:
    reservation_id = str((await store.reserve(hold(5, Subjects("alice", "team")))).reservation_id)
    record = Record(model="m", usage=TokenUsage(1), cost_nano=0, group="team", reservation_id=reservation_id)
    assert (await store.record(record)).user == "alice"


async def test_an_event_known_by_one_key_is_known_by_the_others(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    reservation_id = str((await store.reserve(hold(5))).reservation_id)
    first = await store.record(used(5, None, reservation_id))
    assert (await store.record(used(5, None, reservation_id, key="k"))).duplicate
    assert (await store.record(used(5, key="k"))).event_id == first.event_id
    await store.record(used(7, key="other"))
    second = str((await store.reserve(hold(9))).reservation_id)
    assert (await store.record(used(7, None, second, key="other"))).duplicate
    assert await taken(store) == (12, 0)
    assert (await store.release(second)).ended == "settled"


async def test_a_denial_names_when_holds_end_too(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    await store.reserve(replace(hold(60), ttl_us=10 * SECOND_US))
    await store.reserve(replace(hold(40), ttl_us=90 * SECOND_US))
    assert (await store.reserve(hold(60))).decision.retry_after_seconds == 10
    assert (await store.reserve(hold(61))).decision.retry_after_seconds == 90


async def test_what_is_empty_has_nothing_to_reset(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    await store.release(str((await store.reserve(hold(60))).reservation_id))
    (row,) = await store.status(ALICE)
    assert row.resets_us is None


async def test_a_hold_without_a_cost_is_measured_by_the_limit(store: UsageStore) -> None:
    reservation_id = str((await store.reserve(hold(5, cost_nano=None))).reservation_id)
    await store.set_limit(TokenLimit("user:alice", "cost", "day", 1_000))
    assert (await store.record(used(5, None, reservation_id, cost_nano=1_001))).overage


async def test_cost_limits_need_a_known_cost(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "cost", "month", 10, "calendar"))
    with pytest.raises(InvalidInput, match="cost limit applies"):
        await store.reserve(hold(5, cost_nano=None))
    assert (await store.reserve(hold(5, cost_nano=10))).decision.allowed
    assert not (await store.reserve(hold(5, cost_nano=1))).decision.allowed


async def test_requests_are_counted_too(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "requests", "minute", 2))
    assert (await store.reserve(hold(0))).decision.allowed
    await store.record(used(0))
    assert not (await store.reserve(hold(0))).decision.allowed


async def test_a_limit_set_later_counts_what_was_used_and_held_before(store: UsageStore, clock: FakeClock) -> None:
    for window, mode in (("minute", "rolling"), ("day", "calendar"), ("month", "calendar")):
        subjects = Subjects(f"user-{window}", "team", "s")
        await store.record(used(30, subjects))
        clock.advance(1)
        await store.reserve(hold(20, subjects))
        await store.set_limit(TokenLimit(f"user:user-{window}", "tokens", window, 100, mode))  # type: ignore[arg-type]
        assert await taken(store, subjects) == (30, 20)
    await store.set_limit(TokenLimit("group:team", "tokens", "hour", 1_000))
    await store.set_limit(TokenLimit("session:s", "tokens", "hour", 1_000))
    await store.set_limit(TokenLimit("global", "tokens", "hour", 1_000))
    rows = await store.status(Subjects("nobody", "team", "s"))
    assert {(one.used, one.reserved) for one in rows} == {(90, 60)}


async def test_a_limit_taken_away_and_set_again_misses_nothing(store: UsageStore) -> None:
    limit = TokenLimit("user:alice", "tokens", "day", 100)
    await store.set_limit(limit)
    await store.record(used(10))
    assert await store.delete_limit("user:alice", "tokens", "day")
    assert not await store.delete_limit("user:alice", "tokens", "day")
    await store.record(used(20))
    await store.set_limit(limit)
    assert await taken(store) == (30, 0)


async def test_a_default_limit_taken_away_and_set_again_misses_nothing(store: UsageStore) -> None:
    limit = TokenLimit("default", "tokens", "day", 100)
    await store.set_limit(limit)
    await store.record(used(10))
    await store.delete_limit("default", "tokens", "day")
    await store.record(used(20))
    await store.set_limit(limit)
    assert await taken(store) == (30, 0)


async def test_a_limit_is_replaced_not_added(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "month", 100))
    await store.set_limit(TokenLimit("user:alice", "tokens", "month", 50, "calendar", "Europe/Berlin"))
    assert await store.limits("user:alice") == [
        TokenLimit("user:alice", "tokens", "month", 50, "calendar", "Europe/Berlin")
    ]
    assert await store.limits("user:bob") == []
    assert len(await store.limits()) == 1


async def test_priorities_may_use_their_share(store: UsageStore) -> None:
    policy = Policy({"low": 80, "normal": 95, "high": 100})
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    await store.record(used(80))
    for priority, fits in (("low", False), ("normal", True), ("high", True)):
        asked = replace(hold(15), priority=priority, ttl_us=None)  # type: ignore[arg-type]
        assert (await store.reserve(replace(asked, policy=policy))).decision.allowed is fits
    assert (await store.reserve(replace(hold(20), policy=policy))).decision.allowed is False


async def test_usage_is_summed_by_every_dimension(store: UsageStore, clock: FakeClock) -> None:
    base = used(10, Subjects("alice", "team", "s1"), cost_nano=2)
    await store.record(replace(base, endpoint="/chat"))
    clock.advance(900)
    await store.record(replace(base, user="bob", group="", session="", usage=TokenUsage(5, 4, 3, 1, 1, 2)))
    span = (0, clock() + 1)
    sums = {one.key: one for one in await store.usage(UsageQuery(*span, "user"))}
    assert (sums["alice"].total_tokens, sums["bob"].total_tokens) == (10, 9)
    assert (sums["bob"].cached_tokens, sums["bob"].cache_write_tokens, sums["bob"].reasoning_tokens) == (3, 2, 2)
    assert [one.key for one in await store.usage(UsageQuery(*span, "group"))] == ["", "team"]
    assert [one.key for one in await store.usage(UsageQuery(*span, "session", "alice"))] == ["s1"]
    assert [one.key for one in await store.usage(UsageQuery(*span, "endpoint"))] == ["", "/chat"]
    assert [one.key for one in await store.usage(UsageQuery(*span, "model"))] == ["gpt-4o"]
    quarters = [int(one.key) for one in await store.usage(UsageQuery(*span, "quarter_hour"))]
    assert quarters[1] == quarters[0] + 1
    assert await store.usage(UsageQuery(clock() + 1, clock() + DAY_US, "user")) == []


async def test_events_keep_everything(store: UsageStore, clock: FakeClock) -> None:
    reservation_id = str((await store.reserve(hold(50, Subjects("alice", "team", "s1"), 200))).reservation_id)
    admitted_us = clock()
    clock.advance(5)
    usage = TokenUsage(40, 8, 10, 5, 1, 2)
    record = Record(
        model="gpt-4o",
        usage=usage,
        cost_nano=123,
        price_source="list",
        endpoint="/v1",
        priority="high",
        reservation_id=reservation_id,
    )
    await store.record(record)
    (event,) = [one async for one in store.events(clock(), clock() + 1)]
    assert (event.user, event.group, event.session) == ("alice", "team", "s1")
    assert (event.usage, event.cost_nano, event.price_source) == (usage, 123, "list")
    assert (event.endpoint, event.priority, event.reservation_id) == ("/v1", "high", reservation_id)
    assert (event.timestamp_us, event.admitted_us, event.overage) == (clock(), admitted_us, False)
