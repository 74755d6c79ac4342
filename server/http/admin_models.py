"""What the admin API takes and answers: the parameters' types as they are documented, and the result models."""

from typing import Annotated, Literal, TypeAlias

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.limits import Metric, TokenLimit, amount_value
from tokenward.engine.money import nano
from tokenward.engine.reports.prediction import MAX_FORECAST_DAYS
from tokenward.engine.reports.report import MAX_ROWS
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.engine.windows import Mode, Window
from tokenward.tools.definition import Advertised, Result

# Parameters ---------------------------------------------------------------------------------------------------------

_NAME_CHARACTERS = 200
_SUBJECT: JsonObject = {
    "type": "string",
    "pattern": f"^(default|global|(user|group|session):.{{1,{_NAME_CHARACTERS}}})$",
    "format": "subject",
    "description": "Whom a limit binds: user:NAME, group:NAME, session:NAME, default (each user without an own limit) "
    "or global. A name has 1 to 200 printable characters.",
}


def _text(description: str, **more: JsonValue) -> Advertised:
    return Advertised({"type": "string", **more, "description": description})


def _integer(low: int, high: int, default: int | None, description: str) -> Advertised:
    schema: JsonObject = {"type": "integer", "minimum": low, "maximum": high, "description": description}
    return Advertised(schema if default is None else {**schema, "default": default})


_CURSOR = _text("next_cursor of the page before, with the other parameters unchanged.", minLength=1)

Subject: TypeAlias = Annotated[str, Advertised(_SUBJECT)]
MaybeSubject: TypeAlias = Annotated[str | None, Advertised(_SUBJECT)]
MaybeName: TypeAlias = Annotated[str | None, _text("A name.", format="name", minLength=1, maxLength=_NAME_CHARACTERS)]
NameOrNone: TypeAlias = Annotated[
    str | None, _text("A name; empty is the usage that names none.", format="name", maxLength=_NAME_CHARACTERS)
]
MaybeModel: TypeAlias = Annotated[str | None, _text("A model's name as it was recorded.", format="name", minLength=1)]
MaybeMoment: TypeAlias = Annotated[
    str | None, _text("RFC 3339 with an offset, or a date: its first moment in the time zone.", format="moment")
]
MaybePeriod: TypeAlias = Annotated[
    str | None,
    _text(
        "A time that ends now: hours, days or weeks (24h, 7d, 12w), today or month.",
        format="period",
        pattern="^([1-9][0-9]{0,3}[hdw]|today|month)$",
    ),
]
MaybeZone: TypeAlias = Annotated[str | None, _text("IANA name of a time zone.", format="timezone")]
MaybeCursor: TypeAlias = Annotated[str | None, _CURSOR]
Rows: TypeAlias = Annotated[int, _integer(1, MAX_ROWS, 100, "How many rows a page has at most.")]
Top: TypeAlias = Annotated[int, _integer(0, MAX_ROWS, 10, "How many users to name as the top ones.")]
ForecastDays: TypeAlias = Annotated[int | None, _integer(1, MAX_FORECAST_DAYS, None, "Forecast so many coming days.")]
Amount: TypeAlias = Annotated[
    JsonValue,
    Advertised({"description": "Tokens or requests as an integer, cost as a decimal string in USD; 0 allows nothing."}),
]
MaybeMode: TypeAlias = Annotated[
    Mode | None,
    Advertised(
        {
            "enum": ["rolling", "calendar", None],
            "description": "Calendar if the window is a month, or a day with a timezone; else rolling.",
        }
    ),
]
CalendarZone: TypeAlias = Annotated[
    str | None,
    Advertised(
        {
            "type": ["string", "null"],
            "format": "timezone",
            "description": "IANA name of the calendar's zone; the server's own if none is given.",
        }
    ),
]


def amount_of(metric: Metric, given: JsonValue) -> int:
    """Nano-dollars for a cost in USD, else the integer.

    Raises:
        InvalidInput: A cost that is no decimal string, or another amount that is no integer.
    """
    if metric == "cost":
        if not isinstance(given, str):
            raise InvalidInput("limit", f"{shown(given)} is not an amount in USD; give a text, such as '12.50'.")
        try:
            return nano(given)
        except InvalidInput as error:
            raise InvalidInput("limit", error.problem) from None
    if isinstance(given, float) and given.is_integer():
        return int(given)
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    raise InvalidInput("limit", f"{shown(given)} is not a number of {metric}; give an integer, such as 100000.")


# Results ------------------------------------------------------------------------------------------------------------


class Limit(Result):
    """A limit as it was set. Its amount is an integer or, for a cost, a decimal string in USD."""

    subject: str
    metric: Metric
    window: Window
    limit: int | str
    mode: Mode
    timezone: str


def limit_fields(one: TokenLimit) -> dict[str, int | str]:
    """The fields of :class:`Limit`."""
    return {
        "subject": one.subject,
        "metric": one.metric,
        "window": one.window,
        "limit": amount_value(one.metric, one.limit),
        "mode": one.mode,
        "timezone": one.span.timezone,
    }


class Limits(Result):
    """A page of limits, by subject, metric and window."""

    limits: list[Limit]
    next_cursor: str | None = None


class LimitSet(Limit):
    """The limit that stands now."""

    set: Literal[True] = True


class LimitDeleted(Result):
    """The limit that was taken away. What was used stays in the ledger."""

    deleted: Literal[True] = True
    subject: str
    metric: Metric
    window: Window
