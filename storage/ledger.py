"""The ledger's one algorithm: load the subjects' states, let the engine decide, write back, record.

Every function runs inside a transaction that holds the write lock; each is complete or leaves nothing behind. Stores
differ only in the :class:`~tokenward.storage.base.Transaction` they hand in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tokenward.engine import quota
from tokenward.engine.errors import InvalidInput, UnknownReservation
from tokenward.engine.quota import NOTHING, Amounts, Binding, Policy, State, Subjects, TokenLimit
from tokenward.engine.types import JsonObject, NewId
from tokenward.engine.usage import UsageEvent
from tokenward.storage.base import (
    Ended,
    Record,
    RecordOutcome,
    ReleaseOutcome,
    Reservation,
    Reserve,
    ReserveOutcome,
    Transaction,
)

_WHOLE_SPAN_US = 2**62
"""A width that puts a whole calendar period into one sum."""


@dataclass(slots=True)
class _Accounts:
    """The subjects of one operation with their limits and complete states."""

    bindings: list[Binding]
    states: dict[str, State]

    def add(self, at_us: int, now_us: int, *, settled: Amounts = NOTHING, held: Amounts = NOTHING) -> None:
        for subject, state in self.states.items():
            limits = [one.limit for one in self.bindings if one.subject == subject]
            self.states[subject] = quota.add(state, limits, at_us, now_us, settled=settled, held=held)


async def _rebuild(tx: Transaction, subject: str, limit: TokenLimit, now_us: int) -> State:
    """The counter that ``limit`` reads, from the events and the pending holds."""
    span = limit.span
    width_us = _WHOLE_SPAN_US if limit.mode == "calendar" else span.leaves_us(1) - span.leaves_us(0)
    state: State = {}
    for since_us, until_us in span.counted_us(now_us):
        for index, amounts in await tx.usage_between(subject, since_us, until_us, width_us):
            at_us = since_us if limit.mode == "calendar" else index * width_us
            state = quota.add(state, [limit], at_us, now_us, settled=amounts)
    for hold in await tx.holds(subject):
        state = quota.add(state, [limit], hold.admitted_us, now_us, held=hold.amounts)
    return state or {limit.counter: {}}


async def _load(tx: Transaction, subjects: Subjects, now_us: int) -> _Accounts:
    bindings = quota.bind(subjects, await tx.limits([*subjects.names, "default"]))
    bound = sorted({one.subject for one in bindings})
    states = await tx.states(bound, now_us)
    for subject in bound:
        own = [one for one in bindings if one.subject == subject]
        for limit in quota.missing_counters(states[subject], own):
            states[subject] = states[subject] | await _rebuild(tx, subject, limit, now_us)
    return _Accounts(bindings, states)


def _held(hold: Reservation) -> quota.Held:
    return quota.Held(hold.admitted_us, hold.expires_us, hold.amounts)


def _negative(amounts: Amounts) -> Amounts:
    return Amounts(-amounts.tokens, None if amounts.cost_nano is None else -amounts.cost_nano, -amounts.requests)


async def _end(
    tx: Transaction, hold: Reservation, ended: Ended, now_us: int, *, settled: Amounts = NOTHING
) -> _Accounts:
    """Take a hold out of every state it counts in, put what was really used in its place, and remember the end."""
    accounts = await _load(tx, hold.subjects, now_us)
    accounts.add(hold.admitted_us, now_us, settled=settled, held=_negative(hold.amounts))
    await tx.put_states(accounts.states, now_us)
    await tx.drop_reservation(hold.reservation_id)
    answer: JsonObject = {
        "ended": ended,
        "tokens": hold.amounts.tokens,
        "cost_nano": hold.amounts.cost_nano,
        "user": hold.subjects.user,
        "group": hold.subjects.group,
        "session": hold.subjects.session,
    }
    await tx.put_answer("ended", hold.reservation_id, answer, now_us)
    return accounts


async def expire(tx: Transaction, now_us: int) -> int:
    """End the holds whose time is over. Every operation does this first, so that a dead holder blocks nobody."""
    due = await tx.due(now_us)
    for hold in due:
        await _end(tx, hold, "expired", now_us)
    return len(due)


async def status(tx: Transaction, subjects: Subjects, now_us: int) -> tuple[quota.LimitStatus, ...]:
    """How the limits of the subjects stand."""
    await expire(tx, now_us)
    return await _standing(tx, subjects, now_us)


async def _standing(tx: Transaction, subjects: Subjects, now_us: int) -> tuple[quota.LimitStatus, ...]:
    accounts = await _load(tx, subjects, now_us)
    return quota.status(accounts.bindings, accounts.states, now_us)


def _scoped(user: str, key: str) -> str:
    """Keys are the user's own: nobody is answered with somebody else's reservation or event."""
    return f"{user}\n{key}"


async def _held_before(tx: Transaction, request: Reserve, now_us: int) -> ReserveOutcome | None:
    """The hold that an idempotency key stands for; a released or expired one is no answer to build on."""
    previous = await tx.answer("reserve", _scoped(request.subjects.user, request.key)) if request.key else None
    if previous is None:
        return None
    reservation_id = str(previous["reservation_id"])
    hold = await tx.reservation(reservation_id)
    ended = await tx.answer("ended", reservation_id)
    if hold is None and (ended is None or ended["ended"] != "settled"):
        return None
    statuses = await _standing(tx, request.subjects, now_us)
    expires_us = previous["expires_us"] if hold is None else hold.expires_us
    return ReserveOutcome(
        quota.Decision(True, statuses, warnings=quota.warnings_of(statuses)),
        reservation_id,
        expires_us if isinstance(expires_us, int) else None,
    )


async def reserve(
    tx: Transaction, request: Reserve, now_us: int, new_id: NewId, policy: Policy | None = None
) -> ReserveOutcome:
    """Decide over all subjects at once and, if it fits and is wanted, hold the amounts."""
    await expire(tx, now_us)
    if before := await _held_before(tx, request, now_us):
        return before
    accounts = await _load(tx, request.subjects, now_us)
    decide = partial(
        quota.decide,
        accounts.bindings,
        accounts.states,
        request.amounts,
        now_us,
        priority=request.priority,
        policy=policy,
    )
    decision = decide()
    if not decision.allowed:
        # Only a refusal needs to know the holds: when their time is over, it may fit.
        decision = decide(
            holds={subject: [_held(one) for one in await tx.holds(subject)] for subject in accounts.states}
        )
    if request.ttl_us is None or not decision.allowed:
        return ReserveOutcome(decision)
    hold = Reservation(new_id(), request.subjects, request.amounts, request.model, now_us, now_us + request.ttl_us)
    accounts.add(now_us, now_us, held=request.amounts)
    await tx.put_states(accounts.states, now_us)
    await tx.put_reservation(hold)
    if request.key:
        answer: JsonObject = {"reservation_id": hold.reservation_id, "expires_us": hold.expires_us}
        await tx.put_answer("reserve", _scoped(request.subjects.user, request.key), answer, now_us)
    statuses = quota.status(accounts.bindings, accounts.states, now_us)
    held = replace(decision, limits=statuses, warnings=quota.warnings_of(statuses))
    return ReserveOutcome(held, hold.reservation_id, hold.expires_us)


def _outcome(answer: Mapping[str, object]) -> RecordOutcome:
    cost_nano = answer["cost_nano"]
    return RecordOutcome(
        str(answer["event_id"]),
        str(answer["user"]),
        cost_nano if isinstance(cost_nano, int) else None,
        bool(answer["overage"]),
        duplicate=True,
    )


@dataclass(frozen=True, slots=True)
class _Settling:
    """Whose event it is, and the hold it settles, if that still pends."""

    subjects: Subjects
    hold: Reservation | None
    late: bool


async def _settling(tx: Transaction, request: Record) -> _Settling:
    """Find the reservation that a record names. Raises UnknownReservation, or InvalidInput for another user's."""
    if not request.reservation_id:
        return _Settling(Subjects(request.user, request.group, request.session), None, late=False)
    hold = await tx.reservation(request.reservation_id)
    ended = await tx.answer("ended", request.reservation_id)
    if hold is not None:
        subjects = hold.subjects
    elif ended is not None:
        subjects = Subjects(str(ended["user"]), str(ended["group"]), str(ended["session"]))
    else:
        raise UnknownReservation(request.reservation_id)
    for name in ("user", "group", "session"):
        given = getattr(request, name)
        if given and given != getattr(subjects, name):
            raise InvalidInput(name, f"the reservation was made for another {name}; leave {name} out.")
    return _Settling(subjects, hold, late=hold is None)


async def _know_again(
    tx: Transaction, settling: _Settling, keys: Sequence[str], answer: JsonObject, now_us: int
) -> None:
    """An event that is known by one key is known by the others too, and its hold has done its duty."""
    for key in keys:
        if await tx.answer("record", key) is None:
            await tx.put_answer("record", key, answer, now_us)
    if settling.hold is not None:
        await _end(tx, settling.hold, "settled", now_us)


def _exceeds(used: Amounts, held: Amounts) -> bool:
    """Whether more was used than held, as far as both are known."""
    return used.tokens > held.tokens or (held.cost_nano is not None and (used.cost_nano or 0) > held.cost_nano)


async def record(tx: Transaction, request: Record, now_us: int, new_id: NewId) -> RecordOutcome:
    """Write one event, settle its reservation, count it in every window; the same key or reservation is one event."""
    await expire(tx, now_us)
    settling = await _settling(tx, request)
    user = settling.subjects.user
    keys = [_scoped(user, f"key {request.key}")] if request.key else []
    keys += [_scoped(user, f"reservation {request.reservation_id}")] if request.reservation_id else []
    for key in keys:
        if answer := await tx.answer("record", key):
            await _know_again(tx, settling, keys, answer, now_us)
            return _outcome(answer)
    used = Amounts(request.usage.total_tokens, request.cost_nano, 1)
    at_us = now_us if request.at_us is None else request.at_us
    if settling.hold is not None:
        admitted_us = settling.hold.admitted_us
        accounts = await _end(tx, settling.hold, "settled", now_us, settled=used)
        # A hold without a known cost held none: what was spent is compared with the limits themselves.
        unknown = settling.hold.amounts.cost_nano is None
        overage = _exceeds(used, settling.hold.amounts) or (unknown and _over(accounts, now_us))
    else:
        admitted_us = now_us if settling.late else min(at_us, now_us)
        accounts = await _load(tx, settling.subjects, now_us)
        accounts.add(admitted_us, now_us, settled=used)
        await tx.put_states(accounts.states, now_us)
        overage = settling.late or _over(accounts, now_us)
    event = _event(request, settling.subjects, new_id(), at_us, admitted_us, overage=overage)
    await tx.add_event(event)
    written: JsonObject = {"event_id": event.event_id, "user": user, "cost_nano": event.cost_nano, "overage": overage}
    for key in keys:
        await tx.put_answer("record", key, written, now_us)
    return RecordOutcome(event.event_id, user, event.cost_nano, overage)


def _over(accounts: _Accounts, now_us: int) -> bool:
    statuses: Iterable[quota.LimitStatus] = quota.status(accounts.bindings, accounts.states, now_us)
    return any(one.used + one.reserved > one.limit.limit for one in statuses)


def _event(
    request: Record, subjects: Subjects, event_id: str, at_us: int, admitted_us: int, *, overage: bool
) -> UsageEvent:
    return UsageEvent(
        event_id=event_id,
        timestamp_us=at_us,
        admitted_us=admitted_us,
        user=subjects.user,
        group=subjects.group,
        session=subjects.session,
        model=request.model,
        usage=request.usage,
        cost_nano=request.cost_nano,
        price_source=request.price_source,
        endpoint=request.endpoint,
        priority=request.priority,
        reservation_id=request.reservation_id,
        overage=overage,
    )


async def release(tx: Transaction, reservation_id: str, now_us: int) -> ReleaseOutcome:
    """Give a hold back. One that was released before is answered the same way; one that was used or is over is not."""
    await expire(tx, now_us)
    hold = await tx.reservation(reservation_id)
    if hold is not None:
        await _end(tx, hold, "released", now_us)
        return ReleaseOutcome(True, hold.amounts, "released")
    answer = await tx.answer("ended", reservation_id)
    if answer is None:
        raise UnknownReservation(reservation_id)
    if answer["ended"] == "released":
        tokens, cost_nano = answer["tokens"], answer["cost_nano"]
        amounts = Amounts(tokens if isinstance(tokens, int) else 0, cost_nano if isinstance(cost_nano, int) else None)
        return ReleaseOutcome(True, amounts, "released")
    return ReleaseOutcome(False, NOTHING, "settled" if answer["ended"] == "settled" else "expired")


async def extend(tx: Transaction, reservation_id: str, ttl_us: int, now_us: int) -> int:
    """Let a pending hold live ``ttl_us`` from now."""
    await expire(tx, now_us)
    hold = await tx.reservation(reservation_id)
    if hold is None:
        raise UnknownReservation(reservation_id)
    longer = replace(hold, expires_us=max(hold.expires_us, now_us + ttl_us))
    await tx.put_reservation(longer)
    return longer.expires_us


async def set_limit(tx: Transaction, limit: TokenLimit) -> None:
    """Add or replace a limit. States it touches are forgotten; the next operation rebuilds them from the ledger."""
    await tx.put_limit(limit)
    await tx.forget_states(limit.subject)


async def delete_limit(tx: Transaction, subject: str, metric: str, window: str) -> bool:
    """Take a limit away, with the counters that nobody keeps up any more."""
    found = await tx.drop_limit(subject, metric, window)
    await tx.forget_states(subject)
    return found
