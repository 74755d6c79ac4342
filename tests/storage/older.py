"""Ledgers as earlier versions left them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg

from tokenward.storage.migrate import migrations


def sqlite_of_version(path: Path, latest: int, *statements: str) -> None:
    """A SQLite ledger of a version, with what the statements put into it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL) STRICT")
        for version, script in migrations("sqlite"):
            if version <= latest:
                connection.executescript(script)
                connection.execute("INSERT INTO schema_version VALUES (?, 0)", [version])
        for statement in statements:
            connection.execute(statement)


def without_estimates(connection: psycopg.Connection) -> None:
    """Take back what version 3 of Postgres's schema added."""
    connection.execute("ALTER TABLE token_usage DROP COLUMN estimated")
    for table in (b"usage_hourly", b"usage_hourly_all"):
        connection.execute(
            b"ALTER TABLE " + table + b" DROP COLUMN estimated_requests, DROP COLUMN cache_write_1h_tokens"
        )
    connection.execute("DROP TABLE ledger_secret")
    connection.execute("DELETE FROM schema_version WHERE version > 2")
