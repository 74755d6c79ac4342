"""How budgets of sessions end, on every store: what goes back, to whom, and what of pending work."""

import anyio
import pytest

from tests.conftest import FakeClock
from tests.storage.requests import TTL_US, give, given, held_in, hold, left, settled, taken, used
from tokenward.engine.errors import UnknownBudget
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.types import DAY_US, SECOND_US
from tokenward.storage.base import UsageStore

pytestmark = pytest.mark.anyio

WORKER = Subjects("alice", "", "worker")
DAY = TokenLimit("user:alice", "tokens", "day", 100)


async def test_closing_gives_the_rest_back_to_the_parent(store: UsageStore) -> None:
    await store.set_limit(DAY)
    await given(store, give("outer", tokens=80))
    await given(store, give("inner", parent="outer", tokens=50))
    await settled(store, await held_in(store, "inner", 20), 20)
    closed = await store.close_budget("alice", "inner")
    assert (closed.remaining, closed.parent) == (Amounts(30, 0, 0), "outer")
    assert await left(store, "outer") == Amounts(60, 0, 0)
    assert await taken(store) == (20, 60)


async def test_closing_the_outermost_frees_the_rest(store: UsageStore) -> None:
    await store.set_limit(DAY)
    await given(store, give("worker", tokens=80))
    await settled(store, await held_in(store, "worker", 20), 15)
    closed = await store.close_budget("alice", "worker")
    assert (closed.remaining, closed.budget.used, closed.parent) == (Amounts(65, 0, 0), Amounts(15, 0, 1), "")
    assert closed.budget.ended_us is not None
    assert await taken(store) == (15, 0)


async def test_a_second_close_answers_the_same(store: UsageStore, clock: FakeClock) -> None:
    await given(store, give("outer", group="team", tokens=80))
    await given(store, give("worker", parent="outer", tokens=60, cost_nano=0))
    first = await store.close_budget("alice", "worker")
    clock.advance(5)
    assert await store.close_budget("alice", "worker") == first
    assert await left(store, "outer") == Amounts(80, 0, 0)
    with pytest.raises(UnknownBudget):
        await store.budget("alice", "worker")


async def test_a_closed_session_may_be_given_another_budget(store: UsageStore) -> None:
    await store.set_limit(DAY)
    first = await given(store, give("worker", tokens=80))
    await store.close_budget("alice", "worker")
    assert await given(store, give("worker", tokens=90)) != first
    assert await taken(store) == (0, 90)
    assert (await store.close_budget("alice", "worker")).remaining == Amounts(90, 0, 0)


async def test_closing_leaves_pending_work_and_its_rest_goes_to_the_parent(store: UsageStore) -> None:
    await store.set_limit(DAY)
    await given(store, give("outer", tokens=80))
    await given(store, give("inner", parent="outer", tokens=50))
    first, second = await held_in(store, "inner", 30), await held_in(store, "inner", 10)
    assert (await store.close_budget("alice", "inner")).remaining == Amounts(10, 0, 0)
    assert await left(store, "outer") == Amounts(40, 0, 0)
    assert await taken(store) == (0, 80)
    await settled(store, first, 25)
    assert await left(store, "outer") == Amounts(45, 0, 0)
    await store.release(second)
    assert await left(store, "outer") == Amounts(55, 0, 0)
    assert await taken(store) == (25, 55)
    assert (await store.budget("alice", "outer")).budget.used == Amounts(25, 0, 1)


async def test_closing_the_outermost_leaves_pending_work_under_the_limits(store: UsageStore) -> None:
    await store.set_limit(DAY)
    await given(store, give("worker", tokens=80))
    reservation_id = await held_in(store, "worker", 30)
    await store.close_budget("alice", "worker")
    assert await taken(store) == (0, 30)
    assert not (await settled(store, reservation_id, 10)).overage
    assert await taken(store) == (10, 0)


async def test_closing_a_parent_leaves_its_children_what_they_have(store: UsageStore) -> None:
    await store.set_limit(DAY)
    await given(store, give("outer", tokens=80))
    await given(store, give("inner", parent="outer", tokens=50))
    await store.close_budget("alice", "outer")
    assert await taken(store) == (0, 50)
    await held_in(store, "inner", 20)
    assert await taken(store) == (0, 50)
    assert (await store.close_budget("alice", "inner")).remaining == Amounts(30, 0, 0)
    assert await taken(store) == (0, 20)


async def test_a_budget_whose_time_is_over_frees_its_rest_not_its_work(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(DAY)
    await given(store, give("worker", tokens=80, ttl_us=60 * SECOND_US))
    reservation_id = await held_in(store, "worker", 30)
    clock.advance(60)
    assert await taken(store) == (0, 30)
    with pytest.raises(UnknownBudget):
        await store.budget("alice", "worker")
    assert not (await settled(store, reservation_id, 20)).overage
    assert await taken(store) == (20, 0)


async def test_an_inner_budget_whose_time_is_over_gives_to_the_outer(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(DAY)
    await given(store, give("outer", tokens=80, ttl_us=DAY_US))
    await given(store, give("inner", parent="outer", tokens=50, ttl_us=60 * SECOND_US))
    reservation_id = await held_in(store, "inner", 30)
    clock.advance(60)
    assert await left(store, "outer") == Amounts(50, 0, 0)
    await settled(store, reservation_id, 20)
    assert await left(store, "outer") == Amounts(60, 0, 0)
    assert await taken(store) == (20, 60)


async def test_everything_expiring_at_once_frees_everything(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(DAY)
    await given(store, give("outer", tokens=80))
    await given(store, give("inner", parent="outer", tokens=50))
    await held_in(store, "inner", 30)
    await held_in(store, "outer", 5)
    clock.advance(600)
    assert await store.expire() == 4
    assert await taken(store) == (0, 0)
    await given(store, give("outer", tokens=100))


async def test_work_whose_time_is_over_goes_back_to_the_budget(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(DAY)
    await given(store, give("worker", tokens=80, ttl_us=DAY_US))
    await held_in(store, "worker", 30)
    clock.advance(600)
    assert await left(store, "worker") == Amounts(80, 0, 0)
    assert await taken(store) == (0, 80)


async def test_released_work_goes_back_to_the_budget(store: UsageStore) -> None:
    await store.set_limit(DAY)
    await given(store, give("worker", tokens=80))
    reservation_id = await held_in(store, "worker", 30)
    first = await store.release(reservation_id)
    assert await store.release(reservation_id) == first
    assert await left(store, "worker") == Amounts(80, 0, 0)
    assert await taken(store) == (0, 80)


async def test_a_settle_above_its_hold_takes_from_the_budget(store: UsageStore) -> None:
    await store.set_limit(DAY)
    await given(store, give("worker", tokens=80))
    assert (await settled(store, await held_in(store, "worker", 30), 45)).overage
    assert await left(store, "worker") == Amounts(35, 0, 0)
    assert await taken(store) == (45, 35)


async def test_a_settle_above_its_budget_leaves_nothing_and_is_recorded_whole(store: UsageStore) -> None:
    await store.set_limit(DAY)
    await given(store, give("worker", tokens=80))
    assert (await settled(store, await held_in(store, "worker", 70), 95)).overage
    assert await left(store, "worker") == Amounts(0, 0, 0)
    assert await taken(store) == (95, 0)
    assert (await store.budget("alice", "worker")).budget.used == Amounts(95, 0, 1)


async def test_a_late_settle_draws_again_and_is_flagged(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(DAY)
    await given(store, give("worker", tokens=80, ttl_us=DAY_US))
    reservation_id = await held_in(store, "worker", 30)
    clock.advance(600)
    assert (await settled(store, reservation_id, 20)).overage
    status = await store.budget("alice", "worker")
    assert (status.remaining, status.budget.used) == (Amounts(60, 0, 0), Amounts(20, 0, 1))
    assert await taken(store) == (20, 60)


async def test_a_late_settle_after_the_budget_is_gone_counts_above(store: UsageStore, clock: FakeClock) -> None:
    for subject in ("user:alice", "session:outer"):
        await store.set_limit(TokenLimit(subject, "tokens", "day", 100))
    await given(store, give("outer", tokens=80, ttl_us=DAY_US))
    await given(store, give("inner", parent="outer", tokens=50))
    reservation_id = await held_in(store, "inner", 30)
    clock.advance(600)
    assert (await settled(store, reservation_id, 20)).overage
    assert await left(store, "outer") == Amounts(60, 0, 0)
    rows = await store.status(Subjects("alice", "", "outer"))
    assert {one.limit.subject: (one.used, one.reserved) for one in rows} == {
        "session:outer": (20, 0),
        "user:alice": (20, 60),
    }


async def test_work_in_a_budget_may_live_longer(store: UsageStore, clock: FakeClock) -> None:
    await given(store, give("worker", tokens=80, ttl_us=DAY_US))
    reservation_id = await held_in(store, "worker", 30)
    clock.advance(500)
    await store.extend(reservation_id, TTL_US)
    clock.advance(599)
    assert await left(store, "worker") == Amounts(50, 0, 0)
    clock.advance(1)
    assert await left(store, "worker") == Amounts(80, 0, 0)


async def test_a_budget_may_live_longer(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(DAY)
    budget_id = await given(store, give("worker", tokens=80))
    clock.advance(500)
    expires_us = await store.extend(budget_id, TTL_US)
    assert expires_us == clock() + TTL_US
    assert (await store.budget("alice", "worker")).budget.expires_us == expires_us
    clock.advance(599)
    assert await left(store, "worker") == Amounts(80, 0, 0)
    clock.advance(1)
    assert await taken(store) == (0, 0)


async def test_opening_working_and_closing_at_once(store: UsageStore) -> None:
    """What a batch opens, others of the same batch may use: each gets an answer, and nothing is counted twice."""
    await store.set_limit(DAY)
    outcomes: list[object] = []

    async def run(session: str, parent: str) -> None:
        await given(store, give(session, parent=parent, tokens=20))
        outcomes.append(await settled(store, await held_in(store, session, 10), 5))
        outcomes.append(await store.close_budget("alice", session))

    await given(store, give("root", tokens=100))
    async with anyio.create_task_group() as group:
        for index in range(4):
            group.start_soon(run, f"s{index}", "root")
    assert len(outcomes) == 8
    assert await left(store, "root") == Amounts(80, 0, 0)
    assert await taken(store) == (20, 80)
    await store.close_budget("alice", "root")
    assert await taken(store) == (20, 0)


async def test_closing_after_its_time_answers_how_it_ended(store: UsageStore, clock: FakeClock) -> None:
    await given(store, give("worker", tokens=10))
    await store.close_budget("alice", "worker")
    budget_id = await given(store, give("worker", tokens=80))
    await settled(store, await held_in(store, "worker", 30), 20)
    clock.advance(600)
    closed = await store.close_budget("alice", "worker")
    assert (closed.budget.budget_id, closed.remaining) == (budget_id, Amounts(60, 0, 0))
    assert (closed.budget.used, closed.budget.ended_us) == (Amounts(20, 0, 1), clock())
    assert await store.close_budget("alice", "worker") == closed


async def test_usage_beyond_a_share_is_not_left_again_when_other_work_gives_back(
    store: UsageStore, clock: FakeClock
) -> None:
    await given(store, give("worker", tokens=100, ttl_us=DAY_US))
    late = await held_in(store, "worker", 100)
    clock.advance(TTL_US / SECOND_US)
    other = await held_in(store, "worker", 100)
    assert (await settled(store, late, 100)).overage
    await store.release(other)
    assert await left(store, "worker") == Amounts(0, 0, 0)
    assert not (await store.reserve(hold(1, WORKER))).decision.allowed


async def test_usage_beyond_a_share_is_not_left_in_the_budget_above_either(store: UsageStore) -> None:
    await given(store, give("outer", tokens=1_000))
    await given(store, give("inner", parent="outer", tokens=100))
    assert (await store.record(used(900, Subjects("alice", "", "inner")))).overage
    assert await left(store, "inner") == Amounts(0, 0, 0)
    assert await left(store, "outer") == Amounts(100, 0, 0)
    assert not (await store.reserve(hold(101, Subjects("alice", "", "outer")))).decision.allowed
