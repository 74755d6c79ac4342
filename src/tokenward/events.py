"""From what callers report to what the ledger writes, and back to their receipts."""

from collections.abc import Sequence
from typing import get_args

from tokenward.engine.errors import InvalidInput, nearest, shown
from tokenward.engine.limits import check_name
from tokenward.engine.quota import Priority
from tokenward.engine.types import DAY_US, MINUTE_US, Clock
from tokenward.prices import Prices
from tokenward.requests import RecordRequest, UsageReceipt
from tokenward.storage.base import Record, RecordOutcome

MAX_CLOCK_SKEW_US = 5 * MINUTE_US
"""How far in the future an event's time may lie."""

LONGEST_WINDOW_US = 31 * DAY_US
"""What happened before counts in no window: a calendar month has at most 31 days, a rolling one counts 30 and today."""

_PRIORITIES: tuple[Priority, ...] = get_args(Priority)


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
    """

    def __init__(self, prices: Prices, clock: Clock, default_user: str) -> None:
        self._prices = prices
        self._clock = clock
        self._default_user = default_user

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
        )
        warnings: tuple[str, ...] = ()
        if price.problem:
            warnings = (f"Recorded without a cost. {price.problem}",)
        if at_us < now_us - LONGEST_WINDOW_US and request.reservation_id is None:
            warnings += ("at is more than 31 days ago: the event counts in reports, under no current limit.",)
        return record, warnings

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
    return UsageReceipt(
        not outcome.duplicate,
        outcome.duplicate,
        outcome.event_id,
        outcome.cost_nano,
        outcome.overage,
        outcome.user,
        warnings,
    )
