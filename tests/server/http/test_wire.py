"""What comes over the wire before, between and after bodies."""

import anyio
import pytest
from anyio.abc import SocketStream

from tests.server.http.serving import Protocol, call, serving
from tokenward.server.http.bounded import MAX_HEAD_BYTES

pytestmark = pytest.mark.anyio

PROTOCOLS = pytest.mark.parametrize("protocol", ["httptools", "h11"])
HOST = b"Host: localhost\r\n"
BEGINNINGS = {
    "target": (b"GET /", b"a" * 4_096),
    "name": (b"GET /healthz HTTP/1.1\r\n" + HOST, b"a" * 4_096),
    "value": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: ", b"a" * 4_096),
    "lines": (b"GET /healthz HTTP/1.1\r\n" + HOST, b"a:b\r\n" * 800),
}
"""How a head begins, and what then comes again and again."""


async def flooded(stream: SocketStream, begun: bytes, piece: bytes) -> tuple[bytes, int]:
    """What is answered to who goes on for ever, and after how many bytes."""
    answer, sent = b"", 0

    async def read() -> None:
        nonlocal answer
        try:
            async for chunk in stream:
                answer += chunk
        except anyio.BrokenResourceError:
            pass
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        try:
            await stream.send(begun)
            while sent < 16 * 2**20:
                await stream.send(piece)
                sent += len(piece)
        except (anyio.BrokenResourceError, OSError):
            pass
    return answer, sent


@PROTOCOLS
@pytest.mark.parametrize("place", BEGINNINGS)
async def test_a_head_without_an_end_is_not_kept(protocol: Protocol, place: str) -> None:
    async with serving(protocol=protocol) as served, await served.connected() as stream:
        answer, sent = await flooded(stream, *BEGINNINGS[place])
        # A kernel holds some MiB on the way.
        assert sent < 16 * 2**20
        assert answer.startswith(b"HTTP/1.1 431 " if protocol == "httptools" else b"HTTP/1.1 400 ") or not answer
        assert (await served.client.get("/healthz")).status_code == 200


async def test_a_whole_head_that_is_too_long_is_refused() -> None:
    head = b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\nX: %s\r\n\r\n"
    async with serving(protocol="httptools") as served:
        assert (await served.raw(head % (b"a" * (MAX_HEAD_BYTES - 200)))).startswith(b"HTTP/1.1 200 ")
        assert (await served.raw(head % (b"a" * MAX_HEAD_BYTES))).startswith(b"HTTP/1.1 431 ")


@PROTOCOLS
async def test_what_comes_after_a_body_are_no_headers(protocol: Protocol) -> None:
    request = (
        b"POST /mcp HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nAccept: application/json\r\n"
        b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nOrigin: http://evil.example\r\n\r\n"
    )
    async with serving(protocol=protocol) as served:
        assert (await served.raw(request)).startswith(b"HTTP/1.1 400 ")  # and not 403


async def test_trailers_without_an_end_are_not_kept() -> None:
    begun = b"POST /mcp HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    async with serving(protocol="httptools") as served, await served.connected() as stream:
        _, sent = await flooded(stream, begun, b"a:b\r\n" * 800)
        assert sent < 16 * 2**20


async def test_long_bodies_are_no_heads() -> None:
    async with serving(protocol="httptools") as served:
        for _ in range(3):
            assert (await served.post(call("echo", text="x" * 2_000_000))).status_code == 200
