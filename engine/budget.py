"""Budgets that are given on: a session's share of its parent's budget, as pure values.

A budget is a hold that others draw from. What is given to a session is held under its parent's limits at once; work of
the session moves its amounts from that hold to its own, so nothing is counted twice and nothing can be promised twice.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.limits import MAX_LIMIT, METRICS, Amounts, Metric, Subjects, amount_text

MAX_DEPTH = 8
"""How many budgets may stand one in the other."""


@dataclass(frozen=True, slots=True)
class Share:
    """How much of each metric a budget holds: tokens, nano-dollars, requests. ``None`` is neither given nor limited.

    Raises:
        InvalidInput: Nothing is given, or a number is out of range.
    """

    tokens: int | None = None
    cost_nano: int | None = None
    requests: int | None = None

    def __post_init__(self) -> None:
        given = {"tokens": self.tokens, "cost": self.cost_nano, "requests": self.requests}
        for name, value in given.items():
            if value is not None and (type(value) is not int or not 0 <= value <= MAX_LIMIT):
                raise InvalidInput(name, f"{shown(value)} is not a number from 0 to {MAX_LIMIT}.")
        if not any(given.values()):
            raise InvalidInput("tokens", "a budget gives something: tokens, cost or requests.")

    @property
    def amounts(self) -> Amounts:
        """What the budget holds when it is opened."""
        return Amounts(self.tokens or 0, self.cost_nano or 0, self.requests or 0)

    def of(self, metric: Metric) -> int | None:
        """The share in the metric's unit."""
        return {"tokens": self.tokens, "cost": self.cost_nano, "requests": self.requests}[metric]


@dataclass(frozen=True, slots=True)
class Budget:
    """A session's budget.

    Attributes:
        subjects: The session that uses it, its user and group, and the sessions above it.
        path: Ids from the outermost budget to this one.
        used: What work in this budget and in those opened from it has used.
        ended_us: When it was closed or its time was over; ``None`` while it is open.
    """

    budget_id: str
    subjects: Subjects
    path: tuple[str, ...]
    share: Share
    used: Amounts
    opened_us: int
    expires_us: int
    ended_us: int | None = None

    @property
    def label(self) -> str:
        """For people: ``session:worker, budget``."""
        return f"{self.subject}, budget"

    @property
    def subject(self) -> str:
        """``session:NAME``."""
        return f"session:{self.subjects.session}"


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """How a budget stands: given = used + held by work and by budgets opened from it + remaining, as far as it kept to.

    ``remaining`` of a closed budget is what went back to the parent.
    """

    budget: Budget
    remaining: Amounts
    parent: str


def covering(budgets: Iterable[Budget], asked: Amounts) -> list[tuple[Budget, Amounts]]:
    """Which of ``budgets``, the innermost first, pays which part: for each metric the first that gives it."""
    parts: list[tuple[Budget, Amounts]] = []
    open_metrics: set[Metric] = set(METRICS)
    for budget in budgets:
        paid: set[Metric] = {metric for metric in open_metrics if budget.share.of(metric) is not None}
        open_metrics -= paid
        if paid:
            parts.append((budget, only(asked, paid)))
    return parts


def only(amounts: Amounts, metrics: Collection[Metric]) -> Amounts:
    """The part of ``amounts`` in these metrics; an unknown cost counts 0."""
    tokens, cost_nano, requests = (amounts.of(metric) if metric in metrics else 0 for metric in METRICS)
    return Amounts(tokens, cost_nano, requests)


def shortage(budget: Budget, remaining: Amounts, asked: Amounts, part: Amounts) -> str | None:
    """Why ``part`` of ``asked`` does not fit into what remains of a budget; ``None`` if it fits.

    Raises:
        InvalidInput: The budget is in money and the cost is not known.
    """
    if budget.share.cost_nano is not None and asked.cost_nano is None:
        raise InvalidInput("model", f"a cost budget applies ({budget.label}); name a model with a known price.")
    for metric in METRICS:
        wanted, left = part.of(metric), remaining.of(metric)
        if wanted > left:
            unit = "USD" if metric == "cost" else metric
            given, more, rest = (amount_text(metric, one) for one in (budget.share.of(metric) or 0, wanted, left))
            return f"{budget.label}: {rest} of {given} {unit} left, {more} more asked for."
    return None


def plus(one: Amounts, two: Amounts) -> Amounts:
    """The sum; an unknown cost counts 0."""
    return Amounts(one.tokens + two.tokens, (one.cost_nano or 0) + (two.cost_nano or 0), one.requests + two.requests)


def minus(one: Amounts, two: Amounts) -> Amounts:
    """What is left of ``one`` without ``two``, never less than nothing."""
    return Amounts(
        max(0, one.tokens - two.tokens),
        max(0, (one.cost_nano or 0) - (two.cost_nano or 0)),
        max(0, one.requests - two.requests),
    )
