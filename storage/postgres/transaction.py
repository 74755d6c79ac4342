"""The ledger's transactions in Postgres's words: plain SQL, whole batches as arrays, a few round trips for each.

Subjects are locked in their order, so transactions of several servers wait for each other and never in a circle. What
is read for a decision is read after its subjects are locked: each statement sees what was committed by then.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString, TypeAlias, cast

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow

from tokenward.engine.budget import Budget
from tokenward.engine.limits import Amounts, TokenLimit
from tokenward.engine.types import Clock, JsonObject
from tokenward.engine.usage import UsageEvent
from tokenward.storage import rollup, rows
from tokenward.storage.base import Reservation
from tokenward.storage.postgres import sql
from tokenward.storage.rollup import Rollup
from tokenward.storage.states import dump, dump_state, parse_state
from tokenward.storage.transaction import (
    FORGET_AT_ONCE,
    KEEP_ANSWERS_US,
    MOST_EXPIRED,
    AnswerKey,
    Changes,
    Forgetting,
    Loaded,
    Moved,
    Peek,
    Wanted,
)

Connection: TypeAlias = AsyncConnection[TupleRow]

_COPY_FROM = 1_000
"""From so many events on COPY is quicker than arrays."""

_LONGEST, _MOST_VALUES = 4_000, 50
"""Up to 4,096 characters and 50 values psycopg remembers how to write a command (``psycopg/_queries.py``)."""

_REMEMBERED = 100_000
"""Most subjects that are kept in mind."""


def columns_of(given: Iterable[Sequence[object]], count: int) -> list[list[object]]:
    """Rows as one list per column."""
    return [list(one) for one in zip(*given, strict=True)] or [[] for _ in range(count)]


@dataclass(slots=True)
class Memory:
    """What a process keeps in mind from one transaction to the next.

    Attributes:
        subjects: Whose rows of ``quota_state`` are there, as far as is known.
        forgetting: When old answers were last forgotten.
    """

    subjects: set[str] = field(default_factory=set[str])
    forgetting: Forgetting = field(default_factory=Forgetting)


class PostgresTransaction:
    """A :class:`~tokenward.storage.transaction.Transaction` on a connection of the pool.

    Args:
        connection: Not in autocommit mode; whoever made it commits.
        clock: Tells the time instead of the server.
        shard: The rows of the rollup over all users that this server writes.
        memory: What is kept from one transaction to the next.
    """

    def __init__(self, connection: Connection, clock: Clock | None, shard: int, memory: Memory) -> None:
        self._connection = connection
        self._clock = clock
        self._shard = shard
        self._memory = memory

    async def _execute(self, statement: LiteralString, *values: object) -> AsyncCursor[TupleRow]:
        return await self._connection.execute(statement, values)

    async def mark(self, batch_id: str) -> bool:
        """Claim a batch; waits for a commit of the same batch that is still under way."""
        cursor = await self._execute(sql.MARK_IF_NEW, batch_id, await self._now_us())
        return cursor.rowcount > 0

    async def _now_us(self) -> int:
        if self._clock is not None:
            return self._clock()
        found = await (await self._execute(sql.NOW)).fetchall()
        return int(found[0][0])

    async def peek(
        self,
        answers: Sequence[AnswerKey],
        reservation_ids: Sequence[str],
        sessions: Sequence[tuple[str, str]],
        likely: Sequence[str],
    ) -> Peek:
        """The limits' version, locked against change, and what tells which subjects to lock."""
        del likely
        now_us = None if self._clock is None else self._clock()
        async with self._connection.pipeline():
            version = await self._execute(sql.SHARE_VERSION)
            known = await self._answers(answers)
            holds = await self._execute(sql.PEEK_RESERVATIONS, now_us, MOST_EXPIRED, list(reservation_ids))
            open_budgets = await self._open_budgets(sessions)
            ((limits_version,),) = await version.fetchall()
            found_answers = await _answers_of(known)
            reservations = [rows.reservation_of(row) for row in await holds.fetchall()]
            budgets = await _budgets_of(open_budgets)
        keyed = [str(one["reservation_id"]) for (kind, _), one in found_answers.items() if kind == "reserve"]
        if keyed:
            more = await (await self._execute(sql.RESERVATIONS, keyed)).fetchall()
            reservations = list(
                {one.reservation_id: one for one in (*reservations, *map(rows.reservation_of, more))}.values()
            )
        budgets |= await self._on_paths(reservations, found_answers, budgets)
        return Peek(int(limits_version), found_answers, reservations, list(budgets.values()))

    async def _on_paths(
        self, reservations: Iterable[Reservation], answers: dict[AnswerKey, JsonObject], known: dict[str, Budget]
    ) -> dict[str, Budget]:
        """The budgets on the way to what was found, as far as they are not known."""
        ids = rows.on_paths(reservations, answers).union(*(one.path for one in known.values()))
        if not (missing := sorted(ids - known.keys())):
            return {}
        return await _budgets_of(await self._execute(sql.BUDGETS, missing))

    async def _answers(self, keys: Iterable[AnswerKey]) -> AsyncCursor[TupleRow] | None:
        wanted = sorted(keys)
        return await self._execute(sql.ANSWERS, *columns_of(wanted, 2)) if wanted else None

    async def _open_budgets(self, sessions: Iterable[tuple[str, str]]) -> AsyncCursor[TupleRow] | None:
        wanted = sorted(sessions)
        return await self._execute(sql.OPEN_BUDGETS, *columns_of(wanted, 2)) if wanted else None

    async def limits(self, subjects: Sequence[str]) -> list[TokenLimit]:
        """The limits of the subjects."""
        found = await (await self._execute(sql.LIMITS, list(subjects))).fetchall()
        return [TokenLimit(*row) for row in found]

    async def load(self, wanted: Wanted) -> Loaded:
        """Lock the subjects in their order, then read the time and the rest."""
        subjects = list(wanted.subjects)
        async with self._connection.pipeline():
            if not self._memory.subjects.issuperset(subjects):
                await self._execute(sql.ADD_STATES, subjects)
            states = await self._execute(sql.LOCK_STATES, subjects)
            now_and_holds = await self._execute(sql.NOW_AND_RESERVATIONS, list(wanted.reservation_ids))
            answers = await self._answers(wanted.answers)
            open_budgets = await self._open_budgets(wanted.sessions)
            budgets = await self._execute(sql.BUDGETS, list(wanted.budget_ids)) if wanted.budget_ids else None
            events = await self._execute(sql.EVENTS, list(wanted.event_ids)) if wanted.event_ids else None
            found_states = await states.fetchall()
            self._remember(subjects, len(found_states))
            timed_holds = await now_and_holds.fetchall()
            now_us = int(timed_holds[0][0]) if self._clock is None else self._clock()
            return Loaded(
                now_us,
                {subject: parse_state(state) for subject, state, written in found_states if written <= now_us},
                await _answers_of(answers),
                {row[0]: rows.reservation_of(row) for _, *row in timed_holds if row[0] is not None},
                {row[0]: rows.event_of(row) for row in await _rows_of(events)},
                await _budgets_of(open_budgets) | await _budgets_of(budgets),
            )

    def _remember(self, subjects: Sequence[str], found: int) -> None:
        """Keep in mind whose rows are there. Raises Moved if one is gone: a limit was changed, and states dropped."""
        known = self._memory.subjects
        if found < len(subjects):
            known.clear()
            raise Moved
        if len(known) > _REMEMBERED:
            known.clear()
        known.update(subjects)

    async def usage_between(
        self, subjects: Sequence[str], since_us: int, until_us: int, width_us: int
    ) -> list[tuple[str, int, Amounts]]:
        """Settled usage of a stretch of time, by subject and ``admitted // width_us``."""
        scope, names = rows.names_of(subjects)
        values = {"width": width_us, "since": since_us, "until": until_us, "names": names}
        found = await (await self._connection.execute(sql.USAGE_BETWEEN[scope], values)).fetchall()
        return [
            (rows.subject_of(scope, name), int(index), Amounts(int(tokens), int(cost_nano), requests))
            for name, index, tokens, cost_nano, requests in found
        ]

    async def holds(self, subjects: Sequence[str], at_most: int) -> list[Reservation]:
        """The pending holds that count for any of the subjects, and perhaps others."""
        scope, names = rows.names_of(subjects)
        found = await (await self._connection.execute(sql.HOLDS[scope], {"names": names, "most": at_most})).fetchall()
        return [rows.reservation_of(row) for row in found]

    async def write(self, changes: Changes, now_us: int, batch_id: str) -> None:
        """Write a batch's changes, and its mark: all in one statement, whose parts touch different rows."""
        answers = [(*key, dump(answer), now_us) for key, answer in changes.answers.items()]
        parts = [Part(sql.MARK, (batch_id, now_us))] if batch_id else []
        if changes.states:
            states = [(subject, dump_state(state)) for subject, state in changes.states.items()]
            parts.append(Part(sql.PUT_STATES, (now_us, *columns_of(states, 2))))
        if changes.dropped:
            parts.append(Part(sql.DROP_RESERVATIONS, (list(changes.dropped),)))
        parts += part(sql.PUT_RESERVATIONS, map(rows.reservation_values, changes.reservations.values()))
        parts += part(sql.PUT_BUDGETS, map(rows.budget_values, changes.budgets.values()))
        parts += await event_parts(self._connection, changes.events, self._shard)
        parts += part(sql.PUT_ANSWERS, answers)
        await run(self._connection, parts)
        await self._forget(now_us)

    async def _forget(self, now_us: int) -> None:
        """Forget answers and ended budgets past their keeping time, now and then."""
        if self._memory.forgetting.due(now_us):
            await self._execute(sql.FORGET_ANSWERS, now_us - KEEP_ANSWERS_US, FORGET_AT_ONCE)
            await self._execute(sql.FORGET_BUDGETS, now_us - KEEP_ANSWERS_US)


@dataclass(frozen=True, slots=True)
class Part:
    """A statement that changes one table, with its values."""

    statement: LiteralString
    values: Sequence[object]


def part(statement: LiteralString, given: Iterable[Sequence[object]]) -> list[Part]:
    """A statement on rows handed over as arrays, if there are any."""
    columns = [list(one) for one in zip(*given, strict=True)]
    return [Part(statement, columns)] if columns else []


async def run(connection: Connection, parts: Sequence[Part]) -> None:
    """Run statements as few: the driver works per command, the server per round trip."""
    async with connection.pipeline():
        for some in _together(parts):
            named = ", ".join("part" + str(index) + " AS (" + one.statement + ")" for index, one in enumerate(some))
            values = [value for one in some for value in one.values]
            await connection.execute(f"WITH {named} SELECT 1".encode(), values)


def _together(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Groups of statements that the driver remembers as one: it does not remember longer ones."""
    group: list[Part] = []
    for one in parts:
        length = sum(len(other.statement) + 20 for other in group) + len(one.statement)
        values = sum(len(other.values) for other in group) + len(one.values)
        if group and (length > _LONGEST or values > _MOST_VALUES):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


async def event_parts(connection: Connection, events: Sequence[UsageEvent], shard: int) -> list[Part]:
    """What writes events and what they add to the rollup. Thousands of events are copied at once."""
    if not events:
        return []
    parts: list[Part] = []
    if len(events) < _COPY_FROM:
        parts += part(sql.ADD_EVENTS, map(rows.event_values, events))
    else:
        async with connection.cursor() as cursor, cursor.copy(sql.COPY_EVENTS) as copy:
            for event in events:
                await copy.write_row(rows.event_values(event))
    above = [(name, one.admitted_us, one.event_id) for one in events for name in one.ancestors]
    return parts + part(sql.ADD_ANCESTORS, above) + rollup_parts(rollup.rollup_of(events), shard)


def rollup_parts(added: Rollup, shard: int) -> list[Part]:
    """What adds sums to the rollup, in the order of their keys: servers that write the same rows wait in no circle."""
    of_users = sorted((*key, *sums) for key, sums in added.users.items())
    of_all = sorted((*key, shard, *sums) for key, sums in added.all.items())
    return part(sql.ADD_HOURLY, of_users) + part(sql.ADD_HOURLY_ALL, of_all)


async def _rows_of(cursor: AsyncCursor[TupleRow] | None) -> list[tuple[Any, ...]]:
    return [] if cursor is None else await cursor.fetchall()


async def _answers_of(cursor: AsyncCursor[TupleRow] | None) -> dict[AnswerKey, JsonObject]:
    found = await _rows_of(cursor)
    return {(kind, key): cast("JsonObject", json.loads(answer)) for kind, key, answer in found}


async def _budgets_of(cursor: AsyncCursor[TupleRow] | None) -> dict[str, Budget]:
    return {row[0]: rows.budget_of(row) for row in await _rows_of(cursor)}
