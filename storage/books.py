"""The open books of one batch: what was loaded for its operations, and what they change.

Operations work on the books alone and at once, without waiting for the database; :mod:`tokenward.storage.ledger` holds
them. An operation that raises has changed nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tokenward.engine import quota
from tokenward.engine.budget import Budget
from tokenward.engine.limits import NOTHING, Amounts, Subjects, TokenLimit
from tokenward.engine.quota import Binding, State
from tokenward.engine.types import JsonObject
from tokenward.engine.usage import UsageEvent
from tokenward.engine.windows import Span
from tokenward.storage.base import Reservation
from tokenward.storage.transaction import ALL_HOLDS, AnswerKey, Changes, Loaded, Transaction


class HoldsNeeded(Exception):  # noqa: N818 - no error, a request for more
    """An operation wants to know the pending holds of subjects that were not loaded."""

    def __init__(self, subjects: Iterable[str]) -> None:
        self.subjects = tuple(subjects)
        super().__init__(self.subjects)


_HOLDS_OF_INTEREST = 1_000
"""Holds that are looked at to say when refused work will fit. With more it may say a later time than the true one."""

_REMEMBERED = 20_000
"""How many subjects' limits a process remembers."""


@dataclass(slots=True)
class KnownLimits:
    """The limits that a process has read, as long as their version stands."""

    version: int = -1
    _limits: dict[str, list[TokenLimit]] = field(default_factory=dict[str, list[TokenLimit]])
    _bindings: dict[Subjects, Sequence[Binding]] = field(default_factory=dict[Subjects, Sequence[Binding]])

    async def learn(self, tx: Transaction, version: int, named: Iterable[Subjects]) -> None:
        """Read the limits of these subjects that are not known yet."""
        if version != self.version or max(len(self._limits), len(self._bindings)) > _REMEMBERED:
            self.version, self._limits, self._bindings = version, {}, {}
        new = [subjects for subjects in named if subjects not in self._bindings]
        wanted = {name for subjects in new for name in subjects.names} | {"default"}
        if missing := sorted(wanted - self._limits.keys()):
            self._limits |= {subject: [] for subject in missing} | quota.by_subject(await tx.limits(missing))
        for subjects in new:
            self._bindings[subjects] = quota.bind(subjects, self._limits)

    def subjects_of(self, named: Iterable[Subjects]) -> set[str]:
        """Whose states work of these touches: every user's, and those that a known limit binds."""
        found: set[str] = set()
        for one in named:
            found.add(f"user:{one.user}")
            found.update(binding.subject for binding in self._bindings.get(one, ()))
        return found

    def bindings(self, subjects: Subjects) -> Sequence[Binding]:
        """The limits that apply to the subjects, which were learnt."""
        if (found := self._bindings.get(subjects)) is None:
            found = self._bindings[subjects] = quota.bind(subjects, self._limits)
        return found


@dataclass(slots=True)
class Accounts:
    """The subjects of one operation with their limits and states. Changes stay here until they are posted."""

    bindings: Sequence[Binding]
    states: dict[str, State]
    now_us: int

    def add(
        self, at_us: int, *, settled: Amounts = NOTHING, held: Amounts = NOTHING, only: Subjects | None = None
    ) -> None:
        """Add amounts to the buckets of ``at_us``, for every subject or for some of them."""
        bindings = self.bindings if only is None else [one for one in self.bindings if one.subject in only.names]
        self.states |= quota.add_all(bindings, self.states, at_us, self.now_us, settled=settled, held=held)

    def over(self) -> bool:
        """Whether any limit is exceeded now."""
        return any(
            one.used + one.reserved > one.limit.limit for one in quota.status(self.bindings, self.states, self.now_us)
        )


@dataclass(slots=True)
class Books:
    """Everything a batch's operations read and write."""

    known: KnownLimits
    loaded: Loaded
    changes: Changes = field(default_factory=Changes)
    expired: int = 0
    _open: dict[tuple[str, str], str] | None = None
    _pending: dict[str, list[Reservation]] = field(default_factory=dict[str, list[Reservation]])

    @property
    def now_us(self) -> int:
        """The time of the batch."""
        return self.loaded.now_us

    def accounts(self, subjects: Subjects) -> Accounts:
        """The subjects' limits and states."""
        bindings = self.known.bindings(subjects)
        return Accounts(bindings, {one.subject: self.loaded.states[one.subject] for one in bindings}, self.now_us)

    def post(self, accounts: Accounts) -> None:
        """Keep what an operation did to its subjects' states."""
        self.loaded.states.update(accounts.states)
        self.changes.states.update(accounts.states)

    def reservation(self, reservation_id: str) -> Reservation | None:
        """A pending hold."""
        return self.loaded.reservations.get(reservation_id)

    def due(self) -> list[Reservation]:
        """The loaded holds whose time is over, the ones that drew on a budget before the budget's own."""
        over = [one for one in self.loaded.reservations.values() if one.expires_us <= self.now_us]
        return sorted(over, key=lambda one: (one.reservation_id in one.path, -len(one.path), one.expires_us))

    def put_reservation(self, hold: Reservation) -> None:
        """Add or replace a pending hold."""
        self.loaded.reservations[hold.reservation_id] = hold
        self.changes.reservations[hold.reservation_id] = hold

    def drop_reservation(self, reservation_id: str) -> None:
        """Take a hold out of the pending ones."""
        del self.loaded.reservations[reservation_id]
        self.changes.reservations.pop(reservation_id, None)
        self.changes.dropped.add(reservation_id)

    def answer(self, key: AnswerKey) -> JsonObject | None:
        """What was answered to a key before."""
        return self.loaded.answers.get(key)

    def put_answer(self, key: AnswerKey, answer: JsonObject) -> None:
        """Remember an answer."""
        self.loaded.answers[key] = answer
        self.changes.answers[key] = answer

    def budget(self, budget_id: str) -> Budget | None:
        """A budget, open or ended."""
        return self.loaded.budgets.get(budget_id)

    def open_budget(self, user: str, session: str) -> Budget | None:
        """The open budget of a user's session."""
        if self._open is None:
            self._open = {
                _session_of(one): one.budget_id for one in self.loaded.budgets.values() if one.ended_us is None
            }
        budget_id = self._open.get((user, session))
        return None if budget_id is None else self.loaded.budgets[budget_id]

    def put_budget(self, budget: Budget) -> None:
        """Add or replace a budget."""
        self.loaded.budgets[budget.budget_id] = budget
        if self._open is not None:
            session = _session_of(budget)
            if budget.ended_us is None:
                self._open[session] = budget.budget_id
            elif self._open.get(session) == budget.budget_id:
                del self._open[session]
        self.changes.budgets[budget.budget_id] = budget

    def add_event(self, event: UsageEvent) -> None:
        """Write one line of the ledger."""
        self.loaded.events[event.event_id] = event
        self.changes.events.append(event)

    def holds(self, subjects: Iterable[str]) -> dict[str, list[quota.Held]]:
        """The subjects' pending holds as they are now. Raises HoldsNeeded for subjects not loaded yet."""
        wanted = tuple(subjects)
        if missing := [one for one in wanted if one not in self._pending]:
            raise HoldsNeeded(missing)
        return {subject: [_held(one) for one in self._pending_now(subject)] for subject in wanted}

    def _pending_now(self, subject: str) -> list[Reservation]:
        pending = {one.reservation_id: one for one in self._pending[subject]}
        pending |= {name: one for name, one in self.changes.reservations.items() if subject in one.subjects.names}
        return [one for name, one in pending.items() if name not in self.changes.dropped]

    async def load_holds(self, tx: Transaction, subjects: Iterable[str]) -> None:
        """Read pending holds that an operation asked for."""
        for same in _by_scope(subjects):
            found = _by_subject(await tx.holds(same, _HOLDS_OF_INTEREST))
            self._pending |= {subject: found.get(subject, []) for subject in same}

    async def complete(self, tx: Transaction, named: Iterable[Subjects]) -> None:
        """Rebuild, from the ledger, the counters that a limit of these subjects reads and no state holds."""
        missing: dict[tuple[str, Span], dict[str, TokenLimit]] = {}
        bound: dict[str, list[Binding]] = {}
        for one in {one for subjects in named for one in self.known.bindings(subjects)}:
            bound.setdefault(one.subject, []).append(one)
        for subject, own in bound.items():
            for limit in quota.missing_counters(self.loaded.states.setdefault(subject, {}), own):
                missing.setdefault((limit.counter, limit.span), {})[subject] = limit
        for limits in missing.values():
            for same in _by_scope(limits):
                await self._rebuild(tx, {subject: limits[subject] for subject in same})

    async def _rebuild(self, tx: Transaction, limits: Mapping[str, TokenLimit]) -> None:
        """Count subjects of one scope anew, from the events and the pending holds, for limits of one counter."""
        subjects, limit, now_us = sorted(limits), next(iter(limits.values())), self.now_us
        counted: dict[str, State] = {subject: {limit.counter: {}} for subject in subjects}
        for since_us, until_us, width_us in limit.span.stretches_us(now_us):
            for subject, index, amounts in await tx.usage_between(subjects, since_us, until_us, width_us):
                at_us = max(since_us, index * width_us)
                counted[subject] = quota.add(counted[subject], [limit], at_us, now_us, settled=amounts)
        holds = _by_subject(await tx.holds(subjects, ALL_HOLDS))
        for subject, state in counted.items():
            for hold in holds.get(subject, ()):
                state = quota.add(state, [limit], hold.admitted_us, now_us, held=hold.amounts)  # noqa: PLW2901
            # Kept even if this batch only asks, or every question would count anew.
            self.loaded.states[subject] = self.changes.states[subject] = self.loaded.states[subject] | state


def _by_scope(subjects: Iterable[str]) -> list[list[str]]:
    """Subjects of one scope together: what is read of them is read at once."""
    found: dict[str, list[str]] = {}
    for subject in subjects:
        found.setdefault(subject.partition(":")[0], []).append(subject)
    return list(found.values())


def _by_subject(holds: Iterable[Reservation]) -> dict[str, list[Reservation]]:
    found: dict[str, list[Reservation]] = {}
    for one in holds:
        for subject in one.subjects.names:
            found.setdefault(subject, []).append(one)
    return found


def _session_of(budget: Budget) -> tuple[str, str]:
    return budget.subjects.user, budget.subjects.session


def _held(hold: Reservation) -> quota.Held:
    return quota.Held(hold.admitted_us, hold.expires_us, hold.amounts)
