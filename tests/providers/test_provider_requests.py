"""Counting whole requests by the providers' APIs."""

from dataclasses import astuple, replace

import pytest

from tests.providers.asking import (
    MODELS,
    PROVIDERS,
    opened,
    request,
)
from tests.providers.double import FRAME, PER_TOOL, ProviderDouble
from tests.providers.requests import OWN, TOOL
from tokenward.engine.counting.results import MessageBreakdown
from tokenward.engine.errors import InvalidInput
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.service import Tokenward

pytestmark = pytest.mark.anyio

EMPTY: JsonObject = {"type": "object", "properties": {}}


def parts_sum(parts: MessageBreakdown) -> int:
    return sum(astuple(parts))


@PROVIDERS
async def test_a_request_in_the_providers_own_format_is_exact(double: ProviderDouble, provider: str) -> None:
    given, sent, tokens = OWN[provider]
    async with opened(double) as service:
        count = await request(service, MODELS[provider], given)
        again = await request(service, MODELS[provider], given)
    assert (count.tokens, count.lower, count.upper, count.exact) == (tokens, tokens, tokens, True)
    assert (count.method, count.warnings) == ("provider_api", ())
    assert parts_sum(count.breakdown) == tokens
    assert [asked.body for asked in double.asked] == [sent]
    assert again == count


async def test_only_overhead_differs_from_the_breakdown_in_process(double: ProviderDouble) -> None:
    given = OWN["anthropic"][0]
    async with opened(double) as service, Tokenward.open("memory://") as other:
        count, local = (
            await request(service, MODELS["anthropic"], given),
            await request(other, "claude-haiku-4-5", given),
        )
    assert local.method != count.method == "provider_api"
    assert replace(count.breakdown, overhead=0) == replace(local.breakdown, overhead=0)
    assert (count.messages, count.format) == (local.messages, local.format)


CALL: JsonObject = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": "{}"}}


async def test_chat_messages_are_converted_for_openai_and_not_called_exact(double: ProviderDouble) -> None:
    given: JsonObject = {
        "messages": [
            {"role": "developer", "content": "be good"},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": "so", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "found it"},
        ],
        "tools": [{"type": "function", "function": TOOL}],
        "tool_choice": {"type": "function", "function": {"name": "find"}},
    }
    async with opened(double) as service:
        count = await request(service, "gpt-4o", given)
    assert double.asked[-1].body == {
        "model": "gpt-4o",
        "input": [
            {"role": "developer", "content": "be good"},
            {"role": "user", "content": [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}]},
            {"role": "assistant", "content": "so"},
            {"type": "function_call", "call_id": "call_1", "name": "find", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "found it"},
        ],
        "tools": [{"type": "function", "strict": False, **TOOL}],
        "tool_choice": {"type": "function", "name": "find"},
    }
    tokens = FRAME + 8 + PER_TOOL
    assert (count.tokens, count.exact, count.method) == (tokens, False, "provider_api")
    assert count.lower < tokens < count.upper
    assert count.warnings == ("Converted for OpenAI's counting API; the bounds allow for it.",)
    assert parts_sum(count.breakdown) == tokens


@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
async def test_plain_chat_messages_are_converted_for_the_others(double: ProviderDouble, provider: str) -> None:
    given: JsonObject = {
        "messages": [
            {"role": "system", "content": "be good"},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
        ],
        "tools": [{"type": "function", "function": TOOL}],
    }
    async with opened(double) as service:
        count = await request(service, MODELS[provider], given)
    body = double.asked[-1].body
    if provider == "anthropic":
        assert body["system"] == [{"type": "text", "text": "be good"}]
        assert body["messages"] == [
            {"role": "user", "content": [{"type": "text", "text": "one"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "two"}]},
        ]
    else:
        inner = body["generateContentRequest"]
        assert isinstance(inner, dict)
        assert inner["contents"] == [
            {"role": "user", "parts": [{"text": "one"}]},
            {"role": "model", "parts": [{"text": "two"}]},
        ]
    assert (count.tokens, count.exact) == (FRAME + 4 + PER_TOOL, False)


@pytest.mark.parametrize(
    ("provider", "tool", "sent"),
    [
        (
            "anthropic",
            {"name": "find", "inputSchema": {"type": "object"}},
            {"name": "find", "input_schema": {"type": "object"}},
        ),
        ("anthropic", {"type": "function", "name": "find"}, {"name": "find", "input_schema": EMPTY}),
        ("gemini", {"type": "function", "function": {"name": "find"}}, {"functionDeclarations": [{"name": "find"}]}),
        (
            "gemini",
            {"name": "find", "input_schema": EMPTY},
            {"functionDeclarations": [{"name": "find", "parameters": EMPTY}]},
        ),
        (
            "openai",
            {"type": "function", "function": {"name": "find", "strict": True}},
            {"type": "function", "name": "find", "parameters": EMPTY, "strict": True},
        ),
    ],
)
async def test_a_tool_in_another_spelling_is_converted(
    double: ProviderDouble, provider: str, tool: JsonObject, sent: JsonObject
) -> None:
    given: JsonObject = {**OWN[provider][0], "tools": list[JsonValue]([tool])}
    async with opened(double) as service:
        count = await request(service, MODELS[provider], given)
    body = double.asked[-1].body.get("generateContentRequest", double.asked[-1].body)
    assert isinstance(body, dict)
    assert body["tools"] == [sent]
    assert (count.method, count.exact) == ("provider_api", False)


@pytest.mark.parametrize(
    ("provider", "choice", "sent"),
    [
        ("anthropic", "required", {"type": "any"}),
        ("anthropic", {"type": "tool", "name": "find"}, {"type": "tool", "name": "find"}),
        ("gemini", {"functionCallingConfig": {"mode": "ANY"}}, {"functionCallingConfig": {"mode": "ANY"}}),
        ("openai", {"type": "function", "name": "find"}, {"type": "function", "name": "find"}),
        ("openai", None, None),
    ],
)
async def test_a_choice_of_tool(double: ProviderDouble, provider: str, choice: JsonValue, sent: JsonValue) -> None:
    given: JsonObject = {**OWN[provider][0], "tool_choice": choice}
    async with opened(double) as service:
        count = await request(service, MODELS[provider], given)
    body = double.asked[-1].body.get("generateContentRequest", double.asked[-1].body)
    assert isinstance(body, dict)
    assert body.get("tool_choice", body.get("toolConfig")) == sent
    assert (count.method, count.exact) == ("provider_api", True)


async def test_what_json_cannot_hold_is_not_sent(double: ProviderDouble) -> None:
    deep: JsonValue = []
    for _ in range(100_000):
        deep = [deep]
    async with opened(double) as service:
        count = await service.count_request([{"role": "user", "content": "x", "id": deep}], MODELS["anthropic"])
    assert count.warnings[-1] == "Counted in process: the request cannot be written as JSON."
    assert double.asked == []


IMAGE: JsonObject = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("model", "given", "reason"),
    [
        (
            "gpt-4o",
            {"messages": [{"role": "user", "content": [IMAGE]}]},
            "for OpenAI only texts, function calls and their outputs are converted",
        ),
        (
            "gpt-4o",
            {"messages": [{"role": "user", "content": "x", "name": "bob"}]},
            "OpenAI's counting API takes no names of participants",
        ),
        (
            "claude-haiku-4-5",
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [CALL]}]},
            "for Anthropic only plain texts are converted from openai messages",
        ),
        (
            "gemini-2.5-pro",
            {"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]},
            "Gemini takes no system text between messages",
        ),
        (
            "gemini-2.5-pro",
            {"messages": [{"role": "user", "parts": [{"text": "x"}]}], "tool_choice": {"type": "auto"}},
            "this tool_choice has no form in Gemini's API",
        ),
        (
            "claude-haiku-4-5",
            {
                "messages": [{"role": "user", "content": "x"}],
                "system": {"parts": [{"text": "y"}]},
                "format": "anthropic",
            },
            "the system text is not in a form of Anthropic's API",
        ),
        (
            "claude-haiku-4-5",
            {"messages": [{"role": "system", "content": "x"}]},
            "Anthropic counts no request without a message of a user",
        ),
        (
            "gpt-4o",
            {"messages": [{"role": "user", "content": "x"}], "tools": [{"googleSearch": None}]},
            "a tool is not in a form of OpenAI's API",
        ),
        (
            "mistral-large",
            {"messages": [{"role": "user", "content": "x"}]},
            "no provider's counting API has this model",
        ),
    ],
)
async def test_what_has_no_form_there_is_counted_in_process(
    double: ProviderDouble, model: str, given: JsonObject, reason: str
) -> None:
    async with opened(double) as service, Tokenward.open("memory://") as other:
        count, local = await request(service, model, given), await request(other, model, given)
    assert count == replace(local, warnings=(*local.warnings, f"Counted in process: {reason}."))
    assert double.asked == []


async def test_a_request_that_is_no_request_is_refused_before_anything_is_sent(double: ProviderDouble) -> None:
    async with opened(double) as service:
        with pytest.raises(InvalidInput, match="messages"):
            await service.count_request([{"role": "user"}], "claude-haiku-4-5")
    assert double.asked == []
