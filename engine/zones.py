"""Time zones by name."""

from contextlib import suppress
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from tokenward.engine.errors import InvalidInput, nearest, shown

_NO_ZONES = ("localtime", "posixrules")
"""Files beside the zones: what they say is a matter of the machine."""

_MAX_CHARACTERS = 100
"""Three times the longest there is; the way to a file is worked out from the name, which takes long for a long one."""


def time_zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        InvalidInput: There is no such zone; the message names the nearest.
    """
    if len(name) > _MAX_CHARACTERS:
        raise InvalidInput("timezone", f"{shown(name)} is not a time zone; give an IANA name such as 'Europe/Berlin'.")
    with suppress(ZoneInfoNotFoundError, ValueError, OSError):
        if name not in _NO_ZONES:
            return ZoneInfo(name)
    zones = {zone.lower(): zone for zone in available_timezones() if zone not in _NO_ZONES}
    cities = {lower.rpartition("/")[2]: zone for lower, zone in zones.items() if "/" in lower}
    city = cities.get(name.lower().replace(" ", "_"))
    hint = f" Did you mean {city!r}?" if city else nearest(name, zones.values())
    raise InvalidInput(
        "timezone", f"{shown(name)} is not a time zone; give an IANA name such as 'Europe/Berlin'.{hint}"
    )
