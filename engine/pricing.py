"""CostCalculator: what a request costs, in whole nano-dollars, or the reason why nobody knows.

The arithmetic is exact (rational numbers, never binary floats) and rounds once per request, upwards. What is not known
is refused, never guessed downwards: :class:`~tokenward.engine.errors.UnknownPrice`.

Not covered, because a :class:`~tokenward.engine.usage.TokenUsage` does not tell them apart: audio and image tokens
(priced as text), and tools that providers bill by the call (web search).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import get_args

from tokenward.engine.catalog import Catalog
from tokenward.engine.errors import InvalidInput, UnknownPrice, nearest, shown
from tokenward.engine.money import decimal_text, nano, usd
from tokenward.engine.price_book import PriceBook, Rates, price_source
from tokenward.engine.types import Clock, system_clock
from tokenward.engine.usage import Tier, TokenUsage

__all__ = ["Cost", "CostCalculator", "Tier", "nano", "usd"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANO_PER_TOKEN = 1_000
"""Nano-dollars per token, of a price of one dollar per million tokens."""
_NANO_PER_REQUEST = 1_000_000
"""Nano-dollars per request, of a price of one dollar per thousand requests."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The price of one request.

    Attributes:
        model: The model as asked for.
        provider: Whose prices were applied (the host's where the name has one, else the maker's).
        usage: What was priced.
        input_nano: Nano-dollars for input outside the cache, and for the request itself where a provider charges one.
        output_nano: Nano-dollars for output, reasoning included.
        cache_nano: Nano-dollars for cache reads and cache writes.
        total_nano: Their sum: the exact cost, rounded up once.
        tier: How the request was served.
        price_source: The price data and its version.
        price_date: The day of the price data's state (ISO 8601), or ``"unknown"``.
        prices: The prices applied, in USD per million tokens as decimal strings, by ``input``, ``output``,
            ``cached_input``, ``cache_write``, ``cache_write_1h`` and ``reasoning`` where known, and
            ``per_thousand_requests`` where a provider charges for requests.
    """

    model: str
    provider: str
    usage: TokenUsage
    input_nano: int
    output_nano: int
    cache_nano: int
    total_nano: int
    tier: Tier
    price_source: str
    price_date: str
    prices: dict[str, str]


class CostCalculator:
    """Prices requests.

    Args:
        catalog: Resolves model names; a new one without aliases if not given.
        clock: Tells the time of a request that has none, since prices depend on it.
    """

    def __init__(self, catalog: Catalog | None = None, *, clock: Clock = system_clock) -> None:
        self._catalog = catalog or Catalog()
        self._clock = clock
        self._book = PriceBook()

    def calculate_cost(
        self, usage: TokenUsage, model: str, *, tier: Tier = "standard", at_us: int | None = None
    ) -> Cost:
        """What a request costs.

        Args:
            usage: Its tokens; cached and cache-write parts are inside the input, reasoning is inside the output.
            model: The model's name in any spelling that the catalog knows.
            tier: How it was or will be served.
            at_us: When, in microseconds UTC; now if not given.

        Raises:
            UnknownPrice: No price is known for the model, the tier, or a kind of token that was used.
            InvalidInput: A name, tier or time that cannot be.
        """
        if tier not in get_args(Tier):
            known = get_args(Tier)
            raise InvalidInput("tier", f"{shown(tier)} is not one of {', '.join(known)}.{nearest(str(tier), known)}")
        info = self._catalog.resolve(model)
        if at_us is not None and at_us < 0:
            raise InvalidInput("at", "there were no prices before 1970; give the day the request was made.")
        at = _moment(self._clock() if at_us is None else at_us)
        rates = self._book.rates(info, tier=tier, at=at, input_tokens=usage.input_tokens)
        input_nano, output_nano, cache_nano = _rounded(_exact_nano(usage, rates, model))
        source, date = price_source()
        return Cost(
            model=model,
            provider=rates.provider,
            usage=usage,
            input_nano=input_nano,
            output_nano=output_nano,
            cache_nano=cache_nano,
            total_nano=input_nano + output_nano + cache_nano,
            tier=tier,
            price_source=source,
            price_date=date,
            prices=_price_texts(rates),
        )


def _moment(at_us: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=at_us)
    except OverflowError:
        raise InvalidInput("at", "the time is out of range; give a time of the years 1 to 9999.") from None


def _exact_nano(usage: TokenUsage, rates: Rates, model: str) -> list[Fraction]:
    """The exact cost of input, output and cache. A kind of token that was not used needs no price."""
    writes = usage.cache_write_tokens + usage.cache_write_1h_tokens
    fresh = usage.input_tokens - usage.cached_input_tokens - writes
    cached_price = rates.input if rates.cached_input is None else rates.cached_input
    reasoning_price = rates.output if rates.reasoning is None else rates.reasoning
    return [
        _nano(fresh, rates.input) + Fraction(rates.per_thousand_requests or 0) * _NANO_PER_REQUEST,
        _needed(usage.output_tokens - usage.reasoning_tokens, rates.output, "output", model)
        + _needed(usage.reasoning_tokens, reasoning_price, "output", model),
        _nano(usage.cached_input_tokens, cached_price)
        + _needed(usage.cache_write_tokens, rates.cache_write, "writing to the cache", model)
        + _needed(usage.cache_write_1h_tokens, rates.cache_write_1h, "writing to the cache for an hour", model),
    ]


def _needed(tokens: int, price: Decimal | None, what: str, model: str) -> Fraction:
    if tokens and price is None:
        raise UnknownPrice(model, f"none for {what}")
    return _nano(tokens, price or Decimal(0))


def _nano(tokens: int, price: Decimal) -> Fraction:
    return tokens * Fraction(price) * _NANO_PER_TOKEN


def _rounded(parts: list[Fraction]) -> list[int]:
    """Whole nano-dollars whose sum is the exact sum rounded up; what rounding adds goes to the largest remainders."""
    total = ceil(sum(parts))
    whole = [int(part) for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda index: whole[index] - parts[index])
    for index in by_remainder[: total - sum(whole)]:
        whole[index] += 1
    return whole


def _price_texts(rates: Rates) -> dict[str, str]:
    known: Mapping[str, Decimal | None] = {
        "input": rates.input,
        "output": rates.output,
        "cached_input": rates.cached_input,
        "cache_write": rates.cache_write,
        "cache_write_1h": rates.cache_write_1h,
        "reasoning": rates.reasoning,
        "per_thousand_requests": rates.per_thousand_requests,
    }
    return {name: decimal_text(price) for name, price in known.items() if price is not None}
