"""A client of the real tools, in both protocol eras, on a ledger in memory and a clock that stands still."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest
from mcp.client import Client
from mcp_types import CallToolResult, TextContent

from tests.conftest import CountingIds, FakeClock
from tokenward.engine.limits import TokenLimit
from tokenward.engine.types import JsonObject
from tokenward.server.strict import StrictServer
from tokenward.service import Tokenward
from tokenward.tools.definition import ToolContext
from tokenward.tools.registry import load_tools

ERAS = ("legacy", "2026-07-28")

LIMITS = (
    TokenLimit("user:alice", "tokens", "day", 1_000),
    TokenLimit("group:team", "cost", "month", 2_500_000_000, "calendar"),
)

Connect: TypeAlias = Callable[[], AbstractAsyncContextManager["ToolClient"]]


class ToolClient:
    """Calls tools and reads their answers."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, tool: str, /, **arguments: object) -> CallToolResult:
        return await self.client.call_tool(tool, arguments)

    async def answer(self, tool: str, /, **arguments: object) -> JsonObject:
        """The structured content of an answer that is no error."""
        result = await self.call(tool, **arguments)
        assert not result.is_error, text_of(result)
        return structured(result)

    async def refusal(self, tool: str, /, **arguments: object) -> str:
        """The text of an answer that is an error."""
        result = await self.call(tool, **arguments)
        assert result.is_error, text_of(result)
        assert result.structured_content is None
        return text_of(result)


def structured(result: CallToolResult) -> JsonObject:
    """The structured content of an answer."""
    content: JsonObject | None = result.structured_content
    assert content is not None
    return content


def text_of(result: CallToolResult) -> str:
    """The only text block of an answer."""
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


@pytest.fixture(params=ERAS)
def connect(request: pytest.FixtureRequest, clock: FakeClock, new_id: CountingIds, tmp_path: Path) -> Connect:
    """Opens a client, in each era."""
    era: str = request.param

    @asynccontextmanager
    async def open_context() -> AsyncGenerator[ToolContext]:
        async with Tokenward.open(
            "memory://", default_user="alice", limits=LIMITS, clock=clock, new_id=new_id
        ) as service:
            yield ToolContext(service=service, roots=(tmp_path,))

    @asynccontextmanager
    async def connected() -> AsyncGenerator[ToolClient]:
        server = StrictServer("test", version="1", instructions="", load_tools=load_tools, open_context=open_context)
        async with Client(server, mode=era) as client:
            yield ToolClient(client)

    return connected
