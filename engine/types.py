"""Small shared types: JSON as Python sees it, the injected clock and the injected identifiers."""

import time
from collections.abc import Callable
from secrets import token_hex
from typing import TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]

Clock: TypeAlias = Callable[[], int]
"""Now, as integer microseconds since the epoch in UTC."""

NewId: TypeAlias = Callable[[], str]
"""A fresh identifier, unique across processes."""

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
QUARTER_HOUR_US = 15 * MINUTE_US
"""The hours and days of every time zone begin at a multiple of this."""
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

NANO_PER_USD = 1_000_000_000


def system_clock() -> int:
    """The wall clock, in integer microseconds UTC."""
    return time.time_ns() // 1_000


def random_id() -> str:
    """An identifier of 32 hexadecimal digits: 12 of time, so that a database keeps new ones together, and 20 random."""
    return f"{time.time_ns() // 1_000_000:012x}{token_hex(10)}"
