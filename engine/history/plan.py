"""From a strategy's steps to a history of the right size, on counts that were made once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add

from tokenward.engine.counting.counter import TextCounter
from tokenward.engine.counting.messages import RequestCounter
from tokenward.engine.counting.results import MessageCount
from tokenward.engine.history.rewrite import Omission, clear_results, cleared_text, read_notice
from tokenward.engine.history.strategies import Clear, Policy, Step, steps
from tokenward.engine.history.units import Unit, find_units
from tokenward.engine.messages import read_messages
from tokenward.engine.messages.view import Conversation, Message
from tokenward.engine.types import JsonObject


@dataclass(frozen=True, slots=True)
class Plan:
    """What a truncation gives back.

    Attributes:
        messages: The history that is left.
        dropped: Indices of the messages that are not in it.
        cleared: Indices of the messages whose tool results were replaced.
        placeholder: The index in ``messages`` of the added notice, or ``None``.
    """

    messages: list[JsonObject]
    dropped: tuple[int, ...]
    cleared: tuple[int, ...]
    placeholder: int | None


@dataclass(slots=True)
class _Draft:
    """A plan in the making: the tokens it comes to, and what was done for it."""

    tokens: int
    dropped: set[int] = field(default_factory=set[int])
    cleared: dict[int, JsonObject] = field(default_factory=dict[int, JsonObject])


class Planner:
    """Plans for one history; each message's tokens are counted only once.

    Args:
        conversation: The history, valid.
        policy: What to keep, and which strategy.
        count: The count of the whole history.
        requests: Counts single messages of it.
        texts: Counts texts by the same model.
    """

    def __init__(
        self,
        conversation: Conversation,
        policy: Policy,
        count: MessageCount,
        requests: RequestCounter,
        texts: TextCounter,
    ) -> None:
        self._conversation = conversation
        self._policy = policy
        self._total = count.tokens
        self._sizes = [row.tokens for row in count.messages]
        self._requests = requests
        self._texts = texts
        self._units = find_units(conversation)
        self._clearings: dict[int, tuple[JsonObject, int]] = {}

    def plan(self, budget: int, *, placeholder: bool) -> Plan | None:
        """The least that must go for the history to count at most ``budget``, or ``None`` when nothing will do.

        Args:
            budget: In tokens, for the whole request.
            placeholder: Whether to add a notice of what was left out, where there is room for it.
        """
        draft = _Draft(self._total)
        for step in steps(self._units, self._conversation.format, self._policy):
            if draft.tokens <= budget:
                break
            self._take(step, draft)
        if draft.tokens > budget:
            return None
        notice = self._notice(draft, budget) if placeholder and draft.dropped else None
        return self._finish(draft, notice)

    def _take(self, step: Step, draft: _Draft) -> None:
        if isinstance(step, Clear):
            index = step.message.index
            cleared, size = self._clearing(step.message)
            if size < self._sizes[index]:
                draft.cleared[index] = cleared
                draft.tokens -= self._sizes[index] - size
            return
        for index in step.unit.indices:
            cleared_now = draft.cleared.pop(index, None) is not None
            draft.tokens -= self._clearings[index][1] if cleared_now else self._sizes[index]
            draft.dropped.add(index)

    def _clearing(self, message: Message) -> tuple[JsonObject, int]:
        """The message with its results cleared, and its size."""
        if message.index not in self._clearings:
            cleared = clear_results(
                message, self._conversation.format, lambda text: cleared_text(self._texts.count(text))
            )
            self._clearings[message.index] = cleared, self._size(cleared)
        return self._clearings[message.index]

    def _size(self, original: JsonObject) -> int:
        (message,) = read_messages([original], self._conversation.format).messages
        return self._requests.message(message)

    def _notice(self, draft: _Draft, budget: int) -> JsonObject | None:
        """A notice of all that was left out, earlier truncations included; ``None`` when it does not fit."""
        omissions = (
            read_notice(message) or Omission(1, self._sizes[message.index])
            for message in self._conversation.messages
            if message.index in draft.dropped
        )
        notice = reduce(add, omissions).notice(self._conversation.format)
        return notice if draft.tokens + self._size(notice) <= budget else None

    def _finish(self, draft: _Draft, notice: JsonObject | None) -> Plan:
        kept = [message for message in self._conversation.messages if message.index not in draft.dropped]
        messages = [draft.cleared.get(message.index, message.original) for message in kept]
        position = None
        if notice is not None:
            position = _gap(kept, self._units, min(draft.dropped))
            messages.insert(position, notice)
        return Plan(messages, tuple(sorted(draft.dropped)), tuple(sorted(draft.cleared)), position)


def _gap(kept: Sequence[Message], units: Sequence[Unit], first_dropped: int) -> int:
    """Where in the kept messages something can be added: at the first gap, but not within a unit."""
    last_member = {unit.first: unit.last for unit in units}
    reach = -1
    for position, message in enumerate(kept):
        if message.index > first_dropped and message.index > reach:
            return position
        reach = max(reach, last_member.get(message.index, reach))
    return len(kept)
