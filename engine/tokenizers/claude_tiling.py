"""The cheapest cover of a marked stream by vocabulary pieces, in memory that does not grow with the stream.

Claude's count is the number of pieces in a cheapest cover of the stream: every piece costs 1, and a character that is
no piece costs the tokens of its UTF-8 bytes. A cover splits exactly wherever no piece reaches across.

**Long runs of one character.** Let c stand n times in a row, let M be the longest piece of nothing but c, and L the
longest piece of all. Of a cheapest cover, at most L characters of the run at either end are held by pieces that reach
out of it; the rest is covered by pieces c^k, k <= M. Among any M of them with k < M, some have lengths that add up to
a multiple j*M (two of the M + 1 partial sums are equal modulo M); fewer than M each, they are more than j, and j pieces
c^M would be cheaper. So fewer than M of them are shorter than M, and a run longer than 2*L + (M-1)^2 holds at least one
c^M. Taking it out, or putting one in, shows cost(n) = cost(n - M) + 1. If c is in no piece but itself, or in none,
M is 1 and the step costs what c costs alone.
"""

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from tokenward.engine.steps import checkpoint

BLOCK_CHARACTERS = 8_192
"""How much of a long stream is covered before earlier costs are forgotten."""

RUN_CHARACTERS = 1_024
"""Runs of one character from this length on are looked at."""

_RUN = re.compile(rf"(.)\1{{{RUN_CHARACTERS - 1},}}", re.DOTALL)

TrieNode = Mapping["str | None", "TrieNode | None"]
"""Pieces spelled backwards; the key ``None`` marks the beginning of a piece."""


class Cover:
    """Counts the pieces of a cheapest cover.

    Args:
        root: The vocabulary, as a trie of its pieces spelled backwards.
        longest: The length of the longest piece.
        cost_alone: What one character costs that is covered alone.
    """

    def __init__(self, root: TrieNode, longest: int, cost_alone: Callable[[str], int]) -> None:
        self._root = root
        self._longest = longest
        self._cost_alone = cost_alone

    def cost(self, stream: str) -> int:
        """The number of pieces in a cheapest cover."""
        if len(stream) <= BLOCK_CHARACTERS:
            return self._extended([0], stream, 0, len(stream))[-1]
        saved, stream = self._shortened(stream)
        costs = [0]
        first = 0
        while first < len(stream):
            checkpoint()
            last = min(first + BLOCK_CHARACTERS, len(stream))
            context = max(0, first - self._longest)
            costs = self._extended(costs[context - first - 1 :], stream[context:last], first - context, last - context)
            first = last
        return saved + costs[-1]

    def _extended(self, costs: list[int], stream: str, first: int, last: int) -> list[int]:
        """Costs of the stream's beginnings of 0 to ``last`` characters, given those of 0 to ``first``."""
        root = self._root
        for end in range(first, last):
            node = root.get(stream[end])
            if node is None:
                costs.append(costs[end] + self._cost_alone(stream[end]))
                continue
            best = costs[end] + (1 if None in node else self._cost_alone(stream[end]))
            start = end
            while start:
                start -= 1
                node = node.get(stream[start])
                if node is None:
                    break
                if None in node and costs[start] < best:
                    best = costs[start] + 1
            costs.append(best)
        return costs

    def _shortened(self, stream: str) -> tuple[int, str]:
        """The stream with long runs of one character cut down, and what was saved by that."""
        saved = 0

        def shorten(run: re.Match[str]) -> str:
            nonlocal saved
            character, length = run[1], len(run[0])
            longest = self._longest_of(character)
            excess = length - 2 * self._longest - (longest - 1) ** 2
            if excess <= 0:
                return run[0]
            steps = excess // longest
            saved += steps * (1 if longest > 1 else self._alone(character))
            return character * (length - steps * longest)

        shortened = _RUN.sub(shorten, stream)
        return saved, shortened

    def _longest_of(self, character: str) -> int:
        """The length of the longest piece of nothing but this character, or 1."""
        longest, length, node = 1, 0, self._root.get(character)
        while node is not None:
            length += 1
            if None in node:
                longest = length
            node = node.get(character)
        return longest

    def _alone(self, character: str) -> int:
        return self._extended([0], character, 0, 1)[1]


class RunCosts:
    """What runs of one whitespace character cost, when no piece holds it together with anything else.

    Args:
        lengths: The lengths of its runs that are pieces; 1 is among them.
    """

    def __init__(self, lengths: AbstractSet[int]) -> None:
        self._lengths = sorted(length for length in lengths if length)
        self._longest = self._lengths[-1]
        self._costs = [0]

    def cost(self, length: int) -> int:
        """The fewest pieces that a run of this length is made of."""
        beyond = length - (self._longest - 1) ** 2
        steps = max(0, -(-beyond // self._longest) - 1)
        rest = length - steps * self._longest
        costs = self._costs
        if rest >= len(costs):
            costs = costs.copy()
            for size in range(len(costs), rest + 1):
                costs.append(1 + min(costs[size - piece] for piece in self._lengths if piece <= size))
            self._costs = costs
        return steps + costs[rest]
