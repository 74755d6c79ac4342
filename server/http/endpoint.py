"""MCP at ``/mcp``: one JSON document as the answer, or events where a client follows the progress."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TypeVar

from anyio import to_thread
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp_types import INVALID_PARAMS, JSONRPCRequest
from pydantic_core import from_json
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenward.server.frames import UnreadableLine, read_message, unicode_json, write_message
from tokenward.server.http.replies import refusal

_Read = TypeVar("_Read")

_LONG_BYTES = 2**16

_PROGRESS = b'"progressToken"'
_JSON = (b"application/json", b"application/*", b"*/*")
_EVENTS = (b"text/event-stream", b"text/*", b"*/*")


class McpEndpoint:
    """Answers MCP messages of both protocol eras, each request for itself.

    A JSON document is the cheap answer, but nothing can come before it. So the requests that ask for progress, and
    only those, are answered with events. What is no message is refused here, as over standard input: the SDK would
    quote it, or take a request whose id is none for a notification and never answer it.

    Args:
        plain: Makes answers of JSON.
        events: Makes answers of events.
    """

    def __init__(self, plain: StreamableHTTPSessionManager, events: StreamableHTTPSessionManager) -> None:
        self._managers = (plain, events)
        self._plain: ASGIApp = StreamableHTTPASGIApp(plain)
        self._events: ASGIApp = StreamableHTTPASGIApp(events)

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Serve until the end of the block."""
        plain, events = self._managers
        async with plain.run(), events.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Its body comes in one piece."""
        if scope["method"] != "POST":
            # There are no sessions to listen for or to end.
            await Response(status_code=405, headers={"Allow": "POST"})(scope, receive, send)
            return
        if (refused := _refused(scope)) is not None:
            await refused(scope, receive, send)
            return
        first = await receive()
        if first["type"] != "http.request":
            return
        try:
            body = await off_loop(readable, first.get("body", b""))
        except UnreadableLine as problem:
            answer = write_message(problem.answer).rstrip()
            await Response(answer, HTTPStatus.BAD_REQUEST, media_type="application/json")(scope, receive, send)
            return
        waiting = [{**first, "body": body}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        follows = _PROGRESS in body and _takes(scope, _EVENTS)
        await (self._events if follows else self._plain)(scope, replay, send)


async def off_loop(read: Callable[[bytes], _Read], body: bytes) -> _Read:
    """What reads a body, called in a thread if the body is long: it keeps the others waiting else."""
    return read(body) if len(body) < _LONG_BYTES else await to_thread.run_sync(read, body)


def readable(body: bytes) -> bytes:
    """The body as the SDK reads it: texts that are not Unicode are mended, as over standard input.

    Raises:
        UnreadableLine: It is no message, or one that is nested too deep.
    """
    message = read_message(body)
    try:
        from_json(body)
    except ValueError:
        try:
            body = unicode_json(json.loads(body.decode("utf-8", "replace"))).encode()
            from_json(body)
        except (ValueError, RecursionError):
            request_id = message.id if isinstance(message, JSONRPCRequest) else None
            raise UnreadableLine(INVALID_PARAMS, "Invalid request: values are nested too deep", request_id) from None
    return body


def _refused(scope: Scope) -> Response | None:
    """The refusal of a request that is, or wants, something else than JSON; the SDK would say it in other forms."""
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    if kind.split(b";")[0].strip().lower() != b"application/json":
        return refusal(scope, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The Content-Type has to be application/json.")
    if not _takes(scope, _JSON):
        return refusal(scope, HTTPStatus.NOT_ACCEPTABLE, "Accept has to name application/json.")
    return None


def _takes(scope: Scope, kinds: tuple[bytes, ...]) -> bool:
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept").lower()
    return any(one in accepted for one in kinds)
