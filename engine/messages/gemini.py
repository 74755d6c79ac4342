"""Reading Gemini contents."""

from collections import OrderedDict
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
)
from tokenward.engine.messages.view import Message, Part, PartKind, Role
from tokenward.engine.types import JsonObject, JsonValue

ROLES: Final[dict[str, Role]] = {"user": "user", "model": "assistant", "function": "tool", "tool": "tool"}
"""``tool`` is what Google's library calls ``function`` in its examples."""
_MADE_ID: Final = "functionCall@"
_SYSTEM_ADVICE: Final = " Give system text as system, outside the contents."


def read_gemini(contents: Sequence[JsonObject]) -> tuple[Message, ...]:
    """Read Gemini contents; field names in camel case and in snake case are the same.

    Fields that are null are as good as absent, and a content without a role is the user's. A call without an id gets
    ``functionCall@<content>.<part>``; a response answers the call of its id, or else the oldest unanswered call of its
    name if one of the two has no id, or nothing.

    Raises:
        InvalidMessages: A content is not of the documented shape.
    """
    pairing = _Pairing()
    return tuple(_read_content(content, index, pairing) for index, content in enumerate(contents))


class _Pairing:
    """Gives calls without ids one, and finds it again for their responses."""

    def __init__(self) -> None:
        self._waiting: dict[str, OrderedDict[str, None]] = {}

    def call(self, name: str, call_id: str) -> str:
        self._waiting.setdefault(name, OrderedDict())[call_id] = None
        return call_id

    def response(self, name: str, call_id: str, fallback: str) -> str:
        waiting = self._waiting.get(name)
        if not waiting:
            return call_id or fallback
        oldest = next(iter(waiting))
        found = oldest if not call_id or (call_id not in waiting and oldest.startswith(_MADE_ID)) else call_id
        waiting.pop(found, None)
        return found


def _read_content(content: JsonObject, index: int, pairing: _Pairing) -> Message:
    raw_role = role_of(content, tuple(ROLES), index, _SYSTEM_ADVICE) if content.get("role") is not None else "user"
    if "parts" not in content:
        raise InvalidMessages("parts is missing; give a list of parts.", index)
    listed = as_objects(content["parts"], "parts", index)
    parts = tuple(
        read
        for position, part in enumerate(listed)
        for read in (_read_part(part, f"{index}.{position}", index, pairing), *_media_of_response(part, index))
    )
    answers_only = bool(parts) and all(part.kind == "tool_result" or part.call_id for part in parts)
    role: Role = "tool" if raw_role == "user" and answers_only else ROLES[raw_role]
    return Message(index, role, raw_role, parts, content)


def _read_part(part: JsonObject, position: str, index: int, pairing: _Pairing) -> Part:
    if part.get("text") is not None:
        text = as_text(part["text"], "text", index)
        return Part("thinking" if part.get("thought") is True else "text", text, raw=part)
    call = either(part, "functionCall", "function_call")
    if call is not None:
        return _read_call(as_object(call, "functionCall", index), part, f"{_MADE_ID}{position}", index, pairing)
    response = either(part, "functionResponse", "function_response")
    if response is not None:
        body = as_object(response, "functionResponse", index)
        name = as_identifier(body, "name", "functionResponse.", index)
        call_id = pairing.response(name, optional_text(body, "id", index), f"functionResponse@{position}")
        return Part("tool_result", compact_json(body.get("response"), index), name, call_id, part)
    media = media_of(part)
    if media is not None:
        return Part(_media_kind(as_object(media, "inlineData", index), index), raw=part)
    return Part("other", compact_json(part, index), raw=part)


def _media_of_response(part: JsonObject, index: int) -> tuple[Part, ...]:
    """The media that a function's answer brings besides its object."""
    response = either(part, "functionResponse", "function_response")
    brought = response.get("parts") if isinstance(response, dict) else None
    found = [one for one in brought if isinstance(one, dict)] if isinstance(brought, list) else []
    call_id = "functionResponse"
    return tuple(
        Part(_media_kind(as_object(media, "inlineData", index), index), call_id=call_id, raw=one)
        for one in found
        if (media := media_of(one)) is not None
    )


def _read_call(call: JsonObject, part: JsonObject, made_id: str, index: int, pairing: _Pairing) -> Part:
    name = as_identifier(call, "name", "functionCall.", index)
    arguments = call.get("args")
    text = "{}" if arguments is None else compact_json(as_object(arguments, "functionCall.args", index), index)
    return Part("tool_call", text, name, pairing.call(name, optional_text(call, "id", index) or made_id), part)


def _media_kind(media: JsonObject, index: int) -> PartKind:
    given = either(media, "mimeType", "mime_type")
    mime = "" if given is None else as_text(given, "mimeType", index)
    main = mime.split("/", 1)[0]
    kinds: dict[str, PartKind] = {"image": "image", "audio": "audio", "video": "video"}
    return kinds.get(main, "document")


def either(source: JsonObject, camel: str, snake: str) -> JsonValue:
    """A field by its camel-case or its snake-case name."""
    value = source.get(camel)
    return source.get(snake) if value is None else value


def media_of(part: JsonObject) -> JsonValue:
    """The media of a part, inline or by link; ``None`` when there is none."""
    inline = either(part, "inlineData", "inline_data")
    return either(part, "fileData", "file_data") if inline is None else inline


def read_system_instruction(system: JsonObject) -> tuple[Part, ...]:
    """The parts of a ``systemInstruction`` object."""
    listed = as_objects(system.get("parts"), "parts", None)
    return tuple(_read_part(part, f"system.{position}", 0, _Pairing()) for position, part in enumerate(listed))
