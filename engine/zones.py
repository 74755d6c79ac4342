"""Time zones by name."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from tokenward.engine.errors import InvalidInput, nearest, shown


def time_zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        InvalidInput: There is no such zone; the message names the nearest.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zones = {zone.lower(): zone for zone in available_timezones()}
        cities = {lower.rpartition("/")[2]: zone for lower, zone in zones.items() if "/" in lower}
        city = cities.get(name.lower().replace(" ", "_"))
        hint = f" Did you mean {city!r}?" if city else nearest(name, zones.values())
        raise InvalidInput(
            "timezone", f"{shown(name)} is not a time zone; give an IANA name such as 'Europe/Berlin'.{hint}"
        ) from None
