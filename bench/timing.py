"""What the benchmarks share: pairs measured in turn, so that a busy machine slows both sides alike."""

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Sample = Callable[[], float]

_Measured = TypeVar("_Measured")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of both sides, and the median of the ratios taken pair by pair, with the quartiles around it.

    The ratio is the left side's number to the right one's: of times, ours to theirs says how much longer we take, and
    theirs to ours how much faster we are.
    """

    left: float
    right: float
    ratio: float
    ratio_quartiles: tuple[float, float]

    @property
    def ratio_cells(self) -> tuple[str, str]:
        """The ratio and its quartiles, for a table."""
        low, high = self.ratio_quartiles
        return f"{self.ratio:.2f}", f"{low:.2f} to {high:.2f}"


def compared(pairs: Sequence[tuple[float, float]]) -> Comparison:
    """What pairs of (left, right) say."""
    ratios = [left / right for left, right in pairs]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    return Comparison(
        left=statistics.median(left for left, _ in pairs),
        right=statistics.median(right for _, right in pairs),
        ratio=ratio,
        ratio_quartiles=(low, high),
    )


def compare(left: Sample, right: Sample, pairs: int, warm_up: int = 1) -> Comparison:
    """Run both sides `pairs` times, next to each other and in alternating order."""
    for _ in range(warm_up):
        left()
        right()
    measured: list[tuple[float, float]] = []
    for index in range(pairs):
        if index % 2:
            first = right()
            measured.append((left(), first))
        else:
            first = left()
            measured.append((first, right()))
    return compared(measured)


async def in_turns(
    left: Callable[[], Awaitable[_Measured]],
    right: Callable[[], Awaitable[_Measured]],
    pairs: int,
    warm_up: int = 1,
) -> list[tuple[_Measured, _Measured]]:
    """The pairs of (left, right) that :func:`compare` would judge, for sides that are awaited."""
    for _ in range(warm_up):
        await left()
        await right()
    measured: list[tuple[_Measured, _Measured]] = []
    for index in range(pairs):
        if index % 2:
            first = await right()
            measured.append((await left(), first))
        else:
            first = await left()
            measured.append((first, await right()))
    return measured


def print_table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Rows of text under the first one, the heading, in aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n{title}")
    for name, *cells in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        print("  " + "  ".join([name.ljust(widths[0]), *aligned]).rstrip(), flush=True)
