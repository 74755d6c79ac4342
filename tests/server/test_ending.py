"""Ends that are none of the usual: before the server has started, on one socket, with a client that does not read."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.server.odd_server import odd_server
from tests.server.test_stdio import ENVIRONMENT, HANDSHAKE, ODD, ROOT, call
from tests.server.test_stdio_patience import served
from tests.waiting import NET_SECONDS, settled

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")

STUCK = """
import os, signal
os.write(2, b"importing")
while True:
    signal.pause()
"""
"""A module whose import takes for ever."""


AFTER_THE_LOOP = """
close = asyncio.SelectorEventLoop.close
def close_and_tell(loop):
    close(loop)
    tell()
asyncio.SelectorEventLoop.close = close_and_tell
"""
AFTER_THE_HANDLERS = """
class Last:
    def __init__(self):
        self.tell = tell
    def __del__(self):
        self.tell()
last = Last()
"""
"""Python takes its handlers away before it throws away what modules hold."""
TOLD_LATE = """
import asyncio, os, signal, sys
from tests.server.odd_server import odd_server
from tokenward.server.stdio import serve_stdio
def tell(kill=os.kill, write=os.write, process=os.getpid(), number=int(sys.argv[1])):
    write(2, b"told")
    kill(process, number)
"""


def told_while_importing(
    module: str, arguments: Sequence[str], numbers: Sequence[signal.Signals], folder: Path
) -> subprocess.CompletedProcess[bytes]:
    """Start the command with a module that cannot be imported to the end, and send signals when it is reached."""
    stuck = folder / f"{module}.py"
    stuck.write_text(STUCK)
    environment = ENVIRONMENT | {
        "PYTHONPATH": os.pathsep.join((str(folder), ENVIRONMENT["PYTHONPATH"])),
        "TOKENWARD_STORE": "memory://",
    }
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "tokenward", *arguments]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=folder) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.read(len("importing")) == b"importing"
            for number in numbers:
                process.send_signal(number)
            output, errors = process.communicate(timeout=NET_SECONDS)
        finally:
            process.kill()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("module", ["click", "pydantic", "mcp", "anyio"])
def test_a_server_that_has_not_started_ends_quietly(module: str, number: signal.Signals, tmp_path: Path) -> None:
    """From before the first heavy import on."""
    done = told_while_importing(module, ["--user", "alice", "serve"], [number], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("arguments", [["--transport", "http"], ["--transport=sse"]])
def test_so_does_one_over_http(arguments: list[str], number: signal.Signals, tmp_path: Path) -> None:
    done = told_while_importing("uvicorn", ["serve", *arguments, "--port", "0"], [number], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    "arguments", [["count", "serve"], ["--user", "serve", "count"], ["--user=serve", "--log-level", "info", "models"]]
)
def test_other_commands_end_as_processes_do(arguments: list[str], tmp_path: Path) -> None:
    assert told_while_importing("click", arguments, [signal.SIGTERM], tmp_path).returncode == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("late", [AFTER_THE_LOOP, AFTER_THE_HANDLERS])
def test_what_is_told_when_it_has_all_but_ended_changes_nothing(late: str, number: signal.Signals) -> None:
    """Clients that send one signal after the other are told of a good end."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{TOLD_LATE}{late}serve_stdio(odd_server())", str(int(number))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=ENVIRONMENT,
        cwd=ROOT,
        check=False,
        timeout=NET_SECONDS,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"told")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order_on_one_socket(number: signal.Signals) -> None:
    here, there = socket.socketpair()
    with (
        here,
        here.makefile("rb") as answers,
        subprocess.Popen(
            ODD, stdin=there.fileno(), stdout=there.fileno(), stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=ROOT
        ) as process,
    ):
        try:
            there.close()
            here.settimeout(NET_SECONDS)
            here.sendall(HANDSHAKE + call(1, "nap", seconds=600) + call(2, "echo", text="hi"))
            assert [json.loads(answers.readline())["id"] for _ in range(2)] == [0, 2]
            process.send_signal(number)
            assert [json.loads(answer)["id"] for answer in answers] in ([], [1])
            _, errors = process.communicate(timeout=NET_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0
    assert errors.endswith(b"closed\n")
    assert b"Traceback" not in errors


def test_a_client_that_leaves_one_socket_without_reading_ends_it() -> None:
    """Its kernel says so by an error, not by an end."""
    here, there = socket.socketpair()
    with subprocess.Popen(
        ODD, stdin=there.fileno(), stdout=there.fileno(), stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=ROOT
    ) as process:
        try:
            there.close()
            here.sendall(HANDSHAKE + call(1, "echo", text="hi"))
            assert here.recv(1)
            here.close()
            _, errors = process.communicate(timeout=NET_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0
    assert b"Traceback" not in errors


@pytest.mark.anyio
async def test_a_client_that_says_no_more_and_does_not_read_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(odd_server(), monkeypatch) as wire:
        # Fewer than what is read while nothing is answered, but more than the pipe holds.
        wire.send(*(call(number, "echo", text="x" * 90) for number in range(1, 100)))
        await wire.clock.until(wire.heard)
        os.set_blocking(wire.sink, False)
        with suppress(BlockingIOError):
            for number in range(100, 900):
                wire.send(call(number, "echo", text="x" * 90))
                await settled()
        wire.close()
        await settled()
        start = wire.clock.now
        wire.clock.pass_seconds(4.5)
        await settled()
        assert not wire.ended
        await wire.ends()
        assert wire.clock.now - start < 10


@pytest.mark.anyio
async def test_one_that_says_no_more_and_reads_slowly_gets_every_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = range(1, 900)
    async with served(odd_server(), monkeypatch) as wire:
        for number in numbers:
            wire.send(call(number, "echo", text="x" * 90))
            await settled()
        wire.close()
        waited = 0
        while not wire.ended:
            wire.clock.pass_seconds(4)
            waited += 4
            await settled()
            wire.heard()
            await settled()
    assert waited > 8
    assert {json.dumps(answer["id"]) for answer in wire.answers} == {"0", *map(str, numbers)}
