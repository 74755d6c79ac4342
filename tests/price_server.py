"""A server on the loopback that sends price data, well or badly, over real sockets."""

import gzip
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

Answer: TypeAlias = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class PriceServer:
    """Where it is, what it answers by path, and which paths it was asked for."""

    url: str
    answers: dict[str, Answer] = field(default_factory=dict[str, Answer])
    asked: list[str] = field(default_factory=list[str])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    closing: threading.Event = field(default_factory=threading.Event)


def sends(body: bytes, *, status: int = 200, length: int | None = None, **headers: str) -> Answer:
    """Sends a body, with another length in front if one is given."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirects(location: str) -> Answer:
    """Leads elsewhere."""
    return sends(b"", status=302, Location=location)


def endless(closing: threading.Event) -> Answer:
    """Sends zeros until the client has had enough."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not closing.is_set():
            handler.wfile.write(b"0" * 65_536)

    return answer


def silent(closing: threading.Event) -> Answer:
    """Begins a body and then says nothing."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"[")
        closing.wait(30)

    return answer


def bomb(size: int) -> bytes:
    """Much, packed small."""
    return gzip.compress(b" " * size)


@contextmanager
def price_server() -> Generator[PriceServer]:
    """A server of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.asked.append(self.path)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.close_connection = True
            try:
                server.answers.get(self.path, sends(b"Not Found", status=404))(self)
            except (BrokenPipeError, ConnectionResetError):
                return

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
            return

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = PriceServer(f"http://127.0.0.1:{listening.server_address[1]}")
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        listening.shutdown()
        thread.join()
        listening.server_close()
