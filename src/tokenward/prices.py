"""What usage costs, for many events: a model's prices are looked up once, then every event takes a few multiplications.

The results are those of :class:`~tokenward.engine.pricing.CostCalculator`, which is asked for the prices.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from tokenward.engine.errors import UnknownPrice
from tokenward.engine.pricing import Cost, CostCalculator
from tokenward.engine.types import MINUTE_US, NANO_PER_USD
from tokenward.engine.usage import Tier, TokenUsage

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

PRICE_STEP_US = 15 * MINUTE_US
"""Prices change on quarter hours only: by the day, and where nights are cheaper, at 00:30 or 16:30. A test holds the
price data to it."""

_REMEMBERED = 4_096
_TOKENS_PER_PRICE = 1_000_000
_REQUESTS_PER_PRICE = 1_000


@dataclass(frozen=True, slots=True)
class Price:
    """A cost and where it comes from, or the problem why nobody knows it."""

    cost_nano: int | None
    source: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Tariff:
    """A model's prices as integers: nano-dollars per token, times ``scale``; ``None`` where there is no price.

    Attributes:
        request: What a request costs before its tokens.
        problem: Why nothing is known at all.
    """

    source: str = ""
    scale: int = 1
    fresh: int = 0
    cached: int = 0
    write: int | None = None
    write_1h: int | None = None
    output: int | None = None
    reasoning: int | None = None
    request: int = 0
    problem: str = ""

    def cost_nano(self, usage: TokenUsage) -> int | None:
        """The exact cost, rounded up once; ``None`` if a kind of token was used that has no price."""
        writes, writes_1h = usage.cache_write_tokens, usage.cache_write_1h_tokens
        reasoning = usage.reasoning_tokens
        output = usage.output_tokens - reasoning
        paid = ((writes, self.write), (writes_1h, self.write_1h), (output, self.output), (reasoning, self.reasoning))
        fresh = usage.input_tokens - usage.cached_input_tokens - writes - writes_1h
        total = self.request + fresh * self.fresh + usage.cached_input_tokens * self.cached
        for tokens, price in paid:
            if tokens:
                if price is None:
                    return None
                total += tokens * price
        return -(-total // self.scale)


class Prices:
    """Prices of usage, by model, tier and moment. Threads may share it.

    Args:
        calculator: Knows the prices.
    """

    def __init__(self, calculator: CostCalculator) -> None:
        self._calculator = calculator
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._tariff)

    def of(self, usage: TokenUsage, model: str, tier: Tier, at_us: int) -> Price:
        """The price of usage at a moment, microseconds UTC.

        Raises:
            InvalidInput: A model name or tier that cannot be.
        """
        size = bisect_left(_sizes(), usage.input_tokens)
        tariff = self._remembered(model, tier, at_us // PRICE_STEP_US, size)
        if tariff.problem:
            return Price(None, problem=tariff.problem)
        cost_nano = tariff.cost_nano(usage)
        if cost_nano is not None:
            return Price(cost_nano, tariff.source)
        cost = self._asked(usage, model, tier, at_us)
        return Price(None, problem=cost) if isinstance(cost, str) else Price(cost.total_nano, cost.price_source)

    def _asked(self, usage: TokenUsage, model: str, tier: Tier, at_us: int) -> Cost | str:
        """The calculator's answer, or why it has none."""
        try:
            return self._calculator.calculate_cost(usage, model, tier=tier, at_us=at_us)
        except UnknownPrice as error:
            return str(error)

    def _tariff(self, model: str, tier: Tier, step: int, size: int) -> _Tariff:
        """The prices in a step of time, for inputs between two of the sizes at which prices change."""
        smallest = TokenUsage(_sizes()[size - 1] + 1 if size else 0)
        cost = self._asked(smallest, model, tier, step * PRICE_STEP_US)
        return _Tariff(problem=cost) if isinstance(cost, str) else _compiled(cost.prices, cost.price_source)


def _compiled(prices: Mapping[str, str], source: str) -> _Tariff:
    """A tariff from decimal prices in USD per million tokens; the request's is per thousand."""
    amounts = {name: Decimal(price) for name, price in prices.items()}
    scale = 10 ** max(len(price.partition(".")[2]) for price in prices.values())

    def per_token(*names: str) -> int | None:
        amount = next((amounts[name] for name in names if name in amounts), None)
        return None if amount is None else int(amount * scale) * (NANO_PER_USD // _TOKENS_PER_PRICE)

    return _Tariff(
        source=source,
        scale=scale,
        fresh=per_token("input") or 0,
        cached=per_token("cached_input", "input") or 0,
        write=per_token("cache_write"),
        write_1h=per_token("cache_write_1h"),
        output=per_token("output"),
        reasoning=per_token("reasoning", "output"),
        request=int(amounts.get("per_thousand_requests", 0) * scale) * (NANO_PER_USD // _REQUESTS_PER_PRICE),
    )


@cache
def _sizes() -> tuple[int, ...]:
    """The numbers of input tokens above which some model's prices change, sorted."""
    from genai_prices.types import TieredPrices  # noqa: PLC0415 - heavy

    prices: list[object] = [price for table in _price_tables() for price in vars(table).values()]
    tiers = [tier for price in prices if isinstance(price, TieredPrices) for tier in price.tiers]
    return tuple(sorted({tier.start for tier in tiers}))


def _price_tables() -> "Iterator[ModelPrice]":
    from genai_prices.data import providers  # noqa: PLC0415 - heavy
    from genai_prices.types import ModelPrice  # noqa: PLC0415 - heavy

    for model in (model for provider in providers for model in provider.models):
        if isinstance(model.prices, ModelPrice):
            yield model.prices
        else:
            yield from (one.prices for one in model.prices)
        yield from (one.prices for one in model.price_variants or ())
