"""Plain SQL beside a store: for making history, for sums over raw events, and for single commits."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, LiteralString, Protocol

import aiosqlite
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from bench.places import MissingError
from tokenward.storage.factory import is_postgres, sqlite_path

EVENT_COLUMNS: Final = """
    event_id, timestamp, admitted, user_id, model, input_tokens, output_tokens, cached_tokens, tokens_used, cost_nano,
    group_id, session_id, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, price_source, api_endpoint,
    priority_level, reservation_id, overage, service_tier, ancestors
"""
EVENT_REST: Final = "'', '', 0, 0, 0, 'bench', '', 'normal', '', 0, 'standard', ''"
"""Values of the columns after ``cost_nano``."""


class Raw(Protocol):
    """One connection. Values are marked ``?`` in every dialect."""

    async def rows(self, query: LiteralString, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """What a query answers."""
        ...

    async def commit_one(self, statement: LiteralString, values: Sequence[object]) -> None:
        """One statement in a transaction of its own."""
        ...

    async def run(self, *statements: LiteralString) -> None:
        """Statements in one transaction."""
        ...


def percent(statement: LiteralString) -> LiteralString:
    """As psycopg wants it."""
    return statement.replace("%", "%%").replace("?", "%s")


@dataclass(frozen=True, slots=True)
class SqliteRaw:
    """aiosqlite, as the store sets it up."""

    connection: aiosqlite.Connection

    async def rows(self, query: LiteralString, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """What a query answers."""
        return [tuple(row) for row in await self.connection.execute_fetchall(query, values)]

    async def commit_one(self, statement: LiteralString, values: Sequence[object]) -> None:
        """The driver begins a transaction by itself."""
        await self.connection.execute(statement, values)
        await self.connection.commit()

    async def run(self, *statements: LiteralString) -> None:
        """Statements in one transaction."""
        for statement in statements:
            await self.connection.execute(statement)
        await self.connection.commit()


@dataclass(frozen=True, slots=True)
class PostgresRaw:
    """psycopg, statements prepared."""

    connection: AsyncConnection[TupleRow]

    async def rows(self, query: LiteralString, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """What a query answers."""
        rows = await (await self.connection.execute(percent(query), values, prepare=True)).fetchall()
        await self.connection.commit()
        return rows

    async def commit_one(self, statement: LiteralString, values: Sequence[object]) -> None:
        """The driver begins a transaction by itself."""
        await self.connection.execute(percent(statement), values, prepare=True)
        await self.connection.commit()

    async def run(self, *statements: LiteralString) -> None:
        """Statements in one transaction."""
        for statement in statements:
            await self.connection.execute(statement)
        await self.connection.commit()


@asynccontextmanager
async def raw_at(url: str) -> AsyncGenerator[Raw]:
    """A connection to the database of a store's URL."""
    if is_postgres(url):
        async with await AsyncConnection.connect(url) as connection:
            yield PostgresRaw(connection)
        return
    if (path := sqlite_path(url)) is None:
        raise MissingError("a file to measure in")
    async with aiosqlite.connect(path, timeout=60) as connection:
        await connection.execute("PRAGMA synchronous=FULL")
        # Making a long history writes to several indexes at random places; sums over raw events gain by it too.
        await connection.execute("PRAGMA cache_size=-500000")
        yield SqliteRaw(connection)
