"""Callers that want more than their part: of the streams, of the time, of the event loop."""

import errno
import json
import socket
import struct
import threading
from contextlib import AsyncExitStack
from functools import partial
from hashlib import sha256
from typing import Any
from unittest.mock import Mock

import anyio
import anyio.to_thread
import httpx2
import pytest
from anyio.abc import SocketAttribute, SocketStream
from sse_starlette.sse import EventSourceResponse

from tests.server.http.serving import HEADERS, MODERN, Protocol, call, serving, settings_for
from tests.server.http.sleepers import listen
from tests.server.odd_server import open_context
from tests.waiting import NET_SECONDS, settled, until
from tokenward.server.http import exchange
from tokenward.server.http.endpoint import off_loop
from tokenward.server.http.limits import is_stream
from tokenward.server.http.serve import UNREAD_TICKS, waiting_connections
from tokenward.server.settings import Settings
from tokenward.server.strict import StrictServer
from tokenward.tools.definition import Result, Tool, ToolContext

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


@PROTOCOLS
async def test_nobody_gets_all_the_places(protocol: Protocol) -> None:
    """Somebody whose requests never come to an end keeps the others from nothing."""
    slow = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\n"
    slow += "Authorization: Bearer alice-token\r\nContent-Length: 100\r\n\r\n"
    async with serving(with_tokens("alice", "bob", max_concurrency=4), real=True, protocol=protocol) as served:

        async def asked(subject: str) -> httpx2.Response:
            token = {"Authorization": f"Bearer {subject}-token"}
            return await served.post(call("count_tokens", text="x", model="gpt-4o"), **token)

        async def refused() -> bool:
            return (await asked("alice")).status_code == 429

        async def served_again() -> bool:
            return (await asked("alice")).status_code == 200

        async with AsyncExitStack() as stack:
            for _ in range(4):
                stream = await stack.enter_async_context(await served.connected())
                await stream.send(slow.encode())
            await until(refused)
            answer = await asked("alice")
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            assert "2 requests at work, which is your share" in answer.text
            assert (await asked("bob")).status_code == 200
        await until(served_again)


def _sent_in_one_go(port: int, request: bytes) -> bytes:
    """What a client reads that reads nothing before it has sent all, as many do."""
    with socket.create_connection(("127.0.0.1", port), timeout=NET_SECONDS) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
        return answer


@PROTOCOLS
@pytest.mark.parametrize("path", ["/mcp", "/healthz"])
async def test_who_sends_too_much_in_one_go_reads_the_refusal(
    protocol: Protocol, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_UNREAD_SECONDS", 2 * NET_SECONDS)
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


async def _left(stream: SocketStream) -> None:
    """Leave without a word: what is unread is thrown away."""
    raw = stream.extra(SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


@PROTOCOLS
async def test_a_stream_ends_with_its_connection_also_before_another_request(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EventSourceResponse, "DEFAULT_PING_INTERVAL", 0.05)
    head = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    async with serving(settings_for(sse=True, max_concurrency=1), protocol=protocol) as served:
        stream = await served.connected()
        await stream.send(head % b"/sse")
        assert (await stream.receive()).startswith(b"HTTP/1.1 200 ")
        await stream.send(head % b"/healthz")
        await settled()
        await _left(stream)

        async def is_free() -> bool:
            async with served.client.stream("GET", "/sse") as answer:
                return answer.status_code == 200

        await until(is_free)


class Long(Result):
    """More than the buffers of a connection take."""

    text: str


def long_winded() -> StrictServer:
    async def tell(context: ToolContext) -> Long:
        return Long(text="x" * 2**24)

    tools = [Tool(run=tell, description="", result=Long, read_only=True, idempotent=True)]
    return StrictServer("s", version="1", instructions="", load_tools=lambda: tools, open_context=open_context)


@PROTOCOLS
async def test_an_answer_that_nobody_reads_is_not_kept(protocol: Protocol) -> None:
    body = json.dumps(call("tell")).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    request = f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    async with serving(server=long_winded(), protocol=protocol) as served, await served.connected() as stream:

        def unread_bytes() -> int:
            return sum(one.transport.get_write_buffer_size() for one in served.server.server_state.connections)

        async def tick() -> bool:
            await served.server.on_tick(UNREAD_TICKS)
            await settled()
            return bool(served.server.server_state.connections)

        async def is_answered() -> bool:
            return unread_bytes() > 2**21

        async def is_read_on() -> bool:
            await stream.receive(2**20)
            return unread_bytes() < before

        await stream.send(request)
        await until(is_answered)
        assert await tick()
        before = unread_bytes()
        await until(is_read_on)
        assert await tick()  # slowly, but it is read

        async def is_given_up() -> bool:
            return not await tick()

        await until(is_given_up)  # at the first tick before which the kernel took nothing more


async def test_who_reads_one_answer_after_the_other_stays() -> None:
    connection = Mock(timeout_keep_alive_task=None, cycle=Mock(response_complete=False))
    connection.transport.get_write_buffer_size.return_value = 5
    async with serving() as served:
        served.server.server_state.connections.add(connection)
        for _ in range(3):
            await served.server.on_tick(UNREAD_TICKS)
            connection.cycle = Mock(response_complete=False)
        assert not connection.transport.abort.called
        for _ in range(2):
            await served.server.on_tick(UNREAD_TICKS)
        assert connection.transport.abort.called
        served.server.server_state.connections.discard(connection)


def test_the_end_is_in_order_where_no_more_connections_can_be_opened() -> None:
    class Exhausted(socket.socket):
        def accept(self) -> tuple[socket.socket, Any]:
            raise OSError(errno.EMFILE, "Too many open files")

    with Exhausted() as listener:
        assert waiting_connections(listener) == []
