"""Reserve and settle per second, and how long a call takes: the ledger against one transaction per call."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from bench.load import LIMITS, Budget, Ledger, Throughput, throughput
from bench.one_by_one import postgres_peer, sqlite_peer
from bench.places import MissingError, Place
from bench.timing import compared, in_turns, print_table
from tokenward.storage.factory import is_postgres, open_store, sqlite_path
from tokenward.storage.postgres.database import POOL_SIZE
from tokenward.storage.sqlite import SqliteStore

HOT = ("hot",)
MANY = tuple(f"user-{number}" for number in range(1_000))
WORK = ((64, HOT), (64, MANY), (1, HOT))
HEADING = ("cycles per second", "peer", "tokenward", "ratio", "quartiles", "peer p99", "our p99", "ratio", "quartiles")


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Ledger]:
    async with open_store(url) as store:
        for limit in LIMITS:
            await store.set_limit(limit)
        yield Ledger(store)


@asynccontextmanager
async def single_at(url: str) -> AsyncGenerator[Ledger]:
    """The same ledger on SQLite, each operation in a transaction of its own."""
    async with SqliteStore(sqlite_path(url), max_batch=1) as store:
        for limit in LIMITS:
            await store.set_limit(limit)
        yield Ledger(store)


@asynccontextmanager
async def peer_at(url: str) -> AsyncGenerator[Budget]:
    if is_postgres(url):
        async with postgres_peer(url, (*HOT, *MANY), POOL_SIZE) as pooled:
            yield pooled
        return
    if (path := sqlite_path(url)) is None:
        raise MissingError("a file to measure in")
    async with sqlite_peer(path, (*HOT, *MANY)) as connection:
        yield connection


def row(tasks: int, users: Sequence[str], pairs: Sequence[tuple[Throughput, Throughput]]) -> tuple[str, ...]:
    rate = compared([(ours.rate, peer.rate) for ours, peer in pairs])
    p99 = compared([(ours.p99_seconds, peer.p99_seconds) for ours, peer in pairs])
    who = f"{tasks} task{'s' * (tasks > 1)}, {len(users):,} user{'s' * (len(users) > 1)}"
    rates = (f"{rate.right:,.0f}", f"{rate.left:,.0f}", *rate.ratio_cells)
    return (who, *rates, f"{p99.right * 1e3:.2f} ms", f"{p99.left * 1e3:.2f} ms", *p99.ratio_cells)


async def measure(place: Place, *, quick: bool) -> None:
    """Print the tables of one database."""
    peer_is = "one aiosqlite connection" if place.name == "SQLite" else f"a pool of {POOL_SIZE}"
    title = f"Reserve + settle on {place.name}; peer: {peer_is}, one transaction per call, one counter and nothing else"
    print_table(title, await _rows(place, peer_at, quick=quick))
    if place.name == "SQLite":
        title = "Reserve + settle on SQLite; peer: the same ledger, one transaction per call"
        print_table(title, await _rows(place, single_at, quick=quick))


async def _rows(
    place: Place, peer: Callable[[str], AbstractAsyncContextManager[Budget]], *, quick: bool
) -> list[Sequence[str]]:
    pairs, seconds = (2, 0.3) if quick else (8, 1.5)
    rows: list[Sequence[str]] = [HEADING]
    with place.new() as our_url, place.new() as peer_url:
        async with opened(our_url) as ours, peer(peer_url) as theirs:
            for tasks, users in WORK:

                async def work(budget: Budget, tasks: int = tasks, users: Sequence[str] = users) -> Throughput:
                    return await throughput(budget, tasks, users, seconds)

                measured = await in_turns(partial(work, ours), partial(work, theirs), pairs)
                rows.append(row(tasks, users, measured))
    return rows
