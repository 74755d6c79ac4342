"""Quota replay: which recorded requests would a set of limits have refused?

Every request is put to :func:`tokenward.engine.quota.decide`, the code that decides in life, at the time it was
recorded for and with the tokens and the cost it really had. What is refused does not count afterwards: in life it
would not have been used. Usage before the period counts, as it does for a limit that is set anew. Holds, the shares of
sessions' budgets and clients that try again are not replayed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappush, heapreplace
from typing import get_args

from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.quota import Binding, Policy, Priority, State, add_all, bind, by_subject, decide
from tokenward.engine.usage import UsageEvent

EXAMPLES = 10
"""Refused requests that are named: the largest."""

MAX_ROWS = 1_000
"""Rows of a report: the limits that refused most."""

_PRIORITIES: dict[str, Priority] = {one: one for one in get_args(Priority)}


@dataclass(slots=True)
class ReplayRow:
    """One limit and the subject whose usage it counts (a ``default`` limit counts each user's own).

    Attributes:
        requests: How many came under it.
        refused: How many of them it refused. A request that several limits refuse counts for the one that would have
            kept it waiting longest, the one that the caller is told.
        refused_tokens: Their tokens.
        refused_cost_nano: Their cost, as far as it is known.
        first_us: When it refused first; ``None`` if never.
        last_us: When it refused last.
        peak: The most that counted at any time, what was admitted included, in the metric's unit.
    """

    subject: str
    limit: TokenLimit
    requests: int = 0
    refused: int = 0
    refused_tokens: int = 0
    refused_cost_nano: int = 0
    first_us: int | None = None
    last_us: int | None = None
    peak: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that would have been refused, and when it would have fitted (``None``: never)."""

    at_us: int
    user: str
    model: str
    tokens: int
    cost_nano: int | None
    subject: str
    limit: TokenLimit
    reason: str
    retry_after_seconds: int | None


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What the limits would have done.

    Attributes:
        requests: All that were made in the period.
        refused: Those that would have been refused.
        refused_tokens: Their tokens.
        refused_cost_nano: Their cost, as far as it is known.
        first_us: The first refusal; ``None`` without any.
        last_us: The last one.
        unpriced: Requests under a limit in money whose cost is not known: they counted 0 for it. In life a check
            without a known price is an error.
        rows: Limits that some request came under, those that refused most first; at most 1,000.
        total_rows: How many there are.
        examples: The largest refused requests, the largest first.
    """

    limits: tuple[TokenLimit, ...]
    requests: int
    refused: int
    refused_tokens: int
    refused_cost_nano: int
    first_us: int | None
    last_us: int | None
    unpriced: int
    rows: tuple[ReplayRow, ...]
    total_rows: int
    examples: tuple[Refusal, ...]
    notes: tuple[str, ...] = ()


def replay_start_us(limits: Iterable[TokenLimit], start_us: int) -> int:
    """From when events are needed so that every window is right at ``start_us``."""
    return max(0, min((one.span.stretches_us(start_us)[0][0] for one in limits), default=start_us))


class Replay:
    """Takes events in order of time. Memory holds the counters of the subjects that limits bind, and the report.

    Args:
        limits: The limits to try.
        start_us: Start of the period: events before it count and are not decided about.
        policy: The shares of the limits that priorities may use.
    """

    def __init__(self, limits: Sequence[TokenLimit], *, start_us: int, policy: Policy | None = None) -> None:
        self._limits = tuple(limits)
        self._by_subject = by_subject(limits)
        self._bound = lru_cache(maxsize=8_192)(self._bind)
        self._start_us = start_us
        self._policy = policy
        self._states: dict[str, State] = {}
        self._rows: dict[Binding, ReplayRow] = {}
        self._requests = 0
        self._unpriced = 0
        self._examples: list[tuple[int, int, Refusal]] = []

    def add(self, event: UsageEvent) -> None:
        """Decide about one event, or only count it if it is from before the period."""
        bindings = self._bound(event.user, event.group, event.session, event.ancestors)
        decided = event.timestamp_us >= self._start_us
        self._requests += decided
        if not bindings:
            return
        # An unknown cost counts 0, as it does in the ledger.
        amounts = Amounts(event.usage.total_tokens, event.cost_nano or 0, 1)
        if not decided or self._admits(event, bindings, amounts):
            states = {subject: self._states.get(subject, {}) for subject, _ in bindings}
            self._states.update(add_all(bindings, states, event.timestamp_us, event.timestamp_us, settled=amounts))

    def report(self) -> ReplayReport:
        """What all events came to."""
        rows = sorted(self._rows.values(), key=lambda one: (-one.refused, -one.requests, one.subject, one.limit.label))
        refusing = [one for one in rows if one.refused]
        return ReplayReport(
            limits=self._limits,
            requests=self._requests,
            refused=sum(one.refused for one in refusing),
            refused_tokens=sum(one.refused_tokens for one in refusing),
            refused_cost_nano=sum(one.refused_cost_nano for one in refusing),
            first_us=min((one.first_us for one in refusing if one.first_us is not None), default=None),
            last_us=max((one.last_us for one in refusing if one.last_us is not None), default=None),
            unpriced=self._unpriced,
            rows=tuple(rows[:MAX_ROWS]),
            total_rows=len(rows),
            examples=tuple(one for _, _, one in sorted(self._examples, key=lambda one: one[:2], reverse=True)),
        )

    def _bind(self, user: str, group: str, session: str, ancestors: tuple[str, ...]) -> tuple[Binding, ...]:
        return bind(Subjects(user, group, session, ancestors), self._by_subject)

    def _admits(self, event: UsageEvent, bindings: tuple[Binding, ...], amounts: Amounts) -> bool:
        """Whether the limits let it pass; the report's rows know it then."""
        now_us = event.timestamp_us
        states = {subject: self._states.get(subject, {}) for subject, _ in bindings}
        priority = _PRIORITIES.get(event.priority, "normal")
        decision = decide(bindings, states, amounts, now_us, priority=priority, policy=self._policy)
        if event.cost_nano is None:
            self._unpriced += any(one.limit.metric == "cost" for one in bindings)
        for binding, status in zip(bindings, decision.limits, strict=True):
            row = self._rows.get(binding) or self._rows.setdefault(binding, ReplayRow(*binding))
            row.requests += 1
            taken = status.used + (amounts.of(status.limit.metric) if decision.allowed else 0)
            row.peak = max(row.peak, taken)
        if decision.allowed:
            return True
        denying = next(one for one in bindings if one.limit is decision.denied_by)
        self._refuse(event, self._rows[denying], decision.reason or "", decision.retry_after_seconds)
        return False

    def _refuse(self, event: UsageEvent, row: ReplayRow, reason: str, retry_after_seconds: int | None) -> None:
        tokens, at_us = event.usage.total_tokens, event.timestamp_us
        row.refused += 1
        row.refused_tokens += tokens
        row.refused_cost_nano += event.cost_nano or 0
        row.first_us = at_us if row.first_us is None else row.first_us
        row.last_us = at_us
        if len(self._examples) == EXAMPLES and tokens <= self._examples[0][0]:
            return
        one = Refusal(
            at_us,
            event.user,
            event.model,
            tokens,
            event.cost_nano,
            row.subject,
            row.limit,
            reason,
            retry_after_seconds,
        )
        # Of equally large ones the earlier is kept; the second number also keeps the heap from comparing refusals.
        entry = (tokens, -self._requests, one)
        if len(self._examples) < EXAMPLES:
            heappush(self._examples, entry)
        else:
            heapreplace(self._examples, entry)
