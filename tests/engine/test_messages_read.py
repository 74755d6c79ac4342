"""Reading four formats: what is understood, what is refused by name, and which format a list is taken for."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenward.engine.errors import AmbiguousFormat, InvalidInput, InvalidMessages
from tokenward.engine.messages import FORMATS, read_messages
from tokenward.engine.messages.view import Format, Part
from tokenward.engine.types import JsonObject, JsonValue

PLAIN: JsonObject = {"role": "user", "content": "hello"}
SYSTEM: JsonObject = {"role": "system", "content": "be brief"}
CALL: JsonObject = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
CALLING: JsonObject = {"role": "assistant", "content": None, "tool_calls": [CALL]}
ANSWER: JsonObject = {"role": "tool", "tool_call_id": "c1", "content": "2"}
TOOL_USE: JsonObject = {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}
TOOL_RESULT: JsonObject = {"type": "tool_result", "tool_use_id": "t1", "content": "2"}
USING: JsonObject = {"role": "assistant", "content": [TOOL_USE]}
GEMINI: JsonObject = {"role": "user", "parts": [{"text": "hello"}]}
ITEM_CALL: JsonObject = {"type": "function_call", "call_id": "r1", "name": "add", "arguments": "{}"}
DUMPED_REASONING: JsonObject = {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "status": None}
MARKED: JsonObject = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}


def kinds(parts: tuple[Part, ...]) -> list[tuple[str, str, str, str]]:
    return [(part.kind, part.text, part.name, part.call_id) for part in parts]


FOUND: list[tuple[list[JsonObject], Format]] = [
    ([PLAIN], "openai"),
    ([PLAIN, {"role": "assistant", "content": "hi"}], "openai"),
    ([{"role": "user", "content": [{"type": "text", "text": "x"}]}], "openai"),
    ([SYSTEM, PLAIN], "openai"),
    ([{"role": "developer", "content": "x"}], "openai"),
    ([CALLING, ANSWER], "openai"),
    ([{"role": "function", "name": "f", "content": "x"}], "openai"),
    ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}], "openai"),
    ([ITEM_CALL], "openai_responses"),
    ([PLAIN, {"type": "reasoning", "summary": []}], "openai_responses"),
    ([{"role": "user", "content": [{"type": "input_text", "text": "x"}]}], "openai_responses"),
    ([{"type": "message", "role": "user", "content": "x"}], "openai_responses"),
    ([PLAIN, USING], "anthropic"),
    ([{"role": "user", "content": [TOOL_RESULT]}], "anthropic"),
    ([{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}], "anthropic"),
    ([{"type": "message", "role": "assistant", "content": [TOOL_USE]}], "anthropic"),
    ([{"role": "assistant", "content": [{"type": "web_search_tool_result", "tool_use_id": "s"}]}], "anthropic"),
    ([GEMINI], "gemini"),
    ([{"parts": [{"text": "x"}]}], "gemini"),
    ([{"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}], "gemini"),
    ([PLAIN, DUMPED_REASONING, ITEM_CALL], "openai_responses"),
    ([PLAIN, {"id": "msg_1"}], "openai_responses"),
    ([ITEM_CALL, {"role": "user", "content": [{"type": "text", "text": "x"}]}], "openai_responses"),
    ([{"type": "message", "role": "assistant", "content": [{"type": "text", "text": "x"}]}], "anthropic"),
    ([{"role": "system", "content": [MARKED]}, PLAIN, CALLING, ANSWER], "openai"),
    ([SYSTEM, {"role": "user", "content": [MARKED]}], "openai"),
    ([PLAIN, {"role": "user", "content": [MARKED]}], "anthropic"),
    ([GEMINI, {"role": "tool", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}], "gemini"),
    ([], "openai"),
]


@pytest.mark.parametrize(("messages", "expected"), FOUND)
def test_the_format_is_found_from_the_list(messages: list[JsonObject], expected: Format) -> None:
    assert read_messages(messages).format == expected


@pytest.mark.parametrize("hint", ["openai", "openai_responses", "anthropic"])
def test_a_hint_decides_only_what_is_open(hint: Format) -> None:
    assert read_messages([PLAIN], hint=hint).format == hint
    assert read_messages([GEMINI], hint=hint).format == "gemini"
    assert read_messages([CALLING, ANSWER], hint=hint).format == "openai"


def test_a_hint_that_cannot_be_is_passed_over() -> None:
    assert read_messages([PLAIN], hint="gemini").format == "openai"


NAMED: JsonObject = {"role": "user", "name": "ann", "content": "hello"}


def test_a_choice_between_formats_is_told_where_it_matters() -> None:
    assert read_messages([NAMED]).alternatives == ("openai_responses", "anthropic")
    assert read_messages([NAMED], hint="gemini").alternatives == ("openai_responses", "anthropic")
    assert read_messages([NAMED], hint="anthropic").alternatives == ()
    assert read_messages([NAMED], "openai").alternatives == ()
    assert read_messages([PLAIN, {"role": "assistant", "content": []}]).alternatives == ()  # all read the same


def test_the_shape_of_system_is_evidence() -> None:
    assert read_messages([PLAIN], system=[{"type": "text", "text": "be brief"}]).format == "anthropic"
    assert read_messages([GEMINI], system={"parts": [{"text": "be brief"}]}).system == (
        Part("text", "be brief", raw={"text": "be brief"}),
    )
    assert read_messages([PLAIN], system="be brief").system == (Part("text", "be brief"),)


@pytest.mark.parametrize(
    "messages",
    [
        [CALLING, ANSWER, USING],
        [PLAIN, GEMINI],
        [SYSTEM, USING],
        [ITEM_CALL, CALLING],
        [{"role": "user", "parts": [{"text": "x"}], "content": "x"}],
    ],
)
def test_evidence_for_two_formats_is_never_guessed(messages: list[JsonObject]) -> None:
    with pytest.raises(AmbiguousFormat) as caught:
        read_messages(messages)
    assert f"messages[{len(messages) - 1}]: it is written for " in str(caught.value)


def test_the_original_is_the_callers_own_object() -> None:
    messages: list[JsonObject] = [dict(PLAIN), dict(CALLING), dict(ANSWER)]
    read = read_messages(messages).messages
    assert all(message.original is given_ for message, given_ in zip(read, messages, strict=True))
    assert messages == [PLAIN, CALLING, ANSWER]


def test_openai_chat() -> None:
    image: JsonObject = {"type": "image_url", "image_url": {"url": "u"}}
    messages: list[JsonObject] = [
        {"role": "developer", "content": "rules"},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "look"}, image, {"type": "new", "x": 1}]},
        CALLING,
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        },
        {"role": "assistant", "content": None, "refusal": "no", "audio": {"id": "a"}},
        {"role": "assistant", "content": "", "function_call": {"name": "add", "arguments": "{}"}},
        {"role": "function", "name": "add", "content": "3"},
    ]
    read = read_messages(messages).messages
    assert [message.role for message in read] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "assistant",
        "tool",
    ]
    assert read[0].raw_role == "developer"
    assert read[1].name == "ann"
    assert kinds(read[1].parts) == [
        ("text", "look", "", ""),
        ("image", "", "", ""),
        ("other", '{"type":"new","x":1}', "", ""),
    ]
    assert kinds(read[2].parts) == [("tool_call", '{"a":1}', "add", "c1")]
    assert kinds(read[3].parts) == [("tool_result", "a\nb", "", "c1")]
    assert kinds(read[4].parts) == [("text", "no", "", ""), ("audio", "", "", "")]
    assert read[5].calls == read[6].answers == ("function_call@5",)


def test_a_legacy_result_without_a_call_answers_nothing() -> None:
    read = read_messages([{"role": "function", "name": "add", "content": "3"}]).messages
    assert read[0].answers == ("function@0",)


def test_openai_responses() -> None:
    items: list[JsonObject] = [
        {"role": "user", "content": "hi"},
        {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "u"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        ITEM_CALL,
        {"type": "function_call_output", "call_id": "r1", "output": "2"},
        {"type": "custom_tool_call", "call_id": "r2", "name": "sh", "input": "ls"},
        {"type": "custom_tool_call_output", "call_id": "r2", "output": [{"type": "input_text", "text": "a.py"}]},
        {"type": "web_search_call", "id": "w"},
    ]
    read = read_messages(items).messages
    assert [message.role for message in read] == [
        *("user", "user", "assistant", "assistant", "tool", "assistant", "tool", "assistant")
    ]
    assert [message.parts[0].kind for message in read] == [
        *("text", "image", "thinking", "tool_call", "tool_result", "tool_call", "tool_result", "other")
    ]
    assert read[3].calls == read[4].answers == ("r1",)
    assert kinds(read[6].parts) == [("tool_result", "a.py", "", "r2")]
    assert read[5].raw_role == "custom_tool_call"


APPROVAL: JsonObject = {"type": "mcp_approval_request", "id": "ap", "name": "g", "arguments": "{}"}
APPROVED: JsonObject = {"type": "mcp_approval_response", "approval_request_id": "ap", "approve": True}
RAN: JsonObject = {"stdout": "a.py", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
PAIRS: list[tuple[JsonObject, JsonObject, str]] = [
    (APPROVAL, APPROVED, "ap"),
    (
        {"type": "tool_search_call", "call_id": "s", "arguments": {}},
        {"type": "tool_search_output", "call_id": "s", "tools": []},
        "s",
    ),
    (
        {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}},
        {"type": "shell_call_output", "call_id": "c", "output": [RAN]},
        "c",
    ),
    (
        {"type": "apply_patch_call", "call_id": "p", "operation": {"type": "delete_file", "path": "a"}},
        {"type": "apply_patch_call_output", "call_id": "p", "status": "completed"},
        "p",
    ),
    (
        {"type": "apply_patch_call", "call_id": "p", "operation": {"type": "delete_file", "path": "a"}},
        {"type": "apply_patch_call_output", "call_id": "p", "status": "completed", "output": None},
        "p",
    ),
]


@pytest.mark.parametrize(("call", "answer", "call_id"), PAIRS, ids=[str(pair[1]["type"]) for pair in PAIRS])
def test_calls_and_answers_of_the_provider_s_tools_are_paired(
    call: JsonObject, answer: JsonObject, call_id: str
) -> None:
    read = read_messages([PLAIN, call, answer]).messages
    assert [message.role for message in read] == ["user", "assistant", "tool"]
    assert read[1].calls == read[2].answers == (call_id,)


def test_the_output_of_a_shell_is_counted_as_it_is_written() -> None:
    read = read_messages([PLAIN, *PAIRS[2][:2]]).messages
    assert '"stdout":"a.py"' in read[2].parts[0].text


def test_a_hosted_tool_search_has_no_id_to_pair_by() -> None:
    items: list[JsonObject] = [
        {"type": "tool_search_call", "call_id": None, "arguments": {}, "execution": "server"},
        {"type": "tool_search_output", "call_id": None, "tools": [], "execution": "server"},
    ]
    read = read_messages(items).messages
    assert [(message.role, message.parts[0].kind) for message in read] == [("assistant", "other")] * 2


@pytest.mark.parametrize(
    "item", [{"id": "msg_1"}, {"id": "msg_1", "type": None}, {"id": "x", "type": "item_reference"}]
)
def test_an_item_may_stand_for_another_one(item: JsonObject) -> None:
    read = read_messages([PLAIN, item], "openai_responses").messages
    assert (read[1].role, read[1].raw_role, read[1].parts[0].kind) == ("assistant", "item_reference", "other")


def test_anthropic() -> None:
    image: JsonObject = {"type": "image", "source": {"type": "base64", "data": "AA=="}}
    result: JsonObject = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "2"}, image]}
    search: JsonObject = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
    found: JsonObject = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"title": "y"}]}
    document: JsonObject = {"type": "document", "title": "T", "source": {"type": "text", "data": "body"}}
    messages: list[JsonObject] = [
        {"role": "user", "content": [document, {"type": "text", "text": "look"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, TOOL_USE]},
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": [search, found, {"type": "redacted_thinking", "data": "xx"}]},
    ]
    read = read_messages(messages).messages
    assert [message.role for message in read] == ["user", "assistant", "tool", "assistant"]
    assert read[2].raw_role == "user"
    assert kinds(read[0].parts) == [("document", "T\nbody", "", ""), ("text", "look", "", "")]
    assert kinds(read[1].parts) == [("thinking", "hm", "", ""), ("tool_call", '{"a":1}', "add", "t1")]
    assert kinds(read[2].parts) == [("tool_result", "2", "", "t1"), ("image", "", "", "t1")]
    assert read[2].parts[1].raw is image
    assert kinds(read[3].parts) == [
        ("tool_call", '{"query":"x"}', "web_search", "s1"),
        ("tool_result", '[{"title":"y"}]', "", "s1"),
        ("thinking", "", "", ""),
    ]


def test_gemini_pairs_calls_without_ids_by_name_and_order() -> None:
    contents: list[JsonObject] = [
        {"role": "user", "parts": [{"text": "add"}, {"inline_data": {"mime_type": "image/png", "data": "AA=="}}]},
        {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True},
                {"functionCall": {"name": "add", "args": {"a": 1}}},
                {"functionCall": {"name": "add", "args": {"a": 2}}},
                {"function_call": {"id": "g1", "name": "sub"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "add", "response": {"r": 2}}},
                {"functionResponse": {"name": "sub", "id": "g1", "response": {}}},
                {"function_response": {"name": "add", "response": {"r": 3}}},
                {"functionResponse": {"name": "add", "response": {"r": 4}}},
            ],
        },
    ]
    read = read_messages(contents).messages
    assert [message.role for message in read] == ["user", "assistant", "tool"]
    assert [part.kind for part in read[0].parts] == ["text", "image"]
    assert read[1].parts[0].kind == "thinking"
    assert read[1].calls == ("functionCall@1.1", "functionCall@1.2", "g1")
    assert read[2].answers == ("functionCall@1.1", "g1", "functionCall@1.2", "functionResponse@2.3")
    assert read[1].parts[3].text == "{}"


def test_gemini_as_its_library_writes_it() -> None:
    dumped: JsonObject = {"text": None, "thought": None, "inline_data": None, "function_response": None}
    contents: list[JsonObject] = [
        {"role": None, "parts": [{**dumped, "text": "add"}]},
        {"role": "model", "parts": [{**dumped, "function_call": {"id": None, "name": "add", "args": {}}}]},
        {"role": "tool", "parts": [{"text": None, "function_response": {"name": "add", "id": "z", "response": {}}}]},
    ]
    read = read_messages(contents, "gemini").messages
    assert [(message.role, message.raw_role) for message in read] == [
        ("user", "user"),
        ("assistant", "model"),
        ("tool", "tool"),
    ]
    assert [message.parts[0].kind for message in read] == ["text", "tool_call", "tool_result"]
    assert read[1].calls == read[2].answers == ("functionCall@1.0",)


def test_gemini_never_pairs_by_name_where_the_ids_differ() -> None:
    contents: list[JsonObject] = [
        {"role": "model", "parts": [{"functionCall": {"name": "add", "id": "a"}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "add", "id": "b", "response": {}}}]},
    ]
    assert read_messages(contents).messages[1].answers == ("b",)


def with_call(change: dict[str, JsonValue]) -> JsonObject:
    return {"role": "assistant", "tool_calls": [{**CALL, **change}]}


MALFORMED: list[tuple[Format, JsonObject, str]] = [
    ("openai", {"content": "x"}, "role is missing; accepted: system, developer"),
    ("openai", {"role": "robot", "content": "x"}, "role 'robot' is not one of this format"),
    ("openai", {"role": 3, "content": "x"}, "role must be a string, not a number"),
    ("openai", {"role": "user"}, "content is missing"),
    ("openai", {"role": "user", "content": 5}, "content must be a string or a list of parts, not a number"),
    ("openai", {"role": "user", "content": {"text": "x"}}, "not an object"),
    ("openai", {"role": "user", "content": ["x"]}, "content[0] must be an object, not a string"),
    ("openai", {"role": "user", "content": [{"text": "x"}]}, "content part: type is missing"),
    ("openai", {"role": "user", "content": [{"type": "text"}]}, "content part: text must be a string, not null"),
    ("openai", {"role": "user", "content": "x", "name": 1}, "name must be a string, not a number"),
    ("openai", {"role": "tool", "content": "x"}, "tool_call_id is missing"),
    ("openai", {"role": "function", "content": "x"}, "name is missing"),
    ("openai", {"role": "assistant", "tool_calls": CALL}, "tool_calls must be a list of objects, not an object"),
    ("openai", with_call({"id": ""}), "tool_calls[0].id must be a string that is not empty"),
    ("openai", with_call({"function": None}), "tool_calls[0].function must be an object, not null"),
    ("openai", with_call({"function": {"name": "f", "arguments": {}}}), "function.arguments must be a string"),
    ("openai_responses", {"type": "function_call", "name": "f", "arguments": "{}"}, "call_id is missing"),
    ("openai_responses", {"type": "function_call_output", "call_id": "c"}, "output must be a string or a list"),
    ("openai_responses", {"role": "tool", "content": "x"}, "role 'tool' is not one of this format"),
    ("anthropic", {"role": "system", "content": "x"}, "Give system text as system"),
    ("anthropic", {"role": "user"}, "content must be a string or a list of blocks, not null"),
    ("anthropic", {"role": "user", "content": [{"type": "text", "text": None}]}, "text must be a string"),
    ("anthropic", {"role": "user", "content": [{"type": "tool_result"}]}, "tool_use_id is missing"),
    ("anthropic", {"role": "user", "content": [{**TOOL_USE, "input": "x"}]}, "input must be an object"),
    ("gemini", {"role": "assistant", "parts": []}, "role 'assistant' is not one of this format"),
    ("gemini", {"role": "user", "content": "x"}, "parts is missing"),
    ("gemini", {"parts": [{"functionCall": {}}]}, "functionCall.name is missing"),
    ("gemini", {"parts": [{"text": 1}]}, "text must be a string, not a number"),
]


@pytest.mark.parametrize(("format_", "message", "expected"), MALFORMED)
def test_a_malformed_message_is_named(format_: Format, message: JsonObject, expected: str) -> None:
    fine: dict[Format, JsonObject] = {"gemini": GEMINI}
    with pytest.raises(InvalidMessages) as caught:
        read_messages([fine.get(format_, PLAIN), message], format_)
    assert str(caught.value).startswith("messages[1]: ")
    assert expected in str(caught.value)
    assert caught.value.index == 1


def test_what_is_not_an_object_is_refused() -> None:
    wrong: list[JsonValue] = ["hello"]
    reader: Callable[[list[JsonValue]], object] = read_messages  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    with pytest.raises(InvalidMessages, match=r"messages\[0\]: must be an object, not a string"):
        reader(wrong)


def test_an_unknown_format_names_the_nearest() -> None:
    unknown: Format = "antropic"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    with pytest.raises(InvalidInput, match="Did you mean 'anthropic'"):
        read_messages([PLAIN], unknown)


@pytest.mark.parametrize("system", [5, [{"text": "no type"}], {"parts": "x"}])
def test_malformed_system_text_is_named(system: JsonValue) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_messages([], system=system)
    assert str(caught.value).startswith("system: ")


def test_nesting_without_end_is_refused_not_a_crash() -> None:
    deep: JsonValue = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidMessages, match="nested too deeply"):
        read_messages([{"role": "user", "content": [{"type": "new", "x": deep}]}])


KEYS = st.sampled_from(
    [
        *("role", "content", "parts", "type", "text", "name", "tool_calls", "function_call", "tool_call_id", "id"),
        *("function", "arguments", "input", "call_id", "output", "functionCall", "functionResponse", "thinking"),
    ]
)
WORDS = st.sampled_from(
    [
        *("user", "assistant", "tool", "system", "model", "function", "text", "tool_use", "tool_result", "thinking"),
        *("function_call", "function_call_output", "reasoning", "message", "document", "image", "", "secret words"),
    ]
)
JSON: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.dictionaries(KEYS, JSON, max_size=5), max_size=3), st.sampled_from(["auto", *FORMATS]))
def test_any_json_is_read_or_refused_without_repeating_it(messages: list[JsonObject], format_: Format) -> None:
    try:
        read = read_messages(messages, format_)
    except InvalidInput as error:
        problem = str(error)
    else:
        problem = ""
        assert [message.original for message in read.messages] == messages
    # A role is the one value that a refusal quotes.
    assert "secret words" not in problem.replace("role 'secret words'", "")
