"""Budgets of sessions as callers see them: money as decimal strings, shares of what was given."""

from tokenward.engine.budget import BudgetStatus, Share
from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import Amounts
from tokenward.engine.money import nano, usd
from tokenward.engine.quota import Decision
from tokenward.requests import BudgetAmounts, BudgetAnswer, BudgetRequest
from tokenward.storage.base import OpenBudget


def share(request: BudgetRequest) -> Share:
    """What a request asks for. Raises InvalidInput."""
    return Share(request.tokens, None if request.cost is None else _nano(request.cost), request.requests)


def _nano(cost: str) -> int:
    try:
        return nano(cost)
    except InvalidInput as error:
        raise InvalidInput("cost", str(error).removeprefix(f"{error.field}: ")) from None


def answer(status: BudgetStatus, warnings: tuple[str, ...] = ()) -> BudgetAnswer:
    """How a budget stands."""
    budget = status.budget
    return BudgetAnswer(
        allowed=True,
        user=budget.subjects.user,
        session=budget.subjects.session,
        parent=status.parent or None,
        given=_amounts(budget.share, budget.share.amounts),
        used=_amounts(budget.share, budget.used),
        remaining=_amounts(budget.share, status.remaining),
        expires_us=budget.expires_us,
        budget_id=budget.budget_id,
        ended_us=budget.ended_us,
        warnings=warnings,
    )


def denial(request: OpenBudget, decision: Decision) -> BudgetAnswer:
    """Why a budget was not given."""
    return BudgetAnswer(
        allowed=False,
        user=request.subjects.user,
        session=request.subjects.session,
        parent=request.parent or None,
        given=_amounts(request.share, request.share.amounts),
        denied_by=decision.denied_by.label if decision.denied_by else None,
        reason=decision.reason,
        retry_after_seconds=decision.retry_after_seconds,
        warnings=decision.warnings,
    )


def _amounts(share: Share, amounts: Amounts) -> BudgetAmounts:
    """The amounts of the metrics that a share limits."""
    return BudgetAmounts(
        tokens=None if share.tokens is None else amounts.tokens,
        cost=None if share.cost_nano is None else usd(amounts.cost_nano or 0),
        requests=None if share.requests is None else amounts.requests,
    )
