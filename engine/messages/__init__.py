"""Message lists of four providers' formats, read into one neutral view.

`read_messages` is the way in; `tokenward.engine.messages.view` says what comes out.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

from tokenward.engine.errors import InvalidInput, InvalidMessages, nearest, shown
from tokenward.engine.messages.anthropic import read_anthropic, read_blocks
from tokenward.engine.messages.detect import FORMATS, possible_formats, provider_format
from tokenward.engine.messages.fields import type_name
from tokenward.engine.messages.gemini import read_gemini, read_system_instruction
from tokenward.engine.messages.openai_chat import read_openai_chat
from tokenward.engine.messages.openai_responses import read_openai_responses
from tokenward.engine.messages.view import Conversation, Format, Message, Part
from tokenward.engine.types import JsonObject, JsonValue

__all__ = ["FORMATS", "Conversation", "Format", "Message", "Part", "provider_format", "read_messages"]

_READERS: Final[dict[Format, Callable[[Sequence[JsonObject]], tuple[Message, ...]]]] = {
    "openai": read_openai_chat,
    "openai_responses": read_openai_responses,
    "anthropic": read_anthropic,
    "gemini": read_gemini,
}


def read_messages(
    messages: Sequence[JsonObject],
    format: Format | Literal["auto"] = "auto",  # noqa: A002 - the tool's argument has this name
    system: JsonValue = None,
    *,
    hint: Format | None = None,
) -> Conversation:
    """Read a message list into the neutral view. Nothing is copied or changed; an empty list is an empty conversation.

    Args:
        messages: The provider's messages, items or contents, as objects.
        format: The list's format, or ``auto`` to find it from the list itself (see `detect`).
        system: Text kept outside the list: a string, Anthropic blocks, or a Gemini ``systemInstruction``.
        hint: With ``auto``, the format to take when the list is valid in several. Where it decides nothing, the first
            of ``FORMATS`` is taken, and ``alternatives`` names the others that read it differently.

    Raises:
        InvalidInput: ``format`` or ``system`` is not of an accepted kind.
        InvalidMessages: A message is malformed; the error names its index.
        AmbiguousFormat: The list mixes two formats.
    """
    for index, message in enumerate(messages):
        # What static types promise, a caller's JSON does not keep.
        if not isinstance(message, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidMessages(f"must be an object, not {type_name(message)}.", index)
    possible: tuple[Format, ...] = possible_formats(messages, system) if format == "auto" else (format,)
    chosen = hint if hint is not None and hint in possible else possible[0]
    if chosen not in _READERS:
        names = ("auto", *FORMATS)
        raise InvalidInput(
            "format", f"{shown(chosen)} is not known.{nearest(str(chosen), names)} Accepted: {', '.join(names)}."
        )
    read = _READERS[chosen](messages)
    others: list[Format] = [] if chosen == hint else [one for one in possible if one != chosen]
    alternatives: tuple[Format, ...] = tuple(one for one in others if _reads_otherwise(one, messages, read))
    return Conversation(chosen, read, _read_system(system), alternatives)


def _reads_otherwise(format_: Format, messages: Sequence[JsonObject], read: Sequence[Message]) -> bool:
    """Whether a list means something else in another format, so that the choice between the two matters."""
    try:
        other = _READERS[format_](messages)
    except InvalidMessages:
        return True
    return [(one.role, one.name, one.parts) for one in other] != [(one.role, one.name, one.parts) for one in read]


def _read_system(system: JsonValue) -> tuple[Part, ...]:
    if system is None:
        return ()
    if isinstance(system, str):
        return (Part("text", system),) if system else ()
    try:
        if isinstance(system, list):
            return read_blocks(system, "system", None)
        if isinstance(system, dict):
            return read_system_instruction(system)
    except InvalidMessages as error:
        raise InvalidInput("system", str(error).partition(": ")[2]) from None
    raise InvalidInput("system", f"must be a string, a list of blocks or an object, not {type_name(system)}.")
