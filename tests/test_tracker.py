"""The tracker before a scripted store: what it sends, how it reads the answers, and what it makes of errors."""

from dataclasses import replace
from typing import Self

import anyio
import pytest

from tests.conftest import FakeClock
from tests.scripted_store import ScriptedStore
from tokenward import (
    BudgetAmounts,
    BudgetAnswer,
    BudgetRequest,
    QuotaCheck,
    QuotaRequest,
    RecordRequest,
    TokenUsage,
    UsageReceipt,
)
from tokenward.engine.budget import Budget, BudgetStatus, Share
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.errors import InvalidInput, StoreOverloaded, StoreUnavailable
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.quota import Decision, Policy
from tokenward.engine.types import DAY_US, MINUTE_US, SECOND_US
from tokenward.storage.base import OpenOutcome, Record, RecordOutcome, ReserveOutcome
from tokenward.tracker import UsageTracker

pytestmark = pytest.mark.anyio

USAGE = TokenUsage(1_000, 100)
EVENT = RecordRequest(model="gpt-4o", usage=USAGE)


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
def tracker(store: ScriptedStore, clock: FakeClock) -> UsageTracker:
    return made_tracker(store, clock)


def made_tracker(
    store: ScriptedStore,
    clock: FakeClock,
    *,
    fail_open: bool = False,
    policy: Policy | None = None,
) -> UsageTracker:
    return UsageTracker(
        store,
        counter=TokenCounter(),
        calculator=CostCalculator(clock=clock),
        clock=clock,
        default_user="alice",
        fail_open=fail_open,
        policy=policy,
    )


async def test_an_event_is_sent_as_it_was_reported(
    store: ScriptedStore, tracker: UsageTracker, clock: FakeClock
) -> None:
    at_us = clock() - DAY_US
    await tracker.record_usage(
        RecordRequest(
            model="gpt-4o",
            usage=USAGE,
            user="bob",
            group="team",
            session="s1",
            endpoint="chat",
            tier="batch",
            priority="low",
            reservation_id="r1",
            idempotency_key="k1",
            at_us=at_us,
        )
    )
    cost = CostCalculator(clock=clock).calculate_cost(USAGE, "gpt-4o", tier="batch", at_us=at_us)
    assert store.records == [
        Record(
            model="gpt-4o",
            usage=USAGE,
            cost_nano=cost.total_nano,
            user="bob",
            group="team",
            session="s1",
            price_source=cost.price_source,
            tier="batch",
            endpoint="chat",
            priority="low",
            reservation_id="r1",
            at_us=at_us,
            key="k1",
        )
    ]


async def test_a_tier_changes_the_price_and_without_a_price_the_cost_is_unknown(tracker: UsageTracker) -> None:
    standard = await tracker.record_usage(EVENT)
    batch = await tracker.record_usage(replace(EVENT, tier="batch"))
    assert standard.cost_nano is not None
    assert batch.cost_nano == standard.cost_nano // 2
    claude = await tracker.record_usage(replace(EVENT, model="claude-sonnet-4-5", tier="flex"))
    assert claude.cost_nano is None
    assert any("no flex price" in one for one in claude.warnings)


async def test_the_makers_price_for_a_host_that_is_not_known_comes_with_a_warning(tracker: UsageTracker) -> None:
    receipt = await tracker.record_usage(replace(EVENT, model="acme/gpt-4o"))
    assert receipt.cost_nano is not None
    assert "No prices of 'acme' are known" in receipt.warnings[0]
    assert (await tracker.record_usage(replace(EVENT, model="azure/gpt-4o"))).warnings == ()


async def test_a_reservation_says_whose_usage_it_is(store: ScriptedStore, tracker: UsageTracker) -> None:
    await tracker.record_usage(replace(EVENT, reservation_id="r1"))
    await tracker.record_usage(EVENT)
    assert [one.user for one in store.records] == ["", "alice"]


BAD_EVENTS = [
    (replace(EVENT, model=""), "model"),
    (replace(EVENT, user=""), "user"),
    (replace(EVENT, group="a\nb"), "group"),
    (replace(EVENT, session=" s"), "session"),
    (replace(EVENT, endpoint="x" * 201), "endpoint"),
    (replace(EVENT, tier="cheap"), "tier"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    (replace(EVENT, priority="urgent"), "priority"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    (replace(EVENT, reservation_id=""), "reservation_id"),
    (replace(EVENT, idempotency_key=""), "idempotency_key"),
    (replace(EVENT, at_us=-1), "at"),
    (replace(EVENT, at_us=2**62), "at"),
]


@pytest.mark.parametrize(("request_", "field"), BAD_EVENTS)
async def test_a_wrong_event_is_refused_by_field_before_the_store_is_asked(
    store: ScriptedStore, tracker: UsageTracker, request_: RecordRequest, field: str
) -> None:
    with pytest.raises(InvalidInput) as error:
        await tracker.record_usage(request_)
    assert error.value.field == field
    with pytest.raises(InvalidInput) as error:
        await tracker.record_many([EVENT, EVENT, EVENT, request_, EVENT])
    assert error.value.field == f"requests[3].{field}"
    assert str(error.value).count(field) >= 1
    assert str(error.value).startswith(f"requests[3].{field}: ")
    assert store.records == []
    assert not store.connected


@pytest.mark.parametrize(
    ("days", "warned"), [(-31.5, True), (-31, False), (-1, False), (0, False), (5 / 24 / 60, False)]
)
async def test_an_event_older_than_every_window_is_said_to_count_under_no_limit(
    tracker: UsageTracker, clock: FakeClock, days: float, warned: bool
) -> None:
    receipt = await tracker.record_usage(replace(EVENT, at_us=clock() + round(days * DAY_US)))
    assert any("under no current limit" in one for one in receipt.warnings) is warned


async def test_a_settled_hold_counts_where_it_was_given_whatever_the_event_says(
    tracker: UsageTracker, clock: FakeClock
) -> None:
    old = replace(EVENT, at_us=clock() - 100 * DAY_US, reservation_id="r1")
    assert (await tracker.record_usage(old)).warnings == ()


async def test_the_future_is_refused_beyond_five_minutes(tracker: UsageTracker, clock: FakeClock) -> None:
    await tracker.record_usage(replace(EVENT, at_us=clock() + 5 * MINUTE_US))
    with pytest.raises(InvalidInput, match="not in the future"):
        await tracker.record_usage(replace(EVENT, at_us=clock() + 5 * MINUTE_US + 1))


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (replace(EVENT, idempotency_key="k"), "idempotency key reused with other content"),
        (replace(EVENT, reservation_id="r"), "reservation reused with other content"),
    ],
)
async def test_a_key_reused_with_other_content_says_which_event_stands(
    store: ScriptedStore, tracker: UsageTracker, request_: RecordRequest, what: str
) -> None:
    store.outcomes = [RecordOutcome("first", "alice", 7, overage=False, duplicate=True, differs=True)]
    receipt = await tracker.record_usage(request_)
    assert (receipt.recorded, receipt.duplicate, receipt.event_id, receipt.cost_nano) == (False, True, "first", 7)
    (warning,) = receipt.warnings
    assert warning.startswith(what)
    assert "event first stands" in warning


@pytest.mark.parametrize(
    ("request_", "what"),
    [(EVENT, "name it as reservation_id next time"), (replace(EVENT, reservation_id="r"), "more than its reservation")],
)
async def test_overage_comes_with_what_to_do(
    store: ScriptedStore, tracker: UsageTracker, request_: RecordRequest, what: str
) -> None:
    over = RecordOutcome("first", "alice", 7, overage=True)
    store.outcomes = [over, replace(over, duplicate=True)]
    (warning,) = (await tracker.record_usage(request_)).warnings
    assert warning.startswith("overage: ")
    assert what in warning
    assert (await tracker.record_usage(request_)).warnings == ()


async def test_many_events_get_their_receipts_in_order(store: ScriptedStore, tracker: UsageTracker) -> None:
    requests = [
        replace(EVENT, user=f"user-{number}", model=("gpt-4o", "my-own-model")[number % 2]) for number in range(10)
    ]
    receipts = await tracker.record_many(requests)
    assert [one.user for one in receipts] == [one.user for one in requests]
    assert [bool(one.warnings) for one in receipts] == [False, True] * 5
    assert await tracker.record_many([]) == []


async def test_many_and_one_by_one_give_the_same(clock: FakeClock) -> None:
    requests = [
        EVENT,
        replace(EVENT, tier="batch", at_us=clock() - 40 * DAY_US),
        replace(EVENT, model="my-own-model", idempotency_key="k"),
        replace(EVENT, reservation_id="r"),
    ]
    together, alone = ScriptedStore(), ScriptedStore()
    tracker = made_tracker(alone, clock)
    singles: list[UsageReceipt] = [await tracker.record_usage(one) for one in requests]
    assert await made_tracker(together, clock).record_many(requests) == singles
    assert together.records == alone.records


async def test_a_store_that_is_down_says_to_send_the_event_again(store: ScriptedStore, tracker: UsageTracker) -> None:
    store.fault = StoreUnavailable("The disk is full. Nothing was changed; try again.", lasting=True)
    for call in (tracker.record_usage(EVENT), tracker.record_many([EVENT])):
        with pytest.raises(StoreUnavailable, match="disk is full") as error:
            await call
        assert str(error.value).startswith("The disk is full. Nothing was acknowledged; send it again with the same")
        assert "same idempotency_key" in str(error.value)
        assert error.value.lasting


async def test_an_overloaded_store_says_so_itself(store: ScriptedStore, tracker: UsageTracker) -> None:
    store.fault = StoreOverloaded(10_000)
    with pytest.raises(StoreOverloaded, match="overloaded"):
        await tracker.record_usage(EVENT)


@pytest.mark.parametrize("fault", [StoreUnavailable("The disk is full."), StoreOverloaded(10_000)])
async def test_failing_open_allows_questions_and_holds_nothing(
    store: ScriptedStore, clock: FakeClock, fault: StoreUnavailable
) -> None:
    store.fault = fault
    closed = made_tracker(store, clock)
    with pytest.raises(type(fault)):
        await closed.check_quota(QuotaRequest(tokens=1))
    opened = made_tracker(store, clock, fail_open=True)
    check = await opened.check_quota(QuotaRequest(tokens=1))
    assert check.allowed
    assert check.warnings == (f"Not checked: {fault}",)
    with pytest.raises(type(fault)):
        await opened.check_quota(QuotaRequest(tokens=1, reserve=True))
    with pytest.raises(type(fault)):
        await opened.open_budget(BudgetRequest(session="s", tokens=1))


async def test_the_policy_travels_with_each_request(store: ScriptedStore, clock: FakeClock) -> None:
    policy = Policy({"low": 80, "normal": 95, "high": 100})
    tracker = made_tracker(store, clock, policy=policy)
    await tracker.check_quota(QuotaRequest(tokens=1, priority="low"))
    store.opened = OpenOutcome(Decision(False, ()))
    await tracker.open_budget(BudgetRequest(session="s", tokens=1))
    assert [one.policy for one in store.reserves] == [policy]
    assert [one.policy for one in store.opens] == [policy]


async def test_a_question_with_an_unknown_priority_is_refused(tracker: UsageTracker) -> None:
    wrong = QuotaRequest(tokens=1, priority="hihg")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidInput, match="Did you mean 'high'"):
        await tracker.check_quota(wrong)


async def test_a_held_key_with_other_content_is_said(store: ScriptedStore, tracker: UsageTracker) -> None:
    store.reserved = ReserveOutcome(Decision(True, ()), "r1", 5, differs=True)
    check = await tracker.check_quota(QuotaRequest(tokens=9, reserve=True, idempotency_key="k"))
    assert check.reservation_id == "r1"
    assert any(one.startswith("idempotency key reused with other content") for one in check.warnings)


OPEN = BudgetStatus(
    Budget(
        "b1",
        Subjects("alice", "team", "child"),
        ("b0", "b1"),
        Share(tokens=1_000, cost_nano=2_500_000_000),
        Amounts(200, 10_000_000, 3),
        opened_us=1,
        expires_us=9,
    ),
    Amounts(750, 2_000_000_000, 0),
    "main",
)


async def test_a_budget_is_asked_for_and_answered_in_money_as_text(store: ScriptedStore, tracker: UsageTracker) -> None:
    store.opened = OpenOutcome(Decision(True, (), warnings=("nearly",)), OPEN)
    given = await tracker.open_budget(
        BudgetRequest(session="child", group="team", parent="main", tokens=1_000, cost="2.50", ttl_seconds=60)
    )
    (ask,) = store.opens
    assert (ask.subjects, ask.parent, ask.ttl_us) == (Subjects("alice", "team", "child"), "main", 60 * SECOND_US)
    assert ask.share == Share(tokens=1_000, cost_nano=2_500_000_000)
    assert given == BudgetAnswer(
        allowed=True,
        user="alice",
        session="child",
        parent="main",
        given=BudgetAmounts(1_000, "2.50", None),
        used=BudgetAmounts(200, "0.01", None),
        remaining=BudgetAmounts(750, "2.00", None),
        expires_us=9,
        budget_id="b1",
        warnings=("nearly",),
    )


@pytest.mark.parametrize(
    "by", [OPEN.budget, TokenLimit("user:alice", "tokens", "day", 5)], ids=["parent's budget", "limit"]
)
async def test_a_budget_that_does_not_fit_is_an_answer(
    store: ScriptedStore, tracker: UsageTracker, by: Budget | TokenLimit
) -> None:
    store.opened = OpenOutcome(Decision(False, (), by, "Too much.", 30, ("nearly",)))
    answer = await tracker.open_budget(BudgetRequest(session="child", user="bob", requests=7))
    assert answer == BudgetAnswer(
        allowed=False,
        user="bob",
        session="child",
        parent=None,
        given=BudgetAmounts(None, None, 7),
        denied_by=by.label,
        reason="Too much.",
        retry_after_seconds=30,
        warnings=("nearly",),
    )


async def test_budgets_are_read_and_closed_by_user_and_session(store: ScriptedStore, tracker: UsageTracker) -> None:
    store.status_of_budget = OPEN
    assert (await tracker.budget("child")).ended_us is None
    store.status_of_budget = replace(OPEN, budget=replace(OPEN.budget, ended_us=5), parent="")
    closed = await tracker.close_budget("child", "bob")
    assert (closed.ended_us, closed.parent, closed.remaining.tokens) == (5, None, 750)
    assert store.budgets_asked == [("alice", "child"), ("bob", "child")]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (BudgetRequest(session="", tokens=1), "session"),
        (BudgetRequest(session="s", user="", tokens=1), "user"),
        (BudgetRequest(session="s", group="a\nb", tokens=1), "group"),
        (BudgetRequest(session="s", parent="", tokens=1), "parent"),
        (BudgetRequest(session="s"), "tokens"),
        (BudgetRequest(session="s", tokens=-1), "tokens"),
        (BudgetRequest(session="s", requests=2**63), "requests"),
        (BudgetRequest(session="s", cost="-1"), "cost"),
        (BudgetRequest(session="s", cost="NaN"), "cost"),
        (BudgetRequest(session="s", cost="1e3"), "cost"),
        (BudgetRequest(session="s", cost="9999999999"), "cost"),
        (BudgetRequest(session="s", tokens=1, ttl_seconds=0), "ttl_seconds"),
        (BudgetRequest(session="s", tokens=1, ttl_seconds=86_401), "ttl_seconds"),
    ],
)
async def test_bad_budget_requests_name_the_field(
    store: ScriptedStore, tracker: UsageTracker, request_: BudgetRequest, field: str
) -> None:
    with pytest.raises(InvalidInput) as error:
        await tracker.open_budget(request_)
    assert error.value.field == field
    assert str(error.value).count(f"{field}: ") == 1
    assert not store.connected


@pytest.mark.parametrize("session", ["", "a\nb"])
async def test_a_budget_has_a_name(tracker: UsageTracker, session: str) -> None:
    for call in (tracker.budget(session), tracker.close_budget(session)):
        with pytest.raises(InvalidInput, match="session: "):
            await call


class SlowStore(ScriptedStore):
    """Connects when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = 0
        self.gate = anyio.Event()

    async def __aenter__(self) -> Self:
        self.tries += 1
        await self.gate.wait()
        return await super().__aenter__()


async def test_who_waited_for_a_connection_that_failed_shares_the_failure(clock: FakeClock) -> None:
    store = SlowStore()
    store.fault = StoreUnavailable("The store is down.")
    tracker = made_tracker(store, clock, fail_open=True)
    answers: list[QuotaCheck] = []

    async def ask() -> None:
        answers.append(await tracker.check_quota(QuotaRequest(tokens=1)))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        store.gate.set()
    assert store.tries == 1
    assert [(one.allowed, len(one.warnings)) for one in answers] == [(True, 1)] * 20
    store.fault = None
    assert (await tracker.check_quota(QuotaRequest(tokens=1))).warnings == ()


async def test_connecting_goes_on_when_who_asked_for_it_leaves(clock: FakeClock) -> None:
    """A probe that waits five seconds would else undo a longer upgrade again and again."""
    store = SlowStore()
    tracker = made_tracker(store, clock)
    for _ in range(3):
        async with anyio.create_task_group() as group:
            group.start_soon(tracker.ledger)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    store.gate.set()
    assert await tracker.ledger() is store
    assert store.tries == 1
    await tracker.aclose()
    assert not store.connected


@pytest.mark.parametrize("first", ["leaves", "closes"])
async def test_closing_ends_connecting_for_which_nobody_waits(clock: FakeClock, first: str) -> None:
    store = SlowStore()
    tracker = made_tracker(store, clock)
    async with anyio.create_task_group() as closing, anyio.create_task_group() as asking:
        asking.start_soon(tracker.ledger)
        await anyio.wait_all_tasks_blocked()
        if first == "closes":
            closing.start_soon(tracker.aclose)
            await anyio.wait_all_tasks_blocked()
        asking.cancel_scope.cancel()
    await tracker.aclose()
    assert not store.connected
    with pytest.raises(StoreUnavailable, match="closed"):
        await tracker.ledger()


async def test_closing_waits_for_a_first_call_that_is_connecting_and_refuses_later_ones(clock: FakeClock) -> None:
    store = SlowStore()
    tracker = made_tracker(store, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(tracker.check_quota, QuotaRequest(tokens=1))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(tracker.aclose)
        await anyio.wait_all_tasks_blocked()
        store.gate.set()
    assert not store.connected
    unused = made_tracker(ScriptedStore(), clock)
    await unused.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await unused.check_quota(QuotaRequest(tokens=1))
