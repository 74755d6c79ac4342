"""The ledger on SQLite: one file (or memory), one connection that writes, every batch one ``BEGIN IMMEDIATE``.

``journal_mode=WAL`` and ``synchronous=FULL``: what is acknowledged has reached the disk. Other processes on the same
file wait their turn. Reports read on connections of their own and wait for nobody.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

import aiosqlite
import anyio

from tokenward.engine.counting.calibration import Sample
from tokenward.engine.errors import StoreUnavailable
from tokenward.engine.limits import LimitQuery, TokenLimit
from tokenward.engine.types import Clock, system_clock
from tokenward.engine.usage import UsageEvent, UsageQuery, UsageSum
from tokenward.storage import reading, rows
from tokenward.storage.base import HourlyUsage
from tokenward.storage.migrate import latest_version, schema_version, upgrade
from tokenward.storage.sqlite import sql
from tokenward.storage.sqlite.transaction import SqliteMaintenance, SqliteTransaction
from tokenward.storage.status import StoreStatus
from tokenward.storage.transaction import Forgetting

_Isolation: TypeAlias = Literal["IMMEDIATE"] | None

BUSY_SECONDS = 5.0
"""How long a statement waits for another process's transaction. The store's patience goes on from there."""

_READERS = 3
"""Most reports that are read at once; more wait."""

_READER_CACHE_KIB = 256
"""What a reader keeps of the file between reports is stale after the next write: SQLite's usual 2,000 gain nothing."""

_REASONS = {
    "SQLITE_BUSY": "it is locked by another process",
    "SQLITE_LOCKED": "it is locked",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_CANTOPEN": "the file cannot be opened or created",
    "SQLITE_READONLY": "the file is read-only",
    "SQLITE_NOTADB": "the file is not a SQLite database",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_IOERR": "the disk reported an error; it or a quota may be full",
}
_LASTING = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_NOTADB", "SQLITE_CORRUPT")


def _unavailable(error: sqlite3.Error) -> StoreUnavailable | None:
    """What the caller is told; ``None`` for a fault of ours."""
    name = str(getattr(error, "sqlite_errorname", ""))
    reason = next((text for prefix, text in _REASONS.items() if name.startswith(prefix)), None)
    if reason is None:
        return None
    return StoreUnavailable(
        f"The ledger's SQLite store is unavailable: {reason}. Nothing was changed; try again.",
        lasting=name.startswith(_LASTING),
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class SqliteDatabase:
    """A :class:`~tokenward.storage.store.Database` in a SQLite file, or in memory when ``path`` is ``None``."""

    def __init__(self, path: Path | None, *, clock: Clock = system_clock, busy_seconds: float = BUSY_SECONDS) -> None:
        self._path = path
        self._clock = clock
        self._busy_seconds = busy_seconds
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        self._open: aiosqlite.Connection | None = None
        self._made: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._idle_readers: list[aiosqlite.Connection] = []
        self._reading: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
        self._forgetting = Forgetting()
        self._found_version = 0

    async def connect(self) -> None:
        """Open or create the file, and bring its schema up to date. Raises SchemaTooNew."""
        with _as_unavailable():
            if self._path is not None:
                # Usage is nobody else's business: the journal's files take the ledger's mode.
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._path.touch(mode=0o600)
            # Should SQLite roll back by itself, what is on its way to it begins a transaction anew, to be undone too:
            # in autocommit mode it would stay.
            connection, made = await self._connected("IMMEDIATE")
            try:
                await _journal_in_wal(connection)
                await connection.execute("PRAGMA synchronous=FULL")
                await connection.execute("PRAGMA foreign_keys=ON")
                self._found_version = await upgrade(connection, self._clock())
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await connection.close()
                raise
        self._open, self._made = connection, made
        self._identity = None if self._path is None else _identity(self._path)

    async def _connected(self, isolation_level: _Isolation = None) -> tuple[aiosqlite.Connection, sqlite3.Connection]:
        """A new connection, with and without its thread."""
        made: list[sqlite3.Connection] = []
        left = False

        def make(*args: Any, **options: Any) -> sqlite3.Connection:
            made.append(sqlite3.Connection(*args, **options))
            if left:
                made[-1].close()
            return made[-1]

        try:
            connection = await aiosqlite.connect(
                self._path or ":memory:",
                timeout=self._busy_seconds,
                isolation_level=isolation_level,
                check_same_thread=False,
                factory=make,
            )
        except BaseException:
            left = True  # what its thread still opens, or has just opened, aiosqlite would forget
            for one in made:
                one.close()
            raise
        return connection, made[-1]

    async def close(self) -> None:
        """Close the file."""
        connection, self._open, self._made = self._connection, None, None
        readers, self._idle_readers = self._idle_readers, []
        async with AsyncExitStack() as closing:  # all of them, whatever becomes of one
            for one in (connection, *readers):
                closing.push_async_callback(one.close)

    @property
    def _lock(self) -> asyncio.Lock:
        """The running loop's: a library's user may call from one loop after the other."""
        return self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    @property
    def _connection(self) -> aiosqlite.Connection:
        if self._open is None:
            raise StoreUnavailable("The ledger is closed. Open the store before using it.", lasting=True)
        return self._open

    @property
    def _direct(self) -> sqlite3.Connection:
        """The connection without its thread."""
        if self._made is None:
            raise StoreUnavailable("The ledger is closed. Open the store before using it.", lasting=True)
        return self._made

    def _refuse_if_moved(self) -> None:
        """What is written to a file that has lost its name is gone when the last process closes it."""
        if self._path is not None and self._identity != _identity(self._path):
            message = "The ledger's SQLite file was moved or deleted. Put it back or start anew."
            raise StoreUnavailable(message, lasting=True)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[SqliteTransaction]:
        """One transaction that holds the write lock from its peek on."""
        async with self._writer() as connection:
            yield SqliteTransaction(connection, self._direct, self._clock, self._forgetting)

    @asynccontextmanager
    async def maintenance(self) -> AsyncGenerator[SqliteMaintenance]:
        """The same: there is only one writer at a time."""
        async with self._writer() as connection:
            tx = SqliteMaintenance(connection, self._direct)
            await tx.begin()
            yield tx

    @asynccontextmanager
    async def _writer(self) -> AsyncGenerator[aiosqlite.Connection]:
        """The connection that writes; what was begun on it is committed at the end, and undone by an exception."""
        async with self._lock:
            with _as_unavailable():
                connection = self._connection
                self._refuse_if_moved()
                try:
                    yield connection
                    await connection.commit()
                except BaseException:
                    # Behind whatever the connection's thread is still doing, and only if that left a transaction open.
                    await connection.rollback()
                    raise

    @asynccontextmanager
    async def _reader(self) -> AsyncGenerator[aiosqlite.Connection]:
        """A connection to read on. What is in memory has only the one."""
        if self._path is None:
            async with self._lock:
                yield self._connection
            return
        self._refuse_if_moved()
        async with self._reading.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_READERS)):
            _ = self._connection
            connection = self._idle_readers.pop() if self._idle_readers else await self._new_reader()
            try:
                yield connection
            finally:
                if self._open is None:
                    with anyio.CancelScope(shield=True):
                        await connection.close()
                else:
                    self._idle_readers.append(connection)

    async def _new_reader(self) -> aiosqlite.Connection:
        connection, _ = await self._connected()
        try:
            await connection.execute(f"PRAGMA cache_size=-{_READER_CACHE_KIB}")
        except BaseException:
            with anyio.CancelScope(shield=True):
                await connection.close()
            raise
        return connection

    async def _rows(self, query: str, values: Mapping[str, object]) -> list[Any]:
        with _as_unavailable():
            async with self._reader() as connection:
                return list(await connection.execute_fetchall(query, values))

    async def limits(self, query: LimitQuery) -> list[TokenLimit]:
        """Limits in their order."""
        return [TokenLimit(*row) for row in await self._rows(sql.LIMITS_PAGE, rows.limit_values(query))]

    async def usage(self, queries: Sequence[UsageQuery]) -> list[list[UsageSum]]:
        """Sums over the ledger, by key, all from one snapshot."""
        with _as_unavailable():
            async with self._reader() as connection, _snapshot(connection):
                ((pruned_us,),) = await connection.execute_fetchall(reading.PRUNED_BEFORE)
                return [await _sums(connection, reading.parts(one, int(pruned_us))) for one in queries]

    async def pruned_before_us(self) -> int:
        """The moment before which events were pruned; 0 when none were."""
        ((pruned_us,),) = await self._rows(reading.PRUNED_BEFORE, {})
        return int(pruned_us)

    async def secret(self, name: str) -> str | None:
        """What was kept of the ledger under a name."""
        found = await self._rows("SELECT value FROM ledger_secret WHERE name = :name", {"name": name})
        return str(found[0][0]) if found else None

    async def samples(self, models: int, each: int) -> list[Sample]:
        """The latest events of each model that were counted, oldest first."""
        return [Sample(*row) for row in await self._rows(sql.SAMPLES, {"models": models, "each": each})]

    async def events_page(self, after: tuple[int, str], end_us: int, size: int, user: str | None) -> list[UsageEvent]:
        """The next events after (timestamp, id), oldest first, of one user or of all."""
        values = {"moment": after[0], "name": after[1], "end": end_us, "size": size, "user": user}
        query = sql.ALL_EVENTS if user is None else sql.EVENTS_OF_USER
        return [rows.event_of(row) for row in await self._rows(query, values)]

    async def hourly_page(self, after: HourlyUsage | None, end_us: int, size: int) -> list[HourlyUsage]:
        """The rollup's next lines."""
        query = f"""
            SELECT {rows.HOURLY_COLUMNS} FROM usage_hourly
            WHERE (quarter_hour, user_id, group_id, model, api_endpoint) > (:quarter, :user, :group, :model, :endpoint)
                AND quarter_hour < :end
            ORDER BY quarter_hour, user_id, group_id, model, api_endpoint LIMIT :size
        """
        return [rows.hourly_of(row) for row in await self._rows(query, reading.hourly_values(after, end_us, size))]

    async def holds(self) -> int:
        """How many holds have not ended."""
        ((count,),) = await self._rows(reading.HOLDS, {})
        return int(count)

    async def is_current(self) -> bool:
        """Whether the schema is the one that is known."""
        ((version,),) = await self._rows("SELECT max(version) FROM schema_version", {})
        return bool(version == latest_version("sqlite"))

    async def describe(self) -> StoreStatus:
        """What the database holds."""
        (counts,) = await self._rows(reading.DESCRIBE, {})
        ((pages,),), ((page_bytes,),) = [await self._rows(f"PRAGMA {one}", {}) for one in ("page_count", "page_size")]
        with _as_unavailable():
            async with self._reader() as connection:
                version = await schema_version(connection)
        kind = "memory" if self._path is None else "sqlite"
        versions = (self._found_version, version, latest_version("sqlite"))
        return reading.described(kind, versions, counts, pages * page_bytes, partitioned=False)


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
        message = "The ledger's folder cannot be created or used; choose another store."
        raise StoreUnavailable(message, lasting=True) from error


@asynccontextmanager
async def _snapshot(connection: aiosqlite.Connection) -> AsyncGenerator[None]:
    """A transaction that reads: all of it sees the ledger as it is at its first statement."""
    try:
        await connection.execute("BEGIN")
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await connection.rollback()


async def _sums(connection: aiosqlite.Connection, parts: Sequence[reading.Part]) -> list[UsageSum]:
    found: list[UsageSum] = []
    for one in parts:
        found += map(rows.sum_of, await connection.execute_fetchall(one.statement(":"), one.values))
    return reading.merged(found)


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
