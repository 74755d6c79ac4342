"""UsageAnalytics: what was used, by whom, by what and when, from sums that a store has made.

A pure function of its request and the sums. A store sums by quarter hours since the epoch; the hours and days of every
time zone are whole numbers of those, so one sum serves all zones and the change of the clocks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Literal, TypeAlias, TypeVar, get_args
from zoneinfo import ZoneInfo

from tokenward.engine.errors import InvalidInput, nearest, shown
from tokenward.engine.forecast import DayUsage, Forecast, forecast
from tokenward.engine.usage import Dimension, UsageSum
from tokenward.engine.zones import time_zone

GroupBy: TypeAlias = Literal["user", "model", "session", "group", "endpoint", "day", "hour_of_day"]

MAX_FILLED_DAYS = 400
"""Days without usage are listed as rows of zero in periods up to this length."""

MAX_FORECAST_DAYS = 366
MAX_ROWS = 1_000
_Key = TypeVar("_Key")
_QUARTER_SECONDS = 900
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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
        offset: Skip so many rows.
        limit: Give at most so many rows, 1 to 1,000.
        user: Report on one user only.

    Raises:
        InvalidInput: An empty period, an unknown zone, or a number out of its range.
    """

    start_us: int
    end_us: int
    group_by: GroupBy = "user"
    timezone: str = "UTC"
    top: int = 10
    forecast_days: int | None = None
    offset: int = 0
    limit: int = 50
    user: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start_us < self.end_us <= _LATEST_US:
            raise InvalidInput("end", "the period is empty or out of range; give an end after the start, from 1970 on.")
        if self.group_by not in get_args(GroupBy):
            known = get_args(GroupBy)
            problem = f"{shown(self.group_by)} is not one of {', '.join(known)}.{nearest(str(self.group_by), known)}"
            raise InvalidInput("group_by", problem)
        _in_range("top", self.top, 0, MAX_ROWS)
        _in_range("offset", self.offset, 0, None)
        _in_range("limit", self.limit, 1, MAX_ROWS)
        if self.forecast_days is not None:
            _in_range("forecast_days", self.forecast_days, 1, MAX_FORECAST_DAYS)
        time_zone(self.timezone)


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


@dataclass(frozen=True, slots=True)
class UsageReport:
    """A report.

    Attributes:
        request: What was asked.
        totals: The whole period.
        rows: One page of groups: the largest first, days and hours in their order.
        total_rows: How many groups there are on all pages.
        next_offset: Where the next page starts, or ``None`` after the last.
        top_users: The users with the most tokens.
        by_hour_of_day: 24 sums of tokens, by the hour in the request's zone.
        forecast: What the coming days may use, if asked for.
    """

    request: ReportRequest
    totals: UsageStats
    rows: tuple[UsageStats, ...]
    total_rows: int
    next_offset: int | None
    top_users: tuple[UsageStats, ...]
    by_hour_of_day: tuple[int, ...]
    forecast: Forecast | None


class UsageAnalytics:
    """Makes reports.

    Args:
        seed: Seeds the forecast's draws, so that the same request and sums give the same report.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed

    def dimensions(self, request: ReportRequest) -> tuple[Dimension, ...]:
        """The sums that a report needs, each over the request's period and user."""
        needed: list[Dimension] = ["quarter_hour", "user"]
        match request.group_by:
            case "day" | "hour_of_day":
                pass
            case dimension:
                needed.append(dimension)
        if request.forecast_days is not None:
            needed.append("model")
        return tuple(dict.fromkeys(needed))

    def generate_report(self, request: ReportRequest, sums: Mapping[Dimension, Sequence[UsageSum]]) -> UsageReport:
        """The report.

        Args:
            request: What to report.
            sums: For each of :meth:`dimensions`, the store's sums over the request's period and user.

        Raises:
            KeyError: A needed dimension is missing.
        """
        zone = time_zone(request.timezone)
        quarters = sums["quarter_hour"]
        hours = _hour_rows(quarters, zone)
        rows = _rows(request, sums, zone)
        end = request.offset + request.limit
        return UsageReport(
            request=request,
            totals=_stats("", quarters),
            rows=tuple(rows[request.offset : end]),
            total_rows=len(rows),
            next_offset=end if end < len(rows) else None,
            top_users=tuple(_largest_first(sums["user"])[: request.top]),
            by_hour_of_day=tuple(row.total_tokens for row in hours),
            forecast=None if request.forecast_days is None else self._forecast(request, sums, request.forecast_days),
        )

    def _forecast(self, request: ReportRequest, sums: Mapping[Dimension, Sequence[UsageSum]], days: int) -> Forecast:
        zone = time_zone(request.timezone)
        last = _local(request.end_us - 1, zone).date()
        return forecast(
            _whole_days(request, sums["quarter_hour"], zone),
            first=last + timedelta(days=1),
            days=days,
            model_costs={model.key: model.cost_nano for model in sums["model"] if model.cost_nano},
            random=Random(self._seed),  # noqa: S311 - no secret
        )


def _in_range(field: str, value: int, low: int, high: int | None) -> None:
    if value < low or (high is not None and value > high):
        accepted = f"{low} or more" if high is None else f"from {low} to {high}"
        raise InvalidInput(field, f"{shown(value)} is out of range; give an integer {accepted}.")


def _rows(request: ReportRequest, sums: Mapping[Dimension, Sequence[UsageSum]], zone: ZoneInfo) -> list[UsageStats]:
    if request.group_by == "hour_of_day":
        return _hour_rows(sums["quarter_hour"], zone)
    if request.group_by == "day":
        return _day_rows(request, sums["quarter_hour"], zone)
    return _largest_first(sums[request.group_by])


def _largest_first(sums: Iterable[UsageSum]) -> list[UsageStats]:
    rows = (_stats(each.key, [each]) for each in sums)
    return sorted(rows, key=lambda row: (-row.total_tokens, row.key))


def _hour_rows(quarters: Iterable[UsageSum], zone: ZoneInfo) -> list[UsageStats]:
    """24 rows, one per hour of the day."""
    grouped = _grouped(quarters, lambda moment: f"{moment.hour:02d}", zone)
    hours = (f"{hour:02d}" for hour in range(24))
    return [_stats(hour, grouped.get(hour, ())) for hour in hours]


def _day_rows(request: ReportRequest, quarters: Iterable[UsageSum], zone: ZoneInfo) -> list[UsageStats]:
    """A row per local day; days without usage too, unless the period is very long."""
    grouped = _grouped(quarters, lambda moment: moment.date().isoformat(), zone)
    first, last = _local(request.start_us, zone).date(), _local(request.end_us - 1, zone).date()
    if (last - first).days < MAX_FILLED_DAYS:
        grouped = {day.isoformat(): [] for day in _days(first, last)} | grouped
    return [_stats(day, grouped[day]) for day in sorted(grouped)]


def _whole_days(request: ReportRequest, quarters: Iterable[UsageSum], zone: ZoneInfo) -> list[DayUsage]:
    """The history a forecast draws from: the period's whole local days, from the first with usage on."""
    grouped = _grouped(quarters, lambda moment: moment.date(), zone)
    first, last = _local(request.start_us, zone).date(), _local(request.end_us - 1, zone).date()
    if _local(request.start_us - 1, zone).date() == first:
        first += timedelta(days=1)
    if _local(request.end_us, zone).date() == last:
        last -= timedelta(days=1)
    used = [day for day in grouped if first <= day <= last]
    if not used:
        return []
    totals = ((day, _stats("", grouped.get(day, ()))) for day in _days(min(used), last))
    return [DayUsage(day, total.total_tokens, total.cost_nano) for day, total in totals]


def _grouped(
    quarters: Iterable[UsageSum], key: Callable[[datetime], _Key], zone: ZoneInfo
) -> dict[_Key, list[UsageSum]]:
    """Quarter hours by what their start is called in the zone."""
    grouped: dict[_Key, list[UsageSum]] = {}
    for quarter in quarters:
        moment = datetime.fromtimestamp(int(quarter.key) * _QUARTER_SECONDS, zone)
        grouped.setdefault(key(moment), []).append(quarter)
    return grouped


def _stats(key: str, sums: Iterable[UsageSum]) -> UsageStats:
    """The sums of sums."""
    numbers = [
        (
            each.requests,
            each.input_tokens,
            each.output_tokens,
            each.cached_tokens,
            each.cache_write_tokens,
            each.reasoning_tokens,
            each.cost_nano,
            each.unpriced_requests,
        )
        for each in sums
    ]
    return UsageStats(key, *(sum(column) for column in zip(*numbers, strict=True)))


def _local(moment_us: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=moment_us)).astimezone(zone)


def _days(first: date, last: date) -> Iterable[date]:
    """The days from the first to the last, both included."""
    return (first + timedelta(days=offset) for offset in range((last - first).days + 1))
