"""Tool definitions: read from any provider's spelling, and rendered as OpenAI's models read them.

OpenAI shows its models the definitions as a TypeScript namespace. How, is not published; it was found out by many from
the counts that the API reported. Two renderings fit all the counts we have: one for the legacy ``functions`` (reports
of 2023, hmarr/openai-chat-tokens), one for ``tools`` (reports of 2024 and later).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Final

from tokenward.engine.errors import InvalidInput, InvalidMessages
from tokenward.engine.messages.fields import compact_json, type_name
from tokenward.engine.types import JsonObject, JsonValue

_TOO_DEEP: Final = "hold something that is not JSON, or are nested too deeply."
_MAX_UNFOLDED: Final = 200
_EXACT_FLOATS: Final = 2**53  # larger whole numbers change, or are no float at all
_REFERENCES: Final = ("#/$defs/", "#/definitions/")
_RENDERED_KEYS: Final = frozenset(("type", "description", "properties", "required", "items", "enum"))
# Reported not to change the count (the gist of CGamesPlay, dd4f108f, and hmarr/openai-chat-tokens).
_SILENT_KEYS: Final = frozenset(
    ("title", "minimum", "maximum", "pattern", "example", "examples", "additionalProperties", "definitions", "$defs")
)
_DOUBTFUL_KEYS: Final = frozenset(("anyOf", "default", "$ref"))
_SCHEMA_KEYS: Final = ("parameters", "input_schema", "inputSchema", "parametersJsonSchema", "parameters_json_schema")
_READ_KEYS: Final = frozenset(("name", "description", "type", "strict", "cache_control", *_SCHEMA_KEYS))
# What MCP servers say to clients and not to models.
_CLIENTS_KEYS: Final = frozenset(("title", "annotations", "outputSchema", "icons", "execution", "_meta"))
_OWN_KINDS: Final = frozenset((None, "function", "custom"))


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """One tool.

    Attributes:
        name: Its name; empty for a tool of the provider's own (a web search), which is only known by its raw form.
        description: What it does.
        parameters: The JSON schema of its arguments.
        legacy: Whether it was given in the form of OpenAI's former ``functions``.
        raw: The definition as given.
        unread: What else it holds, as JSON text; empty when there is nothing else.
    """

    name: str
    description: str
    parameters: JsonObject
    legacy: bool
    raw: JsonObject
    unread: str = ""


def read_tools(tools: Sequence[JsonObject] | None) -> tuple[ToolDefinition, ...]:
    """Tool definitions in the spelling of OpenAI (chat, Responses, legacy functions), Anthropic, Gemini or MCP.

    Raises:
        InvalidInput: A tool is not an object, or its name, description or schema is of the wrong type.
    """
    found: list[ToolDefinition] = []
    for index, tool in enumerate(tools or ()):
        where = f"tools[{index}]"
        # What static types promise, a caller's JSON does not keep.
        if not isinstance(tool, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInput(where, f"must be an object, not {type_name(tool)}.")
        declared = tool.get("functionDeclarations", tool.get("function_declarations"))
        if isinstance(declared, list):
            found += (_read(entry, f"{where}.functionDeclarations", legacy=False) for entry in declared)
        elif "function" in tool:
            found.append(_read(tool["function"], f"{where}.function", legacy=False))
        else:
            found.append(_read(tool, where, legacy=not {"type", "input_schema", "inputSchema"} & tool.keys()))
    return tuple(found)


def _read(tool: JsonValue, where: str, *, legacy: bool) -> ToolDefinition:
    if not isinstance(tool, dict):
        raise InvalidInput(where, f"must be an object, not {type_name(tool)}.")
    name, description = tool.get("name"), tool.get("description")
    if not isinstance(name, str) or not name:
        if not tool or {"description", "parameters"} & tool.keys():
            raise InvalidInput(where, "has no name; give name, description and parameters.")
        name = ""
    kind = tool.get("type")
    if not isinstance(kind, str | None) or kind not in _OWN_KINDS:  # a provider's own tool, or several under one name
        name = ""
    if description is not None and not isinstance(description, str):
        raise InvalidInput(where, f"description must be a string, not {type_name(description)}.")
    parameters = next((tool[key] for key in _SCHEMA_KEYS if tool.get(key) is not None), dict[str, JsonValue]())
    if not isinstance(parameters, dict):
        raise InvalidInput(where, f"its schema must be an object, not {type_name(parameters)}.")
    silent = _READ_KEYS | _CLIENTS_KEYS if "inputSchema" in tool else _READ_KEYS
    unread = {key: value for key, value in tool.items() if key not in silent}
    return ToolDefinition(name, description or "", parameters, legacy, tool, tool_json(unread) if unread else "")


@dataclass(frozen=True, slots=True)
class _Style:
    """How the two renderings differ."""

    indent: int
    nested_descriptions: bool
    quoted_numbers: bool
    wrapped_arrays: bool
    bare_on_one_line: bool
    verified_bare_types: tuple[str, ...]


_FUNCTIONS: Final = _Style(
    indent=2,
    nested_descriptions=False,
    quoted_numbers=False,
    wrapped_arrays=False,
    bare_on_one_line=False,
    verified_bare_types=("string", "number", "integer", "boolean"),
)
_TOOLS: Final = _Style(
    indent=0,
    nested_descriptions=True,
    quoted_numbers=True,
    wrapped_arrays=True,
    bare_on_one_line=True,
    verified_bare_types=("string", "number", "integer", "boolean", "null", ""),
)


@dataclass(frozen=True, slots=True)
class Rendering:
    """The namespace's text, and pieces of which no reported count says whether and how they are rendered."""

    text: str
    doubts: tuple[str, ...]


def render_tools(tools: Sequence[ToolDefinition]) -> Rendering:
    """The definitions as the TypeScript namespace that OpenAI's models read.

    Raises:
        InvalidInput: A schema is nested too deeply to be rendered.
    """
    renderer = _Renderer(_FUNCTIONS if all(tool.legacy for tool in tools) else _TOOLS)
    lines = ["namespace functions {", ""]
    try:
        for tool in tools:
            lines += renderer.function(tool)
    except RecursionError:
        raise InvalidInput("tools", _TOO_DEEP) from None
    return Rendering("\n".join([*lines, "} // namespace functions"]), tuple(renderer.doubts))


@dataclass(slots=True)
class _Renderer:
    style: _Style
    doubts: list[str] = field(default_factory=list[str])
    root: JsonObject = field(default_factory=dict[str, JsonValue])
    open: set[str] = field(default_factory=set[str])
    unfolded: int = 0

    def function(self, tool: ToolDefinition) -> list[str]:
        if not tool.name:
            self.doubts.append(tool_json(tool.raw))
            return []
        if tool.unread:
            self.doubts.append(tool.unread)
        if tool.parameters.get("type", "object") != "object":
            self.doubts.append(tool_json(tool.parameters))
        self.root = tool.parameters
        lines = self._comment(tool.description)
        properties = _properties(tool.parameters)
        self._note_unknown_keys(tool.parameters)
        if properties:
            body = self._one_line(tool.parameters) or f"{{\n{self._members(tool.parameters, 0)}\n}}"
            lines.append(f"type {tool.name} = (_: {body}) => any;")
        else:
            lines.append(f"type {tool.name} = () => any;")
        return [*lines, ""]

    def _one_line(self, schema: JsonObject) -> str:
        """Members without any description stand on one line (``tools`` only; seen with one member)."""
        members = _properties(schema)
        if not self.style.bare_on_one_line or any(self._speaks(member) for member in members.values()):
            return ""
        if len(members) > 1:
            self.doubts.append("")
        required = _required(schema)
        inner = ", ".join(self._member(name, member, required, 0) for name, member in members.items())
        return f"{{ {inner} }}"

    def _members(self, schema: JsonObject, depth: int) -> str:
        required = _required(schema)
        lines: list[str] = []
        for name, member in _properties(schema).items():
            described = self._resolved(member)
            if depth == 0 or self.style.nested_descriptions:
                lines += self._comment(_description(described))
            lines.append(f"{self._member(name, member, required, depth)},{_default(described)}")
        return "\n".join(" " * self.style.indent * depth + line for line in lines)

    def _member(self, name: str, schema: JsonValue, required: frozenset[str], depth: int) -> str:
        return f"{name}{'' if name in required else '?'}: {self._type(schema, depth)}"

    def _type(self, schema: JsonValue, depth: int) -> str:
        reference = _reference(schema)
        if not reference:
            return self._spelled_out(schema, depth)
        # A schema may contain itself, and a few that contain each other twice unfold without end.
        if reference in self.open or self.unfolded >= _MAX_UNFOLDED:
            return "any"
        self.unfolded += 1
        self.open.add(reference)
        text = self._spelled_out(self._resolved(schema), depth)
        self.open.discard(reference)
        return text

    def _spelled_out(self, schema: JsonValue, depth: int) -> str:
        if not isinstance(schema, dict):
            self.doubts.append("")
            return "any"
        self._note_unknown_keys(schema)
        variants = schema.get("anyOf")
        if isinstance(variants, list):
            return " | ".join(self._type(variant, depth) for variant in variants)
        kind = schema.get("type")
        if isinstance(kind, list):
            return self._union(schema, [name for name in kind if isinstance(name, str)], depth)
        if kind is not None and not isinstance(kind, str):
            self.doubts.append(_plain_text(kind))
            kind = None
        return self._of_type(schema, kind or "", depth)

    def _of_type(self, schema: JsonObject, kind: str, depth: int) -> str:
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        return self._plain(schema, kind)

    def _union(self, schema: JsonObject, kinds: Sequence[str], depth: int) -> str:
        """Several types, written like ``anyOf``; no reported count has one."""
        self.doubts.append(tool_json(schema.get("type")))
        if "enum" in schema:
            return self._plain(schema, "string")
        return " | ".join(self._of_type(schema, kind, depth) for kind in dict.fromkeys(kinds)) or "any"

    def _plain(self, schema: JsonObject, kind: str) -> str:
        choices = schema.get("enum")
        if isinstance(choices, list) and choices and kind in {"string", "number", "integer"}:
            if kind != "string":
                self.doubts.append('""' * len(choices))
            quote = '"' if kind == "string" or self.style.quoted_numbers else ""
            return " | ".join(f"{quote}{_plain_text(choice)}{quote}" for choice in choices)
        if choices is not None or kind not in self.style.verified_bare_types:
            self.doubts.append(tool_json(choices))
        names = {"integer": "number", "number": "number", "string": "string", "boolean": "boolean", "null": "null"}
        return names.get(kind, "any")

    def _object(self, schema: JsonObject, depth: int) -> str:
        if not _properties(schema):
            self.doubts.append("")
            return "object"
        if self.style.nested_descriptions and not any(self._speaks(item) for item in _properties(schema).values()):
            self.doubts.append("")
        return f"{{\n{self._members(schema, depth + 1)}\n}}"

    def _array(self, schema: JsonObject, depth: int) -> str:
        items = schema.get("items")
        if not isinstance(items, dict):
            self.doubts.append("Array<>")
            return "any[]"
        inner = self._type(items, depth)
        if self.style.wrapped_arrays and items.get("type") in ("object", "array"):
            self.doubts.append("Array<>")
            return f"Array<\n{inner}\n>"
        is_union = isinstance(items.get("type"), list) and " | " in inner
        return f"({inner})[]" if is_union else f"{inner}[]"

    def _comment(self, text: str) -> list[str]:
        """One comment line for every line of a description."""
        lines = dedent(text).strip().splitlines()
        self.doubts += [""] * (len(lines) - 1)
        return [f"// {line}" for line in lines]

    def _resolved(self, schema: JsonValue) -> JsonValue:
        """The schema that a ``$ref`` names, found among the parameters' own definitions."""
        reference = _reference(schema)
        if not reference:
            return schema
        self.doubts.append("")
        for prefix in _REFERENCES:
            definitions = self.root.get(prefix[2:-1])
            if reference.startswith(prefix) and isinstance(definitions, dict):
                return definitions.get(reference.removeprefix(prefix))
        return None

    def _speaks(self, schema: JsonValue) -> bool:
        """Whether a member carries a comment: then it has a line of its own."""
        described = self._resolved(schema)
        return bool(_description(described) or _default(described))

    def _note_unknown_keys(self, schema: JsonObject) -> None:
        for key, value in schema.items():
            if key in _DOUBTFUL_KEYS:
                self.doubts.append("")
            elif key == "additionalProperties" and isinstance(value, dict):
                self.doubts.append(tool_json(value))
            elif key not in _RENDERED_KEYS and key not in _SILENT_KEYS:
                self.doubts.append(f"{key}: {_plain_text(value)}")


def tool_json(value: JsonValue) -> str:
    """A part of a definition as JSON text.

    Raises:
        InvalidInput: It is not JSON, or nested too deeply to be written.
    """
    try:
        return compact_json(value, None)
    except InvalidMessages:
        raise InvalidInput("tools", _TOO_DEEP) from None


def _plain_text(value: JsonValue) -> str:
    return value if isinstance(value, str) else tool_json(value)


def _reference(schema: JsonValue) -> str:
    found = schema.get("$ref") if isinstance(schema, dict) else None
    return found if isinstance(found, str) else ""


def _default(schema: JsonValue) -> str:
    value = schema.get("default") if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or value is None:
        return ""
    if schema.get("type") == "number" and isinstance(value, int) and abs(value) < _EXACT_FLOATS:
        value = float(value)
    return f" // default: {_plain_text(value) if 'enum' in schema else tool_json(value)}"


def _description(schema: JsonValue) -> str:
    found = schema.get("description") if isinstance(schema, dict) else None
    return found if isinstance(found, str) else ""


def _properties(schema: JsonObject) -> JsonObject:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _required(schema: JsonObject) -> frozenset[str]:
    found = schema.get("required")
    return frozenset(name for name in found if isinstance(name, str)) if isinstance(found, list) else frozenset()
