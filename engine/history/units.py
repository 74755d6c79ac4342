"""Units: the messages of a history that must live or die together.

A tool call without its result, or a result without its call, is refused by every provider. So an assistant's message
and everything that answers it are one unit, wherever the answers stand. Where a provider reads neighbouring assistant
messages as one turn (Anthropic, Gemini) or ties reasoning to what follows it (Responses), such a run is one unit too.
So is all that a tool which runs at Anthropic calls before its result is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenward.engine.messages.view import Conversation, Format, Message
from tokenward.engine.steps import checkpoint

TURN_BASED: frozenset[Format] = frozenset(("anthropic", "gemini"))
"""Formats that want a user's turn first and before every assistant's turn."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Messages that only make sense together.

    Attributes:
        members: In the caller's order; not always neighbours in a Responses list.
        in_flight: Whether it makes a call that nothing in it answers.
    """

    members: tuple[Message, ...]
    in_flight: bool

    @property
    def first(self) -> int:
        """The index of the first member."""
        return self.members[0].index

    @property
    def last(self) -> int:
        """The index of the last member."""
        return self.members[-1].index

    @property
    def indices(self) -> tuple[int, ...]:
        """The indices of all members."""
        return tuple(message.index for message in self.members)

    @property
    def is_system(self) -> bool:
        """Whether it is a system message, which no strategy drops."""
        return self.members[0].role == "system"

    @property
    def opens_with_thinking(self) -> bool:
        """Whether its first message begins with a thinking block."""
        parts = self.members[0].parts
        return bool(parts) and parts[0].kind == "thinking"

    @property
    def opens_with_assistant(self) -> bool:
        """Whether the provider sees it begin with an assistant's turn."""
        return self.members[0].role == "assistant"

    def may_end(self, format: Format) -> bool:  # noqa: A002 - the tool's argument has this name
        """Whether it may be the last one: Anthropic goes on from an assistant's text, which must not end in a space."""
        last = self.members[-1]
        if format != "anthropic" or last.role != "assistant" or not last.parts or last.parts[-1].kind != "text":
            return True
        text = last.parts[-1].text
        return text == text.rstrip()

    @property
    def ends_with_assistant(self) -> bool:
        """Whether the provider sees it end with an assistant's turn; a tool's result is the user's side."""
        return self.members[-1].role == "assistant"


def find_units(conversation: Conversation) -> list[Unit]:
    """Split a history into its units, ordered by their first message. Every message is in exactly one."""
    joins_runs = conversation.format != "openai"
    groups: list[list[Message]] = []
    owners: dict[str, list[Message]] = {}
    previous: Message | None = None
    current: list[Message] = []
    running: set[str] = set()
    for message in conversation.messages:
        checkpoint()
        answers = [call for call in message.answers if call in owners and call not in message.calls]
        goes_on = previous is not None and (
            previous.role == "assistant" or (conversation.format == "anthropic" and previous.role == "tool" and running)
        )
        in_run = joins_runs and message.role == "assistant" and goes_on
        if answers:
            current = owners[answers[0]]
        elif not in_run:
            current = []
            groups.append(current)
        current.append(message)
        # A provider may use the same id again in a later turn: the latest call is the one that is answered.
        owners.update(dict.fromkeys(message.calls, current))
        if message.role == "user":
            running.clear()  # what is still open now was given up
        running.update(message.calls)
        running.difference_update(message.answers)
        previous = message
    return [Unit(tuple(group), _open_calls(group)) for group in groups]


def thinking_loop(turns: Sequence[Unit], format: Format) -> Sequence[Unit]:  # noqa: A002
    """The open loop of tool calls at the end of an Anthropic history, if it began with thinking; else nothing.

    To Anthropic all of such a loop is one assistant's turn. One with thinking must begin with it, and a user's text
    within it would end it.

    Args:
        turns: The units without system messages.
        format: The history's format.
    """
    if format != "anthropic" or not turns or (turns[-1].ends_with_assistant and not turns[-1].in_flight):
        return ()
    start = len(turns)
    while start and turns[start - 1].opens_with_assistant:
        start -= 1
    loop = turns[start:]
    return loop if loop and loop[0].opens_with_thinking else ()


def _open_calls(members: Sequence[Message]) -> bool:
    calls = {call for message in members for call in message.calls}
    return not calls <= {call for message in members for call in message.answers}
