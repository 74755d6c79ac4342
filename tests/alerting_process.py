"""A process that uses up a limit and tells hooks of it: ``alerting_process.py URL FILE``. The hook appends to FILE."""

import sys

import anyio

from tokenward import QuotaRequest, RecordRequest, TokenLimit, TokenUsage, Tokenward
from tokenward.hooks import AlertHook

LIMIT = TokenLimit("global", "tokens", "month", 1_000, "calendar")
# In the middle of a month: at its end there would be two of them.
NOW_US = 1_795_262_400_000_000
# As long as a hook may take, on a machine that is busy.
WAIT_SECONDS = 60.0


async def use_up(url: str, file: str) -> None:
    hook = AlertHook(command=("/bin/sh", "-c", 'cat >> "$0"', file), timeout_seconds=WAIT_SECONDS)
    async with Tokenward.open(
        url, default_user="alice", limits=[LIMIT], alerts=[hook], alert_grace_seconds=WAIT_SECONDS, clock=lambda: NOW_US
    ) as service:
        for _ in range(30):
            await service.check_quota(QuotaRequest(tokens=50, reserve=True, ttl_seconds=60))
            await service.record_usage(RecordRequest(model="gpt-4o", usage=TokenUsage(50, 0)))


if __name__ == "__main__":
    anyio.run(use_up, sys.argv[1], sys.argv[2])
