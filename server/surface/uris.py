"""The URIs of the resources: what each template stands for, and the other way round."""

from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import unquote_to_bytes

SCHEME = "tokenward://"
MODELS = f"{SCHEME}models"
MODEL = f"{SCHEME}models/{{model}}"
QUOTA = f"{SCHEME}quota/{{user}}"
REPORT = f"{SCHEME}report/{{period}}"

Kind: TypeAlias = Literal["models", "model", "quota", "report"]

_NAMED: dict[str, Kind] = {"models": "model", "quota": "quota", "report": "report"}


@dataclass(frozen=True, slots=True)
class Place:
    """One resource: what it is about, and the model's, user's or period's name."""

    kind: Kind
    name: str = ""


def place_of(uri: str) -> Place | None:
    """The resource that a URI names, or ``None`` if it is none of these.

    A name is percent-encoded UTF-8; a slash in it may be written as it is, as models' names have some.
    """
    if not uri.startswith(SCHEME):
        return None
    kind, _, encoded = uri.removeprefix(SCHEME).partition("/")
    try:
        name = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        return None
    if not name:
        return Place("models") if kind == "models" else None
    named = _NAMED.get(kind)
    return None if named is None else Place(named, name)
