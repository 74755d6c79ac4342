"""Events by month, for plain Postgres and large ledgers: opt-in, by ``tokenward db upgrade --partitions``.

The table of events becomes partitioned by the month (UTC) in which they happened, with a partition for whatever has
none. A year of months is made ahead; the same command makes more. The index on the moment of admission becomes a BRIN
index, which costs next to nothing to keep. Nobody can write meanwhile.

A partitioned table cannot enforce that an event's id is there once: the ledger looks ids up before it writes them.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tokenward.engine.types import DAY_US, SECOND_US
from tokenward.storage.postgres.schema import is_partitioned
from tokenward.storage.postgres.sql import LOCK_META

MONTHS_AHEAD = 12
MONTHS_BACK = 120
"""Older events stay in the partition of the others."""

_MONTHS: LiteralString = """
    SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = to_regclass('token_usage')
"""
_BOUNDS: LiteralString = (
    "SELECT min(timestamp), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM token_usage"
)
_SPLIT: LiteralString = """
    DROP INDEX token_usage_time, token_usage_user, token_usage_group, token_usage_session, token_usage_admitted,
        token_usage_counted;
    ALTER TABLE token_usage DROP CONSTRAINT token_usage_pkey;
    ALTER TABLE token_usage RENAME TO token_usage_other;
    CREATE TABLE token_usage (LIKE token_usage_other INCLUDING DEFAULTS, PRIMARY KEY (event_id, timestamp))
        PARTITION BY RANGE (timestamp);
    CREATE INDEX token_usage_time ON token_usage (timestamp, event_id);
    CREATE INDEX token_usage_user ON token_usage (user_id, admitted);
    CREATE INDEX token_usage_group ON token_usage (group_id, admitted) WHERE group_id <> '';
    CREATE INDEX token_usage_session ON token_usage (session_id, admitted) WHERE session_id <> '';
    CREATE INDEX token_usage_admitted ON token_usage USING brin (admitted);
    CREATE INDEX token_usage_counted ON token_usage (counted_as, timestamp) WHERE counted_as > '';
    ALTER TABLE token_usage ATTACH PARTITION token_usage_other DEFAULT;
"""


async def partition(url: str) -> int:
    """Partition the events of an up-to-date database, or make the coming months of one that is; returns how many.

    Raises:
        psycopg.Error: The database refused; nothing was changed.
    """
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(LOCK_META)
        if not await is_partitioned(connection):
            await connection.execute(_SPLIT)
        ((oldest_us, now_us),) = await (await connection.execute(_BOUNDS)).fetchall()
        there = {name for (name,) in await (await connection.execute(_MONTHS)).fetchall()}
        made = 0
        earliest_us = now_us - MONTHS_BACK * 31 * DAY_US
        for first, following in _months(max(earliest_us, min(oldest_us or now_us, now_us)), now_us):
            name = f"token_usage_{first:%Y_%m}"
            if name not in there:
                await _add_month(connection, name, _us(first), _us(following))
                made += 1
        return made


def _months(oldest_us: int, now_us: int) -> Iterator[tuple[datetime, datetime]]:
    """First days of months and of the months after them, from the oldest event's to a year ahead."""
    first = datetime.fromtimestamp(oldest_us / SECOND_US, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    last = datetime.fromtimestamp(now_us / SECOND_US, UTC) + timedelta(days=31 * MONTHS_AHEAD)
    while first < last:
        following = (first + timedelta(days=32)).replace(day=1)
        yield first, following
        first = following


def _us(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND_US


async def _add_month(connection: AsyncConnection[TupleRow], name: str, start_us: int, end_us: int) -> None:
    """A partition with what the table of the others has of its month."""
    table, bounds = sql.Identifier(name), {"start": sql.Literal(start_us), "end": sql.Literal(end_us)}
    create = "CREATE TABLE {table} (LIKE token_usage INCLUDING DEFAULTS)"
    move = """
        WITH moved AS (DELETE FROM token_usage_other WHERE timestamp >= {start} AND timestamp < {end} RETURNING *)
        INSERT INTO {table} SELECT * FROM moved
    """
    attach = "ALTER TABLE token_usage ATTACH PARTITION {table} FOR VALUES FROM ({start}) TO ({end})"
    for statement in (create, move, attach):
        await connection.execute(sql.SQL(statement).format(table=table, **bounds))
