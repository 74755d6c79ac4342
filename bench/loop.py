"""How long the event loop is kept waiting while large things are counted, by the tools on a ledger in memory.

A ticker sleeps for a millisecond over and over; what passes between two of its turns is a gap. A busy machine
makes gaps too (the row "idle" shows them), so each is also given as this process's own: no longer than the processor
time that the process spent in it. "On the loop" is the processor time of the loop's own thread. Each model has a
process of its own, and the first calls, which load vocabularies and prices, are told apart.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bench.timing import print_table
from tokenward.engine.tokenizers.base import TokenizerOptions
from tokenward.engine.types import JsonObject
from tokenward.service import Tokenward
from tokenward.tools.compress_messages import compress_messages
from tokenward.tools.count_messages import count_messages
from tokenward.tools.count_tokens import count_tokens
from tokenward.tools.definition import ToolContext
from tokenward.tools.estimate_cost import estimate_cost
from tokenward.tools.truncate_history import truncate_history

MIB = 1 << 20
TICK_SECONDS = 0.001
MODELS = {
    "gpt-4o": ("gpt-4o", False),
    "gpt-4o, fast": ("gpt-4o", True),
    "claude-haiku-4-5": ("claude-haiku-4-5", True),
    "gemini-2.5-pro": ("gemini-2.5-pro", True),
}
"""By the name in the table: a model, and whether the fast core may count."""

Call: TypeAlias = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Gap:
    """What passed between two turns, in seconds: by the clock, by the process's processor time, by the loop's own."""

    wall: float
    process: float
    loop: float

    @property
    def own(self) -> float:
        """How much of it this process can have caused: it has to compute to keep its loop waiting."""
        return min(self.wall, self.process)


async def gaps_during(call: Call) -> list[Gap]:
    """The gaps while a call is made."""
    found: list[Gap] = []
    ticking = asyncio.create_task(_tick(found))
    await asyncio.sleep(0.02)
    found.clear()
    await call()
    await asyncio.sleep(2 * TICK_SECONDS)
    ticking.cancel()
    return found


async def _tick(found: list[Gap]) -> None:
    last = time.perf_counter(), time.process_time(), time.thread_time()
    while True:
        await asyncio.sleep(TICK_SECONDS)
        now = time.perf_counter(), time.process_time(), time.thread_time()
        wall, process, loop = (after - before for after, before in zip(now, last, strict=True))
        found.append(Gap(max(0.0, wall - TICK_SECONDS), process, loop))
        last = now


def prose(characters: int) -> str:
    """Sentences of random words."""
    choose = random.Random(characters)
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog,", "and", "counts", "13", "tokens.\n"]
    some = " ".join(choose.choices(words, k=200_000))
    return (some * (characters // len(some) + 1))[:characters]


def calls(context: ToolContext, model: str, *, quick: bool) -> dict[str, Call]:
    """What is measured, by name. The first one loads the vocabulary."""
    large = prose(8 * MIB if quick else 64 * MIB)
    spaces = " " * len(large)
    ten = prose(10_000_000)
    one_million = prose(1_000_000)
    several = [ten[index * 97 : 1_000_000 + index * 97] for index in range(8)]
    texts = [f"{ten[index * 90 : index * 90 + 80]} {index}" for index in range(100_000)]
    roles = ("user", "assistant")
    messages: list[JsonObject] = [
        {"role": roles[index % 2], "content": f"{ten[index * 400 : index * 400 + 300]} {index}"}
        for index in range(5_000)
    ]
    tokens = 300_000 if quick else 200_000
    return {
        "first count": lambda: count_tokens(context, model=model, text="Hello, world!"),
        "first price": lambda: estimate_cost(context, model=model, input_tokens=1_000),
        "first messages": lambda: count_messages(context, model=model, messages=messages[:2]),
        "a short text": lambda: count_tokens(context, model=model, text="Hello, again!"),
        "1 MB": lambda: count_tokens(context, model=model, text=one_million),
        "1 MB, cached": lambda: count_tokens(context, model=model, text=one_million),
        "10 MB": lambda: count_tokens(context, model=model, text=ten),
        f"{len(large) // MIB} MiB": lambda: count_tokens(context, model=model, text=large),
        f"{len(large) // MIB} MiB of spaces": lambda: count_tokens(context, model=model, text=spaces),
        "8 times 1 MB at once": lambda: _together(context, model, several),
        "100,000 texts": lambda: count_tokens(context, model=model, texts=texts),
        "5,000 messages": lambda: count_messages(context, model=model, messages=messages),
        "5,000 messages, priced": lambda: estimate_cost(
            context, model=model, messages=messages, compare=["gpt-4o-mini", "gpt-4"]
        ),
        "5,000 messages, truncated": lambda: truncate_history(
            context, model=model, messages=messages, max_tokens=tokens
        ),
        "5,000 messages, compressed": lambda: compress_messages(context, model=model, messages=messages),
    }


async def _together(context: ToolContext, model: str, texts: Sequence[str]) -> None:
    await asyncio.gather(*(count_tokens(context, model=model, text=text) for text in texts))


def row(label: str, seconds: float, gaps: Sequence[Gap]) -> list[str]:
    """One line of the table."""
    own = sorted(gap.own for gap in gaps)
    figures = (max(gap.wall for gap in gaps), own[-1], own[len(own) * 99 // 100], max(gap.loop for gap in gaps))
    return [label, f"{seconds:.2f} s", *(f"{figure * 1e3:.1f} ms" for figure in figures)]


async def measured(name: str, *, quick: bool) -> list[list[str]]:
    """The rows of one model, a key of ``MODELS``."""
    model, fast = MODELS[name]
    rows: list[list[str]] = []
    async with Tokenward.open("memory://", options=TokenizerOptions(fast=fast)) as service:
        work: dict[str, Call] = {
            "idle": lambda: asyncio.sleep(1),
            **calls(ToolContext(service=service), model, quick=quick),
        }
        for label, call in work.items():
            start = time.perf_counter()
            gaps = await gaps_during(call)
            rows.append(row(label, time.perf_counter() - start, gaps))
    return rows


def measure(*, quick: bool) -> None:
    """Print a table for each model; 8 MiB are the largest text of a short run."""
    heading = ["", "took", "longest gap", "its own", "p99 of own", "on the loop"]
    for name in MODELS:
        command = [sys.executable, "-m", "bench.loop", name, "quick" if quick else "full"]
        rows: list[list[str]] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        print_table(f"Gaps of the event loop: {name}", [heading, *rows])


if __name__ == "__main__":
    json.dump(asyncio.run(measured(sys.argv[1], quick=sys.argv[2] == "quick")), sys.stdout)
