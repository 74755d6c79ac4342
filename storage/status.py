"""What a store says of itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What ``tokenward db status`` shows.

    Attributes:
        found_version: The schema's version before this store brought it up to date; 0 for an empty database.
        schema_version: Its version now; ``latest_version`` is what this tokenward knows.
        oldest_us: When the oldest event happened; ``None`` without events.
        pruned_before_us: Events before this moment were pruned; 0 when none were.
        bytes: Size of the database, if it is known.
        partitioned: Whether the events are partitioned by month.
    """

    kind: str
    found_version: int
    schema_version: int
    latest_version: int
    events: int
    oldest_us: int | None
    holds: int
    budgets: int
    limits: int
    pruned_before_us: int
    bytes: int | None = None
    partitioned: bool = False
