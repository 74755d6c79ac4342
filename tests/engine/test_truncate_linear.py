"""A long history is truncated in one pass: each message is counted once, and nothing else grows faster than it."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Final

import pytest

from tests.engine.histories import MODELS
from tokenward.engine.counting.counter import TextCounter, TokenCounter
from tokenward.engine.history import STRATEGIES, Strategy, TruncationResult, truncate_history
from tokenward.engine.messages.view import Format
from tokenward.engine.tokenizers.base import Method
from tokenward.engine.types import JsonObject, JsonValue


class SpyCounter(TokenCounter):
    """Notes how often each text is counted, and that without a tokenizer's own time."""

    def __init__(self) -> None:
        super().__init__(cache_size=0)
        self.counted: Counter[str] = Counter()

    def text_counter(self, model: str) -> TextCounter:
        return _Spy(super().text_counter(model), self)


class _Spy:
    def __init__(self, inner: TextCounter, spy: SpyCounter) -> None:
        self._spy = spy
        self.info = inner.info
        self.method: Method = inner.method
        self.exact = inner.exact
        self.inline_characters = inner.inline_characters

    def count(self, text: str) -> int:
        self._spy.counted[text] += 1
        return len(text) // 4

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        del text
        return tokens, tokens


def _call(step: int) -> tuple[str, str, str]:
    return f"call_{step}", json.dumps({"path": f"file{step}.py"}), f"result {step} " + "line " * 40


def _openai(step: int) -> list[JsonObject]:
    call_id, arguments, result = _call(step)
    function: JsonObject = {"name": "read_file", "arguments": arguments}
    calls: list[JsonValue] = [{"id": call_id, "type": "function", "function": function}]
    return [
        {"role": "assistant", "content": f"I look at {step}.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": call_id, "content": result},
    ]


def _responses(step: int) -> list[JsonObject]:
    call_id, arguments, result = _call(step)
    return [
        {"type": "function_call", "call_id": call_id, "name": "read_file", "arguments": arguments},
        {"type": "function_call_output", "call_id": call_id, "output": result},
    ]


def _anthropic(step: int) -> list[JsonObject]:
    call_id, arguments, result = _call(step)
    use: JsonObject = {"type": "tool_use", "id": call_id, "name": "read_file", "input": json.loads(arguments)}
    return [
        {"role": "assistant", "content": [{"type": "text", "text": f"I look at {step}."}, use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, "content": result}]},
    ]


def _gemini(step: int) -> list[JsonObject]:
    _, arguments, result = _call(step)
    return [
        {"role": "model", "parts": [{"functionCall": {"name": "read_file", "args": json.loads(arguments)}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "read_file", "response": {"output": result}}}]},
    ]


STEPS: Final[dict[Format, Callable[[int], list[JsonObject]]]] = {
    "openai": _openai,
    "openai_responses": _responses,
    "anthropic": _anthropic,
    "gemini": _gemini,
}


def history(format_: Format, messages: int) -> list[JsonObject]:
    first: JsonObject = {"role": "user", "content": "Go"}
    if format_ == "gemini":
        first = {"role": "user", "parts": [{"text": "Go"}]}
    return [first, *(one for step in range((messages - 1) // 2) for one in STEPS[format_](step)), first]


def cut(messages: list[JsonObject], format_: Format, strategy: Strategy, spy: SpyCounter) -> TruncationResult:
    tokens = 40 * len(messages)
    return truncate_history(messages, tokens // 3, MODELS[format_], counter=spy, strategy=strategy, format=format_)


@pytest.mark.parametrize("format_", STEPS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_message_is_counted_once(strategy: Strategy, format_: Format) -> None:
    assert_counted_once(1_500, strategy, format_)


def test_each_of_ten_thousand_messages_is_counted_once() -> None:
    assert_counted_once(10_000, "smart", "openai")


def assert_counted_once(messages: int, strategy: Strategy, format_: Format) -> None:
    spy = SpyCounter()
    result = cut(history(format_, messages), format_, strategy, spy)
    assert result.dropped or result.cleared or not result.fits
    own = {text: times for text, times in spy.counted.items() if "result " in text or "look" in text or "file" in text}
    assert len(own) >= messages - 5
    repeated = {text for text, times in own.items() if times > 1}
    assert repeated <= {"read_file"}, "only a tool's name is counted with each of its calls"


def work(messages: list[JsonObject], format_: Format, strategy: Strategy) -> int:
    """How many functions of the package and of Python itself are called for a truncation."""
    calls = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    spy = SpyCounter()
    sys.setprofile(note)
    try:
        cut(messages, format_, strategy, spy)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("format_", STEPS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_twice_the_messages_are_twice_the_work(strategy: Strategy, format_: Format) -> None:
    one, two = (work(history(format_, size), format_, strategy) for size in (600, 1_200))
    assert two < 2.2 * one


def test_trying_again_does_not_count_again(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[int] = []
    from tokenward.engine.history.plan import Plan, Planner

    plan_once = Planner.plan

    def plan(planner: Planner, budget: int, *, placeholder: bool, keep_prefix: bool = False) -> Plan | None:
        planned.append(budget)
        made = plan_once(planner, budget, placeholder=placeholder, keep_prefix=keep_prefix)
        if made is None or len(planned) > 4:
            return made
        return Plan(made.messages, made.tokens + 1_000_000, made.dropped, made.cleared, made.placeholder)

    monkeypatch.setattr(Planner, "plan", plan)
    monkeypatch.setattr("tokenward.engine.history.truncate.Planner", Planner)
    spy = SpyCounter()
    messages = history("openai", 1_000)
    cut(messages, "openai", "fifo", spy)
    assert len(planned) > 1
    assert max(times for text, times in spy.counted.items() if "result " in text) == 1
