"""An MCP server that checks every argument, answers compactly and never shows its insides.

The SDK builds a pydantic model per tool, ignores arguments it does not know, reports wrong ones as a pydantic dump and
reads texts that look like JSON as JSON. Here the tools of ``tokenward.tools`` bypass that: their arguments are checked
by :mod:`tokenward.tools.arguments`. Tools that are added in the SDK's own way keep working in the SDK's way.
"""

import json
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server import CacheHint, MCPServer
from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.caching import CacheableMethod
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from mcp_types import (
    INVALID_PARAMS,
    CallToolResult,
    GetPromptResult,
    InputRequiredResult,
    Prompt,
    Resource,
    ResourceTemplate,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as ListedTool
from pydantic_core import PydanticSerializationError

from tokenward.engine.errors import TokenwardError, nearest, shown
from tokenward.performance import OTHER, Outcome
from tokenward.server.crashes import log_crash
from tokenward.server.frames import unicode_json
from tokenward.server.surface.handlers import offer
from tokenward.server.surface.surface import Surface
from tokenward.server.telemetry.running import Telemetry
from tokenward.tools.definition import Result, Tool, ToolContext
from tokenward.tools.permission import run_for
from tokenward.tools.principal import Principal

OpenContext: TypeAlias = Callable[[], AbstractAsyncContextManager[ToolContext]]

_LISTS: tuple[CacheableMethod, ...] = (
    "server/discover",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
)
"""What is the same for everybody as long as the server runs."""


class LazyContext:
    """What the tools work with, opened by the first call that needs it, so that the handshake is answered before."""

    def __init__(self, open_context: OpenContext, stack: AsyncExitStack) -> None:
        self._open_context = open_context
        self._stack = stack
        self._opening = anyio.Lock()
        self._opened: ToolContext | None = None

    async def get(self) -> ToolContext:
        """The context, opened."""
        if self._opened is not None:
            return self._opened
        async with self._opening:
            if self._opened is None:
                self._opened = await self._stack.enter_async_context(self._open_context())
            return self._opened


class StrictServer(MCPServer[LazyContext]):
    """An MCP server for the tools of ``tokenward.tools``.

    Args:
        name: What clients see.
        version: What clients see.
        instructions: What a model is told about the tools as a whole.
        load_tools: Gives the tools. Called at the first request that needs them, after the handshake.
        open_context: Opens what the tools work with, at the first call and until the connection ends.
        telemetry: Is told what is called; counts it for itself if not given.
        surface: Resources, completions and prompts; none if not given.

    Attributes:
        performance: What was called so far.
        principal_of: Says who sent a request, where callers authenticate; ``None`` where there is one user.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str,
        instructions: str,
        load_tools: Callable[[], Sequence[Tool]],
        open_context: OpenContext,
        telemetry: Telemetry | None = None,
        surface: Surface | None = None,
    ) -> None:
        telemetry = telemetry or Telemetry()
        self.performance = telemetry.performance
        self._load_tools = load_tools
        self.principal_of: Callable[[object], Principal] | None = None

        @asynccontextmanager
        async def lifespan(_: MCPServer[LazyContext]) -> AsyncGenerator[LazyContext]:
            async with AsyncExitStack() as stack:
                yield LazyContext(open_context, stack)

        with _without_rich():
            super().__init__(
                name,
                version=version,
                instructions=instructions,
                log_level="WARNING",
                lifespan=lifespan,
                cache_hints=dict.fromkeys(_LISTS, CacheHint(3_600_000, "public")),
                middleware=telemetry.middleware,
            )
        if not telemetry.middleware:
            # Spans that nobody collects are not made: they cost a tenth of a small call.
            self.middleware[:] = [one for one in self.middleware if not isinstance(one, OpenTelemetryMiddleware)]
        self._surface = surface
        if surface is not None:
            offer(surface, self._lowlevel_server, self._opened_for)

    @cached_property
    def tools(self) -> Mapping[str, Tool]:
        """The tools by name, in their order."""
        return {tool.name: tool for tool in self._load_tools()}

    @cached_property
    def _listing(self) -> list[ListedTool]:
        return [_listed(tool) for tool in self.tools.values()]

    async def list_tools(self) -> list[ListedTool]:
        """The tools in their fixed order, then those that were added in the SDK's way."""
        return [*self._listing, *await super().list_tools()]

    async def list_resources(self) -> list[Resource]:
        """Ours, then those that were added in the SDK's way; likewise the templates and the prompts."""
        return [*(self._surface.resources() if self._surface else ()), *await super().list_resources()]

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        """As :meth:`list_resources`."""
        return [*(self._surface.templates() if self._surface else ()), *await super().list_resource_templates()]

    async def list_prompts(self) -> list[Prompt]:
        """As :meth:`list_resources`."""
        return [*(self._surface.prompts() if self._surface else ()), *await super().list_prompts()]

    async def get_prompt(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        context: Context[LazyContext, Any] | None = None,
    ) -> GetPromptResult | InputRequiredResult:
        """Ours, or one that was added in the SDK's way. Raises MCPError."""
        own = self._surface.prompt(name, arguments) if self._surface else None
        if own is not None:
            return own
        if all(other.name != name for other in await super().list_prompts()):
            # The SDK takes this for a failure of the server's.
            raise MCPError(INVALID_PARAMS, f"Unknown prompt {shown(name)}.")
        return await super().get_prompt(name, arguments, context)

    async def serve_streams(
        self,
        incoming: MemoryObjectReceiveStream[SessionMessage | Exception],
        outgoing: MemoryObjectSendStream[SessionMessage],
    ) -> None:
        """Serve one client, in the protocol era that its first request opens, until ``incoming`` ends."""
        # The SDK offers no public way to serve over streams of one's own.
        core = self._lowlevel_server
        await core.run(incoming, outgoing, core.create_initialization_options())

    def caller(self, context: Context[LazyContext, Any]) -> Principal | None:
        """Who asks; ``None`` where nobody authenticates. Raises PermissionError where somebody has to and did not."""
        return None if self.principal_of is None else self.principal_of(context.request_context.request)

    async def _opened_for(self, request: ServerRequestContext[LazyContext, Any]) -> ToolContext:
        """What the tools work with, for whoever sent a request."""
        principal = None if self.principal_of is None else self.principal_of(request.request)
        return replace(await request.lifespan_context.get(), principal=principal)

    async def call_tool(
        self,
        name: str,
        arguments: dict[str, Any],  # as in the SDK
        context: Context[LazyContext, Any] | None = None,
    ) -> CallToolResult | InputRequiredResult:
        """Check the arguments, run the tool, and answer with its result or with an error of one or two lines."""
        tool = self.tools.get(name)
        if tool is None:
            if any(other.name == name for other in await super().list_tools()):
                return await super().call_tool(name, arguments, context)
            self.performance.called(OTHER, 0.0, "refused")
            return _refusal(f"Unknown tool {shown(name)}.{nearest(name, self.tools)}")
        if context is None:
            raise ValueError("a tool needs the context of a request")
        started = self.performance.timer()
        outcome: Outcome = "cancelled"
        try:
            answer = _answer(await run_for(self.caller(context), tool, arguments, partial(_opened, context)))
        except TokenwardError as error:
            outcome = "refused"
            return _refusal(str(error))
        except Exception as error:  # noqa: BLE001 - the last line: nothing of it may reach the client
            outcome = "failed"
            log_crash(f"tool {name}", error)
            return _refusal(f"Internal error in tool {name}; see the server's log.")
        else:
            outcome = "ok"
            return answer
        finally:
            self.performance.called(name, self.performance.timer() - started, outcome)


async def _opened(context: Context[LazyContext, Any]) -> ToolContext:
    return replace(await context.request_context.lifespan_context.get(), report_progress=context.report_progress)


def _answer(result: Result) -> CallToolResult:
    """The whole result as structured content, and without its empty fields as one compact text."""
    structured = result.model_dump(mode="json")
    try:
        text = result.model_dump_json(exclude_none=True)
    except PydanticSerializationError:
        # File names can hold what is not Unicode.
        text = unicode_json(result.model_dump(mode="json", exclude_none=True))
        structured = json.loads(unicode_json(structured))
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=structured)


def _refusal(message: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=message)], is_error=True)


def _listed(tool: Tool) -> ListedTool:
    return ListedTool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        annotations=ToolAnnotations(
            read_only_hint=tool.read_only,
            destructive_hint=tool.destructive,
            idempotent_hint=tool.idempotent,
            open_world_hint=False,
        ),
    )


@contextmanager
def _without_rich() -> Generator[None]:
    """The SDK's constructor imports rich for its log handler, if it can; the plain handler starts faster."""
    if "rich" in sys.modules:
        yield
        return
    blocked: dict[str, Any] = {"rich": None}  # makes an import fail
    sys.modules.update(blocked)
    try:
        yield
    finally:
        del sys.modules["rich"]
