"""Counting a whole request: its messages, its tools, its images and what the provider adds to them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from tokenward.engine.counting.amounts import Share, breakdown_of, sum_amounts
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.estimated_chat import EstimatedShares
from tokenward.engine.counting.openai_chat import OpenAIShares
from tokenward.engine.counting.remembered import request_key
from tokenward.engine.counting.results import MessageCount, MessageCountRow
from tokenward.engine.counting.tool_definitions import read_tools
from tokenward.engine.errors import InvalidMessages
from tokenward.engine.messages import provider_format, read_messages
from tokenward.engine.messages.view import Format, Message, Part
from tokenward.engine.types import JsonObject, JsonValue


class RequestCounter:
    """Counts the messages of one request one by one, so that any subset of them is counted by adding up.

    For every subset of the messages, in their order::

        count_messages(subset) == counter.fixed(subset) + sum(counter.message(m) for m in subset)

    ``message`` depends on nothing but the message (and on ``context``), so each needs to be counted once. ``fixed``
    takes what the request itself adds: the start of the reply, tool definitions, outside system text. Of the messages
    it looks only at the first system message, because beside tool definitions OpenAI takes four tokens less and adds a
    line break to it; so it is cheap and only changes when that message goes. A tool's result takes its call's name
    from ``context``: a subset that keeps calls and results together is counted the same on its own.

    Args:
        counter: Counts text.
        model: The model's name.
        conversation_format: The format the messages were read from.
        tools: Tool definitions in any provider's spelling.
        tool_choice: The request's ``tool_choice``.
        system: The request's system text from outside the messages, as read.
        context: All the messages of the conversation.

    Raises:
        InvalidInput: The model's name or a tool definition cannot be read.
    """

    def __init__(
        self,
        counter: TokenCounter,
        model: str,
        conversation_format: Format = "openai",
        *,
        tools: Sequence[JsonObject] | None = None,
        tool_choice: JsonValue = None,
        system: Sequence[Part] = (),
        context: Sequence[Message] = (),
    ) -> None:
        self._text = counter.text_counter(model)
        definitions = read_tools(tools)
        published = self._text.info.provider == "openai"
        self._shares: OpenAIShares | EstimatedShares = (
            OpenAIShares(
                self._text,
                conversation_format,
                tools=definitions,
                tool_choice=tool_choice,
                system=system,
                context=context,
            )
            if published
            else EstimatedShares(self._text, definitions, tool_choice, system)
        )
        self._model = model
        self._format: Format = conversation_format

    def fixed(self, messages: Sequence[Message]) -> int:
        """What the request itself takes when it has these messages."""
        return self._shares.fixed(messages).total.tokens

    def message(self, message: Message) -> int:
        """One message's own tokens."""
        return self._shares.message(message).total.tokens

    def count(self, messages: Sequence[Message]) -> MessageCount:
        """The whole count of a request with these messages."""
        rows = [self._shares.message(message) for message in messages]
        shares = [self._shares.fixed(messages), *rows]
        totals = [share.total for share in shares]
        total = sum_amounts(totals)
        exact = total.lower == total.upper and self._text.exact
        info = self._text.info
        return MessageCount(
            tokens=total.tokens,
            lower=max(total.lower, 0),
            upper=total.upper,
            exact=exact,
            method=self._text.method,
            model=self._model,
            encoding=info.encoding,
            format=self._format,
            breakdown=breakdown_of(shares),
            messages=tuple(
                MessageCountRow(message.index, message.raw_role, own.tokens)
                for message, own in zip(messages, totals[1:], strict=True)
            ),
            warnings=_distinct((*info.warnings, *_warnings(shares))),
        )


def count_messages(
    messages: Sequence[JsonObject],
    model: str,
    *,
    counter: TokenCounter,
    tools: Sequence[JsonObject] | None = None,
    tool_choice: JsonValue = None,
    system: JsonValue = None,
    format: Format | Literal["auto"] = "auto",  # noqa: A002 - the tool's argument has this name
) -> MessageCount:
    """Count a request's input tokens.

    Args:
        messages: The provider's messages, items or contents.
        model: The model that would read them.
        counter: Counts text.
        tools: Tool definitions in any provider's spelling; OpenAI's legacy functions stand in it without a wrapper.
        tool_choice: The request's ``tool_choice`` (or legacy ``function_call``).
        system: The request's system text, where the format keeps it outside the messages.
        format: The messages' format, or ``auto``.

    Raises:
        InvalidMessages: There is no message, or one is malformed.
        AmbiguousFormat: The messages mix two formats.
        InvalidInput: Another argument cannot be read.
    """
    if not messages:
        raise InvalidMessages("give at least one message.")
    text = counter.text_counter(model)
    while True:
        made_by = (text.method, text.exact, text.info.encoding)
        key = request_key(text, format, messages, tools or (), tool_choice, system)
        known = counter.requests.get(key)
        if known is not None:
            return known
        found = _counted(
            messages, model, counter=counter, tools=tools, tool_choice=tool_choice, system=system, format_=format
        )
        # A tokenizer can fail halfway, once and for good; then its successor counts all of the request.
        if made_by == (text.method, text.exact, text.info.encoding):
            counter.requests.put(key, found)
            return found


def _counted(
    messages: Sequence[JsonObject],
    model: str,
    *,
    counter: TokenCounter,
    tools: Sequence[JsonObject] | None,
    tool_choice: JsonValue,
    system: JsonValue,
    format_: Format | Literal["auto"],
) -> MessageCount:
    hint = provider_format(counter.text_counter(model).info.provider)
    conversation = read_messages(messages, format_, system, hint=hint)
    requests = RequestCounter(
        counter,
        model,
        conversation.format,
        tools=tools,
        tool_choice=tool_choice,
        system=conversation.system,
        context=conversation.messages,
    )
    counted = requests.count(conversation.messages)
    if not conversation.alternatives:
        return counted
    others = ", ".join(conversation.alternatives)
    open_ = f"the messages are read as {conversation.format}; they can also be {others}: give format to decide"
    return replace(counted, warnings=(*counted.warnings, open_))


def _warnings(shares: Iterable[Share]) -> Iterable[str]:
    return (warning for share in shares for warning in share.warnings)


def _distinct(warnings: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(warnings))
