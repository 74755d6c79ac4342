"""Limits and what they count: who a limit binds, and how much a piece of work takes.

A *subject* is who a limit binds: ``user:alice``, ``group:team``, ``session:s1``, ``default`` (each user without a limit
of the same metric and window) or ``global``.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.money import usd
from tokenward.engine.windows import WINDOWS, Mode, Span, Window

Metric: TypeAlias = Literal["tokens", "cost", "requests"]
Scope: TypeAlias = Literal["user", "group", "session", "default", "global"]

METRICS: tuple[Metric, ...] = get_args(Metric)
_NAMED: tuple[Scope, ...] = ("user", "group", "session")
_UNNAMED: tuple[Scope, ...] = ("default", "global")

MAX_LIMIT = 2**53 - 1
"""Largest limit accepted, in the metric's unit (about 9 million USD): what JSON clients keep exactly."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a piece of work takes. ``cost_nano`` is ``None`` when its price is not known."""

    tokens: int = 0
    cost_nano: int | None = 0
    requests: int = 1

    def of(self, metric: Metric) -> int:
        """The amount in the metric's unit; an unknown cost counts 0 here; the decision refuses it."""
        if metric == "tokens":
            return self.tokens
        return self.requests if metric == "requests" else self.cost_nano or 0


NOTHING = Amounts(0, 0, 0)


def negative(amounts: Amounts) -> Amounts:
    """The amounts to be taken back."""
    return Amounts(-amounts.tokens, None if amounts.cost_nano is None else -amounts.cost_nano, -amounts.requests)


def amount_text(metric: Metric, amount: int) -> str:
    """An amount in the metric's unit for people: ``1,500`` or, in USD, ``0.25``."""
    return usd(amount) if metric == "cost" else f"{amount:,}"


def amount_value(metric: Metric, amount: int) -> int | str:
    """An amount in the metric's unit for programs: an integer or, in USD, a decimal string."""
    return usd(amount) if metric == "cost" else amount


def check_name(field_name: str, value: str) -> str:
    """``value`` if it can name a user, group, session or endpoint.

    Raises:
        InvalidInput: Empty, longer than 200 characters, or with characters that cannot be printed.
    """
    if not value or len(value) > 200 or not value.isprintable() or value != value.strip():
        raise InvalidInput(field_name, f"{shown(value)} is not a name; give 1 to 200 printable characters.")
    return value


def _scope(subject: str) -> Scope:
    kind, _, name = subject.partition(":")
    for scope in _NAMED:
        if kind == scope:
            check_name("subject", name)
            return scope
    for scope in _UNNAMED:
        if subject == scope:
            return scope
    raise InvalidInput("subject", f"{shown(subject)} is not user:NAME, group:NAME, session:NAME, default or global.")


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
        scope: The kind of subject.
        span: The windows it counts in.
        counter: The name of the counter it reads: ``tokens/day``, ``cost/month@UTC``.
        label: For people: ``user:alice, tokens per day``.

    Raises:
        InvalidInput: A value outside these.
    """

    subject: str
    metric: Metric
    window: Window
    limit: int
    mode: Mode = "rolling"
    timezone: str = "UTC"
    # Computed once: every operation of the ledger reads them for every limit.
    scope: Scope = field(init=False, repr=False, compare=False)
    span: Span = field(init=False, repr=False, compare=False)
    counter: str = field(init=False, repr=False, compare=False)
    label: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        scope = _scope(self.subject)
        if self.metric not in METRICS:
            raise InvalidInput("metric", f"{shown(self.metric)} is not one of {', '.join(METRICS)}.")
        if self.window not in WINDOWS:
            raise InvalidInput("window", f"{shown(self.window)} is not one of {', '.join(WINDOWS)}.")
        if type(self.limit) is not int or not 0 <= self.limit <= MAX_LIMIT:
            raise InvalidInput("limit", f"{shown(self.limit)} is not a number from 0 to {MAX_LIMIT}.")
        span = Span(self.window, self.mode, self.timezone if self.mode == "calendar" else "UTC")
        object.__setattr__(self, "scope", scope)
        object.__setattr__(self, "span", span)
        object.__setattr__(self, "counter", f"{self.metric}/{span.name}")
        object.__setattr__(self, "label", f"{self.subject}, {self.metric} per {self.window}")


def counted_in(window: Window, mode: Mode | None, timezone: str | None, own_zone: str) -> tuple[Mode, str]:
    """How a limit counts that is written without saying all of it: its mode and the zone of its calendar.

    Whoever names a zone for days means its calendar; a month is the calendar's too; any other window is a rolling one.

    Args:
        window: The limit's.
        mode: What is written, if anything.
        timezone: What is written, if anything.
        own_zone: The zone of a calendar where none is written.

    Raises:
        InvalidInput: A zone for a rolling window; only UTC does no harm there.
    """
    if mode is None:
        mode = "calendar" if window == "month" or (window == "day" and timezone is not None) else "rolling"
    if mode == "calendar":
        return mode, own_zone if timezone is None else timezone
    if timezone not in (None, "UTC"):
        raise InvalidInput("timezone", "goes with mode calendar: a rolling window is the same everywhere.")
    return mode, "UTC"


@dataclass(frozen=True, slots=True)
class LimitQuery:
    """Which limits, sorted by subject, metric and window.

    Attributes:
        subject: Only those of this subject; likewise ``metric`` and ``window``.
        after: Only those behind this subject, metric and window.
        size: So many at most; all if ``None``.
    """

    subject: str | None = None
    metric: str | None = None
    window: str | None = None
    after: tuple[str, str, str] = ("", "", "")
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Subjects:
    """Whose budgets a piece of work touches.

    Attributes:
        user: Who works.
        group: The group it is for, or empty.
        session: The session it belongs to, or empty.
        ancestors: The sessions whose budgets that session's budget comes from, the outermost first.
        names: The subjects that hold counters, sorted: the order in which they are locked.
    """

    user: str
    group: str = ""
    session: str = ""
    ancestors: tuple[str, ...] = ()
    names: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_name("user", self.user)
        names = [f"user:{self.user}", "global"]
        for scope, name in (("group", self.group), ("session", self.session)):
            if name:
                names.append(f"{scope}:{check_name(scope, name)}")
        names += [f"session:{name}" for name in self.ancestors]
        object.__setattr__(self, "names", tuple(sorted(names)))


@lru_cache(maxsize=8192)
def subjects_named(user: str, group: str = "", session: str = "") -> Subjects:
    """:class:`Subjects` without ancestors, remembered: the same few work again and again."""
    return Subjects(user, group, session)
