"""Which tables a sum over the ledger is read from: whole quarters of an hour from the rollup, the rest from the events.

Sessions are not in the rollup, so their sums are made from events only. Where events were pruned, a period's edge takes
its whole quarter of an hour.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenward.engine.types import QUARTER_HOUR_US
from tokenward.engine.usage import UsageQuery, UsageSum
from tokenward.storage.base import HourlyUsage
from tokenward.storage.rollup import SUMS
from tokenward.storage.rows import DIMENSIONS
from tokenward.storage.status import StoreStatus

_EVENT_SUMS = """
    count(*), sum(input_tokens), sum(output_tokens), sum(cached_tokens),
    sum(cache_write_tokens + cache_write_1h_tokens), sum(reasoning_tokens),
    coalesce(sum(cost_nano / 1000000000), 0),
    coalesce(sum(cost_nano - cost_nano / 1000000000 * 1000000000), 0), count(*) - count(cost_nano),
    sum(estimated), sum(cache_write_1h_tokens)
"""
_FILTERS = {"user": "user_id", "model": "model", "group": "group_id", "session": "session_id"}
"""The columns that a query may ask one value of."""
_ROLLUP_SUMS = ", ".join(f"sum({name})" for name in SUMS)

PRUNED_BEFORE = "SELECT value FROM ledger_meta WHERE name = 'pruned_before'"

HOLDS = "SELECT count(*) FROM reservation"

DESCRIBE = """
    SELECT (SELECT count(*) FROM token_usage), (SELECT min(timestamp) FROM token_usage),
        (SELECT count(*) FROM reservation), (SELECT count(*) FROM budget WHERE ended IS NULL),
        (SELECT count(*) FROM token_limits), (SELECT value FROM ledger_meta WHERE name = 'pruned_before')
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One statement of a sum. Its parameters are ``start``, ``end`` (outside), and what the query is restricted to.

    Attributes:
        short: So short a time is found by its index, never by that of a user, who may have millions of events.
    """

    table: str
    key: str
    sums: str
    column: str
    values: dict[str, object]
    short: bool = False

    def statement(self, mark: str, close: str = "") -> str:
        """The SQL, its parameters written ``:name`` (``mark`` ``:``) or ``%(name)s`` (``%(``, closed by ``)s``)."""
        condition = f"{self.column} >= {mark}start{close} AND {self.column} < {mark}end{close}"
        for name, column in _FILTERS.items():
            if name in self.values:
                condition += f" AND {column} || '' = " if self.short else f" AND {column} = "
                condition += f"{mark}{name}{close}"
        if self.values.get("session"):
            # What the index of sessions holds.
            condition += " AND session_id <> ''"
        return f"SELECT {self.key}, {self.sums} FROM {self.table} WHERE {condition} GROUP BY 1"


def parts(query: UsageQuery, pruned_before_us: int) -> list[Part]:
    """The statements whose rows together answer ``query``."""
    if query.start_us >= query.end_us:
        return []
    if query.dimension == "session" or query.session is not None:
        return [_events(query, query.start_us, query.end_us)]
    first, last = -(-query.start_us // QUARTER_HOUR_US), query.end_us // QUARTER_HOUR_US
    if query.start_us < pruned_before_us:
        first = query.start_us // QUARTER_HOUR_US
    if query.end_us < pruned_before_us:
        last = -(-query.end_us // QUARTER_HOUR_US)
    if first >= last:
        return [_events(query, query.start_us, query.end_us)]
    start_us, end_us = first * QUARTER_HOUR_US, last * QUARTER_HOUR_US
    found = [_rollup(query, first, last)]
    found += [_events(query, query.start_us, start_us)] if query.start_us < start_us else []
    found += [_events(query, end_us, query.end_us)] if end_us < query.end_us else []
    return found


def _rollup(query: UsageQuery, first: int, last: int) -> Part:
    per_user = query.user is not None or query.dimension == "user"
    values = _values(query, first, last)
    table = "usage_hourly" if per_user else "usage_hourly_all"
    return Part(table, DIMENSIONS[query.dimension], _ROLLUP_SUMS, "quarter_hour", values)


def _events(query: UsageQuery, start_us: int, end_us: int) -> Part:
    key = f"timestamp / {QUARTER_HOUR_US}" if query.dimension == "quarter_hour" else DIMENSIONS[query.dimension]
    values = _values(query, start_us, end_us)
    return Part("token_usage", key, _EVENT_SUMS, "timestamp", values, short=end_us - start_us <= 2 * QUARTER_HOUR_US)


def _values(query: UsageQuery, start: int, end: int) -> dict[str, object]:
    filters = {name: value for name in _FILTERS if (value := getattr(query, name)) is not None}
    return {"start": start, "end": end, **filters}


def merged(sums: Iterable[UsageSum]) -> list[UsageSum]:
    """Sums of the same key together, by key."""
    found: dict[str, UsageSum] = {}
    for one in sums:
        found[one.key] = found[one.key].plus(one) if one.key in found else one
    return [found[key] for key in sorted(found)]


def hourly_values(after: HourlyUsage | None, end_us: int, size: int) -> dict[str, object]:
    """The parameters of a page of the rollup."""
    return {
        "quarter": after.quarter_hour if after else -1,
        "user": after.user if after else "",
        "group": after.group if after else "",
        "model": after.model if after else "",
        "endpoint": after.endpoint if after else "",
        "end": end_us // QUARTER_HOUR_US,
        "size": size,
    }


def described(
    kind: str, versions: tuple[int, int, int], counts: Sequence[Any], size_bytes: int | None, *, partitioned: bool
) -> StoreStatus:
    """What a database holds, from its versions and a row of :data:`DESCRIBE`."""
    events, oldest_us, holds, budgets, limits, pruned_before_us = counts
    found = (events, oldest_us, holds, budgets, limits, pruned_before_us)
    return StoreStatus(kind, *versions, *found, size_bytes, partitioned)
