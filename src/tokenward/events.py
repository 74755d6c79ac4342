"""From what callers report to what the ledger writes, and back to their receipts."""

from collections.abc import Sequence
from typing import get_args

from tokenward.engine.counting.calibration import Calibration, Sample
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.errors import InvalidInput, TokenwardError, nearest, shown
from tokenward.engine.limits import check_name
from tokenward.engine.quota import Priority
from tokenward.engine.tariffs import Prices
from tokenward.engine.types import DAY_US, MINUTE_US, Clock
from tokenward.engine.usage import MAX_TOKENS
from tokenward.requests import RecordRequest, UsageReceipt
from tokenward.storage.base import Record, RecordOutcome

MAX_CLOCK_SKEW_US = 5 * MINUTE_US
"""How far in the future an event's time may lie."""

LONGEST_WINDOW_US = 31 * DAY_US
"""What happened before counts in no window: a calendar month has at most 31 days, a rolling one counts 30 and today."""

_PRIORITIES: tuple[Priority, ...] = get_args(Priority)


_OVER_HOLD = "overage: this is more than its reservation holds or a limit allows; it is recorded all the same."
_OVER_LIMIT = (
    "overage: a limit is exceeded now; it is recorded all the same, and check_quota tells which limit. If this work "
    "had a reservation, that still holds its amount: give it back, and name it as reservation_id next time."
)


def optional_name(field: str, name: str | None) -> str:
    """A name, or nothing. Raises InvalidInput."""
    return "" if name is None else check_name(field, name)


def checked_priority(priority: Priority) -> Priority:
    """A priority that exists. Raises InvalidInput."""
    if priority not in _PRIORITIES:
        known = ", ".join(_PRIORITIES)
        raise InvalidInput("priority", f"{shown(priority)} is not one of {known}.{nearest(str(priority), _PRIORITIES)}")
    return priority


class EventMaker:
    """Checks, prices and names events.

    Args:
        prices: Prices them at the time they happened.
        clock: Now, microseconds UTC.
        default_user: Whose usage it is when nobody is named and no reservation says it.
        counter: Says how a model is counted.
        calibration: Tells what requests were counted as; ``None`` learns nothing.
    """

    def __init__(
        self,
        prices: Prices,
        clock: Clock,
        default_user: str,
        counter: TokenCounter,
        calibration: Calibration | None = None,
    ) -> None:
        self._prices = prices
        self._clock = clock
        self._default_user = default_user
        self._counter = counter
        self._calibration = calibration

    def make(self, request: RecordRequest) -> tuple[Record, tuple[str, ...]]:
        """The event to write, and what its sender should know.

        Raises:
            InvalidInput: A value outside what is accepted.
        """
        now_us = self._clock()
        at_us = now_us if request.at_us is None else request.at_us
        if not 0 <= at_us <= now_us + MAX_CLOCK_SKEW_US:
            raise InvalidInput("at", "give a time since 1970 that is not in the future.")
        # What a reservation knows need not be said again.
        user = self._default_user if request.user is None and request.reservation_id is None else request.user
        price = self._prices.of(request.usage, request.model, request.tier, at_us)
        sample = self._sample(request)
        record = Record(
            user=optional_name("user", user),
            group=optional_name("group", request.group),
            session=optional_name("session", request.session),
            model=request.model,
            usage=request.usage,
            cost_nano=price.cost_nano,
            price_source=price.source,
            tier=request.tier,
            endpoint=optional_name("endpoint", request.endpoint),
            priority=checked_priority(request.priority),
            reservation_id=optional_name("reservation_id", request.reservation_id),
            at_us=request.at_us,
            key=optional_name("idempotency_key", request.idempotency_key),
            counted_tokens=sample.counted_tokens if sample and sample.plausible else None,
            counted_as=sample.counted_as if sample and sample.plausible else "",
            estimated=request.estimated,
        )
        warnings = price.warnings
        if price.problem:
            warnings = (f"Recorded without a cost. {price.problem}",)
        if at_us < now_us - LONGEST_WINDOW_US and request.reservation_id is None:
            warnings += ("at is more than 31 days ago: the event counts in reports, under no current limit.",)
        if request.estimated and request.counted_tokens is not None:
            warnings += ("nothing was learned from counted_tokens: the usage is an estimate itself.",)
        if sample and sample.large and not sample.plausible:
            warnings += (f"counted_tokens is too far from {sample.input_tokens}: nothing was learned from it.",)
        return record, warnings

    def _sample(self, request: RecordRequest) -> Sample | None:
        """What the request's count and its real input may teach. Raises InvalidInput."""
        counted = request.counted_tokens
        if counted is None:
            return None
        if type(counted) is not int or not 0 <= counted <= MAX_TOKENS:
            raise InvalidInput("counted_tokens", f"{shown(counted)} is not an integer from 0 to {MAX_TOKENS}.")
        if self._calibration is None or request.estimated:
            return None
        try:
            counter = self._counter.text_counter(request.model)
        except TokenwardError:
            # What was spent is written down, whatever keeps the model from being counted.
            return None
        return self._calibration.sample(counter, counted, request.usage.input_tokens)

    def make_all(self, requests: Sequence[RecordRequest]) -> list[tuple[Record, tuple[str, ...]]]:
        """All events, or none.

        Raises:
            InvalidInput: The first request that is wrong; the field begins with its place, ``requests[3].model``.
        """
        made: list[tuple[Record, tuple[str, ...]]] = []
        for request in requests:
            try:
                made.append(self.make(request))
            except InvalidInput as error:
                problem = str(error).removeprefix(f"{error.field}: ")
                raise InvalidInput(f"requests[{len(made)}].{error.field}", problem) from None
        return made


def receipt(record: Record, warnings: tuple[str, ...], outcome: RecordOutcome) -> UsageReceipt:
    """What the sender of an event is told about the one that stands."""
    if outcome.differs:
        what = "idempotency key" if record.key else "reservation"
        stands = f"event {outcome.event_id} stands as it was recorded first, this one is not recorded"
        warnings = (f"{what} reused with other content: {stands}.",)
    elif outcome.overage and not outcome.duplicate:
        warnings += (_OVER_HOLD if record.reservation_id else _OVER_LIMIT,)
    return UsageReceipt(
        not outcome.duplicate,
        outcome.duplicate,
        outcome.event_id,
        outcome.cost_nano,
        outcome.overage,
        outcome.user,
        warnings,
    )
