"""httptools with a bound on everything that is no body. It is an extra: imported only where it is installed."""

from http import HTTPStatus

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 2**10
"""The longest request line and headers together, as h11 has it; also the longest trailers."""


class BoundedProtocol(HttpToolsProtocol):
    """Refuses heads that are too long with 431, while they come."""

    _in_head = False
    _gets_on = False
    _too_long = False
    _without_end_bytes = 0
    """How many bytes have come that completed no head and brought no body."""

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

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read, and close."""
        if not self._too_long:
            super().send_400_response(msg)
            return
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        line = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(line.encode())
        self.transport.close()
