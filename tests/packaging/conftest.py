"""A client of a few lines: raw JSON-RPC over a child's pipes, so that no SDK hides what is really sent."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeAlias

import pytest

from tests.waiting import NET_SECONDS
from tokenward.engine.types import JsonObject

# ask(command, environment, method, params): the answer to `method`, asked after the handshake
Ask: TypeAlias = Callable[[Sequence[str], dict[str, str], str, JsonObject], JsonObject]

HANDSHAKE: JsonObject = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "packaging-test", "version": "0"},
}


def send(pipe: IO[str], message: JsonObject) -> None:
    pipe.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    pipe.flush()


def answer(pipe: IO[str], request: int) -> JsonObject:
    for line in pipe:
        message: JsonObject = json.loads(line)
        if message.get("id") == request:
            result = message.get("result")
            assert isinstance(result, dict), message
            return result
    pytest.fail("the server closed its output without an answer")


def converse(process: "subprocess.Popen[str]", method: str, params: JsonObject) -> JsonObject:
    assert process.stdin is not None
    assert process.stdout is not None
    send(process.stdin, {"id": 1, "method": "initialize", "params": HANDSHAKE})
    handshake = answer(process.stdout, 1)
    assert isinstance(handshake["serverInfo"], dict)
    assert handshake["serverInfo"]["name"] == "tokenward"
    send(process.stdin, {"method": "notifications/initialized"})
    send(process.stdin, {"id": 2, "method": method, "params": params})
    return answer(process.stdout, 2)


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """Start a server away from the checkout, shake hands, ask one thing, and see it leave when its input ends."""
    started: list[subprocess.Popen[str]] = []

    def asks(command: Sequence[str], environment: dict[str, str], method: str, params: JsonObject) -> JsonObject:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=tmp_path,
            env=environment,
        )
        started.append(process)
        result = converse(process, method, params)
        process.communicate(timeout=NET_SECONDS)
        assert process.returncode == 0
        return result

    yield asks
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def clean_environment(tmp_path: Path) -> dict[str, str]:
    """This process's environment without what would let a child find the checkout or this user's settings."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in hidden and "TOKENWARD" not in name}
    return {**kept, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
