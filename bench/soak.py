"""A long mixed load over both doors at once: standard input and output, and HTTP, on one ledger in SQLite.

``python -m bench.soak [--minutes 60] [--calls 1000000]`` ends at whichever comes first. Every answer is looked at.
At the end the ledger's sums must be what was acknowledged, nothing may still be held, both servers must end well
without having logged a problem, and neither may hold more memory than when its caches were full.
"""

import argparse
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from statistics import median
from threading import Event

from bench.pipes import pipe_client, tool_call
from bench.soak_calls import POOR, POOR_REQUESTS, Call, Load
from bench.sockets import free_port, http_client
from tokenward.engine.types import JsonObject

OURS = [sys.executable, "-m", "tokenward", "--config", "soak.toml", "serve"]
CONNECTIONS = 8
ROUND = 200
WARM_CALLS = 50_000
"""After so many calls of a door its caches are full: memory is judged from there on. The last one is SQLite's of the
ledger's pages, 2,000 KiB where it writes and 256 KiB for each of three readers, full after about 30,000 calls."""
GROWTH = 1.05
"""How much more memory than then counts as flat: what the allocator keeps in pieces between what is in use."""

SETTINGS = f"""
[[limits]]
subject = "default"
metric = "tokens"
window = "day"
limit = 1_000_000_000_000

[[limits]]
subject = "user:{POOR}"
metric = "requests"
window = "day"
mode = "calendar"
limit = {POOR_REQUESTS}
"""

Exchange = Callable[[Sequence[bytes]], list[bytes]]


@dataclass(frozen=True)
class Growth:
    """The last memory to the first, and the bytes that each call between them added."""

    ratio: float
    bytes_per_call: float


@dataclass
class Door:
    """One server, how it is asked, and what has come of it.

    Attributes:
        done: Calls that were answered.
        resident: The server's memory in KiB, as it was looked at.
        warm: The same with the calls that were done, from when the caches were full.
    """

    name: str
    process: subprocess.Popen[bytes]
    exchange: Exchange
    load: Load
    done: int = 0
    resident: list[int] = field(default_factory=list[int])
    warm: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def round(self) -> None:
        """Some calls of all kinds, then those that end what they hold."""
        self._ask(list(self.load.calls(ROUND)))
        self._ask(list(self.load.endings()))

    def _ask(self, calls: Sequence[Call]) -> None:
        answers = self.exchange([tool_call(one, call.tool, call.arguments) for one, call in enumerate(calls)])
        seen: Counter[int] = Counter()
        for line in answers:
            answer: JsonObject = json.loads(line)
            number, result = answer["id"], answer.get("result")
            assert isinstance(number, int), answer
            assert isinstance(result, dict), answer
            call = calls[number]
            seen[number] += 1
            assert bool(result.get("isError")) == call.refused, (call.tool, answer)
            if not call.refused:
                said = result["structuredContent"]
                assert isinstance(said, dict), answer
                call.answered(said)
        assert seen == Counter(range(len(calls))), f"{self.name}: not one answer to each call"
        self.done += len(calls)

    def sample(self) -> None:
        """Note how much memory the server holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        self.resident.append(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")))
        if self.done >= WARM_CALLS:
            self.warm.append((self.done, self.resident[-1]))

    def growth(self) -> Growth | None:
        """How memory grew once the caches were full; ``None`` if that was not seen for long enough."""
        tenth = len(self.warm) // 10
        if not tenth:
            return None
        (first_calls, first), (last_calls, last) = map(_middle, (self.warm[:tenth], self.warm[-tenth:]))
        return Growth(last / first, 1024 * (last - first) / max(1, last_calls - first_calls))


def _middle(looks: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """The medians of the calls done, and of the memory."""
    done, resident = zip(*looks, strict=True)
    return median(done), median(resident)


@contextmanager
def doors(folder: str, seed: int) -> Generator[tuple[Door, Door]]:
    """Both servers on one ledger. They must end well."""
    ledger = {**os.environ, "TOKENWARD_STORE": f"sqlite:///{folder}/ledger.db"}
    Path(folder, "soak.toml").write_text(SETTINGS, encoding="utf-8")
    port = free_port()
    over_http = [*OURS, "--transport", "http", "--port", str(port)]
    with (
        pipe_client(OURS, folder, ledger) as pipes,
        http_client(over_http, port, connections=CONNECTIONS, cwd=folder, environment=ledger) as (process, sockets),
    ):
        yield (
            Door("stdio", pipes.process, lambda lines: pipes.exchange(lines, CONNECTIONS)[1], Load("stdio", seed)),
            Door(
                "http",
                process,
                lambda lines: [answer.message for answer in sockets.exchange(lines)[1]],
                Load("http", seed + 1),
            ),
        )
    assert pipes.process.returncode == 0, "the server on stdio did not end well"
    assert process.returncode in (0, -signal.SIGTERM), "the server on HTTP did not end well"
    assert process.returncode == 0, "the server on HTTP was killed by its signal instead of ending"


def run(everything: Sequence[Door], *, seconds: float, calls: int, every_seconds: float) -> float:
    """Work at all doors at once until the time or the calls are over; prints how it goes. Gives the seconds."""
    enough, start = Event(), time.monotonic()

    def work(door: Door) -> None:
        try:
            while not enough.is_set():
                door.round()
        finally:
            enough.set()

    with ThreadPoolExecutor(len(everything)) as threads:
        working: list[Future[None]] = [threads.submit(work, door) for door in everything]
        while not enough.wait(every_seconds):
            past = time.monotonic() - start
            for door in everything:
                door.sample()
            said = "; ".join(f"{one.name} {one.done:,} calls, {one.resident[-1] / 1024:.1f} MiB" for one in everything)
            print(f"{past / 60:6.1f} min: {said}", flush=True)
            if past >= seconds or sum(door.done for door in everything) >= calls:
                enough.set()
        for one in working:
            one.result()
    return time.monotonic() - start


def check_ledger(folder: str, everything: Sequence[Door]) -> None:
    """What was acknowledged is in the ledger, once, and nothing else is; by its rows and by its reports."""
    acknowledged = [door.load.acknowledged for door in everything]
    tokens = sum((one.tokens for one in acknowledged), Counter[str]())
    requests = sum((one.requests for one in acknowledged), Counter[str]())
    cost = sum((one.cost for one in acknowledged), Decimal(0))
    with closing(sqlite3.connect(Path(folder, "ledger.db"))) as ledger:
        query = (
            "SELECT user_id, count(*), sum(input_tokens + output_tokens), sum(cost_nano) FROM token_usage GROUP BY 1"
        )
        rows = ledger.execute(query).fetchall()
        ((held,),) = ledger.execute("SELECT count(*) FROM reservation").fetchall()
    assert {row[0]: row[1] for row in rows} == dict(requests), "requests"
    assert {row[0]: row[2] for row in rows} == dict(tokens), "tokens"
    assert sum(row[3] for row in rows) == cost * 10**9, "cost"
    assert held == 0, "holds that nobody ended"
    assert requests[POOR] <= POOR_REQUESTS, "more than the limit"
    for door in everything:
        (answer,) = door.exchange([tool_call(0, "usage_report", {"period": "24h", "detail": "full"})])
        totals = json.loads(answer)["result"]["structuredContent"]["totals"]
        assert totals["requests"] == requests.total(), f"{door.name}: the report's requests"
        assert totals["total_tokens"] == tokens.total(), f"{door.name}: the report's tokens"
        assert Decimal(totals["cost"]) == cost, f"{door.name}: the report's cost"
    denied = sum(one.denied for one in acknowledged)
    print(f"\nIn the ledger: {requests.total():,} events, {tokens.total():,} tokens, {cost} USD, as acknowledged.")
    print(f"Checks denied to the user with a limit of {POOR_REQUESTS}: {denied:,}; events: {requests[POOR]}.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--every", type=float, default=30, metavar="SECONDS", help="how often memory is looked at")
    options = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, {platform.system()}, {os.cpu_count()} CPUs, {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder, doors(folder, options.seed) as everything:
        for door in everything:
            door.round()  # loads what the first calls load
        past = run(everything, seconds=60 * options.minutes, calls=options.calls, every_seconds=options.every)
        check_ledger(folder, everything)
    calls = sum(door.done for door in everything)
    print(f"{calls:,} calls in {past / 60:.1f} minutes, {calls / past:.0f} per second; no error.")
    return max(map(judged, everything))


def judged(door: Door) -> int:
    """Say how a door's memory grew: 1 if it is not flat, else 0."""
    growth = door.growth()
    if growth is None:
        print(f"Memory, {door.name}: not judged, too little was seen after {WARM_CALLS:,} calls.")
        return 0
    print(
        f"Memory, {door.name}: the last tenth is {growth.ratio:.3f} of the first after {WARM_CALLS:,} calls, "
        f"{growth.bytes_per_call:+.1f} bytes per call."
    )
    return int(growth.ratio > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
