"""The few changes a history may suffer, per format: a cleared tool result, a rewritten text, an added notice.

Nothing here changes an object it was given: what differs is a new object, what does not is the caller's own.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, assert_never

from tokenward.engine.messages.fields import compact_json
from tokenward.engine.messages.view import Format, Message
from tokenward.engine.types import JsonObject, JsonValue

Rewrite: TypeAlias = Callable[[str], str]
"""From a text to what is put in its place."""

# Gemini's responses are objects, which are read as JSON text.
_CLEARED: Final = re.compile(r'(?:\{"result": ?")?\[tool result cleared: [\d,]+ tokens\](?:"\})?')
_NUMBER: Final = "([0-9][0-9,]{0,24})"
_NOTICE: Final = re.compile(
    rf"\[{_NUMBER} messages? \((?:{_NUMBER} tool calls?, )?(?:{_NUMBER} images?, )?{_NUMBER} tokens\)"
    r" left out of this conversation to fit the context window\.\]"
)
_RESPONSE_KEYS: Final = ("functionResponse", "function_response")
_CLEARED_ROLES: Final = ("user", "tool", "function", "function_call_output", "custom_tool_call_output")
_PLAIN_TEXTS: Final = ("text", "input_text", "output_text")
# A citation points at positions of its text, a signature is made for it, a thought is not the caller's to change.
_BOUND_TEXTS: Final = ("citations", "annotations", "thought", "thoughtSignature", "thought_signature")


def user_message(text: str, format: Format) -> JsonObject:  # noqa: A002 - the tool's argument has this name
    """A user's message of one text: every provider accepts one between any two units."""
    match format:
        case "gemini":
            return {"role": "user", "parts": [{"text": text}]}
        case "openai_responses":
            return {"type": "message", "role": "user", "content": text}
        case "openai" | "anthropic":
            return {"role": "user", "content": text}
    assert_never(format)


def cleared_text(tokens: int) -> str:
    """What stands in place of a cleared tool result."""
    return f"[tool result cleared: {tokens:,} tokens]"


@dataclass(frozen=True, slots=True)
class Omission:
    """How much was left out of a history: messages, the tool calls and images in them, and tokens."""

    messages: int
    tokens: int
    tool_calls: int = 0
    images: int = 0

    @classmethod
    def of(cls, message: Message, tokens: int) -> "Omission":
        """What goes with one message of so many tokens: for an earlier notice, what that one says."""
        kinds = [part.kind for part in message.parts]
        return read_notice(message) or cls(1, tokens, kinds.count("tool_call"), kinds.count("image"))

    def __add__(self, other: "Omission") -> "Omission":
        return Omission(
            self.messages + other.messages,
            self.tokens + other.tokens,
            self.tool_calls + other.tool_calls,
            self.images + other.images,
        )

    def notice(self, format: Format) -> JsonObject:  # noqa: A002 - the tool's argument has this name
        """A user's message that says so: what is missing and how much of it, not what was in it."""
        kinds = [_counted(number, noun) for number, noun in self._kinds() if number]
        size = f"{_counted(self.messages, 'message')} ({', '.join((*kinds, f'{self.tokens:,} tokens'))})"
        return user_message(f"[{size} left out of this conversation to fit the context window.]", format)

    def _kinds(self) -> tuple[tuple[int, str], ...]:
        return (self.tool_calls, "tool call"), (self.images, "image")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"


def read_notice(message: Message) -> Omission | None:
    """What an earlier truncation's notice says, or ``None`` for any other message."""
    if message.role != "user" or len(message.parts) != 1 or message.parts[0].kind != "text":
        return None
    match = _NOTICE.fullmatch(message.parts[0].text)
    if match is None:
        return None
    messages, calls, images, tokens = (int((number or "0").replace(",", "")) for number in match.groups())
    return Omission(messages, tokens, calls, images)


def is_clearable(message: Message) -> bool:
    """Whether the message holds a tool's result that may be cleared and is not cleared yet."""
    return _may_be_cleared(message) and any(
        part.kind == "tool_result" and not _CLEARED.fullmatch(part.text) for part in message.parts
    )


def _may_be_cleared(message: Message) -> bool:
    """Whether its results are plain text to the provider: not a provider's own tool's, not a screenshot."""
    return message.raw_role in _CLEARED_ROLES


def clear_results(message: Message, format: Format, rewrite: Rewrite) -> Message:  # noqa: A002
    """The message with its tool results replaced; ids, names and structure stay, images in the results do not.

    Args:
        message: One that `is_clearable`.
        format: The history's format.
        rewrite: From a result's text to what is put in its place.

    Returns:
        As it would be read, but for ``raw`` of its parts.
    """
    results = [part.text for part in message.parts if part.kind == "tool_result"]
    texts = [text if _CLEARED.fullmatch(text) else rewrite(text) for text in results]
    read = iter(
        [
            text if format != "gemini" or _CLEARED.fullmatch(old) else compact_json({"result": text}, message.index)
            for old, text in zip(results, texts, strict=True)
        ]
    )
    kept = (
        part for part in message.parts if part.kind == "tool_result" or not part.call_id or part.kind == "tool_call"
    )
    parts = tuple(replace(part, text=next(read)) if part.kind == "tool_result" else part for part in kept)
    return replace(message, parts=parts, original=_cleared(message.original, format, iter(texts)))


def _cleared(original: JsonObject, format: Format, texts: Iterator[str]) -> JsonObject:  # noqa: A002
    match format:
        case "openai":
            return {**original, "content": _reshaped(original.get("content"), next(texts), "text")}
        case "openai_responses":
            return {**original, "output": _reshaped(original.get("output"), next(texts), "input_text")}
        case "anthropic":
            return {**original, "content": _each(original.get("content"), lambda block: _clear_block(block, texts))}
        case "gemini":
            return {**original, "parts": _each(original.get("parts"), lambda part: _clear_part(part, texts))}
    assert_never(format)


def _clear_block(block: JsonObject, texts: Iterator[str]) -> JsonObject:
    kind = block.get("type")
    if not isinstance(kind, str) or not kind.endswith("tool_result"):
        return block
    text = next(texts)
    return {**block, "content": _reshaped(block.get("content"), text, "text")} if kind == "tool_result" else block


def _clear_part(part: JsonObject, texts: Iterator[str]) -> JsonObject:
    for key in _RESPONSE_KEYS:
        response = part.get(key)
        if isinstance(response, dict):
            # `parts` are the media of a response; they go with its text.
            kept = {name: value for name, value in response.items() if name != "parts"}
            text = next(texts)
            body: JsonValue = response.get("response") if text.startswith("{") else {"result": text}
            return {**part, key: {**kept, "response": body}}
    return part


def _reshaped(content: JsonValue, text: str, part_type: str) -> JsonValue:
    """The text in the shape that the content had: a string, or a list of parts."""
    return [{"type": part_type, "text": text}] if isinstance(content, list) else text


def rewrite_texts(message: Message, format: Format, rewrite: Rewrite) -> JsonObject:  # noqa: A002
    """The message with its plain texts rewritten; calls, results, thinking, media, cited and signed texts stay.

    Returns:
        The caller's own object when nothing changed.
    """
    if message.role == "tool":
        return message.original
    key = "parts" if format == "gemini" else "content"
    content = message.original.get(key)
    if isinstance(content, str):
        new: JsonValue = rewrite(content)
    else:
        new = _each(content, lambda part: _rewrite_part(part, rewrite))
    return message.original if new == content else {**message.original, key: new}


def plain_texts(message: Message, format: Format) -> list[str]:  # noqa: A002
    """The texts that `rewrite_texts` would rewrite, in its order."""
    texts: list[str] = []

    def keep(text: str) -> str:
        texts.append(text)
        return text

    rewrite_texts(message, format, keep)
    return texts


def _rewrite_part(part: JsonObject, rewrite: Rewrite) -> JsonObject:
    text = part.get("text")
    if not isinstance(text, str) or part.get("type", "text") not in _PLAIN_TEXTS or any(map(part.get, _BOUND_TEXTS)):
        return part
    return {**part, "text": rewrite(text)}


def _each(content: JsonValue, change: Callable[[JsonObject], JsonObject]) -> JsonValue:
    """A list with every object in it changed; anything else as it is."""
    if not isinstance(content, list):
        return content
    return [change(item) if isinstance(item, dict) else item for item in content]
