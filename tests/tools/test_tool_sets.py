"""Sets of tools: what is served, taught and paid for."""

import pytest
from click.testing import CliRunner
from mcp.client import Client
from mcp_types import TextContent

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.errors import ConfigurationError, InvalidInput
from tokenward.server.application import build_server
from tokenward.server.cli import cli
from tokenward.server.settings import Settings, load_settings
from tokenward.server.surface.instructions import instructions_for
from tokenward.tools.registry import CORE, NAMES, load_tools, names_of

ERAS = pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
BUDGET_TOOLS = ("check_quota", "record_usage", "release_quota")


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("all", NAMES),
        ("core", CORE),
        ("usage_report", ("usage_report",)),
        (" usage_report , count_tokens ", ("count_tokens", "usage_report")),
        ("core,usage_report", (*CORE, "usage_report")),
        ("core,all", NAMES),
        ("count_tokens,count_tokens", ("count_tokens",)),
    ],
)
def test_a_set_is_in_the_order_of_all(written: str, names: tuple[str, ...]) -> None:
    assert names_of(written) == names
    assert tuple(tool.name for tool in load_tools(names)) == names


@pytest.mark.parametrize("written", ["", ",", "core,", "Core", "count-tokens", "count_tokens;usage_report"])
def test_a_name_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(InvalidInput, match="is no tool"):
        names_of(written)


def test_a_misspelt_tool_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"^Setting tools: 'count_token' is no tool\. Did you mean 'count_tok"):
        load_settings(store="memory://", tools="count_token")


def test_the_core_set_is_half_the_price() -> None:
    counter = TokenCounter()

    def tokens(names: tuple[str, ...]) -> int:
        texts = [f"{tool.name}{tool.description}{tool.input_schema}" for tool in load_tools(names)]
        return sum(counter.count_tokens(text, "o200k_base").token_count for text in texts)

    assert tokens(CORE) < 0.62 * tokens(NAMES)


@pytest.mark.parametrize("names", [NAMES, CORE, BUDGET_TOOLS, ("record_usage",), ("usage_report",)])
def test_instructions_teach_what_is_served_and_cost_little(names: tuple[str, ...]) -> None:
    text = instructions_for(names)
    assert TokenCounter().count_tokens(text, "o200k_base").token_count <= 200
    assert {name for name in NAMES if name in text} <= set(names)
    taught = [text.index(name) for name in BUDGET_TOOLS if name in names]
    assert taught == sorted(taught)


def test_every_name_that_is_no_tool_is_said() -> None:
    with pytest.raises(InvalidInput, match=r"^tools: 'a' is no tool\. 'count_token' is no tool\. Did you mean"):
        names_of("a,count_token,core,a")
    with pytest.raises(InvalidInput, match=r"'x9' is no tool\. So are 10 more\. Known: "):
        names_of(",".join(f"x{number}" for number in range(20)))


def test_all_tools_are_taught_from_reserving_to_recording() -> None:
    text = instructions_for(NAMES)
    for word in ("reserve=true", "reservation_id", "retry_after_seconds", "release_quota", "truncate_history"):
        assert word in text


@ERAS
@pytest.mark.anyio
async def test_a_server_serves_its_set_only(era: str) -> None:
    server = build_server(load_settings(store="memory://", tools="check_quota,record_usage"))
    async with Client(server, mode=era) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["check_quota", "record_usage"]
        assert server.instructions == instructions_for(("check_quota", "record_usage"))
        result = await client.call_tool("count_tokens", {"text": "x", "model": "gpt-4o"})
        (block,) = result.content
        assert result.is_error
        assert isinstance(block, TextContent)
        assert block.text == "Unknown tool 'count_tokens'."


def test_the_command_line_names_the_set(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def serve(settings: Settings) -> None:
        seen.append(settings.tools)

    monkeypatch.setattr("tokenward.server.application.serve_stdio", serve)
    environment = {"TOKENWARD_STORE": "memory://", "TOKENWARD_TOOLS": "core"}
    for arguments in (["serve"], ["serve", "--tools", "all"]):
        assert CliRunner().invoke(cli, arguments, env=environment).exit_code == 0
    assert seen == ["core", "all"]
    refused = CliRunner().invoke(cli, ["serve", "--tools", "none"], env=environment)
    assert refused.exit_code == 1
    assert "'none' is no tool" in refused.stderr
