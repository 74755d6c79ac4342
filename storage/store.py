"""LedgerStore: the store as the service sees it, over any database that offers the ledger's transactions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from secrets import token_hex
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import anyio

from tokenward.engine.budget import BudgetStatus
from tokenward.engine.counting.calibration import MAX_MODELS, WINDOW, Sample
from tokenward.engine.errors import StoreUnavailable
from tokenward.engine.limits import LimitQuery, Subjects, TokenLimit
from tokenward.engine.quota import LimitStatus
from tokenward.engine.types import QUARTER_HOUR_US, NewId
from tokenward.engine.usage import UsageEvent, UsageQuery, UsageSum
from tokenward.storage.base import (
    Added,
    CloseBudget,
    Expire,
    Extend,
    HourlyUsage,
    OpenBudget,
    OpenOutcome,
    Operation,
    ReadBudget,
    Record,
    RecordMany,
    RecordOutcome,
    Release,
    ReleaseOutcome,
    Repricing,
    Reserve,
    ReserveOutcome,
    Status,
)
from tokenward.storage.books import KnownLimits
from tokenward.storage.checks import check, check_texts
from tokenward.storage.claims import ClaimAlert, ClaimSession
from tokenward.storage.group_commit import MAX_BATCH, MAX_WAITING, Batch, CommitMeter, GroupCommit, Patience
from tokenward.storage.operations import attempt, open_books
from tokenward.storage.status import StoreStatus
from tokenward.storage.transaction import Maintenance, Moved, Transaction

_BULK = 10_000
"""Events in one transaction of a bulk recording."""

_PAGE = 1_000

_CURSOR_KEY, _KEY_BYTES = "cursor", 32

_MOVES = 20
"""How often a batch starts anew because what it touches moved before it was locked."""

_Outcome = TypeVar("_Outcome")


class Database(Protocol):
    """A database that can hold the ledger.

    Raises (every operation):
        StoreUnavailable: It cannot be reached or written.
    """

    async def connect(self) -> None:
        """Connect, and bring the schema up to date. Raises SchemaTooNew."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """One transaction: committed at the end, undone by an exception."""
        ...

    def maintenance(self) -> AbstractAsyncContextManager[Maintenance]:
        """A transaction that changes what others rely on: nobody else is in one meanwhile."""
        ...

    async def limits(self, query: LimitQuery) -> list[TokenLimit]:
        """Limits in their order."""
        ...

    async def usage(self, queries: Sequence[UsageQuery]) -> list[list[UsageSum]]:
        """Sums over the ledger, by key, all from one snapshot."""
        ...

    async def secret(self, name: str) -> str | None:
        """What was kept of the ledger under a name."""
        ...

    async def samples(self, models: int, each: int) -> list[Sample]:
        """The latest events of each model that were counted, oldest first."""
        ...

    async def events_page(self, after: tuple[int, str], end_us: int, size: int, user: str | None) -> list[UsageEvent]:
        """The next events after (timestamp, id), oldest first, of one user or of all."""
        ...

    async def hourly_page(self, after: HourlyUsage | None, end_us: int, size: int) -> list[HourlyUsage]:
        """The rollup's next lines."""
        ...

    async def pruned_before_us(self) -> int:
        """The moment before which events were pruned; 0 when none were."""
        ...

    async def holds(self) -> int:
        """How many holds have not ended."""
        ...

    async def is_current(self) -> bool:
        """Whether its schema is the one that is known."""
        ...

    async def describe(self) -> StoreStatus:
        """What the database holds."""
        ...


class LedgerStore:
    """A :class:`~tokenward.storage.base.UsageStore` over a database.

    Args:
        database: Where the ledger is.
        new_id: Names reservations, events and batches.
        patience: How long operations are tried again while the database cannot be reached.
        max_waiting: Most operations that wait; more are refused with StoreOverloaded.
        max_batch: Most operations in one transaction; 1 gives each its own.
        meter: Is told what the queue does; nobody if ``None``.
    """

    def __init__(
        self,
        database: Database,
        *,
        new_id: NewId,
        patience: Patience | None = None,
        max_waiting: int = MAX_WAITING,
        max_batch: int = MAX_BATCH,
        meter: CommitMeter | None = None,
    ) -> None:
        self._database = database
        self._new_id = new_id
        self._known = KnownLimits()
        self._commits = GroupCommit(
            self._commit, new_id=new_id, patience=patience, max_waiting=max_waiting, max_batch=max_batch, meter=meter
        )
        self._opened = False
        self._cursor_key: str | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        await self._database.connect()
        self._commits.open()
        self._opened = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            self._opened = False
            await self._commits.close()
            loop = asyncio.get_running_loop()
            if unfinished := [task for task in self._tasks if task.get_loop() is loop]:
                await asyncio.wait(unfinished)
            await self._database.close()

    async def _commit(self, batch: Batch) -> Sequence[object]:
        """Do a batch in one transaction, and again from the start if what it touches moved."""
        for _ in range(_MOVES):
            try:
                return await self._commit_once(batch)
            except Moved:
                continue
        raise StoreUnavailable("The ledger's budgets change faster than they can be read. Try again.")

    async def _commit_once(self, batch: Batch) -> Sequence[object]:
        again = batch.tried
        async with self._database.transaction() as tx:
            if again and not await tx.mark(batch.batch_id) and batch.outcomes is not None:
                return batch.outcomes
            books = await open_books(tx, batch.operations, self._known)
            outcomes = [await attempt(tx, books, one, self._new_id) for one in batch.operations]
            if again or books.changes:
                batch.outcomes, batch.tried = outcomes, True
            if books.changes:
                await tx.write(books.changes, books.now_us, "" if again else batch.batch_id)
        return outcomes

    async def _submit(self, operation: Operation) -> Any:
        if not self._opened:
            raise StoreUnavailable("The ledger is closed. Open the store before using it.", lasting=True)
        check(operation)
        return await self._commits.submit(operation)

    async def _maintain(self, work: Callable[[Maintenance], Awaitable[_Outcome]]) -> _Outcome:
        """Do ``work`` while nobody else is in a transaction, to its end even if the caller is cancelled."""

        async def maintenance() -> _Outcome:
            async with self._database.maintenance() as tx:
                return await work(tx)

        if not self._opened:
            raise StoreUnavailable("The ledger is closed. Open the store before using it.", lasting=True)
        task = asyncio.create_task(maintenance())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # A caller that was cancelled asks for no outcome; what went wrong is then nobody's.
        if not task.cancelled():
            task.exception()

    @property
    def waiting(self) -> int:
        """How many operations wait to be committed; may be asked from any thread."""
        return self._commits.waiting

    async def reserve(self, request: Reserve) -> ReserveOutcome:
        """Decide, and hold the amounts if asked to and allowed."""
        outcome: ReserveOutcome = await self._submit(request)
        return outcome

    async def record(self, request: Record) -> RecordOutcome:
        """Write one event; settle the reservation."""
        outcome: RecordOutcome = await self._submit(request)
        return outcome

    async def record_many(self, requests: Sequence[Record]) -> list[RecordOutcome]:
        """Write many events, 10,000 to a transaction."""
        outcomes: list[RecordOutcome] = []
        for start in range(0, len(requests), _BULK):
            outcomes += await self._submit(RecordMany(requests[start : start + _BULK]))
        return outcomes

    async def release(self, reservation_id: str, user: str = "") -> ReleaseOutcome:
        """Give a hold back."""
        outcome: ReleaseOutcome = await self._submit(Release(reservation_id, user))
        return outcome

    async def extend(self, reservation_id: str, ttl_us: int, user: str = "") -> int:
        """Let a hold live longer; returns when it ends."""
        expires_us: int = await self._submit(Extend(reservation_id, ttl_us, user))
        return expires_us

    async def expire(self) -> int:
        """End the holds whose time is over."""
        count: int = await self._submit(Expire())
        return count

    async def status(self, subjects: Subjects) -> tuple[LimitStatus, ...]:
        """How every limit that applies to the subjects stands."""
        statuses: tuple[LimitStatus, ...] = await self._submit(Status(subjects))
        return statuses

    async def open_budget(self, request: OpenBudget) -> OpenOutcome:
        """Give a session a share of its parent's budget, if it fits."""
        outcome: OpenOutcome = await self._submit(request)
        return outcome

    async def close_budget(self, user: str, session: str) -> BudgetStatus:
        """End a session's budget; what is left goes back."""
        status: BudgetStatus = await self._submit(CloseBudget(user, session))
        return status

    async def budget(self, user: str, session: str) -> BudgetStatus:
        """How a session's open budget stands."""
        status: BudgetStatus = await self._submit(ReadBudget(user, session))
        return status

    async def claim_session(self, user: str, session: str) -> bool:
        """Whether the session is the user's, or was nobody's until now."""
        claimed: bool = await self._submit(ClaimSession(user, session))
        return claimed

    async def claim_alert(self, subject: str, metric: str, window: str, window_start_us: int, percent: int) -> bool:
        """``True`` to one caller, once per set of arguments, over all processes."""
        claimed: bool = await self._submit(ClaimAlert(subject, metric, window, window_start_us, percent))
        return claimed

    async def cursor_key(self) -> bytes:
        """The ledger's key to sign cursors with, made by whoever needs it first."""
        if self._cursor_key is None:
            self._cursor_key = await self._database.secret(_CURSOR_KEY)
        if self._cursor_key is None:
            made = token_hex(_KEY_BYTES)
            await self._maintain(lambda tx: tx.keep_secret(_CURSOR_KEY, made))
            # Another process may have been quicker.
            self._cursor_key = await self._database.secret(_CURSOR_KEY)
        if self._cursor_key is None:
            raise StoreUnavailable("The ledger does not keep the key that was made for it. Try again.")
        return bytes.fromhex(self._cursor_key)

    async def set_limit(self, limit: TokenLimit) -> None:
        """Add or replace a limit."""
        await self._maintain(lambda tx: tx.put_limit(limit))

    async def delete_limit(self, subject: str, metric: str, window: str) -> bool:
        """Take a limit away."""
        check_texts(subject=subject, metric=metric, window=window)
        return await self._maintain(lambda tx: tx.drop_limit(subject, metric, window))

    async def limits(self, subject: str | None = None) -> list[TokenLimit]:
        """The limits of one subject, or all, by subject."""
        return await self.limits_page(LimitQuery(subject))

    async def limits_page(self, query: LimitQuery) -> list[TokenLimit]:
        """Limits in their order."""
        check_texts(subject=query.subject or "", metric=query.metric or "", window=query.window or "")
        check_texts(after="".join(query.after))
        return await self._database.limits(query)

    async def usage(self, query: UsageQuery) -> list[UsageSum]:
        """Sums over the ledger, by key."""
        return (await self.usage_many([query]))[0]

    async def usage_many(self, queries: Sequence[UsageQuery]) -> list[list[UsageSum]]:
        """The sums of many queries, all of the same moment."""
        for one in queries:
            check_texts(user=one.user or "", model=one.model or "", group=one.group or "", session=one.session or "")
        return await self._database.usage(queries)

    async def samples(self) -> list[Sample]:
        """The latest events of each model whose input had been counted, oldest first."""
        return await self._database.samples(MAX_MODELS, WINDOW)

    async def events(self, start_us: int, end_us: int, user: str | None = None) -> AsyncIterator[UsageEvent]:
        """The events of a span of time, of one user or of all, oldest first, read page by page."""
        check_texts(user=user or "")
        after = (start_us, "")
        while page := await self._database.events_page(after, end_us, _PAGE, user):
            for event in page:
                yield event
            after = (page[-1].timestamp_us, page[-1].event_id)

    async def hourly(self, end_us: int) -> AsyncIterator[HourlyUsage]:
        """The rollup's lines before ``end_us``, oldest first."""
        after: HourlyUsage | None = None
        while page := await self._database.hourly_page(after, end_us, _PAGE):
            for line in page:
                yield line
            after = page[-1]

    async def add_hourly(self, lines: Sequence[HourlyUsage]) -> int:
        """Put rollup lines of pruned events into a ledger that has none of them; returns how many were new."""
        return await self._maintain(lambda tx: tx.add_hourly(lines))

    async def add_events(self, events: Sequence[UsageEvent]) -> Added:
        """Put events of another ledger in as they are, those that are not there yet."""
        return await self._maintain(lambda tx: tx.add_events(events))

    async def reprice(self, changes: Sequence[Repricing]) -> int:
        """Give events a new price, in the rollup and the counters too; returns how many changed."""
        return await self._maintain(lambda tx: tx.reprice(changes))

    async def prune(self, before_us: int) -> int:
        """Delete the events before a moment; their rollup stays. Returns how many."""
        whole_us, gone = before_us // QUARTER_HOUR_US * QUARTER_HOUR_US, 0
        # A few at a time: others write meanwhile.
        while some := await self._maintain(lambda tx: tx.prune(whole_us, _BULK)):
            gone += some
        return gone

    async def pruned_before_us(self) -> int:
        """The moment before which events were pruned; 0 when none were."""
        return await self._database.pruned_before_us()

    async def holds(self) -> int:
        """How many holds have not ended."""
        return await self._database.holds()

    async def is_current(self) -> bool:
        """Whether the schema is still the one that this tokenward knows."""
        return await self._database.is_current()

    async def describe(self) -> StoreStatus:
        """What the store holds."""
        return await self._database.describe()
