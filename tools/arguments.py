"""The strict check of a tool's arguments: by name, then by the schema that its signature spells out.

A refusal names the field, says what is accepted and never shows more than a short piece of what was given.
"""

import json
from collections.abc import Collection, Mapping, Sequence

from tokenward.engine.errors import InvalidInput, WrongArguments, nearest, shown
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.tools.definition import Parameter, Tool

MAX_DEPTH = 200
"""Deepest nesting of an argument; the protocol's writer ends at about 250, with the answer around it."""

_NAME_CHARACTERS = 60
"""So much of an unknown argument's name is told as the field that is wrong."""

_NOUNS = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}
_PLURALS = {"string": "strings", "integer": "integers", "object": "objects"}
_PYTHON: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "array": list,
    "object": dict,
}


_MEANT: Mapping[str, Sequence[str]] = {
    "prompt_tokens": ("input_tokens",),
    "completion_tokens": ("output_tokens", "max_output_tokens"),
    "total_tokens": ("tokens",),
    "cached_tokens": ("cached_input_tokens",),
    "cache_read_input_tokens": ("cached_input_tokens",),
    "cache_creation_input_tokens": ("cache_write_tokens",),
    "max_tokens": ("max_output_tokens",),
    "max_completion_tokens": ("max_output_tokens",),
    "usage": ("response",),
    "content": ("text", "messages"),
    "prompt": ("text", "messages"),
    "input": ("text", "messages"),
}
"""What providers' APIs call it, and our names for it. By their letters some of them are nearest to the opposite."""

_LIKENESS = 0.8
"""A name less like one of ours may mean another one: ``prompt_tokens`` is 0.77 like ``output_tokens``."""


def check_arguments(tool: Tool, given: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The arguments as the tool's function takes them. A null means that the argument is not given.

    Raises:
        WrongArguments: An argument that the tool does not have, or a required one that is missing.
        InvalidInput: A value of the wrong type, or not one of the accepted ones.
    """
    _refuse_unknown(tool, given)
    present = {name: value for name, value in given.items() if value is not None}
    missing = [name for name, one in tool.parameters.items() if one.required and name not in present]
    if missing:
        needed = ", ".join(f"{name!r} ({_accepted(tool.parameters[name].schema)})" for name in missing)
        raise WrongArguments(missing[0], f"Missing argument{'s' if len(missing) > 1 else ''}: {needed}.")
    for name, value in present.items():
        if _deeper_than(MAX_DEPTH, value):
            raise InvalidInput(name, f"is nested deeper than {MAX_DEPTH} levels; give a flatter value.")
    return {name: _checked(name, tool.parameters[name], value) for name, value in present.items()}


def _deeper_than(levels: int, value: JsonValue) -> bool:
    """Whether lists and objects stand inside each other more than ``levels`` times. Level by level: no recursion."""
    level: list[JsonValue] = [value]
    for _ in range(levels):
        inner: list[JsonValue] = []
        for one in level:
            if isinstance(one, list):
                inner += one
            elif isinstance(one, dict):
                inner += one.values()
        level = [one for one in inner if isinstance(one, list | dict)]
        if not level:
            return False
    return True


def _refuse_unknown(tool: Tool, given: Mapping[str, JsonValue]) -> None:
    for name in given:
        if name not in tool.parameters:
            hint = _meant(name, tool.parameters) or f" {tool.name} takes: {', '.join(tool.parameters)}."
            raise WrongArguments(name[:_NAME_CHARACTERS], f"Unknown argument {shown(name)}.{hint}")


def _meant(name: str, known: Collection[str]) -> str:
    ours = next((one for one in _MEANT.get(name, ()) if one in known), None)
    return f" Did you mean {ours!r}?" if ours else nearest(name, known, likeness=_LIKENESS)


def _checked(name: str, parameter: Parameter, value: JsonValue) -> JsonValue:
    schema = parameter.schema
    if isinstance(value, str) and schema.get("type") in ("array", "object"):
        value = _unpacked(value)
    if isinstance(value, list) and schema.get("type") == "array":
        items = schema.get("items")
        if isinstance(items, dict):
            return [_element(name, items, item, index) for index, item in enumerate(value)]
    return _element(name, schema, value)


def _unpacked(value: str) -> JsonValue:
    """Some clients send lists and objects as JSON text; where only those are accepted, the text cannot be meant."""
    try:
        unpacked: JsonValue = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return unpacked if isinstance(unpacked, list | dict) else value


def _element(name: str, schema: JsonObject, value: JsonValue, index: int | None = None) -> JsonValue:
    kind = schema.get("type")
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(kind, str) and not _is(kind, value):
        raise InvalidInput(_place(name, index), f"expected {_accepted(schema)}, got {_described(value)}.")
    values = schema.get("enum")
    if isinstance(values, list) and value not in values:
        names = [str(one) for one in values]
        problem = f"{shown(value)} is not one of {', '.join(names)}.{nearest(str(value)[:60], names)}"
        raise InvalidInput(_place(name, index), problem)
    return value


def _place(name: str, index: int | None) -> str:
    return name if index is None else f"{name}[{index}]"


def _is(kind: str, value: JsonValue) -> bool:
    """Whether a value is of a JSON type. A boolean is no number."""
    if isinstance(value, bool):
        return kind == "boolean"
    return kind in _PYTHON and isinstance(value, _PYTHON[kind])


def _accepted(schema: JsonObject) -> str:
    items = schema.get("items")
    if isinstance(items, dict):
        return f"a list of {_PLURALS.get(str(items.get('type')), 'values')}"
    return _NOUNS.get(str(schema.get("type")), "a value")


def _described(value: JsonValue) -> str:
    """What a value is, without showing it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else f"the number {shown(value)}"
