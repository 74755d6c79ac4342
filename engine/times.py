"""Moments: integer microseconds since the epoch in UTC inside, dates and clocks where somebody reads or writes them."""

from datetime import UTC, datetime, timedelta, tzinfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def local(moment_us: int, zone: tzinfo = UTC) -> datetime:
    """A moment by a zone's clocks."""
    return (_EPOCH + timedelta(microseconds=moment_us)).astimezone(zone)


def to_us(moment: datetime) -> int:
    """A moment with a time zone, in microseconds UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def rfc3339(moment_us: int) -> str:
    """``2026-11-21T10:00:00+00:00``."""
    return local(moment_us).isoformat()
