"""httptools with a bound on everything that is no body. It is an extra: imported only where it is installed."""

from http import HTTPStatus
from typing import TYPE_CHECKING

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

MAX_HEAD_BYTES = 64 * 2**10
"""The longest request line and headers together, as h11 has it; also the longest trailers."""


class BoundedProtocol(HttpToolsProtocol):
    """Refuses heads that are too long with 431, while they come."""

    _in_head = False
    _gets_on = False
    _too_long = False
    _without_end_bytes = 0
    """How many bytes have come that completed no head and brought no body."""
    _at_work: RequestResponseCycle | None = None
    """What is being answered; ``cycle`` is the last request that has come, which may have to wait for it."""

    def data_received(self, data: bytes) -> None:
        """Take what came, and refuse what goes on without an end."""
        self._gets_on = False
        super().data_received(data)
        self._without_end_bytes = 0 if self._gets_on else self._without_end_bytes + len(data)
        if self._without_end_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._too_long = True
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._gets_on = self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer."""
        if self._in_head:  # what comes after a body are no headers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        self._gets_on = True
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES:
            self._too_long = True
            raise httptools.HttpParserError("head too long")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._gets_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._gets_on = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell what is being answered that its client has left; the original tells the last request that has come."""
        if self._at_work is not None and not self._at_work.response_complete:
            self._at_work.disconnected = True
            self._at_work.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._at_work = cycle
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read, and close."""
        if not self._too_long:
            super().send_400_response(msg)
            return
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        line = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(line.encode())
        self.transport.close()
