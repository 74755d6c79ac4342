"""Which requests of a client are still to be answered."""

from collections.abc import Callable

import anyio
from mcp.shared.dispatcher import as_request_id, coerce_request_id
from mcp_types import (
    INVALID_REQUEST,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)

NEVER_ANSWERED = "subscriptions/listen"
"""The request whose answer comes when its client has enough: nobody waits for it."""


def _nothing() -> None:
    """What follows an answer that nobody waits for."""


class OpenCalls:
    """The requests of one client that are open: neither answered nor cancelled.

    Which ids are one, and which can be cancelled, is the SDK's to say: what it goes on with is open.
    """

    def __init__(self) -> None:
        self._calls: dict[RequestId, Callable[[], object]] = {}
        self._streams: dict[RequestId, Callable[[], object]] = {}
        self._changed = anyio.Event()

    def __contains__(self, request_id: RequestId) -> bool:
        key = coerce_request_id(request_id)
        return key in self._calls or key in self._streams

    def refusal(self, request: JSONRPCRequest) -> JSONRPCError | None:
        """What a request is answered whose id is open: to the SDK, one of the two would be lost."""
        if request.id not in self:
            return None
        problem = ErrorData(code=INVALID_REQUEST, message="A request with this id is still open; give each its own.")
        return JSONRPCError(jsonrpc="2.0", id=request.id, error=problem)

    def add(self, request: JSONRPCRequest, then: Callable[[], object] = _nothing) -> None:
        """Take account of a request; ``then`` is called once, when it is no longer open."""
        room = self._streams if request.method == NEVER_ANSWERED else self._calls
        room[coerce_request_id(request.id)] = then

    def heard(self, message: JSONRPCMessage) -> None:
        """Take account of what the client says: whether it cancels one."""
        if isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self.close(as_request_id((message.params or {}).get("requestId")))

    def said(self, message: JSONRPCMessage) -> None:
        """Take account of what the server says: whether it answers one."""
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self.close(message.id)

    def close(self, request_id: RequestId | None) -> None:
        """Take account of the end of one, if it is open."""
        if request_id is None:
            return
        key = coerce_request_id(request_id)
        then = self._calls.pop(key, None) or self._streams.pop(key, None)
        if then is not None:
            then()
            self._changed.set()

    def close_all(self) -> None:
        """Take account of the client's end."""
        for request_id in (*self._calls, *self._streams):
            self.close(request_id)

    async def until(self, at_most: int) -> None:
        """Wait until no more than so many are open, those aside whose answers nobody waits for."""
        while len(self._calls) > at_most:
            if self._changed.is_set():  # else others wait for it, and are to hear the same
                self._changed = anyio.Event()
            await self._changed.wait()
