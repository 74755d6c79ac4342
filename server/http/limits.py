"""What one request may take, and how many there may be at once."""

from collections.abc import Collection
from http import HTTPStatus

import anyio
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenward.server.calls import NEVER_ANSWERED
from tokenward.server.http.drain import Drain
from tokenward.server.http.exchange import Exchange
from tokenward.server.http.paths import MCP_PATH, SSE_PATH
from tokenward.server.http.replies import CUT_OFF, TOO_LONG

_RETRY_AFTER = {"Retry-After": "1"}
_HANDSHAKE_VERSIONS = frozenset(one.encode() for one in HANDSHAKE_PROTOCOL_VERSIONS)


class Limits:
    """Bounds the length of a request's body, the time it takes, and the number of requests at work.

    Streams that live as long as their client wants have no limit of time, but a number of their own; they end when the
    server does.

    Args:
        app: What is bounded.
        max_body_bytes: Longer bodies are refused with 413.
        max_concurrency: More requests than that are refused with 503 and ``Retry-After``; so are more streams.
        timeout_seconds: What takes longer is ended; with 504 if the answer has not begun.
        drain: Tells when the server ends.
        always_open: Paths that are answered however many requests are at work: those that say how the server is.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        max_concurrency: int,
        timeout_seconds: float,
        drain: Drain,
        always_open: Collection[str] = (),
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_concurrency = max_concurrency
        self._timeout_seconds = timeout_seconds
        self._drain = drain
        self._always_open = frozenset(always_open)
        self._at_work = 0
        self._streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(
            scope,
            receive,
            send,
            drain=self._drain,
            max_body_bytes=self._max_body_bytes,
            arrival_seconds=self._timeout_seconds,
        )
        if exchange.is_too_long:
            await exchange.refuse_length()  # takes no place
        elif is_stream(scope):
            await self._stream(exchange, ends_itself=scope["path"] == SSE_PATH)
        elif scope["path"] in self._always_open:
            await self._answer(exchange)
        elif self._at_work >= self._max_concurrency:
            await _later(exchange, "Too much is being worked on.")
        else:
            self._at_work += 1
            try:
                await self._answer(exchange)
            finally:
                self._at_work -= 1

    async def _answer(self, exchange: Exchange) -> None:
        with anyio.move_on_after(self._timeout_seconds) as ending:
            await exchange.serve(self._app, ending)
        if not ending.cancelled_caught or exchange.left:
            return
        if self._drain.over:
            await exchange.refuse(HTTPStatus.SERVICE_UNAVAILABLE, CUT_OFF, **_RETRY_AFTER)
        else:
            await exchange.refuse(HTTPStatus.GATEWAY_TIMEOUT, TOO_LONG)

    async def _stream(self, exchange: Exchange, *, ends_itself: bool) -> None:
        if self._streams >= self._max_concurrency or self._drain.begun:
            await _later(exchange, "No more streams are opened now.")
            return
        self._streams += 1
        try:
            async with anyio.create_task_group() as group:
                if not ends_itself:
                    group.start_soon(self._end_with_server, group.cancel_scope)
                await exchange.serve(self._app, group.cancel_scope)
                group.cancel_scope.cancel()
            if self._drain.begun and not exchange.left:
                await _later(exchange, "The server is ending.")
        finally:
            self._streams -= 1

    async def _end_with_server(self, stream: anyio.CancelScope) -> None:
        await self._drain.wait()
        stream.cancel()


async def _later(exchange: Exchange, detail: str) -> None:
    await exchange.refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"{detail} Come again.", **_RETRY_AFTER)


def is_stream(scope: Scope) -> bool:
    """Whether the answer is a stream that lives as long as its client wants."""
    if scope["path"] == SSE_PATH:
        return bool(scope["method"] == "GET")
    if scope["path"] != MCP_PATH:
        return False
    return scope["method"] == "GET" or _is_subscription(scope["headers"])


def _is_subscription(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a request says that it listens. The newest protocol refuses those that lie; older ones do not look.

    Each header has to stand once: of two, the SDK might read the other one.
    """
    methods, versions = (
        [value for key, value in headers if key == name] for name in (b"mcp-method", b"mcp-protocol-version")
    )
    return methods == [NEVER_ANSWERED.encode()] and len(versions) == 1 and versions[0] not in _HANDSHAKE_VERSIONS
