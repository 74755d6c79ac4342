"""How the server on standard input and output ends: well, and with all that it acknowledged in the ledger.

How soon is in ``test_stdio_patience``, on a clock of the test's.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.server.surface.telling import BEGUN, STOPPED
from tests.server.test_stdio import HANDSHAKE, ODD, call, content, started
from tests.waiting import NET_SECONDS
from tokenward.engine.types import JsonObject

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")

TELLING = (sys.executable, "-W", "error", "-m", "tests.server.surface.telling")
Tell: TypeAlias = Callable[[subprocess.Popen[bytes]], None]

SERVE_LEDGER = """
import sys
from tokenward.server.application import serve_stdio
from tokenward.server.settings import load_settings
serve_stdio(load_settings(store="sqlite:///" + sys.argv[1]))
"""


def send(process: subprocess.Popen[bytes], *lines: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(b"".join(lines))
    process.stdin.flush()


def answer(process: subprocess.Popen[bytes]) -> JsonObject:
    assert process.stdout is not None
    heard: JsonObject = json.loads(process.stdout.readline())
    return heard


def assert_ends_well(process: subprocess.Popen[bytes]) -> None:
    assert process.wait(NET_SECONDS) == 0
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()


def terminate(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)


def interrupt(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)


def interrupt_again_and_again(process: subprocess.Popen[bytes]) -> None:
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)


def close_input(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


@pytest.mark.parametrize("tell", [terminate, interrupt, interrupt_again_and_again, close_input])
def test_an_idle_server_ends(tell: Tell) -> None:
    with started(ODD) as process:
        send(process, HANDSHAKE, call(1, "echo", text="hi"))
        assert [answer(process)["id"] for _ in range(2)] == [0, 1]
        tell(process)
        assert_ends_well(process)


@pytest.mark.parametrize("tell", [terminate, interrupt])
def test_a_call_that_never_ends_does_not_hold_it(tell: Tell) -> None:
    with started(ODD) as process:
        send(process, HANDSHAKE, call(1, "nap", seconds=600), call(2, "echo", text="hi"))
        assert [answer(process)["id"] for _ in range(2)] == [0, 2]
        tell(process)
        assert_ends_well(process)


def test_a_client_that_does_not_read_does_not_hold_it() -> None:
    """A full pipe takes nothing more; the answers in it are all whole but the last."""
    many = [call(number, "echo", text="x" * 90) for number in range(1, 3_000)]
    with started(ODD) as process:
        send(process, HANDSHAKE)
        answer(process)
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        unsent = memoryview(b"".join(many))
        while unsent and _writable(process):
            unsent = unsent[os.write(process.stdin.fileno(), unsent) :]
        terminate(process)
        assert process.wait(NET_SECONDS) == 0


def _writable(process: subprocess.Popen[bytes]) -> bool:
    import select

    assert process.stdin is not None
    return bool(select.select([], [process.stdin], [], 1.0)[1])


@pytest.mark.parametrize("tell", [terminate, interrupt, close_input])
def test_what_is_acknowledged_is_in_the_ledger(tell: Tell, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    command = (sys.executable, "-W", "error", "-c", SERVE_LEDGER, str(ledger))
    records = [
        call(number, "record_usage", model="gpt-4o", input_tokens=number, output_tokens=1, idempotency_key=str(number))
        for number in range(1, 101)
    ]
    with started(command) as process:
        send(process, HANDSHAKE, *records)
        heard = [answer(process) for _ in range(20)]
        tell(process)
        assert process.stdout is not None
        # The last answer is cut off where this process could not read for as long as the server waits. That is no
        # matter at the end of input: all that is left fits into the pipe.
        heard += [json.loads(one) for one in process.stdout.read().rpartition(b"\n")[0].splitlines()]
        assert process.wait(NET_SECONDS) == 0
    receipts = [content(one)["event_id"] for one in heard if one["id"] != 0 and "result" in one]
    assert len(receipts) >= 19
    assert tell is not close_input or len(receipts) == len(records)
    with closing(sqlite3.connect(ledger)) as opened:
        kept = {name for (name,) in opened.execute("SELECT event_id FROM token_usage")}
    assert set(receipts) <= kept
    assert len(set(receipts)) == len(receipts)


def test_counting_that_is_under_way_does_not_hold_it(tmp_path: Path) -> None:
    many = "\n".join(f"{number} words of a text" for number in range(600_000))
    with started((*TELLING, str(tmp_path))) as process:
        send(process, HANDSHAKE, call(1, "count_tokens", text="warm", model="gpt-4o"))
        assert [answer(process)["id"] for _ in range(2)] == [0, 1]
        send(process, call(2, "count_tokens", text=many, model="gpt-4o"))
        assert process.stderr is not None
        assert BEGUN in iter(process.stderr.readline, b"")
        terminate(process)
        assert STOPPED in iter(process.stderr.readline, b"")
        assert_ends_well(process)


def test_children_and_prints_cannot_reach_the_wire() -> None:
    """What anything prints goes to standard error, and nothing that is started reads the client's words."""
    command = """
import os, subprocess, sys
from tests.server import odd_server
from tokenward.server.stdio import serve_stdio
from tokenward.tools.definition import Tool

async def stray(context) -> odd_server.Echo:
    os.write(1, b"raw bytes\\n")
    subprocess.run(["sh", "-c", "echo from a child; cat"], check=True)
    return odd_server.Echo(length=len(sys.stdin.read()))

odd_server.TOOLS.append(Tool(run=stray, description="", result=odd_server.Echo, read_only=True, idempotent=True))
serve_stdio(odd_server.odd_server())
"""
    with started((sys.executable, "-W", "error", "-c", command)) as process:
        output, errors = process.communicate(
            HANDSHAKE + call(1, "stray") + call(2, "echo", text="x"), timeout=NET_SECONDS
        )
    heard = {one["id"]: one for one in map(json.loads, output.splitlines())}
    assert heard.keys() == {0, 1, 2}
    assert content(heard[1])["length"] == 0
    assert b"raw bytes\nfrom a child\n" in errors
    assert process.returncode == 0
