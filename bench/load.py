"""The work that throughput is measured with: tasks that reserve and settle, one cycle after the other."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.types import SECOND_US
from tokenward.engine.usage import TokenUsage
from tokenward.storage.base import Record, Reserve, UsageStore

MODEL = "gpt-4o"
HELD_TOKENS = 1_500
HELD_NANO = 7_500_000
USAGE = TokenUsage(input_tokens=1_000, output_tokens=400)
COST_NANO = 6_500_000
TTL_US = 600 * SECOND_US
LIMITS = (
    TokenLimit("default", "tokens", "minute", 10**12),
    TokenLimit("default", "cost", "day", 10**15),
    TokenLimit("global", "tokens", "day", 10**15),
)
"""Three limits that never refuse: throughput measures the work of admitting."""


class Budget(Protocol):
    """A side of a comparison: budget is held, then what was used is booked."""

    async def reserve(self, user: str) -> str:
        """Hold ``HELD_TOKENS`` for the user; returns the hold's identifier, or an empty string for a refusal."""
        ...

    async def settle(self, reservation_id: str) -> None:
        """Book ``USAGE`` in the place of a hold."""
        ...


@dataclass(frozen=True, slots=True)
class Ledger:
    """Ours."""

    store: UsageStore

    async def reserve(self, user: str) -> str:
        """Hold under the store's limits."""
        amounts = Amounts(HELD_TOKENS, HELD_NANO)
        outcome = await self.store.reserve(
            Reserve(subjects=Subjects(user), amounts=amounts, model=MODEL, ttl_us=TTL_US)
        )
        return outcome.reservation_id or ""

    async def settle(self, reservation_id: str) -> None:
        """Record the event of a hold."""
        await self.store.record(Record(model=MODEL, usage=USAGE, cost_nano=COST_NANO, reservation_id=reservation_id))


@dataclass(frozen=True, slots=True)
class Throughput:
    """Cycles per second, and the time that 99 of 100 calls stay under."""

    rate: float
    p99_seconds: float


@dataclass(slots=True)
class _Tally:
    cycles: int = 0
    call_seconds: list[float] = field(default_factory=list[float])

    async def cycle(self, budget: Budget, user: str) -> None:
        start = time.perf_counter()
        reservation_id = await budget.reserve(user)
        between = time.perf_counter()
        if not reservation_id:
            raise RuntimeError(f"{type(budget).__name__} refused {user!r}")
        await budget.settle(reservation_id)
        self.call_seconds += [between - start, time.perf_counter() - between]
        self.cycles += 1


async def throughput(budget: Budget, tasks: int, users: Sequence[str], seconds: float) -> Throughput:
    """Let ``tasks`` reserve and settle for random ``users`` for some seconds."""
    tally = _Tally()
    start = time.perf_counter()

    async def work(task: int) -> None:
        random = Random(task)
        while time.perf_counter() - start < seconds:
            await tally.cycle(budget, random.choice(users))

    await asyncio.gather(*(work(task) for task in range(tasks)))
    elapsed = time.perf_counter() - start
    calls = sorted(tally.call_seconds)
    return Throughput(tally.cycles / elapsed, calls[len(calls) * 99 // 100])
