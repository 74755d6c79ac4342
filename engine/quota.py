"""The quota decision: pure functions over a subject's counters. Stores call them inside a transaction.

A *subject* is who a limit binds: ``user:alice``, ``group:team``, ``session:s1``, ``default`` (each user without a
limit of the same metric and window) or ``global``. A subject's *state* is, per metric and window in which it has a
limit, the buckets of usage: settled (really used) and held (reserved, not yet settled). Usage counts in the bucket in
which it was admitted. A state is derived: a missing counter is rebuilt from the ledger (:func:`missing_counters`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.money import usd
from tokenward.engine.types import SECOND_US
from tokenward.engine.windows import WINDOWS, Mode, Span, Window

Metric: TypeAlias = Literal["tokens", "cost", "requests"]
Priority: TypeAlias = Literal["low", "normal", "high"]
Scope: TypeAlias = Literal["user", "group", "session", "default", "global"]

METRICS: tuple[Metric, ...] = get_args(Metric)

MAX_LIMIT = 2**53 - 1
"""Largest limit accepted, in the metric's unit (about 9 million USD): what JSON clients keep exactly."""

WARNING_PERCENT = 80
"""A limit used to this share gets a warning."""

Counter: TypeAlias = dict[int, tuple[int, int]]
"""Bucket → (settled, held), in the metric's unit: tokens, nano-dollars or requests."""

State: TypeAlias = dict[str, Counter]
"""Counter name (see :attr:`TokenLimit.counter`) → counter."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a piece of work takes. ``cost_nano`` is ``None`` when its price is not known."""

    tokens: int = 0
    cost_nano: int | None = 0
    requests: int = 1

    def of(self, metric: Metric) -> int:
        """The amount in the metric's unit; an unknown cost counts 0 here and is refused in :func:`decide`."""
        if metric == "tokens":
            return self.tokens
        return self.requests if metric == "requests" else self.cost_nano or 0


NOTHING = Amounts(0, 0, 0)


def check_name(field_name: str, value: str) -> str:
    """``value`` if it can name a user, group, session or endpoint.

    Raises:
        InvalidInput: Empty, longer than 200 characters, or with characters that cannot be printed.
    """
    if not value or len(value) > 200 or not value.isprintable() or value != value.strip():
        raise InvalidInput(field_name, f"{shown(value)} is not a name; give 1 to 200 printable characters.")
    return value


@dataclass(frozen=True, slots=True)
class TokenLimit:
    """At most ``limit`` of ``metric`` per ``window`` for ``subject``.

    Attributes:
        subject: ``user:NAME``, ``group:NAME``, ``session:NAME``, ``default`` or ``global``.
        metric: ``tokens``, ``cost`` or ``requests``.
        window: ``minute``, ``hour``, ``day`` or ``month``.
        limit: In the metric's unit: tokens, nano-dollars or requests; 0 allows nothing.
        mode: ``rolling`` or, for days and months, ``calendar``.
        timezone: IANA zone of a calendar window.

    Raises:
        InvalidInput: A value outside these.
    """

    subject: str
    metric: Metric
    window: Window
    limit: int
    mode: Mode = "rolling"
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        scope, _, name = self.subject.partition(":")
        if scope in ("user", "group", "session"):
            check_name("subject", name)
        elif self.subject not in ("default", "global"):
            raise InvalidInput(
                "subject", f"{shown(self.subject)} is not user:NAME, group:NAME, session:NAME, default or global."
            )
        if self.metric not in METRICS:
            raise InvalidInput("metric", f"{shown(self.metric)} is not one of {', '.join(METRICS)}.")
        if self.window not in WINDOWS:
            raise InvalidInput("window", f"{shown(self.window)} is not one of {', '.join(WINDOWS)}.")
        if not 0 <= self.limit <= MAX_LIMIT:
            raise InvalidInput("limit", f"{shown(self.limit)} is not a number from 0 to {MAX_LIMIT}.")
        _ = self.span

    @property
    def scope(self) -> Scope:
        """The kind of subject."""
        scope: Scope = "global"
        for one in get_args(Scope):
            if self.subject.partition(":")[0] == one:
                scope = one
        return scope

    @property
    def span(self) -> Span:
        """The windows it counts in."""
        return Span(self.window, self.mode, self.timezone if self.mode == "calendar" else "UTC")

    @property
    def counter(self) -> str:
        """The name of the counter it reads: ``tokens/day``, ``cost/month@UTC``."""
        return f"{self.metric}/{self.span.name}"

    @property
    def label(self) -> str:
        """For people: ``user:alice, tokens per day``."""
        return f"{self.subject}, {self.metric} per {self.window}"


@dataclass(frozen=True, slots=True)
class Subjects:
    """Whose budgets a piece of work touches."""

    user: str
    group: str = ""
    session: str = ""

    def __post_init__(self) -> None:
        check_name("user", self.user)
        for name in ("group", "session"):
            if value := getattr(self, name):
                check_name(name, value)

    @property
    def names(self) -> tuple[str, ...]:
        """The subjects that hold counters, sorted: the order in which they are locked."""
        named = [f"user:{self.user}", "global"]
        named += [f"group:{self.group}"] if self.group else []
        named += [f"session:{self.session}"] if self.session else []
        return tuple(sorted(named))


@dataclass(frozen=True, slots=True)
class Binding:
    """A limit and the subject whose counter it reads (a ``default`` limit reads the user's own)."""

    subject: str
    limit: TokenLimit


@dataclass(frozen=True, slots=True)
class LimitStatus:
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
    denied_by: TokenLimit | None = None
    reason: str | None = None
    retry_after_seconds: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """House rules: the share of a limit, in percent, that each priority may use (all 100: priorities are off)."""

    shares: Mapping[Priority, int] = field(default_factory=lambda: {"low": 100, "normal": 100, "high": 100})


def bind(subjects: Subjects, limits: Iterable[TokenLimit]) -> list[Binding]:
    """The limits that apply to a piece of work: its subjects' own, and defaults where the user has none."""
    given = list(limits)
    own = [Binding(one.subject, one) for one in given if one.subject in subjects.names]
    user = f"user:{subjects.user}"
    taken = {(one.limit.metric, one.limit.window) for one in own if one.subject == user}
    own += [Binding(user, one) for one in given if one.subject == "default" and (one.metric, one.window) not in taken]
    return sorted(own, key=lambda one: (one.subject, METRICS.index(one.limit.metric), WINDOWS.index(one.limit.window)))


def missing_counters(state: State, bindings: Iterable[Binding]) -> list[TokenLimit]:
    """The limits whose counter the state does not hold yet, one per counter."""
    return list({one.limit.counter: one.limit for one in bindings if one.limit.counter not in state}.values())


def _in_window(counter: Counter, span: Span, now_us: int) -> Counter:
    return {bucket: amounts for bucket, amounts in counter.items() if span.counts(bucket, now_us)}


@dataclass(frozen=True, slots=True)
class Held:
    """A pending hold: it leaves with its bucket, or when its time is over."""

    at_us: int
    expires_us: int
    amounts: Amounts


def _fits_us(counter: Counter, limit: TokenLimit, excess: int, holds: Sequence[Held]) -> int | None:
    """When at least ``excess`` has left the window if no hold is settled; ``None`` if that never comes."""
    span = limit.span
    leaving = [(span.leaves_us(bucket), settled + held) for bucket, (settled, held) in counter.items()]
    for hold in holds:
        bucket, amount = span.bucket(hold.at_us), hold.amounts.of(limit.metric)
        if bucket in counter and hold.expires_us < span.leaves_us(bucket):
            leaving += [(hold.expires_us, amount), (span.leaves_us(bucket), -amount)]
    for when_us, amount in sorted(leaving):
        excess -= amount
        if excess <= 0:
            return when_us
    return None


def _status(limit: TokenLimit, counter: Counter, now_us: int) -> LimitStatus:
    live = _in_window(counter, limit.span, now_us)
    used = sum(settled for settled, _ in live.values())
    held = sum(held for _, held in live.values())
    if limit.mode == "calendar":
        resets_us: int | None = limit.span.period(now_us)[1]
    else:
        resets_us = limit.span.leaves_us(max(live)) if live else None
    return LimitStatus(limit, used, held, max(0, limit.limit - used - held), resets_us)


def status(bindings: Iterable[Binding], states: Mapping[str, State], now_us: int) -> tuple[LimitStatus, ...]:
    """How every limit stands now."""
    return tuple(_status(one.limit, states[one.subject].get(one.limit.counter, {}), now_us) for one in bindings)


def warnings_of(statuses: Iterable[LimitStatus]) -> tuple[str, ...]:
    """A sentence for each limit that is used to 80 % or more."""
    return tuple(
        f"{one.limit.label}: {(one.used + one.reserved) * 100 // one.limit.limit} % used"
        for one in statuses
        if one.limit.limit and (one.used + one.reserved) * 100 >= WARNING_PERCENT * one.limit.limit
    )


def _number(metric: Metric, amount: int) -> str:
    return usd(amount) if metric == "cost" else f"{amount:,}"


def _reason(limit: TokenLimit, taken: int, requested: int, cap: int) -> str:
    """Why work does not fit: ``global, tokens per day: 90 of 100 tokens used or reserved, 20 more asked for``."""
    unit = "USD" if limit.metric == "cost" else limit.metric
    more, most = _number(limit.metric, requested), _number(limit.metric, cap)
    if requested > cap:
        return f"{limit.label}: {more} {unit} asked for, more than the limit of {most} ever allows."
    return f"{limit.label}: {_number(limit.metric, taken)} of {most} {unit} used or reserved, {more} more asked for."


def _denial(
    one: LimitStatus, counter: Counter, requested: int, cap: int, now_us: int, *, holds: Sequence[Held]
) -> tuple[LimitStatus, str] | None:
    """The limit's refusal with its reason, or ``None`` if the work fits."""
    taken = one.used + one.reserved
    if taken + requested <= cap:
        return None
    live = _in_window(counter, one.limit.span, now_us)
    resets_us = _fits_us(live, one.limit, taken + requested - cap, holds) if requested <= cap else None
    refused = LimitStatus(one.limit, one.used, one.reserved, one.remaining, resets_us)
    return refused, _reason(one.limit, taken, requested, cap)


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
    share = (policy or Policy()).shares[priority]
    statuses: list[LimitStatus] = []
    denials: list[tuple[LimitStatus, str]] = []
    for binding, one in zip(bindings, status(bindings, states, now_us), strict=True):
        if one.limit.metric == "cost" and amounts.cost_nano is None:
            raise InvalidInput("model", f"a cost limit applies ({one.limit.label}); name a model with a known price.")
        counter = states[binding.subject].get(one.limit.counter, {})
        cap = one.limit.limit * share // 100
        # A question without work asks whether anything at all is left.
        requested = amounts.of(one.limit.metric) if amounts.requests else 1
        denial = _denial(one, counter, requested, cap, now_us, holds=(holds or {}).get(binding.subject, ()))
        statuses.append(denial[0] if denial else one)
        denials += [denial] if denial else []
    if not denials:
        return Decision(True, tuple(statuses), warnings=warnings_of(statuses))
    # The one that keeps the caller waiting longest is the one to name; "never" is the longest.
    worst, reason = max(denials, key=lambda one: (one[0].resets_us is None, one[0].resets_us or 0))
    wait = None if worst.resets_us is None else max(1, -((now_us - worst.resets_us) // SECOND_US))
    return Decision(False, tuple(statuses), worst.limit, reason, wait, warnings_of(statuses))


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
    changed: State = {}
    for limit in limits:
        counter = _in_window(state.get(limit.counter, {}), limit.span, now_us)
        bucket = limit.span.bucket(at_us)
        if limit.span.counts(bucket, now_us):
            old_settled, old_held = counter.get(bucket, (0, 0))
            # A clock that jumped can have pruned the bucket whose hold ends now: less than nothing is never held.
            counter[bucket] = (old_settled + settled.of(limit.metric), max(0, old_held + held.of(limit.metric)))
            if counter[bucket] == (0, 0):
                del counter[bucket]
        changed[limit.counter] = counter
    return changed
