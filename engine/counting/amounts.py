"""A number of tokens with the bounds between which the truth lies, and what a request's share of them is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, TypeVar

from tokenward.engine.counting.results import MessageBreakdown

Category: TypeAlias = Literal[
    "system", "user", "assistant", "tool_calls", "tool_results", "tool_definitions", "images", "overhead"
]


@dataclass(slots=True)
class Amount:
    """Tokens, and bounds of the true number: ``lower <= tokens <= upper``, all equal when it is exact.

    Never changed once it is made; frozen it would take three times as long to make, and a request has hundreds.
    """

    tokens: int
    lower: int
    upper: int

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.tokens + other.tokens, self.lower + other.lower, self.upper + other.upper)

    def __sub__(self, other: "Amount") -> "Amount":
        """What makes ``other`` this amount when it is added; on its own it can have its bounds the wrong way round."""
        return Amount(self.tokens - other.tokens, self.lower - other.lower, self.upper - other.upper)


NOTHING: Final = Amount(0, 0, 0)


def exactly(tokens: int) -> Amount:
    """A number that is known."""
    return Amount(tokens, tokens, tokens)


def about(tokens: int, below: int, above: int) -> Amount:
    """A number that may be too high by ``below`` or too low by ``above``."""
    return Amount(tokens, max(tokens - below, 0), tokens + above)


def within(tokens: int, lower: int, upper: int) -> Amount:
    """A number between bounds, which give way where they contradict it."""
    return Amount(tokens, min(lower, tokens), max(upper, tokens))


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a request: what it adds to each category, and what had to be assumed."""

    amounts: tuple[tuple[Category, Amount], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def total(self) -> Amount:
        """All categories together."""
        return sum_amounts(amount for _, amount in self.amounts)


@dataclass(slots=True)
class ShareBuilder:
    """Collects a `Share`."""

    amounts: list[tuple[Category, Amount]] = field(default_factory=list[tuple[Category, Amount]])
    warnings: list[str] = field(default_factory=list[str])

    def add(self, category: Category, amount: Amount, warning: str = "") -> None:
        """Add an amount to a category, with what was assumed for it."""
        self.amounts.append((category, amount))
        if warning:
            self.warnings.append(warning)

    def share(self) -> Share:
        """What was collected."""
        return Share(tuple(self.amounts), tuple(self.warnings))


def sum_amounts(amounts: Iterable[Amount]) -> Amount:
    """The sum; bounds add up too."""
    tokens = lower = upper = 0
    for amount in amounts:
        tokens += amount.tokens
        lower += amount.lower
        upper += amount.upper
    return Amount(tokens, lower, upper)


def breakdown_of(shares: Iterable[Share]) -> MessageBreakdown:
    """The tokens of all shares by category. A saving (an overhead below zero) stays in its category."""
    tokens: dict[Category, int] = {}
    for share in shares:
        for category, amount in share.amounts:
            tokens[category] = tokens.get(category, 0) + amount.tokens
    return MessageBreakdown(**tokens)


_Value = TypeVar("_Value")


def longest_prefix(name: str, table: Mapping[str, _Value]) -> _Value:
    """The entry whose key is the longest beginning of a model's name; every table has one for the empty beginning.

    A fine-tuned model counts as the model it was made from.
    """
    base = name.removeprefix("ft:")
    return table[max((key for key in table if base.startswith(key)), key=len)]
