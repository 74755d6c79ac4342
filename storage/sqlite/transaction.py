"""The ledger's transactions in SQLite's words. The connection already holds the write lock, so what is peeked at stays.

Lists are handed over as one JSON parameter: the statements stay the same, and SQLite keeps them prepared.

A batch of the ledger reads and writes a few rows by their keys, which takes microseconds. That is done where it is:
handing it to the connection's thread and back would take longer, most of all while the event loop is busy. What can
take longer goes to the thread: waiting for the lock, the commit, sums over many events, and many rows.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, cast

import aiosqlite

from tokenward.engine.budget import Budget
from tokenward.engine.limits import Amounts, TokenLimit
from tokenward.engine.types import NANO_PER_USD, QUARTER_HOUR_US, Clock, JsonObject
from tokenward.engine.usage import UsageEvent
from tokenward.storage import rollup, rows
from tokenward.storage.base import Added, HourlyUsage, Repricing, Reservation
from tokenward.storage.rollup import Rollup
from tokenward.storage.sqlite import sql
from tokenward.storage.states import dump, dump_state, parse_state
from tokenward.storage.transaction import (
    FORGET_AT_ONCE,
    KEEP_ANSWERS_US,
    AnswerKey,
    Changes,
    Forgetting,
    Loaded,
    Peek,
    Wanted,
    sorted_out,
    subjects_of,
)

_IN = "IN (SELECT value FROM json_each(?))"


_FEW_ROWS = 100
"""So many rows the event loop can wait for."""


def _marks(count: int) -> str:
    return ", ".join("?" * count)


class _Statements:
    """A connection inside a transaction.

    Args:
        connection: The way over its thread.
        direct: The same connection, for what takes no time. Its thread is idle then: everything is awaited in turn.
    """

    def __init__(self, connection: aiosqlite.Connection, direct: sqlite3.Connection) -> None:
        self._connection = connection
        self._direct = direct

    async def _rows(self, query: str, *values: object) -> list[Any]:
        return list(await self._connection.execute_fetchall(query, values))

    async def _many(self, statement: str, values: Iterable[Sequence[object]]) -> None:
        given = list(values)
        if len(given) > _FEW_ROWS:
            await self._connection.executemany(statement, given)
        elif given:
            self._direct.executemany(statement, given)

    async def insert_events(self, events: Sequence[UsageEvent]) -> None:
        """Write events and what they add to the rollup."""
        columns = rows.EVENT_COLUMNS
        marks = _marks(len(columns.split(", ")))
        above = [(name, one.admitted_us, one.event_id) for one in events for name in one.ancestors]
        await self._many(f"INSERT INTO token_usage ({columns}) VALUES ({marks})", map(rows.event_values, events))
        await self._many("INSERT INTO usage_ancestor VALUES (?, ?, ?)", above)
        await self.add_rollup(rollup.rollup_of(events))

    async def add_rollup(self, added: Rollup) -> None:
        """Add sums to the rollup."""
        of_users = [(*key, *sums) for key, sums in added.users.items()]
        of_all = [(*key, 0, *sums) for key, sums in added.all.items()]
        await self._many(sql.ADD_HOURLY, of_users)
        await self._many(sql.ADD_HOURLY_ALL, of_all)


class SqliteTransaction(_Statements):
    """A :class:`~tokenward.storage.transaction.Transaction`. It begins with the peek, so that both go together."""

    def __init__(
        self, connection: aiosqlite.Connection, direct: sqlite3.Connection, clock: Clock, forgetting: Forgetting
    ) -> None:
        super().__init__(connection, direct)
        self.now_us = clock()
        self._clock = clock
        self._forgetting = forgetting
        self._likely: dict[str, tuple[str, int] | None] = {}
        self._peek = Peek(0, {}, (), ())

    async def mark(self, batch_id: str) -> bool:
        """A commit's outcome is always known here, so no batch was committed before."""
        return True

    async def peek(
        self,
        answers: Sequence[AnswerKey],
        reservation_ids: Sequence[str],
        sessions: Sequence[tuple[str, str]],
        likely: Sequence[str],
    ) -> Peek:
        """Begin; the limits' version, what tells which subjects to lock, and the likely subjects' states."""
        keyed = any(kind == "reserve" for kind, _ in answers)
        values = {"now": self.now_us, "names": json.dumps(reservation_ids), "keys": json.dumps(answers)}
        await self._connection.execute("BEGIN IMMEDIATE")
        known = self._answers(answers)
        found = self._direct.execute(sql.peek(named=bool(reservation_ids), keyed=keyed), values).fetchall()
        states = self._states(likely)
        # Waiting for the lock took its time.
        self.now_us = self._clock()
        self._likely = dict.fromkeys(likely) | {subject: (state, written) for subject, state, written in states}
        ((version, *_), *_) = found
        reservations = [rows.reservation_of(row) for _, *row in found if row[0] is not None]
        budgets = self._budgets(sessions, rows.on_paths(reservations, known))
        self._peek = Peek(version, known, reservations, budgets)
        return self._peek

    def _by_key(self, query: str, keys: object) -> list[Any]:
        """Few rows, by an index."""
        return self._direct.execute(query, (json.dumps(keys),)).fetchall()

    def _states(self, subjects: Sequence[str]) -> list[Any]:
        if not subjects:
            return []
        return self._by_key(f"SELECT subject, state, written FROM quota_state WHERE subject {_IN}", subjects)

    def _budgets(self, sessions: Sequence[tuple[str, str]], ids: set[str]) -> list[Budget]:
        found: dict[str, Budget] = {}
        if sessions:
            query = (
                f"SELECT {rows.BUDGET_COLUMNS} FROM budget WHERE ended IS NULL AND (user_id, session_id) IN {sql.PAIRS}"
            )
            found = {row[0]: rows.budget_of(row) for row in self._by_key(query, sessions)}
            ids = ids.union(*(one.path for one in found.values()))
        if missing := sorted(ids - found.keys()):
            query = f"SELECT {rows.BUDGET_COLUMNS} FROM budget WHERE budget_id {_IN}"
            found |= {row[0]: rows.budget_of(row) for row in self._by_key(query, missing)}
        return list(found.values())

    def _answers(self, keys: Iterable[AnswerKey]) -> dict[AnswerKey, JsonObject]:
        if not (wanted := sorted(keys)):
            return {}
        query = f"SELECT kind, key, answer FROM event_key WHERE (kind, key) IN {sql.PAIRS}"
        found = self._by_key(query, wanted)
        return {(kind, key): cast("JsonObject", json.loads(answer)) for kind, key, answer in found}

    async def limits(self, subjects: Sequence[str]) -> list[TokenLimit]:
        """The limits of the subjects."""
        query = f"SELECT * FROM token_limits WHERE subject {_IN}"
        return [TokenLimit(*row) for row in self._by_key(query, subjects)]

    async def load(self, wanted: Wanted) -> Loaded:
        """The states, and what was not peeked at yet."""
        states = {subject: self._likely[subject] for subject in wanted.subjects if subject in self._likely}
        others = self._states([subject for subject in wanted.subjects if subject not in states])
        states |= {subject: (state, written) for subject, state, written in others}
        loaded = Loaded(
            self.now_us,
            {
                subject: parse_state(found[0])
                for subject, found in states.items()
                if found is not None and found[1] <= self.now_us
            },
            {**self._peek.answers},
            {one.reservation_id: one for one in self._peek.reservations},
            budgets={one.budget_id: one for one in self._peek.budgets},
        )
        loaded.answers |= self._answers(set(wanted.answers) - self._peek.answers.keys())
        # What the peek looked for and did not find is not there; budgets' own holds it did not look for.
        if missing := sorted(set(wanted.budget_ids) - loaded.reservations.keys()):
            query = f"SELECT {rows.RESERVATION_COLUMNS} FROM reservation WHERE reservation_id {_IN}"
            own = [rows.reservation_of(row) for row in self._by_key(query, missing)]
            loaded.reservations |= {one.reservation_id: one for one in own}
        if wanted.event_ids:
            query = f"SELECT {rows.EVENT_COLUMNS} FROM token_usage WHERE event_id {_IN}"
            standing = [rows.event_of(row) for row in await self._rows(query, json.dumps(wanted.event_ids))]
            loaded.events = {one.event_id: one for one in standing}
        return loaded

    async def usage_between(
        self, subjects: Sequence[str], since_us: int, until_us: int, width_us: int
    ) -> list[tuple[str, int, Amounts]]:
        """Settled usage of a stretch of time, by subject and ``admitted // width_us``."""
        scope, names = rows.names_of(subjects)
        values = {"width": width_us, "since": since_us, "until": until_us, "names": json.dumps(names)}
        found = await self._connection.execute_fetchall(sql.USAGE_BETWEEN[scope], values)
        return [
            (rows.subject_of(scope, name), index, Amounts(tokens, dollars * NANO_PER_USD + nano, requests))
            for name, index, tokens, dollars, nano, requests in found
        ]

    async def holds(self, subjects: Sequence[str], at_most: int) -> list[Reservation]:
        """The pending holds that count for any of the subjects, and perhaps others."""
        scope, names = rows.names_of(subjects)
        found = await self._connection.execute_fetchall(sql.HOLDS[scope], {"names": json.dumps(names), "most": at_most})
        return [rows.reservation_of(row) for row in found]

    async def write(self, changes: Changes, now_us: int, batch_id: str) -> None:
        """Write a batch's changes."""
        states = [(subject, dump_state(state), now_us) for subject, state in changes.states.items()]
        answers = [(*key, dump(answer), now_us) for key, answer in changes.answers.items()]
        holds = map(rows.reservation_values, changes.reservations.values())
        budgets = map(rows.budget_values, changes.budgets.values())
        await self._many("INSERT OR REPLACE INTO quota_state VALUES (?, ?, ?)", states)
        await self._put("reservation", rows.RESERVATION_COLUMNS, holds)
        await self._many("DELETE FROM reservation WHERE reservation_id = ?", [(one,) for one in changes.dropped])
        await self._put("budget", rows.BUDGET_COLUMNS, budgets)
        await self._many("INSERT OR REPLACE INTO event_key VALUES (?, ?, ?, ?)", answers)
        await self.insert_events(changes.events)
        if answers:
            await self._forget(now_us)

    async def _put(self, table: str, columns: str, values: Iterable[Sequence[object]]) -> None:
        names = columns.split(", ")
        changed = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
        await self._many(
            f"INSERT INTO {table} ({columns}) VALUES ({_marks(len(names))}) "
            f"ON CONFLICT ({names[0]}) DO UPDATE SET {changed}",
            values,
        )

    async def _forget(self, now_us: int) -> None:
        """Forget answers and ended budgets past their keeping time, now and then."""
        if not self._forgetting.due(now_us):
            return
        old = "SELECT kind, key FROM event_key WHERE created < ? ORDER BY created LIMIT ?"
        await self._rows(
            f"DELETE FROM event_key WHERE (kind, key) IN ({old})",
            now_us - KEEP_ANSWERS_US,
            FORGET_AT_ONCE,
        )
        await self._rows("DELETE FROM budget WHERE ended < ?", now_us - KEEP_ANSWERS_US)


class SqliteMaintenance(_Statements):
    """A :class:`~tokenward.storage.transaction.Maintenance`: nobody else can be in a transaction."""

    async def begin(self) -> None:
        """Wait for the write lock."""
        await self._connection.execute("BEGIN IMMEDIATE")

    async def put_limit(self, limit: TokenLimit) -> None:
        """Add or replace a limit, and drop the states it touches."""
        row = (limit.subject, limit.metric, limit.window, limit.limit, limit.mode, limit.timezone)
        await self._rows("INSERT OR REPLACE INTO token_limits VALUES (?, ?, ?, ?, ?, ?)", *row)
        await self._forget_states(limit.subject)

    async def drop_limit(self, subject: str, metric: str, window: str) -> bool:
        """Take a limit away; returns whether there was one."""
        query = "DELETE FROM token_limits WHERE subject = ? AND metric = ? AND time_window = ? RETURNING 1"
        found = await self._rows(query, subject, metric, window)
        await self._forget_states(subject)
        return bool(found)

    async def _forget_states(self, subject: str) -> None:
        await self._rows("UPDATE ledger_meta SET value = value + 1 WHERE name = 'limits_version'")
        if subject == "default":
            await self._rows("DELETE FROM quota_state WHERE subject LIKE 'user:%'")
        else:
            await self._rows("DELETE FROM quota_state WHERE subject = ?", subject)

    async def add_events(self, events: Sequence[UsageEvent]) -> Added:
        """Add events that are not there yet, and drop the states that count them."""
        query = f"SELECT {rows.EVENT_COLUMNS} FROM token_usage WHERE event_id {_IN}"
        standing = await self._rows(query, json.dumps([one.event_id for one in events]))
        new, added = sorted_out(events, map(rows.event_of, standing))
        await self.insert_events(new)
        await self._many("DELETE FROM quota_state WHERE subject = ?", [(one,) for one in subjects_of(new)])
        return added

    async def reprice(self, changes: Sequence[Repricing]) -> int:
        """Give events another price, in the rollup too, and drop the states that counted them."""
        known = {one.event.event_id: one for one in changes}
        query = f"SELECT {rows.EVENT_COLUMNS} FROM token_usage WHERE event_id {_IN}"
        standing = [rows.event_of(row) for row in await self._rows(query, json.dumps(list(known)))]
        new = [(known[one.event_id].cost_nano, known[one.event_id].price_source, one.event_id) for one in standing]
        await self._many("UPDATE token_usage SET cost_nano = ?, price_source = ? WHERE event_id = ?", new)
        await self.add_rollup(rollup.repriced((one, known[one.event_id].cost_nano) for one in standing))
        await self._many("DELETE FROM quota_state WHERE subject = ?", [(one,) for one in subjects_of(standing)])
        return len(standing)

    async def prune(self, before_us: int, at_most: int) -> int:
        """Delete some events before a moment, which is remembered; returns how many."""
        await self._remember_pruned(before_us)
        # What counts in a window of today stays, whenever it happened.
        old = "SELECT event_id FROM token_usage WHERE timestamp < ? AND admitted < ? LIMIT ?"
        values = (before_us, before_us, at_most)
        await self._rows(f"DELETE FROM usage_ancestor WHERE event_id IN ({old})", *values)
        gone = await self._rows(f"DELETE FROM token_usage WHERE event_id IN ({old}) RETURNING 1", *values)
        return len(gone)

    async def _remember_pruned(self, before_us: int) -> None:
        await self._rows("UPDATE ledger_meta SET value = max(value, ?) WHERE name = 'pruned_before'", before_us)

    async def add_hourly(self, lines: Sequence[HourlyUsage]) -> int:
        """Add rollup lines whose time has none yet, and remember that it was pruned."""
        query = f"SELECT {rows.HOURLY_COLUMNS} FROM usage_hourly WHERE quarter_hour {_IN}"
        quarters = sorted({one.quarter_hour for one in lines})
        standing = {tuple(row[:5]) for row in await self._rows(query, json.dumps(quarters))}
        added = rows.new_lines(lines, standing)
        await self.add_rollup(added)
        await self._remember_pruned((max(quarters, default=-1) + 1) * QUARTER_HOUR_US)
        return len(added.users)

    async def keep_secret(self, name: str, value: str) -> None:
        """Keep a secret of the ledger; one that stands already stays."""
        await self._rows("INSERT INTO ledger_secret (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", name, value)
