"""Reports: sums in any time zone equal what the raw events say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenward.engine.analytics import UsageAnalytics
from tokenward.engine.errors import InvalidInput
from tokenward.engine.reports.report import GroupBy, Position, ReportRequest, UsageReport, UsageStats
from tokenward.engine.usage import Dimension, UsageSum

QUARTER_US = 900_000_000


@dataclass(frozen=True)
class Event:
    """A raw event, as a ledger holds it."""

    timestamp_us: int
    user: str = "alice"
    model: str = "gpt-5"
    input_tokens: int = 10
    output_tokens: int = 5
    cost_nano: int | None = 7


def us(text: str, zone: str = "UTC") -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return int(moment.timestamp()) * 1_000_000


def key_of(event: Event, dimension: Dimension) -> str:
    if dimension == "quarter_hour":
        return str(event.timestamp_us // QUARTER_US)
    if dimension == "user":
        return event.user
    return event.model if dimension == "model" else ""


def summed(events: Sequence[Event], dimension: Dimension) -> list[UsageSum]:
    """What a store gives for a dimension: one sum per key, in no particular order."""
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault(key_of(event, dimension), []).append(event)
    return [brute_force(key, group) for key, group in groups.items()]


def brute_force(key: str, events: Sequence[Event]) -> UsageSum:
    return UsageSum(
        key=key,
        requests=len(events),
        input_tokens=sum(event.input_tokens for event in events),
        output_tokens=sum(event.output_tokens for event in events),
        cost_nano=sum(event.cost_nano or 0 for event in events),
        unpriced_requests=sum(event.cost_nano is None for event in events),
    )


def report(request: ReportRequest, events: Sequence[Event], *, seed: int = 0) -> UsageReport:
    analytics = UsageAnalytics(seed=seed)
    inside = [
        event
        for event in events
        if request.start_us <= event.timestamp_us < request.end_us and request.user in (None, event.user)
    ]
    return analytics.generate_report(request, {each: summed(inside, each) for each in analytics.dimensions(request)})


def as_sum(row: UsageStats) -> UsageSum:
    return UsageSum(
        key=row.key,
        requests=row.requests,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cost_nano=row.cost_nano,
        unpriced_requests=row.unpriced_requests,
    )


ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe", "America/Santiago"]
START = us("2026-03-20T00:00:00")
END = us("2026-04-10T00:00:00")

event_lists = st.lists(
    st.builds(
        Event,
        timestamp_us=st.integers(START - QUARTER_US, END + QUARTER_US),
        user=st.sampled_from(["alice", "bob", "carol"]),
        model=st.sampled_from(["gpt-5", "claude-sonnet-4-5"]),
        input_tokens=st.integers(0, 1000),
        output_tokens=st.integers(0, 1000),
        cost_nano=st.none() | st.integers(0, 10**9),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(
    events=event_lists,
    zone=st.sampled_from(ZONES),
    start_us=st.integers(START, START + 86_400_000_000),
    group_by=st.sampled_from(["user", "model", "day", "hour_of_day"]),
    user=st.sampled_from([None, "alice"]),
)
def test_rows_and_totals_equal_a_brute_force_sum(
    events: list[Event], zone: str, start_us: int, group_by: GroupBy, user: str | None
) -> None:
    request = ReportRequest(start_us, END, group_by, zone, user=user)
    result = report(request, events)
    inside = [e for e in events if start_us <= e.timestamp_us < END and user in (None, e.user)]

    def name(event: Event) -> str:
        local = datetime.fromtimestamp(event.timestamp_us // 1_000_000, ZoneInfo(zone))
        by = {"user": event.user, "model": event.model, "day": f"{local:%Y-%m-%d}", "hour_of_day": f"{local:%H}"}
        return by[group_by]

    expected = {key: brute_force(key, [e for e in inside if name(e) == key]) for key in map(name, inside)}
    assert {row.key: as_sum(row) for row in result.rows if row.requests} == expected
    assert as_sum(result.totals) == brute_force("", inside)
    assert sum(result.by_hour_of_day) == result.totals.total_tokens
    assert len(result.by_hour_of_day) == 24


def test_groups_come_largest_first_and_equal_ones_by_name() -> None:
    events = [Event(START, "zoe"), Event(START, "adam"), Event(START, "mia", input_tokens=100)]
    result = report(ReportRequest(START, END), events)
    assert [row.key for row in result.rows] == ["mia", "adam", "zoe"]


@pytest.mark.parametrize(
    ("after", "limit", "keys", "following"),
    [
        (None, 2, ["a", "b"], (15, "b")),
        ((15, "b"), 2, ["c", "d"], (15, "d")),
        ((15, "d"), 2, ["e"], None),
        ((15, "c"), 2, ["d", "e"], None),
        ((15, "bb"), 9, ["c", "d", "e"], None),
        ((14, "a"), 2, [], None),
        ((16, "z"), 1, ["a"], (15, "a")),
    ],
)
def test_a_page_starts_behind_a_place(
    after: Position | None, limit: int, keys: list[str], following: Position | None
) -> None:
    events = [Event(START, name) for name in "abcde"]
    result = report(ReportRequest(START, END, after=after, limit=limit), events)
    assert [row.key for row in result.rows] == keys
    assert (result.total_rows, result.next_position) == (5, following)


@settings(max_examples=60, deadline=None)
@given(events=event_lists, group_by=st.sampled_from(["user", "model", "day", "hour_of_day"]), limit=st.integers(1, 7))
def test_pages_together_are_the_whole(events: list[Event], group_by: GroupBy, limit: int) -> None:
    whole = report(ReportRequest(START, END, group_by, limit=1000), events)
    rows: list[UsageStats] = []
    after: Position | None = None
    while True:
        page = report(ReportRequest(START, END, group_by, limit=limit, after=after), events)
        assert (page.totals, page.total_rows) == (whole.totals, whole.total_rows)
        rows += page.rows
        after = page.next_position
        if after is None:
            break
    assert tuple(rows) == whole.rows


def test_a_row_that_grows_between_two_pages_does_not_come_twice() -> None:
    events = [Event(START, name, input_tokens=number) for number, name in enumerate("edcba")]
    first = report(ReportRequest(START, END, limit=2), events)
    later = [*events, Event(START, "a", input_tokens=500), Event(START, "b", input_tokens=900)]
    second = report(ReportRequest(START, END, limit=9, after=first.next_position), later)
    assert [row.key for row in (*first.rows, *second.rows)] == ["a", "b", "c", "d", "e"]


def test_top_users_are_the_largest_whatever_the_rows_are() -> None:
    events = [Event(START, name, input_tokens=number) for number, name in enumerate("abcde")]
    result = report(ReportRequest(START, END, "model", top=2), events)
    assert [user.key for user in result.top_users] == ["e", "d"]
    assert [row.key for row in result.rows] == ["gpt-5"]


def test_days_without_usage_are_rows_of_zero() -> None:
    events = [Event(us("2026-03-20T12:00:00")), Event(us("2026-03-23T12:00:00"))]
    result = report(ReportRequest(START, us("2026-03-24T00:00:00"), "day"), events)
    assert [(row.key, row.requests) for row in result.rows] == [
        ("2026-03-20", 1),
        ("2026-03-21", 0),
        ("2026-03-22", 0),
        ("2026-03-23", 1),
    ]


@pytest.mark.parametrize(("days", "rows"), [(400, 400), (401, 1)])
def test_very_long_periods_list_days_with_usage_only(days: int, rows: int) -> None:
    request = ReportRequest(START, START + days * 86_400_000_000, "day", limit=1000)
    assert report(request, [Event(START)]).total_rows == rows


def test_a_quarter_hour_belongs_to_the_zones_day_and_hour() -> None:
    quarter_past_six_utc = Event(us("2026-03-20T18:15:00"))  # midnight in Kathmandu, UTC+5:45
    day = report(ReportRequest(START, END, "day", "Asia/Kathmandu"), [quarter_past_six_utc])
    assert [row.key for row in day.rows if row.requests] == ["2026-03-21"]
    assert day.by_hour_of_day[0] == 15


def every_half_hour(start_us: int, end_us: int) -> list[Event]:
    return [Event(moment) for moment in range(start_us, end_us, 2 * QUARTER_US)]


def day_in(zone: str, day: str) -> tuple[int, int]:
    """A local day, in microseconds."""
    following = (datetime.fromisoformat(day) + timedelta(days=1)).isoformat()
    return us(day, zone), us(following, zone)


@pytest.mark.parametrize(
    ("day", "half_hours", "hours"),
    [
        ("2026-03-29", 46, {1: 30, 2: 0, 3: 30}),
        ("2026-10-25", 50, {1: 30, 2: 60, 3: 30}),
        ("2026-06-01", 48, {1: 30, 2: 30, 3: 30}),
    ],
)
def test_the_change_of_the_clocks_keeps_days_and_hours_right(day: str, half_hours: int, hours: dict[int, int]) -> None:
    """In Berlin, 02:00 to 03:00 does not exist on one day of spring and is there twice on one of autumn."""
    start, end = day_in("Europe/Berlin", day)
    around = every_half_hour(start - 4 * QUARTER_US, end + 4 * QUARTER_US)
    result = report(ReportRequest(start, end, "day", "Europe/Berlin"), around)
    assert [(row.key, row.requests) for row in result.rows] == [(day, half_hours)]
    assert {hour: result.by_hour_of_day[hour] for hour in hours} == hours
    days = report(ReportRequest(start - 4 * QUARTER_US, end + 4 * QUARTER_US, "day", "Europe/Berlin"), around)
    assert [row.requests for row in days.rows] == [2, half_hours, 2]


@pytest.mark.parametrize(
    ("zone", "utc", "day", "hour"),
    [
        ("Asia/Kolkata", "2026-03-20T18:29:59", "2026-03-20", 23),
        ("Asia/Kolkata", "2026-03-20T18:30:00", "2026-03-21", 0),
        ("America/St_Johns", "2026-03-21T02:29:59", "2026-03-20", 23),
        ("America/St_Johns", "2026-03-21T02:30:00", "2026-03-21", 0),
        # Lord Howe's clocks change by half an hour: 01:30 to 02:00 is there twice on 2026-04-05.
        ("Australia/Lord_Howe", "2026-04-04T14:45:00", "2026-04-05", 1),
        ("Australia/Lord_Howe", "2026-04-04T15:15:00", "2026-04-05", 1),
        ("Australia/Lord_Howe", "2026-04-04T15:30:00", "2026-04-05", 2),
    ],
)
def test_zones_off_by_half_an_hour(zone: str, utc: str, day: str, hour: int) -> None:
    result = report(ReportRequest(START, END, "day", zone), [Event(us(utc))])
    assert [row.key for row in result.rows if row.requests] == [day]
    assert [index for index, tokens in enumerate(result.by_hour_of_day) if tokens] == [hour]


def test_hours_are_24_rows_in_order() -> None:
    result = report(ReportRequest(START, END, "hour_of_day"), [])
    assert [row.key for row in result.rows] == [f"{hour:02d}" for hour in range(24)]


def test_an_empty_report_has_zeros_and_no_division_by_zero() -> None:
    result = report(ReportRequest(START, END), [])
    assert result.totals.average_tokens_per_request == 0.0
    assert result.rows == ()
    assert result.by_hour_of_day == (0,) * 24


def test_the_average_is_per_request() -> None:
    result = report(ReportRequest(START, END), [Event(START), Event(START, input_tokens=16)])
    assert result.totals.average_tokens_per_request == 18.0


def test_unpriced_requests_are_counted_not_priced_at_zero() -> None:
    result = report(ReportRequest(START, END), [Event(START, cost_nano=None), Event(START)])
    assert (result.totals.cost_nano, result.totals.unpriced_requests) == (7, 1)
    assert result.totals.average_cost_nano_per_request == 7


@pytest.mark.parametrize(("costs", "average"), [([7, 8], 8), ([1, 1, 2], 1), ([None], None), ([], None)])
def test_the_average_cost_is_of_priced_requests_to_the_nearest_nano_dollar(
    costs: list[int | None], average: int | None
) -> None:
    result = report(ReportRequest(START, END), [Event(START, cost_nano=cost) for cost in costs])
    assert result.totals.average_cost_nano_per_request == average


def test_the_share_of_estimates_is_of_requests() -> None:
    quarters = [
        UsageSum("1", requests=3, estimated_requests=1, input_tokens=900),
        UsageSum("2", requests=1, estimated_requests=1, input_tokens=1),
    ]
    result = UsageAnalytics().generate_report(
        ReportRequest(0, END), {"quarter_hour": quarters, "user": [], "model": []}
    )
    assert (result.totals.estimated_requests, result.totals.estimated_share) == (2, 0.5)
    assert report(ReportRequest(START, END), []).totals.estimated_share == 0.0


def test_every_sum_of_the_ledger_reaches_the_report() -> None:
    """A column that is added to the sums must be added up here too."""
    names = [field.name for field in fields(UsageSum) if field.name != "key"]
    one = UsageSum("0", **{name: 2**index for index, name in enumerate(names)})
    result = UsageAnalytics().generate_report(
        ReportRequest(0, END), {"quarter_hour": [one, replace(one, key="1")], "user": [one], "model": [one]}
    )
    assert [getattr(result.totals, name) for name in names] == [2 ** (index + 1) for index in range(len(names))]
    assert [getattr(result.rows[0], name) for name in names] == [2**index for index in range(len(names))]


@pytest.mark.parametrize(
    ("group_by", "forecast_days", "expected"),
    [
        ("user", None, ("quarter_hour", "user", "model")),
        ("session", None, ("quarter_hour", "user", "model", "session")),
        ("day", None, ("quarter_hour", "user", "model")),
        ("hour_of_day", 7, ("quarter_hour", "user", "model")),
        ("model", 7, ("quarter_hour", "user", "model")),
    ],
)
def test_a_report_asks_for_the_sums_it_needs(
    group_by: GroupBy, forecast_days: int | None, expected: tuple[Dimension, ...]
) -> None:
    request = ReportRequest(START, END, group_by, forecast_days=forecast_days)
    assert UsageAnalytics().dimensions(request) == expected


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("berlin", "Europe/Berlin"),
        ("new york", "America/New_York"),
        ("europe/vienna", "Europe/Vienna"),
        ("../etc/passwd", ""),
        ("America", ""),
        ("", ""),
        ("UTC\0", ""),
        ("Europe/" * 15, ""),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest(zone: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match=f"^timezone: .*{hint}"):
        ReportRequest(START, END, timezone=zone)


def test_a_long_zone_is_looked_for_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZoneInfo", "available_timezones", "nearest"):
        monkeypatch.setattr(f"tokenward.engine.zones.{name}", pytest.fail)
    with pytest.raises(InvalidInput, match=r"^timezone: 'A/A/A.*… is not a time zone"):
        ReportRequest(START, END, timezone="A/" * 1_000_000)


@pytest.mark.parametrize(
    ("field", "request_of"),
    [
        ("end", lambda: ReportRequest(START, START)),
        ("end", lambda: ReportRequest(START, START - 1)),
        ("end", lambda: ReportRequest(-1, END)),
        ("end", lambda: ReportRequest(START, 10**18)),
        ("top", lambda: ReportRequest(START, END, top=-1)),
        ("top", lambda: ReportRequest(START, END, top=1001)),
        ("limit", lambda: ReportRequest(START, END, limit=0)),
        ("limit", lambda: ReportRequest(START, END, limit=1001)),
        ("forecast_days", lambda: ReportRequest(START, END, forecast_days=0)),
        ("forecast_days", lambda: ReportRequest(START, END, forecast_days=367)),
        ("group_by", lambda: ReportRequest(START, END, "users")),  # type: ignore[arg-type]
    ],
)
def test_impossible_requests_are_refused(field: str, request_of: Callable[[], ReportRequest]) -> None:
    with pytest.raises(InvalidInput) as caught:
        request_of()
    assert caught.value.field == field


def test_times_at_the_ends_of_what_is_accepted_work_in_every_zone() -> None:
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        request = ReportRequest(0, 250_000_000_000_000_000, "day", zone, forecast_days=366)
        assert report(request, []).total_rows == 0
