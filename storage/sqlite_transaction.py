"""The ledger's transaction in SQLite's words: rows to nouns and back. The connection already holds the write lock."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import aiosqlite

from tokenward.engine.quota import Amounts, State, Subjects, TokenLimit
from tokenward.engine.types import DAY_US, NANO_PER_USD, JsonObject
from tokenward.engine.usage import UsageEvent
from tokenward.storage.base import AnswerKind, Reservation

KEEP_ANSWERS_US = 35 * DAY_US
"""How long answers to idempotency keys and ended reservations are remembered."""

_COLUMNS = {"user": "user_id", "group": "group_id", "session": "session_id"}


def _where(subject: str) -> tuple[str, tuple[str, ...]]:
    """The condition that picks a subject's rows, in ``token_usage`` and ``reservation`` alike."""
    scope, _, name = subject.partition(":")
    return ("1 = 1", ()) if scope == "global" else (f"{_COLUMNS[scope]} = ?", (name,))


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _dump(state: State) -> str:
    return json.dumps(
        {name: [[bucket, *amounts] for bucket, amounts in counter.items()] for name, counter in state.items()},
        separators=(",", ":"),
    )


def _parse(text: str) -> State:
    stored = cast("dict[str, list[list[int]]]", json.loads(text))
    return {name: {row[0]: (row[1], row[2]) for row in rows} for name, rows in stored.items()}


def _reservation(row: Iterable[Any]) -> Reservation:
    reservation_id, user, group, session, model, tokens, cost_nano, requests, admitted, expires = row
    return Reservation(
        reservation_id, Subjects(user, group, session), Amounts(tokens, cost_nano, requests), model, admitted, expires
    )


def limit_of(row: Iterable[Any]) -> TokenLimit:
    """A row of ``token_limits``."""
    return TokenLimit(*row)


class SqliteTransaction:
    """A :class:`~tokenward.storage.base.Transaction` on a connection inside ``BEGIN IMMEDIATE``."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def _rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        return list(await self._connection.execute_fetchall(query, values))

    async def limits(self, subjects: Sequence[str]) -> list[TokenLimit]:
        """The limits of the subjects."""
        query = f"SELECT * FROM token_limits WHERE subject IN ({_marks(subjects)})"  # noqa: S608 - only marks
        return [limit_of(row) for row in await self._rows(query, subjects)]

    async def states(self, subjects: Sequence[str], now_us: int) -> dict[str, State]:
        """The subjects' states; an empty one for a subject without a row, or with one of a later clock."""
        query = f"SELECT subject, state FROM quota_state WHERE written <= ? AND subject IN ({_marks(subjects)})"  # noqa: S608
        found = {subject: _parse(state) for subject, state in await self._rows(query, (now_us, *subjects))}
        return {subject: found.get(subject, {}) for subject in subjects}

    async def put_states(self, states: Mapping[str, State], now_us: int) -> None:
        """Write states back."""
        rows = [(subject, _dump(state), now_us) for subject, state in states.items()]
        await self._connection.executemany("INSERT OR REPLACE INTO quota_state VALUES (?, ?, ?)", rows)

    async def forget_states(self, subject: str) -> None:
        """Drop a subject's state; every user's for ``default``."""
        if subject == "default":
            await self._connection.execute("DELETE FROM quota_state WHERE subject LIKE 'user:%'")
        else:
            await self._connection.execute("DELETE FROM quota_state WHERE subject = ?", (subject,))

    async def usage_between(
        self, subject: str, since_us: int, until_us: int, width_us: int
    ) -> list[tuple[int, Amounts]]:
        """A subject's settled usage of a stretch of time, by ``admitted // width_us``."""
        condition, values = _where(subject)
        query = f"""
            SELECT admitted / ?, sum(tokens_used),
                coalesce(sum(cost_nano / 1000000000), 0), coalesce(sum(cost_nano % 1000000000), 0), count(*)
            FROM token_usage WHERE admitted >= ? AND admitted < ? AND {condition} GROUP BY 1
        """  # noqa: S608 - the condition is ours
        rows = await self._rows(query, (width_us, since_us, until_us, *values))
        return [
            (index, Amounts(tokens, dollars * NANO_PER_USD + nano, requests))
            for index, tokens, dollars, nano, requests in rows
        ]

    async def holds(self, subject: str) -> list[Reservation]:
        """A subject's pending holds."""
        condition, values = _where(subject)
        query = f"SELECT * FROM reservation WHERE {condition}"  # noqa: S608 - the condition is ours
        return [_reservation(row) for row in await self._rows(query, values)]

    async def due(self, now_us: int) -> list[Reservation]:
        """The holds whose time is over."""
        query = "SELECT * FROM reservation WHERE expires <= ? ORDER BY expires"
        return [_reservation(row) for row in await self._rows(query, (now_us,))]

    async def reservation(self, reservation_id: str) -> Reservation | None:
        """A pending hold."""
        rows = await self._rows("SELECT * FROM reservation WHERE reservation_id = ?", (reservation_id,))
        return _reservation(rows[0]) if rows else None

    async def put_reservation(self, reservation: Reservation) -> None:
        """Add or replace a pending hold."""
        one = reservation
        who = (one.subjects.user, one.subjects.group, one.subjects.session)
        what = (one.amounts.tokens, one.amounts.cost_nano, one.amounts.requests)
        row = (one.reservation_id, *who, one.model, *what, one.admitted_us, one.expires_us)
        await self._connection.execute(f"INSERT OR REPLACE INTO reservation VALUES ({_marks(row)})", row)  # noqa: S608

    async def drop_reservation(self, reservation_id: str) -> None:
        """Take a hold out of the pending ones."""
        await self._connection.execute("DELETE FROM reservation WHERE reservation_id = ?", (reservation_id,))

    async def add_event(self, event: UsageEvent) -> None:
        """Write one line of the ledger."""
        used = event.usage
        row: tuple[object, ...] = (
            *(event.event_id, event.timestamp_us, event.admitted_us, event.user, event.group, event.session),
            *(event.model, used.input_tokens, used.output_tokens, used.cached_input_tokens, used.cache_write_tokens),
            *(used.cache_write_1h_tokens, used.reasoning_tokens, used.total_tokens, event.cost_nano),
            *(event.price_source, event.endpoint, event.priority, event.reservation_id, int(event.overage)),
        )
        await self._connection.execute(f"INSERT INTO token_usage VALUES ({_marks(row)})", row)  # noqa: S608

    async def answer(self, kind: AnswerKind, key: str) -> JsonObject | None:
        """What was answered to a key before."""
        rows = await self._rows("SELECT answer FROM event_key WHERE kind = ? AND key = ?", (kind, key))
        return cast("JsonObject", json.loads(rows[0][0])) if rows else None

    async def put_answer(self, kind: AnswerKind, key: str, answer: JsonObject, now_us: int) -> None:
        """Remember an answer, and forget those past their keeping time."""
        row = (kind, key, json.dumps(answer), now_us)
        await self._connection.execute("INSERT OR REPLACE INTO event_key VALUES (?, ?, ?, ?)", row)
        await self._connection.execute("DELETE FROM event_key WHERE created < ?", (now_us - KEEP_ANSWERS_US,))

    async def put_limit(self, limit: TokenLimit) -> None:
        """Add or replace a limit."""
        row = (limit.subject, limit.metric, limit.window, limit.limit, limit.mode, limit.timezone)
        await self._connection.execute(f"INSERT OR REPLACE INTO token_limits VALUES ({_marks(row)})", row)  # noqa: S608

    async def drop_limit(self, subject: str, metric: str, window: str) -> bool:
        """Take a limit away; returns whether there was one."""
        query = "DELETE FROM token_limits WHERE subject = ? AND metric = ? AND time_window = ?"
        return (await self._connection.execute(query, (subject, metric, window))).rowcount > 0
