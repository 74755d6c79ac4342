"""Whether the server is alive, and whether it can be given work."""

import logging

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tokenward.engine.errors import TokenwardError
from tokenward.server.crashes import log_crash
from tokenward.server.http.drain import Drain
from tokenward.server.http.paths import ALIVE_PATH, READY_PATH
from tokenward.server.http.shared import SharedContext

_PATIENCE_SECONDS = 5.0
"""A store that takes longer to answer is as good as none."""

_LOG = logging.getLogger(__name__)


def health_routes(shared: SharedContext, drain: Drain) -> list[Route]:
    """``/healthz``: this process answers. ``/readyz``: and its store does, with the schema that is needed.

    A server that is ending is alive, but not ready: balancers stop giving it work.
    """

    async def alive(_: Request) -> Response:
        return _answer("alive")

    async def ready(_: Request) -> Response:
        if drain.begun:
            return _answer("ending", 503)
        problem = await _problem(shared)
        return _answer("ready") if problem is None else _answer(problem, 503)

    return [Route(ALIVE_PATH, alive), Route(READY_PATH, ready)]


async def _problem(shared: SharedContext) -> str | None:
    """What is wrong with the store, in a word or two: the answer is open to all, so the rest goes to the log."""
    try:
        with anyio.fail_after(_PATIENCE_SECONDS):
            store = await (await shared.get()).service.ledger()
            current = await store.is_current()
    except TimeoutError:
        _LOG.warning("Not ready: the store does not answer within %s seconds.", _PATIENCE_SECONDS)
        return "store too slow"
    except TokenwardError as error:
        _LOG.warning("Not ready: %s", error)
        return "store unavailable"
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the store, the server is not ready
        log_crash(READY_PATH, error)
        return "store unavailable"
    return None if current else "schema not current"


def _answer(status: str, code: int = 200) -> Response:
    return JSONResponse({"status": status}, code, {"Cache-Control": "no-store"})
