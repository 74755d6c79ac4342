"""How the models of providers that publish no rule count a conversation: text by their counter, the rest estimated."""

from collections.abc import Sequence
from typing import Final

from tokenward.engine.counting.amounts import Share, ShareBuilder, about, within
from tokenward.engine.counting.content import TEXT_CATEGORIES, add_media, count_text
from tokenward.engine.counting.counter import TextCounter
from tokenward.engine.counting.message_rules import estimate_rule
from tokenward.engine.counting.tool_definitions import ToolDefinition, tool_json
from tokenward.engine.messages.view import Message, Part
from tokenward.engine.types import JsonObject, JsonValue

_MEDIA: Final = ("image", "document", "audio", "video")
_OWN_TOOLS: Final = "what a provider's own tools add is not published"
_OWN_TOOL_TOKENS: Final = 2_000
"""What a provider's own tool may add besides its entry in the request. Assumed."""


class EstimatedShares:
    """What each message and the request around them take, for one model without a published rule.

    Args:
        text: The model's text counter.
        tools: The tool definitions.
        tool_choice: The request's ``tool_choice``; only its presence matters to the bounds.
        system: System text from outside the messages.
    """

    def __init__(
        self, text: TextCounter, tools: Sequence[ToolDefinition], tool_choice: JsonValue, system: Sequence[Part]
    ) -> None:
        self._text = text
        self._rule = estimate_rule(text.info)
        self._fixed = self._count_fixed(tools, tool_choice, system)
        self._bare = not (tools or system)

    def fixed(self, messages: Sequence[Message]) -> Share:
        """The frame of the request, the system text outside the messages, and the tool definitions."""
        alone = self._rule.alone
        if alone is not None and self._bare and _is_lone_text(messages):
            return Share((("overhead", alone - self._rule.message),))
        return self._fixed

    def message(self, message: Message) -> Share:
        """One message's own tokens."""
        found = ShareBuilder()
        found.add("overhead", self._rule.message)
        found.add("overhead", count_text(self._text, message.name))
        for part in message.parts:
            self._add_part(found, message, part)
        return found.share()

    def _add_part(self, found: ShareBuilder, message: Message, part: Part) -> None:
        category = TEXT_CATEGORIES[message.role]
        if part.kind in _MEDIA:
            add_media(found, self._text, message.role, part)
            return
        amount = count_text(self._text, part.text)
        match part.kind:
            case "text":
                found.add(category, amount)
            case "tool_call":
                found.add("tool_calls", amount + count_text(self._text, part.name) + self._rule.tool_call)
            case "tool_result":
                found.add("tool_results", amount + self._rule.tool_result)
            case "thinking":
                # Earlier thinking is dropped by some models and kept by others; hidden thinking has no text at all.
                hidden = len(tool_json(part.raw)) // 2 if not part.text else 0
                kept = within(amount.tokens, 0, amount.upper + hidden)
                found.add("assistant", kept, "earlier thinking may not be counted, or be longer than its text")
            case "other":
                kept = within(amount.tokens, 0, amount.upper + amount.upper // 2)
                found.add(category, kept, "parts of an unknown type are counted as their JSON text")
            case _:
                pass

    def _count_fixed(self, tools: Sequence[ToolDefinition], tool_choice: JsonValue, system: Sequence[Part]) -> Share:
        found = ShareBuilder()
        found.add("overhead", self._rule.request)
        if system:
            found.add("overhead", self._rule.system)
        for part in system:
            if part.kind in _MEDIA:
                add_media(found, self._text, "system", part)
            else:
                found.add("system", count_text(self._text, part.text))
        if tools and tool_choice not in ("none", {"type": "none"}):
            found.add("tool_definitions", self._rule.tool_prompt)
        for tool in tools:
            shown: JsonObject = {"description": tool.description, "parameters": tool.parameters}
            text = tool_json(shown if tool.name else tool.raw)
            found.add("tool_definitions", count_text(self._text, tool.name) + count_text(self._text, text))
            found.add("tool_definitions", self._rule.tool)
            if tool.name:
                found.add("tool_definitions", about(0, 0, count_text(self._text, tool.unread).upper))
            else:
                found.add("tool_definitions", about(0, 0, _OWN_TOOL_TOKENS), _OWN_TOOLS)
        return found.share()


def _is_lone_text(messages: Sequence[Message]) -> bool:
    """Whether a request is one text of the user's: what providers' counts were recorded for."""
    if len(messages) != 1 or messages[0].raw_role != "user" or messages[0].name:
        return False
    return [part.kind for part in messages[0].parts] == ["text"]
