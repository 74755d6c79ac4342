"""The ledger on Postgres: a pool of connections, one batch in flight per process, and the server's clock.

Any number of servers may share one database. The SQL is plain (no server functions, advisory locks or notifications).
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any
from zlib import crc32

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo, timeout_from_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tokenward.engine.counting.calibration import Sample
from tokenward.engine.errors import ConfigurationError, StoreUnavailable
from tokenward.engine.limits import LimitQuery, TokenLimit
from tokenward.engine.types import Clock, random_id, system_clock
from tokenward.engine.usage import UsageEvent, UsageQuery, UsageSum
from tokenward.storage import reading, rows
from tokenward.storage.base import HourlyUsage
from tokenward.storage.migrate import latest_version
from tokenward.storage.postgres import schema, sql
from tokenward.storage.postgres.maintenance import PostgresMaintenance
from tokenward.storage.postgres.transaction import Connection, Memory, PostgresTransaction
from tokenward.storage.rollup import SHARDS
from tokenward.storage.status import StoreStatus

POOL_SIZE = 10
"""Most connections of a process: one for batches, the others for reports and limits."""

CONNECT_SECONDS = 5
"""How long to wait for a connection, where the URL does not say it. The store's patience goes on from there."""

ANSWER_SECONDS = 30.0
"""Longest that a batch may take: a server that does not answer is as good as none."""

REPORT_SECONDS = 300.0
"""Longest that a report may take."""

_NETWORK = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
"""How a dead connection is found out, where the URL does not say it: seconds, seconds, times, milliseconds."""

_SESSION = "SET idle_in_transaction_session_timeout = '60s'; SET lock_timeout = '30s'"
"""So that the server does not keep the locks of a client that is gone without a word."""

_REASONS = {
    "08": "the connection was lost",
    "25006": "the server is read-only, perhaps a standby",
    "40": "the transaction met another one",
    "53": "the server is out of memory, disk or connections",
    "55": "it is locked by somebody else",
    "57": "the server is shutting down or cancelled the statement",
    "58": "the server's disk reported an error",
}
_LASTING = {
    "28": "the login is refused; check user and password in the URL",
    "3D": "the database does not exist",
    "3F": "the schema does not exist",
    "42501": "the user lacks a permission",
}
_FATAL = {
    r"FATAL:  (password authentication failed|no pg_hba.conf entry|role .* (does not exist|log in))|no password": "28",
    r'FATAL:  database ".*" does not exist': "3D",
}
"""What a refused connection says, in English; it comes without a code."""


def _code(error: Exception) -> str:
    said = (code for text, code in _FATAL.items() if re.search(text, str(error)))
    return getattr(error, "sqlstate", None) or next(said, "")


def _unavailable(error: psycopg.Error | PoolTimeout) -> StoreUnavailable | None:
    """What the caller is told; ``None`` for a fault of ours. The server's own words can hold data: they stay away."""
    code = _code(error)
    lasting = next((text for prefix, text in _LASTING.items() if code.startswith(prefix)), None)
    reason = lasting or next((text for prefix, text in _REASONS.items() if code.startswith(prefix)), None)
    if isinstance(error, PoolTimeout):
        reason = "no connection is free, or none can be made"
    if reason is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        reason = "the connection was lost or cannot be made"
    if reason is None:
        return None
    message = f"The ledger's Postgres store is unavailable: {reason}. Nothing was acknowledged; try again."
    return StoreUnavailable(message, lasting=lasting is not None)


@contextmanager
def _as_unavailable() -> Generator[None]:
    """Turns the driver's errors into :class:`StoreUnavailable`; a programming error stays what it is."""
    try:
        yield
    except (psycopg.Error, PoolTimeout) as error:
        if (unavailable := _unavailable(error)) is None:
            raise
        raise unavailable from error
    except TimeoutError as error:
        message = "The ledger's Postgres store does not answer. Nothing was acknowledged; try again."
        raise StoreUnavailable(message) from error


def _is_lost(error: Exception) -> bool:
    """Whether a connection, or the server, is gone; not for one that the pool could not give."""
    code = _code(error)
    return not isinstance(error, PoolTimeout) and (not code or code.startswith(("08", "57P")))


class PostgresDatabase:
    """A :class:`~tokenward.storage.store.Database` in Postgres.

    Args:
        url: ``postgresql://…`` with any parameter of libpq; ``connect_timeout`` holds for the pool's waits too.
        clock: Tells the time instead of the server's clock.
        pool_size: Most connections.
    """

    def __init__(self, url: str, *, clock: Clock | None = None, pool_size: int = POOL_SIZE) -> None:
        try:
            given = {"connect_timeout": CONNECT_SECONDS, **_NETWORK} | conninfo_to_dict(url)
            self._connect_seconds = timeout_from_conninfo(given)
        except psycopg.ProgrammingError:
            raise ConfigurationError("store: the Postgres URL is not valid; give postgresql://HOST/DATABASE.") from None
        self._conninfo = make_conninfo("", **given)
        self._clock = clock
        self._pool_size = pool_size
        self._open: AsyncConnectionPool[Connection] | None = None
        self._shard = crc32(random_id().encode()) % SHARDS
        self._memory = Memory()
        self._kept: Connection | None = None
        self._found_version = 0

    async def connect(self) -> None:
        """Connect, and bring the schema up to date. Raises SchemaTooNew."""
        with _as_unavailable():
            # A first connection without the pool: what is wrong with it is said at once.
            async with await psycopg.AsyncConnection.connect(self._conninfo) as first:
                self._found_version = await schema.upgrade(first, (self._clock or system_clock)())
            pool = AsyncConnectionPool[Connection](
                self._conninfo,
                configure=self._configure,
                min_size=1,
                max_size=self._pool_size,
                timeout=self._connect_seconds,
                reconnect_timeout=self._connect_seconds,
                open=False,
                name="tokenward",
            )
            await pool.open()
        self._open = pool

    async def _configure(self, connection: Connection) -> None:
        # The pool sets up few connections at a time: one that does not answer must not keep the others.
        async with asyncio.timeout(self._connect_seconds):
            # What is read after a lock must be as it is then, whatever the server's default.
            await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
            await connection.execute(_SESSION)
            await connection.commit()

    async def close(self) -> None:
        """Close every connection."""
        pool, self._open = self._pool, None
        if self._kept is not None:
            await pool.putconn(self._kept)
            self._kept = None
        await pool.close()

    @property
    def _pool(self) -> AsyncConnectionPool[Connection]:
        if self._open is None:
            raise StoreUnavailable("The ledger is closed. Open the store before using it.", lasting=True)
        return self._open

    @asynccontextmanager
    async def _connection(self, seconds: float) -> AsyncGenerator[Connection]:
        """A connection whose transaction is committed at the end, and undone by an exception."""
        async with self._answering(seconds) as pool, pool.connection() as connection:
            yield connection

    @asynccontextmanager
    async def _answering(self, seconds: float) -> AsyncGenerator[AsyncConnectionPool[Connection]]:
        """The pool, as long as the server answers within ``seconds``."""
        pool = self._pool
        with _as_unavailable():
            try:
                async with asyncio.timeout(seconds):
                    yield pool
            except (psycopg.OperationalError, TimeoutError) as error:
                if _is_lost(error):
                    # The idle ones went the same way; to ask each of them whether it did could take as long again.
                    await pool.drain()
                raise

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[PostgresTransaction]:
        """One transaction, on a connection that is kept for the next one: batches come one after the other."""
        async with self._answering(ANSWER_SECONDS) as pool:
            kept, self._kept = self._kept, None
            connection = kept or await pool.getconn()
            try:
                yield PostgresTransaction(connection, self._clock, self._shard, self._memory)
                await connection.commit()
            except BaseException:
                with suppress(psycopg.Error):
                    await connection.rollback()
                await pool.putconn(connection)
                raise
            if self._pool_size > 1:
                self._kept = connection
            else:
                await pool.putconn(connection)

    @asynccontextmanager
    async def maintenance(self) -> AsyncGenerator[PostgresMaintenance]:
        """A transaction for which all others wait."""
        async with self._connection(REPORT_SECONDS) as connection:
            tx = PostgresMaintenance(connection, self._shard)
            await tx.begin()
            yield tx

    async def _rows(self, query: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        async with self._connection(REPORT_SECONDS) as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()

    async def limits(self, query: LimitQuery) -> list[TokenLimit]:
        """Limits in their order."""
        return [TokenLimit(*row) for row in await self._rows(sql.LIMITS_PAGE, rows.limit_values(query))]

    async def usage(self, queries: Sequence[UsageQuery]) -> list[list[UsageSum]]:
        """Sums over the ledger, by key, all from one snapshot."""
        async with self._connection(REPORT_SECONDS) as connection:
            await connection.execute(sql.SNAPSHOT)
            ((pruned_us,),) = await (await connection.execute(reading.PRUNED_BEFORE.encode())).fetchall()
            return [await _sums(connection, reading.parts(one, int(pruned_us))) for one in queries]

    async def pruned_before_us(self) -> int:
        """The moment before which events were pruned; 0 when none were."""
        ((pruned_us,),) = await self._rows(reading.PRUNED_BEFORE, {})
        return int(pruned_us)

    async def secret(self, name: str) -> str | None:
        """What was kept of the ledger under a name."""
        found = await self._rows("SELECT value FROM ledger_secret WHERE name = %(name)s", {"name": name})
        return str(found[0][0]) if found else None

    async def samples(self, models: int, each: int) -> list[Sample]:
        """The latest events of each model that were counted, oldest first."""
        return [Sample(*row) for row in await self._rows(sql.SAMPLES, {"models": models, "each": each})]

    async def events_page(self, after: tuple[int, str], end_us: int, size: int, user: str | None) -> list[UsageEvent]:
        """The next events after (timestamp, id), oldest first, of one user or of all."""
        query = f"""
            SELECT {rows.EVENT_COLUMNS} FROM token_usage
            WHERE (timestamp, event_id) > (%(moment)s, %(name)s) AND timestamp < %(end)s
                {"" if user is None else "AND user_id = %(user)s"}
            ORDER BY timestamp, event_id LIMIT %(size)s
        """
        values = {"moment": after[0], "name": after[1], "end": end_us, "size": size, "user": user}
        return [rows.event_of(row) for row in await self._rows(query, values)]

    async def hourly_page(self, after: HourlyUsage | None, end_us: int, size: int) -> list[HourlyUsage]:
        """The rollup's next lines."""
        query = f"""
            SELECT {rows.HOURLY_COLUMNS} FROM usage_hourly
            WHERE (quarter_hour, user_id, group_id, model, api_endpoint)
                > (%(quarter)s, %(user)s, %(group)s, %(model)s, %(endpoint)s) AND quarter_hour < %(end)s
            ORDER BY quarter_hour, user_id, group_id, model, api_endpoint LIMIT %(size)s
        """
        return [rows.hourly_of(row) for row in await self._rows(query, reading.hourly_values(after, end_us, size))]

    async def holds(self) -> int:
        """How many holds have not ended."""
        ((count,),) = await self._rows(reading.HOLDS, {})
        return int(count)

    async def is_current(self) -> bool:
        """Whether the schema is the one that is known."""
        ((version,),) = await self._rows("SELECT max(version) FROM schema_version", {})
        return bool(version == latest_version("postgres"))

    async def describe(self) -> StoreStatus:
        """What the database holds."""
        (counts,) = await self._rows(reading.DESCRIBE, {})
        ((version, size, partitioned),) = await self._rows(schema.DESCRIBE, {})
        versions = (self._found_version, version, latest_version("postgres"))
        return reading.described("postgres", versions, counts, size, partitioned=bool(partitioned))


async def _sums(connection: Connection, parts: Sequence[reading.Part]) -> list[UsageSum]:
    found: list[UsageSum] = []
    for one in parts:
        cursor = await connection.execute(one.statement("%(", ")s").encode(), one.values)
        found += map(rows.sum_of, await cursor.fetchall())
    return reading.merged(found)
