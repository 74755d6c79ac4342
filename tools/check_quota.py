"""``check_quota``: does this work fit under every limit, and hold the amount if asked to."""

from collections.abc import Sequence

from tokenward.engine.limits import Metric, Scope, amount_value
from tokenward.engine.money import usd
from tokenward.engine.quota import LimitStatus, Priority
from tokenward.engine.times import rfc3339
from tokenward.engine.types import JsonObject
from tokenward.engine.windows import Window
from tokenward.requests import QuotaRequest
from tokenward.tools.definition import Result, Tool, ToolContext


class Requested(Result):
    """What the work takes at most; ``cost`` is unknown without a model that has a price."""

    tokens: int
    cost: str | None


class LimitState(Result):
    """One limit. Amounts are tokens or requests as integers, or USD as decimal strings."""

    scope: Scope
    window: Window
    metric: Metric
    limit: int | str
    used: int | str
    reserved: int | str
    remaining: int | str
    resets_at: str | None


class QuotaAnswer(Result):
    """Whether the work may go ahead. A denial is a normal answer."""

    allowed: bool
    user: str
    requested: Requested
    limits: list[LimitState]
    denied_by: str | None = None
    reason: str | None = None
    retry_after_seconds: int | None = None
    reservation_id: str | None = None
    expires_at: str | None = None
    warnings: list[str]


async def check_quota(
    context: ToolContext,
    *,
    user: str | None = None,
    model: str | None = None,
    tokens: int | None = None,
    input_tokens: int | None = None,
    max_output_tokens: int | None = None,
    messages: list[JsonObject] | None = None,
    group: str | None = None,
    session: str | None = None,
    priority: Priority = "normal",
    reserve: bool = False,
    ttl_seconds: int = 600,
    idempotency_key: str | None = None,
) -> QuotaAnswer:
    """Ask the ledger; with ``reserve`` the answer is also a hold."""
    request = QuotaRequest(
        user=user,
        model=model,
        tokens=tokens,
        input_tokens=input_tokens,
        max_output_tokens=max_output_tokens,
        messages=messages,
        group=group,
        session=session,
        priority=priority,
        reserve=reserve,
        ttl_seconds=ttl_seconds,
        idempotency_key=idempotency_key,
    )
    check = await context.service.check_quota(request)
    cost = check.requested.cost_nano
    return QuotaAnswer(
        allowed=check.allowed,
        user=check.user,
        requested=Requested(tokens=check.requested.tokens, cost=None if cost is None else usd(cost)),
        limits=limit_states(check.limits),
        denied_by=check.denied_by,
        reason=check.reason,
        retry_after_seconds=check.retry_after_seconds,
        reservation_id=check.reservation_id,
        expires_at=None if check.expires_us is None else rfc3339(check.expires_us),
        warnings=list(check.warnings),
    )


def limit_states(statuses: Sequence[LimitStatus]) -> list[LimitState]:
    """Limits for a result, in their metric's unit."""
    return [_state(one) for one in statuses]


def _state(one: LimitStatus) -> LimitState:
    def amount(value: int) -> int | str:
        return amount_value(one.limit.metric, value)

    return LimitState(
        scope=one.limit.scope,
        window=one.limit.window,
        metric=one.limit.metric,
        limit=amount(one.limit.limit),
        used=amount(one.used),
        reserved=amount(one.reserved),
        remaining=amount(one.remaining),
        resets_at=None if one.resets_us is None else rfc3339(one.resets_us),
    )


TOOL = Tool(
    run=check_quota,
    description="Does this work fit the limits? reserve=true also holds the amount.",
    result=QuotaAnswer,
    read_only=False,
    idempotent=False,
)
