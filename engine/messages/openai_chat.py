"""Reading OpenAI chat completions messages."""

from collections.abc import Sequence
from typing import Final

from tokenward.engine.errors import InvalidMessages
from tokenward.engine.messages.fields import (
    as_identifier,
    as_object,
    as_objects,
    as_text,
    compact_json,
    optional_text,
    role_of,
    type_name,
)
from tokenward.engine.messages.view import Message, Part, PartKind, Role
from tokenward.engine.types import JsonObject, JsonValue

ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_TEXT_PARTS: Final = {"text": "text", "refusal": "refusal"}
_MEDIA_PARTS: Final[dict[str, PartKind]] = {"image_url": "image", "input_audio": "audio", "file": "document"}


def read_openai_chat(messages: Sequence[JsonObject]) -> tuple[Message, ...]:
    """Read chat completions messages, the legacy ``function_call`` and role ``function`` included.

    A legacy call has no id: it gets ``function_call@<index>``, and the next message of role ``function`` with the same
    name answers it. A legacy result that answers nothing gets an id of its own.

    Raises:
        InvalidMessages: A message is not of the documented shape.
    """
    waiting: dict[str, str] = {}
    return tuple(_read_message(message, index, waiting) for index, message in enumerate(messages))


def _read_message(message: JsonObject, index: int, waiting: dict[str, str]) -> Message:
    raw_role = role_of(message, tuple(ROLES), index)
    content = read_content(message.get("content"), index)
    if message.get("content") is None and raw_role not in {"assistant", "function"}:
        raise InvalidMessages("content is missing; give a string or a list of content parts.", index)
    if raw_role == "tool":
        call_id = as_identifier(message, "tool_call_id", "", index)
        content = as_result(content, call_id, optional_text(message, "name", index))
    elif raw_role == "function":
        name = as_identifier(message, "name", "", index)
        content = as_result(content, waiting.pop(name, f"function@{index}"), name)
    elif raw_role == "assistant":
        content = (*content, *_read_extras(message, index), *_read_calls(message, index, waiting))
    name = optional_text(message, "name", index)
    return Message(index, ROLES[raw_role], raw_role, content, message, name)


def read_content(content: JsonValue, index: int | None) -> tuple[Part, ...]:
    """A message's ``content``: a string, a list of parts, or null."""
    if content is None:
        return ()
    if isinstance(content, str):
        return (Part("text", content),)
    if isinstance(content, list):
        return tuple(_read_part(part, index) for part in as_objects(content, "content", index))
    raise InvalidMessages(f"content must be a string or a list of parts, not {type_name(content)}.", index)


def _read_part(part: JsonObject, index: int | None) -> Part:
    kind = as_identifier(part, "type", "content part: ", index)
    if kind in _TEXT_PARTS:
        key = _TEXT_PARTS[kind]
        return Part("text", as_text(part.get(key), f"content part: {key}", index), raw=part)
    if kind in _MEDIA_PARTS:
        return Part(_MEDIA_PARTS[kind], raw=part)
    return Part("other", compact_json(part, index), raw=part)


def as_result(content: tuple[Part, ...], call_id: str, name: str = "", raw: JsonValue = None) -> tuple[Part, ...]:
    """A tool's answer: its texts as one result part, its media behind it as parts with the same ``call_id``."""
    text = "\n".join(part.text for part in content if part.text)
    media = (Part(part.kind, "", name, call_id, part.raw) for part in content if not part.text and part.kind != "text")
    return (Part("tool_result", text, name, call_id, raw), *media)


def _read_extras(message: JsonObject, index: int) -> tuple[Part, ...]:
    refusal = optional_text(message, "refusal", index)
    audio = message.get("audio")
    # What some who serve other models in this format call the reasoning that they give back.
    reasoning = message.get("reasoning_content")
    thoughts = (Part("thinking", reasoning),) if isinstance(reasoning, str) and reasoning else ()
    texts = (*thoughts, Part("text", refusal)) if refusal else thoughts
    return texts if audio is None else (*texts, Part("audio", raw=as_object(audio, "audio", index)))


def _read_calls(message: JsonObject, index: int, waiting: dict[str, str]) -> tuple[Part, ...]:
    listed = message.get("tool_calls")
    calls = [] if listed is None else as_objects(listed, "tool_calls", index)
    parts = [_read_call(call, f"tool_calls[{position}].", index) for position, call in enumerate(calls)]
    if message.get("function_call") is not None:
        call = as_object(message["function_call"], "function_call", index)
        name = as_identifier(call, "name", "function_call.", index)
        waiting[name] = f"function_call@{index}"
        arguments = as_text(call.get("arguments"), "function_call.arguments", index)
        parts.append(Part("tool_call", arguments, name, waiting[name], call))
    return tuple(parts)


def _read_call(call: JsonObject, where: str, index: int) -> Part:
    call_id = as_identifier(call, "id", where, index)
    kind, body = ("custom", "input") if call.get("type") == "custom" else ("function", "arguments")
    if call.get("type", kind) != kind:
        return Part("tool_call", compact_json(call, index), "", call_id, call)
    function = as_object(call.get(kind), f"{where}{kind}", index)
    name = as_identifier(function, "name", f"{where}{kind}.", index)
    return Part("tool_call", as_text(function.get(body), f"{where}{kind}.{body}", index), name, call_id, call)
