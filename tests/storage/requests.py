"""Short ways for tests to say what is asked of a store."""

from dataclasses import replace

from tokenward.engine.budget import Share
from tokenward.engine.limits import Amounts, Subjects
from tokenward.engine.types import SECOND_US
from tokenward.engine.usage import TokenUsage
from tokenward.storage.base import OpenBudget, Record, RecordOutcome, Reserve, ReserveOutcome, UsageStore

ALICE = Subjects("alice")
TTL_US = 600 * SECOND_US


def hold(tokens: int, subjects: Subjects = ALICE, cost_nano: int | None = 0, key: str = "") -> Reserve:
    return Reserve(subjects=subjects, amounts=Amounts(tokens, cost_nano), ttl_us=TTL_US, key=key)


def used(
    tokens: int,
    subjects: Subjects | None = ALICE,
    reservation_id: str = "",
    key: str = "",
    cost_nano: int | None = 0,
    event_id: str = "",
) -> Record:
    return Record(
        user=subjects.user if subjects else "",
        group=subjects.group if subjects else "",
        session=subjects.session if subjects else "",
        model="gpt-4o",
        usage=TokenUsage(tokens, 0),
        cost_nano=cost_nano,
        reservation_id=reservation_id,
        key=key,
        event_id=event_id,
    )


async def taken(store: UsageStore, subjects: Subjects = ALICE) -> tuple[int, int]:
    """(used, reserved) of the subjects' first limit."""
    (first, *_) = await store.status(subjects)
    return first.used, first.reserved


def give(session: str, *, parent: str = "", group: str = "", ttl_us: int = TTL_US, **share: int) -> OpenBudget:
    """A share for one of alice's sessions, as in ``give("worker", tokens=50)``."""
    return OpenBudget(subjects=Subjects("alice", group, session), share=Share(**share), parent=parent, ttl_us=ttl_us)


async def given(store: UsageStore, request: OpenBudget) -> str:
    """Open a budget that fits; its id."""
    outcome = await store.open_budget(request)
    assert outcome.decision.allowed
    assert outcome.budget is not None
    return outcome.budget.budget.budget_id


async def left(store: UsageStore, session: str, user: str = "alice") -> Amounts:
    """What remains of a session's open budget."""
    return (await store.budget(user, session)).remaining


async def work_in(store: UsageStore, session: str, tokens: int, cost_nano: int | None = 0) -> ReserveOutcome:
    """Ask for a hold in one of alice's sessions."""
    return await store.reserve(hold(tokens, Subjects("alice", "", session), cost_nano))


async def held_in(store: UsageStore, session: str, tokens: int, cost_nano: int | None = 0) -> str:
    """A hold in one of alice's sessions, which fits; its id."""
    outcome = await work_in(store, session, tokens, cost_nano)
    assert outcome.decision.allowed
    return str(outcome.reservation_id)


async def settled(store: UsageStore, reservation_id: str, tokens: int, cost_nano: int | None = 0) -> RecordOutcome:
    """Record what was used in place of a hold."""
    return await store.record(used(tokens, None, reservation_id, cost_nano=cost_nano))


def unheld(request: Reserve) -> Reserve:
    """The same question, holding nothing."""
    return replace(request, ttl_us=None)
