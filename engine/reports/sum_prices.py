"""Prices of sums: what a sum of many requests would cost on a model, and what its cache saved.

A sum says neither how large each request was nor which tier served it: the prices are those of a standard request of
the sum's average input. A price that changes with the size of the input is therefore right on average only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

from tokenward.engine.errors import InvalidInput, UnknownPrice
from tokenward.engine.money import NANO_PER_REQUEST, NANO_PER_TOKEN
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.usage import MAX_TOKENS, TokenUsage, UsageSum


@dataclass(frozen=True, slots=True)
class CacheSavings:
    """What reading from the providers' caches saved, less what writing to them cost extra.

    For each model: ``cached_tokens`` times the input's price minus the cached input's, minus the tokens written times
    the write's price minus the input's; by the prices of the standard tier at the period's end, for requests of the
    model's average size. An estimate of what the same tokens would have cost more, not a sum over bills.

    Attributes:
        total_nano: Nano-dollars over all models; negative where writing cost more than reading saved.
        by_model: The same for each model with cache traffic and known prices.
        unpriced_tokens: Cached and written tokens whose saving is not known, because a price is not: in no sum.
    """

    total_nano: int = 0
    by_model: Mapping[str, int] = field(default_factory=dict[str, int])
    unpriced_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Tariff:
    """A model's prices in USD per million tokens, by the names of :attr:`~tokenward.engine.pricing.Cost.prices`."""

    prices: Mapping[str, Fraction]

    def cost_nano(self, used: UsageSum) -> int:
        """What a sum's tokens cost, by their split into fresh, cached, written, output and reasoning tokens.

        Where there is no price for reading from or writing to a cache, those tokens are priced as ordinary input.
        """
        price, fresh = self.prices.get, self.prices["input"]
        output = price("output", Fraction(0))
        parts = [
            (used.input_tokens - used.cached_tokens - used.cache_write_tokens, fresh),
            (used.cached_tokens, price("cached_input", fresh)),
            (used.cache_write_tokens - used.cache_write_1h_tokens, price("cache_write", fresh)),
            (used.cache_write_1h_tokens, price("cache_write_1h", fresh)),
            (used.output_tokens - used.reasoning_tokens, output),
            (used.reasoning_tokens, price("reasoning", output)),
        ]
        tokens = sum((count * rate for count, rate in parts), start=Fraction(0)) * NANO_PER_TOKEN
        return ceil(tokens + used.requests * price("per_thousand_requests", Fraction(0)) * NANO_PER_REQUEST)


class SumPrices:
    """Prices sums by the prices of one moment.

    Args:
        calculator: Knows the prices.
        at_us: The moment, in microseconds UTC.
    """

    def __init__(self, calculator: CostCalculator, at_us: int) -> None:
        self._calculator = calculator
        self._at_us = at_us

    def tariff(self, model: str, like: UsageSum) -> "Tariff":
        """A model's prices for requests of a sum's average input.

        Raises:
            UnknownPrice: The model's prices are not known, or none for output.
            InvalidInput: The name cannot be a model's.
        """
        prices = self._prices(like, model)
        if like.output_tokens and "output" not in prices:
            raise UnknownPrice(model, "none for output")
        return Tariff(prices)

    def cache_savings(self, models: Iterable[UsageSum]) -> CacheSavings:
        """What the cache saved, from sums by model."""
        by_model: dict[str, int] = {}
        unpriced = 0
        for one in models:
            if not one.cached_tokens and not one.cache_write_tokens:
                continue
            saved = self._saved_nano(one)
            if saved is None:
                unpriced += one.cached_tokens + one.cache_write_tokens
            else:
                by_model[one.key] = saved
        return CacheSavings(sum(by_model.values()), by_model, unpriced)

    def _saved_nano(self, used: UsageSum) -> int | None:
        """Rounded down; ``None`` where one of the prices it takes is not known."""
        try:
            prices = self._prices(used, used.key)
        except (UnknownPrice, InvalidInput):
            return None
        parts = {
            "cached_input": used.cached_tokens,
            "cache_write": used.cache_write_tokens - used.cache_write_1h_tokens,
            "cache_write_1h": used.cache_write_1h_tokens,
        }
        if any(tokens and name not in prices for name, tokens in parts.items()):
            return None
        saved = (tokens * (prices["input"] - prices[name]) for name, tokens in parts.items() if tokens)
        return floor(sum(saved, start=Fraction(0)) * NANO_PER_TOKEN)

    def _prices(self, used: UsageSum, model: str) -> dict[str, Fraction]:
        """USD per million tokens for a request of the sum's average input, by :attr:`Cost.prices`' names."""
        average = min(used.input_tokens // max(used.requests, 1), MAX_TOKENS)
        cost = self._calculator.calculate_cost(TokenUsage(average), model, at_us=self._at_us)
        return {name: Fraction(Decimal(price)) for name, price in cost.prices.items()}
