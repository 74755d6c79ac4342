"""Recording many events at once against committing the same event rows one by one, through the same driver."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import uuid4

from bench.load import COST_NANO, LIMITS, MODEL, USAGE
from bench.places import Place
from bench.raw import EVENT_COLUMNS, EVENT_REST, Raw, raw_at
from bench.timing import compared, in_turns, print_table
from tokenward.engine.types import system_clock
from tokenward.storage.base import Record, UsageStore
from tokenward.storage.factory import open_store

SIZES = (500, 20_000)
SINGLES = 500
USERS = 1_000
NEW_EVENT: Final = (
    "INSERT INTO token_usage (" + EVENT_COLUMNS + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, " + EVENT_REST + ")"
)


def records(events: int) -> list[Record]:
    """Events with idempotency keys, of many users."""
    return [
        Record(
            model=MODEL,
            usage=USAGE,
            cost_nano=COST_NANO,
            price_source="bench",
            user=f"user-{number % USERS}",
            key=uuid4().hex,
        )
        for number in range(events)
    ]


async def seconds_in_bulk(store: UsageStore, events: int) -> float:
    """Per event, through the ledger."""
    batch = records(events)
    start = time.perf_counter()
    await store.record_many(batch)
    return (time.perf_counter() - start) / events


async def seconds_one_by_one(raw: Raw, events: int) -> float:
    """Per event, INSERT and COMMIT each, into a table with the ledger's columns and indexes and nothing else."""
    start = time.perf_counter()
    for number in range(events):
        now_us = system_clock()
        await raw.commit_one(
            NEW_EVENT,
            (
                uuid4().hex, now_us, now_us, f"user-{number % USERS}", MODEL, USAGE.input_tokens, USAGE.output_tokens,
                0, USAGE.total_tokens, COST_NANO,
            ),
        )  # fmt: skip
    return (time.perf_counter() - start) / events


async def seconds_singly(store: UsageStore, events: int) -> float:
    """Per event, through the ledger, each awaited before the next."""
    batch = records(events)
    start = time.perf_counter()
    for one in batch:
        await store.record(one)
    return (time.perf_counter() - start) / events


async def measure(place: Place, *, quick: bool) -> None:
    """Print the tables of one database."""
    sizes, pairs = ((100, 2_000), 2) if quick else (SIZES, 6)
    with place.new() as our_url, place.new() as peer_url:
        async with open_store(peer_url):
            pass
        async with open_store(our_url) as store, raw_at(peer_url) as raw:
            for limit in LIMITS:
                await store.set_limit(limit)
            peers = {
                "`record`, one commit each": partial(seconds_singly, store),
                "INSERT of the row and nothing else, one commit each": partial(seconds_one_by_one, raw),
            }
            for name, peer in peers.items():
                rows: list[Sequence[str]] = [
                    ("events at once", "singly, per s", "at once, per s", "ratio", "quartiles")
                ]
                for size in sizes:
                    measured = await in_turns(
                        partial(seconds_in_bulk, store, size), partial(peer, min(size, SINGLES)), pairs
                    )
                    rate = compared([(1 / ours, 1 / single) for ours, single in measured])
                    rows.append((f"{size:,}", f"{rate.right:,.0f}", f"{rate.left:,.0f}", *rate.ratio_cells))
                print_table(f"record_many on {place.name}; peer: {name}", rows)
