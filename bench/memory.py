"""The memory of a process that records a million events, in a process of its own: after a tenth of them, and after all.

Of each batch, 19 of 20 events go through ``record_many`` and the rest one by one, from many tasks at once.
"""

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.bulk import records
from bench.load import LIMITS
from bench.places import Place
from bench.timing import print_table
from tokenward.storage.base import Record, UsageStore
from tokenward.storage.factory import open_store

BATCH = 10_000
SINGLES = BATCH // 20
TASKS = 64


def resident_bytes() -> int:
    """What the process holds in memory now, as Linux says it."""
    gc.collect()
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "VmRSS":
            return int(value.split()[0]) * 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


async def record_each(store: UsageStore, waiting: Iterator[Record]) -> None:
    for one in waiting:
        await store.record(one)


async def record_batch(store: UsageStore) -> None:
    batch = records(BATCH)
    await store.record_many(batch[SINGLES:])
    waiting = iter(batch[:SINGLES])
    await asyncio.gather(*(record_each(store, waiting) for _ in range(TASKS)))


async def resident_after(url: str, steps: Sequence[int]) -> list[int]:
    """Resident bytes when each of these numbers of events has been recorded."""
    found: list[int] = []
    done = 0
    async with open_store(url) as store:
        for limit in LIMITS:
            await store.set_limit(limit)
        for step in steps:
            while done < step:
                await record_batch(store)
                done += BATCH
            found.append(resident_bytes())
    return found


def measure(place: Place, *, quick: bool) -> None:
    """Print the table of one database."""
    steps = (20_000, 60_000) if quick else (100_000, 1_000_000)
    start = time.perf_counter()
    with place.new() as url:
        command = [sys.executable, "-m", "bench.memory", url, *map(str, steps)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    early, late = (int(number) for number in found)
    print_table(
        f"Memory of a process that records on {place.name} ({time.perf_counter() - start:.0f} s)",
        [
            ("resident", *(f"{step:,} events" for step in steps), "ratio"),
            ("record_many and record", f"{early / 2**20:.1f} MiB", f"{late / 2**20:.1f} MiB", f"{late / early:.3f}"),
        ],
    )


if __name__ == "__main__":
    json.dump(asyncio.run(resident_after(sys.argv[1], [int(each) for each in sys.argv[2:]])), sys.stdout)
