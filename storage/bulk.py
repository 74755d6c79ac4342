"""Many events at once: what they add up to goes into the counters, not each of them.

The outcome is what recording them one by one would give. Where a limit would be passed, that is what is done: which
event is the one too many depends on their order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import Amounts, Subjects
from tokenward.engine.types import SECOND_US, NewId
from tokenward.storage import drawing, ledger
from tokenward.storage.base import Record, RecordOutcome
from tokenward.storage.books import Books

_SLOT_US = 10 * SECOND_US
"""Every bucket of every window begins at a multiple of this: what falls into one slot falls into one bucket."""


@dataclass(slots=True)
class _Fold:
    """Events by who and when, with what they add up to."""

    records: list[tuple[int, Record, Subjects]] = field(default_factory=list[tuple[int, Record, Subjects]])
    sums: dict[tuple[Subjects, int], list[int]] = field(default_factory=dict[tuple[Subjects, int], list[int]])

    def add(self, index: int, record: Record, subjects: Subjects, now_us: int) -> None:
        at_us = now_us if record.at_us is None else min(record.at_us, now_us)
        sums = self.sums.setdefault((subjects, at_us // _SLOT_US), [0, 0, 0])
        sums[0] += record.usage.total_tokens
        sums[1] += record.cost_nano or 0
        sums[2] += 1
        self.records.append((index, record, subjects))


def record_many(books: Books, records: Sequence[Record], new_id: NewId) -> list[RecordOutcome]:
    """Write events, settle the reservations they name; outcomes in the records' order.

    Raises:
        UnknownReservation: One names a hold that was never given; nothing was written.
        InvalidInput: One cannot be written as it is; nothing was.
    """
    settlings = [_checked(books, index, one) for index, one in enumerate(records)]
    _check_ids(records, settlings)
    fold, outcomes = _Fold(), dict[int, RecordOutcome]()
    seen: set[tuple[str, str]] = set()
    for index, (record, settling) in enumerate(zip(records, settlings, strict=True)):
        names = [(settling.subjects.user, record.key)] if record.key else []
        names += [("", record.event_id)] if record.event_id else []
        simple = not record.reservation_id and not drawing.path_of(books, settling.subjects)
        if simple and seen.isdisjoint(names) and ledger.stands(books, record, settling) is None:
            fold.add(index, record, settling.subjects, books.now_us)
        else:
            # What was folded comes first: which event is the one too many depends on it.
            outcomes |= _folded(books, fold, new_id)
            fold = _Fold()
            outcomes[index] = ledger.record(books, record, new_id)
        seen.update(names)
    outcomes |= _folded(books, fold, new_id)
    return [outcomes[index] for index in range(len(records))]


def _check_ids(records: Sequence[Record], settlings: Sequence[ledger.Settling]) -> None:
    """One id is one event, of one user."""
    users: dict[str, str] = {}
    for index, (record, settling) in enumerate(zip(records, settlings, strict=True)):
        user = settling.subjects.user
        if record.event_id and users.setdefault(record.event_id, user) != user:
            raise InvalidInput(
                f"records[{index}].event_id", "it is an event of another user; give another one, or none."
            )


def _checked(books: Books, index: int, record: Record) -> ledger.Settling:
    try:
        return ledger.settling_of(books, record)
    except InvalidInput as error:
        raise InvalidInput(f"records[{index}].{error.field}", error.problem) from None


def _folded(books: Books, fold: _Fold, new_id: NewId) -> dict[int, RecordOutcome]:
    """Count the sums and write the events; one by one where the sums pass a limit."""
    if not fold.records:
        return {}
    states, changed = dict(books.loaded.states), dict(books.changes.states)
    for (subjects, slot), (tokens, cost_nano, requests) in fold.sums.items():
        accounts = books.accounts(subjects)
        accounts.add(slot * _SLOT_US, settled=Amounts(tokens, cost_nano, requests))
        books.post(accounts)
    if any(books.accounts(subjects).over() for subjects in {subjects for subjects, _ in fold.sums}):
        books.loaded.states, books.changes.states = states, changed
        return {index: ledger.record(books, record, new_id) for index, record, _ in fold.records}
    return {index: _written(books, record, subjects, new_id) for index, record, subjects in fold.records}


def _written(books: Books, record: Record, subjects: Subjects, new_id: NewId) -> RecordOutcome:
    at_us = books.now_us if record.at_us is None else min(record.at_us, books.now_us)
    event = ledger.event_of(record, subjects, record.event_id or new_id(), books.now_us, at_us, overage=False)
    books.add_event(event)
    if record.key:
        books.put_answer(ledger.record_key(subjects.user, record.key), ledger.written(event))
    return RecordOutcome(event.event_id, event.user, event.cost_nano, overage=False)
