"""The schema's versions: numbered SQL files, each applied once, in order, under the write lock."""

import sqlite3
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

import aiosqlite

from tokenward.engine.errors import SchemaTooNew


@cache
def migrations(dialect: str) -> tuple[tuple[int, str], ...]:
    """The dialect's migrations as (version, SQL), ascending. Files are named ``0001_subject.sql``."""
    folder = files("tokenward.storage") / "migrations" / dialect
    found = [(int(one.name[:4]), one.read_text("utf-8")) for one in folder.iterdir() if one.name.endswith(".sql")]
    return tuple(sorted(found))


def latest_version(dialect: str) -> int:
    """The version that this tokenward brings a database to."""
    return migrations(dialect)[-1][0]


def statements(script: str) -> Iterator[str]:
    """The single statements of a script: ``executescript`` would commit half-way."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


async def schema_version(connection: aiosqlite.Connection) -> int:
    """The version of the schema in the database; 0 for an empty one."""
    query = "SELECT 1 FROM sqlite_master WHERE name = 'schema_version'"
    if not await connection.execute_fetchall(query):
        return 0
    ((version,),) = await connection.execute_fetchall("SELECT max(version) FROM schema_version")
    return int(version or 0)


async def upgrade(connection: aiosqlite.Connection, now_us: int) -> int:
    """Bring the schema up to date; several processes may try at once, each migration is applied once.

    Returns:
        The version that was found.

    Raises:
        SchemaTooNew: A newer tokenward wrote the database.
    """
    known = migrations("sqlite")
    latest = latest_version("sqlite")
    found = await schema_version(connection)
    if found > latest:
        raise SchemaTooNew(found, latest)
    if found == latest:
        return found
    await connection.execute("BEGIN IMMEDIATE")
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL) STRICT"
        )
        # Another process may have been quicker.
        reached = await schema_version(connection)
        for version, script in known:
            if version > reached:
                for statement in statements(script):
                    await connection.execute(statement)
                await connection.execute("INSERT INTO schema_version VALUES (?, ?)", (version, now_us))
        await connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            await connection.execute("ROLLBACK")
        raise
    return found
