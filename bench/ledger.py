"""What a durable write of the ledger costs, against the least SQLite can do on the same disk.

A write is one `check_quota` that reserves, or one `record_usage` that settles it; both are on disk before they answer.
The floor is one INSERT and one COMMIT, in the same mode (WAL, synchronous FULL). The last row shows what many tasks at
once gain or lose.
"""

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

from bench.timing import Comparison, compare, print_table
from tokenward import QuotaRequest, RecordRequest, TokenLimit, TokenUsage, Tokenward

MODEL = "gpt-4o"
USERS = 100
TASKS = 64
WRITES = 512
LIMITS = (
    TokenLimit("default", "tokens", "minute", 10**12),
    TokenLimit("default", "cost", "day", 10**15),
    TokenLimit("global", "tokens", "day", 10**15),
)


async def reserve_and_settle(service: Tokenward, user: str) -> None:
    check = await service.check_quota(
        QuotaRequest(user=user, model=MODEL, input_tokens=1_000, max_output_tokens=500, reserve=True)
    )
    if check.reservation_id is None:
        raise RuntimeError(f"not reserved: {check.reason}")
    await service.record_usage(
        RecordRequest(
            user=user,
            model=MODEL,
            usage=TokenUsage(input_tokens=1_000, output_tokens=400),
            reservation_id=check.reservation_id,
        )
    )


async def seconds_per_write(url: str, tasks: int) -> float:
    async with Tokenward.open(url, limits=LIMITS) as service:
        await reserve_and_settle(service, "warm-up")

        async def work(task: int) -> None:
            for step in range(WRITES // 2 // tasks):
                await reserve_and_settle(service, f"user-{(task + step * tasks) % USERS}")

        start = time.perf_counter()
        await asyncio.gather(*(work(task) for task in range(tasks)))
        return (time.perf_counter() - start) / WRITES


def seconds_per_commit(path: Path) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE event (id INTEGER PRIMARY KEY, user TEXT, tokens INTEGER)")
        start = time.perf_counter()
        for number in range(WRITES):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO event (user, tokens) VALUES (?, ?)", (f"user-{number % USERS}", 1_400))
            connection.execute("COMMIT")
        return (time.perf_counter() - start) / WRITES
    finally:
        connection.close()


def measured(folder: Path, tasks: int, pairs: int) -> Comparison:
    numbers = count()
    return compare(
        lambda: asyncio.run(seconds_per_write(f"sqlite:///{folder}/ledger-{tasks}-{next(numbers)}.db", tasks)),
        lambda: seconds_per_commit(folder / f"floor-{tasks}-{next(numbers)}.db"),
        pairs=pairs,
    )


def row(name: str, seconds: float, ratio: float) -> tuple[str, ...]:
    return (name, f"{1 / seconds:,.0f}", f"{seconds * 1e6:,.0f} µs", f"{ratio:.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        alone = measured(Path(folder), 1, options.pairs)
        shared = measured(Path(folder), TASKS, options.pairs)
    print_table(
        "Durable writes (reserve or settle) on SQLite",
        [
            ("one write", "per second", "time", "ratio"),
            row("INSERT + COMMIT", alone.floor, 1),
            row("tokenward, 1 task", alone.ours, alone.ratio),
            row(f"tokenward, {TASKS} tasks", shared.ours, shared.ratio),
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
