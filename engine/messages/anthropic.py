"""Reading Anthropic messages."""

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
from tokenward.engine.messages.view import Message, Part, Role
from tokenward.engine.types import JsonObject, JsonValue

ROLES: Final[dict[str, Role]] = {"user": "user", "assistant": "assistant"}
CALL_BLOCKS: Final = ("tool_use", "server_tool_use", "mcp_tool_use")
_SYSTEM_ADVICE: Final = " Give system text as system, outside the messages."


def read_anthropic(messages: Sequence[JsonObject]) -> tuple[Message, ...]:
    """Read Anthropic messages: text, media, tool use and results (the server's own too) and thinking.

    The images and documents inside a tool result follow it as parts with the same ``call_id``. A server tool's call and
    its result stand in one and the same assistant message.

    Raises:
        InvalidMessages: A message is not of the documented shape.
    """
    return tuple(_read_message(message, index) for index, message in enumerate(messages))


def _read_message(message: JsonObject, index: int) -> Message:
    raw_role = role_of(message, tuple(ROLES), index, _SYSTEM_ADVICE)
    parts = read_blocks(message.get("content"), "content", index)
    answers_only = bool(parts) and all(part.kind == "tool_result" or part.call_id for part in parts)
    role: Role = "tool" if raw_role == "user" and answers_only else ROLES[raw_role]
    return Message(index, role, raw_role, parts, message)


def read_blocks(content: JsonValue, where: str, index: int | None) -> tuple[Part, ...]:
    """A message's content or the system text: a string or a list of blocks."""
    if isinstance(content, str):
        return (Part("text", content),)
    if isinstance(content, list):
        blocks = as_objects(content, where, index)
        return tuple(part for block in blocks for part in _read_block(block, where, index))
    raise InvalidMessages(f"{where} must be a string or a list of blocks, not {type_name(content)}.", index)


def _read_block(block: JsonObject, where: str, index: int | None) -> tuple[Part, ...]:
    kind = as_identifier(block, "type", f"{where} block: ", index)
    if kind in CALL_BLOCKS:
        return (_read_call(block, index),)
    if kind.endswith("tool_result"):
        return _read_result(block, kind, index)
    if kind in {"document", "search_result"}:
        return _read_document(block, index)
    return (_read_plain(block, kind, where, index),)


def _read_plain(block: JsonObject, kind: str, where: str, index: int | None) -> Part:
    match kind:
        case "text":
            part = Part("text", as_text(block.get("text"), f"{where} block: text", index), raw=block)
        case "thinking":
            part = Part("thinking", as_text(block.get("thinking"), f"{where} block: thinking", index), raw=block)
        case "redacted_thinking":
            part = Part("thinking", raw=block)
        case "image":
            part = Part("image", raw=block)
        case _:
            part = Part("other", compact_json(block, index), raw=block)
    return part


def _read_call(block: JsonObject, index: int | None) -> Part:
    name = as_identifier(block, "name", "tool_use block: ", index)
    arguments = compact_json(as_object(block.get("input"), "tool_use block: input", index), index)
    return Part("tool_call", arguments, name, as_identifier(block, "id", "tool_use block: ", index), block)


def _read_result(block: JsonObject, kind: str, index: int | None) -> tuple[Part, ...]:
    call_id = as_identifier(block, "tool_use_id", f"{kind} block: ", index)
    content = block.get("content")
    if content is None:
        return (Part("tool_result", "", "", call_id, block),)
    if kind not in {"tool_result", "mcp_tool_result"}:
        return (Part("tool_result", compact_json(content, index), "", call_id, block),)
    parts = read_blocks(content, f"{kind} block: content", index)
    text = "\n".join(part.text for part in parts if part.kind in {"text", "other"})
    media = (Part(part.kind, part.text, "", call_id, part.raw) for part in parts if part.kind in {"image", "document"})
    return (Part("tool_result", text, "", call_id, block), *media)


def _read_document(block: JsonObject, index: int | None) -> tuple[Part, ...]:
    """A document with its text, where that is given (not in PDF data, links and uploaded files), and its images."""
    texts = [optional_text(block, key, index) for key in ("title", "context")]
    source = block.get("source")
    inner = block.get("content")
    if isinstance(source, dict) and source.get("type") == "text":
        texts.append(as_text(source.get("data"), "document block: source.data", index))
    elif isinstance(source, dict) and source.get("type") == "content":
        inner = source.get("content")
    parts = read_blocks(inner, "document block: content", index) if isinstance(inner, str | list) else ()
    texts += [part.text for part in parts]
    images = (part for part in parts if part.kind == "image")
    return (Part("document", "\n".join(text for text in texts if text), raw=block), *images)
