"""What each provider refuses, and that what it accepts is accepted."""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.histories import FORMATS, histories
from tests.engine.oracle import ORACLES
from tokenward.engine.errors import InvalidMessages
from tokenward.engine.history import validate_messages
from tokenward.engine.history.rewrite import is_clearable
from tokenward.engine.history.units import find_units
from tokenward.engine.messages import read_messages
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


def blocks(*content: JsonValue) -> JsonObject:
    return {"role": "assistant", "content": list(content)}


def said(role: str, kind: str) -> JsonObject:
    return {"role": role, "content": [{"type": kind, "text": "Hi"}]}


def content(role: str, *parts: JsonValue) -> JsonObject:
    return {"role": role, "parts": list(parts)}


TEXT: JsonObject = {"text": "Hi"}
CALL: JsonObject = {"functionCall": {"name": "grep", "args": {}}}
RESPONSE: JsonObject = {"functionResponse": {"name": "grep", "response": {"result": "found"}}}
ASKED: Final = content("user", TEXT)
SAID: Final = content("model", TEXT)
CALLED: Final = content("model", CALL)
ANSWERED: Final = content("user", RESPONSE)
THINKING: JsonObject = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
SAY: JsonObject = {"type": "text", "text": "Well."}
USE: JsonObject = {"type": "tool_use", "id": "a", "name": "grep", "input": {}}
USE_TOO: JsonObject = {**USE, "id": "b"}
SERVER_USE: JsonObject = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
SERVER_RESULT: JsonObject = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}

APPROVAL: JsonObject = {"type": "mcp_approval_request", "id": "ap", "name": "g", "arguments": "{}"}
APPROVED: JsonObject = {"type": "mcp_approval_response", "approval_request_id": "ap", "approve": True}
SEARCH: JsonObject = {"type": "tool_search_call", "call_id": "s", "arguments": {}}
SEARCHED: JsonObject = {"type": "tool_search_output", "call_id": "s", "tools": []}
PATCH: JsonObject = {"type": "apply_patch_call", "call_id": "p", "operation": {"type": "delete_file", "path": "a"}}
PATCHED: JsonObject = {"type": "apply_patch_call_output", "call_id": "p", "status": "completed"}
SHELL: JsonObject = {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}}
SHELL_OUTPUT: JsonObject = {
    "type": "shell_call_output",
    "call_id": "c",
    "output": [{"stdout": "x", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
}
RESPONSE_WITH_ID: JsonObject = {"functionResponse": {"name": "grep", "id": "z", "response": {}}}
EMPTY: tuple[JsonObject, ...] = (
    {"type": "tool_result", "tool_use_id": "a"},
    {"type": "tool_result", "tool_use_id": "b", "content": ""},
)
EMPTY_TEXT: JsonObject = {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": ""}]}

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
    ("a space in the middle", "anthropic", [user(), assistant("The answer is "), user()]),
    ("thinking in an earlier turn", "anthropic", [user(), blocks(THINKING, SAY), user()]),
    ("interleaved thinking", "anthropic", [user(), blocks(THINKING, USE, THINKING, USE_TOO)]),
    ("redacted", "anthropic", [user(), blocks({"type": "redacted_thinking", "data": "eA=="}, USE), tool_results("a")]),
    ("said and told", "openai_responses", [said("user", "input_text"), said("assistant", "output_text")]),
    ("parallel calls", "gemini", [ASKED, content("model", CALL, CALL), content("user", RESPONSE, RESPONSE)]),
    ("calls after responses", "gemini", [ASKED, CALLED, content("function", RESPONSE), CALLED]),
    ("partly in flight", "gemini", [ASKED, content("model", CALL, CALL), ANSWERED]),
    ("the role of the library", "gemini", [ASKED, CALLED, content("tool", RESPONSE)]),
    ("an id only in the response", "gemini", [ASKED, CALLED, content("user", RESPONSE_WITH_ID)]),
    ("signature on an empty text", "gemini", [ASKED, content("model", {"text": "", "thoughtSignature": "c2ln"})]),
    ("approval", "openai_responses", [user(), APPROVAL, APPROVED, user()]),
    ("an approval left open", "openai_responses", [user(), APPROVAL, user()]),
    ("a reference to an item", "openai_responses", [user(), {"id": "msg_1"}]),
    ("no output of a patch", "openai_responses", [user(), PATCH, PATCHED]),
    ("a shell's output", "openai_responses", [user(), SHELL, SHELL_OUTPUT]),
    ("results without content", "anthropic", [user(), tool_uses("a", "b"), {"role": "user", "content": [*EMPTY]}]),
    (
        "a provider's tool around the caller's",
        "anthropic",
        [user(), blocks(SERVER_USE, USE), tool_results("a"), blocks(SERVER_RESULT, SAY), user()],
    ),
    ("the provider's own tool, open", "anthropic", [user(), blocks(SERVER_USE)]),
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
    ("a response of the model", "gemini", [ASKED, CALLED, content("model", RESPONSE)], 2),
    ("a call of the user", "gemini", [content("user", CALL), ANSWERED], 0),
    ("nothing said", "openai", [user(), {"role": "assistant", "content": None}], 1),
    ("no calls", "openai", [user(), {"role": "assistant", "content": "Hm", "tool_calls": []}], 1),
    ("no content parts", "openai", [{"role": "user", "content": []}], 0),
    ("calls of one id", "openai", [user(), chat_calls("a", "a"), chat_result("a")], 1),
    ("told by the assistant", "openai_responses", [user(), said("assistant", "input_text")], 1),
    ("said by the user", "openai_responses", [said("user", "output_text")], 0),
    ("a result of the assistant's", "anthropic", [user(), {**tool_results("a"), "role": "assistant"}, user()], 1),
    ("tool use of the user's", "anthropic", [{**tool_uses("a"), "role": "user"}, user()], 0),
    ("tool uses of one id", "anthropic", [user(), tool_uses("a", "a"), tool_results("a")], 1),
    ("no signature", "anthropic", [user(), blocks({"type": "thinking", "thinking": "Hm"}, SAY), user()], 1),
    ("no sealed data", "anthropic", [user(), blocks({"type": "redacted_thinking"}, SAY), user()], 1),
    ("thinking of the user's", "anthropic", [{**blocks(THINKING, SAY), "role": "user"}], 0),
    ("thinking last", "anthropic", [user(), blocks(SAY, THINKING), user()], 1),
    ("thinking behind tool use", "anthropic", [user(), blocks(USE, THINKING, USE_TOO)], 1),
    ("a space to go on from", "anthropic", [user(), assistant("The answer is ")], 1),
    ("answered twice", "openai", [user(), chat_calls("a"), chat_result("a"), chat_result("a")], 3),
    ("approval of nothing", "openai_responses", [user(), APPROVED], 1),
    ("tools found by nothing", "openai_responses", [user(), SEARCHED], 1),
    ("an id with a space", "anthropic", [user(), tool_uses("a b"), tool_results("a b")], 1),
    ("an id with a line break", "anthropic", [user(), tool_uses("a\n"), tool_results("a\n")], 1),
    ("the provider's result without its call", "anthropic", [user(), blocks(SERVER_RESULT, SAY), user()], 1),
    ("the provider's result before its call", "anthropic", [user(), blocks(SERVER_RESULT, SERVER_USE)], 1),
    ("empty text in a result", "anthropic", [user(), tool_uses("a"), {"role": "user", "content": [EMPTY_TEXT]}], 2),
    ("an empty part", "gemini", [ASKED, content("model", TEXT, {})], 1),
    ("a part of nulls", "gemini", [content("user", {"text": None, "inline_data": None})], 0),
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


def accepted(messages: list[JsonObject], format_: Format) -> bool:
    try:
        validate_messages(messages, format_)
    except InvalidMessages:
        return False
    return True


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_it_agrees_with_the_rules_written_down_a_second_time(format_: Format, data: st.DataObject) -> None:
    messages = data.draw(histories(format_)).messages
    assert ORACLES[format_](messages)
    for _ in range(data.draw(st.integers(1, 2))):
        index = data.draw(st.integers(0, len(messages) - 1))
        match data.draw(st.sampled_from(("drop", "swap", "repeat"))):
            case "drop":
                del messages[index]
            case "swap":
                messages[index : index + 2] = reversed(messages[index : index + 2])
            case _:
                messages.insert(index, messages[index])
        if not messages:
            return
    assert accepted(messages, format_) == ORACLES[format_](messages)


def test_an_error_never_shows_the_messages() -> None:
    with pytest.raises(InvalidMessages) as caught:
        validate_messages([user("secret plan"), chat_result("secret id")])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("pair", [(APPROVAL, APPROVED), (SEARCH, SEARCHED), (SHELL, SHELL_OUTPUT), (PATCH, PATCHED)])
def test_an_answer_to_the_provider_s_tools_stays_with_its_call(pair: tuple[JsonObject, JsonObject]) -> None:
    call, answer = pair
    messages = [user(), item_call("a"), call, item_output("a"), answer, said("assistant", "output_text"), user()]
    units = find_units(read_messages(messages, "openai_responses"))
    assert [unit.indices for unit in units] == [(0,), (1, 2, 3, 4), (5,), (6,)]
    assert not any(is_clearable(message) for message in units[1].members if message.index == 4)


def test_what_a_provider_s_tool_calls_while_it_runs_stays_with_it() -> None:
    by_code: JsonObject = {**USE_TOO, "caller": {"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}}
    loop = [blocks(SERVER_USE, USE), tool_results("a"), blocks(by_code), tool_results("b"), blocks(SERVER_RESULT, SAY)]
    units = find_units(read_messages([user(), *loop, user(), assistant()], "anthropic"))
    assert [unit.indices for unit in units] == [(0,), (1, 2, 3, 4, 5), (6,), (7,)]
    stopped = [blocks(SERVER_USE), user(), tool_uses("a"), tool_results("a"), assistant()]
    assert [unit.indices for unit in find_units(read_messages([user(), *stopped], "anthropic"))] == [
        (0,),
        (1,),
        (2,),
        (3, 4),
        (5,),
    ]
