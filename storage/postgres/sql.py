"""The statements of the Postgres store. Batches come as one array per column."""

from typing import LiteralString

from tokenward.storage.rows import (
    BUDGET_COLUMNS,
    EVENT_COLUMNS,
    HOURLY_ALL_COLUMNS,
    HOURLY_COLUMNS,
    RESERVATION_COLUMNS,
)


def _arrays(types: LiteralString) -> LiteralString:
    """``text bigint`` → ``unnest(%s::text[], %s::bigint[])``."""
    return "unnest(" + ", ".join("%s::" + one + "[]" for one in types.split()) + ")"


def _added(columns: LiteralString, table: LiteralString, after: LiteralString) -> LiteralString:
    sums = columns.split(", ")[5:]
    return ", ".join(one + " = " + table + "." + one + " + excluded." + one for one in sums) + after


def _replaced(columns: LiteralString) -> LiteralString:
    return ", ".join(one + " = excluded." + one for one in columns.split(", ")[1:])


_EVENT_TYPES: LiteralString = (
    "text" + " bigint" * 2 + " text" * 4 + " bigint" * 8 + " text" * 4 + " smallint text text bigint text smallint"
)
_RESERVATION_TYPES: LiteralString = "text" + " text" * 4 + " bigint" * 5 + " text text"
_BUDGET_TYPES: LiteralString = "text" + " text" * 5 + " bigint" * 9

NOW: LiteralString = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

SHARE_VERSION: LiteralString = "SELECT value FROM ledger_meta WHERE name = 'limits_version' FOR SHARE"
LOCK_META: LiteralString = "LOCK TABLE ledger_meta IN EXCLUSIVE MODE"
LOCK_VERSION: LiteralString = "UPDATE ledger_meta SET value = value + 1 WHERE name = 'limits_version'"

MARK: LiteralString = "INSERT INTO event_key VALUES ('batch', %s, '{}', %s)"
MARK_IF_NEW: LiteralString = MARK + " ON CONFLICT DO NOTHING"

PEEK_RESERVATIONS: LiteralString = (
    "(SELECT " + RESERVATION_COLUMNS + " FROM reservation "
    "WHERE expires <= coalesce(%s::bigint, (extract(epoch FROM now()) * 1000000)::bigint) "
    "ORDER BY expires LIMIT %s) UNION SELECT "
    + RESERVATION_COLUMNS
    + " FROM reservation WHERE reservation_id = ANY(%s::text[])"
)
RESERVATIONS: LiteralString = (
    "SELECT " + RESERVATION_COLUMNS + " FROM reservation WHERE reservation_id = ANY(%s::text[])"
)
NOW_AND_RESERVATIONS: LiteralString = (
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, " + RESERVATION_COLUMNS + " "
    "FROM (VALUES (1)) AS always LEFT JOIN reservation ON reservation_id = ANY(%s::text[])"
)
"""The time on every row, and at least one row."""
ANSWERS: LiteralString = (
    "SELECT kind, key, answer FROM event_key JOIN " + _arrays("text text") + " AS wanted (kind, key) USING (kind, key)"
)
OPEN_BUDGETS: LiteralString = (
    "SELECT " + BUDGET_COLUMNS + " FROM budget JOIN " + _arrays("text text") + " AS wanted (user_id, session_id) "
    "USING (user_id, session_id) WHERE ended IS NULL"
)
BUDGETS: LiteralString = "SELECT " + BUDGET_COLUMNS + " FROM budget WHERE budget_id = ANY(%s::text[])"
EVENTS: LiteralString = "SELECT " + EVENT_COLUMNS + " FROM token_usage WHERE event_id = ANY(%s::text[])"
LIMITS: LiteralString = "SELECT * FROM token_limits WHERE subject = ANY(%s::text[])"
LIMITS_PAGE: LiteralString = (
    "SELECT * FROM token_limits WHERE (subject, metric, time_window) "
    "> (%(after_subject)s, %(after_metric)s, %(after_window)s) "
    "AND (%(subject)s::text IS NULL OR subject = %(subject)s) AND (%(metric)s::text IS NULL OR metric = %(metric)s) "
    "AND (%(window)s::text IS NULL OR time_window = %(window)s) "
    "ORDER BY subject, metric, time_window LIMIT %(size)s"
)

ADD_STATES: LiteralString = (
    "INSERT INTO quota_state SELECT wanted, '{}', 0 FROM unnest(%s::text[]) AS wanted "
    "WHERE NOT EXISTS (SELECT 1 FROM quota_state WHERE subject = wanted) ORDER BY 1 ON CONFLICT DO NOTHING"
)
LOCK_STATES: LiteralString = (
    "SELECT subject, state, written FROM quota_state WHERE subject = ANY(%s::text[]) ORDER BY subject FOR UPDATE"
)
PUT_STATES: LiteralString = (
    "UPDATE quota_state SET state = new.state, written = %s FROM " + _arrays("text text") + " AS new (subject, state) "
    "WHERE quota_state.subject = new.subject"
)

DROP_RESERVATIONS: LiteralString = "DELETE FROM reservation WHERE reservation_id = ANY(%s::text[])"
PUT_RESERVATIONS: LiteralString = (
    "INSERT INTO reservation (" + RESERVATION_COLUMNS + ") SELECT * FROM " + _arrays(_RESERVATION_TYPES)
    + " ON CONFLICT (reservation_id) DO UPDATE SET " + _replaced(RESERVATION_COLUMNS)
)  # fmt: skip
PUT_BUDGETS: LiteralString = (
    "INSERT INTO budget (" + BUDGET_COLUMNS + ") SELECT * FROM " + _arrays(_BUDGET_TYPES)
    + " ON CONFLICT (budget_id) DO UPDATE SET " + _replaced(BUDGET_COLUMNS)
)  # fmt: skip
PUT_ANSWERS: LiteralString = (
    "INSERT INTO event_key SELECT * FROM " + _arrays("text text text bigint")
    + " ON CONFLICT (kind, key) DO UPDATE SET answer = excluded.answer, created = excluded.created"
)  # fmt: skip
ADD_EVENTS: LiteralString = "INSERT INTO token_usage (" + EVENT_COLUMNS + ") SELECT * FROM " + _arrays(_EVENT_TYPES)
COPY_EVENTS: LiteralString = "COPY token_usage (" + EVENT_COLUMNS + ") FROM STDIN"
ADD_ANCESTORS: LiteralString = "INSERT INTO usage_ancestor SELECT * FROM " + _arrays("text bigint text")
ADD_HOURLY: LiteralString = (
    "INSERT INTO usage_hourly (" + HOURLY_COLUMNS + ") SELECT * FROM "
    + _arrays("bigint" + " text" * 4 + " bigint" * 11)
    + " ON CONFLICT (quarter_hour, user_id, group_id, model, api_endpoint) DO UPDATE SET "
    + _added(HOURLY_COLUMNS, "usage_hourly", "")
)  # fmt: skip
ADD_HOURLY_ALL: LiteralString = (
    "INSERT INTO usage_hourly_all (" + HOURLY_ALL_COLUMNS + ") SELECT * FROM "
    + _arrays("bigint" + " text" * 3 + " bigint" * 12)
    + " ON CONFLICT (quarter_hour, group_id, model, api_endpoint, shard) DO UPDATE SET "
    + _added(HOURLY_ALL_COLUMNS, "usage_hourly_all", "")
)  # fmt: skip
FORGET_ANSWERS: LiteralString = (
    "DELETE FROM event_key WHERE (kind, key) IN "
    "(SELECT kind, key FROM event_key WHERE created < %s ORDER BY created LIMIT %s FOR UPDATE SKIP LOCKED)"
)
FORGET_BUDGETS: LiteralString = (
    "DELETE FROM budget WHERE budget_id IN (SELECT budget_id FROM budget WHERE ended < %s FOR UPDATE SKIP LOCKED)"
)

_SUMS: LiteralString = "sum(tokens_used), coalesce(sum(cost_nano), 0), count(*)"
_BETWEEN: LiteralString = "admitted >= %(since)s AND admitted < %(until)s"


def _usage(column: LiteralString) -> LiteralString:
    return (
        "SELECT " + column + ", admitted / %(width)s, " + _SUMS + " FROM token_usage "
        "WHERE " + _BETWEEN + " AND " + column + " = ANY(%(names)s::text[]) GROUP BY 1, 2"
    )  # fmt: skip


USAGE_BETWEEN: dict[str, LiteralString] = {
    "global": "SELECT '', admitted / %(width)s, " + _SUMS + " FROM token_usage WHERE " + _BETWEEN + " GROUP BY 1, 2",
    "user": _usage("user_id"),
    "group": _usage("group_id"),
    "session": _usage("session_id") + " UNION ALL "
    "SELECT above.session_id, above.admitted / %(width)s, " + _SUMS + " FROM usage_ancestor AS above "
    "JOIN token_usage USING (event_id) WHERE above.admitted >= %(since)s AND above.admitted < %(until)s "
    "AND above.session_id = ANY(%(names)s::text[]) GROUP BY 1, 2",
}
"""Settled usage by the subjects' scope."""

SAMPLES: LiteralString = """
    WITH RECURSIVE counter (name) AS (
        (SELECT counted_as FROM token_usage WHERE counted_as > '' ORDER BY counted_as LIMIT 1)
        UNION ALL
        SELECT (
            SELECT counted_as FROM token_usage WHERE counted_as > '' AND counted_as > name ORDER BY counted_as LIMIT 1
        ) FROM counter WHERE name > ''
    )
    SELECT name, coalesce(counted_tokens, 0), input_tokens FROM (SELECT name FROM counter LIMIT %(models)s) AS known
    CROSS JOIN LATERAL (
        SELECT counted_tokens, input_tokens, timestamp FROM token_usage
        WHERE counted_as > '' AND counted_as = name ORDER BY timestamp DESC LIMIT %(each)s
    ) AS latest ORDER BY timestamp
"""
"""The latest counted events of each model, found by steps through the index from one model to the next."""

_HOLDS: LiteralString = "SELECT " + RESERVATION_COLUMNS + " FROM reservation"
_FIRST: LiteralString = " ORDER BY expires LIMIT %(most)s"
HOLDS: dict[str, LiteralString] = {
    "global": _HOLDS + _FIRST,
    "user": _HOLDS + " WHERE user_id = ANY(%(names)s::text[])" + _FIRST,
    "group": _HOLDS + " WHERE group_id = ANY(%(names)s::text[])" + _FIRST,
    "session": _HOLDS + " WHERE session_id = ANY(%(names)s::text[]) OR ancestors <> ''" + _FIRST,
}
"""Pending holds by the subjects' scope."""

PUT_LIMIT: LiteralString = (
    "INSERT INTO token_limits VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (subject, metric, time_window) "
    "DO UPDATE SET max_amount = excluded.max_amount, mode = excluded.mode, timezone = excluded.timezone"
)
DROP_LIMIT: LiteralString = "DELETE FROM token_limits WHERE subject = %s AND metric = %s AND time_window = %s"
FORGET_USERS: LiteralString = "DELETE FROM quota_state WHERE subject LIKE 'user:%%'"
FORGET_STATES: LiteralString = "DELETE FROM quota_state WHERE subject = ANY(%s::text[])"
REPRICE: LiteralString = (
    "UPDATE token_usage SET cost_nano = new.cost_nano, price_source = new.price_source FROM "
    + _arrays("text bigint text") + " AS new (event_id, cost_nano, price_source) "
    "WHERE token_usage.event_id = new.event_id"
)  # fmt: skip
REMEMBER_PRUNED: LiteralString = "UPDATE ledger_meta SET value = greatest(value, %s) WHERE name = 'pruned_before'"
PRUNE: LiteralString = (
    "WITH old AS (DELETE FROM token_usage WHERE event_id IN "
    "(SELECT event_id FROM token_usage WHERE timestamp < %s AND admitted < %s LIMIT %s) "
    "RETURNING event_id, admitted, ancestors), "
    "above AS (DELETE FROM usage_ancestor USING old WHERE old.ancestors <> '' "
    "AND usage_ancestor.event_id = old.event_id AND usage_ancestor.admitted = old.admitted) SELECT count(*) FROM old"
)
HOURLY_OF: LiteralString = "SELECT " + HOURLY_COLUMNS + " FROM usage_hourly WHERE quarter_hour = ANY(%s::bigint[])"
KEEP_VALUE: LiteralString = "INSERT INTO ledger_secret (name, value) VALUES (%s, %s) ON CONFLICT DO NOTHING"
SNAPSHOT: LiteralString = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
