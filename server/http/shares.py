"""How many of the streams one caller may have."""

from collections import Counter
from http import HTTPStatus

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenward.server.auth.caller import principal_of
from tokenward.server.http.limits import is_stream
from tokenward.server.http.replies import refusal

_PART = 4
"""One caller gets a quarter of the streams."""


class StreamShares:
    """Keeps one caller from taking all the streams. Stands behind the door that asks for tokens.

    Args:
        app: What answers.
        max_streams: How many there are for all.
    """

    def __init__(self, app: ASGIApp, max_streams: int) -> None:
        self._app = app
        self._most = max(1, max_streams // _PART)
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http" or not is_stream(scope):
            await self._app(scope, receive, send)
            return
        subject = principal_of(HTTPConnection(scope)).subject
        if self._open[subject] >= self._most:
            detail = f"You have {self._most} streams open, which is your share. Close one, and come again."
            later = {"Retry-After": "1"}
            await refusal(scope, HTTPStatus.TOO_MANY_REQUESTS, detail, headers=later)(scope, receive, send)
            return
        self._open[subject] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[subject] -= 1
            if not self._open[subject]:
                del self._open[subject]
