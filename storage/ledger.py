"""The ledger's one algorithm: what each operation does to the open books. The engine decides; nothing waits here.

Every function either does all it says or raises and has changed nothing. Stores differ only in how the books are
loaded and written (:mod:`tokenward.storage.transaction`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tokenward.engine import quota
from tokenward.engine.errors import InvalidInput, UnknownReservation
from tokenward.engine.limits import NOTHING, Amounts, Subjects, negative, subjects_named
from tokenward.engine.types import JsonObject, NewId
from tokenward.engine.usage import UsageEvent
from tokenward.storage import drawing
from tokenward.storage.base import (
    Ended,
    Record,
    RecordOutcome,
    ReleaseOutcome,
    Reservation,
    Reserve,
    ReserveOutcome,
)
from tokenward.storage.books import Books
from tokenward.storage.claims import Claim, ClaimAlert, ClaimSession
from tokenward.storage.rows import texts_of
from tokenward.storage.states import dump
from tokenward.storage.transaction import AnswerKey


def reserve_key(request: Reserve) -> AnswerKey:
    """Keys are the user's own: nobody is answered with somebody else's reservation or event."""
    return "reserve", f"{request.subjects.user}\n{request.key}"


def record_key(user: str, key: str) -> AnswerKey:
    """What the answer to a record's idempotency key is kept under."""
    return "record", f"{user}\nkey {key}"


def claim_key(one: Claim) -> AnswerKey:
    """What a claim is remembered under: that somebody tells of an alert, or whose session it is."""
    if isinstance(one, ClaimAlert):
        return "alert", dump([one.subject, one.metric, one.window, one.window_start_us, one.percent])
    return "session", one.session


def claim(books: Books, request: Claim) -> bool:
    """Whether nobody has claimed it before; a session also whether it is the user's, by a claim or by a budget."""
    key = claim_key(request)
    before = books.answer(key)
    if isinstance(request, ClaimSession):
        if before is not None:
            return before["user"] == request.user or books.open_budget(request.user, request.session) is not None
        books.put_answer(key, {"user": request.user})
        return True
    if before is not None:
        return False
    books.put_answer(key, {})
    return True


def expire(books: Books) -> int:
    """End the holds whose time is over. Every batch does this first, so that a dead holder blocks nobody."""
    due = books.due()
    for one in due:
        # A budget's hold is larger than it was once the work that drew on it has ended.
        end(books, books.reservation(one.reservation_id) or one, "expired")
    return len(due)


def end(books: Books, hold: Reservation, ended: Ended, *, used: Amounts = NOTHING) -> None:
    """Take a hold out of every state it counts in, put what was really used in its place, and remember the end.

    What a hold drew from a budget and did not use goes back there.
    """
    accounts = books.accounts(hold.subjects)
    accounts.add(hold.admitted_us, settled=used, held=negative(hold.amounts))
    books.drop_reservation(hold.reservation_id)
    books.put_answer(
        ("ended", hold.reservation_id),
        {
            "ended": ended,
            "tokens": hold.amounts.tokens,
            "cost_nano": hold.amounts.cost_nano,
            "user": hold.subjects.user,
            "group": hold.subjects.group,
            "session": hold.subjects.session,
            "ancestors": list(hold.subjects.ancestors),
            "path": list(hold.path),
        },
    )
    books.post(accounts)
    drawing.settle(books, hold, used)


def status(books: Books, subjects: Subjects) -> tuple[quota.LimitStatus, ...]:
    """How the limits of the subjects stand."""
    accounts = books.accounts(drawing.placed(books, subjects))
    return quota.status(accounts.bindings, accounts.states, books.now_us)


def _held_before(books: Books, request: Reserve) -> ReserveOutcome | None:
    """The hold that an idempotency key stands for; a released or expired one is no answer to build on."""
    previous = books.answer(reserve_key(request)) if request.key else None
    if previous is None:
        return None
    reservation_id = str(previous["reservation_id"])
    hold = books.reservation(reservation_id)
    ended = books.answer(("ended", reservation_id))
    if hold is None and (ended is None or ended["ended"] != "settled"):
        return None
    statuses = status(books, request.subjects)
    expires_us = previous["expires_us"] if hold is None else hold.expires_us
    content = _reserve_content(request)
    return ReserveOutcome(
        quota.Decision(True, statuses, warnings=quota.warnings_of(statuses)),
        reservation_id,
        expires_us if isinstance(expires_us, int) else None,
        differs=previous.get("content", content) != content,
    )


def _reserve_content(request: Reserve) -> str:
    """By this a key that is used again for other work is noticed."""
    amounts = request.amounts
    return f"{amounts.tokens} {amounts.cost_nano} {amounts.requests} {request.model}"


def _record_content(of: Record | UsageEvent) -> str:
    used, kind = of.usage, "estimate of " if of.estimated else ""
    parts = (used.input_tokens, used.output_tokens, used.cached_input_tokens, used.cache_write_tokens)
    return f"{parts} {used.cache_write_1h_tokens} {used.reasoning_tokens} {kind}{of.model}"


def reserve(books: Books, request: Reserve, new_id: NewId) -> ReserveOutcome:
    """Decide over all subjects at once and, if it fits and is wanted, hold the amounts."""
    if before := _held_before(books, request):
        return before
    subjects = drawing.placed(books, request.subjects)
    drawn = drawing.draw(books, subjects, drawing.path_of(books, subjects), request.amounts)
    decision = drawn.refusal or drawing.decide(books, drawn, request.amounts, request.priority, request.policy)
    if request.ttl_us is None or not decision.allowed:
        return ReserveOutcome(decision)
    expires_us = books.now_us + request.ttl_us
    hold = Reservation(new_id(), subjects, request.amounts, request.model, books.now_us, expires_us, drawn.path)
    drawn.accounts.add(books.now_us, held=request.amounts)
    drawn.post(books)
    books.put_reservation(hold)
    if request.key:
        answer: JsonObject = {
            "reservation_id": hold.reservation_id,
            "expires_us": hold.expires_us,
            "content": _reserve_content(request),
        }
        books.put_answer(reserve_key(request), answer)
    held = quota.with_hold(decision, request.amounts, books.now_us)
    return ReserveOutcome(held, hold.reservation_id, hold.expires_us)


@dataclass(frozen=True, slots=True)
class Settling:
    """Whose event it is, the hold it settles if that still pends, and how the hold ended if not."""

    subjects: Subjects
    hold: Reservation | None = None
    ended: JsonObject | None = None


def settling_of(books: Books, request: Record) -> Settling:
    """Whose event it is. Raises UnknownReservation, also for another user's, or InvalidInput for another's event."""
    settling = _named(books, request)
    standing = books.loaded.events.get(request.event_id) if request.event_id else None
    if standing and standing.user != settling.subjects.user:
        raise InvalidInput("event_id", "it is an event of another user; give another one, or none.")
    return settling


def _named(books: Books, request: Record) -> Settling:
    """Find the reservation that a record names."""
    if not request.reservation_id:
        own = subjects_named(request.user, request.group, request.session)
        return Settling(drawing.placed(books, own))
    hold = books.reservation(request.reservation_id)
    ended = books.answer(("ended", request.reservation_id))
    if hold is not None:
        subjects, path = hold.subjects, hold.path
    elif ended is not None:
        subjects, path = ended_subjects(ended), ended_path(ended)
    else:
        raise UnknownReservation(request.reservation_id)
    # A budget's own hold is nobody's to settle: it is drawn on and closed.
    if request.reservation_id in path:
        raise UnknownReservation(request.reservation_id)
    if request.user and request.user != subjects.user:
        # What is somebody else's reads the same as what does not exist.
        raise UnknownReservation(request.reservation_id)
    for name in ("group", "session"):
        given = getattr(request, name)
        if given and given != getattr(subjects, name):
            raise InvalidInput(name, f"the reservation was made for another {name}; leave {name} out.")
    return Settling(subjects, hold, ended)


def ended_subjects(ended: Mapping[str, object]) -> Subjects:
    """Whose hold it was that ended."""
    names = (str(ended["user"]), str(ended["group"]), str(ended["session"]))
    return Subjects(*names, texts_of(ended.get("ancestors")))


def ended_path(ended: Mapping[str, object]) -> tuple[str, ...]:
    """The budgets that a hold drew on that has ended."""
    return texts_of(ended.get("path"))


def stands(books: Books, request: Record, settling: Settling) -> JsonObject | None:
    """The answer that was given before to the same key, reservation or event."""
    if request.key and (before := books.answer(record_key(settling.subjects.user, request.key))):
        return before
    event = settling.ended.get("event") if settling.ended else None
    if isinstance(event, dict):
        return event
    standing = books.loaded.events.get(request.event_id) if request.event_id else None
    return written(standing) if standing else None


def written(event: UsageEvent) -> JsonObject:
    """What is remembered of an event, to answer the same question again."""
    return {
        "event_id": event.event_id,
        "user": event.user,
        "cost_nano": event.cost_nano,
        "overage": event.overage,
        "content": _record_content(event),
    }


def _know_again(books: Books, request: Record, settling: Settling, written: JsonObject) -> None:
    """An event that is known by one name is known by the others too, and its hold has done its duty."""
    if request.key and books.answer(record_key(settling.subjects.user, request.key)) is None:
        books.put_answer(record_key(settling.subjects.user, request.key), written)
    if settling.hold is not None:
        end(books, settling.hold, "settled")
    if request.reservation_id:
        ended = books.answer(("ended", request.reservation_id))
        if ended is not None and "event" not in ended:
            books.put_answer(("ended", request.reservation_id), {**ended, "event": written})


def record(books: Books, request: Record, new_id: NewId) -> RecordOutcome:
    """Write one event, settle its reservation, count it in every window; the same key or reservation is one event."""
    settling = settling_of(books, request)
    if before := stands(books, request, settling):
        _know_again(books, request, settling, before)
        cost_nano, content = before["cost_nano"], _record_content(request)
        return RecordOutcome(
            str(before["event_id"]),
            str(before["user"]),
            cost_nano if isinstance(cost_nano, int) else None,
            bool(before["overage"]),
            duplicate=True,
            differs=before.get("content", content) != content,
        )
    event_id = request.event_id or new_id()
    used = Amounts(request.usage.total_tokens, request.cost_nano, 1)
    admitted_us, overage = _count(books, request, settling, used)
    event = event_of(request, settling.subjects, event_id, books.now_us, admitted_us, overage=overage)
    books.add_event(event)
    _know_again(books, request, replace(settling, hold=None), written(event))
    return RecordOutcome(event_id, event.user, event.cost_nano, overage)


def _count(books: Books, request: Record, settling: Settling, used: Amounts) -> tuple[int, bool]:
    """Put the usage into its windows; returns when it counts, and whether it was more than allowed."""
    hold = settling.hold
    if hold is not None:
        end(books, hold, "settled", used=used)
        # A hold without a known cost held none: what was spent is compared with the limits themselves.
        unknown = hold.amounts.cost_nano is None
        over = _exceeds(used, hold.amounts) or (unknown and books.accounts(hold.subjects).over())
        return hold.admitted_us, over
    late = settling.ended is not None
    at_us = books.now_us if request.at_us is None or late else min(request.at_us, books.now_us)
    path = ended_path(settling.ended) if settling.ended else drawing.path_of(books, settling.subjects)
    drawn = drawing.draw(books, settling.subjects, path, used, force=True)
    drawn.accounts.add(at_us, settled=used)
    drawn.post(books, used=used)
    return at_us, late or drawn.refusal is not None or drawn.accounts.over()


def _exceeds(used: Amounts, held: Amounts) -> bool:
    """Whether more was used than held, as far as both are known."""
    return used.tokens > held.tokens or (held.cost_nano is not None and (used.cost_nano or 0) > held.cost_nano)


def event_of(
    request: Record, subjects: Subjects, event_id: str, now_us: int, admitted_us: int, *, overage: bool
) -> UsageEvent:
    """The line that a record writes."""
    return UsageEvent(
        event_id=event_id,
        timestamp_us=now_us if request.at_us is None else request.at_us,
        admitted_us=admitted_us,
        user=subjects.user,
        group=subjects.group,
        session=subjects.session,
        ancestors=subjects.ancestors,
        model=request.model,
        usage=request.usage,
        cost_nano=request.cost_nano,
        price_source=request.price_source,
        tier=request.tier,
        endpoint=request.endpoint,
        priority=request.priority,
        reservation_id=request.reservation_id,
        overage=overage,
        counted_tokens=request.counted_tokens,
        counted_as=request.counted_as,
        estimated=request.estimated,
    )


def _check_owner(books: Books, reservation_id: str, user: str) -> None:
    """With a ``user``, somebody else's hold is as none: that there is one is nobody else's to know."""
    hold = books.reservation(reservation_id)
    ended = books.answer(("ended", reservation_id))
    owner = hold.subjects.user if hold else str(ended["user"]) if ended else ""
    if user and owner != user:
        raise UnknownReservation(reservation_id)


def release(books: Books, reservation_id: str, user: str = "") -> ReleaseOutcome:
    """Give a hold back. One that was released before is answered the same way; one that was used or is over is not."""
    _check_owner(books, reservation_id, user)
    hold = books.reservation(reservation_id)
    if hold is not None and reservation_id not in hold.path:
        end(books, hold, "released")
        return ReleaseOutcome(True, hold.amounts, "released")
    answer = books.answer(("ended", reservation_id))
    if answer is None or reservation_id in ended_path(answer):
        raise UnknownReservation(reservation_id)
    if answer["ended"] == "released":
        tokens, cost_nano = answer["tokens"], answer["cost_nano"]
        amounts = Amounts(tokens if isinstance(tokens, int) else 0, cost_nano if isinstance(cost_nano, int) else None)
        return ReleaseOutcome(True, amounts, "released")
    return ReleaseOutcome(False, NOTHING, "settled" if answer["ended"] == "settled" else "expired")


def extend(books: Books, reservation_id: str, ttl_us: int, user: str = "") -> int:
    """Let a pending hold live ``ttl_us`` from now."""
    _check_owner(books, reservation_id, user)
    hold = books.reservation(reservation_id)
    if hold is None:
        raise UnknownReservation(reservation_id)
    longer = replace(hold, expires_us=max(hold.expires_us, books.now_us + ttl_us))
    books.put_reservation(longer)
    drawing.extended(books, longer)
    return longer.expires_us
