"""A truncation strategy of one's own, as a plug-in: the longest exchanges go first."""

from collections.abc import Iterator, Sequence

from tokenward.engine.history import Drop, Policy, UnitView


def longest_first(units: Sequence[UnitView], policy: Policy) -> Iterator[Drop]:
    for unit in sorted(units, key=lambda unit: -unit.tokens):
        if unit.free:
            yield Drop(unit.position)
