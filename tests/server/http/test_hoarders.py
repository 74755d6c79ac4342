"""Callers that want more than their part: of the streams, of the time, of the event loop."""

import json
import socket
import threading
from contextlib import AsyncExitStack
from functools import partial
from hashlib import sha256
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests.server.http.serving import HEADERS, MODERN, Protocol, call, serving, settings_for
from tests.server.http.sleepers import listen
from tokenward.server.http.endpoint import off_loop
from tokenward.server.http.limits import is_stream
from tokenward.server.settings import Settings

pytestmark = pytest.mark.anyio

PROTOCOLS = pytest.mark.parametrize("protocol", ["httptools", "h11"])
LISTENS = (b"mcp-method", b"subscriptions/listen")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([LISTENS, (b"mcp-protocol-version", MODERN.encode())], True),
        ([LISTENS], False),
        ([LISTENS, (b"mcp-protocol-version", b"2025-11-25")], False),
        ([LISTENS, *[(b"mcp-protocol-version", one) for one in (b"2025-11-25", MODERN.encode())]], False),
        ([LISTENS, *[(b"mcp-protocol-version", MODERN.encode())] * 2], False),
        ([LISTENS, (b"mcp-method", b"tools/call"), (b"mcp-protocol-version", MODERN.encode())], False),
        ([(b"mcp-method", b"tools/call"), LISTENS, (b"mcp-protocol-version", MODERN.encode())], False),
    ],
)
def test_a_stream_is_what_says_so_once(headers: list[tuple[bytes, bytes]], expected: bool) -> None:
    assert is_stream({"type": "http", "method": "POST", "path": "/mcp", "headers": headers}) is expected


def with_tokens(*subjects: str, **http: object) -> Settings:
    """Each subject's token is its name and ``-token``."""
    tokens = [{"hash": f"sha256:{sha256(f'{one}-token'.encode()).hexdigest()}", "subject": one} for one in subjects]
    return Settings.model_validate({"store": "memory://", "http": {"port": 0, **http}, "auth": {"tokens": tokens}})


async def test_nobody_gets_all_the_streams() -> None:
    message, headers = listen()
    async with serving(with_tokens("alice", "bob", sse=True, max_concurrency=8), real=True) as served:

        def ways(subject: str) -> list[Any]:
            token = {"Authorization": f"Bearer {subject}-token"}
            subscription = {**HEADERS, **headers, **token}
            return [
                partial(served.client.stream, "GET", "/sse", headers=token),
                partial(served.client.stream, "POST", "/mcp", json=message, headers=subscription),
            ]

        async with AsyncExitStack() as stack:
            for way in ways("alice"):
                assert (await stack.enter_async_context(way())).status_code == 200
            for way in ways("alice"):
                async with way() as refused:
                    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            for way in ways("bob"):
                assert (await stack.enter_async_context(way())).status_code == 200


def _sent_in_one_go(port: int, request: bytes) -> bytes:
    """What a client reads that reads nothing before it has sent all, as many do."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
        return answer


@PROTOCOLS
@pytest.mark.parametrize("path", ["/mcp", "/healthz"])
async def test_who_sends_too_much_in_one_go_reads_the_refusal(protocol: Protocol, path: str) -> None:
    body = json.dumps(call("echo", text="x" * 9_000_000)).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\n"
    head += "Connection: close\r\n"
    async with serving(settings_for(max_body_bytes=4_000_000), protocol=protocol) as served:
        whole = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        answer = await anyio.to_thread.run_sync(_sent_in_one_go, served.port, whole)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"longer than 4000000 bytes" in answer
        if path == "/mcp":
            chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
            answer = await anyio.to_thread.run_sync(_sent_in_one_go, served.port, chunked)
            assert answer.startswith(b"HTTP/1.1 413 ")


async def test_who_is_too_long_takes_no_place() -> None:
    head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000\r\n\r\n{"
    settings = settings_for(max_body_bytes=2_000, max_concurrency=1)
    async with serving(settings) as served, await served.connected() as stream:
        await stream.send(head)
        assert (await stream.receive()).startswith(b"HTTP/1.1 413 ")
        assert (await served.post(call("echo", text="x"))).status_code == 200


async def test_long_bodies_are_read_in_a_thread() -> None:
    def where(_: bytes) -> int:
        return threading.get_ident()

    assert await off_loop(where, b"x" * 1_000) == threading.get_ident()
    assert await off_loop(where, b"x" * 1_000_000) != threading.get_ident()
