"""The reference of the tools says what the tools say: arguments, defaults, result fields, and answers word for word."""

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp.client import Client
from mcp_types import TextContent

from tests.conftest import CountingIds, FakeClock
from tokenward.engine.limits import TokenLimit
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.server.strict import StrictServer
from tokenward.service import Tokenward
from tokenward.tools.definition import Parameter, Tool, ToolContext
from tokenward.tools.registry import load_tools

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "tools.md"
TOOLS = load_tools()
EACH = pytest.mark.parametrize("tool", TOOLS, ids=[tool.name for tool in TOOLS])
LIMITS = (
    TokenLimit("user:alice", "tokens", "day", 100_000),
    TokenLimit("default", "cost", "month", 25_000_000_000, "calendar"),
)
CHANGING = {"price_source", "price_date", "price_age_days"}
"""Different after every update of the price data."""


def sections() -> dict[str, str]:
    """The text under each tool's heading."""
    _, *found = re.split(r"^## (\w+)\n", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(found[::2], found[1::2], strict=True))


def spelled(name: str, parameter: Parameter, default: object) -> str:
    """An argument as the page writes it: ``name (type, default)``."""
    kind = str(parameter.schema.get("type", "any JSON"))
    items = parameter.schema.get("items")
    if isinstance(items, dict):
        kind = f"list of {items['type']}s"
    if parameter.required:
        return f"{name} ({kind}, required)"
    text = default if isinstance(default, str) else json.dumps(default)
    return f"{name} ({kind})" if default is None else f"{name} ({kind}, {text})"


def example(section: str) -> tuple[JsonObject, JsonValue]:
    """The request and the answer of a section's example."""
    match = re.search(r"```text\n→ (.*?)\n← (.*?)\n```", section, re.DOTALL)
    assert match
    return json.loads(match[1]), without_changing(json.loads(match[2]))


class Ids:
    """Ids as the page numbers them: by their first appearance, for the ledger draws some that nobody sees."""

    def __init__(self) -> None:
        self._drawn: dict[str, str] = {}

    def renumbered(self, answer: str) -> str:
        for drawn in re.findall(r'"(drawn-\d+)"', answer):
            self._drawn.setdefault(drawn, f"id-{len(self._drawn) + 1}")
        return re.sub(r"drawn-\d+", lambda match: self._drawn[match[0]], answer)

    def as_drawn(self, arguments: JsonObject) -> JsonObject:
        drawn_for = {shown: drawn for drawn, shown in self._drawn.items()}
        return {
            name: drawn_for.get(value, value) if isinstance(value, str) else value for name, value in arguments.items()
        }


def without_changing(answer: JsonValue) -> JsonValue:
    if isinstance(answer, dict):
        return {key: value for key, value in answer.items() if key not in CHANGING}
    return answer


def test_every_tool_has_its_section_in_order() -> None:
    assert list(sections()) == [tool.name for tool in TOOLS]


def test_the_readme_lists_the_tools_in_order() -> None:
    table = (
        (REPOSITORY / "README.md").read_text("utf-8").partition("<!-- tools: begin")[2].partition("<!-- tools: end")[0]
    )
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [tool.name for tool in TOOLS]


@EACH
def test_arguments_have_their_types_and_defaults(tool: Tool) -> None:
    arguments = sections()[tool.name].partition("**Result:**")[0]
    found = re.findall(r"`(\w+)`\s+\(([^()`]+)\)", arguments)
    written = {f"{name} ({' '.join(kind.split())})" for name, kind in found}
    defaults: Mapping[str, object] = tool.run.__kwdefaults__ or {}
    assert written == {spelled(name, one, defaults.get(name)) for name, one in tool.parameters.items()}


@EACH
def test_every_field_of_a_result_is_named(tool: Tool) -> None:
    results = sections()[tool.name].partition("**Result:**")[2].partition("```")[0]
    assert set(tool.result.model_fields) <= set(re.findall(r"`(\w+)`", results))


@pytest.mark.anyio
async def test_examples_are_what_the_tools_answer(clock: FakeClock) -> None:
    @asynccontextmanager
    async def open_context() -> AsyncGenerator[ToolContext]:
        async with Tokenward.open(
            "memory://", default_user="alice", limits=LIMITS, clock=clock, new_id=CountingIds("drawn-")
        ) as service:
            yield ToolContext(service=service)

    server = StrictServer("test", version="1", instructions="", load_tools=load_tools, open_context=open_context)
    ids = Ids()
    async with Client(server) as client:
        for name, section in sections().items():
            arguments, expected = example(section)
            result = await client.call_tool(name, ids.as_drawn(arguments))
            (block,) = result.content
            assert isinstance(block, TextContent)
            assert not result.is_error, block.text
            assert without_changing(json.loads(ids.renumbered(block.text))) == expected, block.text
