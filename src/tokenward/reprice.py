"""Price the ledger's events again, from the units that were stored with them."""

from dataclasses import dataclass

from tokenward.archive import Progress, no_progress
from tokenward.archive_lines import END_US
from tokenward.engine.errors import InvalidInput
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.tariffs import Price, Prices
from tokenward.engine.usage import UsageEvent
from tokenward.storage.base import Repricing, UsageStore

BATCH = 1_000
"""Events that get their new price in one transaction."""


@dataclass(slots=True)
class Repriced:
    """A model's events and their price. Sums are of the priced events.

    Attributes:
        events: All that were looked at.
        changed: Those whose cost is another now.
        unknown: Those that no price is known for today: they keep the cost they have, or none.
        old_cost_nano: What stood in the ledger.
        new_cost_nano: What stands there now, or would.
    """

    model: str
    events: int = 0
    changed: int = 0
    unknown: int = 0
    old_cost_nano: int = 0
    new_cost_nano: int = 0


async def reprice(
    store: UsageStore,
    calculator: CostCalculator,
    *,
    start_us: int = 0,
    end_us: int = END_US,
    model: str | None = None,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> list[Repriced]:
    """Give events the cost that the price data of today says for their time; what it does not know stays as it is.

    Args:
        store: A connected store.
        calculator: Prices usage.
        start_us: From this moment on.
        end_us: Up to this moment, which is not included.
        model: Only events of this model, as it was recorded.
        dry_run: Change nothing.
        progress: Is told how many events are looked at.

    Returns:
        What became of each model's events, in the order of their names.

    Raises:
        StoreUnavailable: The store cannot be read or written; batches before have their new price.
    """
    prices = Prices(calculator)
    models: dict[str, Repriced] = {}
    waiting: list[Repricing] = []
    looked_at = 0
    async for event in store.events(start_us, end_us):
        looked_at += 1
        if looked_at % BATCH == 0:
            await progress(looked_at)
        if model is not None and event.model != model:
            continue
        sums = models.setdefault(event.model, Repriced(event.model))
        change = _change(sums, event, _price(prices, event))
        if change is None or dry_run:
            continue
        waiting.append(change)
        if len(waiting) == BATCH:
            await store.reprice(waiting)
            waiting = []
    if waiting:
        await store.reprice(waiting)
    return sorted(models.values(), key=lambda one: one.model)


def _price(prices: Prices, event: UsageEvent) -> Price:
    try:
        return prices.of(event.usage, event.model, event.tier, event.timestamp_us)
    except InvalidInput as error:  # a name that a newer catalog refuses
        return Price(None, problem=str(error))


def _change(sums: Repriced, event: UsageEvent, price: Price) -> Repricing | None:
    """Add an event to its model's sums; its new price, if that is another."""
    cost_nano = event.cost_nano if price.cost_nano is None else price.cost_nano
    sums.events += 1
    sums.unknown += price.cost_nano is None
    sums.old_cost_nano += event.cost_nano or 0
    sums.new_cost_nano += cost_nano or 0
    # An event whose cost stays keeps its price source as well: it is still the one that was applied.
    if cost_nano == event.cost_nano:
        return None
    sums.changed += 1
    return Repricing(event, cost_nano, price.source)
