"""Give a sub-agent a share of a budget, and record what it used in one go."""

import anyio

from tokenward import BudgetRequest, QuotaRequest, RecordRequest, TokenLimit, TokenUsage, Tokenward

LIMITS = [TokenLimit("user:alice", "tokens", "day", 100_000)]


async def main() -> None:
    async with Tokenward.open("memory://", default_user="alice", limits=LIMITS) as service:
        await service.open_budget(BudgetRequest(session="main", tokens=20_000))
        child = await service.open_budget(BudgetRequest(session="search", parent="main", tokens=5_000, cost="0.10"))
        print("child:", child.allowed, child.remaining.tokens, child.remaining.cost)

        calls = [RecordRequest(model="gpt-4o", usage=TokenUsage(1_000, 50), session="search", tier="batch")] * 4
        receipts = await service.record_many(calls)
        print("recorded:", sum(one.recorded for one in receipts))

        more = await service.check_quota(QuotaRequest(model="gpt-4o", tokens=1_000, session="search"))
        print("more:", more.allowed, more.denied_by)

        closed = await service.close_budget("search")
        print("given back:", closed.remaining.tokens, closed.remaining.cost)
        print("main:", (await service.budget("main")).remaining.tokens)


anyio.run(main)
