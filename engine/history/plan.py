"""From a strategy's steps to a history of the right size, on counts that were made once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Final

from tokenward.engine.counting.counter import TextCounter
from tokenward.engine.counting.messages import RequestCounter
from tokenward.engine.counting.results import MessageCount
from tokenward.engine.history.rewrite import Omission, clear_results, cleared_text
from tokenward.engine.history.strategies import Clear, Policy, Step, allowed_steps, free_units
from tokenward.engine.history.strategy_plugins import order_of
from tokenward.engine.history.units import Unit, find_units, thinking_loop
from tokenward.engine.messages import read_messages
from tokenward.engine.messages.view import Conversation, Message
from tokenward.engine.steps import checkpoint
from tokenward.engine.types import JsonObject

CHUNKS_OF_A_BUDGET: Final = 4
"""With a stable prefix, tokens are given up in whole chunks, each of this part of ``max_tokens``."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a truncation gives back.

    Attributes:
        messages: The history that is left.
        tokens: What it counts, if no count depends on what was dropped.
        dropped: Indices of the messages that are not in it.
        cleared: Indices of the messages whose tool results were replaced.
        placeholder: The index in ``messages`` of the added notice, or ``None``.
    """

    messages: list[JsonObject]
    tokens: int
    dropped: tuple[int, ...]
    cleared: tuple[int, ...]
    placeholder: int | None


@dataclass(slots=True)
class _Draft:
    """A plan in the making: the tokens it comes to, and what was done for it."""

    tokens: int
    dropped: set[int] = field(default_factory=set[int])
    cleared: set[int] = field(default_factory=set[int])


class Planner:
    """Plans for one history; each message's tokens are counted only once.

    Args:
        conversation: The history, valid.
        policy: What to keep, and which strategy.
        count: The count of the whole history.
        requests: Counts single messages of it.
        texts: Counts texts by the same model.

    Attributes:
        units: What lives and dies together.
        sizes: The tokens of each message, by index.
        fixed: What the request itself takes.

    Raises:
        InvalidInput: The strategy is another package's, and broken.
    """

    def __init__(
        self,
        conversation: Conversation,
        policy: Policy,
        count: MessageCount,
        requests: RequestCounter,
        texts: TextCounter,
    ) -> None:
        self.sizes = [row.tokens for row in count.messages]
        self.fixed = count.tokens - sum(self.sizes)
        self._conversation = conversation
        self._total = count.tokens
        self._requests = requests
        self._texts = texts
        self.units = find_units(conversation)
        self._turns = [unit for unit in self.units if not unit.is_system]
        free = free_units(self._turns, conversation.format, policy)
        self._wanted = order_of(policy, self._turns, free, self.sizes)
        self._chunk = max(1, policy.max_tokens // CHUNKS_OF_A_BUDGET)
        self._frames: dict[tuple[str, str, str], int] = {}
        self._cleared_sizes: dict[tuple[str, str, str, int], int] = {}
        self._rewrites: dict[int, str] = {}
        self._wholes: dict[int, tuple[Message, int]] = {}
        self._tool_of = {
            part.call_id: part.name
            for message in conversation.messages
            for part in message.parts
            if part.kind == "tool_call"
        }

    def plan(self, budget: int, *, placeholder: bool, keep_prefix: bool = False) -> Plan | None:
        """The least that must go for the history to count at most ``budget``, or ``None`` when nothing will do.

        Args:
            budget: In tokens, for the whole request.
            placeholder: Whether to add a notice of what was left out, where there is room for it.
            keep_prefix: Whether to give up whole chunks, so that the next truncations change the same messages.
        """
        draft = _Draft(self._total)
        phase: type[Step] | None = None
        goal = budget
        for step in allowed_steps(self._turns, self._conversation.format, self._wanted()):
            if type(step) is not phase and draft.tokens > budget:
                phase = type(step)
                goal = self._chunked(draft.tokens, budget) if keep_prefix else budget
            elif type(step) is not phase or draft.tokens <= goal:
                break
            checkpoint()
            self._take(step, draft)
        if draft.tokens > budget:
            return None
        notice = self._notice(draft, budget) if placeholder and draft.dropped else None
        return self._finish(draft, notice)

    def _chunked(self, tokens: int, budget: int) -> int:
        """What is left of so many tokens when the excess over a budget is given up in whole chunks."""
        return tokens + (budget - tokens) // self._chunk * self._chunk

    def _take(self, step: Step, draft: _Draft) -> None:
        if isinstance(step, Clear):
            saved = self.sizes[step.message] - self._cleared_size(self._conversation.messages[step.message])
            if saved > 0:
                draft.cleared.add(step.message)
                draft.tokens -= saved
            return
        for message in self._turns[step.unit].members:
            draft.tokens -= self._cleared_size(message) if message.index in draft.cleared else self.sizes[message.index]
            draft.cleared.discard(message.index)
            draft.dropped.add(message.index)

    def _cleared_size(self, message: Message) -> int:
        """What a message counts with its results cleared. It is only made in the end, if it is still there then."""
        result, *others = message.parts
        if result.kind != "tool_result" or not all(part.call_id and part.kind != "tool_result" for part in others):
            return self._cleared_whole(message)[1]
        # What the result took is what the message is short of without it, so it need not be counted again.
        kind = message.raw_role, result.name, self._tool_of.get(result.call_id, "")
        if kind not in self._frames:
            self._frames[kind] = self._requests.message(replace(message, parts=(replace(result, text=""),)))
        taken = self.sizes[message.index] - self._frames[kind]
        self._rewrites[message.index] = text = cleared_text(taken)
        if (*kind, taken) not in self._cleared_sizes:
            cleared = clear_results(message, self._conversation.format, lambda _: text)
            self._cleared_sizes[*kind, taken] = self._requests.message(cleared)
        return self._cleared_sizes[*kind, taken]

    def _cleared_whole(self, message: Message) -> tuple[Message, int]:
        """A message with several results, or with more than results, cleared; and what it counts."""
        if message.index not in self._wholes:
            cleared = clear_results(
                message, self._conversation.format, lambda text: cleared_text(self._texts.count(text))
            )
            self._wholes[message.index] = cleared, self._requests.message(cleared)
        return self._wholes[message.index]

    def _cleared(self, message: Message) -> JsonObject:
        if message.index in self._wholes:
            return self._wholes[message.index][0].original
        text = self._rewrites[message.index]
        return clear_results(message, self._conversation.format, lambda _: text).original

    def _read(self, original: JsonObject) -> Message:
        (message,) = read_messages([original], self._conversation.format).messages
        return message

    def _notice(self, draft: _Draft, budget: int) -> tuple[Message, int] | None:
        """A notice of all that was left out, earlier truncations included; ``None`` when it does not fit."""
        omissions = (Omission.of(self._conversation.messages[index], self.sizes[index]) for index in draft.dropped)
        notice = self._read(reduce(add, omissions).notice(self._conversation.format))
        size = self._requests.message(notice)
        return (notice, size) if draft.tokens + size <= budget else None

    def _finish(self, draft: _Draft, notice: tuple[Message, int] | None) -> Plan:
        kept = [message for message in self._conversation.messages if message.index not in draft.dropped]
        messages = [self._cleared(one) if one.index in draft.cleared else one.original for one in kept]
        position = None
        if notice is not None:
            position = self._gap(kept, min(draft.dropped))
            draft.tokens += notice[1]
            messages.insert(position, notice[0].original)
            kept.insert(position, notice[0])
        tokens = draft.tokens + self._requests.fixed(kept) - self.fixed
        return Plan(messages, tokens, tuple(sorted(draft.dropped)), tuple(sorted(draft.cleared)), position)

    def _gap(self, kept: Sequence[Message], first_dropped: int) -> int:
        """Where in the kept messages something can be added: at the first gap, but not within a unit or a loop."""
        last_member = {unit.first: unit.last for unit in self.units}
        loop = thinking_loop(self._turns, self._conversation.format)
        start = min(first_dropped, loop[0].first - 1) if loop else first_dropped
        reach = -1
        for position, message in enumerate(kept):
            if message.index > start and message.index > reach:
                return position
            reach = max(reach, last_member.get(message.index, reach))
        return len(kept)


def repeats_call_ids(units: Sequence[Unit]) -> bool:
    """Whether two units make calls of the same id, so that what a result counts can depend on what was dropped."""
    made = [call for unit in units for call in {call for message in unit.members for call in message.calls}]
    return len(made) > len(set(made))
