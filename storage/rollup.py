"""What a batch's events add to the rollup: sums per quarter of an hour, from which reports are made.

There are two: one per user, and a much smaller one over all users, because most reports ask for no user. The second
one's rows are split into shards, so that servers that write at once rarely wait for each other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import add
from typing import TypeAlias

from tokenward.engine.types import NANO_PER_USD, QUARTER_HOUR_US
from tokenward.engine.usage import UsageEvent

SHARDS = 16

UserKey: TypeAlias = tuple[int, str, str, str, str]
"""Quarter of an hour, user, group, model, endpoint."""

AllKey: TypeAlias = tuple[int, str, str, str]
"""Quarter of an hour, group, model, endpoint."""

Sums: TypeAlias = list[int]
"""As in :data:`SUMS`."""

SUMS = (
    "requests",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_usd",
    "cost_nano",
    "unpriced_requests",
    "estimated_requests",
    "cache_write_1h_tokens",
)
"""The summed columns. Money is summed in whole dollars and the rest apart: nano-dollars alone could pass 64 bits."""


@dataclass(slots=True)
class Rollup:
    """What to add, by key."""

    users: dict[UserKey, Sums] = field(default_factory=dict[UserKey, Sums])

    def add(self, key: UserKey, numbers: Sums) -> None:
        """Add numbers in the order of :data:`SUMS`."""
        sums = self.users.get(key)
        self.users[key] = numbers if sums is None else list(map(add, sums, numbers))

    @property
    def all(self) -> dict[AllKey, Sums]:
        """The same over all users."""
        found: dict[AllKey, Sums] = {}
        for (quarter, _, *rest), numbers in self.users.items():
            group, model, endpoint = rest
            key = (quarter, group, model, endpoint)
            sums = found.get(key)
            found[key] = numbers if sums is None else list(map(add, sums, numbers))
        return found


def rollup_of(events: Iterable[UsageEvent]) -> Rollup:
    """What events add."""
    rollup = Rollup()
    for one in events:
        used, cost_nano = one.usage, one.cost_nano
        dollars, nano = divmod(cost_nano or 0, NANO_PER_USD)
        writes = used.cache_write_tokens + used.cache_write_1h_tokens
        tokens = [1, used.input_tokens, used.output_tokens, used.cached_input_tokens, writes, used.reasoning_tokens]
        rest = [int(cost_nano is None), int(one.estimated), used.cache_write_1h_tokens]
        key = (one.timestamp_us // QUARTER_HOUR_US, one.user, one.group, one.model, one.endpoint)
        rollup.add(key, [*tokens, dollars, nano, *rest])
    return rollup


def repriced(changes: Iterable[tuple[UsageEvent, int | None]]) -> Rollup:
    """What giving events another cost adds."""
    rollup = Rollup()
    for one, cost_nano in changes:
        old, new = one.cost_nano or 0, cost_nano or 0
        dollars = new // NANO_PER_USD - old // NANO_PER_USD
        nano = new % NANO_PER_USD - old % NANO_PER_USD
        unpriced = int(cost_nano is None) - int(one.cost_nano is None)
        key = (one.timestamp_us // QUARTER_HOUR_US, one.user, one.group, one.model, one.endpoint)
        rollup.add(key, [0, 0, 0, 0, 0, 0, dollars, nano, unpriced, 0, 0])
    return rollup
