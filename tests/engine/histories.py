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
_WORDS: Final = (
    *("order", "total", "the", "naïve", "数据", "retry()", "x = 1", "failed:", "🙂", "coupon\n", "42"),
    *("e\u0301", "\u202eabc", "\u200b", "👩\u200d💻", "\x00", "\ud800", '"\\'),
)
_IMAGE: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""One pixel, as a PNG file in Base64."""
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
    """One step of the script: the user's text, the assistant's text, or calls with the text before them.

    ``notice`` is what an earlier truncation left; ``image`` brings a picture with it, or with the first result.
    """

    role: str
    text: str
    calls: tuple[Call, ...] = ()
    answered: int = 0
    thinking: bool = False
    variant: int = 0
    image: bool = False


@dataclass(frozen=True)
class History:
    """A request: its messages, and what stands beside them."""

    format: Format
    messages: list[JsonObject]
    system: JsonValue
    tools: list[JsonObject] | None
    other_model: str = ""

    @property
    def model(self) -> str:
        return self.other_model or MODELS[self.format]


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
    for role in draw(st.lists(st.sampled_from((*("user", "assistant", "notice"), *["tools"] * 5)), max_size=12)):
        calls = draw(_calls(ids)) if role == "tools" else ()
        text = NOTICE if role == "notice" else draw(texts())
        how = {"thinking": draw(st.booleans()), "image": draw(st.integers(0, 3)) == 0}
        turns.append(Turn(role, text, calls, len(calls), variant=draw(st.integers(0, 3)), **how))
    if draw(st.booleans()):
        calls = draw(_calls(ids))
        turns.append(Turn("tools", draw(texts()), calls, draw(st.integers(0, len(calls) - 1)), draw(st.booleans())))
    return turns


NOTICE: Final = "[7 messages (3 tool calls, 1,234 tokens) left out of this conversation to fit the context window.]"
"""What an earlier truncation says."""


def _is_users(turn: Turn) -> bool:
    return turn.role in {"user", "notice"}


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
        system = draw(st.none() | texts())
    return History(format_, messages, system, tools, draw(st.sampled_from(("", "", "gpt-4o", "claude-sonnet-4-5"))))


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
            if turn.role == "user" and turn.image:
                picture: JsonObject = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_IMAGE}"}}
                content = [picture, {"type": "text", "text": turn.text}]
            messages.append({"role": "user" if _is_users(turn) else "assistant", "content": content})
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
        if turn.thinking and not _is_users(turn):
            items.append(
                {
                    "type": "reasoning",
                    "id": f"rs_{len(items)}",
                    "summary": [{"type": "summary_text", "text": turn.text}],
                }
            )
        if _is_users(turn):
            said: list[JsonValue] = [{"type": "input_text", "text": turn.text}]
            if turn.role == "user" and turn.image:
                said.append({"type": "input_image", "image_url": f"data:image/png;base64,{_IMAGE}"})
            items.append({"role": "user", "content": said})
        elif turn.role == "assistant" or turn.variant:
            content: JsonValue = [{"type": "output_text", "text": turn.text, "annotations": []}]
            items.append({"type": "message", "role": "assistant", "content": content})
        pending: list[JsonObject] = [
            {"type": "function_call_output", "call_id": call.call_id, "output": call.result} for call in _answers(turn)
        ]
        asked, approved = _approval(turn, f"ap_{len(items)}")
        items += asked
        for call in turn.calls:
            arguments = json.dumps(call.arguments)
            items.append({"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": arguments})
            # Some clients answer each call at once; a user may say something before the last answer.
            if turn.variant == 2 and pending:
                items.append(pending.pop(0))
        if turn.variant == 1 and turn.image and len(pending) == len(turn.calls) > 0:
            items.append({"role": "user", "content": turn.text})
        items += pending
        items += approved
    return items


def _approval(turn: Turn, approval_id: str) -> tuple[list[JsonObject], list[JsonObject]]:
    """What some turns ask the user for before their calls, and what the user says behind the results."""
    if turn.variant != 3 or not turn.image or not 0 < len(turn.calls) == turn.answered:
        return [], []
    asked: JsonObject = {"type": "mcp_approval_request", "id": approval_id, "name": "deploy", "arguments": "{}"}
    return [asked], [{"type": "mcp_approval_response", "approval_request_id": approval_id, "approve": True}]


def _anthropic(turns: list[Turn]) -> list[JsonObject]:
    messages: list[JsonObject] = []
    for turn in turns:
        if _is_users(turn):
            picture: JsonObject = {"type": "image", "source": _SOURCE}
            shown: JsonValue = [picture, {"type": "text", "text": turn.text}]
            messages.append({"role": "user", "content": shown if turn.role == "user" and turn.image else turn.text})
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
        if turn.image and results and turn.answered == len(turn.calls):
            # Models may also answer a loop's end with redacted thinking.
            sealed: JsonObject = {"type": "redacted_thinking", "data": "c2VhbGVk"}
            messages.append({"role": "assistant", "content": [sealed, {"type": "text", "text": turn.text}]})
    return _without_final_space(messages)


_SOURCE: Final[JsonObject] = {"type": "base64", "media_type": "image/png", "data": _IMAGE}


def _without_final_space(messages: list[JsonObject]) -> list[JsonObject]:
    """Anthropic goes on from the assistant's text that ends a request, and wants no space there."""
    content = messages[-1]["content"]
    last = content[-1] if messages[-1]["role"] == "assistant" and isinstance(content, list) else None
    if isinstance(last, dict) and last.get("type") == "text":
        last["text"] = str(last["text"]).rstrip() or "Yes"
    return messages


def _tool_use(call: Call) -> JsonObject:
    return {"type": "tool_use", "id": call.call_id, "name": call.name, "input": call.arguments}


def _tool_result(call: Call, *, as_blocks: bool) -> JsonObject:
    picture: JsonObject = {"type": "image", "source": _SOURCE}
    content: JsonValue = [{"type": "text", "text": call.result}, picture] if as_blocks else call.result
    return {"type": "tool_result", "tool_use_id": call.call_id, "content": content}


def _gemini(turns: list[Turn]) -> list[JsonObject]:
    contents: list[JsonObject] = []
    said: list[JsonValue] = []
    for turn in turns:
        if _is_users(turn):
            if said:
                contents.append({"role": "model", "parts": said})
                said = []
            contents.append({"role": "user", "parts": _heard(turn)})
            continue
        if turn.thinking:
            said.append({"text": turn.text, "thought": True})
        if turn.role == "assistant" or turn.variant:
            said.append({"text": turn.text})
        if turn.calls:
            contents += _gemini_calls(turn, said)
            said = []
    if said:
        contents.append({"role": "model", "parts": said})
    return contents


def _heard(turn: Turn) -> list[JsonValue]:
    heard: list[JsonValue] = [{"text": turn.text}]
    if turn.role == "user" and turn.image:
        heard.append({"inlineData": {"mimeType": "image/png", "data": _IMAGE}})
    return heard


def _gemini_calls(turn: Turn, said: list[JsonValue]) -> list[JsonObject]:
    """A content with calls, and one with their answers; every second history has ids, as newer APIs give them."""
    snake = turn.variant == 1
    key, answer_key = ("function_call", "function_response") if snake else ("functionCall", "functionResponse")
    calls: list[JsonValue] = [
        {key: {"name": call.name, "args": call.arguments, **({"id": call.call_id} if turn.image else {})}}
        for call in turn.calls
    ]
    answers: list[JsonValue] = [
        {
            answer_key: {
                "name": call.name,
                "response": {"output": call.result},
                **({"id": call.call_id} if turn.image else {}),
            }
        }
        for call in _answers(turn)
    ]
    contents: list[JsonObject] = [{"role": "model", "parts": [*said, *calls]}]
    if answers:
        contents.append({"role": "user", "parts": answers})
    return contents


def _answers(turn: Turn) -> list[Call]:
    """The answered calls; in one variant in another order than they were made."""
    answered = list(turn.calls[: turn.answered])
    return answered[::-1] if turn.variant == 3 else answered


_WRITERS: Final = {"openai": _openai, "openai_responses": _responses, "anthropic": _anthropic, "gemini": _gemini}
