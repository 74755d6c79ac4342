"""How much of what the server does at once one caller may have."""

from collections import Counter
from http import HTTPStatus

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenward.server.auth.caller import principal_of
from tokenward.server.http.limits import is_stream
from tokenward.server.http.replies import refusal

_PART_OF_REQUESTS = 2
_PART_OF_STREAMS = 4
"""One caller gets half of the requests at work, and a quarter of the streams."""


class Shares:
    """Keeps one caller from taking all the places. Stands behind the door that asks for tokens.

    Args:
        app: What answers.
        places: How many requests are worked on at once for all, and how many streams there are.
    """

    def __init__(self, app: ASGIApp, places: int) -> None:
        self._app = app
        self._requests = _Taken(max(1, places // _PART_OF_REQUESTS), "requests at work")
        self._streams = _Taken(max(1, places // _PART_OF_STREAMS), "streams open")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = self._streams if is_stream(scope) else self._requests
        subject = principal_of(HTTPConnection(scope)).subject
        if taken.by[subject] >= taken.share:
            detail = f"You have {taken.share} {taken.what}, which is your share. Wait for one to end, and come again."
            later = {"Retry-After": "1"}
            await refusal(scope, HTTPStatus.TOO_MANY_REQUESTS, detail, headers=later)(scope, receive, send)
            return
        taken.by[subject] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            taken.by[subject] -= 1
            if not taken.by[subject]:
                del taken.by[subject]


class _Taken:
    """Who has how many places of a kind, and how many one caller may have."""

    def __init__(self, share: int, what: str) -> None:
        self.share = share
        self.what = what
        self.by: Counter[str] = Counter()
