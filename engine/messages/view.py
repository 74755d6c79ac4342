"""The neutral view of a conversation: what counting and histories need to know, whatever the provider's format.

A reader per format turns the caller's list into :class:`Conversation`. The view never copies or changes the caller's
items; ``Message.original`` is the very object that was given, so what is kept can be given back byte for byte.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tokenward.engine.types import JsonObject, JsonValue

Format: TypeAlias = Literal["openai", "openai_responses", "anthropic", "gemini"]
Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
PartKind: TypeAlias = Literal[
    "text", "tool_call", "tool_result", "thinking", "image", "document", "audio", "video", "other"
]


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a message.

    Attributes:
        kind: What the piece is.
        text: What the model reads of it as text: the text, a call's arguments as JSON text, a result's text, a
            thinking text. Empty for media.
        name: The tool's name, for calls (and for results where the format repeats it).
        call_id: What pairs a call with its results. Formats without ids get one made by the reader from positions.
        raw: The original part, for what a reader does not spell out (an image's source, a document).
    """

    kind: PartKind
    text: str = ""
    name: str = ""
    call_id: str = ""
    raw: JsonValue = None


@dataclass(frozen=True, slots=True)
class Message:
    """One item of the caller's list.

    Attributes:
        index: Its position in the caller's list.
        role: The neutral role; ``developer`` and ``model`` and ``function`` are folded into the four.
        raw_role: The role as written (``developer``, ``model`` …), which is what some providers count.
        parts: Its pieces in order.
        name: The participant's name, where the format has one.
        original: The caller's own item.
    """

    index: int
    role: Role
    raw_role: str
    parts: tuple[Part, ...]
    original: JsonObject
    name: str = ""

    @property
    def calls(self) -> tuple[str, ...]:
        """The ids of the tool calls this message makes."""
        return tuple(part.call_id for part in self.parts if part.kind == "tool_call")

    @property
    def answers(self) -> tuple[str, ...]:
        """The ids of the tool calls this message answers."""
        return tuple(part.call_id for part in self.parts if part.kind == "tool_result")


@dataclass(frozen=True, slots=True)
class Conversation:
    """A whole request as far as its history goes.

    Attributes:
        format: The provider's format it was read as.
        messages: In the caller's order.
        system: Text that the format keeps outside the list (Anthropic ``system``, Gemini ``systemInstruction``,
            Responses ``instructions``), as parts.
        alternatives: Other formats that the list can be in and that read it differently, where nothing decided.
    """

    format: Format
    messages: tuple[Message, ...]
    system: tuple[Part, ...] = ()
    alternatives: tuple[Format, ...] = ()
