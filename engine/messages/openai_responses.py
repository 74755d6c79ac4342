"""Reading the input items of OpenAI's Responses API."""

from collections.abc import Sequence
from typing import Final

from tokenward.engine.errors import InvalidMessages
from tokenward.engine.messages.fields import (
    as_identifier,
    as_objects,
    as_text,
    compact_json,
    optional_text,
    role_of,
    type_name,
)
from tokenward.engine.messages.openai_chat import as_result
from tokenward.engine.messages.view import Message, Part, PartKind, Role
from tokenward.engine.types import JsonObject, JsonValue

ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
TEXT_PARTS: Final = {
    "input_text": "text",
    "output_text": "text",
    "text": "text",
    "summary_text": "text",
    "reasoning_text": "text",
    "refusal": "refusal",
}
MEDIA_PARTS: Final[dict[str, PartKind]] = {
    "input_image": "image",
    "computer_screenshot": "image",
    "input_file": "document",
    "input_audio": "audio",
}
_CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
_OTHER_CALLS: Final = {
    **dict.fromkeys(("computer_call", "local_shell_call", "shell_call", "apply_patch_call"), "call_id"),
    "tool_search_call": "call_id",
    "mcp_approval_request": "id",
}
"""Calls that are kept as their JSON text, and the field that their answers name."""
_OTHER_ANSWERS: Final = {"tool_search_output": "call_id", "mcp_approval_response": "approval_request_id"}
REFERENCE: Final = "item_reference"


def read_openai_responses(items: Sequence[JsonObject]) -> tuple[Message, ...]:
    """Read input items: messages, calls, their outputs, reasoning; an unknown type of item is kept as its JSON text.

    ``raw_role`` of an item without a role is its type.

    Raises:
        InvalidMessages: An item is not of the documented shape.
    """
    return tuple(_read_item(item, index) for index, item in enumerate(items))


def _read_item(item: JsonObject, index: int) -> Message:
    kind = optional_text(item, "type", index) or (REFERENCE if is_reference(item) else "message")
    if kind == "message":
        role = role_of(item, tuple(ROLES), index)
        return Message(index, ROLES[role], role, read_content(item.get("content"), "content", index), item)
    if kind.endswith("_call_output"):
        return Message(index, "tool", kind, _read_output(item, index), item)
    # A hosted tool search has no id, neither in its call nor in its output.
    is_hosted = kind.startswith("tool_search_") and item.get("call_id") is None
    if kind in _OTHER_ANSWERS and not is_hosted:
        call_id = as_identifier(item, _OTHER_ANSWERS[kind], "", index)
        parts = (Part("tool_result", call_id=call_id, raw=item), Part("other", compact_json(item, index), raw=item))
        return Message(index, "tool", kind, parts, item)
    if kind == "reasoning":
        part = _read_reasoning(item, index)
    elif kind in _CALLS or (kind in _OTHER_CALLS and not is_hosted):
        part = _read_call(item, kind, index)
    else:
        part = Part("other", compact_json(item, index), raw=item)
    return Message(index, "assistant", kind, (part,), item)


def _read_call(item: JsonObject, kind: str, index: int) -> Part:
    if kind in _OTHER_CALLS:
        call_id = as_identifier(item, _OTHER_CALLS[kind], "", index)
        return Part("tool_call", compact_json(item, index), kind, call_id, item)
    name = as_identifier(item, "name", "", index)
    text = as_text(item.get(_CALLS[kind]), _CALLS[kind], index)
    return Part("tool_call", text, name, as_identifier(item, "call_id", "", index), item)


def is_reference(item: JsonObject) -> bool:
    """Whether an item only names another one by its id; then its ``type`` may be left out."""
    return item.get("id") is not None and item.keys() <= {"id", "type"} and item.get("type") in (None, REFERENCE)


def read_content(content: JsonValue, where: str, index: int | None) -> tuple[Part, ...]:
    """A message's content or a call's output: a string or a list of parts."""
    if isinstance(content, str):
        return (Part("text", content),)
    if isinstance(content, list):
        return tuple(_read_part(part, where, index) for part in as_objects(content, where, index))
    raise InvalidMessages(f"{where} must be a string or a list of parts, not {type_name(content)}.", index)


def _read_part(part: JsonObject, where: str, index: int | None) -> Part:
    kind = as_identifier(part, "type", f"{where} part: ", index)
    if kind in TEXT_PARTS:
        key = TEXT_PARTS[kind]
        return Part("text", as_text(part.get(key), f"{where} part: {key}", index), raw=part)
    if kind in MEDIA_PARTS:
        return Part(MEDIA_PARTS[kind], raw=part)
    return Part("other", compact_json(part, index), raw=part)


def _read_output(item: JsonObject, index: int) -> tuple[Part, ...]:
    # The shell's output item carries the call's id as `id`.
    key = "id" if "call_id" not in item and item.get("type") == "local_shell_call_output" else "call_id"
    call_id = as_identifier(item, key, "", index)
    output = item.get("output")
    if output is None and item.get("type") == "apply_patch_call_output":
        return as_result((), call_id, raw=item)
    if item.get("type") == "shell_call_output" and isinstance(output, list):
        # One object for each command, without a type.
        texts = (compact_json(one, index) for one in as_objects(output, "output", index))
        return as_result(tuple(Part("text", text) for text in texts), call_id, raw=item)
    content = read_content([output] if isinstance(output, dict) else output, "output", index)
    return as_result(content, call_id, raw=item)


def _read_reasoning(item: JsonObject, index: int) -> Part:
    # The full reasoning, when it is there, says more than its summary.
    for key in ("content", "summary"):
        listed = item.get(key)
        if listed:
            parts = read_content(listed, key, index)
            return Part("thinking", "\n".join(part.text for part in parts), raw=item)
    return Part("thinking", raw=item)
