"""What-if: recorded traffic priced as if it had been served otherwise: by another model, in another tier, with caching.

The tokens stay as they were recorded. Another model's tokenizer may count the same texts differently; by how much is
not known from the ledger, which keeps no texts, so the answer names the models whose tokenizer differs and claims no
ratio.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import get_args

from tokenward.engine.errors import InvalidInput, nearest, shown
from tokenward.engine.tariffs import PRICE_STEP_US, Price, Prices
from tokenward.engine.usage import Tier, TokenUsage, UsageEvent

_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What would have been different. What is ``None`` stays as it was recorded.

    Attributes:
        model: Every request goes to this model.
        tier: Every request is served in this tier. A model without a price for it is not priced at another's.
        cached_percent: So much of every input is read from the provider's cache, rounded down to whole tokens, in place
            of what was recorded; the rest is written to it for 5 minutes, where the model bills writes.

    Raises:
        InvalidInput: Nothing is different, an unknown tier, or a percentage that is none.
    """

    model: str | None = None
    tier: Tier | None = None
    cached_percent: int | None = None

    def __post_init__(self) -> None:
        if self.model is None and self.tier is None and self.cached_percent is None:
            raise InvalidInput("model", "say what would be different: a model, a tier or a share of cached input.")
        if self.tier is not None and self.tier not in get_args(Tier):
            known = get_args(Tier)
            raise InvalidInput(
                "tier", f"{shown(self.tier)} is not one of {', '.join(known)}.{nearest(str(self.tier), known)}"
            )
        percent = self.cached_percent
        if percent is not None and (type(percent) is not int or not 0 <= percent <= 100):
            raise InvalidInput("cached_percent", f"{shown(percent)} is not a whole number from 0 to 100.")


@dataclass(slots=True)
class WhatIfRow:
    """The requests that were recorded for one model, or all of them. Costs compare the same requests on both sides.

    Attributes:
        model: As it was recorded; empty for all.
        requests: All that were looked at.
        compared: Those with both a recorded cost and a price in the scenario.
        actual_nano: What the compared ones cost.
        what_if_nano: What they would have cost.
        uncached_nano: What they would have cost with nothing cached at all; ``None`` where no share is assumed.
        not_priceable: Requests that the scenario has no price for.
        not_priceable_nano: What those cost.
        unpriced: Requests with a price in the scenario that were recorded without a cost.
        too_large: Priced requests that do not fit into the scenario model's context window.
        writes_as_input: Priced requests whose cache writes are billed as ordinary input, since the model has no price
            for writes.
        problem: Why the first request of this row could not be priced.
        same_tokenizer: Whether the scenario's model counts as this one does; ``None`` for all.
    """

    model: str
    requests: int = 0
    compared: int = 0
    actual_nano: int = 0
    what_if_nano: int = 0
    uncached_nano: int | None = None
    not_priceable: int = 0
    not_priceable_nano: int = 0
    unpriced: int = 0
    too_large: int = 0
    writes_as_input: int = 0
    problem: str = ""
    same_tokenizer: bool | None = None

    @property
    def difference_nano(self) -> int:
        """What the scenario would have cost more; negative for what it would have saved."""
        return self.what_if_nano - self.actual_nano

    def take(self, other: "WhatIfRow") -> None:
        """Add another row's numbers."""
        self.requests += other.requests
        self.compared += other.compared
        self.actual_nano += other.actual_nano
        self.what_if_nano += other.what_if_nano
        if other.uncached_nano is not None:
            self.uncached_nano = (self.uncached_nano or 0) + other.uncached_nano
        self.not_priceable += other.not_priceable
        self.not_priceable_nano += other.not_priceable_nano
        self.unpriced += other.unpriced
        self.too_large += other.too_large
        self.writes_as_input += other.writes_as_input


@dataclass(frozen=True, slots=True)
class WhatIfReport:
    """The answer. ``rows`` are by recorded model, the dearest first; ``notes`` say what the numbers leave open."""

    scenario: Scenario
    totals: WhatIfRow
    rows: tuple[WhatIfRow, ...]
    notes: tuple[str, ...] = ()


class WhatIf:
    """Prices events one after the other; memory holds a row per model.

    Args:
        scenario: What would have been different.
        prices: The prices of usage.
        window: A model's context window in tokens, ``None`` where that is not known.
        same_tokenizer: Whether two models count alike.
    """

    def __init__(
        self,
        scenario: Scenario,
        prices: Prices,
        *,
        window: Callable[[str], int | None],
        same_tokenizer: Callable[[str, str], bool],
    ) -> None:
        self._scenario = scenario
        self._prices = prices
        self._same_tokenizer = same_tokenizer
        self._window = None if scenario.model is None else window(scenario.model)
        self._rows: dict[str, WhatIfRow] = {}
        self._writes: dict[tuple[str, Tier, int, bool, bool], int] = {}

    def add(self, event: UsageEvent) -> None:
        """Price one event."""
        row = self._rows.get(event.model) or self._new_row(event.model)
        row.requests += 1
        scenario = self._scenario
        model, tier, at_us = scenario.model or event.model, scenario.tier or event.tier, event.timestamp_us
        usage = event.usage if scenario.cached_percent is None else _cached(event.usage, scenario.cached_percent)
        price, folded = self._priced(usage, model, tier, at_us)
        if price.cost_nano is None:
            row.not_priceable += 1
            row.not_priceable_nano += event.cost_nano or 0
            row.problem = row.problem or price.problem
            return
        row.writes_as_input += folded
        row.too_large += self._window is not None and usage.total_tokens > self._window
        if event.cost_nano is None:
            row.unpriced += 1
            return
        row.compared += 1
        row.actual_nano += event.cost_nano
        row.what_if_nano += price.cost_nano
        if row.uncached_nano is not None:
            # Fresh input has a price wherever cached input has one.
            row.uncached_nano += self._price(_uncached(event.usage), model, tier, at_us).cost_nano or 0

    def report(self) -> WhatIfReport:
        """What all events came to."""
        rows = sorted(self._rows.values(), key=lambda one: (-one.actual_nano, -one.requests, one.model))
        totals = WhatIfRow("", uncached_nano=None if self._scenario.cached_percent is None else 0)
        for row in rows:
            totals.take(row)
        return WhatIfReport(self._scenario, totals, tuple(rows), tuple(_notes(self._scenario, totals, rows)))

    def _new_row(self, model: str) -> WhatIfRow:
        asked = self._scenario.model
        row = self._rows[model] = WhatIfRow(
            model,
            uncached_nano=None if self._scenario.cached_percent is None else 0,
            same_tokenizer=asked is None or self._same_tokenizer(model, asked),
        )
        return row

    def _price(self, usage: TokenUsage, model: str, tier: Tier, at_us: int) -> Price:
        try:
            return self._prices.of(usage, model, tier, at_us)
        except InvalidInput as error:  # a recorded name that a newer catalog refuses
            return Price(None, problem=str(error))

    def _priced(self, usage: TokenUsage, model: str, tier: Tier, at_us: int) -> tuple[Price, bool]:
        """The price; and whether cache writes are billed as ordinary input."""
        if not usage.cache_write_tokens and not usage.cache_write_1h_tokens:
            return self._price(usage, model, tier, at_us), False
        # How the model bills writes is found out once per kind of price: finding out that it does not takes long.
        key = (model, tier, at_us // PRICE_STEP_US, usage.cache_write_tokens > 0, usage.cache_write_1h_tokens > 0)
        ways = (usage, _writes_for_5_minutes(usage), _writes_as_input(usage))
        first = self._writes.get(key, 0)
        problem = ""
        for way in range(first, len(ways)):
            price = self._price(ways[way], model, tier, at_us)
            if price.cost_nano is not None:
                if len(self._writes) >= _REMEMBERED:
                    self._writes.clear()
                self._writes[key] = way
                return price, way == len(ways) - 1
            problem = problem or price.problem
        return Price(None, problem=problem), False


def _cached(usage: TokenUsage, percent: int) -> TokenUsage:
    """The same tokens with a share of the input read from the cache and the rest written to it."""
    read = usage.input_tokens * percent // 100
    written = usage.input_tokens - read
    return replace(usage, cached_input_tokens=read, cache_write_tokens=written, cache_write_1h_tokens=0)


def _uncached(usage: TokenUsage) -> TokenUsage:
    return TokenUsage(usage.input_tokens, usage.output_tokens, reasoning_tokens=usage.reasoning_tokens)


def _writes_for_5_minutes(usage: TokenUsage) -> TokenUsage:
    written = usage.cache_write_tokens + usage.cache_write_1h_tokens
    return replace(usage, cache_write_tokens=written, cache_write_1h_tokens=0)


def _writes_as_input(usage: TokenUsage) -> TokenUsage:
    return replace(usage, cache_write_tokens=0, cache_write_1h_tokens=0)


def _notes(scenario: Scenario, totals: WhatIfRow, rows: Iterable[WhatIfRow]) -> Iterable[str]:
    """What a reader has to know besides the numbers."""
    if not totals.requests:
        yield "Nothing was recorded in this time."
        return
    others = [one.model for one in rows if one.same_tokenizer is False]
    if others:
        yield (
            f"Tokens are taken as they were recorded. {scenario.model} has another tokenizer than "
            f"{_listed(others)}: it may count the same texts differently; by how much is unknown here."
        )
    if totals.not_priceable:
        why = next((one.problem for one in rows if one.problem), "")
        yield f"{totals.not_priceable:,} requests have no price in this scenario and are left out. {why}".rstrip()
    if totals.unpriced:
        yield f"{totals.unpriced:,} requests were recorded without a cost and are left out."
    if totals.too_large:
        yield f"{totals.too_large:,} requests are larger than the context window of {scenario.model}."
    if totals.writes_as_input:
        yield (
            f"Cache writes of {totals.writes_as_input:,} requests are priced as ordinary input: "
            "there is no price for writes."
        )
    if scenario.cached_percent is not None:
        yield (
            f"Assumed: {scenario.cached_percent} % of every input is read from the cache and the rest written to it "
            "for 5 minutes."
        )


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
