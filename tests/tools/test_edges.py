"""Times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenward.engine.errors import InvalidInput
from tokenward.engine.times import rfc3339
from tokenward.engine.types import DAY_US, HOUR_US, SECOND_US
from tokenward.tools.times import moment_us, period_us

NOON_US = 1_795_262_400 * SECOND_US  # 2026-11-21 12:00 UTC


@pytest.mark.parametrize(
    ("written", "zone", "expected"),
    [
        ("2026-11-21T12:00:00Z", "UTC", NOON_US),
        ("2026-11-21T12:00:00.000001+00:00", "UTC", NOON_US + 1),
        ("2026-11-21T13:00:00+01:00", "America/New_York", NOON_US),
        ("2026-11-21", "UTC", NOON_US - 12 * HOUR_US),
        ("2026-11-21", "Europe/Berlin", NOON_US - 13 * HOUR_US),
    ],
)
def test_times_are_read(written: str, zone: str, expected: int) -> None:
    assert moment_us("at", written, zone) == expected


@pytest.mark.parametrize(
    "written", ["", "yesterday", "2026-11-21T12:00:00", "2026-13-01", "1795262400", "2026-11-21T25:00Z"]
)
def test_other_texts_are_no_times(written: str) -> None:
    with pytest.raises(InvalidInput, match=r"^at: .* is not a time; give RFC 3339 with an offset"):
        moment_us("at", written)


@given(st.integers(min_value=0, max_value=250_000_000_000 * SECOND_US))
def test_times_come_back(moment: int) -> None:
    assert moment_us("at", rfc3339(moment)) == moment


@pytest.mark.parametrize(
    ("written", "zone", "start_us"),
    [
        ("24h", "UTC", NOON_US - DAY_US),
        ("7d", "UTC", NOON_US - 7 * DAY_US),
        ("12w", "UTC", NOON_US - 84 * DAY_US),
        ("today", "UTC", NOON_US - 12 * HOUR_US),
        ("today", "Europe/Berlin", NOON_US - 13 * HOUR_US),
        ("month", "UTC", NOON_US - 12 * HOUR_US - 20 * DAY_US),
    ],
)
def test_periods_end_now(written: str, zone: str, start_us: int) -> None:
    assert period_us(written, NOON_US, zone) == (start_us, NOON_US + SECOND_US)


@pytest.mark.parametrize("written", ["", "7", "d", "0d", "-1d", "7 d", "1y", "9999w", "week", "٣d"])
def test_other_texts_are_no_periods(written: str) -> None:
    with pytest.raises(InvalidInput, match=r"^period: .* is not a period; give hours, days or weeks"):
        period_us(written, NOON_US)
