"""Opening, closing and reading the budgets of sessions, in the books."""

from tokenward.engine import quota
from tokenward.engine.budget import MAX_DEPTH, Budget, BudgetStatus
from tokenward.engine.errors import InvalidInput, UnknownBudget
from tokenward.engine.limits import NOTHING, Subjects, check_name
from tokenward.engine.quota import Decision
from tokenward.engine.types import NewId
from tokenward.storage import ledger
from tokenward.storage.base import OpenBudget, OpenOutcome, Reservation
from tokenward.storage.books import Books
from tokenward.storage.drawing import closed_key, decide, draw, status_of
from tokenward.storage.rows import closed_status


def open_budget(books: Books, request: OpenBudget, new_id: NewId) -> OpenOutcome:
    """Hold a session's share under its parent and give it to the session.

    Raises:
        UnknownBudget: The parent has no open budget.
        InvalidInput: The session has another budget already, is its own ancestor, or stands too deep.
    """
    own = request.subjects
    check_name("session", own.session)
    if (standing := books.open_budget(own.user, own.session)) is not None:
        return _opened_before(books, request, standing)
    parent = books.open_budget(own.user, request.parent) if request.parent else None
    if request.parent and parent is None:
        raise UnknownBudget(request.parent)
    above = parent.subjects if parent else Subjects(own.user, own.group)
    if parent and own.session in (parent.subjects.session, *parent.subjects.ancestors):
        raise InvalidInput("session", "a session cannot draw on itself; give it another name than its parent's.")
    path = parent.path if parent else ()
    if len(path) >= MAX_DEPTH:
        raise InvalidInput("parent", f"at most {MAX_DEPTH} budgets stand one in the other.")
    asked = request.share.amounts
    drawn = draw(books, above, path, asked)
    decision = drawn.refusal or decide(books, drawn, asked, request.priority, request.policy)
    if not decision.allowed:
        return OpenOutcome(decision)
    budget_id = new_id()
    expires_us = books.now_us + request.ttl_us
    ancestors = (*above.ancestors, above.session) if above.session else ()
    budget = Budget(
        budget_id,
        Subjects(own.user, above.group, own.session, ancestors),
        (*path, budget_id),
        request.share,
        NOTHING,
        books.now_us,
        expires_us,
    )
    drawn.accounts.add(books.now_us, held=asked)
    drawn.post(books)
    books.put_reservation(Reservation(budget_id, above, asked, "", books.now_us, expires_us, budget.path))
    books.put_budget(budget)
    return OpenOutcome(quota.with_hold(decision, asked, books.now_us), status_of(books, budget))


def _opened_before(books: Books, request: OpenBudget, standing: Budget) -> OpenOutcome:
    """The same request again gets the same answer; another one is refused."""
    parent = standing.subjects.ancestors[-1] if standing.subjects.ancestors else ""
    if (request.share, request.parent) != (standing.share, parent):
        raise InvalidInput("session", "it has another open budget; close that one first.")
    statuses = ledger.status(books, standing.subjects)
    return OpenOutcome(Decision(True, statuses, warnings=quota.warnings_of(statuses)), status_of(books, standing))


def close(books: Books, user: str, session: str) -> BudgetStatus:
    """End a session's budget and give the rest back. Raises UnknownBudget."""
    budget = books.open_budget(user, session)
    hold = books.reservation(budget.budget_id) if budget else None
    if hold is not None:
        ledger.end(books, hold, "released")
    answer = books.answer(closed_key(user, session))
    if answer is None:
        raise UnknownBudget(session)
    return closed_status(answer)


def read(books: Books, user: str, session: str) -> BudgetStatus:
    """How a session's open budget stands. Raises UnknownBudget."""
    budget = books.open_budget(user, session)
    if budget is None:
        raise UnknownBudget(session)
    return status_of(books, budget)
