"""The package's data files: read from the installed package, and narrowed to the types they hold."""

import json
from importlib import resources

from tokenward.engine.errors import CorruptData
from tokenward.engine.types import JsonObject, JsonValue


def read_bytes(name: str) -> bytes:
    """A file of ``engine/data``.

    Raises:
        CorruptData: The file is missing.
    """
    try:
        return resources.files("tokenward.engine").joinpath("data", name).read_bytes()
    except FileNotFoundError as error:
        raise CorruptData(name) from error


def read_json(name: str) -> JsonObject:
    """A JSON file of ``engine/data``; all of them hold an object.

    Raises:
        CorruptData: The file is missing or does not hold a JSON object.
    """
    try:
        document: JsonValue = json.loads(read_bytes(name))
    except ValueError as error:
        raise CorruptData(name) from error
    if not isinstance(document, dict):
        raise CorruptData(name)
    return document


def object_at(document: JsonObject, key: str) -> JsonObject:
    """The object under a key; ``CorruptData`` when there is none."""
    value = document.get(key)
    if not isinstance(value, dict):
        raise CorruptData(key)
    return value


def list_at(document: JsonObject, key: str) -> list[JsonValue]:
    """The list under a key; ``CorruptData`` when there is none."""
    value = document.get(key)
    if not isinstance(value, list):
        raise CorruptData(key)
    return value


def text_at(document: JsonObject, key: str) -> str:
    """The string under a key; ``CorruptData`` when there is none."""
    value = document.get(key)
    if not isinstance(value, str):
        raise CorruptData(key)
    return value


def integers(document: JsonObject) -> dict[str, int]:
    """An object whose values are all integers; ``CorruptData`` when one is not."""
    found = {key: value for key, value in document.items() if isinstance(value, int)}
    if len(found) != len(document):
        raise CorruptData("integers")
    return found
