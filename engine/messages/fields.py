"""Taking a caller's JSON apart: what is not of the right type is refused by name, never by value."""

import json
from collections.abc import Sequence
from typing import Final

from tokenward.engine.errors import InvalidMessages, shown
from tokenward.engine.steps import checkpoint
from tokenward.engine.types import JsonObject, JsonValue

_TYPE_NAMES: Final[dict[type[object], str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def type_name(value: object) -> str:
    """What JSON calls this value's type, for error messages."""
    return _TYPE_NAMES.get(type(value), type(value).__name__)


def compact_json(value: JsonValue, index: int | None) -> str:
    """The value as JSON text without spaces.

    Raises:
        InvalidMessages: The value is not JSON, or is nested too deeply to be written.
    """
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        raise InvalidMessages("holds something that is not JSON, or is nested too deeply.", index) from None


def as_text(value: JsonValue, where: str, index: int | None) -> str:
    """The value, which must be a string."""
    if isinstance(value, str):
        return value
    raise InvalidMessages(f"{where} must be a string, not {type_name(value)}.", index)


def as_object(value: JsonValue, where: str, index: int | None) -> JsonObject:
    """The value, which must be an object."""
    if isinstance(value, dict):
        return value
    raise InvalidMessages(f"{where} must be an object, not {type_name(value)}.", index)


def as_objects(value: JsonValue, where: str, index: int | None) -> list[JsonObject]:
    """The value, which must be a list of objects."""
    if not isinstance(value, list):
        raise InvalidMessages(f"{where} must be a list of objects, not {type_name(value)}.", index)
    return [as_object(item, f"{where}[{position}]", index) for position, item in enumerate(value)]


def as_identifier(source: JsonObject, key: str, where: str, index: int | None) -> str:
    """``source[key]``, which must be a string that is not empty."""
    value = source.get(key)
    if isinstance(value, str) and value:
        return value
    problem = "is missing" if key not in source else "must be a string that is not empty"
    raise InvalidMessages(f"{where}{key} {problem}.", index)


def optional_text(source: JsonObject, key: str, index: int | None) -> str:
    """``source[key]`` as a string; empty when it is absent or null."""
    value = source.get(key)
    return "" if value is None else as_text(value, key, index)


def role_of(message: JsonObject, roles: Sequence[str], index: int, advice: str = "") -> str:
    """The message's role, which must be one of ``roles``."""
    checkpoint()
    accepted = f"accepted: {', '.join(roles)}.{advice}"
    if "role" not in message:
        raise InvalidMessages(f"role is missing; {accepted}", index)
    role = as_text(message["role"], "role", index)
    if role not in roles:
        raise InvalidMessages(f"role {shown(role)} is not one of this format; {accepted}", index)
    return role
