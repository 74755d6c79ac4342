"""Ask, hold, record and report, on a ledger in memory."""

import anyio

from tokenward import QuotaRequest, RecordRequest, ReportRequest, TokenLimit, TokenUsage, Tokenward, nano, usd

DAY_US = 86_400_000_000
LIMITS = [
    TokenLimit("user:alice", "tokens", "day", 10_000),
    TokenLimit("default", "cost", "month", nano("25.00"), "calendar", "Europe/Berlin"),
]


async def main() -> None:
    async with Tokenward.open("memory://", default_user="alice", limits=LIMITS) as service:
        work = QuotaRequest(model="gpt-4o", input_tokens=6_000, max_output_tokens=1_000, reserve=True)
        check = await service.check_quota(work)
        print("allowed:", check.allowed)
        for status in check.limits:
            print(" ", status.limit.label, status.used, status.reserved, status.remaining)

        again = await service.check_quota(work)
        print("again:", again.allowed, again.reason)

        # ... call the model here, then record what it reported.
        receipt = await service.record_usage(
            RecordRequest(model="gpt-4o", usage=TokenUsage(6_000, 400), reservation_id=check.reservation_id)
        )
        print("recorded:", receipt.user, usd(receipt.cost_nano or 0), "overage:", receipt.overage)

        now_us = service.clock()
        report = await service.usage_report(ReportRequest(now_us - DAY_US, now_us + 1, group_by="model"))
        for row in report.rows:
            print("used:", row.key, row.requests, row.total_tokens, usd(row.cost_nano))


anyio.run(main)
