"""Hypothesis strategies: valid histories in all four formats, drawn as a script and written in each provider's way."""

import json
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Final

from hypothesis import strategies as st

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.messages.view import Format
from tokenward.engine.types import JsonObject, JsonValue

FORMATS: Final[tuple[Format, ...]] = ("openai", "openai_responses", "anthropic", "gemini")
MODELS: Final[dict[Format, str]] = {
    "openai": "gpt-4o",
    "openai_responses": "gpt-5",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-pro",
}
_WORDS: Final = ("order", "total", "the", "naïve", "数据", "retry()", "x = 1", "failed:", "🙂", "coupon\n", "42")
_TOOLS: Final = ("read_file", "grep", "run_tests")


@cache
def counter() -> TokenCounter:
    """One counter for all tests, so that its vocabularies are loaded once."""
    return TokenCounter(cache_size=20_000)


@dataclass(frozen=True)
class Call:
    """One tool call and its result."""

    call_id: str
    name: str
    arguments: JsonObject
    result: str


@dataclass(frozen=True)
class Turn:
    """One step of the script: the user's text, the assistant's text, or calls with the text before them."""

    role: str
    text: str
    calls: tuple[Call, ...] = ()
    answered: int = 0
    thinking: bool = False
    variant: int = 0


@dataclass(frozen=True)
class History:
    """A request: its messages, and what stands beside them."""

    format: Format
    messages: list[JsonObject]
    system: JsonValue
    tools: list[JsonObject] | None

    @property
    def model(self) -> str:
        return MODELS[self.format]


def texts(max_words: int = 20) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(_WORDS), min_size=1, max_size=max_words).map(" ".join)


@st.composite
def _calls(draw: st.DrawFn, ids: "count[int]") -> tuple[Call, ...]:
    return tuple(
        Call(f"call_{next(ids)}", draw(st.sampled_from(_TOOLS)), {"path": draw(texts(3))}, draw(texts(60)))
        for _ in range(draw(st.integers(1, 3)))
    )


@st.composite
def scripts(draw: st.DrawFn) -> list[Turn]:
    """A script that begins with the user; the last call may be in flight."""
    ids = count(1)
    turns = [Turn("user", draw(texts()))]
    for role in draw(st.lists(st.sampled_from(("user", "assistant", "tools", "tools", "tools")), max_size=12)):
        calls = draw(_calls(ids)) if role == "tools" else ()
        turns.append(
            Turn(role, draw(texts()), calls, len(calls), thinking=draw(st.booleans()), variant=draw(st.integers(0, 3)))
        )
    if draw(st.booleans()):
        calls = draw(_calls(ids))
        turns.append(Turn("tools", draw(texts()), calls, draw(st.integers(0, len(calls) - 1))))
    return turns


@st.composite
def histories(draw: st.DrawFn, format_: Format) -> History:
    """A valid history, its system text and its tools."""
    turns = draw(scripts())
    system: JsonValue = draw(st.none() | texts())
    tools = draw(st.none() | st.just([_tool(format_, name) for name in _TOOLS]))
    messages = _WRITERS[format_](turns)
    if format_ in {"openai", "openai_responses"} and system is not None:
        role = draw(st.sampled_from(("system", "developer")))
        place = 0 if draw(st.booleans()) else 1
        messages.insert(place, {"role": role, "content": system})
        system = None
    return History(format_, messages, system, tools)


def _tool(format_: Format, name: str) -> JsonObject:
    schema: JsonObject = {"type": "object", "properties": {"path": {"type": "string"}}}
    match format_:
        case "openai":
            return {"type": "function", "function": {"name": name, "description": "A tool.", "parameters": schema}}
        case "openai_responses":
            return {"type": "function", "name": name, "description": "A tool.", "parameters": schema}
        case "anthropic":
            return {"name": name, "description": "A tool.", "input_schema": schema}
        case "gemini":
            return {"functionDeclarations": [{"name": name, "description": "A tool.", "parameters": schema}]}


def _openai(turns: list[Turn]) -> list[JsonObject]:
    messages: list[JsonObject] = []
    for turn in turns:
        if turn.role != "tools":
            content: JsonValue = [{"type": "text", "text": turn.text}] if turn.variant == 1 else turn.text
            messages.append({"role": turn.role, "content": content})
            continue
        calls: list[JsonValue] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in turn.calls
        ]
        messages.append({"role": "assistant", "content": turn.text if turn.variant else None, "tool_calls": calls})
        for call in _answers(turn):
            content = [{"type": "text", "text": call.result}] if turn.variant == 2 else call.result
            messages.append({"role": "tool", "tool_call_id": call.call_id, "content": content})
    return messages


def _responses(turns: list[Turn]) -> list[JsonObject]:
    items: list[JsonObject] = []
    for turn in turns:
        if turn.thinking and turn.role != "user":
            items.append(
                {
                    "type": "reasoning",
                    "id": f"rs_{len(items)}",
                    "summary": [{"type": "summary_text", "text": turn.text}],
                }
            )
        if turn.role == "user":
            items.append({"role": "user", "content": [{"type": "input_text", "text": turn.text}]})
        elif turn.role == "assistant" or turn.variant:
            content: JsonValue = [{"type": "output_text", "text": turn.text, "annotations": []}]
            items.append({"type": "message", "role": "assistant", "content": content})
        pending: list[JsonObject] = [
            {"type": "function_call_output", "call_id": call.call_id, "output": call.result} for call in _answers(turn)
        ]
        for call in turn.calls:
            arguments = json.dumps(call.arguments)
            items.append({"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": arguments})
        items += pending
    return items


def _anthropic(turns: list[Turn]) -> list[JsonObject]:
    messages: list[JsonObject] = []
    for turn in turns:
        if turn.role == "user":
            messages.append({"role": "user", "content": turn.text})
            continue
        blocks: list[JsonValue] = []
        if turn.thinking:
            blocks.append({"type": "thinking", "thinking": turn.text, "signature": "c2ln"})
        if turn.role == "assistant" or turn.variant:
            blocks.append({"type": "text", "text": turn.text})
        blocks.extend(_tool_use(call) for call in turn.calls)
        messages.append({"role": "assistant", "content": blocks})
        results: list[JsonValue] = [_tool_result(call, as_blocks=turn.variant == 1) for call in _answers(turn)]
        if turn.variant == 2 and turn.answered == len(turn.calls) > 1:
            messages.append({"role": "user", "content": results[:1]})
            results = results[1:]
        elif turn.variant == 3 and results and turn.answered == len(turn.calls):
            results.append({"type": "text", "text": turn.text})
        if results:
            messages.append({"role": "user", "content": results})
    return messages


def _tool_use(call: Call) -> JsonObject:
    return {"type": "tool_use", "id": call.call_id, "name": call.name, "input": call.arguments}


def _tool_result(call: Call, *, as_blocks: bool) -> JsonObject:
    content: JsonValue = [{"type": "text", "text": call.result}] if as_blocks else call.result
    return {"type": "tool_result", "tool_use_id": call.call_id, "content": content}


def _gemini(turns: list[Turn]) -> list[JsonObject]:
    contents: list[JsonObject] = []
    said: list[JsonValue] = []
    for turn in turns:
        if turn.role == "user":
            if said:
                contents.append({"role": "model", "parts": said})
                said = []
            contents.append({"role": "user", "parts": [{"text": turn.text}]})
            continue
        if turn.thinking:
            said.append({"text": turn.text, "thought": True})
        if turn.role == "assistant" or turn.variant:
            said.append({"text": turn.text})
        if turn.calls:
            snake = turn.variant == 1
            key, answer_key = ("function_call", "function_response") if snake else ("functionCall", "functionResponse")
            for call in turn.calls:
                said.append({key: {"name": call.name, "args": call.arguments}})
            contents.append({"role": "model", "parts": said})
            said = []
            answers: list[JsonValue] = [
                {answer_key: {"name": call.name, "response": {"output": call.result}}} for call in _answers(turn)
            ]
            if answers:
                contents.append({"role": "user", "parts": answers})
    if said:
        contents.append({"role": "model", "parts": said})
    return contents


def _answers(turn: Turn) -> list[Call]:
    """The answered calls; in one variant in another order than they were made."""
    answered = list(turn.calls[: turn.answered])
    return answered[::-1] if turn.variant == 3 else answered


_WRITERS: Final = {"openai": _openai, "openai_responses": _responses, "anthropic": _anthropic, "gemini": _gemini}
