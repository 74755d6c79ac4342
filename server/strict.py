"""An MCP server that checks every argument, answers compactly and never shows its insides.

The SDK builds a pydantic model per tool, ignores arguments it does not know, reports wrong ones as a pydantic dump and
reads texts that look like JSON as JSON. Here the tools of ``tokenward.tools`` bypass that: their arguments are checked
by :mod:`tokenward.tools.arguments`. Tools that are added in the SDK's own way keep working in the SDK's way.
"""

import json
import logging
import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server import CacheHint, MCPServer
from mcp.server.mcpserver import Context
from mcp.shared.message import SessionMessage
from mcp_types import CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
from mcp_types import Tool as ListedTool
from pydantic_core import PydanticSerializationError

from tokenward.engine.errors import TokenwardError, nearest, shown
from tokenward.engine.types import JsonValue
from tokenward.server.frames import unicode_json
from tokenward.tools.arguments import check_arguments
from tokenward.tools.definition import Result, Tool, ToolContext

OpenContext: TypeAlias = Callable[[], AbstractAsyncContextManager[ToolContext]]

_LOG = logging.getLogger(__name__)


class LazyContext:
    """What the tools work with, opened by the first call that needs it, so that the handshake is answered before."""

    def __init__(self, open_context: OpenContext, stack: AsyncExitStack) -> None:
        self._open_context = open_context
        self._stack = stack
        self._opening = anyio.Lock()
        self._opened: ToolContext | None = None

    async def get(self) -> ToolContext:
        """The context, opened."""
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
    """

    def __init__(
        self,
        name: str,
        *,
        version: str,
        instructions: str,
        load_tools: Callable[[], Sequence[Tool]],
        open_context: OpenContext,
    ) -> None:
        self._load_tools = load_tools

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
                cache_hints={"tools/list": CacheHint(3_600_000, "public")},
            )

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

    async def serve_streams(
        self,
        incoming: MemoryObjectReceiveStream[SessionMessage | Exception],
        outgoing: MemoryObjectSendStream[SessionMessage],
    ) -> None:
        """Serve one client, in the protocol era that its first request opens, until ``incoming`` ends."""
        # The SDK offers no public way to serve over streams of one's own.
        core = self._lowlevel_server
        await core.run(incoming, outgoing, core.create_initialization_options())

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
            return _refusal(f"Unknown tool {shown(name)}.{nearest(name, self.tools)}")
        if context is None:
            raise ValueError("a tool needs the context of a request")
        try:
            return _answer(await _run(tool, arguments, context))
        except TokenwardError as error:
            return _refusal(str(error))
        except Exception as error:  # noqa: BLE001 - the last line: nothing of it may reach the client
            _log_crash(name, error)
            return _refusal(f"Internal error in tool {name}; see the server's log.")


async def _run(tool: Tool, arguments: Mapping[str, JsonValue], context: Context[LazyContext, Any]) -> Result:
    checked = check_arguments(tool, arguments)
    opened = await context.request_context.lifespan_context.get()
    return await tool.run(replace(opened, report_progress=context.report_progress), **checked)


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


def _log_crash(name: str, error: BaseException) -> None:
    """Log where an unexpected error came from. Its message may quote what a user wrote, so it is left out."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(parts) < 5:
        parts.append("".join(traceback.format_tb(cause.__traceback__)) + type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    _LOG.error("Internal error in tool %s\n%s", name, "\nbecause of\n".join(parts))


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
