"""What a tool is: a function, its result model, and the input schema that its signature spells out.

The signature is the only source: the same schema is advertised and enforced. Schemas are small on purpose, because
every client pays for them in every conversation.
"""

import inspect
import types
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict

from tokenward.engine.messages.view import Format
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.tools.principal import Principal, Scope

if TYPE_CHECKING:
    from tokenward.service import Tokenward

_TYPES: dict[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object"}


class Result(BaseModel):
    """Base of the result models. Their validators are built at the first use, not at the start of the server."""

    model_config = ConfigDict(
        defer_build=True, extra="forbid", frozen=True, json_schema_serialization_defaults_required=True
    )


@dataclass(frozen=True, slots=True)
class Advertised:
    """Marks a parameter whose advertised schema is not what is enforced: ``Annotated[T, Advertised({…})]``.

    A function in place of the schema is asked when the tools are listed, which is after the handshake.
    """

    schema: Mapping[str, JsonValue] | Callable[[], Mapping[str, JsonValue]]


TEXT = Advertised({"type": "string"})
"""Advertised as any text; the accepted values are named when a wrong one is given."""

ANYTHING = Advertised({})
"""Advertised without a type, where the footprint has no room for one."""

FormatName: TypeAlias = Annotated[Format | Literal["auto"], TEXT]
System: TypeAlias = Annotated[JsonValue, TEXT]
Detail: TypeAlias = Literal["brief", "full"]


class ReportProgress(Protocol):
    """Tells the client how far a long call has come."""

    def __call__(self, progress: float, total: float | None = None, message: str | None = None, /) -> Awaitable[None]:
        """Report so much done, of so much if known."""
        ...


async def no_progress(_progress: float, _total: float | None = None, _message: str | None = None, /) -> None:
    """For callers that follow no progress."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool works with.

    Attributes:
        service: The engine and the ledger.
        roots: Folders below which ``paths`` may be read.
        timezone: IANA name of the zone of dates and reports that name none.
        report_progress: Tells the client how far a long call has come.
        principal: Who is asking; ``None`` where nobody authenticates and there is one user, as over stdio.
    """

    service: "Tokenward"
    roots: tuple[Path, ...] = ()
    timezone: str = "UTC"
    report_progress: ReportProgress = no_progress
    principal: Principal | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument: whether it must be given, the schema that is enforced and the one that is advertised."""

    required: bool
    schema: JsonObject
    mark: Advertised | None = None

    @property
    def advertised(self) -> JsonObject:
        """The schema that clients are shown."""
        if self.mark is None:
            return self.schema
        shown = self.mark.schema
        return dict(shown() if callable(shown) else shown)


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool.

    Attributes:
        run: The function. Its first parameter is the :class:`ToolContext`, the others are the arguments.
        description: One line for the model.
        result: What it answers with.
        read_only: It changes nothing.
        idempotent: Calling it twice is calling it once.
        destructive: It can take something away.
        scope: What a caller's token must allow.
    """

    run: Callable[..., Awaitable[Result]]
    description: str
    result: type[Result]
    read_only: bool
    idempotent: bool
    destructive: bool = False
    scope: Scope = "use"
    parameters: Mapping[str, Parameter] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", _parameters(self.run))

    @property
    def name(self) -> str:
        """The tool's name: its function's."""
        return self.run.__name__

    @property
    def input_schema(self) -> JsonObject:
        """The advertised input schema."""
        schema: JsonObject = {
            "type": "object",
            "properties": {name: one.advertised for name, one in self.parameters.items()},
        }
        required: list[JsonValue] = [name for name, one in self.parameters.items() if one.required]
        if required:
            schema["required"] = required
        schema["additionalProperties"] = False
        return schema

    @property
    def output_schema(self) -> JsonObject:
        """The result model's schema, without what only a reader of Python needs."""
        schema: JsonObject = self.result.model_json_schema(mode="serialization")
        return _trimmed(schema)


def _parameters(function: Callable[..., object]) -> dict[str, Parameter]:
    _, *parameters = inspect.signature(function).parameters.values()
    return {one.name: _parameter(one) for one in parameters}


def _parameter(one: inspect.Parameter) -> Parameter:
    annotation = one.annotation
    marks = [mark for mark in _metadata(annotation) if isinstance(mark, Advertised)]
    required = one.default is inspect.Parameter.empty
    return Parameter(required, _schema(annotation), marks[0] if marks else None)


def _metadata(annotation: object) -> list[object]:
    """The marks of an annotation, also where it is optional."""
    inner = get_args(annotation) if _is_union(annotation) else (annotation,)
    return [mark for one in inner if get_origin(one) is Annotated for mark in get_args(one)[1:]]


def _is_union(annotation: object) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _schema(annotation: object) -> JsonObject:
    """The JSON schema of an annotation. What is not a plain type, a list or an object is any JSON value."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _schema(get_args(annotation)[0])
    if _is_union(annotation):
        return _union_schema([one for one in get_args(annotation) if one is not types.NoneType])
    if origin is Literal:
        return {"type": "string", "enum": list(get_args(annotation))}
    if origin is list:
        return {"type": "array", "items": _schema(get_args(annotation)[0])}
    name = _TYPES.get(origin or annotation)
    return {"type": name} if name else {}


def _union_schema(members: list[object]) -> JsonObject:
    """One member is itself; several literals are one enumeration."""
    if len(members) == 1:
        return _schema(members[0])
    values: list[JsonValue] = [value for one in members for value in get_args(one)]
    return {"type": "string", "enum": values}


_NOISE = ("title", "description", "default")


def _trimmed(schema: JsonObject) -> JsonObject:
    """A schema without titles, descriptions and defaults."""
    kept: JsonObject = {}
    for key, value in schema.items():
        if key in ("properties", "$defs") and isinstance(value, dict):
            kept[key] = {name: _trimmed_value(one) for name, one in value.items()}
        elif key not in _NOISE:
            kept[key] = _trimmed_value(value)
    return kept


def _trimmed_value(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return _trimmed(value)
    return [_trimmed_value(item) for item in value] if isinstance(value, list) else value
