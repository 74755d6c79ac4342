"""What changes the ledger under everybody's feet, in Postgres's words: limits, prices, retention, import."""

from collections.abc import Sequence
from typing import LiteralString

from tokenward.engine.limits import TokenLimit
from tokenward.engine.types import QUARTER_HOUR_US
from tokenward.engine.usage import UsageEvent
from tokenward.storage import rollup, rows
from tokenward.storage.base import Added, HourlyUsage, Repricing
from tokenward.storage.postgres import sql
from tokenward.storage.postgres.transaction import Connection, columns_of, event_parts, rollup_parts, run
from tokenward.storage.transaction import sorted_out, subjects_of


class PostgresMaintenance:
    """A :class:`~tokenward.storage.transaction.Maintenance`.

    It begins by changing the limits' version, which every other transaction holds a shared lock on: it waits for those
    under way, and new ones wait for it.
    """

    def __init__(self, connection: Connection, shard: int) -> None:
        self._connection = connection
        self._shard = shard

    async def begin(self) -> None:
        """Wait until nobody else is in a transaction."""
        # Locks of the row are not queued: shared ones that follow each other closely would keep it out for ever.
        await self._execute(sql.LOCK_META)
        await self._execute(sql.LOCK_VERSION)

    async def _execute(self, statement: LiteralString, *values: object) -> int:
        return (await self._connection.execute(statement, values)).rowcount

    async def put_limit(self, limit: TokenLimit) -> None:
        """Add or replace a limit, and drop the states it touches."""
        row = (limit.subject, limit.metric, limit.window, limit.limit, limit.mode, limit.timezone)
        await self._execute(sql.PUT_LIMIT, *row)
        await self._forget_states(limit.subject)

    async def drop_limit(self, subject: str, metric: str, window: str) -> bool:
        """Take a limit away; returns whether there was one."""
        count = await self._execute(sql.DROP_LIMIT, subject, metric, window)
        await self._forget_states(subject)
        return count > 0

    async def _forget_states(self, subject: str) -> None:
        if subject == "default":
            await self._execute(sql.FORGET_USERS)
        else:
            await self._execute(sql.FORGET_STATES, [subject])

    async def add_events(self, events: Sequence[UsageEvent]) -> Added:
        """Add events that are not there yet, and drop the states that count them."""
        found = await self._connection.execute(sql.EVENTS, [[one.event_id for one in events]])
        new, added = sorted_out(events, map(rows.event_of, await found.fetchall()))
        await run(self._connection, await event_parts(self._connection, new, self._shard))
        await self._execute(sql.FORGET_STATES, subjects_of(new))
        return added

    async def reprice(self, changes: Sequence[Repricing]) -> int:
        """Give events another price, in the rollup too, and drop the states that counted them."""
        known = {one.event.event_id: one for one in changes}
        found = await (await self._connection.execute(sql.EVENTS, [list(known)])).fetchall()
        standing = [rows.event_of(row) for row in found]
        new = [(one.event_id, known[one.event_id].cost_nano, known[one.event_id].price_source) for one in standing]
        await self._execute(sql.REPRICE, *columns_of(new, 3))
        added = rollup.repriced((one, known[one.event_id].cost_nano) for one in standing)
        await run(self._connection, rollup_parts(added, self._shard))
        await self._execute(sql.FORGET_STATES, subjects_of(standing))
        return len(standing)

    async def prune(self, before_us: int, at_most: int) -> int:
        """Delete some events before a moment, which is remembered; returns how many."""
        await self._execute(sql.REMEMBER_PRUNED, before_us)
        ((count,),) = await (await self._connection.execute(sql.PRUNE, (before_us, before_us, at_most))).fetchall()
        return int(count)

    async def add_hourly(self, lines: Sequence[HourlyUsage]) -> int:
        """Add rollup lines whose time has none yet, and remember that it was pruned."""
        quarters = sorted({one.quarter_hour for one in lines})
        found = await (await self._connection.execute(sql.HOURLY_OF, [quarters])).fetchall()
        standing = {tuple(row[:5]) for row in found}
        added = rows.new_lines(lines, standing)
        await run(self._connection, rollup_parts(added, self._shard))
        await self._execute(sql.REMEMBER_PRUNED, (max(quarters, default=-1) + 1) * QUARTER_HOUR_US)
        return len(added.users)

    async def keep_secret(self, name: str, value: str) -> None:
        """Keep a secret of the ledger; one that stands already stays."""
        await self._execute(sql.KEEP_VALUE, name, value)
