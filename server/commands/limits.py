"""Limits on the command line: how they are written, and how they are shown as JSON."""

import re
from itertools import product

from tokenward.engine.errors import InvalidInput, nearest, shown
from tokenward.engine.limits import METRICS, Metric, TokenLimit, amount_value, counted_in
from tokenward.engine.money import nano
from tokenward.engine.types import JsonObject
from tokenward.engine.windows import WINDOWS, Mode, Window

_INTEGER = re.compile(r"[0-9][0-9_]{0,20}", re.ASCII)


def limit_of(written: str, timezone: str) -> TokenLimit:
    """A limit from ``user:alice:tokens:day=100000``.

    Args:
        written: The limit.
        timezone: The zone of a calendar window that names none.

    Raises:
        InvalidInput: It is none.
    """
    name, _, amount = written.rpartition("=")
    parts = name.rsplit(":", 2)
    if len(parts) != 3 or not amount:
        raise InvalidInput("limit", f"{shown(written)} is not SUBJECT:METRIC:WINDOW=AMOUNT.")
    subject, metric, window = parts[0], _metric(parts[1]), parts[2]
    window, _, named = window.partition("@")
    said: Mode | None = None if not named else "rolling" if named == "rolling" else "calendar"
    mode, zone = counted_in(_window(window), said, named if said == "calendar" else None, timezone)
    return TokenLimit(subject, metric, _window(window), amount_of("limit", metric, amount), mode, zone)


def _metric(written: str) -> Metric:
    for metric in METRICS:
        if written == metric:
            return metric
    raise InvalidInput("limit", f"{shown(written)} is not one of {', '.join(METRICS)}.")


def _window(written: str) -> Window:
    for window in WINDOWS:
        if written == window:
            return window
    raise InvalidInput("limit", f"{shown(written)} is not one of {', '.join(WINDOWS)}.")


def metric_and_window(written: str) -> tuple[Metric, Window]:
    """What a limit is called: ``tokens/day``. Raises InvalidInput."""
    for metric, window in product(METRICS, WINDOWS):
        if written == f"{metric}/{window}":
            return metric, window
    hint = nearest(written, [f"{metric}/{window}" for metric, window in product(METRICS, WINDOWS)])
    accepted = "give tokens, cost or requests, a slash, and minute, hour, day or month"
    raise InvalidInput("METRIC/WINDOW", f"{shown(written)} is not a limit's name; {accepted}.{hint}")


def amount_of(field: str, metric: Metric, written: str) -> int:
    """Nano-dollars for a cost in USD, else the integer. Raises InvalidInput."""
    if metric == "cost":
        try:
            return nano(written.removeprefix("$"))
        except InvalidInput as error:
            raise InvalidInput(field, error.problem) from None
    if not _INTEGER.fullmatch(written):
        raise InvalidInput(field, f"{shown(written)} is not a number of {metric}; give digits, such as 100000.")
    return int(written.replace("_", ""))


def limit_json(limit: TokenLimit) -> JsonObject:
    """A limit without its subject."""
    return {
        "metric": limit.metric,
        "window": limit.window,
        "limit": amount_value(limit.metric, limit.limit),
        "mode": limit.mode,
        "timezone": limit.span.timezone,
    }
