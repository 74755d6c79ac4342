"""The contract of every store: the ledger's operations as data, their outcomes, and what a store does with them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias

from tokenward.engine.budget import BudgetStatus, Share
from tokenward.engine.counting.calibration import Sample
from tokenward.engine.limits import Amounts, LimitQuery, Subjects, TokenLimit
from tokenward.engine.quota import Decision, LimitStatus, Policy, Priority
from tokenward.engine.usage import Tier, TokenUsage, UsageEvent, UsageQuery, UsageSum
from tokenward.storage.claims import Claim
from tokenward.storage.status import StoreStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Ask whether ``amounts`` fit under every limit of ``subjects`` and, with a ``ttl_us``, hold them.

    Attributes:
        ttl_us: How long the hold lives, microseconds; ``None`` only asks.
        key: The caller's idempotency key: the same key gives the same hold again.
        policy: The shares of the limits that priorities may use; all of them by default.
    """

    subjects: Subjects
    amounts: Amounts
    model: str = ""
    priority: Priority = "normal"
    ttl_us: int | None = None
    key: str = ""
    policy: Policy | None = None


@dataclass(frozen=True, slots=True)
class ReserveOutcome:
    """The decision, and the hold if one was asked for and given.

    Attributes:
        differs: The idempotency key stands for a hold of another model or other amounts.
    """

    decision: Decision
    reservation_id: str | None = None
    expires_us: int | None = None
    differs: bool = False


@dataclass(frozen=True, slots=True)
class Reservation:
    """A pending hold. It counts in the buckets of ``admitted_us`` until it is settled, released or expired.

    Attributes:
        path: The budgets it draws from, by id, the outermost first. A budget's own hold has the budget's id, and is
            the last of its own path.
    """

    reservation_id: str
    subjects: Subjects
    amounts: Amounts
    model: str
    admitted_us: int
    expires_us: int
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Write one event and settle its reservation, if it names one.

    Attributes:
        user: Whose usage it is; empty takes the reservation's, as for ``group`` and ``session``.
        cost_nano: The event's price; ``None`` when no price is known.
        tier: The service level it was billed at, which its price depends on.
        at_us: When it happened; ``None`` is now. Ignored for the window of a settled reservation.
        key: The caller's idempotency key: the same key is one event.
        event_id: The event's own name, given by whoever may have to send it again; else the store makes one.
        counted_tokens: What the input had been counted as, before calibration.
        counted_as: The model and the way it was counted.
        estimated: The numbers are an estimate, not the provider's.
    """

    model: str
    usage: TokenUsage
    cost_nano: int | None
    user: str = ""
    group: str = ""
    session: str = ""
    price_source: str = ""
    tier: Tier = "standard"
    endpoint: str = ""
    priority: Priority = "normal"
    reservation_id: str = ""
    at_us: int | None = None
    key: str = ""
    event_id: str = ""
    counted_tokens: int | None = None
    counted_as: str = ""
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """The event that stands in the ledger.

    Attributes:
        duplicate: It already stood there.
        differs: It stands there with another model or other tokens than were sent now.
    """

    event_id: str
    user: str
    cost_nano: int | None
    overage: bool
    duplicate: bool = False
    differs: bool = False


@dataclass(frozen=True, slots=True)
class RecordMany:
    """Write many events at once, all or none."""

    records: Sequence[Record]


Ended: TypeAlias = Literal["released", "settled", "expired"]


@dataclass(frozen=True, slots=True)
class Release:
    """Give a hold back. A second time gets the same answer. With a ``user``, only one of that user's."""

    reservation_id: str
    user: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseOutcome:
    """What was given back, and how the hold had ended when nothing was."""

    released: bool
    amounts: Amounts
    ended: Ended


@dataclass(frozen=True, slots=True)
class Extend:
    """Let a hold or a budget live ``ttl_us`` from now, never shorter than before. As in :class:`Release`, whose."""

    reservation_id: str
    ttl_us: int
    user: str = ""


@dataclass(frozen=True, slots=True)
class Expire:
    """End the holds whose time is over."""


@dataclass(frozen=True, slots=True)
class Status:
    """How the limits of the subjects stand."""

    subjects: Subjects


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBudget:
    """Give ``subjects.session`` a share of its parent's budget, held there until it is used or given back.

    Attributes:
        subjects: The session that may use it, with its user and group.
        share: How much of which metric; what is ``None`` is neither given nor limited.
        parent: The session whose own budget it comes from; empty takes it from the limits of user, group and global.
        ttl_us: How long the budget lives, microseconds.
    """

    subjects: Subjects
    share: Share
    parent: str = ""
    ttl_us: int
    policy: Policy | None = None
    priority: Priority = "normal"


@dataclass(frozen=True, slots=True)
class OpenOutcome:
    """The decision, and the budget if it was given."""

    decision: Decision
    budget: BudgetStatus | None = None


@dataclass(frozen=True, slots=True)
class CloseBudget:
    """End a session's budget and give the rest back to its parent. A second time gets the same answer."""

    user: str
    session: str


@dataclass(frozen=True, slots=True)
class ReadBudget:
    """How a session's open budget stands."""

    user: str
    session: str


BudgetOperation: TypeAlias = OpenBudget | CloseBudget | ReadBudget
Operation: TypeAlias = Reserve | Record | RecordMany | Release | Extend | Expire | Status | BudgetOperation | Claim


@dataclass(frozen=True, slots=True)
class Repricing:
    """A new price for an event that stands in the ledger."""

    event: UsageEvent
    cost_nano: int | None
    price_source: str


@dataclass(frozen=True, slots=True)
class Added:
    """What became of events that were put in: how many were new, known, and known with another content."""

    new: int
    known: int
    differing: int


@dataclass(frozen=True, slots=True)
class HourlyUsage:
    """One line of the rollup: what a quarter of an hour summed to, kept when its events are pruned."""

    quarter_hour: int
    user: str
    group: str
    model: str
    endpoint: str
    sums: UsageSum


class UsageStore(Protocol):
    """The ledger as the service sees it. Every change is acknowledged after its commit.

    Raises (every operation):
        StoreUnavailable: The store cannot be reached or written; nothing was acknowledged.
        StoreOverloaded: More operations are waiting than the store accepts; nothing was done.
    """

    async def __aenter__(self) -> Self:
        """Connect and bring the schema up to date. Raises SchemaTooNew for a newer one."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def waiting(self) -> int:
        """How many operations wait to be committed; may be asked from any thread."""
        ...

    async def reserve(self, request: Reserve) -> ReserveOutcome:
        """Decide, and hold the amounts if asked to and allowed."""
        ...

    async def record(self, request: Record) -> RecordOutcome:
        """Write one event; settle the reservation. Raises UnknownReservation."""
        ...

    async def record_many(self, requests: Sequence[Record]) -> list[RecordOutcome]:
        """Write many events, 10,000 to a transaction, each whole or not at all; outcomes in the requests' order.

        Raises UnknownReservation or InvalidInput for the first that cannot be written; transactions before stand.
        """
        ...

    async def release(self, reservation_id: str, user: str = "") -> ReleaseOutcome:
        """Give a hold back, the ``user``'s or anybody's; a second time gives the same answer.

        Raises UnknownReservation.
        """
        ...

    async def extend(self, reservation_id: str, ttl_us: int, user: str = "") -> int:
        """Let a hold, the ``user``'s or anybody's, live ``ttl_us`` from now; returns when it ends.

        Raises UnknownReservation if it has ended.
        """
        ...

    async def expire(self) -> int:
        """End the holds whose time is over; returns how many."""
        ...

    async def status(self, subjects: Subjects) -> tuple[LimitStatus, ...]:
        """How every limit that applies to the subjects stands."""
        ...

    async def open_budget(self, request: OpenBudget) -> OpenOutcome:
        """Give a session a share of its parent's budget, if it fits. Raises InvalidInput if it has one already."""
        ...

    async def close_budget(self, user: str, session: str) -> BudgetStatus:
        """End a session's budget; what is left goes back. Raises UnknownBudget."""
        ...

    async def budget(self, user: str, session: str) -> BudgetStatus:
        """How a session's open budget stands. Raises UnknownBudget."""
        ...

    async def claim_session(self, user: str, session: str) -> bool:
        """Whether the session is the user's, or was nobody's until now. Remembered as long as answers are."""
        ...

    async def claim_alert(self, subject: str, metric: str, window: str, window_start_us: int, percent: int) -> bool:
        """``True`` to one caller, once per set of arguments, over all processes; forgotten after 35 days."""
        ...

    async def cursor_key(self) -> bytes:
        """The ledger's key to sign cursors with: 32 random bytes, the same for every process, made once."""
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

    async def limits_page(self, query: LimitQuery) -> list[TokenLimit]:
        """Limits in their order: with a size, a page of them."""
        ...

    async def usage(self, query: UsageQuery) -> list[UsageSum]:
        """Sums over the ledger, from the rollup where it can."""
        ...

    async def usage_many(self, queries: Sequence[UsageQuery]) -> list[list[UsageSum]]:
        """The sums of many queries, all of the same moment: what is recorded meanwhile is in all of them or in none."""
        ...

    async def samples(self) -> list[Sample]:
        """The latest events of each model whose input had been counted, oldest first: as many as are learned from."""
        ...

    def events(self, start_us: int, end_us: int, user: str | None = None) -> AsyncIterator[UsageEvent]:
        """The events of a span of time, of one user or of all, oldest first, read page by page."""
        ...

    def hourly(self, end_us: int) -> AsyncIterator[HourlyUsage]:
        """The rollup's lines before ``end_us``, oldest first."""
        ...

    async def add_hourly(self, lines: Sequence[HourlyUsage]) -> int:
        """Put rollup lines of pruned events into a ledger that has none of them; returns how many were new."""
        ...

    async def add_events(self, events: Sequence[UsageEvent]) -> Added:
        """Put events of another ledger in as they are, those that are not there yet."""
        ...

    async def reprice(self, changes: Sequence[Repricing]) -> int:
        """Give events a new price, in the rollup and the counters too; returns how many changed."""
        ...

    async def prune(self, before_us: int) -> int:
        """Delete the events before a moment (rounded down to a quarter hour); their rollup stays. Returns how many."""
        ...

    async def pruned_before_us(self) -> int:
        """The moment before which events were pruned; 0 when none were."""
        ...

    async def holds(self) -> int:
        """How many holds have not ended: given, and not settled, released or expired yet."""
        ...

    async def is_current(self) -> bool:
        """Whether the schema is still the one that this tokenward knows: it asks the database."""
        ...

    async def describe(self) -> StoreStatus:
        """What the store holds, which counts all of it."""
        ...
