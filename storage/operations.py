"""A batch of operations: which books they need open, and doing them one after the other.

What an operation touches is peeked at without locks, its subjects are locked in their order, and everything is read
again. If that shows something that was not looked for (a budget was opened, a key was used meanwhile), the batch starts
anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tokenward.engine.errors import TokenwardError
from tokenward.engine.limits import Subjects, subjects_named
from tokenward.engine.types import JsonObject, NewId
from tokenward.storage import budgets, bulk, ledger
from tokenward.storage.base import (
    BudgetOperation,
    CloseBudget,
    Expire,
    Extend,
    OpenBudget,
    Operation,
    ReadBudget,
    Record,
    RecordMany,
    Release,
    Reserve,
    Status,
)
from tokenward.storage.books import Books, HoldsNeeded, KnownLimits
from tokenward.storage.claims import Claim, ClaimAlert, ClaimSession
from tokenward.storage.drawing import closed_key
from tokenward.storage.transaction import AnswerKey, Moved, Peek, Transaction, Wanted


@dataclass(slots=True)
class Needs:
    """What operations name: subjects, holds, keys, sessions; and subjects that are locked only."""

    subjects: set[Subjects] = field(default_factory=set[Subjects])
    locked: set[str] = field(default_factory=set[str])
    answers: set[AnswerKey] = field(default_factory=set[AnswerKey])
    reservation_ids: set[str] = field(default_factory=set[str])
    event_ids: set[str] = field(default_factory=set[str])
    sessions: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    def add(self, operation: Operation) -> None:
        """Add what an operation needs."""
        match operation:
            case Reserve() | Status():
                self.of(operation.subjects)
            case Record():
                self._record(operation)
            case RecordMany():
                for one in operation.records:
                    self._record(one)
            case Release() | Extend():
                self._reservation(operation.reservation_id)
            case OpenBudget() | CloseBudget() | ReadBudget():
                self._budget(operation)
            case ClaimAlert() | ClaimSession():
                self._claim(operation)
            case Expire():
                pass
        if isinstance(operation, Reserve) and operation.key:
            self.answers.add(ledger.reserve_key(operation))

    def _budget(self, operation: BudgetOperation) -> None:
        if isinstance(operation, OpenBudget):
            user, group = operation.subjects.user, operation.subjects.group
            self.of(operation.subjects)
            self.of(Subjects(user, group, operation.parent))
            # Without a parent the budget is held under these alone.
            self.of(Subjects(user, group))
        else:
            self.of(Subjects(operation.user, "", operation.session))
            self.answers.add(closed_key(operation.user, operation.session))

    def _claim(self, operation: Claim) -> None:
        # Others who claim it at once wait for the subject's lock and find the answer.
        self.answers.add(ledger.claim_key(operation))
        if isinstance(operation, ClaimAlert):
            self.locked.add(operation.subject)
        else:
            self.locked.add(f"session:{operation.session}")
            self.sessions.add((operation.user, operation.session))

    def of(self, subjects: Subjects) -> None:
        """Add subjects, and the budget that their session may have."""
        self.subjects.add(subjects)
        if subjects.session:
            self.sessions.add((subjects.user, subjects.session))

    def _reservation(self, reservation_id: str) -> None:
        self.reservation_ids.add(reservation_id)
        self.answers.add(("ended", reservation_id))

    def _record(self, request: Record) -> None:
        if request.reservation_id:
            self._reservation(request.reservation_id)
        elif request.user:
            self.of(subjects_named(request.user, request.group, request.session))
        if request.key and request.user:
            self.answers.add(ledger.record_key(request.user, request.key))
        if request.event_id:
            self.event_ids.add(request.event_id)


def needs_of(operations: Iterable[Operation]) -> Needs:
    """What a batch needs."""
    needs = Needs()
    for operation in operations:
        needs.add(operation)
    return needs


async def open_books(tx: Transaction, operations: Sequence[Operation], known: KnownLimits) -> Books:
    """Lock and read what the operations touch, and end the holds whose time is over.

    Args:
        tx: An open transaction.
        operations: The batch.
        known: The limits of earlier batches.

    Raises:
        Moved: Something changed between looking and locking; start anew.
    """
    needs = needs_of(operations)
    likely = known.subjects_of(needs.subjects)
    peek = await tx.peek(sorted(needs.answers), sorted(needs.reservation_ids), sorted(needs.sessions), sorted(likely))
    touched = _touched(needs, peek)
    await known.learn(tx, peek.limits_version, touched)
    wanted = _wanted(operations, needs, peek, sorted(known.subjects_of(touched) | needs.locked))
    loaded = await tx.load(wanted)
    named = {name for one in touched for name in one.names}
    found = [one.subjects for one in loaded.reservations.values()]
    found += [one.subjects for one in loaded.budgets.values()]
    ids = loaded.budgets.keys() | _named_by_keys(loaded.answers)
    if not (named.issuperset(name for one in found for name in one.names) and ids <= set(wanted.reservation_ids)):
        raise Moved
    books = Books(known, loaded)
    await books.complete(tx, touched)
    books.expired = ledger.expire(books)
    return books


def _touched(needs: Needs, peek: Peek) -> set[Subjects]:
    """Everybody whose counters may change."""
    ended = (answer for (kind, _), answer in peek.answers.items() if kind == "ended")
    return {
        *needs.subjects,
        *(one.subjects for one in peek.reservations),
        *(one.subjects for one in peek.budgets),
        *(ledger.ended_subjects(answer) for answer in ended),
    }


def _wanted(operations: Iterable[Operation], needs: Needs, peek: Peek, subjects: Sequence[str]) -> Wanted:
    """What is read under lock: what was named, and what the peek found to belong to it."""
    answers, reservation_ids = set(needs.answers), set(needs.reservation_ids)
    for reservation_id in _named_by_keys(peek.answers):
        answers.add(("ended", reservation_id))
        reservation_ids.add(reservation_id)
    reservation_ids.update(one.reservation_id for one in peek.reservations)
    budget_ids = {one.budget_id for one in peek.budgets}
    answers.update(_keys_of_reservations(operations, peek))
    return Wanted(
        subjects=subjects,
        answers=sorted(answers),
        reservation_ids=sorted(reservation_ids | budget_ids),
        event_ids=sorted(needs.event_ids),
        sessions=sorted(needs.sessions),
        budget_ids=sorted(budget_ids),
    )


def _named_by_keys(answers: Mapping[AnswerKey, JsonObject]) -> set[str]:
    """The holds that idempotency keys stand for."""
    return {str(answer["reservation_id"]) for (kind, _), answer in answers.items() if kind == "reserve"}


def _keys_of_reservations(operations: Iterable[Operation], peek: Peek) -> Iterator[AnswerKey]:
    """The keys of records that leave it to their reservation whose they are."""
    users = {one.reservation_id: one.subjects.user for one in peek.reservations}
    users |= {name: str(answer["user"]) for (kind, name), answer in peek.answers.items() if kind == "ended"}
    for one in _records(operations):
        if one.key and not one.user and one.reservation_id in users:
            yield ledger.record_key(users[one.reservation_id], one.key)


def _records(operations: Iterable[Operation]) -> Iterator[Record]:
    for one in operations:
        if isinstance(one, Record):
            yield one
        elif isinstance(one, RecordMany):
            yield from one.records


async def attempt(tx: Transaction, books: Books, operation: Operation, new_id: NewId) -> object:
    """Do one operation; its outcome, or the error that is its answer."""
    while True:
        try:
            return apply(books, operation, new_id)
        except HoldsNeeded as needed:
            await books.load_holds(tx, needed.subjects)
        except TokenwardError as error:
            return error


def apply(books: Books, operation: Operation, new_id: NewId) -> object:
    """Do one operation; the result is the operation's outcome.

    Raises:
        UnknownReservation: It names a hold that was never given.
        UnknownBudget: It names a budget that is not open.
        InvalidInput: It cannot be done as it is.
        HoldsNeeded: The subjects' pending holds have to be loaded first.
    """
    match operation:
        case Reserve():
            outcome: object = ledger.reserve(books, operation, new_id)
        case Record():
            outcome = ledger.record(books, operation, new_id)
        case RecordMany():
            outcome = bulk.record_many(books, operation.records, new_id)
        case Release():
            outcome = ledger.release(books, operation.reservation_id, operation.user)
        case Extend():
            outcome = ledger.extend(books, operation.reservation_id, operation.ttl_us, operation.user)
        case Expire():
            outcome = books.expired
        case Status():
            outcome = ledger.status(books, operation.subjects)
        case ClaimAlert() | ClaimSession():
            outcome = ledger.claim(books, operation)
        case OpenBudget() | CloseBudget() | ReadBudget():
            outcome = _on_budget(books, operation, new_id)
    return outcome


def _on_budget(books: Books, operation: BudgetOperation, new_id: NewId) -> object:
    match operation:
        case OpenBudget():
            return budgets.open_budget(books, operation, new_id)
        case CloseBudget():
            return budgets.close(books, operation.user, operation.session)
        case ReadBudget():
            return budgets.read(books, operation.user, operation.session)
