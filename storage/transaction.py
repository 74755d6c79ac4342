"""What the ledger's algorithm needs of a database: a few reads and one write, each for a whole batch at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from tokenward.engine.budget import Budget
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.quota import State
from tokenward.engine.types import DAY_US, SECOND_US, JsonObject
from tokenward.engine.usage import UsageEvent
from tokenward.storage.base import Added, HourlyUsage, Repricing, Reservation

KEEP_ANSWERS_US = 35 * DAY_US
"""How long answers to idempotency keys and ended reservations are remembered."""


MOST_EXPIRED = 1_000
"""Holds whose time is over that one batch ends; the next one ends more."""


ALL_HOLDS = 2**62
"""No bound on how many holds are read: for counting."""


class Moved(Exception):  # noqa: N818 - no error, a reason to start anew
    """What a batch touches changed between looking and locking."""


FORGET_AT_ONCE = 50_000
"""Old answers are forgotten a few at a time, so that no batch waits long for it."""

_FORGET_EVERY_US = 10 * SECOND_US


@dataclass(slots=True)
class Forgetting:
    """When a process last forgot old answers."""

    last_us: int = 0

    def due(self, now_us: int) -> bool:
        """Whether it is time again; if so, the next time is later."""
        if abs(now_us - self.last_us) < _FORGET_EVERY_US:
            return False
        self.last_us = now_us
        return True


AnswerKind: TypeAlias = Literal["reserve", "record", "ended", "closed", "alert", "session"]
AnswerKey: TypeAlias = tuple[AnswerKind, str]


@dataclass(frozen=True, slots=True)
class Peek:
    """What is read before anything is locked: enough to know what to lock. What is locked then is read again.

    Attributes:
        limits_version: Changes when any limit does; limits of the same version may be remembered.
        reservations: Those asked for, those that the found reserve answers name, and those whose time is over.
        budgets: The open ones of the sessions asked for, and those on the path of a budget or a reservation.
    """

    limits_version: int
    answers: Mapping[AnswerKey, JsonObject]
    reservations: Sequence[Reservation]
    budgets: Sequence[Budget]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a batch reads once its subjects are locked.

    Attributes:
        subjects: In the order in which they are locked.
        sessions: (user, session) pairs whose open budget is wanted, with all on its path.
    """

    subjects: Sequence[str]
    answers: Sequence[AnswerKey] = ()
    reservation_ids: Sequence[str] = ()
    event_ids: Sequence[str] = ()
    sessions: Sequence[tuple[str, str]] = ()
    budget_ids: Sequence[str] = ()


@dataclass(slots=True)
class Loaded:
    """What was found. A subject without a state that can be trusted at ``now_us`` is not in ``states``.

    Attributes:
        now_us: The time of the batch, read when the locks were held.
        events: Those of the wanted ids that stand in the ledger, as they are answered.
    """

    now_us: int
    states: dict[str, State]
    answers: dict[AnswerKey, JsonObject] = field(default_factory=dict[AnswerKey, JsonObject])
    reservations: dict[str, Reservation] = field(default_factory=dict[str, Reservation])
    events: dict[str, UsageEvent] = field(default_factory=dict[str, UsageEvent])
    budgets: dict[str, Budget] = field(default_factory=dict[str, Budget])


@dataclass(slots=True)
class Changes:
    """What a batch writes: everything at once, in any order."""

    states: dict[str, State] = field(default_factory=dict[str, State])
    reservations: dict[str, Reservation] = field(default_factory=dict[str, Reservation])
    dropped: set[str] = field(default_factory=set[str])
    events: list[UsageEvent] = field(default_factory=list[UsageEvent])
    answers: dict[AnswerKey, JsonObject] = field(default_factory=dict[AnswerKey, JsonObject])
    budgets: dict[str, Budget] = field(default_factory=dict[str, Budget])

    def __bool__(self) -> bool:
        return bool(self.states or self.reservations or self.dropped or self.events or self.answers or self.budgets)


def subjects_of(events: Iterable[UsageEvent]) -> list[str]:
    """Whose counters count these events, sorted."""
    found = {name for one in events for name in Subjects(one.user, one.group, one.session, one.ancestors).names}
    return sorted(found)


def sorted_out(given: Sequence[UsageEvent], standing: Iterable[UsageEvent]) -> tuple[list[UsageEvent], Added]:
    """Those of the given events that do not stand in the ledger yet, and what became of all."""
    there = {one.event_id: one for one in standing}
    new = {one.event_id: one for one in given if one.event_id not in there}
    differing = sum(one != there.get(one.event_id, new.get(one.event_id)) for one in given)
    return list(new.values()), Added(len(new), len(given) - len(new), differing)


class Transaction(Protocol):
    """One transaction of a database. Statements of a batch are few, however many operations it has."""

    async def mark(self, batch_id: str) -> bool:
        """Claim a batch that was tried before; ``False`` if that try was committed after all."""
        ...

    async def peek(
        self,
        answers: Sequence[AnswerKey],
        reservation_ids: Sequence[str],
        sessions: Sequence[tuple[str, str]],
        likely: Sequence[str],
    ) -> Peek:
        """The limits' version, which stays as it is until the end, and what tells which subjects to lock.

        ``likely`` are subjects that will probably be wanted: what holds the lock already can read them now.
        """
        ...

    async def limits(self, subjects: Sequence[str]) -> list[TokenLimit]:
        """The limits of the subjects."""
        ...

    async def load(self, wanted: Wanted) -> Loaded:
        """Lock the subjects in their order, then read the time and the rest."""
        ...

    async def usage_between(
        self, subjects: Sequence[str], since_us: int, until_us: int, width_us: int
    ) -> list[tuple[str, int, Amounts]]:
        """Settled usage of a stretch of time, its end outside, by subject and ``admitted // width_us``.

        The subjects are of one scope.
        """
        ...

    async def holds(self, subjects: Sequence[str], at_most: int) -> list[Reservation]:
        """The pending holds that count for any of the subjects, which are of one scope, and perhaps others.

        The first to end come first, and no more than ``at_most``.
        """
        ...

    async def write(self, changes: Changes, now_us: int, batch_id: str) -> None:
        """Write a batch's changes, with the batch's mark where a commit's outcome can be unknown."""
        ...


class Maintenance(Protocol):
    """A transaction that changes what others rely on. Nobody else is in one meanwhile."""

    async def put_limit(self, limit: TokenLimit) -> None:
        """Add or replace a limit, and drop the states it touches: they are rebuilt when next asked for."""
        ...

    async def drop_limit(self, subject: str, metric: str, window: str) -> bool:
        """Take a limit away, with the states it touched; returns whether there was one."""
        ...

    async def add_events(self, events: Sequence[UsageEvent]) -> Added:
        """Add events that are not there yet, and drop the states that count them."""
        ...

    async def reprice(self, changes: Sequence[Repricing]) -> int:
        """Give events another price, in the rollup too, and drop the states that counted them; returns how many."""
        ...

    async def prune(self, before_us: int, at_most: int) -> int:
        """Delete some events before a moment, which is remembered; returns how many."""
        ...

    async def add_hourly(self, lines: Sequence[HourlyUsage]) -> int:
        """Add rollup lines whose time has none yet, and remember that it was pruned; returns how many."""
        ...

    async def keep_secret(self, name: str, value: str) -> None:
        """Keep a secret of the ledger; one that stands already stays."""
        ...
