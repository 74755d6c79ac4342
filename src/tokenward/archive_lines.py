"""The lines of an archive: the ledger's nouns as JSON objects, one on a line, and back with every field checked.

Each object's ``kind`` says what it is. Costs are decimal strings in USD, times are ISO 8601 with microseconds.
"""

import json
import re
from datetime import datetime
from functools import partial
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from tokenward.engine.budget import MAX_DEPTH
from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.limits import Metric, TokenLimit, amount_value, check_name
from tokenward.engine.money import MAX_NANO, nano, usd
from tokenward.engine.quota import Priority
from tokenward.engine.times import local, to_us
from tokenward.engine.types import MINUTE_US, NANO_PER_USD, QUARTER_HOUR_US, JsonObject, JsonValue
from tokenward.engine.usage import MAX_TOKENS, Tier, TokenUsage, UsageEvent, UsageSum
from tokenward.engine.windows import Mode, Window
from tokenward.storage.base import HourlyUsage
from tokenward.storage.checks import check_texts

FORMAT = 1
"""The version of the lines."""

END_US = 253_402_300_800_000_000
"""The first moment of the year 10000: after every event."""

_MAX_SKEW_US = 5 * MINUTE_US
# As engine.money reads them, but sums may be larger than what one event can cost.
_USD = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,9}))?", re.ASCII)

# Writing ------------------------------------------------------------------------------------------------------------


def _line(document: JsonObject) -> str:
    # ASCII, so that any terminal, pipe and code page carries it.
    return json.dumps(document, separators=(",", ":")) + "\n"


def _time(moment_us: int) -> str:
    """ISO 8601 with microseconds, UTC."""
    return local(moment_us).isoformat(timespec="microseconds")


def header_line(now_us: int, version: str, start_us: int, end_us: int, pruned_us: int) -> str:
    """The first line: what wrote the archive, when, and what span of time it holds."""
    return _line(
        {
            "kind": "header",
            "format": FORMAT,
            "tokenward": version,
            "exported": _time(now_us),
            "from": _time(start_us) if start_us > 0 else None,
            "to": _time(end_us) if end_us < END_US else None,
            "pruned_before": _time(pruned_us) if pruned_us else None,
        }
    )


def limit_line(limit: TokenLimit) -> str:
    """A limit."""
    return _line(
        {
            "kind": "limit",
            "subject": limit.subject,
            "metric": limit.metric,
            "window": limit.window,
            "limit": amount_value(limit.metric, limit.limit),
            "mode": limit.mode,
            "timezone": limit.timezone,
        }
    )


def hourly_line(line: HourlyUsage) -> str:
    """The sums of a quarter hour whose events were pruned."""
    sums = line.sums
    # Left out where there is nothing to say, so that an older tokenward can read what it knows.
    newer = {"estimated_requests": sums.estimated_requests, "cache_write_1h_tokens": sums.cache_write_1h_tokens}
    return _line(
        {
            "kind": "hourly",
            "start": _time(line.quarter_hour * QUARTER_HOUR_US),
            "user": line.user,
            "group": line.group,
            "model": line.model,
            "endpoint": line.endpoint,
            "requests": sums.requests,
            "input_tokens": sums.input_tokens,
            "output_tokens": sums.output_tokens,
            "cached_tokens": sums.cached_tokens,
            "cache_write_tokens": sums.cache_write_tokens,
            "reasoning_tokens": sums.reasoning_tokens,
            "cost": usd(sums.cost_nano),
            "unpriced_requests": sums.unpriced_requests,
            **{name: count for name, count in newer.items() if count},
        }
    )


def event_line(event: UsageEvent) -> str:
    """An event."""
    usage = event.usage
    counted: JsonObject = {"counted_tokens": event.counted_tokens, "counted_as": event.counted_as}
    estimated: JsonObject = {"estimated": True} if event.estimated else {}
    return _line(
        {
            "kind": "event",
            "event_id": event.event_id,
            "timestamp": _time(event.timestamp_us),
            "admitted": _time(event.admitted_us),
            "user": event.user,
            "group": event.group,
            "session": event.session,
            "ancestors": list[JsonValue](event.ancestors),
            "model": event.model,
            "tier": event.tier,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cached_input_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "cache_write_1h_tokens": usage.cache_write_1h_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "cost": None if event.cost_nano is None else usd(event.cost_nano),
            "price_source": event.price_source,
            "endpoint": event.endpoint,
            "priority": event.priority,
            "reservation_id": event.reservation_id,
            "overage": event.overage,
            # Left out where nobody said, so that an older tokenward can read what it knows.
            **(counted if event.counted_as else {}),
            **estimated,
        }
    )


def end_line(limits: int, hourly: int, events: int) -> str:
    """The last line: how many there are of each kind."""
    return _line({"kind": "end", "limits": limits, "hourly": hourly, "events": events})


# Reading ------------------------------------------------------------------------------------------------------------


def _moment_us(written: object) -> int:
    try:
        moment = datetime.fromisoformat(written) if isinstance(written, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or to_us(moment) < 0:
        raise ValueError(f"{shown(written)} is not a time since 1970 in ISO 8601 with an offset")
    return to_us(moment)


def _nano(written: object) -> int:
    match = _USD.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        raise ValueError(f"{shown(written)} is not an amount in USD as text, such as '12.50'")
    return int(match[1]) * NANO_PER_USD + int((match[2] or "").ljust(9, "0"))


def _named(value: str, *, optional: bool = False) -> str:
    try:
        return value if optional and not value else check_name("name", value)
    except InvalidInput as error:
        raise ValueError(str(error).partition(": ")[2].rstrip(".")) from None


def _kept(value: str) -> str:
    """A text that the ledger keeps as it is. Models are recorded in any spelling."""
    try:
        check_texts(text=value)
    except InvalidInput as error:
        raise ValueError(error.problem.rstrip(".")) from None
    return value


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a session stands above itself")
    return names


_Moment: TypeAlias = Annotated[int, BeforeValidator(_moment_us)]
_Cost: TypeAlias = Annotated[int, BeforeValidator(_nano), Field(le=MAX_NANO)]
_CostSum: TypeAlias = Annotated[int, BeforeValidator(_nano), Field(le=10**15 * NANO_PER_USD)]
_Name: TypeAlias = Annotated[str, AfterValidator(_named)]
_NameOrNone: TypeAlias = Annotated[str, AfterValidator(partial(_named, optional=True))]
_Model: TypeAlias = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_kept)]
_Count: TypeAlias = Annotated[int, Field(ge=0, le=10**15)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class HeaderLine(_Line):
    """The first line."""

    kind: Literal["header"]
    format: int
    tokenward: str
    exported: _Moment
    start: _Moment | None = Field(default=None, alias="from")
    to: _Moment | None = None
    pruned_before: _Moment | None = None

    def check(self) -> None:
        """Raises InvalidInput if a newer tokenward wrote the archive."""
        if self.format != FORMAT:
            raise InvalidInput("format", f"{self.format} is not {FORMAT}, which this tokenward reads; upgrade it.")


class LimitLine(_Line):
    """A limit."""

    kind: Literal["limit"]
    subject: str
    metric: Metric
    window: Window
    limit: int | str
    mode: Mode = "rolling"
    timezone: str = "UTC"

    def token_limit(self) -> TokenLimit:
        """The limit in the engine's units. Raises InvalidInput."""
        if self.metric == "cost":
            amount = nano(str(self.limit))
        elif isinstance(self.limit, int):
            amount = self.limit
        else:
            raise InvalidInput("limit", f"expected an integer for {self.metric}; only costs are written as text.")
        return TokenLimit(self.subject, self.metric, self.window, amount, self.mode, self.timezone)


class HourlyLine(_Line):
    """The sums of a quarter hour whose events were pruned."""

    kind: Literal["hourly"]
    start: _Moment
    user: _Name
    group: _NameOrNone
    model: _Model
    endpoint: _NameOrNone
    requests: _Count
    input_tokens: _Count
    output_tokens: _Count
    cached_tokens: _Count
    cache_write_tokens: _Count
    reasoning_tokens: _Count
    cost: _CostSum
    unpriced_requests: _Count
    estimated_requests: _Count = 0
    cache_write_1h_tokens: _Count = 0

    def hourly_usage(self, now_us: int) -> HourlyUsage:
        """The rollup's line. Raises InvalidInput."""
        if self.start > now_us:
            raise InvalidInput("start", f"{_time(self.start)} lies in the future.")
        quarter_hour, rest_us = divmod(self.start, QUARTER_HOUR_US)
        if rest_us:
            raise InvalidInput("start", "is not the start of a quarter hour.")
        if self.estimated_requests > self.requests:
            raise InvalidInput("estimated_requests", "is more than all requests.")
        if self.cache_write_1h_tokens > self.cache_write_tokens:
            raise InvalidInput("cache_write_1h_tokens", "is more than all cache_write_tokens.")
        sums = UsageSum(
            key="",
            requests=self.requests,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cached_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens,
            cost_nano=self.cost,
            unpriced_requests=self.unpriced_requests,
            estimated_requests=self.estimated_requests,
            cache_write_1h_tokens=self.cache_write_1h_tokens,
        )
        return HourlyUsage(quarter_hour, self.user, self.group, self.model, self.endpoint, sums)


class EventLine(_Line):
    """An event."""

    kind: Literal["event"]
    event_id: _Name
    timestamp: _Moment
    admitted: _Moment | None = None
    user: _Name
    group: _NameOrNone = ""
    session: _NameOrNone = ""
    ancestors: Annotated[tuple[_Name, ...], Field(max_length=MAX_DEPTH), AfterValidator(_distinct)] = ()
    model: _Model
    tier: Tier = "standard"
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    cost: _Cost | None
    price_source: Annotated[str, AfterValidator(_kept)] = ""
    endpoint: _NameOrNone = ""
    priority: Priority = "normal"
    reservation_id: _NameOrNone = ""
    overage: bool = False
    counted_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = None
    counted_as: Annotated[str, Field(max_length=1_000), AfterValidator(_kept)] = ""
    estimated: bool = False

    def event(self, now_us: int) -> UsageEvent:
        """The event as it was. Raises InvalidInput."""
        if self.timestamp > now_us + _MAX_SKEW_US:
            raise InvalidInput("timestamp", f"{_time(self.timestamp)} lies in the future.")
        usage = TokenUsage(
            self.input_tokens,
            self.output_tokens,
            self.cached_input_tokens,
            self.cache_write_tokens,
            self.cache_write_1h_tokens,
            self.reasoning_tokens,
        )
        return UsageEvent(
            event_id=self.event_id,
            timestamp_us=self.timestamp,
            admitted_us=self.timestamp if self.admitted is None else self.admitted,
            user=self.user,
            group=self.group,
            session=self.session,
            ancestors=self.ancestors,
            model=self.model,
            tier=self.tier,
            usage=usage,
            cost_nano=self.cost,
            price_source=self.price_source,
            endpoint=self.endpoint,
            priority=self.priority,
            reservation_id=self.reservation_id,
            overage=self.overage,
            counted_tokens=self.counted_tokens,
            counted_as=self.counted_as,
            estimated=self.estimated,
        )


class EndLine(_Line):
    """The last line."""

    kind: Literal["end"]
    limits: _Count
    hourly: _Count
    events: _Count

    def check(self, limits: int, hourly: int, events: int) -> None:
        """Raises InvalidInput if not so many lines were read."""
        for name, written, read in (
            ("limits", self.limits, limits),
            ("hourly", self.hourly, hourly),
            ("events", self.events, events),
        ):
            if written != read:
                raise InvalidInput(name, f"{written} were written and {read} are there; the archive is not whole.")


AnyLine: TypeAlias = HeaderLine | LimitLine | HourlyLine | EventLine | EndLine
_LINES: TypeAdapter[AnyLine] = TypeAdapter(Annotated[AnyLine, Field(discriminator="kind")])


def parsed(line: bytes) -> AnyLine:
    """A line of an archive.

    Raises:
        InvalidInput: It is none; the field is the line's.
    """
    try:
        return _LINES.validate_json(line)
    except ValidationError as error:
        field, problem = _explained(error)
        raise InvalidInput(field, problem) from None


def _explained(error: ValidationError) -> tuple[str, str]:
    """The field and what is wrong with it, of the first problem."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"][1:])
    if not field:
        return "kind", "expected a JSON object on one line, its kind header, limit, hourly, event or end."
    if first["type"] == "missing":
        return field, "is missing."
    if first["type"] == "extra_forbidden":
        return shown(field), "there is no such field."
    return field, f"{first['msg'].removeprefix('Value error, ')}."
