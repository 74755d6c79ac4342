"""What a long history costs: a check of the quota and a week's report, with millions of events in the ledger.

The database itself makes the events: those of one heavy user and those of 1,000 others, spread evenly over the 30
days before now. The heavy user uses five models, each of the others one. The rollups are filled from the events.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Final

from bench.load import HELD_NANO, HELD_TOKENS, LIMITS, MODEL, TTL_US
from bench.places import Place
from bench.raw import EVENT_COLUMNS, EVENT_REST, Raw, raw_at
from bench.timing import compared, in_turns, print_table
from tokenward.engine.limits import Amounts, Subjects
from tokenward.engine.reports.report import ReportRequest
from tokenward.engine.types import DAY_US, system_clock
from tokenward.engine.usage import UsageQuery, UsageSum
from tokenward.service import Tokenward
from tokenward.storage.base import Reserve, UsageStore
from tokenward.storage.factory import open_store

HEAVY = "heavy"
FEW = 1_000
SPAN_US = 30 * DAY_US
CALLS = 100

SERIES_SQLITE: Final = "WITH RECURSIVE one (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM one WHERE i + 1 < ?)"
SERIES_POSTGRES: Final = "WITH one (i) AS (SELECT generate_series(0, CAST(? AS bigint) - 1))"
NEW_EVENTS: Final = "INSERT INTO token_usage (" + EVENT_COLUMNS + ") "
EVENTS: Final = (
    """
    SELECT
        '00000000-0000-4000-8000-' || (100000000000 + i),
        CAST(? AS bigint) + i * CAST(? AS bigint), CAST(? AS bigint) + i * CAST(? AS bigint),
        CASE WHEN i % ? = 0 THEN 'user-' || (i / ? % 1000) ELSE 'heavy' END, 'model-' || (i % 5),
        1000 + i % 500, 100 + i % 300, i % 700, 1100 + i % 500 + i % 300, 2000000 + i % 1000000,
    """
    + EVENT_REST
    + " FROM one"
)
BY_USER: Final = """
    INSERT INTO usage_hourly (
        quarter_hour, user_id, group_id, model, api_endpoint, requests, input_tokens, output_tokens, cached_tokens,
        cache_write_tokens, reasoning_tokens, cost_usd, cost_nano, unpriced_requests
    )
    SELECT
        timestamp / 900000000, user_id, group_id, model, api_endpoint, count(*), sum(input_tokens), sum(output_tokens),
        sum(cached_tokens), 0, 0, sum(cost_nano / 1000000000), sum(cost_nano % 1000000000), 0
    FROM token_usage GROUP BY 1, 2, 3, 4, 5
"""
# Every shard has its part, as after many servers: the most lines that there can be.
OF_ALL: Final = """
    INSERT INTO usage_hourly_all (
        quarter_hour, group_id, model, api_endpoint, shard, requests, input_tokens, output_tokens, cached_tokens,
        cache_write_tokens, reasoning_tokens, cost_usd, cost_nano, unpriced_requests
    )
    SELECT
        timestamp / 900000000, group_id, model, api_endpoint, timestamp / 1000 % 16, count(*), sum(input_tokens),
        sum(output_tokens), sum(cached_tokens), 0, 0, sum(cost_nano / 1000000000), sum(cost_nano % 1000000000), 0
    FROM token_usage GROUP BY 1, 2, 3, 4, 5
"""
REPORT: Final = """
    SELECT
        model, count(*), sum(input_tokens), sum(output_tokens), sum(cached_tokens),
        sum(cache_write_tokens + cache_write_1h_tokens), sum(reasoning_tokens), sum(cost_nano),
        count(*) - count(cost_nano)
    FROM token_usage WHERE timestamp >= ? AND timestamp < ? GROUP BY model ORDER BY model
"""


@dataclass(frozen=True, slots=True)
class History:
    """How many events there are of the heavy user, and of the others together (at most as many)."""

    heavy: int
    others: int

    @property
    def events(self) -> int:
        """All of them."""
        return self.heavy + self.others


async def fill(raw: Raw, place: Place, history: History) -> None:
    """Make the events and their rollup."""
    series = SERIES_SQLITE if place.name == "SQLite" else SERIES_POSTGRES
    start_us, step_us = system_clock() - SPAN_US, SPAN_US // history.events
    every = history.events // history.others
    values = (history.events, start_us, step_us, start_us, step_us, every, every)
    await raw.commit_one(NEW_EVENTS + series + EVENTS, values)
    await raw.run(BY_USER, OF_ALL, "ANALYZE")
    # What was written must not be carried to its place while others measure.
    await raw.rows("PRAGMA wal_checkpoint(TRUNCATE)" if place.name == "SQLite" else "SELECT 1")


@asynccontextmanager
async def ledger_of(place: Place, history: History) -> AsyncGenerator[tuple[UsageStore, Raw, str]]:
    """A store with a history, a connection beside it, and its URL."""
    with place.new() as url:
        async with open_store(url) as store:
            for limit in LIMITS:
                await store.set_limit(limit)
        async with raw_at(url) as raw:
            await fill(raw, place, history)
            async with open_store(url) as store:
                yield store, raw, url


async def check(store: UsageStore, ttl_us: int | None) -> str | None:
    """What `check_quota` asks of the store, with or without a hold."""
    amounts = Amounts(HELD_TOKENS, HELD_NANO)
    outcome = await store.reserve(Reserve(subjects=Subjects(HEAVY), amounts=amounts, model=MODEL, ttl_us=ttl_us))
    if not outcome.decision.allowed:
        raise RuntimeError(f"refused: {outcome.decision.reason}")
    return outcome.reservation_id


async def seconds_per_check(store: UsageStore, ttl_us: int | None, calls: int = CALLS) -> float:
    """The median of some checks; what they hold is given back after."""
    seconds: list[float] = []
    holds: list[str] = []
    for _ in range(calls):
        start = time.perf_counter()
        hold = await check(store, ttl_us)
        seconds.append(time.perf_counter() - start)
        holds += [hold] if hold else []
    for hold in holds:
        await store.release(hold)
    return median(seconds)


async def print_checks(place: Place, few: UsageStore, many: UsageStore, heavy: int, pairs: int) -> None:
    """The table of the checks. The first one reads the day's events: no counter was kept for them."""
    start = time.perf_counter()
    await seconds_per_check(many, TTL_US, calls=1)
    first = time.perf_counter() - start
    await seconds_per_check(few, TTL_US, calls=1)
    rows: list[Sequence[str]] = [
        ("one call", f"{FEW:,} events", f"{heavy:,} events", "ratio", "quartiles"),
    ]
    for name, ttl_us in (("check", None), ("check and hold", TTL_US)):
        measured = await in_turns(
            partial(seconds_per_check, many, ttl_us), partial(seconds_per_check, few, ttl_us), pairs
        )
        time_of = compared(measured)
        rows.append((name, f"{time_of.right * 1e6:,.0f} µs", f"{time_of.left * 1e6:,.0f} µs", *time_of.ratio_cells))
    print_table(f"Checking the quota on {place.name}, by the events behind the user", rows)
    print(f"  first check of a user whose counters were never kept (a day's events are read once): {first:.2f} s")


def sums(rows: Sequence[tuple[object, ...]]) -> list[tuple[int | str, ...]]:
    return [tuple(value if isinstance(value, str) else int(str(value)) for value in row) for row in rows]


def fields(one: UsageSum) -> tuple[int | str, ...]:
    return (
        one.key, one.requests, one.input_tokens, one.output_tokens, one.cached_tokens, one.cache_write_tokens,
        one.reasoning_tokens, one.cost_nano, one.unpriced_requests,
    )  # fmt: skip


async def print_report(place: Place, service: Tokenward, raw: Raw, history: History, pairs: int) -> None:
    """The table of the report over the last seven days by model, whose ends fall anywhere in an hour.

    One sum alone, and the whole report of the service with its top users, hours, cache savings and anomalies.
    """
    store = await service.ledger()
    until_us = system_clock()
    since_us = until_us - 7 * DAY_US

    async def ours() -> float:
        start = time.perf_counter()
        await store.usage(UsageQuery(since_us, until_us, "model"))
        return time.perf_counter() - start

    async def whole() -> float:
        start = time.perf_counter()
        await service.usage_report(ReportRequest(since_us, until_us, "model"))
        return time.perf_counter() - start

    async def on_events() -> float:
        start = time.perf_counter()
        await raw.rows(REPORT, (since_us, until_us))
        return time.perf_counter() - start

    said = [fields(one) for one in await store.usage(UsageQuery(since_us, until_us, "model"))]
    if said != (true := sums(await raw.rows(REPORT, (since_us, until_us)))):
        raise RuntimeError(f"the report says {said}, the events {true}")
    lines = sums(await raw.rows("SELECT count(*) FROM usage_hourly_all"))[0][0]
    await whole()  # reads the prices
    one, all_of_it = [compared(await in_turns(left, on_events, pairs)) for left in (ours, whole)]
    print_table(
        f"Seven days by model on {place.name}: {history.events:,} events, {lines:,} lines of the rollup",
        [
            ("one report", "raw events", "tokenward", "ratio", "quartiles"),
            *(
                (name, f"{of.right * 1e3:,.0f} ms", f"{of.left * 1e3:,.1f} ms", *of.ratio_cells)
                for name, of in (("sums", one), ("whole report", all_of_it))
            ),
        ],
    )


async def measure(place: Place, *, history: History, quick: bool) -> None:
    """Print both tables of one database."""
    async with AsyncExitStack() as stack:
        start = time.perf_counter()
        many, raw, url = await stack.enter_async_context(ledger_of(place, history))
        seconds = time.perf_counter() - start
        print(f"\n{place.name}: {history.events:,} events made in {seconds:.0f} s", flush=True)
        few, _, _ = await stack.enter_async_context(ledger_of(place, History(FEW, FEW // 10)))
        await print_checks(place, few, many, history.heavy, 3 if quick else 10)
        service = await stack.enter_async_context(Tokenward.open(url))
        await print_report(place, service, raw, history, 2 if quick else 4)
