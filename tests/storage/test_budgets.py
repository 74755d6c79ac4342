"""Budgets that sessions give on, on every store: what they hold, who pays, who may."""

from dataclasses import replace

import anyio
import pytest

from tests.conftest import FakeClock, events_of
from tests.storage.requests import ALICE, give, given, held_in, hold, left, settled, taken, used, work_in
from tokenward.engine.budget import MAX_DEPTH, Budget, Share
from tokenward.engine.errors import InvalidInput, UnknownBudget, UnknownReservation
from tokenward.engine.limits import NOTHING, Amounts, Subjects, TokenLimit
from tokenward.engine.quota import Policy
from tokenward.engine.types import DAY_US, MINUTE_US, SECOND_US
from tokenward.storage.base import UsageStore

pytestmark = pytest.mark.anyio

WORKER = Subjects("alice", "", "worker")
DAY = TokenLimit("user:alice", "tokens", "day", 100)


async def test_a_share_is_held_at_once(store: UsageStore) -> None:
    await store.set_limit(DAY)
    outcome = await store.open_budget(give("worker", tokens=60))
    assert outcome.budget is not None
    assert outcome.budget.remaining == Amounts(60, 0, 0)
    (row,) = outcome.decision.limits
    assert (row.used, row.reserved, row.remaining) == (0, 60, 40)
    assert await taken(store) == (0, 60)
    assert not (await store.reserve(hold(41))).decision.allowed
    assert (await store.reserve(hold(40))).decision.allowed


async def test_a_share_that_does_not_fit_is_refused_and_holds_nothing(store: UsageStore) -> None:
    await store.set_limit(DAY)
    await store.record(used(50))
    outcome = await store.open_budget(give("worker", tokens=51))
    assert (outcome.decision.allowed, outcome.budget) == (False, None)
    assert outcome.decision.denied_by == DAY
    assert await taken(store) == (50, 0)
    with pytest.raises(UnknownBudget):
        await store.budget("alice", "worker")


async def test_a_share_that_fits_once_a_hold_ends_says_when(store: UsageStore) -> None:
    await store.set_limit(DAY)
    await store.reserve(replace(hold(100), ttl_us=30 * SECOND_US))
    assert (await store.open_budget(give("worker", tokens=1))).decision.retry_after_seconds == 30


async def test_a_share_heeds_the_priority(store: UsageStore) -> None:
    await store.set_limit(DAY)
    half = replace(give("worker", tokens=60), priority="low", policy=Policy({"low": 50, "normal": 100, "high": 100}))
    assert not (await store.open_budget(half)).decision.allowed
    assert (await store.open_budget(replace(half, priority="normal"))).decision.allowed


async def test_work_draws_from_its_budget_and_counts_once(store: UsageStore) -> None:
    limits = ["user:alice", "group:team", "global"]
    for subject in limits:
        await store.set_limit(TokenLimit(subject, "tokens", "day", 100))
    await given(store, give("worker", group="team", tokens=100))
    both = Subjects("alice", "team")
    assert {(one.used, one.reserved) for one in await store.status(both)} == {(0, 100)}
    reservation_id = await held_in(store, "worker", 30)
    assert await left(store, "worker") == Amounts(70, 0, 0)
    assert {(one.used, one.reserved) for one in await store.status(both)} == {(0, 100)}
    assert not (await settled(store, reservation_id, 20)).overage
    assert {(one.used, one.reserved) for one in await store.status(both)} == {(20, 80)}
    status = await store.budget("alice", "worker")
    assert (status.remaining, status.budget.used) == (Amounts(80, 0, 0), Amounts(20, 0, 1))
    (event,) = await events_of(store)
    assert (event.user, event.group, event.session, event.ancestors) == ("alice", "team", "worker", ())


async def test_work_counts_under_its_sessions_own_limit_too(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("session:worker", "tokens", "day", 20))
    await given(store, give("worker", tokens=50))
    assert await taken(store, WORKER) == (0, 0)
    refused = await work_in(store, "worker", 21)
    assert refused.decision.denied_by is not None
    assert refused.decision.denied_by.subject == "session:worker"
    assert await left(store, "worker") == Amounts(50, 0, 0)
    await held_in(store, "worker", 20)
    assert await taken(store, WORKER) == (0, 20)


async def test_a_denial_says_which_budget_and_how_much_is_left(store: UsageStore) -> None:
    await given(store, give("worker", tokens=50, cost_nano=2_000_000_000))
    await held_in(store, "worker", 20, 1_500_000_000)
    refused = (await work_in(store, "worker", 31)).decision
    assert isinstance(refused.denied_by, Budget)
    assert refused.denied_by.subject == "session:worker"
    assert refused.reason == "session:worker, budget: 30 of 50 tokens left, 31 more asked for."
    dear = (await work_in(store, "worker", 1, 600_000_000)).decision
    assert dear.reason == "session:worker, budget: 0.50 of 2.00 USD left, 0.60 more asked for."
    assert await left(store, "worker") == Amounts(30, 500_000_000, 0)


async def test_a_question_draws_nothing(store: UsageStore) -> None:
    await given(store, give("worker", tokens=50))
    for _ in range(3):
        assert (await store.reserve(replace(hold(40, WORKER), ttl_us=None))).decision.allowed
    assert await left(store, "worker") == Amounts(50, 0, 0)


async def test_requests_are_given_on_too(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "requests", "day", 3))
    await given(store, give("worker", requests=2))
    assert await taken(store) == (0, 2)
    first, second = await held_in(store, "worker", 10**6), await held_in(store, "worker", 0)
    assert not (await work_in(store, "worker", 0)).decision.allowed
    await settled(store, first, 5)
    await store.release(second)
    assert await left(store, "worker") == Amounts(0, 0, 1)
    assert await taken(store) == (1, 1)


async def test_what_a_budget_does_not_give_is_left_to_the_limits(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "cost", "day", 10))
    await given(store, give("worker", tokens=50))
    assert (await work_in(store, "worker", 10, 11)).decision.denied_by == TokenLimit("user:alice", "cost", "day", 10)
    await held_in(store, "worker", 10, 10)
    assert await taken(store) == (0, 10)


async def test_what_a_budget_does_not_give_comes_from_the_next_outer_one(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "cost", "day", 100))
    await given(store, give("outer", tokens=100, cost_nano=80))
    await given(store, give("inner", parent="outer", tokens=40))
    assert await left(store, "outer") == Amounts(60, 80, 0)
    reservation_id = await held_in(store, "inner", 30, 50)
    assert await left(store, "inner") == Amounts(10, 0, 0)
    assert await left(store, "outer") == Amounts(60, 30, 0)
    refused = (await work_in(store, "inner", 5, 31)).decision
    assert isinstance(refused.denied_by, Budget)
    assert refused.denied_by.subject == "session:outer"
    await settled(store, reservation_id, 25, 20)
    assert (await left(store, "inner"), await left(store, "outer")) == (Amounts(15, 0, 0), Amounts(60, 60, 0))
    assert await taken(store) == (20, 60)


async def test_a_child_cannot_exceed_its_share(store: UsageStore) -> None:
    await given(store, give("outer", tokens=100))
    await given(store, give("inner", parent="outer", tokens=40))
    assert not (await work_in(store, "inner", 41)).decision.allowed
    await held_in(store, "inner", 40)
    assert not (await work_in(store, "inner", 1)).decision.allowed
    assert not (await work_in(store, "outer", 61)).decision.allowed
    assert (await work_in(store, "outer", 60)).decision.allowed


async def test_a_parent_cannot_give_what_it_does_not_have(store: UsageStore) -> None:
    await given(store, give("outer", tokens=100))
    await given(store, give("one", parent="outer", tokens=70))
    refused = (await store.open_budget(give("two", parent="outer", tokens=31))).decision
    assert refused.reason == "session:outer, budget: 30 of 100 tokens left, 31 more asked for."
    await given(store, give("two", parent="outer", tokens=30))


async def test_three_levels_count_once_in_every_session_above(store: UsageStore) -> None:
    for subject in ("user:alice", "global", "session:top", "session:middle", "session:bottom"):
        await store.set_limit(TokenLimit(subject, "tokens", "day", 100))
    await given(store, give("top", tokens=90))
    await given(store, give("middle", parent="top", tokens=60))
    await given(store, give("bottom", parent="middle", tokens=30))

    async def stand() -> dict[str, tuple[int, int]]:
        found = await store.status(Subjects("alice", "", "bottom"))
        return {one.limit.subject: (one.used, one.reserved) for one in found}

    outer = {"user:alice": (0, 90), "global": (0, 90)}
    assert await stand() == outer | {"session:top": (0, 60), "session:middle": (0, 30), "session:bottom": (0, 0)}
    reservation_id = await held_in(store, "bottom", 20)
    assert await stand() == outer | {"session:top": (0, 60), "session:middle": (0, 30), "session:bottom": (0, 20)}
    await settled(store, reservation_id, 12)
    outer = {"user:alice": (12, 78), "global": (12, 78)}
    assert await stand() == outer | {"session:top": (12, 48), "session:middle": (12, 18), "session:bottom": (12, 0)}
    for session, remaining in (("bottom", 18), ("middle", 30), ("top", 30)):
        status = await store.budget("alice", session)
        assert (status.budget.used, status.remaining) == (Amounts(12, 0, 1), Amounts(remaining, 0, 0))
    (event,) = await events_of(store)
    assert (event.session, event.ancestors) == ("bottom", ("top", "middle"))
    # The same from nothing: every limit is set anew, so every counter is rebuilt.
    before = await stand()
    for limit in await store.limits():
        await store.set_limit(limit)
    assert await stand() == before


async def test_usage_without_a_hold_comes_from_the_budget(store: UsageStore) -> None:
    await store.set_limit(DAY)
    await given(store, give("worker", tokens=80))
    assert not (await store.record(used(30, WORKER))).overage
    assert await left(store, "worker") == Amounts(50, 0, 0)
    assert await taken(store) == (30, 50)
    assert (await store.record(used(60, WORKER))).overage
    assert await left(store, "worker") == Amounts(0, 0, 0)
    assert await taken(store) == (90, 0)
    assert (await store.budget("alice", "worker")).budget.used == Amounts(90, 0, 2)


async def test_usage_without_a_hold_within_the_budget_is_never_over(store: UsageStore) -> None:
    await store.set_limit(DAY)
    await given(store, give("worker", tokens=80))
    await store.reserve(hold(20))
    assert not (await store.record(used(80, WORKER))).overage
    assert (await store.record(used(1, WORKER))).overage


async def test_another_user_draws_nothing(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("default", "tokens", "day", 100))
    await given(store, give("worker", tokens=80))
    mallory = Subjects("mallory", "", "worker")
    with pytest.raises(UnknownBudget):
        await store.budget("mallory", "worker")
    with pytest.raises(UnknownBudget):
        await store.close_budget("mallory", "worker")
    theirs = replace(give("mine", parent="worker", tokens=10), subjects=Subjects("mallory", "", "mine"))
    with pytest.raises(UnknownBudget):
        await store.open_budget(theirs)
    assert (await store.reserve(hold(100, mallory))).decision.allowed
    await store.record(used(5, mallory))
    assert await left(store, "worker") == Amounts(80, 0, 0)
    assert await taken(store) == (0, 80)


async def test_another_group_is_refused(store: UsageStore) -> None:
    await given(store, give("worker", group="team", tokens=80))
    for group in ("", "team"):
        assert (await store.reserve(hold(1, Subjects("alice", group, "worker")))).decision.allowed
    with pytest.raises(InvalidInput, match="another group"):
        await store.reserve(hold(1, Subjects("alice", "other", "worker")))
    with pytest.raises(InvalidInput, match="another group"):
        await store.record(used(1, Subjects("alice", "other", "worker")))


async def test_the_same_open_again_is_the_same_answer(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(DAY)
    first = await store.open_budget(give("worker", tokens=80))
    clock.advance(1)
    again = await store.open_budget(give("worker", tokens=80))
    assert (again.budget, again.decision.limits) == (first.budget, first.decision.limits)
    assert await taken(store) == (0, 80)


@pytest.mark.parametrize("other", [give("worker", tokens=81), give("worker", tokens=80, requests=1)])
async def test_another_share_is_refused_while_one_is_open(store: UsageStore, other: object) -> None:
    await given(store, give("worker", tokens=80))
    with pytest.raises(InvalidInput, match="another open budget"):
        await store.open_budget(other)  # type: ignore[arg-type]
    await given(store, give("outer", tokens=80))
    with pytest.raises(InvalidInput, match="another open budget"):
        await store.open_budget(give("worker", parent="outer", tokens=80))
    assert await left(store, "worker") == Amounts(80, 0, 0)


async def test_budgets_stand_at_most_so_deep(store: UsageStore) -> None:
    parent = ""
    for depth in range(MAX_DEPTH):
        await given(store, give(f"s{depth}", parent=parent, tokens=100 - depth))
        parent = f"s{depth}"
    with pytest.raises(InvalidInput, match=f"at most {MAX_DEPTH} budgets"):
        await store.open_budget(give("deeper", parent=parent, tokens=1))
    await settled(store, await held_in(store, parent, 5), 5)
    assert (await store.budget("alice", "s0")).budget.used == Amounts(5, 0, 1)


async def test_a_session_cannot_be_its_own_ancestor(store: UsageStore) -> None:
    await given(store, give("a", tokens=100))
    await given(store, give("b", parent="a", tokens=50))
    await store.close_budget("alice", "a")
    with pytest.raises(InvalidInput, match="cannot draw on itself"):
        await store.open_budget(give("a", parent="b", tokens=10))


async def test_a_budget_needs_a_session_and_a_known_parent(store: UsageStore) -> None:
    with pytest.raises(InvalidInput, match="session"):
        await store.open_budget(give("", tokens=10))
    with pytest.raises(UnknownBudget, match="'nobody'"):
        await store.open_budget(give("worker", parent="nobody", tokens=10))
    with pytest.raises(UnknownBudget):
        await store.open_budget(give("worker", parent="worker", tokens=10))
    assert await store.expire() == 0


@pytest.mark.parametrize("share", [{}, {"tokens": 0}, {"tokens": -1}, {"cost_nano": 2**60}, {"requests": 1.5}])
def test_a_share_is_something_and_in_range(share: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        Share(**share)


async def test_a_cost_budget_needs_a_known_cost_to_hold_and_none_to_record(store: UsageStore) -> None:
    await given(store, give("worker", cost_nano=50))
    with pytest.raises(InvalidInput, match=r"cost budget applies \(session:worker, budget\)"):
        await work_in(store, "worker", 5, None)
    assert not (await store.record(used(5, WORKER, cost_nano=None))).overage
    reservation_id = await held_in(store, "worker", 5, 30)
    await settled(store, reservation_id, 5, None)
    assert await left(store, "worker") == Amounts(0, 50, 0)
    assert (await store.budget("alice", "worker")).budget.used == Amounts(10, 0, 2)


async def test_a_cost_budget_opened_after_an_unpriced_hold(store: UsageStore) -> None:
    await given(store, give("outer", tokens=50))
    reservation_id = await held_in(store, "outer", 5, None)
    await store.close_budget("alice", "outer")
    await given(store, give("outer", cost_nano=50))
    await settled(store, reservation_id, 5, 40)
    assert await left(store, "outer") == Amounts(0, 50, 0)


async def test_the_same_key_draws_once(store: UsageStore, clock: FakeClock) -> None:
    await given(store, give("worker", tokens=80, ttl_us=DAY_US))
    first = await store.reserve(hold(30, WORKER, key="k"))
    assert (await store.reserve(hold(30, WORKER, key="k"))).reservation_id == first.reservation_id
    assert await left(store, "worker") == Amounts(50, 0, 0)
    record = used(20, None, str(first.reservation_id), key="r")
    await store.record(record)
    assert (await store.record(record)).duplicate
    assert (await store.record(used(20, WORKER, key="r"))).duplicate
    assert await left(store, "worker") == Amounts(60, 0, 0)
    clock.advance(600)
    assert await left(store, "worker") == Amounts(60, 0, 0)


async def test_a_budgets_own_hold_is_nobodys_to_settle_or_release(store: UsageStore) -> None:
    budget_id = await given(store, give("worker", tokens=80))
    for _ in range(2):
        with pytest.raises(UnknownReservation):
            await store.release(budget_id)
        with pytest.raises(UnknownReservation):
            await settled(store, budget_id, 5)
        await store.close_budget("alice", "worker")
    assert await events_of(store) == []


async def test_a_budget_whose_bucket_has_left_the_window_is_checked_again(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "minute", 100))
    await given(store, give("worker", tokens=80, ttl_us=DAY_US))
    clock.advance(70)
    assert await taken(store) == (0, 0)
    await store.record(used(90))
    refused = (await work_in(store, "worker", 11)).decision
    assert refused.denied_by == TokenLimit("user:alice", "tokens", "minute", 100)
    assert refused.retry_after_seconds == 70
    await held_in(store, "worker", 10)
    assert await taken(store) == (90, 10)
    assert await left(store, "worker") == Amounts(70, 0, 0)
    clock.advance(70)
    await held_in(store, "worker", 70)
    assert await taken(store) == (0, 70)


async def test_a_limit_set_later_counts_budgets_and_their_work(store: UsageStore) -> None:
    await given(store, give("outer", group="team", tokens=80))
    await given(store, give("inner", parent="outer", tokens=50))
    await settled(store, await held_in(store, "inner", 10), 10)
    await held_in(store, "inner", 5)
    await held_in(store, "outer", 7)
    for subject, counted in (
        ("user:alice", (10, 70)),
        ("group:team", (10, 70)),
        ("global", (10, 70)),
        ("session:outer", (10, 47)),
        ("session:inner", (10, 5)),
    ):
        limit = TokenLimit(subject, "tokens", "month", 1_000, "calendar")
        await store.set_limit(limit)
        rows = await store.status(Subjects("alice", "", "inner"))
        (row,) = [one for one in rows if one.limit == limit]
        assert (row.used, row.reserved) == counted


async def test_many_at_once_never_pass_the_budget(store: UsageStore) -> None:
    await store.set_limit(DAY)
    await given(store, give("outer", tokens=100))
    await given(store, give("inner", parent="outer", tokens=50))
    allowed: list[str] = []

    async def ask(session: str) -> None:
        outcome = await work_in(store, session, 7)
        if outcome.decision.allowed:
            allowed.append(session)

    async with anyio.create_task_group() as group:
        for index in range(40):
            group.start_soon(ask, ("inner", "outer")[index % 2])
    assert (allowed.count("inner"), allowed.count("outer")) == (7, 7)
    assert await taken(store) == (0, 100)


async def test_nothing_is_read_from_a_session_without_a_budget(store: UsageStore) -> None:
    with pytest.raises(UnknownBudget):
        await store.budget("alice", "worker")
    with pytest.raises(UnknownBudget):
        await store.close_budget("alice", "worker")
    with pytest.raises(UnknownReservation):
        await store.extend("nothing", MINUTE_US)
    assert (await work_in(store, "worker", 10**9)).decision.allowed
    assert (await store.status(ALICE), NOTHING) == ((), NOTHING)
