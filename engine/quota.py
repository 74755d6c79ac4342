"""The quota decision: pure functions over a subject's counters. Stores call them inside a transaction.

A subject's *state* is, per metric and window in which it has a limit, the buckets of usage: settled (really used) and
held (reserved, not yet settled). Usage counts in the bucket in which it was admitted. A state is derived: a missing
counter is rebuilt from the ledger (:func:`missing_counters`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from tokenward.engine.budget import Budget
from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import METRICS, NOTHING, Amounts, Subjects, TokenLimit, amount_text
from tokenward.engine.types import SECOND_US
from tokenward.engine.windows import WINDOWS

Priority: TypeAlias = Literal["low", "normal", "high"]

WARNING_PERCENT = 80
"""A limit used to this share gets a warning."""

Counter: TypeAlias = dict[int, tuple[int, int]]
"""Bucket → (settled, held), in the metric's unit: tokens, nano-dollars or requests."""

State: TypeAlias = dict[str, Counter]
"""Counter name (see :class:`~tokenward.engine.limits.TokenLimit`) → counter. Never changed in place: states share
counters."""


# Named tuples where every operation makes several: they are made in a third of a frozen dataclass's time.
class Binding(NamedTuple):
    """A limit and the subject whose counter it reads (a ``default`` limit reads the user's own)."""

    subject: str
    limit: TokenLimit


class LimitStatus(NamedTuple):
    """One limit as it stands. Amounts are in the metric's unit.

    ``resets_us``: for a limit that denied, when enough has left the window for this request (``None``: never); for
    the others, when all that counts now has left.
    """

    limit: TokenLimit
    used: int
    reserved: int
    remaining: int
    resets_us: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the work fits, and how every limit stands."""

    allowed: bool
    limits: tuple[LimitStatus, ...]
    denied_by: TokenLimit | Budget | None = None
    reason: str | None = None
    retry_after_seconds: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """House rules: the share of a limit, in percent, that each priority may use (all 100: priorities are off)."""

    shares: Mapping[Priority, int] = field(default_factory=lambda: {"low": 100, "normal": 100, "high": 100})


_EQUAL = Policy()


def by_subject(limits: Iterable[TokenLimit]) -> dict[str, list[TokenLimit]]:
    """Limits as :func:`bind` takes them."""
    grouped: dict[str, list[TokenLimit]] = {}
    for limit in limits:
        grouped.setdefault(limit.subject, []).append(limit)
    return grouped


def _place(limit: TokenLimit) -> tuple[int, int]:
    return METRICS.index(limit.metric), WINDOWS.index(limit.window)


def bind(subjects: Subjects, limits: Mapping[str, Sequence[TokenLimit]]) -> tuple[Binding, ...]:
    """The limits that apply to a piece of work: its subjects' own, and defaults where the user has none.

    Args:
        subjects: Whose work it is.
        limits: Subject (also ``default``) → its limits; other subjects may be in it or not.

    Returns:
        Sorted by subject, metric and window. It stays right for these subjects until a limit changes.
    """
    user = f"user:{subjects.user}"
    own = limits.get(user, ())
    taken = {(one.metric, one.window) for one in own}
    defaults = [one for one in limits.get("default", ()) if (one.metric, one.window) not in taken]
    bound: list[Binding] = []
    for subject in subjects.names:
        applying = [*own, *defaults] if subject == user else limits.get(subject, ())
        bound += [Binding(subject, one) for one in sorted(applying, key=_place)]
    return tuple(bound)


def missing_counters(state: State, bindings: Iterable[Binding]) -> list[TokenLimit]:
    """The limits whose counter the state does not hold yet, one per counter."""
    missing = [one.limit for one in bindings if one.limit.counter not in state]
    return list({one.counter: one for one in missing}.values()) if missing else missing


@dataclass(frozen=True, slots=True)
class Held:
    """A pending hold: it leaves with its bucket, or when its time is over."""

    at_us: int
    expires_us: int
    amounts: Amounts


_EVER = 2**62
"""A bucket after all others."""


def _live(counter: Counter, first: int, last: int) -> tuple[Counter, int | None]:
    """The buckets from ``first`` to ``last`` (the counter itself if it has no others), and the newest of them."""
    # Sorting a few numbers is several times faster than comparing each in Python, and nearly always all count.
    buckets = sorted(counter)
    if buckets and not (first <= buckets[0] and buckets[-1] <= last):
        buckets = [bucket for bucket in buckets if first <= bucket <= last]
        counter = {bucket: counter[bucket] for bucket in buckets}
    return counter, buckets[-1] if buckets else None


def _fits_us(counter: Counter, limit: TokenLimit, excess: int, now_us: int, holds: Sequence[Held]) -> int | None:
    """When at least ``excess`` has left the window if no hold is settled; ``None`` if that never comes."""
    span = limit.span
    live, _ = _live(counter, *span.counted(now_us))
    leaving = [(span.leaves_us(bucket), settled + held) for bucket, (settled, held) in live.items()]
    for hold in holds:
        bucket, amount = span.bucket(hold.at_us), hold.amounts.of(limit.metric)
        if bucket in live and hold.expires_us < span.leaves_us(bucket):
            leaving += [(hold.expires_us, amount), (span.leaves_us(bucket), -amount)]
    for when_us, amount in sorted(leaving):
        excess -= amount
        if excess <= 0:
            return when_us
    return None


def _status(limit: TokenLimit, counter: Counter, now_us: int) -> LimitStatus:
    first, last = limit.span.counted(now_us)
    live, newest = _live(counter, first, last)
    used = reserved = 0
    for settled, held in live.values():
        used += settled
        reserved += held
    if limit.mode == "calendar":
        resets_us: int | None = last
    else:
        resets_us = None if newest is None else limit.span.leaves_us(newest)
    return LimitStatus(limit, used, reserved, max(0, limit.limit - used - reserved), resets_us)


def status(bindings: Iterable[Binding], states: Mapping[str, State], now_us: int) -> tuple[LimitStatus, ...]:
    """How every limit stands now."""
    return tuple(_status(limit, states[subject].get(limit.counter, {}), now_us) for subject, limit in bindings)


def warnings_of(statuses: Iterable[LimitStatus]) -> tuple[str, ...]:
    """A sentence for each limit that is used to 80 % or more."""
    return tuple(
        f"{one.limit.label}: {(one.used + one.reserved) * 100 // one.limit.limit} % used"
        for one in statuses
        if one.limit.limit and (one.used + one.reserved) * 100 >= WARNING_PERCENT * one.limit.limit
    )


@dataclass(frozen=True, slots=True)
class _Denial:
    """A limit that refuses: ``requested`` does not fit under ``cap``, its share for the caller's priority."""

    status: LimitStatus
    requested: int
    cap: int


def _reason(denial: _Denial) -> str:
    """Why work does not fit: ``global, tokens per day: 90 of 100 tokens used or reserved, 20 more asked for``."""
    limit, taken = denial.status.limit, denial.status.used + denial.status.reserved
    unit = "USD" if limit.metric == "cost" else limit.metric
    more, most = amount_text(limit.metric, denial.requested), amount_text(limit.metric, denial.cap)
    if denial.requested > denial.cap:
        return f"{limit.label}: {more} {unit} asked for, more than the limit of {most} ever allows."
    return (
        f"{limit.label}: {amount_text(limit.metric, taken)} of {most} {unit} used or reserved, {more} more asked for."
    )


def decide(
    bindings: Sequence[Binding],
    states: Mapping[str, State],
    amounts: Amounts,
    now_us: int,
    *,
    priority: Priority = "normal",
    policy: Policy | None = None,
    holds: Mapping[str, Sequence[Held]] | None = None,
) -> Decision:
    """Whether ``amounts`` fit under every limit at once.

    Args:
        bindings: From :func:`bind`.
        states: The state of every bound subject.
        amounts: What the work takes at most.
        now_us: Now, microseconds UTC.
        priority: Which share of a limit the work may use.
        policy: The shares; by default every priority may use all.
        holds: The subjects' pending holds, for saying when a denied request will fit.

    Raises:
        InvalidInput: A cost limit applies and the cost is not known.
    """
    share = (policy or _EQUAL).shares[priority]
    statuses: list[LimitStatus] = []
    denials: list[_Denial] = []
    for (subject, limit), one in zip(bindings, status(bindings, states, now_us), strict=True):
        if limit.metric == "cost" and amounts.cost_nano is None:
            raise InvalidInput("model", f"a cost limit applies ({limit.label}); name a model with a known price.")
        # A question without work asks whether anything at all is left.
        requested = amounts.of(limit.metric) if amounts != NOTHING else 1
        cap = limit.limit * share // 100
        excess = one.used + one.reserved + requested - cap
        if excess <= 0:
            statuses.append(one)
            continue
        own_holds = holds.get(subject, ()) if holds else ()
        counter = states[subject].get(limit.counter, {})
        fits_us = _fits_us(counter, limit, excess, now_us, own_holds) if requested <= cap else None
        statuses.append(one._replace(resets_us=fits_us))
        denials.append(_Denial(statuses[-1], requested, cap))
    if not denials:
        return Decision(True, tuple(statuses), warnings=warnings_of(statuses))
    # The one that keeps the caller waiting longest is the one to name; "never" is the longest.
    worst = max(denials, key=lambda one: (one.status.resets_us is None, one.status.resets_us or 0))
    resets_us = worst.status.resets_us
    wait = None if resets_us is None else max(1, -((now_us - resets_us) // SECOND_US))
    return Decision(False, tuple(statuses), worst.status.limit, _reason(worst), wait, warnings_of(statuses))


def with_hold(decision: Decision, amounts: Amounts, now_us: int) -> Decision:
    """An allowed decision as its limits stand when ``amounts`` are held from now on.

    The same as :func:`status` of the states that :func:`add_all` makes of it, without counting them again.
    """
    statuses: list[LimitStatus] = []
    for limit, used, reserved, remaining, resets_us in decision.limits:
        amount, span = amounts.of(limit.metric), limit.span
        # What is held now leaves after all that counts, unless the clock went back.
        all_left_us = max(resets_us or 0, span.leaves_us(span.bucket(now_us))) if amount else resets_us
        statuses.append(LimitStatus(limit, used, reserved + amount, max(0, remaining - amount), all_left_us))
    return Decision(True, tuple(statuses), warnings=warnings_of(statuses))


def _added(counter: Counter, limit: TokenLimit, at_us: int, now_us: int, *, settled: Amounts, held: Amounts) -> Counter:
    """The counter with amounts in the bucket of ``at_us`` and without buckets that have left.

    Buckets ahead stay, however far: if the clock is behind now, their time will come.
    """
    first, _ = limit.span.counted(now_us)
    live, _ = _live(counter, first, _EVER)
    bucket = limit.span.bucket(at_us)
    if bucket < first:
        return live
    old_settled, old_held = live.get(bucket, (0, 0))
    # A clock that jumped can have pruned the bucket whose hold ends now: less than nothing is never held.
    amounts = (old_settled + settled.of(limit.metric), max(0, old_held + held.of(limit.metric)))
    changed = {**live, bucket: amounts}
    if amounts == (0, 0):
        del changed[bucket]
    return changed


def add(
    state: State,
    limits: Iterable[TokenLimit],
    at_us: int,
    now_us: int,
    *,
    settled: Amounts = NOTHING,
    held: Amounts = NOTHING,
) -> State:
    """A new state with amounts (negative ones are taken back) added to the buckets that ``at_us`` falls into.

    The result holds exactly the counters that ``limits`` read, without buckets that have left their window; so every
    counter in a stored state is complete.
    """
    return {
        one.counter: _added(state.get(one.counter, {}), one, at_us, now_us, settled=settled, held=held)
        for one in limits
    }


def add_all(
    bindings: Iterable[Binding],
    states: Mapping[str, State],
    at_us: int,
    now_us: int,
    *,
    settled: Amounts = NOTHING,
    held: Amounts = NOTHING,
) -> dict[str, State]:
    """:func:`add` for every bound subject at once: new states, the given ones stay as they are."""
    changed: dict[str, State] = {}
    for subject, limit in bindings:
        counter = states[subject].get(limit.counter, {})
        added = _added(counter, limit, at_us, now_us, settled=settled, held=held)
        changed.setdefault(subject, {})[limit.counter] = added
    return changed
