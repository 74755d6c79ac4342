"""The contract of every store: a few atomic operations, and the transaction that the ledger's algorithm runs in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias

from tokenward.engine.quota import Amounts, Decision, LimitStatus, Policy, Priority, State, Subjects, TokenLimit
from tokenward.engine.types import JsonObject
from tokenward.engine.usage import TokenUsage, UsageEvent, UsageQuery, UsageSum


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Ask whether ``amounts`` fit under every limit of ``subjects`` and, with a ``ttl_us``, hold them.

    Attributes:
        ttl_us: How long the hold lives, microseconds; ``None`` only asks.
        key: The caller's idempotency key: the same key gives the same hold again.
    """

    subjects: Subjects
    amounts: Amounts
    model: str = ""
    priority: Priority = "normal"
    ttl_us: int | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class ReserveOutcome:
    """The decision, and the hold if one was asked for and given."""

    decision: Decision
    reservation_id: str | None = None
    expires_us: int | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """A pending hold. It counts in the buckets of ``admitted_us`` until it is settled, released or expired."""

    reservation_id: str
    subjects: Subjects
    amounts: Amounts
    model: str
    admitted_us: int
    expires_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Write one event and settle its reservation, if it names one.

    Attributes:
        user: Whose usage it is; empty takes the reservation's, as for ``group`` and ``session``.
        cost_nano: The event's price; ``None`` when no price is known.
        at_us: When it happened; ``None`` is now. Ignored for the window of a settled reservation.
        key: The caller's idempotency key: the same key is one event.
    """

    model: str
    usage: TokenUsage
    cost_nano: int | None
    user: str = ""
    group: str = ""
    session: str = ""
    price_source: str = ""
    endpoint: str = ""
    priority: Priority = "normal"
    reservation_id: str = ""
    at_us: int | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """The event that stands in the ledger; ``duplicate`` when it already stood there."""

    event_id: str
    user: str
    cost_nano: int | None
    overage: bool
    duplicate: bool = False


Ended: TypeAlias = Literal["released", "settled", "expired"]


@dataclass(frozen=True, slots=True)
class ReleaseOutcome:
    """What was given back, and how the hold had ended when nothing was."""

    released: bool
    amounts: Amounts
    ended: Ended


AnswerKind: TypeAlias = Literal["reserve", "record", "ended"]


class Transaction(Protocol):
    """What the ledger's algorithm needs of a database, inside one transaction that holds the write lock."""

    async def limits(self, subjects: Sequence[str]) -> list[TokenLimit]:
        """The limits of the subjects."""
        ...

    async def states(self, subjects: Sequence[str], now_us: int) -> dict[str, State]:
        """The subjects' states, locked; an empty one for a subject that has none written at or before now.

        One that was written under a later clock may have lost buckets that count again.
        """
        ...

    async def put_states(self, states: Mapping[str, State], now_us: int) -> None:
        """Write states back."""
        ...

    async def usage_between(
        self, subject: str, since_us: int, until_us: int, width_us: int
    ) -> list[tuple[int, Amounts]]:
        """A subject's settled usage of a stretch of time, its end outside, by ``admitted // width_us``."""
        ...

    async def holds(self, subject: str) -> list[Reservation]:
        """A subject's pending holds."""
        ...

    async def due(self, now_us: int) -> list[Reservation]:
        """The holds whose time is over."""
        ...

    async def reservation(self, reservation_id: str) -> Reservation | None:
        """A pending hold."""
        ...

    async def put_reservation(self, reservation: Reservation) -> None:
        """Add or replace a pending hold."""
        ...

    async def drop_reservation(self, reservation_id: str) -> None:
        """Take a hold out of the pending ones."""
        ...

    async def add_event(self, event: UsageEvent) -> None:
        """Write one line of the ledger."""
        ...

    async def answer(self, kind: AnswerKind, key: str) -> JsonObject | None:
        """What was answered before: to a reserve or record key, or how a reservation ended."""
        ...

    async def put_answer(self, kind: AnswerKind, key: str, answer: JsonObject, now_us: int) -> None:
        """Remember an answer."""
        ...

    async def put_limit(self, limit: TokenLimit) -> None:
        """Add or replace a limit."""
        ...

    async def drop_limit(self, subject: str, metric: str, window: str) -> bool:
        """Take a limit away; returns whether there was one."""
        ...

    async def forget_states(self, subject: str) -> None:
        """Drop a subject's state, every user's for ``default``: it is rebuilt when next asked for."""
        ...


class UsageStore(Protocol):
    """The ledger as the service sees it. Every operation is one transaction, acknowledged after its commit.

    Raises (every operation):
        StoreUnavailable: The store cannot be reached or written; nothing was changed.
    """

    async def __aenter__(self) -> Self:
        """Connect and bring the schema up to date. Raises SchemaTooNew for a newer one."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def reserve(self, request: Reserve, policy: Policy | None = None) -> ReserveOutcome:
        """Decide, and hold the amounts if asked to and allowed."""
        ...

    async def record(self, request: Record) -> RecordOutcome:
        """Write one event; settle the reservation. Raises UnknownReservation."""
        ...

    async def release(self, reservation_id: str) -> ReleaseOutcome:
        """Give a hold back; a second time gives the same answer. Raises UnknownReservation."""
        ...

    async def extend(self, reservation_id: str, ttl_us: int) -> int:
        """Let a hold live ``ttl_us`` from now; returns when it ends. Raises UnknownReservation if it has ended."""
        ...

    async def expire(self) -> int:
        """End the holds whose time is over; returns how many."""
        ...

    async def status(self, subjects: Subjects) -> tuple[LimitStatus, ...]:
        """How every limit that applies to the subjects stands."""
        ...

    async def set_limit(self, limit: TokenLimit) -> None:
        """Add a limit, or replace the one of the same subject, metric and window."""
        ...

    async def delete_limit(self, subject: str, metric: str, window: str) -> bool:
        """Take a limit away; returns whether there was one."""
        ...

    async def limits(self, subject: str | None = None) -> list[TokenLimit]:
        """The limits of one subject, or all."""
        ...

    async def usage(self, query: UsageQuery) -> list[UsageSum]:
        """Sums over the ledger."""
        ...

    async def events(self, start_us: int, end_us: int) -> list[UsageEvent]:
        """The events of a span of time, oldest first."""
        ...
