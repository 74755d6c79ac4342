"""A store that answers what a test tells it to, and remembers what it was asked."""

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

from tokenward.engine.budget import BudgetStatus
from tokenward.engine.counting.calibration import Sample
from tokenward.engine.errors import StoreError
from tokenward.engine.limits import LimitQuery, Subjects, TokenLimit
from tokenward.engine.quota import Decision, LimitStatus
from tokenward.engine.usage import UsageEvent, UsageQuery, UsageSum
from tokenward.storage.base import (
    Added,
    HourlyUsage,
    OpenBudget,
    OpenOutcome,
    Record,
    RecordOutcome,
    ReleaseOutcome,
    Repricing,
    Reserve,
    ReserveOutcome,
)
from tokenward.storage.status import StoreStatus

T = TypeVar("T")


class ScriptedStore:
    """A :class:`~tokenward.storage.base.UsageStore` without a ledger.

    Attributes:
        fault: Raised by every operation while it is set.
        outcomes: Answers to the next records; when they run out, each event is recorded as it was sent.
        reserved: The answer to every question.
        opened: The answer to opening a budget.
        status_of_budget: The answer to reading and closing a budget.
        samples_remembered: What it says counts were worth.
    """

    def __init__(self) -> None:
        self.fault: StoreError | None = None
        self.connected = False
        self.records: list[Record] = []
        self.reserves: list[Reserve] = []
        self.opens: list[OpenBudget] = []
        self.budgets_asked: list[tuple[str, str]] = []
        self.outcomes: list[RecordOutcome] = []
        self.reserved = ReserveOutcome(Decision(True, ()))
        self.opened: OpenOutcome | None = None
        self.status_of_budget: BudgetStatus | None = None
        self.samples_remembered: list[Sample] = []

    async def __aenter__(self) -> Self:
        self._check()
        self.connected = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connected = False

    def _check(self) -> None:
        if self.fault is not None:
            raise self.fault

    @property
    def waiting(self) -> int:
        return 0

    async def holds(self) -> int:
        self._check()
        return 0

    async def reserve(self, request: Reserve) -> ReserveOutcome:
        self._check()
        self.reserves.append(request)
        return self.reserved

    async def record(self, request: Record) -> RecordOutcome:
        self._check()
        self.records.append(request)
        if self.outcomes:
            return self.outcomes.pop(0)
        return RecordOutcome(request.event_id, request.user, request.cost_nano, overage=False)

    async def samples(self) -> list[Sample]:
        self._check()
        return list(self.samples_remembered)

    async def record_many(self, requests: Sequence[Record]) -> list[RecordOutcome]:
        return [await self.record(one) for one in requests]

    async def open_budget(self, request: OpenBudget) -> OpenOutcome:
        self._check()
        self.opens.append(request)
        return given(self.opened)

    async def close_budget(self, user: str, session: str) -> BudgetStatus:
        return await self.budget(user, session)

    async def budget(self, user: str, session: str) -> BudgetStatus:
        self._check()
        self.budgets_asked.append((user, session))
        return given(self.status_of_budget)

    async def limits(self, subject: str | None = None) -> list[TokenLimit]:
        self._check()
        return []

    async def limits_page(self, query: LimitQuery) -> list[TokenLimit]:
        raise NotImplementedError

    async def release(self, reservation_id: str, user: str = "") -> ReleaseOutcome:
        raise NotImplementedError

    async def extend(self, reservation_id: str, ttl_us: int, user: str = "") -> int:
        raise NotImplementedError

    async def expire(self) -> int:
        raise NotImplementedError

    async def status(self, subjects: Subjects) -> tuple[LimitStatus, ...]:
        raise NotImplementedError

    async def set_limit(self, limit: TokenLimit) -> None:
        raise NotImplementedError

    async def delete_limit(self, subject: str, metric: str, window: str) -> bool:
        raise NotImplementedError

    async def usage(self, query: UsageQuery) -> list[UsageSum]:
        raise NotImplementedError

    async def usage_many(self, queries: Sequence[UsageQuery]) -> list[list[UsageSum]]:
        raise NotImplementedError

    async def claim_session(self, user: str, session: str) -> bool:
        raise NotImplementedError

    async def claim_alert(self, subject: str, metric: str, window: str, window_start_us: int, percent: int) -> bool:
        raise NotImplementedError

    async def cursor_key(self) -> bytes:
        raise NotImplementedError

    def events(self, start_us: int, end_us: int, user: str | None = None) -> AsyncIterator[UsageEvent]:
        raise NotImplementedError

    def hourly(self, end_us: int) -> AsyncIterator[HourlyUsage]:
        raise NotImplementedError

    async def add_hourly(self, lines: Sequence[HourlyUsage]) -> int:
        raise NotImplementedError

    async def add_events(self, events: Sequence[UsageEvent]) -> Added:
        raise NotImplementedError

    async def reprice(self, changes: Sequence[Repricing]) -> int:
        raise NotImplementedError

    async def prune(self, before_us: int) -> int:
        raise NotImplementedError

    async def pruned_before_us(self) -> int:
        raise NotImplementedError

    async def is_current(self) -> bool:
        raise NotImplementedError

    async def describe(self) -> StoreStatus:
        raise NotImplementedError


def given(answer: T | None) -> T:
    """What the test has said; it must have."""
    assert answer is not None
    return answer
