"""A client of a server over HTTP: a few open connections with one request on each, as cheap as :mod:`bench.pipes`.

Answers are only cut out of the stream while the clock runs; what they say is looked at afterwards.
"""

import json
import re
import select
import selectors
import socket
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.pipes import HELLO, INITIALIZED, request

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SESSION = re.compile(rb"\r\nmcp-session-id: *([^\r]+)", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"
_READ_BYTES = 2**16
_PATIENCE_SECONDS = 60.0


@dataclass
class Answer:
    """The head and the body of one answer, as they came."""

    head: bytes
    body: bytes

    @property
    def message(self) -> bytes:
        """The JSON in it: the body, or what the first event that has data says."""
        if b"text/event-stream" not in self.head.lower():
            return self.body
        found = re.search(rb"data: ?(\{.*\})", self.body)
        if found is None:
            raise RuntimeError(f"an event stream without a message: {self.body!r}")
        return found.group(1)


def _whole(data: bytes) -> Answer | None:
    """The answer that the bytes hold, once they are complete. A connection has only one on its way."""
    head, mark, body = data.partition(b"\r\n\r\n")
    if not mark:
        return None
    if (length := _LENGTH.search(head)) is not None:
        return Answer(head, body) if len(body) >= int(length.group(1)) else None
    return Answer(head, body) if body.endswith(_LAST_CHUNK) or b"chunked" not in head.lower() else None


@dataclass
class HttpClient:
    """Connections to one server, after the handshake."""

    port: int
    connections: list[socket.socket]
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def frame(self, message: bytes) -> bytes:
        """A message as a request."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        head = (
            f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n"
            f"Accept: application/json, text/event-stream\r\n{lines}Content-Length: {len(message)}\r\n\r\n"
        )
        return head.encode() + message

    def exchange(self, messages: Sequence[bytes]) -> tuple[float, list[Answer]]:
        """Send all, one at a time on each connection, and give the seconds that took, and the answers."""
        frames = [self.frame(message) for message in messages]
        answers: list[Answer] = []
        self._reopen()
        with selectors.DefaultSelector() as waiting:
            left = iter(frames)
            start = time.perf_counter()
            for connection, frame in zip(self.connections, left, strict=False):
                waiting.register(connection, selectors.EVENT_READ, bytearray())
                connection.sendall(frame)
            while len(answers) < len(frames):
                if not (ready := waiting.select(_PATIENCE_SECONDS)):
                    raise RuntimeError("the server does not answer")
                for key, _ in ready:
                    ready_one = key.fileobj
                    if not isinstance(ready_one, socket.socket):
                        raise TypeError("not a socket")
                    if not (chunk := ready_one.recv(_READ_BYTES)):
                        raise RuntimeError("the server closed the connection")
                    key.data.extend(chunk)
                    if (answer := _whole(bytes(key.data))) is None:
                        continue
                    answers.append(answer)
                    key.data.clear()
                    if (following := next(left, None)) is not None:
                        ready_one.sendall(following)
            seconds = time.perf_counter() - start
        return seconds, answers

    def _reopen(self) -> None:
        """Connections that the server closed because they were idle are opened again."""
        for index, one in enumerate(self.connections):
            if _is_closed(one):
                one.close()
                self.connections[index] = _opened(self.port)

    def greet(self) -> None:
        """The handshake of the older protocol era, and its session where the server keeps one."""
        _, (answer,) = self.exchange([request(0, "initialize", HELLO)])
        json.loads(answer.message)["result"]
        self.headers["MCP-Protocol-Version"] = str(HELLO["protocolVersion"])
        if (session := _SESSION.search(answer.head)) is not None:
            self.headers["Mcp-Session-Id"] = session.group(1).decode()
        self.exchange([INITIALIZED])


def _is_closed(connection: socket.socket) -> bool:
    """Whether the server closed it: then there is something to read, and it is the end."""
    readable, _, _ = select.select([connection], [], [], 0)
    try:
        return bool(readable) and not connection.recv(1, socket.MSG_PEEK)
    except ConnectionError:
        return True


def _opened(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _connected(port: int, process: subprocess.Popen[bytes]) -> socket.socket:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return _opened(port)
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no server on port {port}") from None
            time.sleep(0.02)


@contextmanager
def http_client(
    command: Sequence[str], port: int, *, connections: int, cwd: str, environment: Mapping[str, str] | None = None
) -> Generator[tuple[subprocess.Popen[bytes], HttpClient]]:
    """A server started with a command that makes it listen on the port, and a client of it, until the end."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd, env=environment
    ) as process:
        try:
            client = HttpClient(port, [_connected(port, process)])
            client.connections += [_opened(port) for _ in range(connections - 1)]
            client.greet()
            yield process, client
            for one in client.connections:
                one.close()
        finally:
            process.terminate()
            process.wait(30)
