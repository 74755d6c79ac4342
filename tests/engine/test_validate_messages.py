"""What each provider refuses, and that what it accepts is accepted."""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.histories import FORMATS, histories
from tokenward.engine.errors import InvalidMessages
from tokenward.engine.history import validate_messages
from tokenward.engine.messages.view import Format
from tokenward.engine.types import JsonObject, JsonValue


def user(text: str = "Hi") -> JsonObject:
    return {"role": "user", "content": text}


def assistant(text: str = "Hello") -> JsonObject:
    return {"role": "assistant", "content": text}


def chat_calls(*ids: str) -> JsonObject:
    function: JsonObject = {"name": "grep", "arguments": "{}"}
    return {"role": "assistant", "tool_calls": [{"id": id_, "type": "function", "function": function} for id_ in ids]}


def chat_result(call_id: str) -> JsonObject:
    return {"role": "tool", "tool_call_id": call_id, "content": "found"}


def item_call(call_id: str) -> JsonObject:
    return {"type": "function_call", "call_id": call_id, "name": "grep", "arguments": "{}"}


def item_output(call_id: str) -> JsonObject:
    return {"type": "function_call_output", "call_id": call_id, "output": "found"}


def reasoning() -> JsonObject:
    return {"type": "reasoning", "id": "rs_1", "summary": []}


def tool_uses(*ids: str) -> JsonObject:
    return {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": id_, "name": "grep", "input": {}} for id_ in ids],
    }


def tool_results(*ids: str, text: str = "", text_first: bool = False) -> JsonObject:
    blocks: list[JsonValue] = [{"type": "tool_result", "tool_use_id": id_, "content": "found"} for id_ in ids]
    if text:
        blocks.insert(0 if text_first else len(blocks), {"type": "text", "text": text})
    return {"role": "user", "content": blocks}


def content(role: str, *parts: JsonValue) -> JsonObject:
    return {"role": role, "parts": list(parts)}


TEXT: JsonObject = {"text": "Hi"}
CALL: JsonObject = {"functionCall": {"name": "grep", "args": {}}}
RESPONSE: JsonObject = {"functionResponse": {"name": "grep", "response": {"result": "found"}}}
ASKED: Final = content("user", TEXT)
SAID: Final = content("model", TEXT)
CALLED: Final = content("model", CALL)
ANSWERED: Final = content("user", RESPONSE)
SERVER_USE: JsonObject = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
SERVER_RESULT: JsonObject = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}

ACCEPTED: list[tuple[str, Format, list[JsonObject]]] = [
    ("begins with the assistant", "openai", [assistant(), user()]),
    ("parallel calls in another order", "openai", [user(), chat_calls("a", "b"), chat_result("b"), chat_result("a")]),
    ("in flight", "openai", [user(), chat_calls("a")]),
    ("partly in flight", "openai", [user(), chat_calls("a", "b"), chat_result("b")]),
    ("an id used again", "openai", [chat_calls("a"), chat_result("a"), chat_calls("a"), chat_result("a")]),
    (
        "legacy function",
        "openai",
        [
            {"role": "assistant", "content": None, "function_call": {"name": "grep", "arguments": "{}"}},
            {"role": "function", "name": "grep", "content": "found"},
        ],
    ),
    (
        "calls and outputs mixed",
        "openai_responses",
        [item_call("a"), user(), item_call("b"), item_output("b"), item_output("a")],
    ),
    ("reasoning before its call", "openai_responses", [user(), reasoning(), item_call("a"), item_output("a")]),
    ("in flight", "openai_responses", [user(), item_call("a"), item_call("b"), item_output("a")]),
    ("neighbours of one role", "anthropic", [user(), user(), assistant(), assistant(), user()]),
    ("results over two messages", "anthropic", [user(), tool_uses("a", "b"), tool_results("b"), tool_results("a")]),
    ("text behind results", "anthropic", [user(), tool_uses("a"), tool_results("a", text="Go on")]),
    ("in flight", "anthropic", [user(), tool_uses("a")]),
    ("partly in flight", "anthropic", [user(), tool_uses("a", "b"), tool_results("b")]),
    ("empty prefill", "anthropic", [user(), assistant("")]),
    (
        "the provider's own tool",
        "anthropic",
        [user(), {"role": "assistant", "content": [SERVER_USE, SERVER_RESULT]}, user()],
    ),
    ("parallel calls", "gemini", [ASKED, content("model", CALL, CALL), content("user", RESPONSE, RESPONSE)]),
    ("calls after responses", "gemini", [ASKED, CALLED, content("function", RESPONSE), CALLED]),
    ("partly in flight", "gemini", [ASKED, content("model", CALL, CALL), ANSWERED]),
]

REFUSED: list[tuple[str, Format, list[JsonObject], int]] = [
    ("orphan", "openai", [user(), chat_result("a")], 1),
    ("wrong id", "openai", [user(), chat_calls("a"), chat_result("b")], 2),
    ("unanswered", "openai", [user(), chat_calls("a"), user()], 1),
    ("one of two unanswered", "openai", [user(), chat_calls("a", "b"), chat_result("a"), assistant()], 1),
    ("a message between", "openai", [chat_calls("a", "b"), chat_result("a"), user(), chat_result("b")], 0),
    ("late result", "openai", [chat_calls("a"), chat_result("a"), user(), chat_result("a")], 3),
    ("orphan", "openai_responses", [user(), item_output("a")], 1),
    ("output before its call", "openai_responses", [item_output("a"), item_call("a")], 0),
    ("unanswered", "openai_responses", [user(), item_call("a"), user()], 1),
    ("reasoning alone", "openai_responses", [user(), reasoning(), user()], 1),
    ("reasoning at the end", "openai_responses", [user(), reasoning()], 1),
    ("assistant first", "anthropic", [assistant(), user()], 0),
    ("orphan", "anthropic", [user(), tool_results("a")], 1),
    ("result not in the next turn", "anthropic", [user(), tool_uses("a"), user(), assistant(), tool_results("a")], 1),
    ("unanswered", "anthropic", [user(), tool_uses("a", "b"), tool_results("a"), assistant()], 1),
    ("text before results", "anthropic", [user(), tool_uses("a"), tool_results("a", text="Hm", text_first=True)], 2),
    ("answered twice", "anthropic", [user(), tool_uses("a"), tool_results("a", "a")], 2),
    ("empty text", "anthropic", [user(" \n"), assistant()], 0),
    ("no content", "anthropic", [user(), {"role": "assistant", "content": []}, user()], 1),
    ("model first", "gemini", [SAID], 0),
    ("orphan", "gemini", [ASKED, SAID, ANSWERED], 2),
    ("response first", "gemini", [ANSWERED], 0),
    ("too few responses", "gemini", [ASKED, content("model", CALL, CALL), ANSWERED, SAID], 1),
    ("unanswered", "gemini", [ASKED, CALLED, ASKED], 1),
    ("call after the model", "gemini", [ASKED, SAID, CALLED], 2),
    ("no parts", "gemini", [ASKED, content("model")], 1),
]


@pytest.mark.parametrize(
    ("format_", "messages"), [case[1:] for case in ACCEPTED], ids=[f"{case[1]}: {case[0]}" for case in ACCEPTED]
)
def test_what_the_provider_accepts(format_: Format, messages: list[JsonObject]) -> None:
    validate_messages(messages, format_)


@pytest.mark.parametrize(
    ("format_", "messages", "index"), [case[1:] for case in REFUSED], ids=[f"{case[1]}: {case[0]}" for case in REFUSED]
)
def test_what_the_provider_refuses(format_: Format, messages: list[JsonObject], index: int) -> None:
    with pytest.raises(InvalidMessages) as caught:
        validate_messages(messages, format_)
    assert caught.value.index == index
    assert str(caught.value).startswith(f"messages[{index}]: ")


@pytest.mark.parametrize("format_", FORMATS)
def test_an_empty_list_is_refused(format_: Format) -> None:
    with pytest.raises(InvalidMessages, match="at least one message"):
        validate_messages([], format_)


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_generated_histories_are_valid(format_: Format, data: st.DataObject) -> None:
    validate_messages(data.draw(histories(format_)).messages, format_)


def test_an_error_never_shows_the_messages() -> None:
    with pytest.raises(InvalidMessages) as caught:
        validate_messages([user("secret plan"), chat_result("secret id")])
    assert "secret" not in str(caught.value)
