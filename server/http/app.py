"""The HTTP application: MCP at ``/mcp``, and the plain routes beside it, on one shared service."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from mcp.server.streamable_http import EventStore
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenward.server.application import build_server, open_context
from tokenward.server.auth.caller import principal_of
from tokenward.server.auth.door import authenticated, metadata_routes
from tokenward.server.http.admin import admin_routes
from tokenward.server.http.drain import Drain
from tokenward.server.http.endpoint import McpEndpoint
from tokenward.server.http.guard import Guard, open_to_pages
from tokenward.server.http.health import health_routes
from tokenward.server.http.limits import Limits
from tokenward.server.http.metrics import metrics_are_open, metrics_routes
from tokenward.server.http.paths import ALIVE_PATH, MCP_PATH, METRICS_PATH, READY_PATH
from tokenward.server.http.shared import SharedContext
from tokenward.server.http.shares import Shares
from tokenward.server.http.sse import Bounds, sse_routes
from tokenward.server.settings import Settings
from tokenward.server.strict import StrictServer
from tokenward.server.telemetry.http import RequestMetrics
from tokenward.server.telemetry.running import Telemetry, start_telemetry


def build_app(
    settings: Settings,
    *,
    server: StrictServer | None = None,
    drain: Drain | None = None,
    stateful: bool = False,
    event_store: EventStore | None = None,
    retry_interval_ms: int | None = None,
) -> ASGIApp:
    """The application.

    Args:
        settings: The settings in force.
        server: The MCP server, if not the one of the settings.
        drain: Tells when the server ends.
        stateful: Keep sessions, in which a server can ask its client. The tools of this project do not need them, and
            a session lives in one process only.
        event_store: Where a session's events are kept for clients that lost their connection.
        retry_interval_ms: When such a client is told to come again.
    """
    http = settings.http
    drain = drain or Drain()
    settings = without_folders(settings)
    telemetry = Telemetry(server.performance) if server else start_telemetry(settings.telemetry, transport="tcp")
    shared = SharedContext(partial(open_context, settings, performance=telemetry.performance))
    server = server or build_server(settings, shared.lent, telemetry=telemetry)

    def manager(*, json: bool) -> StreamableHTTPSessionManager:
        server.streamable_http_app(
            json_response=json,
            stateless_http=not stateful,
            event_store=event_store,
            retry_interval=retry_interval_ms,
            max_request_body_size=http.max_body_bytes,
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # the guard's work
        )
        return server.session_manager

    endpoint: ASGIApp
    running: AbstractAsyncContextManager[None]
    if stateful:
        sessions = manager(json=False)
        endpoint, running = StreamableHTTPASGIApp(sessions), sessions.run()
    else:
        endpoint = McpEndpoint(manager(json=True), manager(json=False))
        running = endpoint.run()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        try:
            async with running:
                yield
        finally:
            await shared.aclose()
            telemetry.close()

    guarded: list[BaseRoute] = []
    if settings.auth.enabled:
        server.principal_of = principal_of
        guarded += admin_routes(shared.get)
    if http.sse:
        bounds = Bounds(drain, http.max_body_bytes, http.max_concurrency, http.request_timeout_seconds)
        guarded += sse_routes(server, bounds)
    metrics = metrics_routes(shared, settings)
    if not metrics_are_open(settings):
        guarded += metrics
    rooms: ASGIApp = _Rooms({MCP_PATH: endpoint}, Starlette(routes=guarded))
    if settings.auth.enabled:
        rooms = Shares(rooms, http.max_concurrency)
    behind = authenticated(rooms, settings.auth)

    open_to_all = [*health_routes(shared, drain), *metadata_routes(settings.auth)]
    if metrics_are_open(settings):
        open_to_all += metrics
    hall = Starlette(routes=open_to_all, lifespan=lifespan)
    app: ASGIApp = _Rooms({one.path: hall for one in open_to_all}, behind, lifespan=hall)
    app = Limits(
        app,
        max_body_bytes=http.max_body_bytes,
        max_concurrency=http.max_concurrency,
        timeout_seconds=http.request_timeout_seconds,
        drain=drain,
        always_open=(ALIVE_PATH, READY_PATH, METRICS_PATH),
    )
    app = open_to_pages(app, http.allowed_origins)
    app = Guard(app, host=http.host, allowed_hosts=http.allowed_hosts, allowed_origins=http.allowed_origins)
    return stripped(RequestMetrics(app, telemetry.performance))


class _Rooms:
    """Leads a request to the application of its path, or to the one of all other paths."""

    def __init__(self, apps: Mapping[str, ASGIApp], other: ASGIApp, *, lifespan: ASGIApp | None = None) -> None:
        self._apps = apps
        self._other = other
        self._lifespan = lifespan or other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._apps.get(scope["path"], self._other) if scope["type"] == "http" else self._lifespan
        await app(scope, receive, send)


def without_folders(settings: Settings) -> Settings:
    """The settings for callers from elsewhere: they may have files read only where folders were named for them."""
    return settings if "roots" in settings.model_fields_set else settings.model_copy(update={"roots": ()})


def stripped(app: ASGIApp) -> ASGIApp:
    """An application that sees header values without white space around them, which httptools leaves there."""

    async def strip(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        await app(scope, receive, send)

    return strip
