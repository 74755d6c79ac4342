"""A request put together from system text, tools, files and a history, and what each part of it counts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, NamedTuple

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import RequestCounter
from tokenward.engine.history.rewrite import user_message
from tokenward.engine.messages import read_messages
from tokenward.engine.messages.view import Conversation, Format
from tokenward.engine.types import JsonObject, JsonValue

_CLOSING_TAG: Final = re.compile(r"<(\s*+)/(?=\s*+file)", re.IGNORECASE)


class ContextFile(NamedTuple):
    """A file that may go into the context.

    Attributes:
        name: What the model is told it is called.
        text: What stands in it.
        priority: The lowest goes first.
    """

    name: str
    text: str
    priority: int = 0

    def message(self, format: Format) -> JsonObject:  # noqa: A002 - the contract's name
        """A user's message with the file in it. The text cannot close its tag: a backslash goes before its slash."""
        text = _CLOSING_TAG.sub(r"<\1\\/", self.text)
        return user_message(f'<file name="{escape(self.name)}">\n{text}\n</file>', format)


@dataclass(frozen=True, slots=True)
class Size:
    """Tokens, the most that they can truly be, and whether that is known exactly."""

    tokens: int
    upper: int
    exact: bool

    def without(self, other: "Size") -> "Size":
        """What this is more than the other."""
        return Size(self.tokens - other.tokens, self.upper - other.upper, self.exact and other.exact)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: messages, and what stands beside them."""

    format: Format
    messages: list[JsonObject]
    system: JsonValue
    tools: Sequence[JsonObject] | None


class Assembly:
    """The parts of a request, counted.

    Args:
        counter: Counts them.
        model: By this model.
        system: The system text. OpenAI's chat format has it as a message, the others beside the messages.
        tools: The tool definitions.
        history: As read from the caller's list.

    Attributes:
        system: What the system text counts.
        tools: What the definitions count.
        reply: What the start of the reply counts.
    """

    def __init__(
        self,
        counter: TokenCounter,
        model: str,
        system: JsonValue,
        tools: Sequence[JsonObject] | None,
        history: Conversation,
    ) -> None:
        self.format: Format = history.format
        self._tools = tools
        inside = self.format == "openai" and bool(system)
        self._first: list[JsonObject] = [{"role": "system", "content": system}] if inside else []
        self._outside = None if inside else system
        self._counter = counter
        self._model = model
        # Beside tool definitions a system message counts otherwise: that is part of what the tools take.
        systems = [message.original for message in history.messages if message.role == "system"]
        head = self._read([*self._first, *systems])
        bare = self._count(head)
        parts = read_messages((), self.format, self._outside).system
        spoken = self._count(Conversation(self.format, head.messages, parts))
        whole = self._count(Conversation(self.format, head.messages, parts), tools)
        self.reply = self._count(Conversation(self.format, ()))
        own = self.size(self._first)
        outside = spoken.without(bare)
        self.system = Size(own.tokens + outside.tokens, own.upper + outside.upper, own.exact and outside.exact)
        self.tools = whole.without(spoken)

    def size(self, messages: Sequence[JsonObject]) -> Size:
        """What messages add to any request."""
        # A request of one text alone has narrower bounds than a part has, so one message is counted twice.
        times = 2 if len(messages) == 1 else 1
        added = self._count(self._read([*messages] * times)).without(self.reply)
        return Size(added.tokens // times, added.upper // times, added.exact)

    def request(self, files: Sequence[ContextFile], history: Sequence[JsonObject]) -> Request:
        """The request with these files, which stand behind the system messages that a history begins with."""
        systems = 0
        for message in self._read(history).messages:
            if message.role != "system":
                break
            systems += 1
        added = [file.message(self.format) for file in files]
        messages = [*self._first, *history[:systems], *added, *history[systems:]]
        return Request(self.format, messages, self._outside, self._tools)

    def whole(self, files: Sequence[ContextFile], history: Sequence[JsonObject]) -> Size:
        """What the request with these files counts, all of it."""
        request = self.request(files, history)
        return self._count(read_messages(request.messages, self.format, request.system), self._tools)

    def speaks(self, history: Sequence[JsonObject]) -> bool:
        """Whether there is a message besides the system's."""
        return any(message.role != "system" for message in self._read(history).messages)

    def _read(self, messages: Sequence[JsonObject]) -> Conversation:
        return read_messages(messages, self.format)

    def _count(self, conversation: Conversation, tools: Sequence[JsonObject] | None = None) -> Size:
        counted = RequestCounter(
            self._counter,
            self._model,
            self.format,
            tools=tools,
            system=conversation.system,
            context=conversation.messages,
        ).count(conversation.messages)
        return Size(counted.tokens, counted.upper, counted.exact)
