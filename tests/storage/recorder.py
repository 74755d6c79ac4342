"""A process that spends under load until it is done or killed: ``recorder URL TASKS EACH``.

Task t's piece of work n has the key ``t-n``, so that a later process can do the same work again. Odd tasks hold first
and settle the hold. A line ``KEY EVENT_ID`` is printed once the event was acknowledged. The last piece of each task
waits for the end of the input, so that who is to be killed cannot be done before.
"""

import sys

import anyio
import anyio.to_thread

from tests.storage.processes import patient_store
from tokenward.engine.limits import Amounts, Subjects
from tokenward.engine.types import HOUR_US
from tokenward.engine.usage import TokenUsage
from tokenward.storage.base import Record, Reserve, UsageStore


async def work(store: UsageStore, task: int, each: int, may_end: anyio.Event) -> None:
    """Spend 1 token at a time, each with its own key."""
    for number in range(each):
        if number == each - 1:
            await may_end.wait()
        key, reservation_id = f"{task}-{number}", ""
        if task % 2:
            subjects = Subjects(f"user{task % 4}", "team")
            outcome = await store.reserve(Reserve(subjects=subjects, amounts=Amounts(2), ttl_us=HOUR_US, key=key))
            assert outcome.reservation_id
            reservation_id = outcome.reservation_id
        usage = TokenUsage(1)
        recorded = await store.record(
            Record(
                user=f"user{task % 4}",
                group="team",
                model="m",
                usage=usage,
                cost_nano=1,
                key=key,
                reservation_id=reservation_id,
            )
        )
        print(key, recorded.event_id, flush=True)


async def main(url: str, tasks: int, each: int) -> None:
    may_end = anyio.Event()
    async with patient_store(url) as store, anyio.create_task_group() as group:
        for task in range(tasks):
            group.start_soon(work, store, task, each, may_end)
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        may_end.set()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
