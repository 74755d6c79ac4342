"""A process that fills a small disk with a ledger on it, and frees it again: ``filler.py FOLDER``.

It prints facts as JSON. Whoever starts it mounts the disk, in a namespace that goes with this process.
"""

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import anyio

from tests.conftest import events_of
from tokenward.engine.errors import StoreUnavailable
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.types import HOUR_US
from tokenward.engine.usage import TokenUsage
from tokenward.storage.base import Record, Reserve
from tokenward.storage.group_commit import Patience
from tokenward.storage.sqlite import SqliteStore

FREED = 2 * 1024 * 1024
ALICE = Subjects("alice")


def record(number: int) -> Record:
    return Record(user="alice", model="m" * 150, usage=TokenUsage(1), cost_nano=0, key=f"k{number}")


async def fill(store: SqliteStore, acknowledged: list[str]) -> str:
    """Record until the disk is full; what is said then."""
    while True:
        try:
            acknowledged.append((await store.record(record(len(acknowledged)))).event_id)
        except StoreUnavailable as error:
            return str(error)


async def hold(store: SqliteStore) -> tuple[int, str]:
    """Hold until there is no room for that either, which takes less than an event; how many, and what is said then."""
    held = 0
    while True:
        try:
            await store.reserve(Reserve(subjects=ALICE, amounts=Amounts(1), ttl_us=HOUR_US))
        except StoreUnavailable as error:
            return held, str(error)
        held += 1


async def main(folder: Path) -> dict[str, object]:
    path, ballast = folder / "ledger.db", folder / "ballast"
    ballast.write_bytes(b"x" * FREED)
    acknowledged: list[str] = []
    said: list[str] = []
    async with SqliteStore(path, patience=Patience(0, 0)) as store:
        await store.set_limit(TokenLimit("user:alice", "tokens", "day", 1_000_000))
        said += [await fill(store, acknowledged) for _ in range(3)]
        full = len(acknowledged)
        held, refusal = await hold(store)
        said.append(refusal)
        readable = len(await events_of(store))
        ballast.unlink()
        for _ in range(20):
            acknowledged.append((await store.record(record(len(acknowledged)))).event_id)
        (row,) = await store.status(ALICE)
    async with SqliteStore(path) as store:
        found = [event.event_id for event in await events_of(store)]
        again = await store.record(record(0))
    with closing(sqlite3.connect(path)) as connection:
        ((integrity,),) = connection.execute("PRAGMA integrity_check").fetchall()
    return {
        "said": said,
        "full": full,
        "readable": readable,
        "lost": sorted(set(acknowledged) - set(found)),
        "events": len(found),
        "acknowledged": len(acknowledged),
        "used": row.used,
        "held": held,
        "reserved": row.reserved,
        "first_again": again.duplicate,
        "integrity": integrity,
    }


if __name__ == "__main__":
    print(json.dumps(anyio.run(main, Path(sys.argv[1]))))
