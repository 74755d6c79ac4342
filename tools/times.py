"""Times at the edge: RFC 3339 with an offset for callers, integer microseconds UTC inside."""

import re
from datetime import datetime
from typing import TYPE_CHECKING, TypedDict

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.times import to_us
from tokenward.engine.types import DAY_US, HOUR_US, SECOND_US
from tokenward.engine.windows import Span
from tokenward.engine.zones import time_zone

if TYPE_CHECKING:
    from tokenward.tools.definition import ToolContext

_PERIOD = re.compile(r"([1-9][0-9]{0,3})([hdw])", re.ASCII)
_UNIT_US = {"h": HOUR_US, "d": DAY_US, "w": 7 * DAY_US}


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
    return to_us(moment)


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


def span_us(start: str | None, end: str | None, period: str | None, now_us: int, timezone: str) -> tuple[int, int]:
    """Start and end of a span that is given by its ends or as a period; the last seven days without any.

    Raises:
        InvalidInput: Both, an end without a start, or what is no time.
    """
    if start is None:
        if end is not None:
            raise InvalidInput("end", "give a start as well.")
        return period_us("7d" if period is None else period, now_us, timezone)
    if period is not None:
        raise InvalidInput("period", "give either a period or a start, not both.")
    end_us = period_us("24h", now_us)[1] if end is None else moment_us("end", end, timezone)
    return moment_us("start", start, timezone), end_us


class AskedPeriod(TypedDict):
    """The period of a report, as :class:`~tokenward.engine.reports.report.ReportRequest` takes it."""

    start_us: int
    end_us: int
    timezone: str


def asked_period(
    context: "ToolContext", start: str | None, end: str | None, period: str | None, timezone: str | None
) -> AskedPeriod:
    """As :func:`span_us`, up to now and in the context's zone if none is named. Raises InvalidInput as that does."""
    zone = context.timezone if timezone is None else timezone
    start_us, end_us = span_us(start, end, period, context.service.clock(), zone)
    return {"start_us": start_us, "end_us": end_us, "timezone": zone}
