"""Trimming histories, side by side with LiteLLM's and LangChain's ``trim_messages``: what is left, and what it costs.

``python -m bench.trimming [--quick] [part …]``, where the parts are ``rules`` (what becomes of the same conversations
under the same budgets), ``speed`` (1,000 messages) and ``growth`` (10,000 messages, against 1,000 and against counting
them once). All texts are new to all caches, and what each tool counts is in its time.
"""

import argparse
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from statistics import mean
from typing import Final

from bench.conversations import SHAPES, Shape, Writer, chat, talking_agent
from bench.count_speed import has_fast
from bench.peers import LANGCHAIN, LITELLM, Peer, started
from bench.places import MissingError
from bench.timing import compare, print_table
from bench.trim_rules import Verdict, judge
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.errors import InvalidInput
from tokenward.engine.history import truncate_history, validate_messages
from tokenward.engine.tokenizers.base import TokenizerOptions
from tokenward.engine.types import JsonObject

MODEL: Final = "gpt-4o"
SHARES: Final = (0.9, 0.5, 0.2, 0.05)
"""Budgets, as parts of what a conversation counts."""
SIZES: Final = (20, 60, 120)
SPEED_SHAPES: Final = {"chat": chat, "agent that comments": talking_agent}
GROWTH_SHAPES: Final = ("chat", "assistant with tools", "agent")
WAYS: Final = ("defaults", "documented", "approximate")


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A tool's answer.

    Attributes:
        messages: What it leaves.
        seconds: What it took.
        tokens: What the tool itself counts in the answer.
        says_no: Whether it says that nothing fits.
    """

    messages: list[JsonObject]
    seconds: float
    tokens: int
    says_no: bool = False


Trim = Callable[[Sequence[JsonObject], int], Trimmed]
"""Makes messages fit a budget."""


def ours(*, fast: bool) -> Trim:
    """Tokenward with its defaults, and nothing in its caches."""

    def trim(messages: Sequence[JsonObject], budget: int) -> Trimmed:
        counter = new_counter(fast=fast)
        start = time.perf_counter()
        found = truncate_history(messages, budget, MODEL, counter=counter)
        return Trimmed(found.messages, time.perf_counter() - start, found.tokens_after, not found.fits)

    return trim


def peer(asked: Peer, **more: str) -> Trim:
    """A peer's trimmer."""

    def trim(messages: Sequence[JsonObject], budget: int) -> Trimmed:
        answer = asked.ask({"model": MODEL, "messages": messages, "max_tokens": budget, **more})
        left, seconds, tokens = answer["messages"], answer["seconds"], answer["tokens"]
        if not isinstance(left, list) or not isinstance(seconds, float) or not isinstance(tokens, int):
            raise MissingError(f"{asked.name}: its answer cannot be read")
        return Trimmed([message for message in left if isinstance(message, dict)], seconds, tokens)

    return trim


def new_counter(*, fast: bool) -> TokenCounter:
    """A counter that has its vocabulary and nothing else."""
    counter = TokenCounter(options=TokenizerOptions(fast=fast))
    counter.text_counter(MODEL).count("warm")
    return counter


@cache
def judging_counter() -> TokenCounter:
    """Counts what the tools are given and leave; no tool uses it."""
    return TokenCounter(cache_size=50_000)


def tokens_of(messages: Sequence[JsonObject]) -> int:
    """By tokenward's counter."""
    return count_messages(messages, MODEL, counter=judging_counter(), format="openai").tokens if messages else 0


def accepted(messages: Sequence[JsonObject]) -> bool:
    """Whether tokenward's own validator would send this."""
    try:
        validate_messages(messages, "openai")
    except InvalidInput:
        return False
    return True


FITTING: Final = "where ours fits"
"""Invalid, of the cases in which tokenward finds something that fits."""


@dataclass(slots=True)
class Tally:
    """What a tool made of all conversations."""

    cases: int = 0
    fitting: int = 0
    found: Counter[str] = field(default_factory=Counter[str])
    used: list[float] = field(default_factory=list[float])
    validators_differ: int = 0
    seconds: float = 0.0

    def add(self, verdict: Verdict, trimmed: Trimmed, budget: int, tokens: int, *, fits: bool) -> None:
        """Take one result in; `fits` is what tokenward says of the case."""
        self.cases += 1
        self.fitting += fits
        self.seconds += trimmed.seconds
        if trimmed.says_no:
            self.found["says no"] += 1
            return
        over = tokens > budget
        self.validators_differ += accepted(trimmed.messages) == verdict.refused
        self.found.update(
            name
            for name, is_so in {
                "refused": verdict.refused,
                "orphan": verdict.orphans > 0,
                "unanswered": verdict.unanswered > 0,
                "empty": verdict.empty,
                "disordered": verdict.disordered,
                "over": over,
                "over by its own": trimmed.tokens > budget,
                "invalid": verdict.refused or over,
                FITTING: fits and (verdict.refused or over),
                "changed": verdict.changed > 0,
                "system lost": verdict.system_lost,
                "task lost": verdict.task_lost,
                "end lost": verdict.end_lost,
                "only system": verdict.only_system and not verdict.empty,
            }.items()
            if is_so
        )
        if not over and not verdict.refused:
            self.used.append(tokens / budget)

    def share(self, name: str) -> str:
        """In how many of the cases it was so."""
        count, cases = self.found[name], self.fitting if name == FITTING else self.cases
        return f"{100 * count / cases:.1f} %" if count else "0"


VALIDITY: Final = (
    "invalid",
    FITTING,
    "refused",
    "orphan",
    "unanswered",
    "empty",
    "disordered",
    "over",
    "over by its own",
)
LOSSES: Final = ("says no", "only system", "system lost", "task lost", "end lost", "changed")


def measure_rules(peers: dict[str, Trim], *, quick: bool) -> None:
    """Let each trim the same conversations to the same budgets."""
    tools = {"tokenward": ours(fast=True), **peers}
    number = 1 if quick else 2
    tallies = {name: Tally() for name in tools}
    by_shape = {(name, shape): Tally() for name in tools for shape in SHAPES}
    for place, (shape, write) in enumerate(SHAPES.items()):
        for size in SIZES:
            for each in range(number):
                messages = write(Writer(1_000_000 * place + 1_000 * size + each), size)
                whole = tokens_of(messages)
                for share in SHARES:
                    budget = int(whole * share)
                    results = {name: trim(messages, budget) for name, trim in tools.items()}
                    fits = not any(trimmed.says_no for trimmed in results.values())
                    for name, trimmed in results.items():
                        tokens = tokens_of(trimmed.messages)
                        verdict = judge(messages, trimmed.messages)
                        for tally in (tallies[name], by_shape[name, shape]):
                            tally.add(verdict, trimmed, budget, tokens, fits=fits)
    cases = next(iter(tallies.values())).cases
    print_table(
        f"{cases:,} cases: invalid is refused by OpenAI's rules, or over the budget",
        [("", *VALIDITY), *((name, *map(tally.share, VALIDITY)) for name, tally in tallies.items())],
    )
    print_table(
        "what else became of them, and how much of the budget is used by those that are valid",
        [
            ("", *LOSSES, "used", "each takes"),
            *(
                (name, *map(tally.share, LOSSES), _used(tally), f"{1e3 * tally.seconds / tally.cases:,.0f} ms")
                for name, tally in tallies.items()
            ),
        ],
    )
    print_table(
        "invalid, by the conversation's shape",
        [("", *tools), *((shape, *(by_shape[name, shape].share("invalid") for name in tools)) for shape in SHAPES)],
    )
    differ = sum(tally.validators_differ for tally in tallies.values())
    print(f"\nThe rules here and tokenward.validate_messages disagree on {differ} of {cases * len(tools):,} results.")


def _used(tally: Tally) -> str:
    return f"{100 * mean(tally.used):.0f} %" if tally.used else "-"


class Shared:
    """Gives both sides of a pair the same new conversation.

    Args:
        write: Writes it.
        size: Messages.
        seeds: One is taken for each conversation.
    """

    def __init__(self, write: Shape, size: int, seeds: Iterator[int]) -> None:
        self._write = write
        self._size = size
        self._seeds = seeds
        self._given: tuple[list[JsonObject], int] | None = None

    def take(self) -> tuple[list[JsonObject], int]:
        """Messages and what they count; whoever comes first gets new ones, the other the same."""
        taken, self._given = self._given, None
        if taken is None:
            messages = self._write(Writer(next(self._seeds)), self._size)
            taken = self._given = messages, tokens_of(messages)
        return taken


def cores() -> dict[str, bool]:
    """Names of what can count for us, and whether it is the fast one."""
    return {"tiktoken": False, **({"toktok": True} if has_fast("o200k_base") else {})}


def measure_speed(peers: dict[str, Trim], *, quick: bool) -> None:
    """1,000 messages, each peer in turns with us; tiktoken counts for all that count tokens."""
    size, pairs = (200, 3) if quick else (1_000, 5)
    seeds = count(1)
    for shape, write in SPEED_SHAPES.items():
        rows: list[Sequence[str]] = [("to a fifth", "its time", "tokenward", "faster", "quartiles")]
        for name, trim in peers.items():
            given = Shared(write, size, seeds)
            found = compare(_trimming(trim, given), _trimming(ours(fast=False), given), pairs=pairs)
            rows.append((name, _ms(found.left), _ms(found.right), *found.ratio_cells))
        print_table(f"{shape}, {size:,} messages never counted before", rows)


def measure_growth(_: dict[str, Trim], *, quick: bool) -> None:
    """10,000 messages against counting them once, and against 1,000."""
    few, many, pairs = (100, 1_000, 3) if quick else (1_000, 10_000, 5)
    seeds = count(1)
    heading = ("to a fifth", "counted by", "counting once", "trimming", "ratio", "quartiles", f"of {few:,}", "ratio")
    rows: list[Sequence[str]] = [(*heading, "quartiles")]
    for shape in GROWTH_SHAPES:
        write = SHAPES[shape]
        for core, fast in cores().items():
            trim, given, small = ours(fast=fast), Shared(write, many, seeds), Shared(write, few, seeds)
            once = compare(_trimming(trim, given), _counting(given, fast=fast), pairs=pairs)
            grown = compare(_trimming(trim, Shared(write, many, seeds)), _trimming(trim, small), pairs=pairs)
            cells = (_ms(once.right), _ms(once.left), *once.ratio_cells, _ms(grown.right), *grown.ratio_cells)
            rows.append((shape, core, *cells))
    print_table(f"tokenward, {many:,} messages never counted before", rows)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms"


def _trimming(trim: Trim, given: Shared) -> Callable[[], float]:
    def sample() -> float:
        messages, tokens = given.take()
        return trim(messages, tokens // 5).seconds

    return sample


def _counting(given: Shared, *, fast: bool) -> Callable[[], float]:
    def sample() -> float:
        (messages, _), counter = given.take(), new_counter(fast=fast)
        start = time.perf_counter()
        count_messages(messages, MODEL, counter=counter)
        return time.perf_counter() - start

    return sample


PARTS: Final = {"rules": measure_rules, "speed": measure_speed, "growth": measure_growth}


def peers_of(stack: ExitStack) -> dict[str, Trim]:
    """The peers that are there."""
    found: dict[str, Trim] = {}
    try:
        litellm = stack.enter_context(started(LITELLM, "litellm_trimmer.py"))
        found[f"LiteLLM {litellm.version}"] = peer(litellm)
    except MissingError as error:
        print(f"\nNot measured: {error}")
    try:
        langchain = stack.enter_context(started(LANGCHAIN, "langchain_trimmer.py"))
        print(f"LangChain {langchain.version}")
        found |= {f"LangChain, {way}": peer(langchain, way=way) for way in WAYS}
    except MissingError as error:
        print(f"\nNot measured: {error}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="all of them when none is named")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter conversations")
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}")
    print(
        f"{time.strftime('%Y-%m-%d %H:%M')}, {platform.system()}, {os.cpu_count()} CPUs, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )
    with ExitStack() as stack:
        peers = peers_of(stack)
        for part in options.parts or PARTS:
            PARTS[part](peers, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
