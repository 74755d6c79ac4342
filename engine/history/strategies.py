"""What a strategy gives up, and in which order.

A strategy only says what it would give up first. Which of its steps may be taken, and when, is decided here, the same
way for the built-in strategies and for those of other packages.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from tokenward.engine.history.rewrite import is_clearable, read_notice
from tokenward.engine.history.units import TURN_BASED, Unit, thinking_loop
from tokenward.engine.messages.view import Format

Strategy: TypeAlias = Literal["smart", "fifo", "lifo", "middle", "tool_results"]
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)
"""The built-in ones."""


@dataclass(frozen=True, slots=True)
class Clear:
    """Replace the tool results of one message.

    Attributes:
        message: Its index in the caller's list.
    """

    message: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Leave out one unit.

    Attributes:
        unit: Its position among the units that a strategy is shown.
    """

    unit: int


Step: TypeAlias = Clear | Drop


@dataclass(frozen=True, slots=True)
class Policy:
    """What a truncation must keep, beside system messages and calls in flight.

    Attributes:
        strategy: The strategy's name.
        keep_last: How many units to keep at the strategy's end of the history (see `free_units`).
        pinned: Indices of messages that are kept as they are, with their units.
        max_tokens: What the whole request may count.
    """

    strategy: str
    keep_last: int
    pinned: frozenset[int]
    max_tokens: int


Order: TypeAlias = Callable[[Sequence[Unit], Sequence[int]], Iterable[Step]]
"""From the units without system messages, and the positions of the free ones, to steps, cheapest loss first."""


def free_units(turns: Sequence[Unit], format: Format, policy: Policy) -> list[int]:  # noqa: A002
    """The positions of the units that may be cleared or dropped.

    Calls in flight, pinned messages and ``keep_last`` units at the end stay: for ``lifo`` at the beginning, for
    ``middle`` at both. ``smart`` keeps the first user message. Where an open loop of tool calls began with thinking,
    that beginning and what it answers stay: Anthropic wants an assistant's turn with thinking to begin with it.

    Args:
        turns: The units without system messages.
        format: The history's format.
        policy: What to keep.
    """
    count = len(turns)
    first, last = {"lifo": (policy.keep_last, 0), "middle": (policy.keep_last, policy.keep_last)}.get(
        policy.strategy, (0, policy.keep_last)
    )
    loop = thinking_loop(turns, format)
    kept = {position for position in range(count) if position < first or position >= count - last}
    kept.update(position for position, unit in enumerate(turns) if unit.in_flight or _is_pinned(unit, policy))
    start = count - len(loop)
    kept.update((start - 1, start) if loop else ())
    if policy.strategy == "smart":
        kept.update([position for position, unit in enumerate(turns) if _is_task(unit)][:1])
    return [position for position in range(count) if position not in kept]


def _is_pinned(unit: Unit, policy: Policy) -> bool:
    return not policy.pinned.isdisjoint(unit.indices)


def _is_task(unit: Unit) -> bool:
    """Whether it is a user's message, the notice of an earlier truncation aside."""
    return unit.members[0].role == "user" and read_notice(unit.members[0]) is None


def _clears(turns: Sequence[Unit], free: Sequence[int]) -> Iterator[Step]:
    return (Clear(one.index) for position in free for one in turns[position].members if is_clearable(one))


def _smart(turns: Sequence[Unit], free: Sequence[int]) -> Iterator[Step]:
    yield from _clears(turns, free)
    yield from _fifo(turns, free)


def _fifo(_turns: Sequence[Unit], free: Sequence[int]) -> Iterator[Step]:
    return (Drop(position) for position in free)


def _lifo(_turns: Sequence[Unit], free: Sequence[int]) -> Iterator[Step]:
    return (Drop(position) for position in reversed(free))


def _middle(turns: Sequence[Unit], free: Sequence[int]) -> Iterator[Step]:
    center = (len(turns) - 1) / 2
    return (Drop(position) for position in sorted(free, key=lambda position: abs(position - center)))


BUILT_IN: Final[Mapping[str, Order]] = MappingProxyType(
    {"smart": _smart, "fifo": _fifo, "lifo": _lifo, "middle": _middle, "tool_results": _clears}
)
"""The orders of the built-in strategies.

- ``smart``: clear tool results, oldest first; then drop units, oldest first.
- ``fifo``: drop units, oldest first.
- ``lifo``: drop units, newest first.
- ``middle``: drop units from the middle outwards.
- ``tool_results``: clear tool results, oldest first; drop nothing.
"""


def allowed_steps(turns: Sequence[Unit], format: Format, wanted: Iterable[Step]) -> Iterator[Step]:  # noqa: A002
    """The steps of a strategy in an order in which the history is valid after any number of them.

    A unit that the provider's rules hold back waits until a neighbour of it has gone: where the user must be first, the
    opening message goes when what answers it has gone. Clearing is always allowed.

    Args:
        turns: The units without system messages.
        format: The history's format.
        wanted: The strategy's steps, each unit at most once.
    """
    chain = _Chain(turns, format)
    waiting: dict[int, int] = {}
    ready: list[tuple[int, int]] = []
    for rank, step in enumerate(wanted):
        if isinstance(step, Clear):
            yield step
            continue
        heappush(ready, (rank, step.unit))
        while ready:
            own_rank, position = heappop(ready)
            if not chain.can_drop(position):
                waiting[position] = own_rank
                continue
            for neighbour in chain.drop(position):
                if neighbour in waiting:
                    heappush(ready, (waiting.pop(neighbour), neighbour))
            yield Drop(position)


class _Chain:
    """The units still there, as a doubly linked list with a fence at both ends."""

    def __init__(self, turns: Sequence[Unit], format: Format) -> None:  # noqa: A002
        self._turns = turns
        self._turn_based = format in TURN_BASED
        self._format: Format = format
        count = len(turns)
        self._left = count
        self._before = [count, *range(count)]
        self._after = [*range(1, count + 1), 0]

    def can_drop(self, position: int) -> bool:
        """Whether the rest is still valid: not empty, each assistant's turn behind the user's side, a proper end."""
        if self._left == 1:
            return False
        if not self._turn_based:
            return True
        before, after = self._before[position], self._after[position]
        if self._is_fence(after) and not self._turns[before].may_end(self._format):
            return False
        if self._turns[position].opens_with_assistant:
            return True
        return self._user_before(before) or self._user_after(after)

    def drop(self, position: int) -> tuple[int, int]:
        """Take a unit out; its former neighbours."""
        before, after = self._before[position], self._after[position]
        self._after[before], self._before[after] = after, before
        self._left -= 1
        return before, after

    def _is_fence(self, position: int) -> bool:
        return position == len(self._turns)

    def _user_before(self, before: int) -> bool:
        return not self._is_fence(before) and not self._turns[before].ends_with_assistant

    def _user_after(self, after: int) -> bool:
        return not self._is_fence(after) and not self._turns[after].opens_with_assistant
