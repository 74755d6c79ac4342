"""Message lists of four providers' formats, read into one neutral view.

`read_messages` is the way in; `tokenward.engine.messages.view` says what comes out.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

from tokenward.engine.errors import InvalidInput, InvalidMessages, nearest, shown
from tokenward.engine.messages.anthropic import read_anthropic, read_blocks
from tokenward.engine.messages.detect import FORMATS, detect_format, provider_format
from tokenward.engine.messages.fields import type_name
from tokenward.engine.messages.gemini import read_gemini, read_system_instruction
from tokenward.engine.messages.openai_chat import read_openai_chat
from tokenward.engine.messages.openai_responses import read_openai_responses
from tokenward.engine.messages.view import Conversation, Format, Message, Part
from tokenward.engine.types import JsonObject, JsonValue

__all__ = ["FORMATS", "Conversation", "Format", "Message", "Part", "detect_format", "provider_format", "read_messages"]

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
        hint: With ``auto``, the format to take when the list is valid in several; without one, that is ``openai``.

    Raises:
        InvalidInput: ``format`` or ``system`` is not of an accepted kind.
        InvalidMessages: A message is malformed; the error names its index.
        AmbiguousFormat: The list mixes two formats.
    """
    for index, message in enumerate(messages):
        # What static types promise, a caller's JSON does not keep.
        if not isinstance(message, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidMessages(f"must be an object, not {type_name(message)}.", index)
    chosen = detect_format(messages, system, hint) if format == "auto" else format
    if chosen not in _READERS:
        names = ("auto", *FORMATS)
        raise InvalidInput(
            "format", f"{shown(chosen)} is not known.{nearest(str(chosen), names)} Accepted: {', '.join(names)}."
        )
    return Conversation(chosen, _READERS[chosen](messages), _read_system(system))


def _read_system(system: JsonValue) -> tuple[Part, ...]:
    if system is None:
        return ()
    if isinstance(system, str):
        return (Part("text", system),)
    try:
        if isinstance(system, list):
            return read_blocks(system, "system", None)
        if isinstance(system, dict):
            return read_system_instruction(system)
    except InvalidMessages as error:
        raise InvalidInput("system", str(error).partition(": ")[2]) from None
    raise InvalidInput("system", f"must be a string, a list of blocks or an object, not {type_name(system)}.")
