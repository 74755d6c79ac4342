"""What each provider demands of a message list, from the providers' public documentation of their APIs.

Calls at the very end that are not answered yet (in flight) are allowed everywhere: their results are still to come.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Final, Literal

from tokenward.engine.errors import InvalidMessages
from tokenward.engine.history.units import Unit, find_units
from tokenward.engine.messages import read_messages
from tokenward.engine.messages.view import Conversation, Format, Message, Part
from tokenward.engine.steps import checkpoint
from tokenward.engine.types import JsonObject, JsonValue


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

    No list of parts or calls is empty, an assistant's message says or calls something, parallel calls differ in id.
    Source: OpenAI API reference, chat completions, ``messages``; guide on function calling; the API's own refusal
    "Duplicate value for 'tool_call_id'".
    """
    asked: frozenset[str] = frozenset()
    waiting: set[str] = set()
    asker = 0
    for message in conversation.messages:
        checkpoint()
        _check_chat_message(message)
        if message.role == "tool":
            _refuse_orphans(message, asked, "put it directly behind the assistant message that makes the call")
            if waiting.isdisjoint(message.answers):
                raise _answered_twice(message.index, "tool message")
            waiting.difference_update(message.answers)
            continue
        if waiting:
            raise _unanswered(asker, "add its tool message directly behind this one")
        asked = frozenset(message.calls)
        waiting = set(asked)
        asker = message.index


def _check_chat_message(message: Message) -> None:
    original = message.original
    for key in ("content", "tool_calls"):
        if original.get(key) == []:
            raise InvalidMessages(f"{key} must not be an empty list; leave it out or fill it.", message.index)
    if message.role == "assistant" and not message.parts:
        raise InvalidMessages("it has neither content nor tool_calls; give it one or remove it.", message.index)
    _refuse_same_ids(message.calls, message.index)


def _check_responses(conversation: Conversation) -> None:
    """Outputs answer an earlier call of the same ``call_id``; reasoning is followed by the item it led to.

    What the provider's own tools ask for (an approval, a search) may stay open.
    What an assistant said stands in ``output_text`` and ``refusal``, what it was told does not.
    Source: OpenAI API reference, responses, ``input``; guides on function calling and reasoning.
    """
    asked: set[str] = set()
    waiting: set[str] = set()
    is_open = False
    for message in conversation.messages:
        _check_content_types(message)
        _refuse_orphans(message, asked, "put it behind its call")
        calls = _owed(message)
        is_open = is_open or not waiting.isdisjoint(calls)
        asked.update(message.calls)
        waiting.update(calls)
        waiting.difference_update(message.answers)
    for message, following in zip(conversation.messages, (*conversation.messages[1:], None), strict=True):
        if message.raw_role == "reasoning" and not _is_assistant(following):
            raise InvalidMessages(
                "this reasoning is not followed by the item it led to; keep that item behind it or remove it.",
                message.index,
            )
    if is_open or waiting:
        _refuse_open_calls(find_units(conversation)[:-1])


def _refuse_open_calls(units: Sequence[Unit]) -> None:
    for unit in units:
        if unit.in_flight:
            answered = {call for member in unit.members for call in member.answers}
            for member in unit.members:
                if not answered.issuperset(_owed(member)):
                    raise _unanswered(member.index, "add its output behind it")


def _owed(message: Message) -> tuple[str, ...]:
    """The calls of an item that need an output: OpenAI documents none that is due to these two."""
    return () if message.raw_role in {"mcp_approval_request", "tool_search_call"} else message.calls


def _check_content_types(message: Message) -> None:
    """Whether the parts of a message of the Responses API are of the types that its role may have."""
    content = message.original.get("content")
    if message.raw_role not in _SPEAKERS or not isinstance(content, list):
        return
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and (kind in _SAID) != (message.role == "assistant"):
            advice = (
                "output_text or refusal" if message.role == "assistant" else "input_text, input_image or input_file"
            )
            raise InvalidMessages(f"a part of this role must be of the type {advice}.", message.index)


_SPEAKERS: Final = ("user", "assistant", "system", "developer")
_SAID: Final = ("output_text", "refusal")


def _check_anthropic(conversation: Conversation) -> None:
    """The user begins; the user's turn after tool use begins with a result for each call; nothing is empty.

    Neighbouring messages of one role are one turn. Ids of tool use are unique in the request. Of the tools that run at
    the provider (``server_tool_use``) only a result without its call is refused. Thinking carries its signature, is no
    turn's end, and comes before the tool use of the turn that is last.
    Source: Anthropic API documentation: messages; tool use, formatting of tool results; extended thinking, preserving
    thinking blocks; prefilling. The API's own refusals: "`tool_use` ids must be unique", "String should match pattern
    '^[a-zA-Z0-9_-]+$'", "must have a corresponding `server_tool_use` block before it", "text content blocks must be
    non-empty".
    """
    messages = conversation.messages
    if messages[0].raw_role != "user":
        raise InvalidMessages("the first message must be the user's; add one before it.", 0)
    for message in messages:
        _refuse_empty_content(message, is_final=message is messages[-1])
        _check_blocks(message)
    _check_ids(messages)
    asked: dict[str, int] = {}
    for role, members in groupby(messages, key=lambda message: message.raw_role):
        turn = tuple(members)
        if role == "user":
            _check_user_turn(turn, asked, is_final=turn[-1] is messages[-1])
            asked = {}
        else:
            calls = [(part.call_id, message.index) for message in turn for part in message.parts if _is_tool_use(part)]
            _check_end_of_turn(turn[-1], is_final=turn[-1] is messages[-1])
            asked = dict(calls)
    _check_thinking_first(next((one for one in reversed(messages) if one.raw_role == "assistant"), None))


def _check_blocks(message: Message) -> None:
    """Whether each block stands with the role that it belongs to, and thinking is whole."""
    strangers = ("tool_use", "thinking", "redacted_thinking") if message.raw_role == "user" else ("tool_result",)
    for part in message.parts:
        raw = part.raw if isinstance(part.raw, dict) else {}
        if raw.get("type") in strangers:
            raise InvalidMessages(f"a block of this type does not belong to the {message.raw_role}.", message.index)
        key = _SEALS.get(str(raw.get("type")))
        if key is not None and not (isinstance(raw.get(key), str) and raw.get(key)):
            raise InvalidMessages(f"a thinking block is without its {key}; give it back as it came.", message.index)
        nested = raw.get("content") if raw.get("type") == "tool_result" else None
        if isinstance(nested, list) and any(isinstance(one, dict) and one.get("text") == "" for one in nested):
            raise InvalidMessages("a tool_result holds an empty text block; leave the block out.", message.index)


def _check_ids(messages: Sequence[Message]) -> None:
    """Whether each tool use has an id of its own, and the provider's own results stand behind their calls."""
    made: set[str] = set()
    for message in messages:
        for part in message.parts:
            if _is_tool_use(part) and not _ID.fullmatch(part.call_id):
                raise InvalidMessages("the id of a tool_use may only have letters, digits, _ and -.", message.index)
            if _is_tool_use(part) and part.call_id in made:
                raise InvalidMessages("a tool_use has the id of another one; give each its own.", message.index)
            if part.kind == "tool_call":
                made.add(part.call_id)
            elif part.kind == "tool_result" and message.role == "assistant" and part.call_id not in made:
                raise _orphan(message.index, "put it behind its call")


_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")

_SEALS: Final = MappingProxyType({"thinking": "signature", "redacted_thinking": "data"})


def _check_end_of_turn(message: Message, *, is_final: bool) -> None:
    last = message.parts[-1] if message.parts else None
    if last is not None and last.kind == "thinking":
        raise InvalidMessages("thinking must not be the last block; keep what follows it.", message.index)
    if is_final and last is not None and last.kind == "text" and last.text != last.text.rstrip():
        raise InvalidMessages("the text that the answer is to go on from must not end in a space.", message.index)


def _check_thinking_first(last: Message | None) -> None:
    """In the last message with tool use, thinking comes first if there is any."""
    kinds = [] if last is None else [part.kind for part in last.parts if part.kind == "thinking" or _is_tool_use(part)]
    if last is not None and "thinking" in kinds and kinds[0] != "thinking":
        raise InvalidMessages("thinking must come before the tool_use that it led to.", last.index)


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
                raise _answered_twice(message.index, "tool_result")
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
    immediately after a user turn or after a function response turn", equal numbers of call and response parts,
    "required oneof field 'data' must have one initialized field" of a part).
    """
    messages = conversation.messages
    if messages[0].role == "assistant":
        raise InvalidMessages("the first content must be the user's; add one before it.", 0)
    for message in messages:
        if not message.parts:
            raise InvalidMessages("parts must not be empty; remove the content or give it a part.", message.index)
        if any(isinstance(part.raw, dict) and not any(map(_is_given, part.raw.values())) for part in message.parts):
            raise InvalidMessages("a part is empty; remove it or give it a text.", message.index)
    previous: Message | None = None
    for message in messages:
        if message.calls and message.role != "assistant":
            raise InvalidMessages("functionCall belongs to the role model.", message.index)
        if message.answers and message.role == "assistant":
            raise InvalidMessages("functionResponse belongs to the role user, function or tool.", message.index)
        asked = frozenset(previous.calls if previous else ())
        _refuse_orphans(message, asked, "put it into the content directly behind its functionCall")
        in_flight = message is messages[-1] and message.role == "tool"
        if len(message.answers) != len(asked) and not (in_flight and len(message.answers) < len(asked)):
            raise _unanswered(message.index - 1, "answer each of its functionCall parts in the next content")
        if message.calls and _is_assistant(previous):
            raise InvalidMessages(
                "a content with functionCall parts must follow the user's or a functionResponse; join it with the "
                "content before it.",
                message.index,
            )
        previous = message


def _is_given(value: JsonValue) -> bool:
    return value is not None


def _is_assistant(message: Message | None) -> bool:
    return message is not None and message.role == "assistant"


def _is_tool_use(part: Part) -> bool:
    return part.kind == "tool_call" and isinstance(part.raw, dict) and part.raw.get("type") == "tool_use"


def _refuse_same_ids(calls: Sequence[str], index: int) -> None:
    if len(set(calls)) < len(calls):
        raise InvalidMessages("two of its tool calls have the same id; give each its own.", index)


def _refuse_orphans(message: Message, asked: set[str] | frozenset[str], advice: str) -> None:
    if any(call not in asked for call in message.answers):
        raise _orphan(message.index, advice)


def _orphan(index: int, advice: str) -> InvalidMessages:
    return InvalidMessages(f"this tool result answers no call before it; {advice}, or remove it.", index)


def _answered_twice(index: int, answer: str) -> InvalidMessages:
    return InvalidMessages(f"a call is answered twice; keep one {answer} for each.", index)


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
