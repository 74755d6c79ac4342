"""Checks of what a caller of the library gives; the MCP tools check theirs before."""

from collections.abc import Sequence

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.history.assembly import ContextFile


def check_integer(field: str, value: object, least: int | None = None) -> None:
    """Refuse what is no integer, or below the least. Raises InvalidInput."""
    if type(value) is not int:
        raise InvalidInput(field, f"must be an integer, not {shown(value)}.")
    if least is not None and value < least:
        raise InvalidInput(field, f"must be {'0 or more' if least == 0 else f'at least {least}'}, not {shown(value)}.")


def check_fraction(field: str, value: object, most: float) -> None:
    """Refuse what is no number above 0 and at most this. Raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise InvalidInput(field, f"must be a number above 0 and at most {most}, not {shown(value)}.")


def read_indices(field: str, values: Sequence[object], count: int) -> frozenset[int]:
    """Indices of a list with so many messages. Raises InvalidInput."""
    try:
        given = tuple(values)
    except TypeError:
        raise InvalidInput(field, f"must be a list of indices, not {shown(values)}.") from None
    found: set[int] = set()
    for index in given:
        if type(index) is not int or not 0 <= index < count:
            problem = f"{shown(index)} is not the index of a message; the indices are 0 to {count - 1}."
            raise InvalidInput(field, problem)
        found.add(index)
    return frozenset(found)


def read_files(files: Sequence[object]) -> list[ContextFile]:
    """Names and texts, with a priority or without one. Raises InvalidInput."""
    try:
        given = tuple(files)
    except TypeError:
        raise InvalidInput("files", f"must be a list of names and texts, not {shown(files)}.") from None
    return [_file(place, one) for place, one in enumerate(given)]


def _file(place: int, given: object) -> ContextFile:
    match given:
        case (str(name), str(text)):
            return ContextFile(name, text)
        case (str(name), str(text), int(priority)) if type(priority) is int:
            return ContextFile(name, text, priority)
        case _:
            problem = "must be a name, a text and, where it is wanted, an integer as priority."
            raise InvalidInput("files", f"files[{place}] {problem}")
