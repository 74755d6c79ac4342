"""``tokenward serve --transport http`` as a process, and MCP spoken to it in plain requests."""

import re
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2

from tests.packaging.project import ROOT
from tests.postgres import free_port
from tests.waiting import NET_SECONDS, wait_until
from tokenward.engine.types import JsonObject

AUTH_EXAMPLE = ROOT / "docs" / "examples" / "auth.toml"
PROTOCOL = "2025-11-25"
HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": PROTOCOL}
# What a balancer or a replica says when a request found nobody who takes it now.
COME_AGAIN = {502, 503, 504}


def example_token() -> str:
    """The clear token that the example of an authenticated server names in a comment."""
    found = re.search(r"^# token: (\S+)$", AUTH_EXAMPLE.read_text("utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


@dataclass(slots=True)
class Server:
    """A process that serves HTTP on a loopback port."""

    process: "subprocess.Popen[bytes]"
    port: int

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    def answers(self, path: str = "/readyz") -> bool:
        """Whether it answers with success. A process that has ended is an error: nothing more is to be waited for."""
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
        try:
            return httpx2.get(f"{self.url}{path}", trust_env=False, timeout=NET_SECONDS).is_success
        except httpx2.TransportError:
            return False

    def end(self) -> int:
        """Ask it to end in good order; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(NET_SECONDS)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(NET_SECONDS)


def start(environment: Mapping[str, str], options: Sequence[str] = (), port: int | None = None) -> Server:
    """Start a server; it is not waited for."""
    port = port or free_port()
    command = [sys.executable, "-m", "tokenward", *options, "serve", "--transport", "http", "--port", str(port)]
    return Server(subprocess.Popen(command, env=dict(environment), stdin=subprocess.DEVNULL), port)


@contextmanager
def serving(environment: Mapping[str, str], options: Sequence[str] = ()) -> Generator[Server]:
    """A server that answers, until the end of the block."""
    server = start(environment, options)
    try:
        wait_until(server.answers)
        yield server
    finally:
        server.kill()


def ask(client: httpx2.Client, url: str, method: str, params: JsonObject) -> JsonObject:
    """One request of MCP and its result; errors of HTTP and of JSON-RPC are errors here."""
    answer = client.post(url, headers=HEADERS, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    answer.raise_for_status()
    message: JsonObject = answer.json()
    result = message.get("result")
    assert isinstance(result, dict), message
    return result


def call(client: httpx2.Client, url: str, tool: str, arguments: JsonObject) -> JsonObject:
    """A tool's structured result."""
    result = ask(client, url, "tools/call", {"name": tool, "arguments": arguments})
    content = result.get("structuredContent")
    assert not result.get("isError"), result
    assert isinstance(content, dict), result
    return content
