"""Units: the messages of a history that must live or die together.

A tool call without its result, or a result without its call, is refused by every provider. So an assistant's message
and everything that answers it are one unit, wherever the answers stand. Where a provider reads neighbouring assistant
messages as one turn (Anthropic, Gemini) or ties reasoning to what follows it (Responses), such a run is one unit too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenward.engine.messages.view import Conversation, Format, Message

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
    def opens_with_assistant(self) -> bool:
        """Whether the provider sees it begin with an assistant's turn."""
        return self.members[0].role == "assistant"

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
    for message in conversation.messages:
        answers = [call for call in message.answers if call in owners and call not in message.calls]
        in_run = joins_runs and message.role == "assistant" and previous is not None and previous.role == "assistant"
        if answers:
            current = owners[answers[0]]
        elif not in_run:
            current = []
            groups.append(current)
        current.append(message)
        # A provider may use the same id again in a later turn: the latest call is the one that is answered.
        owners.update(dict.fromkeys(message.calls, current))
        previous = message
    return [Unit(tuple(group), _open_calls(group)) for group in groups]


def _open_calls(members: Sequence[Message]) -> bool:
    calls = {call for message in members for call in message.calls}
    return not calls <= {call for message in members for call in message.answers}
