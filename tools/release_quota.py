"""``release_quota``: give an unused hold back."""

from tokenward.engine.money import usd
from tokenward.tools.definition import Result, Tool, ToolContext


class Released(Result):
    """What was given back; ``reason`` says why nothing was."""

    released: bool
    tokens: int
    cost: str | None
    reason: str | None = None


async def release_quota(context: ToolContext, reservation_id: str) -> Released:
    """End a hold that ``check_quota`` took."""
    owner = context.principal.owner if context.principal else None
    release = await context.service.release_quota(reservation_id, owner)
    cost = release.cost_nano
    return Released(
        released=release.released,
        tokens=release.tokens,
        cost=None if cost is None else usd(cost),
        reason=release.reason,
    )


TOOL = Tool(
    run=release_quota,
    description="Give back a reservation that was not used.",
    result=Released,
    read_only=False,
    idempotent=True,
)
