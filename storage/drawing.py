"""What work of a session draws from its budget, and what goes back.

A budget is a hold under its parent's limits. Work of the session takes its amounts out of that hold and holds them
itself, now; so a limit counts them once, and counts them in the window in which the work really was admitted. For each
metric the innermost budget that gives it pays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tokenward.engine import quota
from tokenward.engine.budget import Budget, BudgetStatus, covering, minus, plus, shortage
from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import NOTHING, Amounts, Subjects, negative
from tokenward.engine.quota import Decision, Policy, Priority
from tokenward.storage.base import Reservation
from tokenward.storage.books import Accounts, Books
from tokenward.storage.rows import closed_answer
from tokenward.storage.transaction import AnswerKey, Moved


@dataclass(slots=True)
class Drawn:
    """What some work takes from the budgets it stands in. Nothing is changed until it is posted.

    Attributes:
        accounts: Of the work's subjects, with what the budgets pay already taken out of their holds.
        path: The budgets the work stands in, the outermost first.
        holds: The budgets' holds as they are left.
        refusal: The decision, where a budget does not have enough.
    """

    accounts: Accounts
    path: tuple[str, ...] = ()
    holds: Sequence[Reservation] = ()
    refusal: Decision | None = None

    def post(self, books: Books, *, used: Amounts = NOTHING) -> None:
        """Keep it, and count what was used in every budget on the path."""
        books.post(self.accounts)
        for hold in self.holds:
            books.put_reservation(hold)
        _count_used(books, self.path, used)


def placed(books: Books, subjects: Subjects) -> Subjects:
    """The subjects with the sessions above theirs. Raises InvalidInput if the budget is another group's."""
    budget = books.open_budget(subjects.user, subjects.session) if subjects.session else None
    if budget is None:
        return subjects
    if subjects.group and subjects.group != budget.subjects.group:
        raise InvalidInput("group", "the session's budget was opened for another group; leave group out.")
    return budget.subjects


def path_of(books: Books, subjects: Subjects) -> tuple[str, ...]:
    """The budgets that work of these subjects stands in."""
    budget = books.open_budget(subjects.user, subjects.session) if subjects.session else None
    return budget.path if budget else ()


def draw(books: Books, subjects: Subjects, path: tuple[str, ...], asked: Amounts, *, force: bool = False) -> Drawn:
    """Take ``asked`` from the budgets of ``path``; if it is forced, as much of it as is there."""
    accounts = books.accounts(subjects)
    if not path:
        return Drawn(accounts)
    # What was spent is taken whatever it cost; only a question needs to know.
    asked = plus(asked, NOTHING) if force else asked
    holds: list[Reservation] = []
    refusal: Decision | None = None
    for budget, part in covering(_open(books, path), asked):
        hold = books.reservation(budget.budget_id)
        if hold is None:
            raise Moved
        if refusal is None and (reason := shortage(budget, hold.amounts, asked, part)):
            statuses = quota.status(accounts.bindings, accounts.states, books.now_us)
            refusal = Decision(False, statuses, budget, reason, warnings=quota.warnings_of(statuses))
        paid = minus(hold.amounts, minus(hold.amounts, part))
        accounts.add(hold.admitted_us, held=negative(paid), only=hold.subjects)
        holds.append(replace(hold, amounts=minus(hold.amounts, part)))
    if refusal is not None and not force:
        return Drawn(books.accounts(subjects), path, refusal=refusal)
    return Drawn(accounts, path, holds, refusal)


def _open(books: Books, path: Sequence[str]) -> list[Budget]:
    """The open budgets of a path, the innermost first."""
    found = [books.budget(one) for one in reversed(path)]
    return [one for one in found if one is not None and one.ended_us is None]


def decide(books: Books, drawn: Drawn, asked: Amounts, priority: Priority, policy: Policy | None) -> Decision:
    """Whether ``asked`` fits under every limit, given what the budgets pay. Raises HoldsNeeded."""
    accounts = drawn.accounts
    bindings, states, now_us = accounts.bindings, accounts.states, accounts.now_us
    decision = quota.decide(bindings, states, asked, now_us, priority=priority, policy=policy)
    if decision.allowed:
        return decision
    # Only a refusal needs to know the holds: when their time is over, it may fit.
    holds = books.holds(states)
    return quota.decide(bindings, states, asked, now_us, priority=priority, policy=policy, holds=holds)


def settle(books: Books, hold: Reservation, used: Amounts) -> None:
    """After a hold has ended: count what was used in its budgets, give back the rest, take what was too much."""
    if not hold.path:
        return
    if hold.reservation_id in hold.path:
        _pass_on(books, hold.path[:-1], hold.amounts)
        budget = books.budget(hold.reservation_id)
        if budget is not None:
            ended = replace(budget, ended_us=books.now_us)
            books.put_budget(ended)
            given_back = BudgetStatus(ended, hold.amounts, parent_of(ended))
            books.put_answer(closed_key(ended.subjects.user, ended.subjects.session), closed_answer(given_back))
        return
    _pass_on(books, hold.path, plus(hold.amounts, negative(used)))
    _count_used(books, hold.path, used)


def _count_used(books: Books, path: Sequence[str], used: Amounts) -> None:
    if used == NOTHING:
        return
    for budget_id in path:
        budget = books.budget(budget_id)
        if budget is not None:
            books.put_budget(replace(budget, used=plus(budget.used, used)))
    # What was used beyond the share of one is not left in those above it either.
    for budget in _open(books, path):
        _change(books, budget, NOTHING)


def _pass_on(books: Books, path: Sequence[str], rest: Amounts) -> None:
    """Give back to the budgets of a path what is left; what was too much (less than nothing) is taken there."""
    for budget, part in covering(_open(books, path), rest):
        _change(books, budget, part)


def _change(books: Books, budget: Budget, amounts: Amounts) -> None:
    """Add to what a budget has left, up to what it has not used, or take from it down to nothing."""
    hold = books.reservation(budget.budget_id)
    if hold is None:
        return
    unused = minus(budget.share.amounts, budget.used)
    wanted = minus(plus(hold.amounts, amounts), NOTHING)
    left = minus(wanted, minus(wanted, unused))
    change = plus(left, negative(hold.amounts))
    if change == NOTHING:
        return
    accounts = books.accounts(hold.subjects)
    accounts.add(hold.admitted_us, held=change)
    books.post(accounts)
    books.put_reservation(replace(hold, amounts=left))


def extended(books: Books, hold: Reservation) -> None:
    """A budget lives as long as its hold."""
    budget = books.budget(hold.reservation_id)
    if budget is not None:
        books.put_budget(replace(budget, expires_us=hold.expires_us))


def status_of(books: Books, budget: Budget) -> BudgetStatus:
    """How a budget stands."""
    hold = books.reservation(budget.budget_id)
    return BudgetStatus(budget, hold.amounts if hold else NOTHING, parent_of(budget))


def parent_of(budget: Budget) -> str:
    """The session that a budget comes from; empty where it comes from the limits."""
    return budget.subjects.ancestors[-1] if budget.subjects.ancestors else ""


def closed_key(user: str, session: str) -> AnswerKey:
    """What the answer to closing a budget is kept under."""
    return "closed", f"{user}\n{session}"
