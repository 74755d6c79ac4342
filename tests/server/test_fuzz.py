"""Ten thousand malformed messages at each door: each is answered or was none to answer, and memory stays flat."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import IO

import pytest

from tests.server.malformed import ENVELOPE, TOOLS, Era, Malformed
from tests.server.test_stdio import ENVIRONMENT, HANDSHAKE, ROOT
from tests.waiting import NET_SECONDS
from tokenward.engine.types import JsonObject, JsonValue

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

MESSAGES = int(os.environ.get("TOKENWARD_FUZZ_MESSAGES", "10000"))
"""Of both protocol eras together, at each door."""
PART = 500
SEED = 20_261_122
FLAT_BYTES = 6 * 2**20
"""How much the typical size may grow from the second quarter of the messages to the last one: 2.5 KiB a message."""

QUIET = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("COVERAGE")} | {
    "TOKENWARD_STORE": "memory://",
    "TOKENWARD_FAST": "false",  # a second core is loaded once there was much to count
    "TOKENWARD_LOG_LEVEL": "CRITICAL",  # a warning for each is not what is looked at
}
SERVE = (sys.executable, "-W", "error", "-m", "tokenward", "serve")


def resident_bytes(process: subprocess.Popen[bytes]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def send(stream: IO[bytes], lines: bytes) -> None:
    stream.write(lines)
    stream.flush()


def good_calls(era: Era) -> list[bytes]:
    """One of each tool, after which a server has loaded what the malformed ones will make it load."""
    meta: JsonObject = {"_meta": ENVELOPE} if era == "2026-07-28" else {}
    calls = [{"name": name, "arguments": arguments, **meta} for name, arguments in TOOLS]
    return [
        json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": call}).encode()
        for number, call in enumerate(calls, 1)
    ]


def is_answered(line: bytes) -> bool:
    """Whether JSON-RPC wants an answer to this: to all but notifications, answers and empty lines."""
    if not line.strip():
        return False
    if b"[" * 1_000 in line:  # too deep for the server, though not for every Python's own reader
        return True
    content: JsonValue = None
    try:
        content = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return True
    if not isinstance(content, dict) or content.get("jsonrpc") != "2.0":
        return True
    if "method" in content:
        params = content.get("params")
        return "id" in content or not isinstance(content["method"], str) or not isinstance(params, dict | None)
    return not _is_answer(content)


def _is_answer(content: JsonObject) -> bool:
    known, error = content.get("id"), content.get("error")
    if isinstance(known, bool) or not isinstance(known, int | str):
        return False
    if isinstance(error, dict):
        return isinstance(error.get("code"), int) and isinstance(error.get("message"), str)
    return isinstance(content.get("result"), dict)


def assert_flat(resident: list[int]) -> None:
    quarter = len(resident) // 4
    before, after = median(resident[quarter : 2 * quarter]), median(resident[-quarter:])
    assert after - before < FLAT_BYTES, [one >> 10 for one in resident]


@pytest.mark.parametrize("era", ["2025-11-25", "2026-07-28"])
def test_stdio_answers_whatever_comes(era: Era) -> None:
    made = Malformed(SEED, era)
    resident: list[int] = []
    with (
        subprocess.Popen(
            SERVE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=QUIET, cwd=ROOT
        ) as process,
        ThreadPoolExecutor(1) as writer,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            send(process.stdin, (HANDSHAKE if era == "2025-11-25" else b"") + b"\n".join(good_calls(era)) + b"\n")
            for _ in range(len(TOOLS) + (era == "2025-11-25")):
                assert "result" in json.loads(process.stdout.readline())
            for _ in range(MESSAGES // 2 // PART):
                lines = [made.next() for _ in range(PART)]
                sent = writer.submit(send, process.stdin, b"\n".join(lines) + b"\n")
                for _ in filter(is_answered, lines):
                    answer = json.loads(process.stdout.readline())
                    assert ("result" in answer) != ("error" in answer), answer
                sent.result()
                resident.append(resident_bytes(process))
            process.stdin.close()
            assert process.stdout.read() == b""
            assert process.wait(NET_SECONDS) == 0
            assert process.stderr.read() == b""
        finally:
            process.kill()
    assert_flat(resident)


@contextmanager
def served_over_http() -> Generator[tuple[subprocess.Popen[bytes], int]]:
    command = (*SERVE, "--transport", "http", "--port", "0")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=QUIET, cwd=ROOT) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline().decode()
            port = re.search(r":(\d+)/", said)
            assert port, said
            yield process, int(port.group(1))
            process.send_signal(signal.SIGTERM)
            assert process.wait(NET_SECONDS) == 0
            assert process.stderr.read() == b""
        finally:
            process.kill()


def post(connection: http.client.HTTPConnection, message: bytes, era: Era) -> tuple[int, bytes]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": era,
    }
    if era == "2026-07-28":
        headers |= _routing(message)
    connection.request("POST", "/mcp", message, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def _routing(message: bytes) -> dict[str, str]:
    """What the newer era repeats of a message in its headers, where that can be said."""
    try:
        content = json.loads(message)
        named = {"Mcp-Method": str(content["method"]), "Mcp-Name": str(content["params"]["name"])}
    except (ValueError, RecursionError, KeyError, TypeError):
        return {}
    return {name: value for name, value in named.items() if value.isascii() and value.isprintable()}


@pytest.mark.parametrize("era", ["2025-11-25", "2026-07-28"])
def test_http_answers_whatever_comes(era: Era) -> None:
    made = Malformed(SEED, era)
    resident: list[int] = []
    with served_over_http() as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=NET_SECONDS)
        for call in good_calls(era):
            _, body = post(connection, call, era)
            assert "result" in json.loads(body)
        for _ in range(MESSAGES // 2 // PART):
            for message in (made.next() for _ in range(PART)):
                status, body = post(connection, message, era)
                assert status in (200, 202, 400, 404, 406), (message[:300], status, body)
                if status == 200:
                    assert json.loads(body)["jsonrpc"] == "2.0"
            resident.append(resident_bytes(process))
        connection.close()
    assert_flat(resident)
