"""What one request used, and what a report sums: the ledger's nouns."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tokenward.engine.errors import InvalidInput, shown

MAX_TOKENS = 10**9
"""Largest token number accepted for one request, far above any context window: a typo stays out of the ledger, and
sums over it stay within 64 bits."""


Tier: TypeAlias = Literal["standard", "batch", "flex", "priority"]
"""A service level that providers bill differently."""


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one request, by OpenTelemetry's conventions.

    Attributes:
        input_tokens: The whole input, cache reads and writes included.
        output_tokens: The whole output, reasoning included.
        cached_input_tokens: Part of the input that was read from the provider's cache.
        cache_write_tokens: Part of the input written to the cache for 5 minutes.
        cache_write_1h_tokens: Part of the input written to the cache for an hour.
        reasoning_tokens: Part of the output spent on reasoning.

    Raises:
        InvalidInput: A negative number, a number above ``MAX_TOKENS``, or parts larger than their whole.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= MAX_TOKENS:
                raise InvalidInput(name, f"{shown(value)} is no token count; give an integer from 0 to {MAX_TOKENS}.")
        parts = self.cached_input_tokens + self.cache_write_tokens + self.cache_write_1h_tokens
        if parts > self.input_tokens:
            raise InvalidInput(
                "input_tokens",
                f"{self.input_tokens} is less than its cached and cache-write parts together ({parts}); "
                "give the whole input.",
            )
        if self.reasoning_tokens > self.output_tokens:
            raise InvalidInput(
                "output_tokens",
                f"{self.output_tokens} is less than its reasoning part ({self.reasoning_tokens}); give it whole.",
            )

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One line of the ledger.

    Attributes:
        timestamp_us: When it happened.
        admitted_us: When it counts: for a settled hold, when that was given.
        cost_nano: ``None`` when no price was known: never 0 for unknown.
        tier: The service level it was billed at; with ``usage``, what it takes to price it again.
        ancestors: The sessions whose budgets it drew on besides its own, the outermost first.
        counted_tokens: What its input had been counted as, before calibration; ``None`` when nobody said.
        counted_as: The model and the way it was counted (:mod:`tokenward.engine.counting.calibration`); empty when
            nobody said.
        estimated: Its numbers are an estimate, not the provider's.
    """

    event_id: str
    timestamp_us: int
    admitted_us: int
    user: str
    model: str
    usage: TokenUsage
    cost_nano: int | None = None
    price_source: str = ""
    group: str = ""
    session: str = ""
    endpoint: str = ""
    priority: str = "normal"
    reservation_id: str = ""
    overage: bool = False
    tier: Tier = "standard"
    ancestors: tuple[str, ...] = ()
    counted_tokens: int | None = None
    counted_as: str = ""
    estimated: bool = False


Dimension: TypeAlias = Literal["user", "model", "session", "group", "endpoint", "quarter_hour"]
"""What usage can be summed by; ``quarter_hour`` is ``timestamp_us // 900_000_000``, from which every time zone's hours
and days can be built (all offsets in use are multiples of 15 minutes)."""


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """A sum over the ledger: events with ``start_us <= timestamp_us < end_us``.

    Attributes:
        dimension: What there is one sum for each of.
        user: Only this user's events; likewise ``model``, ``group`` and ``session``. An empty ``group`` or ``session``
            means the events without one.
    """

    start_us: int
    end_us: int
    dimension: Dimension
    user: str | None = None
    model: str | None = None
    group: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True)
class UsageSum:
    """One group of a :class:`UsageQuery`.

    Attributes:
        key: The dimension's value (an integer's text for quarter hours).
        cache_write_tokens: Both kinds of cache writes together.
        unpriced_requests: Those without a known price.
        estimated_requests: Those whose numbers are an estimate.
        cache_write_1h_tokens: The part of ``cache_write_tokens`` that was written for an hour. Of events that were
            pruned before the ledger kept it apart, nothing is in it.
    """

    key: str
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano: int = 0
    unpriced_requests: int = 0
    estimated_requests: int = 0
    cache_write_1h_tokens: int = 0

    def plus(self, other: "UsageSum") -> "UsageSum":
        """Both together, under this one's key."""
        return summed(self.key, (self, other))

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


def summed(key: str, sums: Iterable[UsageSum]) -> UsageSum:
    """The sum of sums, under a key."""
    numbers = [
        (
            each.requests,
            each.input_tokens,
            each.output_tokens,
            each.cached_tokens,
            each.cache_write_tokens,
            each.reasoning_tokens,
            each.cost_nano,
            each.unpriced_requests,
            each.estimated_requests,
            each.cache_write_1h_tokens,
        )
        for each in sums
    ]
    return UsageSum(key, *(sum(column) for column in zip(*numbers, strict=True)))
