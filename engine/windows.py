"""Windows of time as counted buckets: which buckets a limit counts now, and when each stops counting.

A rolling window of *n* buckets counts the current bucket and the *n* before it, so that no span of the window's length
ever holds more than the limit (the price is an average admission of n/(n+1)). A calendar window is one bucket: the
day or the month in a time zone. Buckets in the near future count too: they exist only when the clock went backwards,
and what they hold was admitted a moment ago. Buckets further ahead than one window do not count before their time, so
that a clock that was wrong by a year cannot lock anybody out.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

from tokenward.engine.errors import InvalidInput
from tokenward.engine.times import local, to_us
from tokenward.engine.types import DAY_US, HOUR_US, MINUTE_US, QUARTER_HOUR_US, SECOND_US
from tokenward.engine.zones import time_zone

Window: TypeAlias = Literal["minute", "hour", "day", "month"]
Mode: TypeAlias = Literal["rolling", "calendar"]

WINDOWS: tuple[Window, ...] = get_args(Window)

_ROLLING: dict[Window, tuple[int, int]] = {
    "minute": (10 * SECOND_US, 6),
    "hour": (5 * MINUTE_US, 12),
    "day": (HOUR_US, 24),
    "month": (DAY_US, 30),
}
"""Bucket width in microseconds and the number of buckets in the window; a rolling month is 30 days."""

_FOREVER_US = 2**62


@lru_cache(maxsize=256)
def _period(window: Window, timezone: str, quarter_hour: int) -> tuple[int, int]:
    """Start and end of the calendar period that holds a quarter of an hour UTC: none begins within one."""
    tz = time_zone(timezone)
    moment = local(quarter_hour * QUARTER_HOUR_US, tz)
    start = datetime(moment.year, moment.month, moment.day if window == "day" else 1, tzinfo=tz)
    # A day is found by its date, not by adding 24 hours: days of 23 and 25 hours exist.
    if window == "month":
        end = datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=tz)
    else:
        end = datetime.fromordinal(start.toordinal() + 1).replace(tzinfo=tz)
    return to_us(start), to_us(end)


@dataclass(frozen=True, slots=True)
class Span:
    """The windows of one kind: ``window`` in ``mode``, calendar ones in ``timezone``.

    Raises:
        InvalidInput: A calendar minute or hour, or an unknown zone.
    """

    window: Window
    mode: Mode = "rolling"
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if self.mode == "calendar":
            if self.window not in ("day", "month"):
                raise InvalidInput("mode", f"a {self.window} is always rolling; calendar is for day and month.")
            time_zone(self.timezone)

    @property
    def name(self) -> str:
        """Names the buckets in a stored state: ``day`` or ``month@Europe/Berlin``."""
        return f"{self.window}@{self.timezone}" if self.mode == "calendar" else self.window

    def period(self, at_us: int) -> tuple[int, int]:
        """Start (included) and end (excluded) of the calendar period around ``at_us``."""
        return _period(self.window, self.timezone, at_us // QUARTER_HOUR_US)

    def bucket(self, at_us: int) -> int:
        """The bucket that ``at_us`` falls into: an index, or a calendar period's start in microseconds."""
        if self.mode == "calendar":
            return self.period(at_us)[0]
        return at_us // _ROLLING[self.window][0]

    def counted(self, now_us: int) -> tuple[int, int]:
        """The first and the last bucket inside the window that ends now; every bucket between them counts too."""
        if self.mode == "calendar":
            return self.period(now_us)
        width, buckets = _ROLLING[self.window]
        current = now_us // width
        return current - buckets, current + buckets

    def counts(self, bucket: int, now_us: int) -> bool:
        """Whether ``bucket`` is inside the window that ends now."""
        first, last = self.counted(now_us)
        return first <= bucket <= last

    def leaves_us(self, bucket: int) -> int:
        """When ``bucket`` stops counting, in microseconds."""
        if self.mode == "calendar":
            return self.period(bucket)[1]
        width, buckets = _ROLLING[self.window]
        return (bucket + buckets + 1) * width

    def stretches_us(self, now_us: int) -> tuple[tuple[int, int, int], ...]:
        """The time from which a counter is rebuilt: from the window's start on, ahead of now too, without end.

        What lies ahead was admitted under a clock that was wrong, or is wrong now; its time may come.

        Returns:
            Stretches as start, end (outside) and width: amounts within one width fall into one bucket, that of the
            width's start or, where the stretch is shorter, of the stretch's.
        """
        first, last = self.counted(now_us)
        if self.mode == "calendar":
            following = self.period(last)[1]
            return (
                (first, last, _FOREVER_US),
                (last, following, _FOREVER_US),
                (following, _FOREVER_US, QUARTER_HOUR_US),
            )
        width, _ = _ROLLING[self.window]
        return ((first * width, _FOREVER_US, width),)
