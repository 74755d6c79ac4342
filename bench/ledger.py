"""The ledger's speed and exactness, as ratios against peers on the same work, measured in turns in one run.

Parts: ``sqlite`` and ``postgres`` (reserve and settle per second), ``events`` (checks and reports with millions of
them), ``bulk`` (recording many events), ``budgets`` (who stays under a limit), ``memory`` (of a process that records
a million events). Work is measured at the store: pricing and counting tokens are not in it.
"""

import argparse
import asyncio
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench import budgets, bulk, many_events, memory, places, throughput
from bench.many_events import History
from bench.places import MissingError, Place

PARTS = ("sqlite", "postgres", "events", "bulk", "budgets", "memory")
BYTES_PER_EVENT = 1_200
"""Of both databases, with indexes, rollup and Postgres' log; a generous estimate."""


def ledgers(stack: ExitStack) -> list[Place]:
    """SQLite, and Postgres if it is there."""
    found = [stack.enter_context(places.sqlite())]
    try:
        found.append(stack.enter_context(places.postgres()))
    except MissingError as error:
        print(f"\nnot measured: {error}")
    return found


def refuse_if_small(events: int) -> None:
    """The made history must fit on the disk."""
    free, needed = shutil.disk_usage(tempfile.gettempdir()).free, events * BYTES_PER_EVENT
    if free < needed:
        raise MissingError(
            f"events: {needed / 1e9:.0f} GB are needed in {tempfile.gettempdir()}, {free / 1e9:.0f} GB are free; "
            "give a smaller --events"
        )


def part(name: str, everywhere: Sequence[Place], past: History, *, quick: bool) -> None:
    """Measure one part and print its tables."""
    if name == "budgets":
        budgets.measure(everywhere, quick=quick)
        return
    if name == "events":
        refuse_if_small(past.events)
    for place in everywhere:
        if name in ("sqlite", "postgres"):
            if place.name.lower() == name:
                asyncio.run(throughput.measure(place, quick=quick))
        elif name == "events":
            asyncio.run(many_events.measure(place, history=past, quick=quick))
        elif name == "bulk":
            asyncio.run(bulk.measure(place, quick=quick))
        else:
            memory.measure(place, quick=quick)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part; may be repeated")
    parser.add_argument("--events", type=int, help="of the user whose history is checked (10,000,000)")
    parser.add_argument("--quick", action="store_true", help="a smoke run: few repetitions, 100,000 events")
    parser.add_argument("--others", type=int, help="events of the other users together (a tenth of that)")
    options = parser.parse_args()
    heavy: int = options.events or (100_000 if options.quick else 10_000_000)
    past = History(heavy, options.others or heavy // 10)
    print(
        f"{time.strftime('%Y-%m-%d %H:%M')}, {platform.system()}, {os.cpu_count()} CPUs, "
        f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{past.heavy:,} + {past.others:,} events of history"
    )
    print("Medians; the ratio is the median of the ratios pair by pair, with its quartiles.")
    with ExitStack() as stack:
        everywhere = ledgers(stack)
        for name in options.only or PARTS:
            try:
                part(name, everywhere, past, quick=options.quick)
            except MissingError as error:
                print(f"\nnot measured: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
