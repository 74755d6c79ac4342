"""MCP over HTTP as it was before Streamable HTTP: a stream of events at ``/sse``, messages posted to ``/messages/``.

For old clients. A session lives in the process that opened its stream.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

import anyio
from mcp.server.sse import SseServerTransport
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.message import SessionMessage
from mcp_types import (
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    RequestId,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenward.server.calls import NEVER_ANSWERED, OpenCalls
from tokenward.server.frames import UnreadableLine, read_message, write_message
from tokenward.server.http.drain import Drain
from tokenward.server.http.endpoint import off_loop
from tokenward.server.http.paths import MESSAGES_PATH, SSE_PATH
from tokenward.server.http.replies import REFUSED, TOO_LONG, refusal
from tokenward.server.strict import StrictServer

_SESSION_ID = re.compile(r"[0-9a-f]{32}")

_ENDED = (anyio.BrokenResourceError, anyio.ClosedResourceError)
"""What comes of handing on a message when the client has left."""

_PART = 4
"""A quarter of all requests may be messages of one session."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What sessions may take.

    Attributes:
        drain: Tells when the server ends.
        max_body_bytes: The longest message.
        max_concurrency: Calls at work at once, of all sessions; more are refused.
        timeout_seconds: The most that a call may take; then its work ends. So does a session that is not read so long.
    """

    drain: Drain
    max_body_bytes: int
    max_concurrency: int
    timeout_seconds: float


def sse_routes(server: StrictServer, bounds: Bounds) -> list[BaseRoute]:
    """The two routes. Who may use them is checked before."""
    unchecked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    transport = SseServerTransport(MESSAGES_PATH, unchecked, bounds.max_body_bytes)
    return [
        Route(SSE_PATH, endpoint=_Sessions(server, transport, bounds), methods=["GET"]),
        Mount(MESSAGES_PATH.rstrip("/"), app=_readable(transport.handle_post_message, bounds.max_concurrency)),
    ]


def _readable(app: ASGIApp, max_concurrency: int) -> ASGIApp:
    """What takes messages, kept from those that are none: it would log them as they are.

    Messages wait while the client does not read its answers. A session may have a part of all requests waiting.
    """
    most = max(1, max_concurrency // _PART)
    at_work: Counter[str] = Counter()

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        if first["type"] != "http.request":
            return
        waiting, session_id = [first], ""
        if scope["method"] == "POST":
            session_id = Request(scope).query_params.get("session_id", "")
            if not _SESSION_ID.fullmatch(session_id):
                await refusal(scope, HTTPStatus.BAD_REQUEST, "session_id names no session.")(scope, receive, send)
                return
            try:
                waiting = [{**first, "body": write_message(await off_loop(read_message, first.get("body", b"")))}]
            except UnreadableLine as problem:
                await Response(write_message(problem.answer), 400, media_type="application/json")(scope, receive, send)
                return
            if at_work[session_id] >= most:
                detail = f"{most} messages of this session wait. Read its answers, and come again."
                later = {"Retry-After": "1"}
                await refusal(scope, HTTPStatus.TOO_MANY_REQUESTS, detail, headers=later)(scope, receive, send)
                return

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        at_work[session_id] += 1
        try:
            # A session that ends leaves messages that wait to be read.
            with suppress(*_ENDED):
                await app(scope, replay, send)
        finally:
            at_work[session_id] -= 1
            if not at_work[session_id]:
                del at_work[session_id]

    return read


class _Sessions:
    """Opens a session for each client that asks for events.

    Args:
        server: Answers the messages.
        transport: Carries them.
        bounds: What the sessions may take.
    """

    def __init__(self, server: StrictServer, transport: SseServerTransport, bounds: Bounds) -> None:
        self._server = server
        self._transport = transport
        self._bounds = bounds
        self._places = anyio.Semaphore(bounds.max_concurrency)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one session until its client leaves or reads no more, or the server ends and has answered it."""
        stalled = anyio.Event()

        async def receive_or_leave() -> Message:
            """What comes; a client that does not read has left."""
            message: Message = {"type": "http.disconnect"}
            async with anyio.create_task_group() as race:

                async def leave() -> None:
                    await stalled.wait()
                    race.cancel_scope.cancel()

                race.start_soon(leave)
                message = await receive()
                race.cancel_scope.cancel()
            return message

        await self._serve(scope, receive_or_leave, send, stalled)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, stalled: anyio.Event) -> None:
        to_server, incoming = anyio.create_memory_object_stream[SessionMessage | Exception]()
        outgoing, from_server = anyio.create_memory_object_stream[SessionMessage]()
        async with self._transport.connect_sse(scope, receive, send) as (read, write):

            async def bring() -> None:
                with suppress(*_ENDED):
                    async with to_server, read:
                        async for item in read:
                            problem = None if isinstance(item, Exception) else calls.heard(item.message)
                            await (to_server.send(item) if problem is None else write.send(SessionMessage(problem)))

            async def answer() -> None:
                with suppress(*_ENDED):
                    async with from_server, write:
                        async for item in from_server:
                            with anyio.move_on_after(self._bounds.timeout_seconds) as patience:
                                await write.send(item)
                            if patience.cancelled_caught:
                                stalled.set()
                            calls.said(item.message)

            async def give_up(request_id: RequestId) -> None:
                with suppress(*_ENDED):
                    await to_server.send(SessionMessage(_cancellation(request_id)))
                    await write.send(SessionMessage(_refusal(request_id, TOO_LONG)))

            def begin_to_give_up(request_id: RequestId) -> None:
                group.start_soon(give_up, request_id)

            async def end() -> None:
                await self._bounds.drain.wait()
                await calls.all_answered()
                await write.aclose()
                group.cancel_scope.cancel()

            async with incoming, outgoing, anyio.create_task_group() as group:
                calls = _SessionCalls(self._places, self._bounds.timeout_seconds, begin_to_give_up)
                try:
                    group.start_soon(bring)
                    group.start_soon(answer)
                    group.start_soon(end)
                    await self._server.serve_streams(incoming, outgoing)
                    group.cancel_scope.cancel()
                finally:
                    calls.close_all()


class _SessionCalls:
    """The open calls of a session: each has a place among those of all sessions, and a time.

    A stream of notifications has a place too, but lasts as long as its client wants.

    Args:
        places: Of all sessions.
        timeout_seconds: The most that a call may take.
        give_up: Is told of one that took too long.
    """

    def __init__(self, places: anyio.Semaphore, timeout_seconds: float, give_up: Callable[[RequestId], object]) -> None:
        self._places = places
        self._timeout_seconds = timeout_seconds
        self._give_up = give_up
        self._calls = OpenCalls()

    def heard(self, message: JSONRPCMessage) -> JSONRPCError | None:
        """Take account of a client's message; a request that cannot be taken on is answered here."""
        self._calls.heard(message)
        if not isinstance(message, JSONRPCRequest):
            return None
        if (problem := self._calls.refusal(message)) is not None:
            return problem
        try:
            self._places.acquire_nowait()
        except anyio.WouldBlock:
            return _refusal(message.id, "Too much is being worked on. Come again.")
        if message.method == NEVER_ANSWERED:
            self._calls.add(message, self._places.release)
        else:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self._timeout_seconds, self._expire, message.id)
            self._calls.add(message, partial(self._free, timer))
        return None

    def said(self, message: JSONRPCMessage) -> None:
        """Take account of what the server says."""
        self._calls.said(message)

    async def all_answered(self) -> None:
        """Wait until no call is open."""
        await self._calls.until(0)

    def close_all(self) -> None:
        """Take account of the session's end."""
        self._calls.close_all()

    def _expire(self, request_id: RequestId) -> None:
        self._calls.close(request_id)
        self._give_up(request_id)

    def _free(self, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self._places.release()


def _refusal(request_id: RequestId, message: str) -> JSONRPCError:
    return JSONRPCError(jsonrpc="2.0", id=request_id, error=ErrorData(code=REFUSED, message=message))


def _cancellation(request_id: RequestId) -> JSONRPCNotification:
    return JSONRPCNotification(jsonrpc="2.0", method="notifications/cancelled", params={"requestId": request_id})
