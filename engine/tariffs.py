"""What usage costs, for many events: a model's prices are looked up once, then each event takes a few multiplications.

The results are those of :class:`~tokenward.engine.pricing.CostCalculator`, which is asked for the prices.
"""

from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

from tokenward.engine.errors import UnknownPrice
from tokenward.engine.money import NANO_PER_REQUEST, NANO_PER_TOKEN
from tokenward.engine.pricing import Cost, CostCalculator
from tokenward.engine.types import QUARTER_HOUR_US
from tokenward.engine.usage import MAX_TOKENS, Tier, TokenUsage

PRICE_STEP_US = QUARTER_HOUR_US
"""Prices change on quarter hours only: by the day, as own prices do, and where nights are cheaper, at 00:30 or 16:30. A
test holds the price data to it."""

_REMEMBERED = 4_096


@dataclass(frozen=True, slots=True)
class Price:
    """A cost and where it comes from, or the problem why nobody knows it. ``warnings`` say that it may be another's."""

    cost_nano: int | None
    source: str = ""
    problem: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Tariff:
    """A model's prices as integers: nano-dollars per token, times ``scale``; ``None`` where there is no price.

    Attributes:
        request: What a request costs before its tokens.
        problem: Why nothing is known at all.
        warnings: Why these may be another seller's prices.
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
    warnings: tuple[str, ...] = ()

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
        size = bisect_left(self._sizes, usage.input_tokens)
        tariff = self._remembered(model, tier, at_us // PRICE_STEP_US, size)
        if tariff.problem:
            return Price(None, problem=tariff.problem)
        cost_nano = tariff.cost_nano(usage)
        if cost_nano is not None:
            return Price(cost_nano, tariff.source, warnings=tariff.warnings)
        cost = self._asked(usage, model, tier, at_us)
        if isinstance(cost, str):
            return Price(None, problem=cost)
        return Price(cost.total_nano, cost.price_source, warnings=cost.assumed)

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        """The numbers of input tokens above which some model's prices change, sorted."""
        return tuple(sorted(size for size in self._calculator.sizes if 0 <= size < MAX_TOKENS))

    def _asked(self, usage: TokenUsage, model: str, tier: Tier, at_us: int) -> Cost | str:
        """The calculator's answer, or why it has none."""
        try:
            return self._calculator.calculate_cost(usage, model, tier=tier, at_us=at_us)
        except UnknownPrice as error:
            return str(error)

    def _tariff(self, model: str, tier: Tier, step: int, size: int) -> _Tariff:
        """The prices in a step of time, for inputs between two of the sizes at which prices change."""
        smallest = TokenUsage(self._sizes[size - 1] + 1 if size else 0)
        cost = self._asked(smallest, model, tier, step * PRICE_STEP_US)
        return _Tariff(problem=cost) if isinstance(cost, str) else _compiled(cost)


def _compiled(cost: Cost) -> _Tariff:
    """A tariff from decimal prices in USD per million tokens; the request's is per thousand."""
    amounts = {name: Fraction(price) for name, price in cost.prices.items()}
    scale = 10 ** max(len(price.partition(".")[2]) for price in cost.prices.values())

    def per_token(*names: str) -> int | None:
        amount = next((amounts[name] for name in names if name in amounts), None)
        return None if amount is None else int(amount * scale) * NANO_PER_TOKEN

    return _Tariff(
        source=cost.price_source,
        scale=scale,
        fresh=per_token("input") or 0,
        cached=per_token("cached_input", "input") or 0,
        write=per_token("cache_write"),
        write_1h=per_token("cache_write_1h"),
        output=per_token("output"),
        reasoning=per_token("reasoning", "output"),
        request=int(amounts.get("per_thousand_requests", 0) * scale) * NANO_PER_REQUEST,
        warnings=cost.assumed,
    )
