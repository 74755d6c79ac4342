"""Who stays under a limit: 64 tasks share one budget of tokens and work until they are refused.

Each asks for the most that its work can take, makes a simulated call of a model, and books what was really used. What
all of them used, against the limit, is the answer; calls per second are its price.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Protocol

import aiosqlite

from bench.load import HELD_TOKENS, LIMITS, USAGE, Budget, Ledger
from bench.peers import LITELLM, offline, run
from bench.places import MissingError, Place
from bench.redis_server import private_redis
from bench.timing import print_table
from tokenward.engine.limits import TokenLimit
from tokenward.storage.factory import open_store, sqlite_path

TASKS = 64
CALL_SECONDS = 0.005
SIZES = (100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Round:
    """Calls that were let through until everybody was refused, and how long that took."""

    calls: int
    seconds: float

    @property
    def tokens(self) -> int:
        """What the calls used."""
        return self.calls * USAGE.total_tokens


async def compete(budget: Budget, user: str) -> Round:
    """Let all tasks use the user's budget up."""
    calls = 0

    async def work() -> None:
        nonlocal calls
        while hold := await budget.reserve(user):
            await asyncio.sleep(CALL_SECONDS)
            await budget.settle(hold)
            calls += 1

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(TASKS)))
    return Round(calls, time.perf_counter() - start)


@asynccontextmanager
async def ledger(url: str, limit: int) -> AsyncGenerator[Ledger]:
    """Ours: a default limit of tokens per day, and two others that never bind."""
    async with open_store(url) as store:
        for one in (TokenLimit("default", "tokens", "day", limit), *LIMITS[1:]):
            await store.set_limit(one)
        yield Ledger(store)


@dataclass(frozen=True, slots=True)
class Naive:
    """Sum the events, compare, and insert the event when the call is done."""

    connection: aiosqlite.Connection
    limit: int

    async def reserve(self, user: str) -> str:
        """Compare the sum so far."""
        query = "SELECT coalesce(sum(tokens), 0) FROM event WHERE user_id = ?"
        ((used,),) = await self.connection.execute_fetchall(query, (user,))
        return user if used + HELD_TOKENS <= self.limit else ""

    async def settle(self, reservation_id: str) -> None:
        """Write the event."""
        await self.connection.execute("INSERT INTO event VALUES (?, ?)", (reservation_id, USAGE.total_tokens))


@asynccontextmanager
async def naive(path: Path, limit: int) -> AsyncGenerator[Naive]:
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        await connection.execute_fetchall("PRAGMA journal_mode=WAL")
        await connection.execute("PRAGMA synchronous=FULL")
        await connection.execute("CREATE TABLE event (user_id TEXT NOT NULL, tokens INTEGER NOT NULL)")
        await connection.execute("CREATE INDEX event_user ON event (user_id)")
        yield Naive(connection, limit)


class Window(Protocol):
    """What is used of ``limits``: a strategy, here the moving window."""

    async def hit(self, item: object, *identifiers: str, cost: int) -> bool:
        """Take ``cost`` if it fits."""
        ...

    async def test(self, item: object, *identifiers: str, cost: int) -> bool:
        """Whether ``cost`` fits."""
        ...


@dataclass(frozen=True, slots=True)
class ChargedFirst:
    """``limits``: the most that the work can take is charged, for there is no way to give the rest back."""

    window: Window
    item: object

    async def reserve(self, user: str) -> str:
        """Charge the upper bound."""
        return user if await self.window.hit(self.item, user, cost=HELD_TOKENS) else ""

    async def settle(self, reservation_id: str) -> None:
        """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class ChargedAfter:
    """``limits``: tested before the call, charged with what was really used after it."""

    window: Window
    item: object

    async def reserve(self, user: str) -> str:
        """Test the upper bound."""
        return user if await self.window.test(self.item, user, cost=HELD_TOKENS) else ""

    async def settle(self, reservation_id: str) -> None:
        """Charge the usage; above the limit nothing is charged."""
        await self.window.hit(self.item, reservation_id, cost=USAGE.total_tokens)


def moving_window(url: str, limit: int, **options: str) -> tuple[Window, object]:
    """A strategy of ``limits`` and the limit per day. It is imported here: only this part needs it."""
    try:
        limits = import_module("limits")
        window: Window = import_module("limits.aio.strategies").MovingWindowRateLimiter(
            limits.storage.storage_from_string(url, **options)
        )
    except ImportError as error:
        raise MissingError(f"{error}; pip install --group bench") from error
    return window, limits.RateLimitItemPerDay(limit)


async def contestants(
    stack: AsyncExitStack, places: Sequence[Place], redis_url: str | None, limit: int
) -> list[tuple[str, Budget]]:
    """Everybody who can be driven from here, each with a budget of ``limit`` tokens a day for every user."""
    enter = stack.enter_async_context
    found: list[tuple[str, Budget]] = [("tokenward, memory", await enter(ledger("memory://", limit)))]
    for place in places:
        url = stack.enter_context(place.new())
        found.append((f"tokenward, {place.name}", await enter(ledger(url, limit))))
        if path := sqlite_path(stack.enter_context(place.new())) if place.name == "SQLite" else None:
            found.append(("sum, compare, insert; SQLite", await enter(naive(path, limit))))
    found.append(("limits, memory: hit before", ChargedFirst(*moving_window("async+memory://", limit))))
    if redis_url:
        redis = moving_window(redis_url, limit, implementation="redispy")
        found.append(("limits, Redis: hit before", ChargedFirst(*redis)))
        found.append(("limits, Redis: test, hit after", ChargedAfter(*redis)))
    return found


def cells(rounds: Sequence[Round], limit: int) -> tuple[str, str, str]:
    """The most that was used, against the limit; calls per second."""
    most = max(one.tokens for one in rounds)
    rate = median(one.calls / one.seconds for one in rounds)
    return f"{most:,}", f"{most / limit:.2f}", f"{rate:,.0f}"


async def contest(places: Sequence[Place], redis_url: str | None, limit: int, rounds: int) -> dict[str, list[Round]]:
    """Everybody's rounds. The first, which pays for what is made on first use, does not count."""
    found: dict[str, list[Round]] = {}
    async with AsyncExitStack() as stack:
        everybody = await contestants(stack, places, redis_url, limit)
        for number in range(rounds + 1):
            for name, budget in everybody:
                found.setdefault(name, []).append(await compete(budget, f"{name} {number}"))
    return {name: each[1:] for name, each in found.items()}


def everybody(places: Sequence[Place], limit: int, rounds: int, missing: list[str]) -> dict[str, list[Round]]:
    """All rounds on one size of budget. Why somebody does not take part is added to ``missing``."""
    with ExitStack() as stack:
        try:
            redis_url = stack.enter_context(private_redis())
        except MissingError as error:
            redis_url = None
            missing.append(str(error))
        found = asyncio.run(contest(places, redis_url, limit, rounds))
    try:
        version, calls = litellm_rounds(limit, rounds)
        found[f"LiteLLM {version}, router budget"] = [Round(*one) for one in calls]
    except MissingError as error:
        missing.append(str(error))
    return found


def litellm_rounds(limit: int, rounds: int) -> tuple[str, list[tuple[int, float]]]:
    """LiteLLM's version, and calls and seconds of each round.

    Raises:
        MissingError: It cannot be installed or does not run.
    """
    options = {
        "tasks": TASKS,
        "limit": limit,
        "rounds": rounds,
        "call_seconds": CALL_SECONDS,
        "input_tokens": USAGE.input_tokens,
        "output_tokens": USAGE.output_tokens,
    }
    script = Path(__file__).with_name("litellm_router.py")
    printed = run(LITELLM.name, [LITELLM.python(), script, json.dumps(options)], offline())
    found = json.loads(printed.strip().splitlines()[-1])
    return str(found["version"]), [(int(calls), float(seconds)) for calls, seconds in found["rounds"]]


def measure(places: Sequence[Place], *, quick: bool) -> None:
    """Print one table, and what could not be measured."""
    missing: list[str] = []
    rows: dict[str, tuple[str, ...]] = {}
    for limit in SIZES:
        for name, rounds in everybody(places, limit, 2 if quick else 5, missing).items():
            rows[name] = (*rows.get(name, (name,)), *cells(rounds, limit))
    heading = ("used of a budget of", *(cell for limit in SIZES for cell in (f"{limit:,}", "x limit", "calls/s")))
    complete = [row for row in rows.values() if len(row) == len(heading)]
    print_table(
        f"{TASKS} tasks on one budget of tokens, a call takes {CALL_SECONDS * 1e3:.0f} ms", [heading, *complete]
    )
    for reason in dict.fromkeys(missing):
        print(f"  not measured: {reason}")
