"""One request and its answer, while it is being worked on."""

import asyncio
from http import HTTPStatus

import anyio
from anyio import CancelScope
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenward.server.crashes import log_crash
from tokenward.server.http.drain import Drain
from tokenward.server.http.replies import refusal

_PATIENCE_SECONDS = 0.25
"""Work that takes longer is ended when its client leaves; quicker work does not pay for watching."""

_FAREWELL_SECONDS = 0.5

_UNREAD_BYTES = 64 * 2**20
_UNREAD_SECONDS = 10.0
"""Of a request that is too long so much is thrown away, at most: closing on what is unread would reset the connection,
and the client would not read why it was refused."""


class Exchange:
    """Between the HTTP server and the application: bounds the body, and knows how far the answer has come.

    The body is read as a whole when the application first asks for it: whoever is turned away before, for want of a
    token, has none of it read. An application whose request is too long, or too slow to come, is told that its client
    has left; the client is told why.

    Args:
        scope: The request's.
        receive: The request's.
        send: The request's.
        drain: Tells when the server ends.
        max_body_bytes: Longer bodies are refused.
        arrival_seconds: The most that a body may take to come.

    Attributes:
        left: Whether the client has left.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        drain: Drain,
        max_body_bytes: int,
        arrival_seconds: float,
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._drain = drain
        self._max_body_bytes = max_body_bytes
        self._arrival_seconds = arrival_seconds
        self._ending: CancelScope | None = None
        self._asked = self._impatient = self._app_watches = False
        self._arrived = not _brings_body(scope)
        self._begun = self._complete = self._of_known_length = False
        self._watching: asyncio.Task[None] | None = None
        self.left = False

    async def serve(self, app: ASGIApp, ending: CancelScope) -> None:
        """Have the application answer; ``ending`` is cancelled when the client leaves, or the server ends, before.

        What goes wrong inside is logged without its message, which may quote what a user wrote.
        """
        self._ending = ending
        timer = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self._lose_patience)
        try:
            with self._drain.ending(ending):
                await app(self._scope, self._give, self._pass_on)
        except Exception as error:  # noqa: BLE001 - the last line: nothing of it may reach the client or the log
            log_crash(f"{self._scope['method']} request", error)
            await self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error; see the server's log.")
        finally:
            timer.cancel()
            if self._watching is not None:
                self._watching.cancel()

    async def refuse(self, status: HTTPStatus, detail: str, **headers: str) -> None:
        """Answer with a refusal if the answer has not begun, else end the answer where it is."""
        if not self._begun:
            answer = refusal(self._scope, status, detail, headers=headers)
            await answer(self._scope, self._receive, self._pass_on)
        elif not (self._complete or self._of_known_length):
            with anyio.move_on_after(_FAREWELL_SECONDS):  # a client that does not read would keep it
                await self._pass_on({"type": "http.response.body", "body": b"", "more_body": False})

    @property
    def is_too_long(self) -> bool:
        """Whether the request itself says so."""
        return _declared_length(self._scope) > self._max_body_bytes

    async def refuse_length(self, *, unread: bool = True) -> None:
        """Answer at once, and end the answer when the client has sent the rest, if any, or too much of it."""
        detail = f"The request is longer than {self._max_body_bytes} bytes."
        answer = refusal(self._scope, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)

        async def hold_open(message: Message) -> None:
            await self._pass_on({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        if not self._begun:
            await answer(self._scope, self._receive, hold_open)
            if unread:
                with anyio.move_on_after(_UNREAD_SECONDS):
                    await self._throw_away()
            await self._pass_on({"type": "http.response.body", "body": b"", "more_body": False})

    async def _throw_away(self) -> None:
        more, length = True, 0
        while more and length < _UNREAD_BYTES:
            message = await self._receive()
            length += len(message.get("body", b""))
            more = message.get("more_body", False)

    async def _give(self) -> Message:
        """What the application receives: the body in one piece, then what comes after."""
        if self._asked:
            self._app_watches = True
            return await self._receive()
        self._asked = True
        if self._arrived:
            return {"type": "http.request", "body": b"", "more_body": False}
        with anyio.move_on_after(self._arrival_seconds):
            body = await self._read()
            if body is None:
                return {"type": "http.disconnect"}
            self._arrived = True
            self._watch()
            return {"type": "http.request", "body": body, "more_body": False}
        await self.refuse(HTTPStatus.GATEWAY_TIMEOUT, "The request took too long to arrive.")
        return {"type": "http.disconnect"}

    async def _read(self) -> bytes | None:
        """The body; ``None`` if it is too long, or the client has left."""
        chunks: list[bytes] = []
        length = 0
        more = True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                self.left = True
                return None
            chunk: bytes = message.get("body", b"")
            length += len(chunk)
            more = message.get("more_body", False)
            if length > self._max_body_bytes:
                await self.refuse_length(unread=more)
                return None
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _lose_patience(self) -> None:
        self._impatient = True
        self._watch()

    def _watch(self) -> None:
        """Watch for the client's leaving, once the body has come, if the work takes long and does not itself."""
        if self._arrived and self._impatient and not self._app_watches:
            self._watching = asyncio.create_task(self._end_with_client())

    async def _end_with_client(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._complete and self._ending is not None:
            self.left = True
            self._ending.cancel()

    async def _pass_on(self, message: Message) -> None:
        if self._complete:  # the client was told something else
            return
        if message["type"] == "http.response.start":
            self._begun = True
            headers: list[tuple[bytes, bytes]] = list(message.get("headers", []))
            self._of_known_length = any(name.lower() == b"content-length" for name, _ in headers)
            if self._drain.begun:
                headers = [one for one in headers if one[0].lower() != b"connection"]
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
        elif message["type"] == "http.response.body":
            self._complete = not message.get("more_body", False)
        await self._send(message)


def _brings_body(scope: Scope) -> bool:
    return _declared_length(scope) > 0 or any(name == b"transfer-encoding" for name, _ in scope["headers"])


def _declared_length(scope: Scope) -> int:
    """The length that the header states, as far as it does."""
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    try:
        return int(declared)
    except ValueError:
        return 0
