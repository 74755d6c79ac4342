"""A process that takes a hold and then hangs until it is killed: ``holder.py URL NOW_US``."""

import sys

import anyio

from tokenward.engine.limits import Amounts, Subjects
from tokenward.engine.types import SECOND_US
from tokenward.storage.base import Reserve
from tokenward.storage.factory import open_store


async def hold(url: str, now_us: int) -> None:
    async with open_store(url, clock=lambda: now_us) as store:
        ask = Reserve(subjects=Subjects("alice"), amounts=Amounts(80), ttl_us=60 * SECOND_US)
        assert (await store.reserve(ask)).reservation_id
        print("holding", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(hold, sys.argv[1], int(sys.argv[2]))
