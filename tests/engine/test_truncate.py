"""Truncation keeps its promises, for every strategy and in every format."""

import json
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypedDict, Unpack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.histories import FORMATS, History, counter, histories
from tests.engine.oracle import ORACLES
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.counting.results import MessageCount
from tokenward.engine.errors import AmbiguousFormat, InvalidInput, InvalidMessages
from tokenward.engine.history import (
    STRATEGIES,
    Strategy,
    TokenOptimizer,
    TruncationResult,
    restore,
    truncate_history,
)
from tokenward.engine.history import validate_messages as validate
from tokenward.engine.history.rewrite import read_notice
from tokenward.engine.history.units import find_units, thinking_loop
from tokenward.engine.messages import read_messages
from tokenward.engine.messages.view import Conversation, Format
from tokenward.engine.types import JsonObject, JsonValue

EXAMPLE: Final = Path(__file__).parents[2] / "docs" / "examples" / "agent_conversation.json"
PROPERTY: Final = settings(max_examples=20, deadline=None)


class CountOptions(TypedDict):
    """The keyword arguments of `count_messages` that truncation uses."""

    counter: TokenCounter
    tools: list[JsonObject] | None
    system: JsonValue
    format: Format


@dataclass(frozen=True)
class Case:
    """A drawn truncation: its arguments, what was given and what came back."""

    history: History
    original: list[JsonObject]
    budget: int
    strategy: Strategy
    keep_last: int
    pin: tuple[int, ...]
    placeholder: bool
    keep_prefix: bool
    result: TruncationResult


def counted(history: History, messages: list[JsonObject]) -> MessageCount:
    return count_messages(
        messages,
        history.model,
        counter=counter(),
        tools=history.tools,
        system=history.system,
        format=history.format,
    )


def tokens_of(history: History, messages: list[JsonObject]) -> int:
    return counted(history, messages).tokens


def truncate(
    history: History,
    messages: list[JsonObject],
    budget: int,
    strategy: Strategy,
    keep_last: int = 1,
    *,
    pin: tuple[int, ...] = (),
    placeholder: bool = True,
    keep_prefix: bool = False,
) -> TruncationResult:
    return truncate_history(
        messages,
        budget,
        history.model,
        counter=counter(),
        strategy=strategy,
        format=history.format,
        tools=history.tools,
        system=history.system,
        keep_last=keep_last,
        pin=pin,
        placeholder=placeholder,
        keep_prefix=keep_prefix,
    )


def draw_case(data: st.DataObject, format_: Format) -> Case:
    history = data.draw(histories(format_))
    total = tokens_of(history, history.messages)
    budget = data.draw(st.integers(1, total + 5))
    strategy = data.draw(st.sampled_from(STRATEGIES))
    keep_last = data.draw(st.integers(0, 3))
    pin = tuple(data.draw(st.sets(st.integers(0, len(history.messages) - 1), max_size=2)))
    placeholder = data.draw(st.booleans())
    keep_prefix = data.draw(st.booleans())
    original = deepcopy(history.messages)
    result = truncate(
        history,
        history.messages,
        budget,
        strategy,
        keep_last,
        pin=pin,
        placeholder=placeholder,
        keep_prefix=keep_prefix,
    )
    return Case(history, original, budget, strategy, keep_last, pin, placeholder, keep_prefix, result)


def kept_indices(case: Case) -> list[int]:
    return [index for index in range(len(case.original)) if index not in case.result.dropped]


def kept_messages(case: Case) -> list[JsonObject]:
    """The result without the added message."""
    return [message for index, message in enumerate(case.result.messages) if index != case.result.placeholder]


@pytest.mark.parametrize("format_", FORMATS)
@PROPERTY
@given(data=st.data())
def test_it_fits_by_the_counter_or_nothing_changed(format_: Format, data: st.DataObject) -> None:
    case = draw_case(data, format_)
    result = case.result
    assert result.tokens_before == tokens_of(case.history, case.original)
    assert result.tokens_after == tokens_of(case.history, result.messages)
    assert result.tokens_after <= result.tokens_before
    assert not result.exact or counted(case.history, result.messages).exact
    assert result.fits == (result.tokens_after <= case.budget)
    if not result.fits or result.tokens_before <= case.budget:
        assert (result.dropped, result.cleared, result.placeholder) == ((), (), None)
        assert all(now is then for now, then in zip(result.messages, case.history.messages, strict=True))


@pytest.mark.parametrize("format_", FORMATS)
@PROPERTY
@given(data=st.data())
def test_the_provider_still_accepts_it(format_: Format, data: st.DataObject) -> None:
    result = draw_case(data, format_).result
    validate(result.messages, format_)
    assert ORACLES[format_](result.messages)


@pytest.mark.parametrize("format_", FORMATS)
@PROPERTY
@given(data=st.data())
def test_everything_can_be_restored(format_: Format, data: st.DataObject) -> None:
    case = draw_case(data, format_)
    restored = restore(case.result)
    assert restored == case.original
    assert all(now is then for now, then in zip(restored, case.history.messages, strict=True))


@pytest.mark.parametrize("format_", FORMATS)
@PROPERTY
@given(data=st.data())
def test_the_prefix_is_what_did_not_change(format_: Format, data: st.DataObject) -> None:
    case = draw_case(data, format_)
    prefix, now, then = case.result.prefix, case.result.messages, case.history.messages
    same = [one is other for one, other in zip(now, then, strict=False)]
    assert prefix.messages == (len(same) if all(same) else same.index(False))
    rows = counted(case.history, case.original)
    sizes = [row.tokens for row in rows.messages]
    assert prefix.tokens == rows.tokens - sum(sizes[prefix.messages :])
    kept_behind = {*kept_indices(case)} - {*case.result.cleared, *range(prefix.messages)}
    assert prefix.lost_tokens == sum(sizes[index] for index in kept_behind)
    assert prefix.lost_nano == (None if prefix.lost_tokens else 0), "no prices were given"


@pytest.mark.parametrize("format_", FORMATS)
@PROPERTY
@given(data=st.data())
def test_kept_messages_are_the_same_objects_in_the_same_order(format_: Format, data: st.DataObject) -> None:
    case = draw_case(data, format_)
    assert case.history.messages == case.original, "the caller's objects were changed"
    for index, message in zip(kept_indices(case), kept_messages(case), strict=True):
        if index in case.result.cleared:
            assert without_results(message) == without_results(case.original[index])
            assert message != case.original[index]
        else:
            assert message is case.history.messages[index]
            assert json.dumps(message) == json.dumps(case.original[index])


def without_results(value: JsonValue) -> JsonValue:
    """A message with the contents of its tool results taken out, ids and structure left."""
    if isinstance(value, list):
        return [without_results(item) for item in value]
    if not isinstance(value, dict):
        return value
    kinds = (value.get("role"), value.get("type"))
    key = next((key for key, results in RESULT_KEYS.items() if any(kind in results for kind in kinds)), None)
    if "functionResponse" in value or "function_response" in value:
        return {name: {"name": body.get("name")} for name, body in value.items() if isinstance(body, dict)}
    return {name: None if name == key else without_results(item) for name, item in value.items()}


RESULT_KEYS: Final = {"content": ("tool", "tool_result"), "output": ("function_call_output",)}


@pytest.mark.parametrize("format_", FORMATS)
@PROPERTY
@given(data=st.data())
def test_truncating_again_changes_nothing(format_: Format, data: st.DataObject) -> None:
    case = draw_case(data, format_)
    again = truncate(
        case.history,
        case.result.messages,
        case.budget,
        case.strategy,
        case.keep_last,
        placeholder=case.placeholder,
        keep_prefix=case.keep_prefix,
    )
    if case.result.fits:
        assert again.messages == case.result.messages
        assert (again.dropped, again.cleared, again.placeholder) == ((), (), None)


@pytest.mark.parametrize("format_", FORMATS)
@PROPERTY
@given(data=st.data())
def test_a_smaller_budget_later_is_fine_too(format_: Format, data: st.DataObject) -> None:
    case = draw_case(data, format_)
    smaller = truncate(case.history, case.result.messages, max(1, case.budget // 2), case.strategy, case.keep_last)
    validate(smaller.messages, format_)
    assert smaller.tokens_after <= case.result.tokens_after


@pytest.mark.parametrize("format_", FORMATS)
@PROPERTY
@given(data=st.data())
def test_what_must_stay_stays(format_: Format, data: st.DataObject) -> None:
    case = draw_case(data, format_)
    untouched = {*kept_indices(case)} - {*case.result.cleared}
    units = find_units(read_messages(case.original, format_))
    turns = [unit for unit in units if not unit.is_system]
    for unit in units:
        if unit.is_system or unit.in_flight or {*case.pin} & {*unit.indices}:
            assert {*unit.indices} <= untouched
        # Calls and results live or die together.
        assert not {*unit.indices} & {*case.result.dropped} or {*unit.indices} <= {*case.result.dropped}
    protected = turns[: case.keep_last] if case.strategy == "lifo" else turns[max(0, len(turns) - case.keep_last) :]
    assert {index for unit in protected for index in unit.indices} <= untouched
    if case.strategy == "smart":
        assert 0 in untouched or case.original[0].get("role") != "user"


@pytest.mark.parametrize("format_", FORMATS)
@PROPERTY
@given(data=st.data())
def test_the_placeholder_is_one_message_of_its_own(format_: Format, data: st.DataObject) -> None:
    case = draw_case(data, format_)
    result = case.result
    assert len(result.messages) == len(kept_indices(case)) + (result.placeholder is not None)
    if result.placeholder is None:
        return
    assert case.placeholder
    notice = json.dumps(result.messages[result.placeholder])
    dropped = read_messages(case.original, case.history.format).messages
    notices = [message for message in dropped if message.index in result.dropped and read_notice(message)]
    if not notices:
        count = len(result.dropped)
        calls = sum(len(dropped[index].calls) for index in result.dropped)
        kind = f"{calls} tool call{'s' if calls > 1 else ''}, " if calls else ""
        assert f"[{count} message{'s' if count > 1 else ''} ({kind}" in notice
    assert "left out" in notice
    assert "summary" not in notice
    if not thinking_loop(find_units(read_messages(case.original, format_)), format_):
        kept_before_gap = sum(index < result.dropped[0] for index in kept_indices(case))
        assert result.placeholder >= kept_before_gap


@PROPERTY
@given(data=st.data())
def test_an_open_loop_with_thinking_keeps_its_beginning(data: st.DataObject) -> None:
    case = draw_case(data, "anthropic")
    loop = thinking_loop(find_units(read_messages(case.original, "anthropic")), "anthropic")
    if loop:
        start = kept_messages(case).index(case.history.messages[loop[0].first])
        assert kept_messages(case)[start - 1] is case.history.messages[loop[0].first - 1]
        assert thinking_loop(find_units(read_messages(case.result.messages, "anthropic")), "anthropic")


def chat(*lengths: int) -> list[JsonObject]:
    """Alternating user and assistant messages of these numbers of words."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": " ".join([f"m{i}"] + ["word"] * n)} for i, n in enumerate(lengths)]


def tool_steps(count: int, words: int) -> list[JsonObject]:
    """A task and this many tool calls, with results of this many words."""
    messages: list[JsonObject] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The task."}]
    for step in range(count):
        function: JsonObject = {"name": "read_file", "arguments": json.dumps({"path": f"file{step}.py"})}
        call: JsonObject = {"id": f"call_{step}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"call_{step}", "content": f"r{step} " + "line " * words})
    return messages


def openai(messages: list[JsonObject]) -> History:
    return History("openai", messages, None, None)


@pytest.mark.parametrize(
    ("strategy", "dropped"),
    [("fifo", (0, 1, 2)), ("lifo", (5, 6, 7)), ("middle", (2, 3, 4)), ("smart", (1, 2, 3))],
)
def test_which_messages_go_first(strategy: Strategy, dropped: tuple[int, ...]) -> None:
    messages = chat(50, 50, 50, 50, 50, 50, 50, 50)
    history = openai(messages)
    budget = tokens_of(history, messages[:5])
    result = truncate(history, messages, budget, strategy, placeholder=False)
    assert result.dropped == dropped


def test_smart_clears_old_results_before_it_drops_anything() -> None:
    messages = tool_steps(6, 200)
    history = openai(messages)
    total = tokens_of(history, messages)
    result = truncate(history, messages, total - 350, "smart")
    assert (result.dropped, result.cleared, result.placeholder) == ((), (3, 5), None)
    assert result.messages[3]["tool_call_id"] == "call_0"
    content = result.messages[3]["content"]
    assert isinstance(content, str)
    assert content.startswith("[tool result cleared: ")


def test_smart_drops_units_when_clearing_is_not_enough() -> None:
    messages = tool_steps(6, 200)
    result = truncate(openai(messages), messages, 335, "smart")
    assert result.fits
    assert result.dropped == (2, 3, 4, 5, 6, 7)
    assert result.messages[0] is messages[0]
    assert result.messages[1] is messages[1]
    assert result.messages[-1] is messages[-1]
    assert result.placeholder == 2
    assert result.messages[2]["role"] == "user"


def test_tool_results_only_clears_and_says_when_that_is_not_enough() -> None:
    messages = tool_steps(6, 200)
    history = openai(messages)
    assert truncate(history, messages, 500, "tool_results").cleared == (3, 5, 7, 9, 11)
    beyond = truncate(history, messages, 200, "tool_results")
    assert not beyond.fits
    assert beyond.messages == messages


def test_a_second_notice_adds_the_first_one_up() -> None:
    messages = chat(*[50] * 20)
    history = openai(messages)
    first = truncate(history, messages, tokens_of(history, messages[:12]) + 30, "smart")
    second = truncate(history, first.messages, tokens_of(history, messages[:6]) + 30, "smart")
    assert second.placeholder is not None
    notices = [message for message in second.messages if "left out" in str(message["content"])]
    assert len(notices) == 1
    really_left_out = len(messages) - (len(second.messages) - 1)
    assert f"[{really_left_out} messages (" in str(notices[0]["content"])


def test_anthropic_keeps_the_opening_user_until_its_answers_have_gone() -> None:
    messages = chat(50, 50, 50, 50, 50)
    history = History("anthropic", messages, None, None)
    budget = tokens_of(history, messages[:4])
    result = truncate(history, messages, budget, "fifo", placeholder=False)
    assert result.dropped == (1,)
    smaller = truncate(history, messages, tokens_of(history, messages[:3]), "fifo", placeholder=False)
    assert smaller.dropped == (0, 1)


def test_a_call_in_flight_stays_with_every_strategy() -> None:
    messages = tool_steps(3, 100)[:-1]
    for strategy in STRATEGIES:
        result = truncate(openai(messages), messages, 150, strategy, keep_last=0)
        assert result.messages[-1] is messages[-1]


def test_thinking_goes_and_stays_with_its_message() -> None:
    thinking: JsonObject = {"type": "thinking", "thinking": "I should look " * 40, "signature": "c2ln"}
    use: JsonObject = {"type": "tool_use", "id": "a", "name": "grep", "input": {}}
    result: JsonObject = {"type": "tool_result", "tool_use_id": "a", "content": "found " * 100}
    messages: list[JsonObject] = [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": [thinking, use]},
        {"role": "user", "content": [result]},
        {"role": "user", "content": "Now?"},
    ]
    history = History("anthropic", messages, None, None)
    cleared = truncate(history, messages, tokens_of(history, messages) - 50, "smart")
    assert cleared.cleared == (2,)
    assert cleared.messages[1] is messages[1]
    assert truncate(history, messages, 60, "smart").dropped == (1, 2)


PROVIDERS_TOOLS: list[tuple[JsonObject, JsonObject]] = [
    (
        {"type": "mcp_approval_request", "id": "x", "name": "g", "arguments": "{}", "server_label": "s"},
        {"type": "mcp_approval_response", "approval_request_id": "x", "approve": True},
    ),
    (
        {"type": "tool_search_call", "call_id": "x", "arguments": {}, "execution": "client"},
        {"type": "tool_search_output", "call_id": "x", "execution": "client", "tools": []},
    ),
]


@pytest.mark.parametrize(("asked", "answered"), PROVIDERS_TOOLS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_provider_s_tools_live_and_die_with_their_answers(
    asked: JsonObject, answered: JsonObject, strategy: Strategy
) -> None:
    messages: list[JsonObject] = [
        {"role": "user", "content": "task " * 200},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        asked,
        {"type": "function_call_output", "call_id": "c", "output": "r " * 50},
        answered,
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "done"}]},
        {"role": "user", "content": "go"},
    ]
    for budget in (20, 60, 100, 200, 300, 330):
        result = truncate(History("openai_responses", messages, None, None), messages, budget, strategy)
        assert (asked in result.messages) == (answered in result.messages)
        assert 4 not in result.cleared
        validate(result.messages, "openai_responses")


def test_a_screenshot_is_not_replaced_by_text() -> None:
    screenshot: JsonObject = {"type": "computer_screenshot", "image_url": "https://example.com/x.png"}
    messages: list[JsonObject] = [
        {"role": "user", "content": "Go"},
        {"type": "computer_call", "call_id": "a", "action": {"type": "screenshot"}},
        {"type": "computer_call_output", "call_id": "a", "output": screenshot},
        {"role": "user", "content": "Now?"},
    ]
    history = History("openai_responses", messages, None, None)
    result = truncate(history, messages, tokens_of(history, messages) - 1, "tool_results")
    assert not result.fits


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": float("nan")}, "max_tokens"),
        ({"max_tokens": "50"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"keep_last": -1}, "keep_last"),
        ({"keep_last": 1.5}, "keep_last"),
        ({"pin": None}, "pin"),
        ({"pin": "0"}, "pin"),
        ({"pin": ["0"]}, "pin"),
        ({"pin": [2]}, "pin"),
        ({"pin": [-1]}, "pin"),
        ({"strategy": "smrt"}, "strategy"),
        ({"format": "opnai"}, "format"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], field: str) -> None:
    optimizer = TokenOptimizer(counter())
    given_arguments: dict[str, object] = {"max_tokens": 100, "model": "gpt-4o", **arguments}
    with pytest.raises(InvalidInput) as caught:
        optimizer.truncate_history(chat(3, 3), **given_arguments)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert caught.value.field == field


def test_an_invalid_history_is_refused_even_when_it_fits() -> None:
    orphan: JsonObject = {"role": "tool", "tool_call_id": "a", "content": "found"}
    with pytest.raises(InvalidMessages, match=r"messages\[1\]"):
        truncate(openai([]), [*chat(3), orphan], 10_000, "smart")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("budget", [10_000, 6_000, 3_000])
def test_the_example_of_the_documentation(strategy: Strategy, budget: int) -> None:
    request = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    messages: list[JsonObject] = request["messages"]
    history = History("openai", messages, None, request["tools"])
    result = truncate(history, messages, budget, strategy)
    assert result.fits == (result.tokens_after <= budget)
    assert result.fits or strategy == "tool_results"
    validate(result.messages, "openai")


def reused_ids(count: int) -> History:
    """Calls that all have the same id, but for other tools, and so with results that count otherwise."""
    messages = tool_steps(count, 20)
    for index, message in enumerate(messages):
        calls = message.get("tool_calls")
        if isinstance(calls, list) and isinstance(calls[0], dict):
            name = "a_tool_with_a_name_of_many_tokens" if index % 4 else "f"
            calls[0] |= {"id": "call", "function": {"name": name, "arguments": "{}"}}
        elif message["role"] == "tool":
            message["tool_call_id"] = "call"
    return openai(messages)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_count_that_depends_on_neighbours_is_met_all_the_same(strategy: Strategy) -> None:
    history = reused_ids(12)
    total = tokens_of(history, history.messages)
    for budget in range(total // 4, total, 7):
        result = truncate(history, history.messages, budget, strategy)
        assert result.tokens_after == tokens_of(history, result.messages)
        assert result.fits == (result.tokens_after <= budget)


def test_what_is_too_much_by_its_neighbours_is_met_by_aiming_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    history = reused_ids(12)
    size = len(history.messages)
    budget = tokens_of(history, history.messages) // 2
    tried: list[int] = []

    def count_more(messages: list[JsonObject], model: str, **options: Unpack[CountOptions]) -> MessageCount:
        count = count_messages(messages, model, **options)
        tried.append(len(messages))
        return count if len(messages) == size else replace(count, tokens=count.tokens + 70)

    monkeypatch.setattr("tokenward.engine.history.truncate.count_messages", count_more)
    result = truncate(history, history.messages, budget, "fifo")
    assert result.fits
    assert tokens_of(history, result.messages) + 70 == result.tokens_after <= budget
    assert len(tried) == 3, "the whole, a try, and one that aims lower"


def test_nothing_that_fits_in_reach_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    history = reused_ids(12)

    def count_nonsense(messages: list[JsonObject], model: str, **options: Unpack[CountOptions]) -> MessageCount:
        return replace(count_messages(messages, model, **options), tokens=1_000)

    monkeypatch.setattr("tokenward.engine.history.truncate.count_messages", count_nonsense)
    result = truncate(history, history.messages, 999, "fifo")
    assert (result.fits, result.messages) == (False, history.messages)


def test_what_the_last_check_refuses_is_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = chat(*[50] * 8)
    checked: list[int] = []

    def refuse(conversation: Conversation) -> None:
        checked.append(len(conversation.messages))
        if len(checked) > 1:
            raise InvalidMessages("no.", 0)

    monkeypatch.setattr("tokenward.engine.history.truncate.check_conversation", refuse)
    result = truncate(openai(messages), messages, tokens_of(openai(messages), messages[:4]) + 30, "fifo")
    assert (result.fits, result.dropped, result.messages) == (False, (), messages)
    assert checked == [8, 5, 4], "what was given, the result with a placeholder, and without"


@pytest.mark.parametrize("format_", FORMATS)
def test_a_budget_below_the_system_prompt_changes_nothing(format_: Format) -> None:
    said: dict[Format, JsonObject] = {"gemini": {"role": "user", "parts": [{"text": "Hi"}]}}
    messages = [said.get(format_, {"role": "user", "content": "Hi"})] * 5
    history = History(format_, messages, "Be careful. " * 50, None)
    for strategy in STRATEGIES:
        result = truncate(history, messages, 40, strategy, keep_last=0)
        assert (result.fits, result.dropped, result.cleared, result.placeholder) == (False, (), (), None)
        assert result.messages == messages


def test_mixed_formats_are_refused() -> None:
    gemini: JsonObject = {"role": "model", "parts": [{"text": "Hi"}]}
    with pytest.raises(AmbiguousFormat):
        truncate_history([*chat(3, 3), gemini], 5, "gpt-4o", counter=counter())
