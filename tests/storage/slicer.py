"""A process that takes slices of one budget as fast as it can: ``slicer URL USER GROUP SEED``. Prints its spending.

It opens a budget of its own from session ``parent``'s, spends most of it, closes it, and stops when the parent cannot
even give 1 token.
"""

import sys
from random import Random

import anyio

from tests.storage.processes import patient_store
from tokenward.engine.budget import Share
from tokenward.engine.limits import Amounts, Subjects
from tokenward.engine.types import SECOND_US
from tokenward.engine.usage import TokenUsage
from tokenward.storage.base import OpenBudget, Record, Reserve, UsageStore

TTL_US = 600 * SECOND_US


async def spend(store: UsageStore, own: Subjects, most: int) -> int:
    """Spend up to ``most`` tokens of a budget and close it."""
    ask = Reserve(subjects=own, amounts=Amounts(most), ttl_us=TTL_US)
    hold = (await store.reserve(ask)).reservation_id
    assert hold, "a budget that was given can be used"
    await store.record(Record(model="m", usage=TokenUsage(most), cost_nano=0, reservation_id=hold))
    assert (await store.close_budget(own.user, own.session)).budget.used.tokens == most
    return most


async def main(url: str, user: str, group: str, random: Random, seed: str) -> int:
    spent, number, size = 0, 0, 40
    async with patient_store(url) as store:
        while size:
            number += 1
            own = Subjects(user, group, f"child{seed}-{number}")
            share = random.randint(1, size)
            request = OpenBudget(subjects=own, share=Share(tokens=share), parent="parent", ttl_us=TTL_US)
            if (await store.open_budget(request)).decision.allowed:
                spent += await spend(store, own, max(1, share - random.randint(0, share // 4)))
            else:
                size //= 2
    return spent


if __name__ == "__main__":
    url, user, group, seed = sys.argv[1:]
    print(anyio.run(main, url, user, group, Random(int(seed)), seed))
