"""What the benchmarks share: pairs measured in turn, so that a busy machine slows both sides alike."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

Sample = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of both sides, and the median of the ratios taken pair by pair, with the quartiles around it."""

    ours: float
    floor: float
    ratio: float
    ratio_quartiles: tuple[float, float]


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
    ratios = [ours_value / floor_value for ours_value, floor_value in measured]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    return Comparison(
        ours=statistics.median(value for value, _ in measured),
        floor=statistics.median(value for _, value in measured),
        ratio=ratio,
        ratio_quartiles=(low, high),
    )


def print_table(title: str, rows: list[tuple[str, ...]]) -> None:
    """Rows of text under the first one, the heading, in aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n{title}")
    for name, *cells in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        print("  " + "  ".join([name.ljust(widths[0]), *aligned]).rstrip())
