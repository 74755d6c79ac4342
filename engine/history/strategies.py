"""What a strategy gives up, and in which order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from tokenward.engine.history.rewrite import is_clearable, read_notice
from tokenward.engine.history.units import TURN_BASED, Unit
from tokenward.engine.messages.view import Format, Message

Strategy: TypeAlias = Literal["smart", "fifo", "lifo", "middle", "tool_results"]
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)


@dataclass(frozen=True, slots=True)
class Clear:
    """Replace the tool results of one message."""

    message: Message


@dataclass(frozen=True, slots=True)
class Drop:
    """Leave out one unit."""

    unit: Unit


Step: TypeAlias = Clear | Drop


@dataclass(frozen=True, slots=True)
class Policy:
    """What a truncation must keep, beside system messages and calls in flight.

    Attributes:
        strategy: Which order.
        keep_last: How many units to keep at the strategy's end of the history (see `steps`).
        pinned: Indices of messages that are kept as they are, with their units.
    """

    strategy: Strategy
    keep_last: int
    pinned: frozenset[int]


def steps(units: Sequence[Unit], format: Format, policy: Policy) -> Iterator[Step]:  # noqa: A002
    """The steps of a strategy, cheapest loss first. After any number of them the history is valid.

    - ``smart``: clear tool results, oldest first; then drop units, oldest first, but not the first user message.
    - ``fifo``: drop units, oldest first.
    - ``lifo``: drop units, newest first; ``keep_last`` counts from the beginning here.
    - ``middle``: drop units from the middle outwards; ``keep_last`` counts at both ends.
    - ``tool_results``: clear tool results, oldest first; drop nothing.

    No step touches system messages, calls in flight, pinned messages or what ``keep_last`` keeps. Where the provider
    wants the user first, the opening message goes when what answers it has gone.
    """
    turns = [unit for unit in units if not unit.is_system]
    free = _free(turns, policy)
    if policy.strategy in {"smart", "tool_results"}:
        yield from (Clear(message) for position in free for message in turns[position].members if is_clearable(message))
    if policy.strategy != "tool_results":
        yield from _drops(turns, format, free, _PRIORITIES[policy.strategy])


def _free(turns: Sequence[Unit], policy: Policy) -> list[int]:
    """The positions of the units that may be cleared or dropped."""
    count = len(turns)
    first, last = {"lifo": (policy.keep_last, 0), "middle": (policy.keep_last, policy.keep_last)}.get(
        policy.strategy, (0, policy.keep_last)
    )
    kept = {position for position in range(count) if position < first or position >= count - last}
    kept.update(position for position, unit in enumerate(turns) if unit.in_flight or _is_pinned(unit, policy))
    if policy.strategy == "smart":
        kept.update([position for position, unit in enumerate(turns) if _is_task(unit)][:1])
    return [position for position in range(count) if position not in kept]


def _is_pinned(unit: Unit, policy: Policy) -> bool:
    return not policy.pinned.isdisjoint(unit.indices)


def _is_task(unit: Unit) -> bool:
    """Whether it is a user's message, the notice of an earlier truncation aside."""
    return unit.members[0].role == "user" and read_notice(unit.members[0]) is None


_PRIORITIES: Final[Mapping[Strategy, Callable[[int, int], float]]] = MappingProxyType(
    {
        "smart": lambda position, count: position,
        "fifo": lambda position, count: position,
        "lifo": lambda position, count: -position,
        "middle": lambda position, count: abs(position - (count - 1) / 2),
    }
)


def _drops(
    turns: Sequence[Unit],
    format: Format,  # noqa: A002
    free: Sequence[int],
    priority: Callable[[int, int], float],
) -> Iterator[Step]:
    """Drop free units by priority; one that the role rules hold back waits until a neighbour of it has gone."""
    chain = _Chain(turns, turn_based=format in TURN_BASED)
    queue = [(priority(position, len(turns)), position) for position in free]
    heapify(queue)
    waiting: dict[int, float] = {}
    while queue:
        rank, position = heappop(queue)
        if not chain.can_drop(position):
            waiting[position] = rank
            continue
        for neighbour in chain.drop(position):
            if neighbour in waiting:
                heappush(queue, (waiting.pop(neighbour), neighbour))
        yield Drop(turns[position])


class _Chain:
    """The units still there, as a doubly linked list with a fence at both ends."""

    def __init__(self, turns: Sequence[Unit], *, turn_based: bool) -> None:
        self._turns = turns
        self._turn_based = turn_based
        count = len(turns)
        self._left = count
        self._before = [count, *range(count)]
        self._after = [*range(1, count + 1), 0]

    def can_drop(self, position: int) -> bool:
        """Whether the rest is still valid: not empty, and each assistant's turn behind the user's side."""
        if self._left == 1:
            return False
        if not self._turn_based or self._turns[position].opens_with_assistant:
            return True
        return self._user_before(position) or self._user_after(position)

    def drop(self, position: int) -> tuple[int, int]:
        """Take a unit out; its former neighbours."""
        before, after = self._before[position], self._after[position]
        self._after[before], self._before[after] = after, before
        self._left -= 1
        return before, after

    def _user_before(self, position: int) -> bool:
        before = self._before[position]
        return before < len(self._turns) and not self._turns[before].ends_with_assistant

    def _user_after(self, position: int) -> bool:
        after = self._after[position]
        return after < len(self._turns) and not self._turns[after].opens_with_assistant
