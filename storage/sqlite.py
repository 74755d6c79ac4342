"""The ledger on SQLite: one file (or memory), one connection that writes, every operation one ``BEGIN IMMEDIATE``.

``journal_mode=WAL`` and ``synchronous=FULL``: what is acknowledged has reached the disk. Other processes on the same
file wait their turn. The transaction is shielded from cancellation, so a cancelled caller never leaves one open.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

import aiosqlite
import anyio

from tokenward.engine.errors import StoreUnavailable
from tokenward.engine.quota import LimitStatus, Policy, Subjects, TokenLimit
from tokenward.engine.types import NANO_PER_USD, Clock, NewId, random_id, system_clock
from tokenward.engine.usage import Dimension, TokenUsage, UsageEvent, UsageQuery, UsageSum
from tokenward.storage import ledger
from tokenward.storage.base import Record, RecordOutcome, ReleaseOutcome, Reserve, ReserveOutcome
from tokenward.storage.migrate import upgrade
from tokenward.storage.sqlite_transaction import SqliteTransaction, limit_of

_Outcome = TypeVar("_Outcome")

BUSY_SECONDS = 30
"""How long an operation waits for another process's transaction before the store counts as unavailable."""

_DIMENSIONS: dict[Dimension, str] = {
    "user": "user_id",
    "model": "model",
    "session": "session_id",
    "group": "group_id",
    "endpoint": "api_endpoint",
    "quarter_hour": "timestamp / 900000000",
}

_SUMS = """
    count(*), sum(input_tokens), sum(output_tokens), sum(cached_tokens),
    sum(cache_write_tokens + cache_write_1h_tokens), sum(reasoning_tokens),
    coalesce(sum(cost_nano / 1000000000), 0), coalesce(sum(cost_nano % 1000000000), 0), count(*) - count(cost_nano)
"""
"""Money is summed in dollars and the rest apart, because a sum of nano-dollars could pass 64 bits."""

_REASONS = {
    "SQLITE_BUSY": "it is locked by another process",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_CANTOPEN": "the file cannot be opened or created",
    "SQLITE_READONLY": "the file is read-only",
    "SQLITE_NOTADB": "the file is not a SQLite database",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_IOERR": "the disk reported an error",
}


def _unavailable(error: sqlite3.Error) -> StoreUnavailable | None:
    """What the caller is told; ``None`` for a fault of ours."""
    name = str(getattr(error, "sqlite_errorname", ""))
    reason = next((text for prefix, text in _REASONS.items() if name.startswith(prefix)), None)
    if reason is None:
        return None
    return StoreUnavailable(f"The ledger's SQLite store is unavailable: {reason}. Nothing was changed; try again.")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class SqliteStore:
    """A :class:`~tokenward.storage.base.UsageStore` in a SQLite file, or in memory when ``path`` is ``None``."""

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Clock = system_clock,
        new_id: NewId = random_id,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self._path = path
        self._clock = clock
        self._new_id = new_id
        self._busy_seconds = busy_seconds
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._open: aiosqlite.Connection | None = None
        self._identity: tuple[int, int] | None = None

    async def __aenter__(self) -> Self:
        with _as_unavailable():
            if self._path is not None:
                # Usage is nobody else's business: the journal's files take the ledger's mode.
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._path.touch(mode=0o600)
            connection = await aiosqlite.connect(
                self._path or ":memory:", timeout=self._busy_seconds, isolation_level=None
            )
            try:
                await self._prepare(connection)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await connection.close()
                raise
        self._open = connection
        self._identity = None if self._path is None else _identity(self._path)
        return self

    async def _prepare(self, connection: aiosqlite.Connection) -> None:
        await _journal_in_wal(connection)
        await connection.execute("PRAGMA synchronous=FULL")
        await connection.execute("PRAGMA foreign_keys=ON")
        await upgrade(connection, self._clock())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            loop = asyncio.get_running_loop()
            if open_tasks := [task for task in self._tasks if task.get_loop() is loop]:
                await asyncio.wait(open_tasks)
            connection, self._open = self._connection, None
            await connection.close()

    @property
    def _lock(self) -> asyncio.Lock:
        """The running loop's: a library's user may call from one loop after the other.

        It is asyncio's, because the task that ends a transaction is not the one that asked for it.
        """
        return self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    @property
    def _connection(self) -> aiosqlite.Connection:
        if self._open is None:
            raise StoreUnavailable("The ledger is closed. Open the store before using it.")
        return self._open

    def _refuse_if_moved(self) -> None:
        """What is written to a file that has lost its name is gone when the last process closes it."""
        if self._path is not None and self._identity != _identity(self._path):
            raise StoreUnavailable("The ledger's SQLite file was moved or deleted. Put it back or start anew.")

    async def _transact(self, work: Callable[[SqliteTransaction, int], Awaitable[_Outcome]]) -> _Outcome:
        """Do ``work`` in one transaction that holds the write lock.

        It runs in a task of its own: a caller that is cancelled, in whatever way, leaves the transaction whole, and
        the next one waits for its end.
        """
        lock = self._lock
        await lock.acquire()
        task = asyncio.create_task(self._transaction(work))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, lock))
        return await asyncio.shield(task)

    def _ended(self, lock: asyncio.Lock, task: asyncio.Task[Any]) -> None:
        lock.release()
        self._tasks.discard(task)
        # A caller that was cancelled asks for no outcome; what went wrong is then nobody's.
        if not task.cancelled():
            task.exception()

    async def _transaction(self, work: Callable[[SqliteTransaction, int], Awaitable[_Outcome]]) -> _Outcome:
        with _as_unavailable():
            connection = self._connection
            self._refuse_if_moved()
            try:
                await connection.execute("BEGIN IMMEDIATE")
                outcome = await work(SqliteTransaction(connection), self._clock())
                await connection.execute("COMMIT")
            except BaseException:
                # Behind whatever the connection's thread is still doing, and only if that left a transaction open.
                await connection.rollback()
                raise
            return outcome

    async def reserve(self, request: Reserve, policy: Policy | None = None) -> ReserveOutcome:
        """Decide, and hold the amounts if asked to and allowed."""
        return await self._transact(lambda tx, now_us: ledger.reserve(tx, request, now_us, self._new_id, policy))

    async def record(self, request: Record) -> RecordOutcome:
        """Write one event; settle the reservation."""
        return await self._transact(lambda tx, now_us: ledger.record(tx, request, now_us, self._new_id))

    async def release(self, reservation_id: str) -> ReleaseOutcome:
        """Give a hold back."""
        return await self._transact(lambda tx, now_us: ledger.release(tx, reservation_id, now_us))

    async def extend(self, reservation_id: str, ttl_us: int) -> int:
        """Let a hold live longer; returns when it ends."""
        return await self._transact(lambda tx, now_us: ledger.extend(tx, reservation_id, ttl_us, now_us))

    async def expire(self) -> int:
        """End the holds whose time is over."""
        return await self._transact(ledger.expire)

    async def status(self, subjects: Subjects) -> tuple[LimitStatus, ...]:
        """How every limit that applies to the subjects stands."""
        return await self._transact(lambda tx, now_us: ledger.status(tx, subjects, now_us))

    async def set_limit(self, limit: TokenLimit) -> None:
        """Add or replace a limit."""
        await self._transact(lambda tx, _: ledger.set_limit(tx, limit))

    async def delete_limit(self, subject: str, metric: str, window: str) -> bool:
        """Take a limit away."""
        return await self._transact(lambda tx, _: ledger.delete_limit(tx, subject, metric, window))

    async def _rows(self, query: str, values: tuple[object, ...]) -> list[Any]:
        with _as_unavailable():
            async with self._lock:
                return list(await self._connection.execute_fetchall(query, values))

    async def limits(self, subject: str | None = None) -> list[TokenLimit]:
        """The limits of one subject, or all, by subject."""
        query = "SELECT * FROM token_limits WHERE ? IS NULL OR subject = ? ORDER BY subject, metric, time_window"
        return [limit_of(row) for row in await self._rows(query, (subject, subject))]

    async def usage(self, query: UsageQuery) -> list[UsageSum]:
        """Sums over the ledger, by key."""
        statement = f"""
            SELECT {_DIMENSIONS[query.dimension]}, {_SUMS} FROM token_usage
            WHERE timestamp >= ? AND timestamp < ? AND (? IS NULL OR user_id = ?) GROUP BY 1 ORDER BY 1
        """  # noqa: S608 - the column is one of ours
        values = (query.start_us, query.end_us, query.user, query.user)
        return [_usage_sum(*row) for row in await self._rows(statement, values)]

    async def events(self, start_us: int, end_us: int) -> list[UsageEvent]:
        """The events of a span of time, oldest first."""
        query = "SELECT * FROM token_usage WHERE timestamp >= ? AND timestamp < ? ORDER BY timestamp, event_id"
        return [_event(*row) for row in await self._rows(query, (start_us, end_us))]


def _usage_sum(key: object, *sums: Any) -> UsageSum:
    """A row of the key and ``_SUMS``."""
    *counts, dollars, nano, unpriced = sums
    return UsageSum(str(key), *[*counts, dollars * NANO_PER_USD + nano, unpriced])


def _event(*row: Any) -> UsageEvent:
    """A row of ``token_usage``."""
    event_id, timestamp, admitted, user, group, session, model, *tokens = row[:13]
    _total, cost_nano, price_source, endpoint, priority, reservation_id, overage = row[13:]
    return UsageEvent(
        event_id, timestamp, admitted, user, model, TokenUsage(*tokens), cost_nano, price_source,
        group, session, endpoint, priority, reservation_id, bool(overage),
    )  # fmt: skip


@contextmanager
def _as_unavailable() -> Generator[None]:
    """Turns the driver's errors into :class:`StoreUnavailable`; a programming error stays what it is."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if (unavailable := _unavailable(error)) is None:
            raise
        raise unavailable from error
    except OSError as error:
        raise StoreUnavailable("The ledger's folder cannot be created or used; choose another store.") from error


async def _journal_in_wal(connection: aiosqlite.Connection) -> None:
    """Switch to WAL. The switch itself does not wait for others, so it is tried until they are done.

    Its answer is fetched: an unread one counts as a statement in progress, and the next COMMIT would be refused.
    """
    for attempt in range(100):
        try:
            await connection.execute_fetchall("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if attempt == 99:
                raise
            await anyio.sleep(0.05)
        else:
            return
