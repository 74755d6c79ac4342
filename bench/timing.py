"""What the benchmarks share: pairs measured in turn, so that a busy machine slows both sides alike."""

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Sample = Callable[[], float]

_Measured = TypeVar("_Measured")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of both sides, and the median of the ratios taken pair by pair, with the quartiles around it."""

    ours: float
    floor: float
    ratio: float
    ratio_quartiles: tuple[float, float]

    @property
    def ratio_cells(self) -> tuple[str, str]:
        """The ratio and its quartiles, for a table."""
        low, high = self.ratio_quartiles
        return f"{self.ratio:.2f}", f"{low:.2f} to {high:.2f}"


def compared(pairs: Sequence[tuple[float, float]]) -> Comparison:
    """What pairs of (ours, floor) say."""
    ratios = [ours / floor for ours, floor in pairs]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    return Comparison(
        ours=statistics.median(ours for ours, _ in pairs),
        floor=statistics.median(floor for _, floor in pairs),
        ratio=ratio,
        ratio_quartiles=(low, high),
    )


def compare(ours: Sample, floor: Sample, pairs: int, warm_up: int = 1) -> Comparison:
    """Run both sides `pairs` times, next to each other and in alternating order."""
    for _ in range(warm_up):
        ours()
        floor()
    measured: list[tuple[float, float]] = []
    for index in range(pairs):
        if index % 2:
            first = floor()
            measured.append((ours(), first))
        else:
            first = ours()
            measured.append((first, floor()))
    return compared(measured)


async def in_turns(
    ours: Callable[[], Awaitable[_Measured]],
    floor: Callable[[], Awaitable[_Measured]],
    pairs: int,
    warm_up: int = 1,
) -> list[tuple[_Measured, _Measured]]:
    """The pairs of (ours, floor) that :func:`compare` would judge, for sides that are awaited."""
    for _ in range(warm_up):
        await ours()
        await floor()
    measured: list[tuple[_Measured, _Measured]] = []
    for index in range(pairs):
        if index % 2:
            first = await floor()
            measured.append((await ours(), first))
        else:
            first = await ours()
            measured.append((first, await floor()))
    return measured


def print_table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Rows of text under the first one, the heading, in aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n{title}")
    for name, *cells in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        print("  " + "  ".join([name.ljust(widths[0]), *aligned]).rstrip(), flush=True)
