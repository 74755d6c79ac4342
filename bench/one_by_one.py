"""The ordinary way to keep a budget in a database, written lean: one transaction per call.

One counter per user instead of three limits, no windows, no expiry of holds, no idempotency, no rollup: less work than
the ledger does. Statements and durability are what an experienced author would choose.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, LiteralString
from uuid import uuid4

import aiosqlite
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from bench.load import COST_NANO, HELD_TOKENS, MODEL, USAGE

BUDGET = 10**15
TABLES: Final = (
    "CREATE TABLE budget (user_id TEXT PRIMARY KEY, used BIGINT NOT NULL, held BIGINT NOT NULL)",
    "CREATE TABLE hold (hold_id TEXT PRIMARY KEY, user_id TEXT NOT NULL, tokens BIGINT NOT NULL)",
    """
    CREATE TABLE event (
        event_id TEXT PRIMARY KEY, at BIGINT NOT NULL, user_id TEXT NOT NULL, model TEXT NOT NULL,
        input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, cost_nano BIGINT NOT NULL
    )
    """,
    "CREATE INDEX event_user ON event (user_id, at)",
)
NEW_USER: Final = "INSERT INTO budget VALUES (?, 0, 0)"
READ: Final = "SELECT used + held FROM budget WHERE user_id = ?"
HOLD: Final = "UPDATE budget SET held = held + ? WHERE user_id = ?"
NEW_HOLD: Final = "INSERT INTO hold VALUES (?, ?, ?)"
READ_HOLD: Final = "SELECT user_id, tokens FROM hold WHERE hold_id = ?"
BOOK: Final = "UPDATE budget SET used = used + ?, held = held - ? WHERE user_id = ?"
END_HOLD: Final = "DELETE FROM hold WHERE hold_id = ?"
NEW_EVENT: Final = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)"


def event_row(user: str) -> tuple[object, ...]:
    at_us = time.time_ns() // 1_000
    return uuid4().hex, at_us, user, MODEL, USAGE.input_tokens, USAGE.output_tokens, COST_NANO


@dataclass(frozen=True, slots=True)
class OneConnection:
    """SQLite: one aiosqlite connection, a lock, ``BEGIN IMMEDIATE`` … ``COMMIT`` for each call."""

    connection: aiosqlite.Connection
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reserve(self, user: str) -> str:
        """Hold tokens of the user's budget."""
        hold_id = uuid4().hex
        async with self._transaction() as connection:
            ((taken,),) = await connection.execute_fetchall(READ, (user,))
            if taken + HELD_TOKENS > BUDGET:
                return ""
            await connection.execute(HOLD, (HELD_TOKENS, user))
            await connection.execute(NEW_HOLD, (hold_id, user, HELD_TOKENS))
        return hold_id

    async def settle(self, reservation_id: str) -> None:
        """Book the usage of a hold, end it and write its event."""
        async with self._transaction() as connection:
            ((user, tokens),) = await connection.execute_fetchall(READ_HOLD, (reservation_id,))
            await connection.execute(BOOK, (USAGE.total_tokens, tokens, user))
            await connection.execute(END_HOLD, (reservation_id,))
            await connection.execute(NEW_EVENT, event_row(user))

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[aiosqlite.Connection]:
        async with self.lock:
            await self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                await self.connection.rollback()
                raise
            await self.connection.execute("COMMIT")


@asynccontextmanager
async def sqlite_peer(path: Path, users: Sequence[str]) -> AsyncGenerator[OneConnection]:
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        await connection.execute_fetchall("PRAGMA journal_mode=WAL")
        await connection.execute("PRAGMA synchronous=FULL")
        for table in TABLES:
            await connection.execute(table)
        await connection.execute("BEGIN")
        await connection.executemany(NEW_USER, [(user,) for user in users])
        await connection.execute("COMMIT")
        yield OneConnection(connection)


FOR_UPDATE: Final = " FOR UPDATE"


@dataclass(frozen=True, slots=True)
class Pooled:
    """Postgres: a connection of the pool and a transaction for each call; the statements are prepared."""

    pool: AsyncConnectionPool[AsyncConnection[TupleRow]]

    async def reserve(self, user: str) -> str:
        """Hold tokens of the user's budget."""
        hold_id = uuid4().hex
        async with self.pool.connection() as connection:
            (taken,) = await _row(connection, READ + FOR_UPDATE, (user,))
            if not isinstance(taken, int) or taken + HELD_TOKENS > BUDGET:
                return ""
            await _run(connection, HOLD, (HELD_TOKENS, user))
            await _run(connection, NEW_HOLD, (hold_id, user, HELD_TOKENS))
        return hold_id

    async def settle(self, reservation_id: str) -> None:
        """Book the usage of a hold, end it and write its event."""
        async with self.pool.connection() as connection:
            user, tokens = await _row(connection, READ_HOLD + FOR_UPDATE, (reservation_id,))
            await _run(connection, BOOK, (USAGE.total_tokens, tokens, user))
            await _run(connection, END_HOLD, (reservation_id,))
            await _run(connection, NEW_EVENT, event_row(str(user)))


async def _run(
    connection: AsyncConnection[TupleRow], statement: LiteralString, values: Sequence[object]
) -> AsyncCursor[TupleRow]:
    return await connection.execute(statement.replace("?", "%s"), values, prepare=True)


async def _row(connection: AsyncConnection[TupleRow], statement: LiteralString, values: Sequence[object]) -> TupleRow:
    row = await (await _run(connection, statement, values)).fetchone()
    if row is None:
        raise RuntimeError(f"no row for {values}")
    return row


@asynccontextmanager
async def postgres_peer(url: str, users: Sequence[str], connections: int) -> AsyncGenerator[Pooled]:
    pool = AsyncConnectionPool(
        url, connection_class=AsyncConnection[TupleRow], min_size=connections, max_size=connections, open=False
    )
    async with pool:
        await pool.wait()
        async with pool.connection() as connection:
            for table in TABLES:
                await connection.execute(table)
            await connection.cursor().executemany(NEW_USER.replace("?", "%s"), [(user,) for user in users])
        yield Pooled(pool)
