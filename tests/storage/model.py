"""The slow, obviously right ledger: a list of what was admitted when. It knows no buckets, no states, no SQL."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from tokenward.engine.limits import METRICS, Amounts, Metric, TokenLimit
from tokenward.engine.windows import Span

Sums = dict[Metric, int]


def sums(tokens: int = 0, cost: int = 0, requests: int = 0) -> Sums:
    return {"tokens": tokens, "cost": cost, "requests": requests}


def sums_of(amounts: Amounts) -> Sums:
    return {metric: amounts.of(metric) for metric in METRICS}


@dataclass(eq=False)
class Pot:
    """A session's budget: what is left of what it was given."""

    session: str
    names: frozenset[str]
    """Under whose limits it is held: those of the sessions above and of the user, not its own."""
    given: frozenset[Metric]
    at_us: int
    left: Sums
    expires_us: int
    above: "Pot | None" = None
    used: Sums = field(default_factory=sums)
    open: bool = True
    share: Sums = field(init=False)

    def __post_init__(self) -> None:
        self.share = dict(self.left)

    def keep(self, metric: Metric, amount: int) -> None:
        """What is left is never less than nothing, and never what was used already."""
        self.left[metric] = max(0, min(amount, self.share[metric] - self.used[metric]))

    @property
    def path(self) -> "list[Pot]":
        """This budget and those above it, the innermost first."""
        return [self, *(self.above.path if self.above else [])]

    @property
    def inner_names(self) -> frozenset[str]:
        """Who counts the work that is done in it."""
        return self.names | {f"session:{self.session}"}


@dataclass(eq=False)
class Admitted:
    """One piece of admitted work: a hold, then what was used in its place."""

    at_us: int
    names: frozenset[str] = frozenset()
    held: Sums = field(default_factory=sums)
    used: Sums = field(default_factory=sums)
    expires_us: int | None = None
    pot: Pot | None = None

    def end(self, used: Sums | None = None) -> None:
        self.held, self.used, self.expires_us = sums(), used or sums(), None


@dataclass
class ModelLedger:
    """Everything that was admitted. ``taken`` sums it the long way."""

    work: list[Admitted] = field(default_factory=list[Admitted])
    pots: list[Pot] = field(default_factory=list[Pot])
    limits: list[TokenLimit] = field(default_factory=list[TokenLimit])

    def expire(self, now_us: int) -> None:
        """Work first, then inner budgets, then outer ones: each gives back to what is around it."""
        for one in self.work:
            if one.expires_us is not None and one.expires_us <= now_us:
                self.settle(one, None)
        for pot in sorted(self.open_pots(), key=lambda one: -len(one.path)):
            if pot.expires_us <= now_us:
                self.close(pot)

    def open_pots(self) -> list[Pot]:
        return [pot for pot in self.pots if pot.open]

    def pot(self, user: str, session: str) -> Pot | None:
        own = [pot for pot in self.open_pots() if pot.session == session and f"user:{user}" in pot.names]
        return own[0] if own else None

    def taken(self, limit: TokenLimit, now_us: int, subject: str = "") -> tuple[int, int]:
        """(used, held) of everything of a limit's subject that was admitted in the buckets that count now."""
        span, metric, subject = limit.span, limit.metric, subject or limit.subject
        work = [one for one in self.work if subject in one.names and counts(span, one.at_us, now_us)]
        pots = [one for one in self.open_pots() if subject in one.names and counts(span, one.at_us, now_us)]
        held = sum(one.held[metric] for one in work) + sum(one.left[metric] for one in pots)
        return sum(one.used[metric] for one in work), held

    def fits(self, names: frozenset[str], pot: Pot | None, asked: Sums, now_us: int) -> bool:
        """Whether the budgets have enough, and no limit would be passed if it were held."""
        for payer, metric in payers(pot):
            if payer.left[metric] < asked[metric]:
                return False
        after = deepcopy(self)
        where = after.pots[self.pots.index(pot)] if pot else None
        after.hold(Admitted(now_us, names, asked, pot=where))
        return all(sum(after.taken(one, now_us)) <= one.limit for one in self.limits if one.subject in names)

    def hold(self, work: Admitted) -> None:
        """Admit work; what it holds or has used comes out of its budgets, as far as they have it."""
        for payer, metric in payers(work.pot):
            payer.keep(metric, payer.left[metric] - work.held[metric] - work.used[metric])
        spent(work.pot, work.used)
        self.work.append(work)

    def give(self, pot: Pot) -> None:
        """Open a budget; what it is given comes out of those above it."""
        for payer, metric in payers(pot.above):
            payer.left[metric] -= pot.left[metric]
        self.pots.append(pot)

    def settle(self, work: Admitted, used: Sums | None) -> None:
        """End a hold with what was used, or with nothing; the difference goes back to the budgets or is taken there."""
        for payer, metric in payers(work.pot):
            change = work.held[metric] - (used or sums())[metric]
            payer.keep(metric, payer.left[metric] + change)
        spent(work.pot, used or sums())
        work.end(used)

    def close(self, pot: Pot) -> Sums:
        """End a budget; what is left of it goes to those above."""
        for payer, metric in payers(pot.above):
            payer.keep(metric, payer.left[metric] + pot.left[metric])
        pot.open = False
        return pot.left

    def over(self, names: Iterable[str], now_us: int) -> bool:
        return any(sum(self.taken(one, now_us)) > one.limit for one in self.limits if one.subject in names)

    def taken_if_unused(self, limit: TokenLimit, later_us: int) -> int:
        """What will be taken later if every hold whose time is over by then was left to expire."""
        counted = [one for one in self.work if counts(limit.span, one.at_us, later_us)]
        metric = limit.metric
        return sum(one.used[metric] + (one.held[metric] if (one.expires_us or 0) > later_us else 0) for one in counted)

    def most_in(self, subject: str, metric: Metric, length_us: int) -> int:
        """The most of a subject that was admitted in any half-open span of ``length_us``."""
        own = [(one.at_us, one.used[metric] + one.held[metric]) for one in self.work if subject in one.names]
        return max((within(own, start_us, start_us + length_us) for start_us, _ in own), default=0)


def counts(span: Span, at_us: int, now_us: int) -> bool:
    return span.counts(span.bucket(at_us), now_us)


def within(admitted: Sequence[tuple[int, int]], start_us: int, end_us: int) -> int:
    return sum(amount for at_us, amount in admitted if start_us <= at_us < end_us)


def payers(pot: Pot | None) -> list[tuple[Pot, Metric]]:
    """Who pays for work: for each metric the innermost open budget that gives it, if any does."""
    found: list[tuple[Pot, Metric]] = []
    for metric in METRICS:
        giving = [one for one in (pot.path if pot else []) if one.open and metric in one.given]
        if giving:
            found.append((giving[0], metric))
    return found


def spent(pot: Pot | None, used: Sums) -> None:
    """What was used is shown by every budget around it, and is not left in any."""
    for one in pot.path if pot else []:
        for metric in METRICS:
            one.used[metric] += used[metric]
            if one.open:
                one.keep(metric, one.left[metric])
