"""What serving costs, against a trivial tool on a bare server of the same SDK with the SDK's own transports.

``python -m bench.serving [--quick] [part …]``, where the parts are ``stdio`` (counting), ``ledger`` (a reservation and
its settlement), ``http``, ``initialize`` (the first answer), ``memory`` (before the first count) and ``end`` (from
SIGTERM, SIGINT or the end of input to the exit). Both servers run
all the time and work in turns on the same number of calls, with the same number of them unanswered. Rates are calls
per second; the ratio is the median of the ratios pair by pair, with its quartiles. Beside it the ratio of the
processor time per call, which a busy machine disturbs less.
"""

import argparse
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench import initialize
from bench.pipes import PipeClient, checked_answer, pipe_client, request, tool_call
from bench.sockets import HttpClient, free_port, http_client
from bench.timing import Comparison, compare, compared, print_table
from tokenward.engine.types import JsonObject

FLOOR = [sys.executable, str(Path(__file__).with_name("bare_server.py"))]
OURS = [sys.executable, "-m", "tokenward", "serve"]
MODEL = "gpt-4o"
CHARACTERS = 120
IN_FLIGHT = (1, 16)
MANY_IN_FLIGHT = 64
USERS = 16
CONNECTIONS = 8
HEADING = ("in flight", "trivial tool", "tokenward", "ratio", "quartiles", "wanted", "by processor time")
GOALS = {"stdio": 1.5, "ledger": 0.5, "http": 1.2, "initialize": 1.15, "memory": 1.3, "end": 1.0}

_WORDS = "ledger token budget agent model price count window limit the a of to and is was not before after when"


@dataclass(frozen=True)
class Size:
    """How much is done in one turn, and how many pairs of turns there are."""

    calls: int
    pairs: int


@dataclass(frozen=True)
class Turn:
    """What one turn of one server came to.

    Attributes:
        rate: Calls per second.
        thrift: Calls per second of processor time.
    """

    rate: float
    thrift: float


class Work:
    """What is asked of the servers; no two texts are the same."""

    def __init__(self, seed: int = 7) -> None:
        self._random = random.Random(seed)

    def texts(self, count: int) -> list[str]:
        """Different texts of 120 characters."""
        return [" ".join(self._random.choices(_WORDS.split(), k=CHARACTERS))[:CHARACTERS] for _ in range(count)]

    def trivial(self, count: int) -> list[bytes]:
        """Calls of the bare server's only tool."""
        return [tool_call(number, "echo", {"text": text}) for number, text in enumerate(self.texts(count))]

    def counts(self, count: int) -> list[bytes]:
        """Calls that count the same kind of text."""
        texts = enumerate(self.texts(count))
        return [tool_call(number, "count_tokens", {"text": text, "model": MODEL}) for number, text in texts]

    def holds(self, count: int) -> list[bytes]:
        """Calls that reserve, of a few users."""
        numbers: JsonObject = {"model": MODEL, "input_tokens": 900, "max_output_tokens": 500, "reserve": True}
        return [tool_call(one, "check_quota", {**numbers, "user": f"user-{one % USERS}"}) for one in range(count)]

    def settlements(self, holds: Sequence[bytes]) -> list[bytes]:
        """Calls that settle what the answers reserved."""
        ids = [checked_answer(answer)["reservation_id"] for answer in holds]
        numbers: JsonObject = {"model": MODEL, "input_tokens": 870, "output_tokens": 310}
        return [
            tool_call(one, "record_usage", {**numbers, "user": f"user-{one % USERS}", "reservation_id": name})
            for one, name in enumerate(ids)
        ]


@contextmanager
def servers_on_pipes(folder: str) -> Generator[tuple[PipeClient, PipeClient]]:
    """Ours, with its ledger in SQLite, and the bare one."""
    ledger = {**os.environ, "TOKENWARD_STORE": f"sqlite:///{folder}/ledger.db"}
    with pipe_client(OURS, folder, ledger) as ours, pipe_client(FLOOR, folder) as bare:
        yield ours, bare


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """What all threads of a process have computed so far, as Linux says it."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


def turn(process: subprocess.Popen[bytes], calls: int, work: Callable[[], float]) -> Turn:
    """So many calls, which ``work`` does and takes the time of."""
    before = processor_seconds(process)
    seconds = work()
    return Turn(calls / seconds, calls / (processor_seconds(process) - before))


def in_turns(ours: Callable[[], Turn], theirs: Callable[[], Turn], pairs: int) -> tuple[Comparison, Comparison]:
    """Both, one after the other in alternating order: their rates, and their processor time."""
    ours()
    theirs()
    found: list[tuple[Turn, Turn]] = []
    for index in range(pairs):
        if index % 2:
            their = theirs()
            found.append((ours(), their))
        else:
            our = ours()
            found.append((our, theirs()))
    return (
        compared([(our.rate, their.rate) for our, their in found]),
        compared([(our.thrift, their.thrift) for our, their in found]),
    )


def piped(client: PipeClient, lines: Sequence[bytes], in_flight: int) -> Turn:
    """Calls over pipes, which must succeed."""

    def work() -> float:
        seconds, answers = client.exchange(lines, in_flight)
        for answer in answers:
            checked_answer(answer)
        return seconds

    return turn(client.process, len(lines), work)


def row(name: int, results: tuple[Comparison, Comparison], wanted: float) -> tuple[str, ...]:
    rates, thrift = results
    return (
        str(name),
        f"{rates.right:,.0f}",
        f"{rates.left:,.0f}",
        *rates.ratio_cells,
        f"≥ {wanted}",
        f"{thrift.ratio:.2f}",
    )


def stdio(size: Size, work: Work) -> list[float]:
    """Counting, over pipes."""
    rows: list[Sequence[str]] = [HEADING]
    ratios: list[float] = []

    def asked(client: PipeClient, calls: Callable[[int], list[bytes]], in_flight: int) -> Turn:
        return piped(client, calls(size.calls), in_flight)

    with tempfile.TemporaryDirectory() as folder, servers_on_pipes(folder) as (ours, bare):
        for in_flight in IN_FLIGHT:
            found = in_turns(
                partial(asked, ours, work.counts, in_flight),
                partial(asked, bare, work.trivial, in_flight),
                size.pairs,
            )
            ratios.append(found[0].ratio)
            rows.append(row(in_flight, found, GOALS["stdio"]))
    print_table(f"count_tokens on {CHARACTERS} characters over stdio, calls per second", rows)
    return ratios


def ledger(size: Size, work: Work) -> list[float]:
    """check_quota with a reservation and record_usage that settles it, over pipes, on SQLite."""
    rows: list[Sequence[str]] = [HEADING]
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder, servers_on_pipes(folder) as (ours, bare):

        def both(in_flight: int) -> float:
            held, holds = ours.exchange(work.holds(size.calls // 2), in_flight)
            settled, answers = ours.exchange(work.settlements(holds), in_flight)
            if not all(checked_answer(answer)["recorded"] for answer in answers):
                raise RuntimeError("not all was recorded")
            return held + settled

        def trivial(in_flight: int) -> Turn:
            return piped(bare, work.trivial(size.calls), in_flight)

        for in_flight in (*IN_FLIGHT, MANY_IN_FLIGHT):
            found = in_turns(
                partial(turn, ours.process, size.calls // 2 * 2, partial(both, in_flight)),
                partial(trivial, in_flight),
                size.pairs,
            )
            ratios.append(found[0].ratio)
            rows.append(row(in_flight, found, GOALS["ledger"]))
    print_table("check_quota with reserve, then record_usage, over stdio on SQLite, calls per second", rows)
    return ratios


def http(size: Size, work: Work) -> list[float]:
    """Counting, over HTTP."""

    def calls(process: subprocess.Popen[bytes], client: HttpClient, messages: Sequence[bytes]) -> Turn:
        def asked() -> float:
            seconds, answers = client.exchange(messages)
            for answer in answers:
                checked_answer(answer.message)
            return seconds

        return turn(process, len(messages), asked)

    our_port, bare_port = free_port(), free_port()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        environment = {**os.environ, "TOKENWARD_STORE": f"sqlite:///{folder}/ledger.db"}
        command = [*OURS, "--transport", "http", "--port", str(our_port)]
        our_process, ours = stack.enter_context(
            http_client(command, our_port, connections=CONNECTIONS, cwd=folder, environment=environment)
        )
        command = [*FLOOR, str(bare_port)]
        bare_process, bare = stack.enter_context(http_client(command, bare_port, connections=CONNECTIONS, cwd=folder))
        found = in_turns(
            lambda: calls(our_process, ours, work.counts(size.calls)),
            lambda: calls(bare_process, bare, work.trivial(size.calls)),
            size.pairs,
        )
    print_table(
        f"count_tokens on {CHARACTERS} characters over HTTP on {CONNECTIONS} connections, calls per second",
        [HEADING, row(CONNECTIONS, found, GOALS["http"])],
    )
    return [found[0].ratio]


def first_answer(size: Size, _: Work) -> list[float]:
    """From the start of the process to the answer to ``initialize``."""
    with tempfile.TemporaryDirectory() as folder:
        result = compare(
            lambda: initialize.seconds_to_initialize(OURS, folder),
            lambda: initialize.seconds_to_initialize(FLOOR, folder),
            pairs=max(size.pairs, 5),
        )
    print_table(
        "Start of the process to the answer to initialize, over stdio",
        [
            ("", "bare SDK", "tokenward", "ratio", "quartiles", "wanted"),
            (
                "time",
                f"{result.right * 1e3:.0f} ms",
                f"{result.left * 1e3:.0f} ms",
                *result.ratio_cells,
                f"≤ {GOALS['initialize']}",
            ),
        ],
    )
    return [1 / result.ratio]


def resident_bytes(client: PipeClient) -> int:
    """What the server holds in memory now, as Linux says it."""
    status = Path(f"/proc/{client.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def memory(size: Size, _: Work) -> list[float]:
    """Resident memory after the handshake, and after the tools were listed."""
    found: dict[str, list[tuple[float, float]]] = {"after initialize": [], "after tools/list": []}
    for _number in range(min(size.pairs, 5)):
        with tempfile.TemporaryDirectory() as folder, servers_on_pipes(folder) as (ours, bare):
            found["after initialize"].append((resident_bytes(ours), resident_bytes(bare)))
            for client in (ours, bare):
                client.exchange([request(1, "tools/list", {})], 1)
            found["after tools/list"].append((resident_bytes(ours), resident_bytes(bare)))
    rows: list[Sequence[str]] = [("resident", "bare SDK", "tokenward", "ratio", "quartiles", "wanted")]
    results = {name: compared(pairs) for name, pairs in found.items()}
    for name, result in results.items():
        sizes = (f"{result.right / 2**20:.1f} MiB", f"{result.left / 2**20:.1f} MiB")
        rows.append((name, *sizes, *result.ratio_cells, f"≤ {GOALS['memory']}"))
    print_table("Memory before the first count", rows)
    return [1 / result.ratio for result in results.values()]


def end(size: Size, _: Work) -> list[float]:
    """Seconds from being told to end to the exit, of a server that has answered a call."""
    rows: list[Sequence[str]] = [("told by", "median", "longest", "wanted")]
    longest: list[float] = []
    for name, number in (("SIGTERM", signal.SIGTERM), ("SIGINT", signal.SIGINT), ("end of input", None)):
        took = sorted(seconds_to_end(number) for _ in range(size.pairs))
        longest.append(took[-1])
        rows.append((name, f"{median(took):.2f} s", f"{took[-1]:.2f} s", f"≤ {GOALS['end']} s"))
    print_table("The end over stdio", rows)
    return [1 / seconds for seconds in longest]


def seconds_to_end(number: signal.Signals | None) -> float:
    """Of one server, told by a signal or by the end of its input."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = {**os.environ, "TOKENWARD_STORE": f"sqlite:///{folder}/ledger.db"}
        with pipe_client(OURS, folder, ledger) as client:
            client.exchange([tool_call(1, "count_tokens", {"text": "hello", "model": MODEL})], 1)
            start = time.perf_counter()
            if number is not None:
                client.process.send_signal(number)
            elif client.process.stdin is not None:
                client.process.stdin.close()
            client.process.wait(60)
            return time.perf_counter() - start


PARTS: dict[str, Callable[[Size, Work], list[float]]] = {
    "stdio": stdio,
    "ledger": ledger,
    "http": http,
    "initialize": first_answer,
    "memory": memory,
    "end": end,
}


def missed(part: str, ratios: Sequence[float]) -> bool:
    """Whether a part is worse than wanted; what must stay below comes as its inverse."""
    goal = GOALS[part]
    return min(ratios) < (1 / goal if part in ("initialize", "memory", "end") else goal)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="all of them when none is named")
    parser.add_argument("--quick", action="store_true", help="a smoke run: fewer calls and pairs")
    parser.add_argument("--check", action="store_true", help="fail if a ratio is worse than wanted")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}")
    size = Size(calls=400, pairs=4) if options.quick else Size(calls=3_000, pairs=15)
    print(
        f"{time.strftime('%Y-%m-%d %H:%M')}, {platform.system()}, {os.cpu_count()} CPUs, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )
    work = Work()
    bad = [part for part in options.parts or PARTS if missed(part, PARTS[part](size, work))]
    if bad and options.check:
        print(f"\nNot as wanted: {', '.join(bad)}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
