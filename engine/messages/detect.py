"""Which provider's format a message list is written in.

Every feature of a list narrows down the formats in which it can stand. What is left after all of them is what the list
can be:

- one format: that one;
- several (``{"role": "user", "content": "text"}`` is valid in three): the reader takes the format of the model's
  provider if it is among them, else the first, and says so;
- none, because two features contradict each other (``tool_calls`` beside a ``tool_use`` block): `AmbiguousFormat`.

Some features only hint at a format, because lists of other formats have them too where several providers are reached
through one API. They decide between what the others leave, and contradict nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from tokenward.engine.errors import AmbiguousFormat
from tokenward.engine.messages import openai_responses
from tokenward.engine.messages.view import Format
from tokenward.engine.steps import checkpoint
from tokenward.engine.types import JsonObject, JsonValue

FORMATS: Final[tuple[Format, ...]] = ("openai", "openai_responses", "anthropic", "gemini")
_Formats: TypeAlias = frozenset[Format]

_ALL: Final[_Formats] = frozenset(FORMATS)
_CHAT: Final[_Formats] = frozenset(("openai",))
_RESPONSES: Final[_Formats] = frozenset(("openai_responses",))
_ANTHROPIC: Final[_Formats] = frozenset(("anthropic",))
_GEMINI: Final[_Formats] = frozenset(("gemini",))
_OPENAI: Final[_Formats] = _CHAT | _RESPONSES

_ROLES: Final[dict[str, _Formats]] = {
    "system": _OPENAI,
    "developer": _OPENAI,
    "user": _ALL,
    "assistant": _OPENAI | _ANTHROPIC,
    "tool": _CHAT | _GEMINI,
    "function": _CHAT | _GEMINI,
    "model": _GEMINI,
}
_CHAT_KEYS: Final = ("tool_calls", "function_call", "tool_call_id", "refusal", "audio")
_PARTS: Final[dict[str, _Formats]] = {
    **dict.fromkeys((*openai_responses.TEXT_PARTS, *openai_responses.MEDIA_PARTS), _RESPONSES),
    "text": _OPENAI | _ANTHROPIC,
    "refusal": _OPENAI,
    "input_audio": _OPENAI,
    "image_url": _CHAT,
    "file": _CHAT,
    "image": _ANTHROPIC,
    "document": _ANTHROPIC,
    "search_result": _ANTHROPIC,
    "tool_use": _ANTHROPIC,
    "server_tool_use": _ANTHROPIC,
    "mcp_tool_use": _ANTHROPIC,
    "thinking": _ANTHROPIC,
    "redacted_thinking": _ANTHROPIC,
}
_HINTING_PARTS: Final[dict[str, _Formats]] = {"text": _CHAT | _ANTHROPIC}
_HINTS: Final[dict[str, Format]] = {
    "anthropic": "anthropic",
    "google": "gemini",
    **dict.fromkeys(("openai", "mistral", "deepseek", "xai", "qwen", "meta"), "openai"),
}


def provider_format(provider: str | None) -> Format | None:
    """The format that a provider's own API takes: a hint for lists that several formats allow.

    Mistral, DeepSeek, xAI, Qwen and those who serve Llama take OpenAI's chat completions.
    """
    return _HINTS.get(provider or "")


def possible_formats(messages: Sequence[JsonObject], system: JsonValue = None) -> tuple[Format, ...]:
    """The formats that a list can be in, in the order of ``FORMATS``; there is at least one.

    Args:
        messages: The caller's objects.
        system: The request's top-level system text; its shape is evidence too.

    Raises:
        AmbiguousFormat: Two features of the list belong to different formats.
    """
    possible = _ALL
    for index, feature in _features(messages, system):
        if not possible & feature:
            raise AmbiguousFormat(_named(possible), _named(feature), index)
        possible &= feature
    for hint in _hints(messages):
        possible = possible & hint or possible
    return tuple(_named(possible))


def _named(formats: _Formats) -> list[Format]:
    return [name for name in FORMATS if name in formats]


def _features(messages: Sequence[JsonObject], system: JsonValue) -> Iterator[tuple[int | None, _Formats]]:
    """What narrows the format down, with the message it is found in; the system text comes last, as a request's own."""
    for index, message in enumerate(messages):
        checkpoint()
        for feature in _message_features(message):
            yield index, feature
    if isinstance(system, list):
        yield None, _ANTHROPIC
    elif isinstance(system, dict):
        yield None, _GEMINI


def _message_features(message: JsonObject) -> Iterator[_Formats]:
    role = message.get("role")
    kind = message.get("type")
    is_item = not isinstance(role, str) and (isinstance(kind, str) or openai_responses.is_reference(message))
    if "parts" in message:
        yield _GEMINI
    if isinstance(role, str):
        yield _ROLES.get(role, _ALL)
    elif is_item:
        yield _RESPONSES
    if kind == "message":  # a whole Anthropic answer, put back into the list, has this too
        yield _RESPONSES | _ANTHROPIC
    if any(message.get(key) is not None for key in _CHAT_KEYS):
        yield _CHAT
    # OpenAI's library writes an item's fields out that are null; a message without content is a chat's.
    if "content" in message and not (is_item and message["content"] is None):
        yield _OPENAI | _ANTHROPIC
        yield from _content_features(message["content"])


def _content_features(content: JsonValue) -> Iterator[_Formats]:
    if content is None:
        yield _CHAT
    elif isinstance(content, list):
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str):
                yield _ANTHROPIC if kind.endswith("tool_result") else _PARTS.get(kind, _ALL)


def _hints(messages: Sequence[JsonObject]) -> Iterator[_Formats]:
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            kind = part.get("type")
            yield _HINTING_PARTS.get(kind, _ALL) if isinstance(kind, str) else _ALL
            # Gateways to several providers take Anthropic's cache marks in OpenAI's messages.
            if "cache_control" in part:
                yield _ANTHROPIC
