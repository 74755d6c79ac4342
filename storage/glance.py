"""One look at a SQLite ledger, without the store: for a status line that is drawn every second.

It reads what is there and changes nothing. Whatever it is not sure of (counters not made yet, holds that are over,
another schema, a locked file) it leaves to the store.
"""

import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tokenward.engine.limits import Subjects, TokenLimit
from tokenward.engine.quota import LimitStatus, bind, by_subject, missing_counters, status
from tokenward.engine.types import NANO_PER_USD, QUARTER_HOUR_US
from tokenward.engine.windows import Span
from tokenward.storage.states import parse_state

_BUSY_SECONDS = 0.05
_TODAY = """
    SELECT coalesce(sum(input_tokens + output_tokens), 0), coalesce(sum(cost_usd), 0), coalesce(sum(cost_nano), 0),
        coalesce(sum(unpriced_requests), 0)
    FROM usage_hourly WHERE user_id = ? AND quarter_hour >= ? AND quarter_hour < ?
"""
_LIMITS = "SELECT subject, metric, time_window, max_amount, mode, timezone FROM token_limits"

SCHEMA_VERSION = 4
"""The newest schema that is known here; a test holds it to the migrations, which are too heavy to look at."""


@dataclass(frozen=True, slots=True)
class Glance:
    """How a user stands.

    Attributes:
        tokens: Input and output together, of today in a time zone.
        cost_nano: Their cost in nano-dollars, of the priced requests.
        unpriced_requests: How many requests have no known price.
        limits: The limits that apply.
    """

    user: str
    tokens: int
    cost_nano: int
    unpriced_requests: int
    limits: tuple[LimitStatus, ...]


def glance(file: Path, user: str, timezone: str, now_us: int, expected: Collection[TokenLimit] = ()) -> Glance | None:
    """How a user stands by a SQLite file, or ``None`` where only the store can tell.

    Args:
        file: The ledger.
        user: Whose usage and limits.
        timezone: IANA zone whose day is meant.
        now_us: Now, microseconds UTC.
        expected: Limits that the ledger must hold, or it is not up to date with the settings.

    Raises:
        InvalidInput: The user's name or the zone cannot be one.
    """
    subjects = Subjects(user)
    start_us, end_us = Span("day", "calendar", timezone).period(now_us)
    try:
        connection = sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
    except sqlite3.Error:
        return None
    try:
        ((version,),) = connection.execute("SELECT max(version) FROM schema_version")
        known = [TokenLimit(*row) for row in connection.execute(_LIMITS)]
        if version != SCHEMA_VERSION or not set(known).issuperset(expected):
            return None
        limits = _limits(connection, subjects, known, now_us)
        quarters = (user, start_us // QUARTER_HOUR_US, end_us // QUARTER_HOUR_US)
        ((tokens, dollars, nano, unpriced),) = connection.execute(_TODAY, quarters)
    except sqlite3.Error:
        return None
    finally:
        connection.close()
    return None if limits is None else Glance(user, tokens, dollars * NANO_PER_USD + nano, unpriced, limits)


def _limits(
    connection: sqlite3.Connection, subjects: Subjects, known: Iterable[TokenLimit], now_us: int
) -> tuple[LimitStatus, ...] | None:
    """How the limits stand, if every counter is there and no hold is over."""
    bindings = bind(subjects, by_subject(known))
    if not bindings:
        return ()
    if connection.execute("SELECT 1 FROM reservation WHERE expires <= ? LIMIT 1", (now_us,)).fetchone():
        return None
    query = "SELECT subject, state, written FROM quota_state WHERE subject IN (?, ?)"
    stored = connection.execute(query, subjects.names)
    states = {subject: parse_state(state) for subject, state, written in stored if written <= now_us}
    for binding in bindings:
        if missing_counters(states.get(binding.subject, {}), [binding]):
            return None
    return status(bindings, states, now_us)
