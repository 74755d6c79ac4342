"""A client of a server on standard input and output, cheap enough to measure the server and not itself.

Lines are made beforehand, written in blocks and only counted when they come back; what they say is looked at after
the clock has stopped.
"""

import json
import os
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tokenward.engine.types import JsonObject, JsonValue

HELLO: JsonObject = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "0"},
}
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
_READ_BYTES = 2**16


def request(request_id: int, method: str, params: JsonValue) -> bytes:
    """A request as a line."""
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}).encode() + b"\n"


def tool_call(request_id: int, tool: str, arguments: Mapping[str, JsonValue]) -> bytes:
    """A call of a tool as a line."""
    return request(request_id, "tools/call", {"name": tool, "arguments": dict(arguments)})


def checked_answer(line: bytes) -> JsonObject:
    """What a tool said.

    Raises:
        RuntimeError: It is an error.
    """
    answer: JsonObject = json.loads(line)
    result = answer.get("result")
    if not isinstance(result, dict) or result.get("isError"):
        raise RuntimeError(f"the server answered {line!r}")
    content = result.get("structuredContent")
    return content if isinstance(content, dict) else {}


@dataclass
class PipeClient:
    """One server process and the pipes to it, after the handshake."""

    process: subprocess.Popen[bytes]
    rest: bytes = b""

    def exchange(self, lines: Sequence[bytes], in_flight: int) -> tuple[float, list[bytes]]:
        """Send all lines with at most so many unanswered, and give the seconds that took, and the answers.

        What is in flight must fit into a pipe (64 KiB) in both directions: writing waits for nobody to read.
        """
        sink, source = self.handles
        answers: list[bytes] = []
        start = time.perf_counter()
        os.write(sink, b"".join(lines[:in_flight]))
        sent = min(in_flight, len(lines))
        while len(answers) < len(lines):
            chunk = os.read(source, _READ_BYTES)
            if not chunk:
                raise RuntimeError("the server has left")
            *whole, self.rest = (self.rest + chunk).split(b"\n")
            answers += whole
            free = in_flight - (sent - len(answers))
            if free > 0 and sent < len(lines):
                os.write(sink, b"".join(lines[sent : sent + free]))
                sent += min(free, len(lines) - sent)
        return time.perf_counter() - start, answers

    @property
    def handles(self) -> tuple[int, int]:
        """The ends of the pipes: to the server and from it."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("a pipe is missing")
        return self.process.stdin.fileno(), self.process.stdout.fileno()

    def ask(self, method: str, params: JsonValue) -> JsonObject:
        """One request and its answer, decoded."""
        _, answers = self.exchange([request(0, method, params)], 1)
        answer: JsonObject = json.loads(answers[0])
        return answer


@contextmanager
def pipe_client(
    command: Sequence[str], cwd: str, environment: Mapping[str, str] | None = None
) -> Generator[PipeClient]:
    """A server started with a command, after the handshake, until the end of the block."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=cwd, bufsize=0, env=environment
    ) as process:
        client = PipeClient(process)
        try:
            client.ask("initialize", HELLO)
            os.write(client.handles[0], INITIALIZED)
            yield client
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(30)
