"""The server as a process: real pipes, sockets, files and signals."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.server.odd_server import SECRET
from tests.waiting import NET_SECONDS
from tokenward.engine.types import JsonObject, JsonValue

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
ODD = (sys.executable, "-W", "error", "-m", "tests.server.odd_server")
SERVE = """
from tokenward.server.application import serve_stdio
from tokenward.server.settings import load_settings
serve_stdio(load_settings(store="memory://"))
"""
REAL = (sys.executable, "-W", "error", "-c", SERVE)

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


def line(request_id: int, method: str, params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}).encode() + b"\n"


def call(request_id: int, tool: str, **arguments: object) -> bytes:
    return line(request_id, "tools/call", {"name": tool, "arguments": arguments})


HANDSHAKE = line(0, "initialize", HELLO) + b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'


@contextmanager
def started(command: tuple[str, ...]) -> Generator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRONMENT, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def talk(command: tuple[str, ...], *lines: bytes) -> tuple[list[JsonObject], str]:
    """Say all lines, and give the answers and what was logged. The server must end well."""
    with started(command) as process:
        output, errors = process.communicate(HANDSHAKE + b"".join(lines), timeout=NET_SECONDS)
        assert process.returncode == 0, errors.decode()
    answers = [json.loads(answer) for answer in output.splitlines()]
    assert [answer["id"] for answer in answers].count(0) == 1
    return [answer for answer in answers if answer["id"] != 0], errors.decode()


def content(answer: JsonObject) -> JsonObject:
    result = answer["result"]
    assert isinstance(result, dict)
    structured = result["structuredContent"]
    assert isinstance(structured, dict)
    return structured


def by_id(answers: list[JsonObject]) -> dict[JsonValue, JsonObject]:
    return {json.dumps(answer["id"]): answer for answer in answers}


def test_calls_are_answered_before_the_end() -> None:
    answers, log = talk(ODD, call(1, "nap", seconds=0.2), call(2, "echo", text="hi"))
    served = by_id(answers)
    assert served.keys() == {"1", "2"}
    assert content(served["2"]) == {"length": 2, "text": "hi"}
    assert log == "opened\nstray output\nclosed\n"


def test_odd_lines_do_no_harm() -> None:
    answers, _ = talk(
        ODD,
        b"\n  \n",
        b"{bad\n",
        b"[1]\n",
        b'{"jsonrpc":"2.0","id":9}\n',
        call(1, "echo", text="a\ud800b"),
        b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"text":"\xff"}}}\n',
        call(3, "odd_name"),
    )
    errors = [answer["error"] for answer in answers if "error" in answer]
    assert [error["code"] for error in errors if isinstance(error, dict)] == [-32700, -32600, -32600]
    served = by_id([answer for answer in answers if "result" in answer])
    assert content(served["1"])["text"] == "a\ufffdb"
    assert content(served["2"])["text"] == "\ufffd"
    assert content(served["3"])["text"] == "a\ufffdb"


def test_malformed_cancellations_do_no_harm() -> None:
    lines: list[bytes] = []
    odd_ids: list[JsonValue] = [{}, [], 1.5, None, True, "never seen"]
    for number, request_id in enumerate(odd_ids, 1):
        notice = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}
        lines += [json.dumps(notice).encode() + b"\n", call(number, "count_tokens", text="x", model="gpt-4o")]
    answers, _ = talk(REAL, *lines)
    assert [content(answer)["tokens"] for answer in answers] == [1] * len(odd_ids)


def test_long_lines_are_served_and_too_long_ones_refused() -> None:
    start = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"'
    answers, _ = talk(
        ODD,
        start % 1 + b"x" * 20_000_000 + b'"}}}\n',
        start % 2 + b"x" * (96 * 2**20) + b'"}}}\n',
        call(3, "echo", text="after"),
    )
    answered = by_id(answers)
    assert content(answered["1"])["length"] == 20_000_000
    assert "error" in answered["null"]
    assert content(answered["3"])["text"] == "after"


def test_an_internal_error_leaks_nothing() -> None:
    answers, log = talk(ODD, call(1, "crash", text=SECRET))
    assert "Internal error in tool crash" in json.dumps(answers)
    assert "RuntimeError" in log
    assert SECRET not in json.dumps(answers) + log
    assert str(ROOT) not in json.dumps(answers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_good_order(number: signal.Signals) -> None:
    with started(ODD) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(HANDSHAKE + call(1, "nap", seconds=600) + call(2, "echo", text="hi"))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 0
        assert json.loads(process.stdout.readline())["id"] == 2
        process.send_signal(number)
        output, errors = process.communicate(timeout=NET_SECONDS)
    assert process.returncode == 0
    assert b"Traceback" not in errors
    assert errors.endswith(b"closed\n")
    assert [json.loads(answer)["id"] for answer in output.splitlines()] in ([], [1])


def test_a_client_that_leaves_ends_it() -> None:
    with started(ODD) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(HANDSHAKE)
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(call(1, "echo", text="hi"))
        process.stdin.flush()
        assert process.wait(timeout=NET_SECONDS) == 0


def test_no_input_is_a_good_end() -> None:
    with started(ODD) as process:
        output, errors = process.communicate(b"", timeout=NET_SECONDS)
    assert (process.returncode, output, errors) == (0, b"", b"")


def test_files_are_served(tmp_path: Path) -> None:
    said, heard = tmp_path / "in", tmp_path / "out"
    said.write_bytes(HANDSHAKE + call(1, "nap", seconds=0.1))
    with said.open("rb") as inward, heard.open("wb") as outward:
        subprocess.run(
            ODD,
            stdin=inward,
            stdout=outward,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd=ROOT,
            check=True,
            timeout=NET_SECONDS,
        )
    assert [json.loads(answer)["id"] for answer in heard.read_bytes().splitlines()] == [0, 1]


@pytest.mark.parametrize("shared", [False, True])
def test_sockets_are_served(shared: bool) -> None:
    here, there = socket.socketpair()
    other_here, other_there = (here, there) if shared else socket.socketpair()
    process = subprocess.Popen(
        ODD, stdin=there.fileno(), stdout=other_there.fileno(), stderr=subprocess.DEVNULL, env=ENVIRONMENT, cwd=ROOT
    )
    there.close()
    other_there.close()
    with process, here, other_here, other_here.makefile("rb") as answers:
        try:
            here.sendall(HANDSHAKE)
            assert json.loads(answers.readline())["id"] == 0
            here.sendall(call(1, "echo", text="hi"))
            assert json.loads(answers.readline())["id"] == 1
            here.shutdown(socket.SHUT_WR)
            assert process.wait(timeout=NET_SECONDS) == 0
        finally:
            process.kill()


def test_a_terminal_is_served_until_interrupted() -> None:
    import pty  # not on Windows

    here, there = pty.openpty()
    process = subprocess.Popen(
        ODD, stdin=there, stdout=there, stderr=subprocess.DEVNULL, env=ENVIRONMENT, cwd=ROOT, start_new_session=True
    )
    os.close(there)
    with process, os.fdopen(here, "r+b", 0) as terminal:
        try:
            terminal.write(line(7, "ping", {}))
            shown = b""
            while b'"result"' not in shown:
                shown += terminal.read(1000)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=NET_SECONDS) == 0
        finally:
            process.kill()


def test_a_run_of_spaces_is_counted_soon() -> None:
    answers, _ = talk(REAL, call(1, "count_tokens", text=" " * 1_000_000, model="gpt-4o"))
    tokens = content(answers[0])["tokens"]
    assert isinstance(tokens, int)
    assert 1 <= tokens <= 1_000_000


def test_the_server_stays_live_while_it_counts_much() -> None:
    many = [f"{number} words of a text" for number in range(1_000_000)]
    answers, _ = talk(
        REAL,
        call(1, "count_tokens", text="\n".join(many), model="gpt-4o"),
        line(2, "ping", {}),
    )
    assert [answer["id"] for answer in answers] == [2, 1]


@pytest.mark.anyio
@pytest.mark.parametrize("era", ["legacy", "2026-07-28", "auto"])
async def test_the_sdks_client_is_served(era: str) -> None:
    server = StdioServerParameters(command=REAL[0], args=list(REAL[1:]), env=ENVIRONMENT, cwd=ROOT)
    async with Client(stdio_client(server), mode=era) as client:
        listed = await client.list_tools()
        result = await client.call_tool("count_tokens", {"text": '{"a": 1}', "model": "gpt-4o"})
    assert len(listed.tools) == 9
    counted: JsonObject | None = result.structured_content
    assert counted is not None
    assert counted["tokens"] == 6
