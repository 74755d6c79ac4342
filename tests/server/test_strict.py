"""The strict server: what reaches a client when things go wrong, and what is private of the SDK."""

import inspect
import json
import logging
import re
import sys
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.server import MCPServer
from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.lowlevel import Server
from mcp_types import CallToolResult, TextContent

from tests.server.odd_server import SECRET, odd_server
from tokenward.server.application import build_server
from tokenward.server.settings import load_settings
from tokenward.server.surface.instructions import instructions_for
from tokenward.server.telemetry.logs import JsonLines, TextLines
from tokenward.tools.registry import NAMES

pytestmark = pytest.mark.anyio
ERAS = pytest.mark.parametrize("era", ["legacy", "2026-07-28"])


async def call(era: str, tool: str, **arguments: object) -> CallToolResult:
    async with Client(odd_server(), mode=era) as client:
        return await client.call_tool(tool, arguments)


def text_of(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


@ERAS
async def test_a_crash_says_nothing_to_the_client_and_no_values_to_the_log(
    era: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        result = await call(era, "crash", text=SECRET)
    assert result.is_error
    assert text_of(result) == "Internal error in tool crash; see the server's log."
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert record.getMessage() == "Internal error in tool crash (RuntimeError)"
    logged = TextLines("%(message)s").format(record)
    assert "odd_server.py" in logged
    assert logged.index("KeyError") < logged.index("which led to") < logged.rindex("RuntimeError")
    exceptions = json.loads(JsonLines().format(record))["exceptions"]
    assert [one["type"] for one in exceptions] == ["KeyError", "RuntimeError"]
    assert "odd_server.py" in exceptions[0]["frames"][-1]
    assert SECRET not in caplog.text + logged + str(exceptions)


@ERAS
async def test_an_expected_error_is_its_message(era: str) -> None:
    result = await call(era, "refuse")
    assert result.is_error
    assert text_of(result) == "text: not today; try tomorrow."


@ERAS
async def test_an_unknown_tool_is_refused_with_the_nearest(era: str) -> None:
    result = await call(era, "ecko", text="x")
    assert result.is_error
    assert text_of(result) == "Unknown tool 'ecko'. Did you mean 'echo'?"


@ERAS
async def test_tools_added_in_the_sdks_way_keep_working(era: str) -> None:
    server = odd_server()

    @server.tool()
    def double(number: int) -> int:  # pyright: ignore[reportUnusedFunction]
        return number * 2

    async with Client(server, mode=era) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("double", {"number": 21})
    assert names == ["echo", "nap", "crash", "refuse", "odd_name", "double"]
    assert result.structured_content == {"result": 42}


async def test_a_tool_needs_a_request() -> None:
    with pytest.raises(ValueError, match="needs the context"):
        await odd_server().call_tool("echo", {"text": "x"})


async def test_tools_may_be_cached_by_clients() -> None:
    async with Client(odd_server(), mode="2026-07-28") as client:
        listed = await client.list_tools()
    assert (listed.ttl_ms, listed.cache_scope) == (3_600_000, "public")


async def test_the_server_introduces_itself() -> None:
    server = build_server(load_settings(store="memory://"))
    async with Client(server, mode="legacy") as client:
        assert client.server_info is not None
        assert client.server_info.name == "tokenward"
        assert client.server_info.version
        assert client.instructions == instructions_for(NAMES)


async def test_nothing_is_opened_before_the_first_call(capsys: pytest.CaptureFixture[str]) -> None:
    async with Client(odd_server(), mode="legacy") as client:
        await client.list_tools()
        assert capsys.readouterr().err == ""
        await client.call_tool("echo", {"text": "x"})
        await client.call_tool("echo", {"text": "y"})
        assert capsys.readouterr().err == "opened\n"
    assert capsys.readouterr().err == "closed\n"


async def test_building_a_server_leaves_the_modules_alone() -> None:
    before = {name: module for name, module in sys.modules.items() if name.startswith("rich")}
    odd_server()
    assert {name: module for name, module in sys.modules.items() if name.startswith("rich")} == before


async def test_the_sdks_private_name_is_still_there() -> None:
    """``StrictServer.serve_streams`` uses it."""
    core = vars(MCPServer[object]("x"))["_lowlevel_server"]
    assert isinstance(core, Server)
    assert list(inspect.signature(core.run).parameters)[:3] == [
        "read_stream",
        "write_stream",
        "initialization_options",
    ]


async def test_the_sdks_private_module_still_makes_the_spans() -> None:
    """``StrictServer`` takes it out where nobody collects spans: the SDK itself must still put it in."""
    assert any(isinstance(one, OpenTelemetryMiddleware) for one in MCPServer[object]("x").middleware)
    assert not any(isinstance(one, OpenTelemetryMiddleware) for one in odd_server().middleware)


async def test_no_other_private_module_of_the_sdk_is_used() -> None:
    private = re.compile(r"^\s*(?:from|import)\s+(mcp(?:_types)?(?:\.\w+)*\._\w+)", re.MULTILINE)
    found = {
        (file.name, module)
        for file in sorted((Path(__file__).parents[2] / "server").rglob("*.py"))
        for module in private.findall(file.read_text("utf-8"))
    }
    assert found == {("strict.py", "mcp.server._otel")}
