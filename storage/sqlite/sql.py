"""The longer statements of the SQLite store. Lists come as one JSON value."""

from tokenward.storage.rollup import SUMS
from tokenward.storage.rows import EVENT_COLUMNS, HOURLY_ALL_COLUMNS, HOURLY_COLUMNS, RESERVATION_COLUMNS
from tokenward.storage.transaction import MOST_EXPIRED

PAIRS = "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"
"""A list of pairs."""

_HOLD = ", ".join(f"hold.{name}" for name in RESERVATION_COLUMNS.split(", "))
_OVER = f"SELECT * FROM (SELECT * FROM reservation WHERE expires <= :now ORDER BY expires LIMIT {MOST_EXPIRED})"
_NAMED = "SELECT * FROM reservation WHERE reservation_id IN (SELECT value FROM json_each(:names))"
_KEYED = f"""
    SELECT * FROM reservation WHERE reservation_id IN (
        SELECT json_extract(answer, '$.reservation_id') FROM event_key
        WHERE kind = 'reserve' AND (kind, key) IN {PAIRS.replace("?", ":keys")}
    )
"""


def peek(*, named: bool, keyed: bool) -> str:
    """The limits' version on every row, and the holds that are over and, if wanted, named or known by a key."""
    holds = " UNION ".join([_OVER, *([_NAMED] if named else []), *([_KEYED] if keyed else [])])
    return f"SELECT value, {_HOLD} FROM ledger_meta LEFT JOIN ({holds}) AS hold WHERE name = 'limits_version'"


_ADDED = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
_MARKS = ", ".join("?" * (5 + len(SUMS)))
_ADD = f"VALUES ({_MARKS}) ON CONFLICT DO UPDATE SET {_ADDED}"
ADD_HOURLY = f"INSERT INTO usage_hourly ({HOURLY_COLUMNS}) {_ADD}"
ADD_HOURLY_ALL = f"INSERT INTO usage_hourly_all ({HOURLY_ALL_COLUMNS}) {_ADD}"

_PAGE = f"""
    SELECT {EVENT_COLUMNS} FROM token_usage
    WHERE (timestamp, event_id) > (:moment, :name) AND timestamp < :end {{}} ORDER BY timestamp, event_id LIMIT :size
"""
ALL_EVENTS = _PAGE.format("")
EVENTS_OF_USER = _PAGE.format("AND +user_id = :user")
"""The plus keeps SQLite from sorting all events of the user for each page."""

SAMPLES = """
    WITH RECURSIVE counter (name) AS (
        SELECT min(counted_as) FROM token_usage WHERE counted_as > ''
        UNION ALL
        SELECT (SELECT min(counted_as) FROM token_usage WHERE counted_as > '' AND counted_as > name) FROM counter
        WHERE name > '' LIMIT :models
    )
    SELECT counted_as, coalesce(counted_tokens, 0), input_tokens FROM counter JOIN token_usage ON event_id IN (
        SELECT event_id FROM token_usage WHERE counted_as > '' AND counted_as = name ORDER BY timestamp DESC LIMIT :each
    ) ORDER BY timestamp
"""
"""The latest counted events of each model, found by steps through the index from one model to the next."""

_NAMES = "(SELECT value FROM json_each(:names))"
_SUMS = """
    sum(tokens_used), coalesce(sum(cost_nano / 1000000000), 0), coalesce(sum(cost_nano % 1000000000), 0), count(*)
"""
_BETWEEN = "admitted >= :since AND admitted < :until"
_SESSIONS = f"""
    SELECT session_id, admitted / :width, {_SUMS} FROM token_usage
    WHERE {_BETWEEN} AND session_id IN {_NAMES} GROUP BY 1, 2
    UNION ALL
    SELECT above.session_id, above.admitted / :width, {_SUMS}
    FROM usage_ancestor AS above JOIN token_usage USING (event_id)
    WHERE above.admitted >= :since AND above.admitted < :until AND above.session_id IN {_NAMES} GROUP BY 1, 2
"""


def _of(column: str) -> str:
    return f"""
        SELECT {column}, admitted / :width, {_SUMS} FROM token_usage
        WHERE {_BETWEEN} AND {column} IN {_NAMES} GROUP BY 1, 2
    """


USAGE_BETWEEN = {
    "global": f"SELECT '', admitted / :width, {_SUMS} FROM token_usage WHERE {_BETWEEN} GROUP BY 1, 2",
    "user": _of("user_id"),
    "group": _of("group_id"),
    "session": _SESSIONS,
}
"""Settled usage by the subjects' scope."""

_HOLDS = f"SELECT {RESERVATION_COLUMNS} FROM reservation"
_FIRST = "ORDER BY expires LIMIT :most"
HOLDS = {
    "global": f"{_HOLDS} {_FIRST}",
    "user": f"{_HOLDS} WHERE user_id IN {_NAMES} {_FIRST}",
    "group": f"{_HOLDS} WHERE group_id IN {_NAMES} {_FIRST}",
    "session": f"{_HOLDS} WHERE session_id IN {_NAMES} OR ancestors <> '' {_FIRST}",
}
"""Pending holds by the subjects' scope."""

LIMITS_PAGE = (
    "SELECT * FROM token_limits WHERE (subject, metric, time_window) > (:after_subject, :after_metric, :after_window) "
    "AND (:subject IS NULL OR subject = :subject) AND (:metric IS NULL OR metric = :metric) "
    "AND (:window IS NULL OR time_window = :window) ORDER BY subject, metric, time_window LIMIT :size"
)
