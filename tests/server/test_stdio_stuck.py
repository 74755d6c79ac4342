"""The server on standard input and output ends when it is told to, whatever keeps its threads or its event loop."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.server.test_stdio import ENVIRONMENT, HANDSHAKE, ROOT, call, line, started
from tests.server.test_stdio_end import SERVE_LEDGER, answer, assert_ends_well, send
from tests.waiting import NET_SECONDS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")

NUMBERS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])

STUCK = """
import anyio, logging, os, sys, threading
from tests.server import odd_server
from tokenward.server.stdio import serve_stdio
from tokenward.tools.definition import Tool

def wait() -> None:
    os.write(2, b"stuck\\n")
    threading.Event().wait()

async def thread(context) -> odd_server.Echo:
    await anyio.to_thread.run_sync(wait)

async def loop(context) -> odd_server.Echo:
    wait()

async def log(context) -> odd_server.Echo:
    os.write(2, b"stuck\\n")
    logging.getLogger().error("x" * 2**20)

odd_server.TOOLS += [
    Tool(run=run, description="", result=odd_server.Echo, read_only=True, idempotent=True)
    for run in (thread, loop, log)
]
serve_stdio(odd_server.odd_server())
"""
"""A server of whose tools each is stuck for ever: one in a thread, one in the loop, one in a log that nobody reads."""

PATIENT = """
from tokenward.storage.sqlite import SqliteStore
SqliteStore.__init__.__kwdefaults__["busy_seconds"] = 600.0
"""
"""So long a statement waits for another process's transaction."""


@NUMBERS
@pytest.mark.parametrize("tool", ["thread", "loop", "log"])
def test_a_tool_that_is_stuck_does_not_hold_it(tool: str, number: signal.Signals) -> None:
    with started((sys.executable, "-W", "error", "-c", STUCK)) as process:
        send(process, HANDSHAKE, call(1, tool))
        assert answer(process)["id"] == 0
        assert process.stderr is not None
        assert b"stuck\n" in iter(process.stderr.readline, b"")
        process.send_signal(number)
        assert process.wait(NET_SECONDS) == 0


@NUMBERS
def test_a_ledger_that_is_locked_does_not_hold_it(number: signal.Signals, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    record = {"model": "gpt-4o", "input_tokens": 1, "output_tokens": 1}
    with started((sys.executable, "-W", "error", "-c", f"{PATIENT}\n{SERVE_LEDGER}", str(ledger))) as process:
        send(process, HANDSHAKE, call(1, "record_usage", **record))
        assert [answer(process)["id"] for _ in range(2)] == [0, 1]
        with closing(sqlite3.connect(ledger, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            send(process, call(2, "record_usage", **record))
            # It waits for the ledger by then.
            for ping in range(3, 100):
                send(process, line(ping, "ping", {}))
                assert answer(process)["id"] == ping
            process.send_signal(number)
            assert_ends_well(process)
    with closing(sqlite3.connect(ledger)) as opened:
        assert opened.execute("SELECT count(*) FROM token_usage").fetchone() == (1,)


@NUMBERS
def test_a_terminal_that_nobody_reads_does_not_hold_it(number: signal.Signals) -> None:
    import pty  # not on Windows

    command = (sys.executable, "-W", "error", "-c", STUCK)
    here, there = pty.openpty()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=there, stderr=subprocess.DEVNULL, env=ENVIRONMENT, cwd=ROOT
    ) as process:
        try:
            os.close(there)
            send(process, HANDSHAKE, *(line(one, "tools/list", {}) for one in range(1, 300)))
            assert os.read(here, 1)
            process.send_signal(number)
            assert process.wait(NET_SECONDS) == 0
        finally:
            process.kill()
            os.close(here)


def test_a_terminal_that_does_not_wait_gets_every_answer() -> None:
    """Whoever else has it open may have said so."""
    import pty  # not on Windows

    command = (sys.executable, "-W", "error", "-m", "tests.server.odd_server")
    here, there = pty.openpty()
    os.set_blocking(there, False)
    said = b""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=there, stderr=subprocess.DEVNULL, env=ENVIRONMENT, cwd=ROOT
    ) as process:
        try:
            os.close(there)
            send(process, HANDSHAKE, *(call(one, "echo", text="x" * 90) for one in range(1, 200)))
            while said.count(b"\n") < 200:
                said += os.read(here, 1_000)
            process.send_signal(signal.SIGTERM)
            assert process.wait(NET_SECONDS) == 0
        finally:
            process.kill()
            os.close(here)
    assert {json.loads(one)["id"] for one in said.splitlines()} == set(range(200))


UNMOVED = """
import os, signal, time
from tokenward.server.last_resort import last_resort
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda *_: None)
with last_resort([signal.SIGTERM], 0, lambda: print("woken", flush=True)):
    os.kill(os.getpid(), signal.SIGUSR1)
    for _ in range(20):
        print(input(), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1000)
"""


def test_a_signal_that_means_something_else_ends_nothing() -> None:
    with started((sys.executable, "-c", UNMOVED)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(20):  # enough for another thread to have its turn
            process.stdin.write(b"on\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"on\n"
        assert process.stdout.readline() == b"woken\n"
        assert process.wait(NET_SECONDS) == 0
