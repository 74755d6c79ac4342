"""Alerts: which limits have reached 80 or 100 percent, in which window, and what is told of it.

An alert is due once per subject, limit, window and percentage. The window of a calendar limit is its day or month. A
rolling window moves with every moment, so that its time is cut into slots of the window's length, counted from 1970
UTC (a rolling day has the slots of the days UTC, a rolling month slots of 30 days): one alert in each slot. A limit
whose amount is changed counts as another limit.

100 percent is also reached when the limit refuses work that would fit into it if it were empty: with holds taken
before the work, usage seldom comes to the limit itself.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tokenward.engine.limits import NOTHING, Amounts, TokenLimit, amount_value
from tokenward.engine.quota import LimitStatus
from tokenward.engine.times import rfc3339
from tokenward.engine.types import DAY_US, HOUR_US, MINUTE_US, JsonObject
from tokenward.engine.windows import Window

_PERCENTAGES = (80, 100)

_SLOT_US: dict[Window, int] = {"minute": MINUTE_US, "hour": HOUR_US, "day": DAY_US, "month": 30 * DAY_US}


@dataclass(frozen=True, slots=True)
class Alert:
    """A limit that has reached a percentage.

    Attributes:
        subject: Whose usage it is; of a ``default`` limit, the user.
        threshold: 80 or 100.
        window_start_us: The window or slot it is told in.
        resets_us: When all that counts now has left, or, of work that was refused, when it would fit.
    """

    subject: str
    limit: TokenLimit
    threshold: int
    window_start_us: int
    used: int
    reserved: int
    resets_us: int | None

    @property
    def window(self) -> str:
        """Names the limit among those of its subject and metric, its amount included."""
        return f"{self.limit.span.name}={self.limit.limit}"


def alerts_of(
    user: str, statuses: Iterable[LimitStatus], now_us: int, *, refused: Amounts = NOTHING
) -> Iterator[Alert]:
    """The alerts that are due if they were not told before, 80 percent before 100.

    Args:
        user: Whose limits these are, for limits of ``default``.
        statuses: How the limits stand.
        now_us: Now, microseconds UTC.
        refused: What was asked for and did not fit.
    """
    for limit, used, reserved, _, resets_us in statuses:
        taken = used + reserved
        reached = taken * 100 // limit.limit if limit.limit else 0
        asked = refused.of(limit.metric)
        if asked <= limit.limit < taken + asked:
            reached = max(reached, 100)
        subject = f"user:{user}" if limit.scope == "default" else limit.subject
        for threshold in _PERCENTAGES:
            if reached >= threshold:
                yield Alert(subject, limit, threshold, window_start_us(limit, now_us), used, reserved, resets_us)


def window_start_us(limit: TokenLimit, now_us: int) -> int:
    """The start of the window, or of a rolling window's slot, that now is in."""
    if limit.mode == "calendar":
        return limit.span.period(now_us)[0]
    return now_us - now_us % _SLOT_US[limit.window]


def alert_json(alert: Alert, now_us: int) -> JsonObject:
    """What a hook is told. Amounts of money are USD as text, times RFC 3339."""
    limit, taken = alert.limit, alert.used + alert.reserved
    return {
        "alert": f"{alert.threshold}%",
        "subject": alert.subject,
        "metric": limit.metric,
        "window": limit.window,
        "mode": limit.mode,
        "limit": amount_value(limit.metric, limit.limit),
        "used": amount_value(limit.metric, alert.used),
        "reserved": amount_value(limit.metric, alert.reserved),
        "percent": taken * 100 // limit.limit if limit.limit else 100,
        "threshold": alert.threshold,
        "resets_at": None if alert.resets_us is None else rfc3339(alert.resets_us),
        "time": rfc3339(now_us),
    }


def alert_variables(told: JsonObject) -> dict[str, str]:
    """The same as environment variables of a command: ``TOKENWARD_ALERT_SUBJECT`` and so on."""
    named = ("subject", "metric", "window", "limit", "used", "percent", "threshold", "resets_at")
    return {f"TOKENWARD_ALERT_{name.upper()}": "" if told[name] is None else str(told[name]) for name in named}
