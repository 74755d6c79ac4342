"""Windows: what counts, when it leaves, and calendars in time zones that change their clocks."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenward.engine.errors import InvalidInput
from tokenward.engine.types import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tokenward.engine.windows import Mode, Span, Window

LENGTH_US: dict[Window, int] = {"minute": MINUTE_US, "hour": HOUR_US, "day": DAY_US, "month": 30 * DAY_US}
TIMES = st.integers(0, 4_102_444_800 * SECOND_US)


def date_of(moment: datetime) -> tuple[int, ...]:
    return moment.year, moment.month, moment.day


def month_of(moment: datetime) -> tuple[int, ...]:
    return moment.year, moment.month


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND_US


@given(st.sampled_from(sorted(LENGTH_US)), TIMES, st.integers(0, 40 * DAY_US))
def test_a_rolling_window_counts_its_length_and_at_most_a_bucket_more(
    window: Window, at_us: int, later_us: int
) -> None:
    span = Span(window)
    counts = span.counts(span.bucket(at_us), at_us + later_us)
    if later_us < LENGTH_US[window]:
        assert counts
    if later_us >= LENGTH_US[window] * (1 + 1 / 6):
        assert not counts


@given(st.sampled_from(sorted(LENGTH_US)), st.sampled_from(["rolling", "calendar"]), TIMES)
def test_a_bucket_counts_until_the_moment_it_leaves(window: Window, mode: Mode, at_us: int) -> None:
    if mode == "calendar" and window in ("minute", "hour"):
        return
    span = Span(window, mode, "Europe/Berlin")
    bucket = span.bucket(at_us)
    leaves_us = span.leaves_us(bucket)
    assert at_us < leaves_us
    assert span.counts(bucket, leaves_us - 1)
    assert not span.counts(bucket, leaves_us)
    assert span.bucket(span.stretches_us(leaves_us - 1)[0][0]) == bucket
    assert span.bucket(span.stretches_us(leaves_us)[0][0]) > bucket


@given(st.sampled_from(sorted(LENGTH_US)), st.integers(-(2**62), 2**62))
def test_buckets_before_1970_and_far_ahead_count_alike(window: Window, now_us: int) -> None:
    span = Span(window)
    first, last = span.counted(now_us)
    current = span.bucket(now_us)
    assert current - first == last - current > 0
    assert [span.counts(bucket, now_us) for bucket in (first - 1, first, current, last, last + 1)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert not span.counts(-(2**80), now_us)
    assert not span.counts(2**80, now_us)
    ((start_us, _, width_us),) = span.stretches_us(now_us)
    assert (span.bucket(start_us - 1), span.bucket(start_us)) == (first - 1, first)
    assert span.bucket(start_us + width_us) == first + 1


@given(
    st.sampled_from(
        [Span("day"), Span("month"), Span("day", "calendar", "Australia/Lord_Howe"), Span("month", "calendar")]
    ),
    st.integers(0, 2**52),
    st.integers(0, 10**15),
)
def test_what_is_rebuilt_falls_into_the_buckets_of_its_time(span: Span, now_us: int, later_us: int) -> None:
    stretches = span.stretches_us(now_us)
    at_us = stretches[0][0] + later_us
    ((since_us, until_us, width_us),) = [one for one in stretches if one[0] <= at_us < one[1]]
    assert span.bucket(max(since_us, at_us // width_us * width_us)) == span.bucket(at_us)
    assert until_us > at_us


@pytest.mark.parametrize("date", ["2026-03-29", "2026-10-25"])
def test_on_the_day_of_a_clock_change_this_day_and_the_next_count(date: str) -> None:
    span = Span("day", "calendar", "Europe/Berlin")
    now_us = us(f"{date}T12:00:00+00:00")
    yesterday, today, tomorrow, day_after = (span.bucket(now_us + days * DAY_US) for days in (-1, 0, 1, 2))
    assert span.counted(now_us) == (today, tomorrow)
    counted = [span.counts(bucket, now_us) for bucket in (yesterday, today, tomorrow, day_after)]
    assert counted == [False, True, True, False]


@given(TIMES, st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Asia/Beirut"]))
def test_a_calendar_period_is_the_local_date(at_us: int, name: str) -> None:
    local = datetime.fromtimestamp(at_us // SECOND_US, tz=UTC).astimezone(ZoneInfo(name))
    for window in ("day", "month"):
        start_us, end_us = Span(window, "calendar", name).period(at_us)
        assert start_us <= at_us < end_us
        first, last = (
            datetime.fromtimestamp(one // SECOND_US, tz=UTC).astimezone(ZoneInfo(name))
            for one in (start_us, end_us - 1)
        )
        same = date_of if window == "day" else month_of
        assert same(first) == same(local) == same(last)
        before = datetime.fromtimestamp(start_us // SECOND_US - 1, tz=UTC).astimezone(ZoneInfo(name))
        assert same(before) != same(local)


@pytest.mark.parametrize(
    ("window", "timezone", "at", "start", "end"),
    [
        ("month", "UTC", "2026-12-31T23:59:59+00:00", "2026-12-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        ("month", "UTC", "2028-02-29T12:00:00+00:00", "2028-02-01T00:00:00+00:00", "2028-03-01T00:00:00+00:00"),
        ("day", "Europe/Berlin", "2026-03-29T12:00:00+02:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00:00+01:00", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"),
        (
            "day",
            "Asia/Kathmandu",
            "2026-11-21T18:20:00+00:00",
            "2026-11-22T00:00:00+05:45",
            "2026-11-23T00:00:00+05:45",
        ),
        (
            "month",
            "America/New_York",
            "2026-11-01T01:30:00-05:00",
            "2026-11-01T00:00:00-04:00",
            "2026-12-01T00:00:00-05:00",
        ),
    ],
)
def test_calendar_periods(window: Window, timezone: str, at: str, start: str, end: str) -> None:
    assert Span(window, "calendar", timezone).period(us(at)) == (us(start), us(end))


def test_days_of_a_clock_change_have_23_and_25_hours() -> None:
    day = Span("day", "calendar", "Europe/Berlin")
    lengths = [
        timedelta(microseconds=end - start)
        for start, end in (day.period(us(f"2026-{date}T12:00:00+00:00")) for date in ("03-29", "10-25"))
    ]
    assert lengths == [timedelta(hours=23), timedelta(hours=25)]


def test_buckets_a_little_ahead_count_and_far_ones_do_not() -> None:
    span = Span("minute")
    assert span.counts(span.bucket(MINUTE_US), 0)
    assert not span.counts(span.bucket(HOUR_US), 0)


@pytest.mark.parametrize("window", ["minute", "hour"])
def test_minutes_and_hours_are_rolling(window: Window) -> None:
    with pytest.raises(InvalidInput, match="always rolling"):
        Span(window, "calendar")


@pytest.mark.parametrize(
    ("name", "hint"), [("europe/berln", "Europe/Berlin"), ("berlin", "Europe/Berlin"), ("../x", "")]
)
def test_an_unknown_zone_is_refused_with_the_nearest_name(name: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match="not a time zone") as error:
        Span("day", "calendar", name)
    assert hint in str(error.value)
