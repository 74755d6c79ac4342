"""Measures HTTP requests, and logs them for who wants to read it."""

import logging
from typing import TYPE_CHECKING

from tokenward.performance import OTHER, Performance
from tokenward.server.http import paths

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logging.getLogger("tokenward.access")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_PATHS = frozenset(
    {
        *(paths.MCP_PATH, paths.SSE_PATH, paths.ALIVE_PATH, paths.READY_PATH, paths.METRICS_PATH),
        *(paths.LIMITS_PATH, paths.QUOTA_PATH, paths.USAGE_PATH, paths.DOCUMENT_PATH),
    }
)
_BELOW = (paths.MESSAGES_PATH, paths.RESOURCE_METADATA_PATH)

CLIENT_LEFT = 499
"""The status of a request whose client left before it was answered; nginx's number, HTTP has none."""


def route_of(path: str) -> str:
    """The route of a path, for labels and logs: paths that are nobody's may hold anything."""
    if path in _PATHS:
        return path
    return next((one for one in _BELOW if path.startswith(one)), OTHER)


class RequestMetrics:
    """ASGI middleware: tells ``performance`` of each request, and the log ``tokenward.access`` at level INFO.

    Logged are method, route, status and seconds; no query, no header, no address. A stream lasts until its end.

    Args:
        app: What answers.
        performance: Is told.
    """

    def __init__(self, app: "ASGIApp", performance: Performance) -> None:
        self._app = app
        self._performance = performance

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Measure one request; whatever is no HTTP passes by."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        performance, status = self._performance, 0

        async def seen(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = performance.timer()
        performance.in_flight += 1
        try:
            await self._app(scope, receive, seen)
        except Exception:
            status = status or 500
            raise
        finally:
            performance.in_flight -= 1
            seconds = performance.timer() - started
            method, route = scope["method"], route_of(scope["path"])
            method = method if method in _METHODS else OTHER
            performance.requested(method, route, status or CLIENT_LEFT, seconds)
            if _LOG.isEnabledFor(logging.INFO):
                fields = {"method": method, "route": route, "status": status or CLIENT_LEFT, "seconds": seconds}
                _LOG.info("%s %s %d %.4f s", *fields.values(), extra={"fields": fields})
