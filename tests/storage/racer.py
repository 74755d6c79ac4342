"""A process that spends from one limit as fast as it can: ``racer URL USER GROUP SEED``. Prints its spending.

It reserves up to 13 tokens at a time, settles most holds with a little less, releases some, and stops when even 1
token is refused.
"""

import sys
from random import Random

import anyio

from tests.storage.processes import patient_store
from tokenward.engine.limits import Amounts, Subjects
from tokenward.engine.types import SECOND_US
from tokenward.engine.usage import TokenUsage
from tokenward.storage.base import Record, Reserve


async def spend(url: str, subjects: Subjects, random: Random) -> int:
    admitted = 0
    async with patient_store(url) as store:
        size = 13
        while size:
            amounts = Amounts(random.randint(1, size))
            outcome = await store.reserve(Reserve(subjects=subjects, amounts=amounts, ttl_us=60 * SECOND_US))
            if outcome.reservation_id is None:
                size //= 2
            elif random.random() < 0.1:
                await store.release(outcome.reservation_id)
            else:
                used = amounts.tokens - random.randint(0, amounts.tokens // 4)
                await store.record(
                    Record(
                        model="m",
                        usage=TokenUsage(used, 0),
                        cost_nano=0,
                        reservation_id=outcome.reservation_id,
                    )
                )
                admitted += used
    return admitted


if __name__ == "__main__":
    url, user, group, seed = sys.argv[1:]
    print(anyio.run(spend, url, Subjects(user, group), Random(int(seed))))
