"""Which requests are meant for this server: the checks of Host and Origin, on every route.

A web page can make a browser ask any address, and by DNS rebinding under a name of the page's own. Such a request
carries that name as its Host, and the page's as its Origin; requests with names that are not ours are refused. Pages
that were allowed are told to their browser, which keeps the answers from them else (CORS).
"""

import re
from collections.abc import Collection
from http import HTTPStatus
from ipaddress import ip_address
from typing import TypeAlias

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenward.server.http.replies import refusal

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_ANY = "*"
_PLACE = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(?::\d{1,5})?")
_SCHEMES = ("http://", "https://")

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
_ASKED_WITH = (
    *("authorization", "last-event-id"),
    *("mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name"),
)
"""What clients of MCP and of the admin API send, beside the headers that Starlette always allows (``Accept``,
``Content-Type``). ``Mcp-Param-…`` is not in it: no tool asks for such a header."""
_READABLE = ("mcp-session-id", "mcp-protocol-version", "retry-after", "www-authenticate")
_MAX_AGE_SECONDS = 600

_Headers: TypeAlias = list[tuple[bytes, bytes]]


class Guard:
    """Refuses requests whose Host or Origin is not this server's own or one that was allowed.

    Always answered: the names of loopback, and the address that is listened on. A server that listens on all addresses
    is answered under any address, for an attacker's page has a name. With any port, where none is named.

    Args:
        app: What is guarded.
        host: The address that is listened on.
        allowed_hosts: Further hosts, ``name`` or ``name:port``; ``*`` is any.
        allowed_origins: Further origins, as ``https://name:port``. An origin that is the request's own host is
            answered, and one on loopback where only loopback is listened on.
    """

    def __init__(
        self, app: ASGIApp, *, host: str, allowed_hosts: Collection[str] = (), allowed_origins: Collection[str] = ()
    ) -> None:
        self._app = app
        self._hosts = _LOOPBACK_NAMES | {bracketed(host)} | {one.lower() for one in allowed_hosts}
        self._origins = frozenset(as_sent(allowed_origins))
        self._any_address = is_everywhere(host)
        self._loopback_only = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] == "http":
            hosts = _values(scope["headers"], b"host")
            if len(hosts) != 1 or not self._is_ours(hosts[0]):
                detail = "The Host header names no host of this server. Operators add names with http.allowed_hosts."
                await refusal(scope, HTTPStatus.MISDIRECTED_REQUEST, detail)(scope, receive, send)
                return
            origins = _values(scope["headers"], b"origin")
            if not all(self._is_welcome(origin, hosts[0]) for origin in origins):
                detail = "The Origin header names no page that may ask. Operators add them with http.allowed_origins."
                await refusal(scope, HTTPStatus.FORBIDDEN, detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        if host in self._hosts:
            return True
        match = _PLACE.fullmatch(host)
        if match is None:
            return False
        name = match[1]
        return name in self._hosts or _ANY in self._hosts or (self._any_address and _is_address(name))

    def _is_welcome(self, origin: str, host: str) -> bool:
        if origin in self._origins or _ANY in self._origins:
            return True
        scheme = next((one for one in _SCHEMES if origin.startswith(one)), None)
        if scheme is None:  # "null" is a page without an origin
            return False
        place = origin.removeprefix(scheme)
        if place == host:
            return True
        match = _PLACE.fullmatch(place)
        return self._loopback_only and match is not None and match[1] in _LOOPBACK_NAMES


def open_to_pages(app: ASGIApp, allowed_origins: Collection[str]) -> ASGIApp:
    """An application whose answers, errors too, browsers give to pages of these origins; without any, the application.

    It answers preflights itself, for a browser sends no token with them. Credentials of the browser's own, such as
    cookies, are not asked for. Stands behind the guard, which refuses other origins.
    """
    if not allowed_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=as_sent(allowed_origins),
        allow_methods=_METHODS,
        allow_headers=_ASKED_WITH,
        allow_private_network=True,  # a page of the internet asks a server on this machine or network
        expose_headers=_READABLE,
        max_age=_MAX_AGE_SECONDS,
    )


def as_sent(origins: Collection[str]) -> list[str]:
    """Origins as browsers write them."""
    return [one.lower().rstrip("/") for one in origins]


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach what listens on an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_everywhere(host: str) -> bool:
    """Whether an address stands for all of the machine's."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return host == ""


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host.lower()}]" if ":" in host else host.lower()


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _values(headers: _Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for key, value in headers if key == name]
