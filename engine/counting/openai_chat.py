"""How OpenAI's models count a conversation: text and names by a published formula, tools by what the API reported.

Published or reported, and so exact: messages of text, names, legacy function calls, tool definitions, images. Not so,
and given with bounds: ``tool_calls`` and their results, several text parts in one message, the Responses API.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from tokenward.engine.counting.amounts import Amount, Category, Share, ShareBuilder, about, exactly, within
from tokenward.engine.counting.content import TEXT_CATEGORIES, add_media, count_text
from tokenward.engine.counting.counter import TextCounter
from tokenward.engine.counting.message_rules import openai_rule, openai_tool_rule
from tokenward.engine.counting.tool_definitions import ToolDefinition, render_tools, tool_json
from tokenward.engine.messages.view import Format, Message, Part
from tokenward.engine.types import JsonValue

_PARALLEL: Final = "parallel tool calls and their results are counted as the API has been seen to wrap them"
_FORMULA: Final = "the overhead of this model's messages is estimated by the formula of gpt-4"


@dataclass(frozen=True, slots=True)
class _Call:
    """What a tool's result needs to know of its call."""

    name: str
    parallel: bool


class OpenAIShares:
    """What each message and the request around them take, for one OpenAI model.

    Args:
        text: The model's text counter.
        conversation_format: The format the messages were read from.
        tools: The tool definitions.
        tool_choice: The request's ``tool_choice`` or ``function_call``.
        system: System text from outside the messages.
        context: All messages, from which a tool's result learns its call's name.
    """

    def __init__(
        self,
        text: TextCounter,
        conversation_format: Format,
        *,
        tools: Sequence[ToolDefinition],
        tool_choice: JsonValue,
        system: Sequence[Part],
        context: Sequence[Message],
    ) -> None:
        self._text = text
        self._tools = tools
        self._choice = tool_choice
        self._system = system
        self._rule = openai_rule(text.info.name)
        self._tool_rule = openai_tool_rule()
        self._calls = _calls_of(context)
        self._role = cache(text.count)
        unpublished = self._rule.slack or conversation_format != "openai"
        self._slack = max(self._rule.slack, 1) if unpublished else 0
        self._definitions = self._count_definitions()

    def fixed(self, messages: Sequence[Message]) -> Share:
        """The start of the reply, outside system text, the definitions, and what they do to a system message.

        Beside definitions, the first system message gets one more line break, and the request takes four tokens less.
        """
        found = ShareBuilder([], [_FORMULA] if self._rule.slack else [])
        found.add("overhead", exactly(self._rule.reply))
        if self._system:
            self._add_frame(found, "system", "")
            self._add_texts(found, "system", self._system)
        if self._tools:
            found.add("tool_definitions", self._definitions)
            first = next((message.parts for message in messages if message.role == "system"), None)
            parts = self._system or first
            if parts is not None:
                found.add("tool_definitions", exactly(self._tool_rule.beside_system))
                found.add("tool_definitions", exactly(self._line_break(parts)))
        found.add("overhead", self._count_choice())
        return found.share()

    def message(self, message: Message) -> Share:
        """One message's own tokens."""
        found = ShareBuilder()
        self._add_frame(found, "function" if message.raw_role == "function" else _counted_role(message), message.name)
        texts = [part for part in message.parts if part.kind == "text"]
        self._add_texts(found, TEXT_CATEGORIES[message.role], texts)
        calls = [part for part in message.parts if part.kind == "tool_call"]
        for call in calls:
            found.add("tool_calls", self._count_call(call, parallel=len(calls) > 1))
        if len(calls) > 1:
            slack = self._tool_rule.parallel_slack
            found.add("tool_calls", about(self._tool_rule.parallel_calls, slack, slack), _PARALLEL)
        for part in message.parts:
            self._add_other(found, message, part)
        return found.share()

    def _add_frame(self, found: ShareBuilder, role: str, name: str) -> None:
        tokens = self._rule.message + self._role(role)
        if role == "function":
            tokens += self._tool_rule.function_role
        if name and role != "tool":
            tokens += self._rule.name + self._text.count(name)
        found.add("overhead", about(tokens, self._slack, self._slack))

    def _add_texts(self, found: ShareBuilder, category: Category, parts: Sequence[Part]) -> None:
        for part in parts:
            if part.kind in ("image", "document", "audio", "video"):
                add_media(found, self._text, "system", part)
            else:
                found.add(category, count_text(self._text, part.text))
        # Whether the API joins several texts before it splits them into tokens is not known.
        if len(parts) > 1:
            found.add("overhead", Amount(0, 1 - len(parts), len(parts) - 1))

    def _count_call(self, call: Part, *, parallel: bool) -> Amount:
        amount = count_text(self._text, call.name) + count_text(self._text, call.text)
        amount += exactly(self._tool_rule.call + (self._tool_rule.parallel_call if parallel else 0))
        legacy = isinstance(call.raw, dict) and "arguments" in call.raw and "type" not in call.raw
        slack = self._slack if legacy else self._tool_rule.call_slack
        return within(amount.tokens, amount.lower - slack, amount.upper + slack)

    def _add_other(self, found: ShareBuilder, message: Message, part: Part) -> None:
        if part.kind == "tool_result":
            found.add("tool_results", self._count_result(part, legacy=message.raw_role == "function"))
        elif part.kind == "thinking":
            amount = count_text(self._text, part.text)
            encrypted = part.raw.get("encrypted_content") if isinstance(part.raw, dict) else None
            hidden = len(encrypted) // 2 if isinstance(encrypted, str) else 0
            kept = within(amount.tokens, 0, amount.upper + hidden)
            found.add("assistant", kept, "earlier reasoning may not be counted, or be longer than its text")
        elif part.kind == "other":
            amount = count_text(self._text, part.text)
            kept = within(amount.tokens, 0, amount.upper + amount.upper // 2)
            found.add(TEXT_CATEGORIES[message.role], kept, "parts of an unknown type are counted as their JSON text")
        elif part.kind in {"image", "document", "audio", "video"}:
            add_media(found, self._text, message.role, part)

    def _count_result(self, part: Part, *, legacy: bool) -> Amount:
        amount = count_text(self._text, part.text)
        if legacy:
            return amount
        call = self._calls.get(part.call_id, _Call("", parallel=False))
        named = self._text.count(part.name or call.name)
        slack = self._tool_rule.result_slack + named
        tokens, upper = amount.tokens + named, amount.upper + slack
        if call.parallel:
            # Results of parallel calls were seen to be counted as ASCII JSON text.
            escaped = count_text(self._text, json.dumps(part.text)[1:-1])
            tokens, upper = max(tokens, escaped.tokens + named), max(upper, escaped.upper + slack)
        return within(tokens, amount.lower, upper)

    def _line_break(self, parts: Sequence[Part]) -> int:
        text = next((part.text for part in reversed(parts) if part.kind == "text"), "")
        return self._text.count(f"{text}\n") - self._text.count(text)

    def _count_definitions(self) -> Amount:
        if not self._tools:
            return exactly(0)
        rendering = render_tools(self._tools)
        amount = count_text(self._text, rendering.text) + exactly(self._tool_rule.definitions)
        doubtful = sum(self._text.count(doubt) + 4 for doubt in rendering.doubts)
        slack = self._rule.tools_slack * len(self._tools) if self._rule.tools_slack else 0
        slack += 2 if self._slack else 0
        below = min(4 * len(rendering.doubts) + slack, amount.tokens // 2)
        # A reading that keeps the whole schema costs at most what the JSON text does.
        whole = sum(self._text.count(tool_json(tool.raw)) for tool in self._tools) if rendering.doubts else 0
        return within(amount.tokens, amount.lower - below, max(amount.upper + doubtful + slack, whole))

    def _count_choice(self) -> Amount:
        choice = self._choice
        if choice == "none" and self._tools:
            return exactly(self._tool_rule.choice_none)
        if isinstance(choice, dict):
            function = choice.get("function")
            name = function.get("name") if isinstance(function, dict) else choice.get("name")
            if isinstance(name, str):
                rule = self._tool_rule
                added = rule.choice_tool if "type" in choice else rule.choice_function
                return count_text(self._text, name) + exactly(added)
        if choice is None or choice in ("auto", "none"):
            return exactly(0)
        return about(0, 0, 12)


def _counted_role(message: Message) -> str:
    """The role that the model sees; items of the Responses API without a role are the assistant's or a tool's."""
    roles = {"system", "developer", "user", "assistant", "tool"}
    return message.raw_role if message.raw_role in roles else message.role


def _calls_of(messages: Sequence[Message]) -> Mapping[str, _Call]:
    found: dict[str, _Call] = {}
    for message in messages:
        calls = [part for part in message.parts if part.kind == "tool_call"]
        for part in calls:
            found[part.call_id] = _Call(part.name, parallel=len(calls) > 1)
    return found
