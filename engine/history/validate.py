"""What each provider demands of a message list, from the providers' public documentation of their APIs.

Calls at the very end that are not answered yet (in flight) are allowed everywhere: their results are still to come.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Final, Literal

from tokenward.engine.errors import InvalidMessages
from tokenward.engine.history.units import find_units
from tokenward.engine.messages import read_messages
from tokenward.engine.messages.view import Conversation, Format, Message, Part
from tokenward.engine.types import JsonObject


def validate_messages(
    messages: Sequence[JsonObject],
    format: Format | Literal["auto"] = "auto",  # noqa: A002 - the tool's argument has this name
) -> None:
    """Check a message list by its provider's documented rules.

    Args:
        messages: The provider's messages, items or contents.
        format: The list's format, or ``auto`` to find it.

    Raises:
        InvalidMessages: The provider would refuse the list; the error names the message and the way out.
        AmbiguousFormat: The list mixes two formats.
    """
    check_conversation(read_messages(messages, format))


def check_conversation(conversation: Conversation) -> None:
    """Check a history that was already read.

    Raises:
        InvalidMessages: The provider would refuse it.
    """
    if not conversation.messages:
        raise InvalidMessages("the list is empty; give at least one message.")
    _RULES[conversation.format](conversation)


def _check_openai(conversation: Conversation) -> None:
    """Tool messages stand directly behind the assistant message whose calls they answer, and answer all of them.

    Source: OpenAI API reference, chat completions, ``messages`` (tool messages).
    """
    asked: frozenset[str] = frozenset()
    waiting: set[str] = set()
    asker = 0
    for message in conversation.messages:
        if message.role == "tool":
            _refuse_orphans(message, asked, "put it directly behind the assistant message that makes the call")
            waiting.difference_update(message.answers)
            continue
        if waiting:
            raise _unanswered(asker, "add its tool message directly behind this one")
        asked = frozenset(message.calls)
        waiting = set(asked)
        asker = message.index


def _check_responses(conversation: Conversation) -> None:
    """Outputs answer an earlier call of the same ``call_id``; reasoning is followed by the item it led to.

    Source: OpenAI API reference, responses, ``input``; guides on function calling and reasoning.
    """
    asked: set[str] = set()
    for message in conversation.messages:
        _refuse_orphans(message, asked, "put it behind its call")
        asked.update(message.calls)
    for message, following in zip(conversation.messages, (*conversation.messages[1:], None), strict=True):
        if message.raw_role == "reasoning" and not _is_assistant(following):
            raise InvalidMessages(
                "this reasoning is not followed by the item it led to; keep that item behind it or remove it.",
                message.index,
            )
    for unit in find_units(conversation)[:-1]:
        if unit.in_flight:
            answered = {call for member in unit.members for call in member.answers}
            asker = next(member.index for member in unit.members if not answered.issuperset(member.calls))
            raise _unanswered(asker, "add its output behind it")


def _check_anthropic(conversation: Conversation) -> None:
    """The user begins; the user's turn after tool use begins with a result for each call; nothing is empty.

    Neighbouring messages of one role are one turn. Tools that run at the provider (``server_tool_use``) are its own
    affair. Source: Anthropic API documentation, messages; tool use, formatting of tool results.
    """
    messages = conversation.messages
    if messages[0].raw_role != "user":
        raise InvalidMessages("the first message must be the user's; add one before it.", 0)
    for message in messages:
        _refuse_empty_content(message, is_final=message is messages[-1])
    asked: dict[str, int] = {}
    for role, members in groupby(messages, key=lambda message: message.raw_role):
        turn = tuple(members)
        if role == "user":
            _check_user_turn(turn, asked, is_final=turn[-1] is messages[-1])
            asked = {}
        else:
            asked = {part.call_id: message.index for message in turn for part in message.parts if _is_tool_use(part)}


def _check_user_turn(turn: Sequence[Message], asked: Mapping[str, int], *, is_final: bool) -> None:
    waiting = dict(asked)
    only_results = True
    for message in turn:
        for part in message.parts:
            if part.kind != "tool_result":
                only_results = only_results and bool(part.call_id)
                continue
            if part.call_id not in asked:
                raise _orphan(message.index, "put it into the user message directly behind the tool_use")
            if part.call_id not in waiting:
                raise InvalidMessages(
                    "a call is answered twice; keep one tool_result for each tool_use.", message.index
                )
            if not only_results:
                raise InvalidMessages(
                    "tool_result blocks must come before all other content of the turn.", message.index
                )
            del waiting[part.call_id]
    if waiting and not (is_final and only_results):
        raise _unanswered(min(waiting.values()), "begin the next user message with its tool_result")


def _refuse_empty_content(message: Message, *, is_final: bool) -> None:
    if is_final and message.role == "assistant":
        return
    if not message.parts or any(part.kind == "text" and not part.text.strip() for part in message.parts):
        raise InvalidMessages("text must not be empty; remove the message or the empty text block.", message.index)


def _check_gemini(conversation: Conversation) -> None:
    """The user begins; a turn with calls follows the user's side; the next turn answers all of its calls.

    Source: Gemini API documentation, function calling, and the API's own refusals ("function call turn comes
    immediately after a user turn or after a function response turn", equal numbers of call and response parts).
    """
    messages = conversation.messages
    if messages[0].role == "assistant":
        raise InvalidMessages("the first content must be the user's; add one before it.", 0)
    for message in messages:
        if not message.parts:
            raise InvalidMessages("parts must not be empty; remove the content or give it a part.", message.index)
    previous: Message | None = None
    for message in messages:
        asked = previous.calls if previous else ()
        _refuse_orphans(message, asked, "put it into the content directly behind its functionCall")
        in_flight = message is messages[-1] and message.role == "tool"
        if previous and len(message.answers) != len(asked) and not (in_flight and len(message.answers) < len(asked)):
            raise _unanswered(previous.index, "answer each of its functionCall parts in the next content")
        if message.calls and _is_assistant(previous):
            raise InvalidMessages(
                "a content with functionCall parts must follow the user's or a functionResponse; join it with the "
                "content before it.",
                message.index,
            )
        previous = message


def _is_assistant(message: Message | None) -> bool:
    return message is not None and message.role == "assistant"


def _is_tool_use(part: Part) -> bool:
    return part.kind == "tool_call" and isinstance(part.raw, dict) and part.raw.get("type") == "tool_use"


def _refuse_orphans(message: Message, asked: Sequence[str] | set[str] | frozenset[str], advice: str) -> None:
    if any(call not in asked for call in message.answers):
        raise _orphan(message.index, advice)


def _orphan(index: int, advice: str) -> InvalidMessages:
    return InvalidMessages(f"this tool result answers no call before it; {advice}, or remove it.", index)


def _unanswered(index: int, advice: str) -> InvalidMessages:
    return InvalidMessages(f"a tool call of this message has no result; {advice}, or remove the call.", index)


_RULES: Final[Mapping[Format, Callable[[Conversation], None]]] = MappingProxyType(
    {
        "openai": _check_openai,
        "openai_responses": _check_responses,
        "anthropic": _check_anthropic,
        "gemini": _check_gemini,
    }
)
