"""Refusals of the HTTP door, in the form that each of its rooms speaks."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Scope

from tokenward.server.http.paths import MCP_PATH
from tokenward.server.http.problem import problem

REFUSED = -32000
"""JSON-RPC leaves -32000 to -32099 to servers."""

TOO_LONG = "The request took too long and was ended. Ask for less at once."

CUT_OFF = (
    "The server ended before this was done; whether it will be is unknown. Send it again, with the same "
    "idempotency_key if it has one."
)


def refusal(scope: Scope, status: HTTPStatus, detail: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that refuses: a JSON-RPC error at ``/mcp``, else problem+json.

    Args:
        scope: The request's.
        status: Its status.
        detail: What is wrong and what to do, safe to show to whoever called.
        headers: Further headers, such as ``Retry-After``.
    """
    if scope["path"] != MCP_PATH:
        return problem(status, detail, headers=headers)
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": REFUSED, "message": detail}}
    return Response(json.dumps(body), status, headers, "application/json")
