"""Which requests of a client are still to be answered."""

from collections.abc import Callable

import anyio
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse, RequestId

NEVER_ANSWERED = "subscriptions/listen"
"""The request whose answer comes when its client has enough: nobody waits for it."""


def _nothing() -> None:
    """What follows an answer that nobody waits for."""


class OpenCalls:
    """The requests of one client that are open: neither answered nor cancelled.

    Ids are compared as texts, for a client may name a number so when it cancels; to the SDK, too, both are one.
    """

    def __init__(self) -> None:
        self._open: dict[str, Callable[[], object]] = {}
        self._changed = anyio.Event()

    def __contains__(self, request_id: RequestId) -> bool:
        return str(request_id) in self._open

    def add(self, request: JSONRPCRequest, then: Callable[[], object] = _nothing) -> None:
        """Take account of a request; ``then`` is called once, when it is no longer open."""
        self._open[str(request.id)] = then

    def heard(self, message: JSONRPCMessage) -> None:
        """Take account of what the client says: whether it cancels one."""
        if isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self.close((message.params or {}).get("requestId"))

    def said(self, message: JSONRPCMessage) -> None:
        """Take account of what the server says: whether it answers one."""
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self.close(message.id)

    def close(self, request_id: object) -> None:
        """Take account of the end of one, if it is open."""
        then = self._open.pop(str(request_id), None)
        if then is not None:
            then()
            self._changed.set()

    def close_all(self) -> None:
        """Take account of the client's end."""
        for request_id in tuple(self._open):
            self.close(request_id)

    async def until(self, at_most: int) -> None:
        """Wait until no more than so many are open."""
        while len(self._open) > at_most:
            if self._changed.is_set():  # else others wait for it, and are to hear the same
                self._changed = anyio.Event()
            await self._changed.wait()
