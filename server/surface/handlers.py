"""The surface's requests, in front of the SDK's own handlers: those have no place for who asks, nor for freshness."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, CompleteRequestParams, CompleteResult, ReadResourceRequestParams

from tokenward.server.crashes import log_crash
from tokenward.server.surface.surface import Surface
from tokenward.tools.definition import ToolContext

_Lifespan = TypeVar("_Lifespan")
_Answer = TypeVar("_Answer")


def offer(
    surface: Surface,
    core: Server[_Lifespan],
    open_for: Callable[[ServerRequestContext[_Lifespan, Any]], Awaitable[ToolContext]],
) -> None:
    """Have the SDK's protocol engine serve a surface.

    Args:
        surface: What is offered. Other resources are left to the SDK's handler.
        core: The protocol engine.
        open_for: Opens what the tools work with, for whoever sent a request.
    """
    others = core.get_request_handler("resources/read")

    async def read(request: ServerRequestContext[_Lifespan, Any], params: ReadResourceRequestParams) -> HandlerResult:
        own = await _guarded("resource", surface.read(params.uri, partial(open_for, request)))
        if own is not None or others is None:
            return own
        return await others.handler(request, params)

    async def complete(request: ServerRequestContext[_Lifespan, Any], params: CompleteRequestParams) -> CompleteResult:
        return CompleteResult(
            completion=await _guarded("completion", surface.complete(params, partial(open_for, request)))
        )

    core.add_request_handler("resources/read", ReadResourceRequestParams, read)
    core.add_request_handler("completion/complete", CompleteRequestParams, complete)


async def _guarded(what: str, work: Awaitable[_Answer]) -> _Answer:
    """What went wrong inside is logged, and none of it reaches the client. Raises MCPError."""
    try:
        return await work
    except MCPError:
        raise
    except Exception as error:  # noqa: BLE001 - the last line: nothing of it may reach the client
        log_crash(what, error)
        raise MCPError(INTERNAL_ERROR, f"Internal error in the {what}; see the server's log.") from None
