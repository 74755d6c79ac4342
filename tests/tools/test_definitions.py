"""What every client is shown of the tools: order, size, schemas, annotations."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.tools.definition import Tool
from tokenward.tools.registry import NAMES, load_tools

SNAPSHOTS = Path(__file__).parent / "snapshots"
TOOLS = load_tools()
EACH = pytest.mark.parametrize("tool", TOOLS, ids=[tool.name for tool in TOOLS])

MAX_TOKENS_OF_ONE = 150
MAX_TOKENS_OF_ALL = 1_200

CONTRACT = {
    "count_tokens": "text texts paths model max_context detail",
    "count_messages": "messages model tools tool_choice system format max_output_tokens detail",
    "estimate_cost": "model input_tokens output_tokens cached_input_tokens cache_write_tokens cache_write_1h_tokens "
    "reasoning_tokens text messages max_output_tokens tier compare at",
    "check_quota": "user model tokens input_tokens max_output_tokens messages group session priority reserve "
    "ttl_seconds idempotency_key",
    "record_usage": "model input_tokens output_tokens cached_input_tokens cache_write_tokens cache_write_1h_tokens "
    "reasoning_tokens response user group session endpoint priority reservation_id idempotency_key at counted_tokens",
    "release_quota": "reservation_id",
    "usage_report": "user start end period group_by timezone top forecast_days cursor detail",
    "truncate_history": "messages max_tokens model strategy format tools system keep_last pin placeholder detail",
    "compress_messages": "messages model target_reduction format",
}
REQUIRED = {
    "count_tokens": {"model"},
    "count_messages": {"messages", "model"},
    "estimate_cost": {"model"},
    "check_quota": set[str](),
    "record_usage": {"model"},
    "release_quota": {"reservation_id"},
    "usage_report": set[str](),
    "truncate_history": {"messages", "max_tokens", "model"},
    "compress_messages": {"messages", "model"},
}
RESULTS = {
    "count_tokens": "tokens lower upper exact method model encoding context_window context_used_percent "
    "remaining_tokens fits items",
    "count_messages": "tokens lower upper exact method model encoding context_window context_used_percent "
    "remaining_tokens fits breakdown messages total_with_output",
    "estimate_cost": "model provider input_cost output_cost cache_cost total_cost currency input_tokens output_tokens "
    "exact prices price_source price_date tier comparisons",
    "check_quota": "allowed user requested limits denied_by reason retry_after_seconds reservation_id expires_at "
    "warnings",
    "record_usage": "recorded duplicate event_id cost overage user",
    "release_quota": "released tokens cost",
    "usage_report": "totals rows top_users by_hour_of_day forecast next_cursor",
    "truncate_history": "messages tokens_before tokens_after fits dropped cleared placeholder strategy exact method",
    "compress_messages": "messages tokens_before tokens_after reduction changed savings",
}


def footprint(tool: Tool) -> str:
    shown = {"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema}
    return json.dumps(shown, separators=(",", ":"))


def properties(schema: JsonObject) -> JsonObject:
    found = schema["properties"]
    assert isinstance(found, dict)
    return found


def required(schema: JsonObject) -> set[JsonValue]:
    names = schema.get("required", [])
    assert isinstance(names, list)
    return set(names)


def test_the_order_is_fixed() -> None:
    assert [tool.name for tool in TOOLS] == list(NAMES) == list(CONTRACT)


@EACH
def test_arguments_are_those_of_the_contract(tool: Tool) -> None:
    assert set(properties(tool.input_schema)) == set(CONTRACT[tool.name].split())
    assert required(tool.input_schema) == REQUIRED[tool.name]
    assert tool.input_schema["additionalProperties"] is False


@EACH
def test_results_have_the_fields_of_the_contract(tool: Tool) -> None:
    fields = set(properties(tool.output_schema))
    assert set(RESULTS[tool.name].split()) <= fields
    assert required(tool.output_schema) == fields


def test_the_footprint_is_small() -> None:
    counter = TokenCounter()
    sizes = {tool.name: counter.count_tokens(footprint(tool), "o200k_base") for tool in TOOLS}
    assert all(size.exact for size in sizes.values())
    tokens = {name: size.token_count for name, size in sizes.items()}
    assert {name: size for name, size in tokens.items() if size > MAX_TOKENS_OF_ONE} == {}
    assert sum(tokens.values()) <= MAX_TOKENS_OF_ALL


@EACH
def test_arguments_use_only_the_plainest_schema_words(tool: Tool) -> None:
    for name, schema in properties(tool.input_schema).items():
        assert isinstance(schema, dict), name
        assert set(schema) <= {"type", "enum", "items"}, name


# These would not fit into the footprint with a type. Some clients leave out tools with untyped arguments.
UNTYPED = {
    "record_usage": {
        *("cache_write_1h_tokens", "reasoning_tokens", "response", "endpoint", "priority", "at", "counted_tokens")
    }
}


@EACH
def test_arguments_are_typed(tool: Tool) -> None:
    untyped = {name for name, schema in properties(tool.input_schema).items() if schema == {}}
    assert untyped == UNTYPED.get(tool.name, set())


@EACH
def test_no_schema_carries_noise(tool: Tool) -> None:
    for schema in (tool.input_schema, tool.output_schema):
        words = set(_words(schema))
        assert not words & {"title", "description", "default"}


def _words(schema: JsonValue, *, names: bool = False) -> Iterator[str]:
    """The keys of a schema that are its own words, not properties' names."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if not names:
                yield key
            yield from _words(value, names=key in ("properties", "$defs") and not names)
    elif isinstance(schema, list):
        for item in schema:
            yield from _words(item)


@EACH
def test_snapshot(tool: Tool) -> None:
    shown = {
        "name": tool.name,
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema,
        "annotations": {
            "readOnlyHint": tool.read_only,
            "destructiveHint": tool.destructive,
            "idempotentHint": tool.idempotent,
            "openWorldHint": False,
        },
    }
    text = json.dumps(shown, indent=2) + "\n"
    file = SNAPSHOTS / f"{tool.name}.json"
    if os.environ.get("TOKENWARD_UPDATE_SNAPSHOTS") == "1":
        file.write_text(text, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == text, "run with TOKENWARD_UPDATE_SNAPSHOTS=1 and review the change"


def test_no_snapshot_is_left_over() -> None:
    assert {file.stem for file in SNAPSHOTS.glob("*.json")} == set(NAMES)
