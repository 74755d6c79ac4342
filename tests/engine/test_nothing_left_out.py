"""Whatever a request holds is within its bounds: counted, or at least allowed for and said."""

import base64
import struct
import zlib
from functools import cache

import pytest

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.counting.results import MessageCount
from tokenward.engine.types import JsonObject, JsonValue

WORDS = "some words that take a token each or so " * 50
DATA = base64.b64encode(bytes(1_000_000)).decode()
HELLO: JsonObject = {"role": "user", "content": "hello"}
GEMINI: JsonObject = {"role": "user", "parts": [{"text": "hello"}]}
SCHEMA: JsonObject = {"type": "object", "properties": {"a": {"type": "string", "description": WORDS}}}


def picture() -> str:
    """A PNG's signature and header, which say 1,000 by 1,000 pixels."""
    header = struct.pack(">IIBBBBB", 1000, 1000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return base64.b64encode(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    ).decode()


@cache
def counter() -> TokenCounter:
    return TokenCounter()


def count(
    model: str,
    messages: list[JsonObject],
    tools: list[JsonObject] | None = None,
    system: JsonValue = None,
    choice: JsonValue = None,
) -> MessageCount:
    return count_messages(messages, model, counter=counter(), tools=tools, system=system, tool_choice=choice)


def blocks(*content: JsonObject) -> list[JsonObject]:
    return [{"role": "user", "content": [*content]}]


PDF: JsonObject = {"type": "base64", "media_type": "application/pdf", "data": DATA}
IMAGE: JsonObject = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture()}}
GEMINI_IMAGE: JsonObject = {"inlineData": {"mimeType": "image/png", "data": picture()}}
LINK: JsonObject = {"type": "url", "url": "u"}
RESPONSE: JsonObject = {"name": "f", "response": {"r": 1}, "parts": [GEMINI_IMAGE]}


SEARCHED: tuple[JsonObject, JsonObject] = (
    {"type": "tool_search_call", "call_id": "s", "arguments": {}},
    {"type": "tool_search_output", "call_id": "s", "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]},
)
GIVEN: list[tuple[str, list[JsonObject], int]] = [
    ("claude-opus-4-8", blocks({"type": "document", "title": "Report", "source": PDF}), 2_000),
    ("claude-opus-4-8", blocks({"type": "document", "context": "mine", "source": LINK}), 2_000),
    ("claude-opus-4-8", blocks({"type": "document", "source": {"type": "content", "content": [IMAGE]}}), 1_000),
    ("gemini-2.5-pro", [{"role": "user", "parts": [{"functionResponse": RESPONSE}]}], 258),
    ("gpt-5", [HELLO, {"type": "reasoning", "summary": [], "encrypted_content": "x" * 20_000}], 2_000),
    ("gpt-5", [HELLO, SEARCHED[0], SEARCHED[1]], 250),
    ("deepseek-chat", [HELLO, {"role": "assistant", "content": "hi", "reasoning_content": WORDS}], 300),
]


@pytest.mark.parametrize(("model", "messages", "least"), GIVEN)
def test_parts_of_messages(model: str, messages: list[JsonObject], least: int) -> None:
    found = count(model, messages)
    assert found.upper >= least
    assert not found.exact


TOOLS: list[tuple[str, JsonObject]] = [
    ("gemini-2.5-pro", {"functionDeclarations": [{"name": "f", "parametersJsonSchema": SCHEMA}]}),
    ("gemini-2.5-pro", {"functionDeclarations": [{"name": "f", "parameters_json_schema": SCHEMA}]}),
    ("gemini-2.5-pro", {"functionDeclarations": [{"name": "f", "response": SCHEMA}]}),
    ("claude-opus-4-8", {"name": "f", "input_schema": {"type": "object"}, "input_examples": [{"a": WORDS}]}),
    ("claude-opus-4-8", {"name": "web", "type": "web_search_20250305"}),
    ("gpt-4o", {"type": "custom", "name": "f", "format": {"type": "grammar", "definition": WORDS}}),
    ("gpt-4o", {"type": "namespace", "name": "n", "tools": [{"name": "f", "parameters": SCHEMA}]}),
    ("gpt-4o", {"type": "function", "function": {"name": "f", "parameters": {}, "output_schema": SCHEMA}}),
    ("gpt-4o", {"name": "f", "parameters": {"type": "object", "properties": {}, "additionalProperties": SCHEMA}}),
    ("gpt-4o", {"name": "f", "parameters": {"type": "array", "items": SCHEMA}}),
]


@pytest.mark.parametrize(("model", "tool"), TOOLS)
def test_parts_of_tool_definitions(model: str, tool: JsonObject) -> None:
    bare: JsonObject = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    messages = [GEMINI if model.startswith("gemini") else HELLO]
    found = count(model, messages, [tool])
    assert found.upper - count(model, messages, [bare]).upper >= 250
    assert not found.exact


def test_media_in_system_text() -> None:
    document: JsonObject = {"type": "document", "source": PDF}
    assert count("claude-opus-4-8", [HELLO], system=[document]).upper > 10_000
    assert count("gemini-2.5-pro", [GEMINI], system={"parts": [GEMINI_IMAGE]}).breakdown.images >= 258


@pytest.mark.parametrize("model", ["gpt-4o", "claude-opus-4-8", "gemini-2.5-pro"])
def test_an_empty_system_text_is_none(model: str) -> None:
    assert count(model, [HELLO], system="") == count(model, [HELLO])


def test_a_name_is_not_part_of_the_recorded_frame() -> None:
    named: JsonObject = {**HELLO, "name": "ann"}
    assert not count_messages([named], "claude-opus-4-8", counter=counter(), format="openai").exact


def test_no_tools_in_either_spelling() -> None:
    tool: JsonObject = {"name": "f", "input_schema": SCHEMA}
    assert count("claude-opus-4-8", [HELLO], [tool], choice="none") == count(
        "claude-opus-4-8", [HELLO], [tool], choice={"type": "none"}
    )


@pytest.mark.parametrize(
    ("model", "family"),
    [("claude-opus-4_7", "claude-4.7"), ("claude-opus-4p7", "claude-4.7"), ("claude", "claude-4.8")],
)
def test_spellings_of_claude(model: str, family: str) -> None:
    assert counter().catalog.resolve(model).family == family
