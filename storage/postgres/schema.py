"""The schema in Postgres: its versions, and the opt-in partitions."""

from typing import Any, LiteralString

import psycopg
from psycopg import AsyncConnection

from tokenward.engine.errors import SchemaTooNew
from tokenward.storage.migrate import latest_version, migrations

_CREATE_VERSIONS: LiteralString = (
    "CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY, applied bigint NOT NULL)"
)
_VERSION: LiteralString = "SELECT coalesce(max(version), 0) FROM schema_version"

DESCRIBE: LiteralString = """
    SELECT (SELECT coalesce(max(version), 0) FROM schema_version),
        (SELECT sum(pg_total_relation_size(to_regclass(one)))::bigint FROM unnest(ARRAY['token_usage', 'token_limits',
            'quota_state', 'reservation', 'budget', 'event_key', 'usage_hourly', 'usage_hourly_all', 'usage_ancestor'])
            AS one),
        (SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass('token_usage'))
"""

IS_PARTITIONED: LiteralString = "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass('token_usage')"

_TRIES = 10


async def upgrade(connection: AsyncConnection[Any], now_us: int) -> int:
    """Bring the schema up to date; several servers may try at once, each migration is applied once.

    Returns:
        The version that was found.

    Raises:
        SchemaTooNew: A newer tokenward wrote the database.
    """
    latest = latest_version("postgres")
    # A role that may only read and write can start on a schema that is there.
    ((there,),) = await (await connection.execute("SELECT to_regclass('schema_version') IS NOT NULL")).fetchall()
    if not there:
        await _create_versions(connection)
    found = await _version(connection)
    if found > latest:
        raise SchemaTooNew(found, latest)
    if found < latest:
        # Version 0 is the row that everybody who upgrades locks.
        await connection.execute("INSERT INTO schema_version VALUES (0, %s) ON CONFLICT DO NOTHING", [now_us])
        await connection.execute("SELECT 1 FROM schema_version WHERE version = 0 FOR UPDATE")
        # Another server may have been quicker.
        reached = await _version(connection)
        for version, script in migrations("postgres"):
            if version > reached:
                await connection.execute(script.encode())
                await connection.execute("INSERT INTO schema_version VALUES (%s, %s)", (version, now_us))
    await connection.commit()
    return found


async def _create_versions(connection: AsyncConnection[Any]) -> None:
    """Two servers that create a table at once can fail in the catalog, even with IF NOT EXISTS: then it is there."""
    for attempt in range(_TRIES):
        try:
            await connection.execute(_CREATE_VERSIONS)
            await connection.commit()
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable):
            await connection.rollback()
            if attempt == _TRIES - 1:
                raise
        else:
            return


async def _version(connection: AsyncConnection[Any]) -> int:
    ((version,),) = await (await connection.execute(_VERSION)).fetchall()
    return int(version)


async def is_partitioned(connection: AsyncConnection[Any]) -> bool:
    """Whether the events are partitioned."""
    ((partitioned,),) = await (await connection.execute(IS_PARTITIONED)).fetchall()
    return bool(partitioned)
