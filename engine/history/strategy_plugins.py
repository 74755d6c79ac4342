"""Strategies that other packages add, by an entry point of the group ``tokenward.strategies``.

An entry point names a `StrategyPlugin`: a function from what a history consists of and what must be kept to the steps
it would take, cheapest loss first. It is other people's code. It is shown copies, never the caller's messages; each of
its steps is checked; and which steps are taken, when they are enough and whether the result is valid is decided where
it is for the built-in strategies. So the worst it can do is to give up more than it should.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import EntryPoint
from typing import Final, Protocol

from tokenward.engine.entry_points import installed_entries
from tokenward.engine.errors import InvalidInput, nearest, shown
from tokenward.engine.history.rewrite import is_clearable
from tokenward.engine.history.strategies import BUILT_IN, STRATEGIES, Clear, Drop, Policy, Step
from tokenward.engine.history.units import Unit
from tokenward.engine.messages.view import Role
from tokenward.engine.tokenizers.guarded import failure

GROUP: Final = "tokenward.strategies"


@dataclass(frozen=True, slots=True)
class MessageView:
    """What a strategy sees of a message.

    Attributes:
        index: Its position in the caller's list; what `Clear` takes.
        role: ``user``, ``assistant`` or ``tool``, whatever the provider calls it.
        text: All that a model reads of it as text, calls and results included.
        tools: The names of the tools that it calls.
        tokens: What it counts.
        clearable: Whether it holds tool results that may be cleared.
    """

    index: int
    role: Role
    text: str
    tools: tuple[str, ...]
    tokens: int
    clearable: bool


@dataclass(frozen=True, slots=True)
class UnitView:
    """What a strategy sees of a unit: messages that are kept or dropped together.

    Attributes:
        position: Its place among the units; what `Drop` takes.
        messages: A message of the user's, or an assistant's with the results of all its calls.
        tokens: What they count together.
        free: Whether it may be dropped and its results cleared. The others are kept whatever a strategy says.
    """

    position: int
    messages: tuple[MessageView, ...]
    tokens: int
    free: bool


class StrategyPlugin(Protocol):
    """A strategy of another package. It must give the same steps for the same arguments."""

    def __call__(self, units: Sequence[UnitView], policy: Policy, /) -> Iterable[Step]:
        """What it would give up, cheapest loss first.

        Steps are taken from the beginning until the history fits, so it need not know how much must go. A `Drop` that
        would break a provider's rules is put off until it no longer does.

        Args:
            units: The history without system messages, in order.
            policy: What was asked for; ``policy.max_tokens`` is what the whole request may count.

        Returns:
            Each free unit at most once in a `Drop`, each clearable message of a free unit at most once in a `Clear`.
        """
        ...


class InstalledStrategy:
    """One installed strategy.

    Attributes:
        name: The entry point's name.
        distribution: The package that brought it, with its version.
    """

    def __init__(self, entry: EntryPoint, distribution: str) -> None:
        self.name = entry.name
        self.distribution = distribution
        self._entry = entry

    def steps(self, units: Sequence[UnitView], policy: Policy) -> list[Step]:
        """All its steps, checked.

        Raises:
            InvalidInput: It cannot be imported, raises, or gives what is no step.
        """
        try:
            return self._steps(units, policy)
        except _NoSteps as error:
            known = ", ".join(STRATEGIES)
            problem = f"{shown(self.name)} of {self.distribution} {error}; nothing was changed. Use {known}."
            raise InvalidInput("strategy", problem) from None

    def examine(self) -> str | None:
        """What is wrong with it, found out by having it shorten a short history, or ``None``."""
        if self.name in BUILT_IN:
            return "has the name of a built-in strategy, which is used in its place"
        try:
            self._steps(_SAMPLE, Policy(self.name, 1, frozenset(), 100))
        except _NoSteps as error:
            return str(error)
        return None

    def _steps(self, units: Sequence[UnitView], policy: Policy) -> list[Step]:
        doing = "when it was imported"
        try:
            plugin: StrategyPlugin = self._entry.load()
            doing = "when it was asked for its steps"
            return _checked(plugin(units, policy), units)
        except _NoSteps:
            raise
        except BaseException as error:  # noqa: BLE001 - it is other people's code, and whatever it is must be reported
            raise _NoSteps(failure(error, doing)) from None


@cache
def installed_strategies() -> tuple[InstalledStrategy, ...]:
    """The strategies of other packages, by name. Looked for once; nothing of them is imported yet."""
    return tuple(InstalledStrategy(entry, named) for entry, named in installed_entries(GROUP))


def check_strategy(name: str, *, plugins: bool) -> None:
    """Refuse a name that no strategy has. Other packages are only looked for when it is none of the built-in ones.

    Args:
        name: As the caller wrote it.
        plugins: Whether strategies of other packages are used.

    Raises:
        InvalidInput: There is none of this name.
    """
    if name in BUILT_IN:
        return
    others = [one.name for one in installed_strategies()] if plugins else []
    if name not in others:
        known = [*STRATEGIES, *others]
        raise InvalidInput("strategy", f"{shown(name)} is not one of {', '.join(known)}.{nearest(str(name), known)}")


def order_of(
    policy: Policy, turns: Sequence[Unit], free: Sequence[int], sizes: Sequence[int]
) -> Callable[[], Iterable[Step]]:
    """The steps of a strategy that `check_strategy` found, as often as they are needed.

    Args:
        policy: What to keep; its strategy is the one.
        turns: The units without system messages.
        free: The positions of those that may be cleared or dropped.
        sizes: The tokens of each message of the history, by index.

    Raises:
        InvalidInput: It is another package's, and broken.
    """
    if policy.strategy in BUILT_IN:
        return partial(BUILT_IN[policy.strategy], turns, free)
    installed = next(one for one in installed_strategies() if one.name == policy.strategy)
    # A plug-in is asked once, so that every plan is made of the same steps.
    steps = installed.steps(_views(turns, frozenset(free), sizes), replace(policy))
    return lambda: steps


def _views(turns: Sequence[Unit], free: frozenset[int], sizes: Sequence[int]) -> tuple[UnitView, ...]:
    views: list[UnitView] = []
    for position, unit in enumerate(turns):
        messages = tuple(
            MessageView(
                index=message.index,
                role=message.role,
                text="\n".join(part.text for part in message.parts if part.text),
                tools=tuple(part.name for part in message.parts if part.kind == "tool_call"),
                tokens=sizes[message.index],
                clearable=is_clearable(message),
            )
            for message in unit.members
        )
        tokens = sum(message.tokens for message in messages)
        views.append(UnitView(position, messages, tokens, position in free))
    return tuple(views)


class _NoSteps(Exception):  # noqa: N818 - never leaves this module
    """A strategy gave no steps, or none of this history; the text says why, in half a sentence."""


def _checked(given: Iterable[Step], units: Sequence[UnitView]) -> list[Step]:
    """The steps, made anew from what was given, so that nothing of the plug-in's own is left in them.

    An endless answer ends here: each step can only come once.
    """
    dropped: set[int] = set()
    clearable = {one.index: unit.position for unit in units if unit.free for one in unit.messages if one.clearable}
    steps: list[Step] = []
    for step in given:
        if type(step) is Drop and type(step.unit) is int:
            if not 0 <= step.unit < len(units):
                raise _NoSteps("drops a unit that is not there")
            if not units[step.unit].free:
                raise _NoSteps("drops a unit that must be kept")
            if step.unit in dropped:
                raise _NoSteps("drops a unit twice")
            dropped.add(step.unit)
            steps.append(Drop(step.unit))
        elif type(step) is Clear and type(step.message) is int:
            if step.message not in clearable:
                raise _NoSteps("clears a message without results that may be cleared, or clears it twice")
            if clearable.pop(step.message) in dropped:
                raise _NoSteps("clears a message of a unit that it dropped before")
            steps.append(Clear(step.message))
        else:
            raise _NoSteps("gave something that is neither Drop nor Clear")
    return steps


_SAMPLE: Final = (
    UnitView(0, (MessageView(0, "user", "The task.", (), 10, clearable=False),), 10, free=True),
    UnitView(
        1,
        (
            MessageView(1, "assistant", "I look.", ("read_file",), 20, clearable=False),
            MessageView(2, "tool", "Found.", (), 90, clearable=True),
        ),
        110,
        free=True,
    ),
    UnitView(2, (MessageView(3, "user", "And now?", (), 10, clearable=False),), 10, free=False),
)
"""What `InstalledStrategy.examine` has shortened."""
