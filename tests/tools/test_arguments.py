"""The strict check of arguments."""

from typing import Annotated, Literal

import pytest

from tokenward.engine.errors import InvalidInput, TokenwardError, WrongArguments, shown
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.tools.arguments import MAX_DEPTH, check_arguments
from tokenward.tools.definition import ANYTHING, Advertised, Result, Tool, ToolContext
from tokenward.tools.registry import load_tools


class Nothing(Result):
    """No content."""


async def sample(
    context: ToolContext,
    *,
    text: str,
    number: int = 1,
    share: float = 0.5,
    flag: bool = False,
    texts: list[str] | None = None,
    numbers: list[int] | None = None,
    objects: list[JsonObject] | None = None,
    thing: JsonObject | None = None,
    level: Literal["brief", "full"] = "brief",
    format: Annotated[Literal["openai", "gemini"] | Literal["auto"], ANYTHING] = "auto",  # noqa: A002
    anything: Annotated[JsonValue, Advertised({"type": "string"})] = None,
) -> Nothing:
    return Nothing()


TOOL = Tool(run=sample, description="", result=Nothing, read_only=True, idempotent=True)


def test_schemas_come_from_the_signature() -> None:
    assert TOOL.input_schema == {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "number": {"type": "integer"},
            "share": {"type": "number"},
            "flag": {"type": "boolean"},
            "texts": {"type": "array", "items": {"type": "string"}},
            "numbers": {"type": "array", "items": {"type": "integer"}},
            "objects": {"type": "array", "items": {"type": "object"}},
            "thing": {"type": "object"},
            "level": {"type": "string", "enum": ["brief", "full"]},
            "format": {},
            "anything": {"type": "string"},
        },
        "required": ["text"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"text": '{"a": 1}'}, {"text": '{"a": 1}'}),
        ({"text": "null"}, {"text": "null"}),
        ({"text": '"x"'}, {"text": '"x"'}),
        ({"text": "", "number": None}, {"text": ""}),
        ({"text": "x", "number": 12.0}, {"text": "x", "number": 12}),
        ({"text": "x", "share": 1}, {"text": "x", "share": 1}),
        ({"text": "x", "texts": ["[1]", "null"]}, {"text": "x", "texts": ["[1]", "null"]}),
        ({"text": "x", "texts": '["a", "[1]"]'}, {"text": "x", "texts": ["a", "[1]"]}),
        ({"text": "x", "objects": '[{"role": "user"}]'}, {"text": "x", "objects": [{"role": "user"}]}),
        ({"text": "x", "numbers": [1.0, 2]}, {"text": "x", "numbers": [1, 2]}),
        ({"text": "x", "thing": '{"a": null}'}, {"text": "x", "thing": {"a": None}}),
        ({"text": "x", "format": "auto"}, {"text": "x", "format": "auto"}),
        ({"text": "x", "anything": "[1]"}, {"text": "x", "anything": "[1]"}),
        ({"text": "x", "anything": [{"a": 1}]}, {"text": "x", "anything": [{"a": 1}]}),
    ],
)
def test_accepted(given: dict[str, JsonValue], taken: dict[str, JsonValue]) -> None:
    checked = check_arguments(TOOL, given)
    assert checked == taken
    assert [type(value) for value in checked.values()] == [type(value) for value in taken.values()]


REFUSED: list[tuple[JsonObject, str]] = [
    ({"txt": "x"}, "Unknown argument 'txt'. Did you mean 'text'?"),
    ({"text": "x", "zzz": None}, "Unknown argument 'zzz'. sample takes: text, number, share, flag, texts, "),
    ({}, "Missing argument: 'text' (a string)."),
    ({"text": None}, "Missing argument: 'text' (a string)."),
    ({"text": 1}, "text: expected a string, got the number 1."),
    ({"text": {"a": "secret"}}, "text: expected a string, got an object."),
    ({"text": "x", "number": "12"}, "number: expected an integer, got a string."),
    ({"text": "x", "number": True}, "number: expected an integer, got true."),
    ({"text": "x", "number": 1.5}, "number: expected an integer, got the number 1.5."),
    ({"text": "x", "share": False}, "share: expected a number, got false."),
    ({"text": "x", "flag": 1}, "flag: expected true or false, got the number 1."),
    ({"text": "x", "flag": "true"}, "flag: expected true or false, got a string."),
    ({"text": "x", "texts": "secret"}, "texts: expected a list of strings, got a string."),
    ({"text": "x", "texts": ["a", 1]}, "texts[1]: expected a string, got the number 1."),
    ({"text": "x", "texts": ["a", None]}, "texts[1]: expected a string, got null."),
    ({"text": "x", "objects": {"role": "user"}}, "objects: expected a list of objects, got an object."),
    ({"text": "x", "objects": [[]]}, "objects[0]: expected an object, got a list."),
    ({"text": "x", "thing": "[1]"}, "thing: expected an object, got a list."),
    ({"text": "x", "thing": "[" * 100_000}, "thing: expected an object, got a string."),
    ({"text": "x", "level": "ful"}, "level: 'ful' is not one of brief, full. Did you mean 'full'?"),
    (
        {"text": "x", "format": "opnai"},
        "format: 'opnai' is not one of openai, gemini, auto. Did you mean",
    ),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_refused(given: dict[str, JsonValue], message: str) -> None:
    with pytest.raises(TokenwardError) as caught:
        check_arguments(TOOL, given)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 250


def test_a_refusal_shows_little_of_a_long_value() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_arguments(TOOL, {"text": "x", "level": "prompt " * 1_000})
    assert len(str(caught.value)) < 250


def test_several_missing_arguments_are_all_named() -> None:
    async def needs(context: ToolContext, *, a: str, b: list[JsonObject]) -> Nothing:
        return Nothing()

    tool = Tool(run=needs, description="", result=Nothing, read_only=True, idempotent=True)
    with pytest.raises(TokenwardError, match=r"^Missing arguments: 'a' \(a string\), 'b' \(a list of objects\)\.$"):
        check_arguments(tool, {})


@pytest.mark.parametrize(("levels", "accepted"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False), (100_000, False)])
def test_values_are_nested_so_deep_and_no_deeper(levels: int, accepted: bool) -> None:
    value: JsonValue = {}
    for _ in range(levels - 1):
        value = {"a": value}
    if accepted:
        assert check_arguments(TOOL, {"text": "", "thing": value})["thing"] == value
    else:
        with pytest.raises(InvalidInput, match="thing: is nested deeper than 200 levels"):
            check_arguments(TOOL, {"text": "", "thing": value})


def test_a_long_name_is_compared_with_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenward.engine.errors.get_close_matches", pytest.fail)
    with pytest.raises(TokenwardError, match=r"^Unknown argument 'ttt.*…\. sample takes: text, number") as caught:
        check_arguments(TOOL, {"t" * 3_000_000: 1})
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("value", ["x" * 58, "x" * 59, "x" * 60, "é" * 500, "\n" * 61, "\ud800" * 61, "it's " * 20])
def test_a_long_text_is_shown_as_its_beginning(value: str) -> None:
    whole = repr(value).encode("utf-8", "backslashreplace").decode()
    assert shown(value) == (whole if len(whole) <= 60 else f"{whole[:59]}…")


@pytest.mark.parametrize(
    ("tool", "given", "meant"),
    [
        ("record_usage", "prompt_tokens", "input_tokens"),
        ("record_usage", "completion_tokens", "output_tokens"),
        ("record_usage", "cache_read_input_tokens", "cached_input_tokens"),
        ("record_usage", "cache_creation_input_tokens", "cache_write_tokens"),
        ("record_usage", "usage", "response"),
        ("estimate_cost", "prompt_tokens", "input_tokens"),
        ("estimate_cost", "completion_tokens", "output_tokens"),
        ("estimate_cost", "cache_creation_input_tokens", "cache_write_tokens"),
        ("check_quota", "max_tokens", "max_output_tokens"),
        ("check_quota", "completion_tokens", "max_output_tokens"),
        ("check_quota", "total_tokens", "tokens"),
        ("count_tokens", "content", "text"),
        ("count_messages", "content", "messages"),
        ("record_usage", "input_token", "input_tokens"),
        ("record_usage", "total_tokens", None),
        ("count_tokens", "usage", None),
    ],
)
def test_what_providers_call_it_is_not_taken_for_something_else(tool: str, given: str, meant: str | None) -> None:
    found = next(one for one in load_tools() if one.name == tool)
    with pytest.raises(WrongArguments) as caught:
        check_arguments(found, {given: 1})
    told = str(caught.value).removeprefix(f"Unknown argument {given!r}.")
    expected = f" Did you mean {meant!r}?" if meant else f" {tool} takes: {', '.join(found.parameters)}."
    assert told == expected
