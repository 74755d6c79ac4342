"""Times at the edge: RFC 3339 with an offset for callers, integer microseconds UTC inside."""

import re
from datetime import UTC, datetime, timedelta

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.types import DAY_US, HOUR_US, SECOND_US
from tokenward.engine.windows import Span
from tokenward.engine.zones import time_zone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PERIOD = re.compile(r"([1-9][0-9]{0,3})([hdw])", re.ASCII)
_UNIT_US = {"h": HOUR_US, "d": DAY_US, "w": 7 * DAY_US}


def rfc3339(moment_us: int) -> str:
    """Microseconds UTC as ``2026-11-21T10:00:00+00:00``."""
    return (_EPOCH + timedelta(microseconds=moment_us)).isoformat()


def moment_us(field: str, written: str, timezone: str = "UTC") -> int:
    """A time as the caller wrote it: RFC 3339 with an offset, or a date (its first moment in the time zone).

    Raises:
        InvalidInput: Neither of the two.
    """
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        moment = None
    is_date = len(written) == len("2026-11-21")
    if moment is None or (moment.tzinfo is None and not is_date):
        raise InvalidInput(
            field,
            f"{shown(written)} is not a time; give RFC 3339 with an offset ('2026-11-21T10:00:00Z') or a date "
            "('2026-11-21').",
        )
    if is_date:
        moment = moment.replace(tzinfo=time_zone(timezone))
    return (moment - _EPOCH) // _MICROSECOND


def period_us(written: str, now_us: int, timezone: str = "UTC") -> tuple[int, int]:
    """Start and end of a period that ends now: ``24h``, ``7d``, ``12w``, ``today`` or ``month``.

    Raises:
        InvalidInput: Another text, or a period that starts before 1970.
    """
    # What was recorded this very moment belongs to it, also by the clock of a store on another machine.
    end_us = now_us + SECOND_US
    if written in ("today", "month"):
        return Span("day" if written == "today" else "month", "calendar", timezone).period(now_us)[0], end_us
    match = _PERIOD.fullmatch(written)
    start_us = now_us - int(match[1]) * _UNIT_US[match[2]] if match else -1
    if start_us < 0:
        raise InvalidInput(
            "period",
            f"{shown(written)} is not a period; give hours, days or weeks ('24h', '7d', '12w'), today or month.",
        )
    return start_us, end_us
