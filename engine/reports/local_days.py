"""Sums of quarter hours, put together as the hours and days of a time zone.

A store sums by quarter hours since the epoch. The hours and days of every zone are whole numbers of those, so one sum
serves all zones and the change of the clocks: a local day has 92, 96 or 100 of them.
"""

from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from tokenward.engine.times import local, to_us
from tokenward.engine.types import QUARTER_HOUR_US
from tokenward.engine.usage import UsageSum, summed

_Key = TypeVar("_Key")


def midnight_us(day: date, zone: ZoneInfo) -> int:
    """When a zone's day begins, in microseconds UTC."""
    return to_us(datetime(day.year, day.month, day.day, tzinfo=zone))


def days_between(first: date, last: date) -> Iterable[date]:
    """The days from the first to the last, both included."""
    return (first + timedelta(days=offset) for offset in range((last - first).days + 1))


def grouped(
    quarters: Iterable[UsageSum], key: Callable[[datetime], _Key], zone: ZoneInfo
) -> dict[_Key, list[UsageSum]]:
    """Quarter hours by what their start is called in the zone."""
    groups: dict[_Key, list[UsageSum]] = {}
    for quarter in quarters:
        groups.setdefault(key(local(int(quarter.key) * QUARTER_HOUR_US, zone)), []).append(quarter)
    return groups


def whole_days(start_us: int, end_us: int, quarters: Iterable[UsageSum], zone: ZoneInfo) -> list[UsageSum]:
    """A period's whole local days in order, from the first with usage on, days off included.

    Args:
        start_us: The period's start, in microseconds UTC. A day cut short by it or by the end is left out.
        end_us: Its end, outside it.
        quarters: Its sums by quarter hours.
        zone: Whose days are meant.

    Returns:
        One sum for each day, its date as the key.
    """
    groups = grouped(quarters, lambda moment: moment.date(), zone)
    first, last = local(start_us, zone).date(), local(end_us - 1, zone).date()
    if local(start_us - 1, zone).date() == first:
        first += timedelta(days=1)
    if local(end_us, zone).date() == last:
        last -= timedelta(days=1)
    used = [day for day in groups if first <= day <= last]
    if not used:
        return []
    return [summed(day.isoformat(), groups.get(day, ())) for day in days_between(min(used), last)]
