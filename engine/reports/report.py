"""What a report is asked, and what it says."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from tokenward.engine.errors import InvalidInput, in_range, nearest, shown
from tokenward.engine.limits import check_name
from tokenward.engine.reports.anomalies import Anomaly
from tokenward.engine.reports.forecast import Forecast
from tokenward.engine.reports.prediction import MAX_FORECAST_DAYS
from tokenward.engine.reports.sum_prices import CacheSavings
from tokenward.engine.usage import Dimension, UsageQuery, UsageSum
from tokenward.engine.zones import time_zone

GroupBy: TypeAlias = Literal["user", "model", "session", "group", "endpoint", "day", "hour_of_day"]
Position: TypeAlias = tuple[int, str]
"""A row's place: its total of tokens and its key."""

MAX_ROWS = 1_000

_LATEST_US = 250_000_000_000 * 1_000_000
"""A bound on times, in the year 9892: every zone's dates and a forecast's days stay within the calendar."""


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What to report.

    Attributes:
        start_us: Start of the period, in microseconds UTC, inside it.
        end_us: End of the period, outside it.
        group_by: What the rows are.
        timezone: IANA name of the zone whose days and hours are meant.
        top: How many users to name at most.
        forecast_days: Forecast so many coming days, 1 to 366.
        limit: Give at most so many rows, 1 to 1,000.
        user: Report on one user only; likewise ``model``, ``group`` and ``session``. An empty group or session means
            the usage that names none.
        after: Start behind this row of a page before: its total of tokens and its key.

    Raises:
        InvalidInput: An empty period, an unknown zone, a text that is no name, or a number out of its range.
    """

    start_us: int
    end_us: int
    group_by: GroupBy = "user"
    timezone: str = "UTC"
    top: int = 10
    forecast_days: int | None = None
    limit: int = 50
    user: str | None = None
    model: str | None = None
    group: str | None = None
    session: str | None = None
    after: Position | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start_us < self.end_us <= _LATEST_US:
            raise InvalidInput("end", "the period is empty or out of range; give an end after the start, from 1970 on.")
        if self.group_by not in get_args(GroupBy):
            known = get_args(GroupBy)
            problem = f"{shown(self.group_by)} is not one of {', '.join(known)}.{nearest(str(self.group_by), known)}"
            raise InvalidInput("group_by", problem)
        in_range("top", self.top, 0, MAX_ROWS)
        in_range("limit", self.limit, 1, MAX_ROWS)
        if self.forecast_days is not None:
            in_range("forecast_days", self.forecast_days, 1, MAX_FORECAST_DAYS)
        if self.user is not None:
            check_name("user", self.user)
        for field_name, name in (("group", self.group), ("session", self.session)):
            if name:
                check_name(field_name, name)
        time_zone(self.timezone)

    def query(self, dimension: Dimension, *, model: str | None = None) -> UsageQuery:
        """The sums by a dimension of what the report is restricted to, or of one model of it."""
        only = self.model if model is None else model
        return UsageQuery(self.start_us, self.end_us, dimension, self.user, only, self.group, self.session)


@dataclass(frozen=True, slots=True)
class UsageStats(UsageSum):
    """The sums of one group of a report.

    ``key`` is the user, model, session, group or endpoint (empty where events have none), the day (``2026-11-21``) or
    the hour of the day (``00`` to ``23``); empty for totals. ``cost_nano`` is of the priced requests only;
    ``unpriced_requests`` counts the others.
    """

    @property
    def average_tokens_per_request(self) -> float:
        """Total tokens per request, 0 without requests."""
        return self.total_tokens / self.requests if self.requests else 0.0

    @property
    def average_cost_nano_per_request(self) -> int | None:
        """Cost per priced request, to the nearest nano-dollar; ``None`` without any."""
        priced = self.requests - self.unpriced_requests
        return (2 * self.cost_nano + priced) // (2 * priced) if priced else None

    @property
    def estimated_share(self) -> float:
        """The share of requests, 0 to 1, whose numbers are estimates and not the provider's; 0 without requests."""
        return self.estimated_requests / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class UsageReport:
    """A report.

    Attributes:
        request: What was asked.
        totals: The whole period.
        rows: One page of groups: the largest first, days and hours in their order.
        total_rows: How many groups there are on all pages.
        top_users: The users with the most tokens.
        by_hour_of_day: 24 sums of tokens, by the hour in the request's zone.
        by_day: Sums of tokens of the period's days in that zone; in periods too long to list, of those with usage.
        forecast: What the coming days may use, if asked for.
        cache_savings: What the providers' caches saved.
        next_position: The last row's place, behind which the next page starts; ``None`` after the last.
        next_cursor: The same as a cursor, in reports of :class:`tokenward.reports.Reports`.
        anomalies: What is far above the user's own history.
        warnings: What is missing from the numbers.
    """

    request: ReportRequest
    totals: UsageStats
    rows: tuple[UsageStats, ...]
    total_rows: int
    top_users: tuple[UsageStats, ...]
    by_hour_of_day: tuple[int, ...]
    by_day: tuple[int, ...]
    forecast: Forecast | None
    cache_savings: CacheSavings
    next_position: Position | None = None
    next_cursor: str | None = None
    anomalies: tuple[Anomaly, ...] = ()
    warnings: tuple[str, ...] = ()
