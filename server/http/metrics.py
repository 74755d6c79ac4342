"""The route ``/metrics``."""

import os
from http import HTTPStatus

import anyio
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tokenward.engine.errors import Forbidden, TokenwardError
from tokenward.server.auth.caller import principal_of
from tokenward.server.http.guard import is_loopback
from tokenward.server.http.paths import METRICS_PATH
from tokenward.server.http.problem import problem
from tokenward.server.http.shared import SharedContext
from tokenward.server.settings import Settings
from tokenward.server.version import package_version
from tokenward.service import Tokenward

STORE_SECONDS = 2.0
"""How long a scrape waits for the store; Prometheus gives up after 10 by default."""

_MISSING = "/metrics needs prometheus-client. Install it with: pip install 'tokenward[prometheus]'\n"


def metrics_are_open(settings: Settings) -> bool:
    """Whether ``/metrics`` needs no token: where nobody has one, on loopback, or if that is set."""
    return not settings.auth.enabled or settings.telemetry.metrics_open or is_loopback(settings.http.host)


def metrics_routes(shared: SharedContext, settings: Settings) -> list[Route]:
    """``/metrics``, where it is to be served; empty where it is not.

    Where it is not open it asks for an ``admin``, for the sums are everybody's.

    Args:
        shared: What this process serves.
        settings: The settings in force.
    """
    if not settings.telemetry.prometheus:
        return []
    worker = str(os.getpid()) if settings.http.workers > 1 else ""

    async def metrics(request: Request) -> Response:
        if not metrics_are_open(settings):
            try:
                principal_of(request).require("admin", METRICS_PATH)
            except Forbidden as error:
                return problem(HTTPStatus.FORBIDDEN, str(error))
        service = (await shared.get()).service
        return await metrics_response(service, accept=request.headers.get("accept", ""), worker=worker)

    return [Route(METRICS_PATH, metrics)]


async def metrics_response(service: Tokenward, *, accept: str, worker: str) -> Response:
    """The metrics as an answer; 501 where ``prometheus_client`` is not installed."""
    try:
        from tokenward.server.telemetry.prometheus import exposition  # noqa: PLC0415 - an extra
    except ImportError:
        return PlainTextResponse(_MISSING, status_code=501)
    body, content_type = exposition(
        service.performance,
        version=package_version(),
        holds=await _holds(service),
        worker=worker,
        accept=accept,
    )
    return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})


async def _holds(service: Tokenward) -> int | None:
    """The pending reservations; ``None`` if the store does not answer in time. A scrape never fails for it."""
    with anyio.move_on_after(STORE_SECONDS):
        try:
            return await (await service.ledger()).holds()
        except TokenwardError:
            return None
    return None
