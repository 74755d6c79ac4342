"""CostCalculator: what a request costs, in whole nano-dollars, or the reason why nobody knows.

The arithmetic is exact (rational numbers, never binary floats) and rounds once per request, upwards. What is not known
is refused, never guessed downwards: :class:`~tokenward.engine.errors.UnknownPrice`.

Not covered, because a :class:`~tokenward.engine.usage.TokenUsage` does not tell them apart: audio and image tokens
(priced as text), and tools that providers bill by the call (web search).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import get_args

from tokenward.engine.catalog import Catalog, ModelInfo
from tokenward.engine.errors import InvalidInput, UnknownPrice, nearest, shown
from tokenward.engine.money import NANO_PER_REQUEST, NANO_PER_TOKEN, decimal_text, nano, usd
from tokenward.engine.prices.book import PriceBook
from tokenward.engine.prices.data import PriceData, age_days
from tokenward.engine.prices.listed import Rates
from tokenward.engine.prices.own import PRICE_NAMES, OwnPrices
from tokenward.engine.prices.second_opinion import Disagreement, disagreement
from tokenward.engine.types import Clock, system_clock
from tokenward.engine.usage import Tier, TokenUsage

__all__ = ["Cost", "CostCalculator", "PriceState", "Tier", "nano", "usd"]

STALE_DAYS = 90
"""List prices older than this come with a warning. Providers change some price nearly every week."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PriceState:
    """Where prices are from and how old they are.

    Attributes:
        source: The price data and its version.
        date: The day of its state (ISO 8601), or ``"unknown"``.
        age_days: Days since then; ``None`` when the day is not known.
        warnings: That they are old, or not those that were asked for. Without a warning nothing is wrong.
    """

    source: str
    date: str
    age_days: int | None
    warnings: tuple[str, ...] = ()


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
        price_source: The price data and its version, or ``own prices``.
        price_date: The day of the prices' state (ISO 8601), or ``"unknown"``.
        prices: The prices applied, in USD per million tokens as decimal strings, by ``input``, ``output``,
            ``cached_input``, ``cache_write``, ``cache_write_1h`` and ``reasoning`` where known, and
            ``per_thousand_requests`` where a provider charges for requests.
        price_age_days: Days from ``price_date`` to now; ``None`` when the day is not known.
        warnings: What is doubtful about the prices. Without a warning nothing is.
        assumed: The part of them that says that these may be another seller's prices.
        disagrees_with: Where a second price list states other prices, by more than 1 %; ``None`` where it does not,
            says nothing of the model, or the prices are the owner's own.
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
    price_age_days: int | None = None
    warnings: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    disagrees_with: Disagreement | None = None


class CostCalculator:
    """Prices requests.

    Args:
        catalog: Resolves model names; a new one without aliases if not given.
        clock: Tells the time of a request that has none, since prices depend on it.
        own: The owner's own prices, which come before the list's.
        data: Gives the price list's data; what ships with genai-prices if not given.
    """

    def __init__(
        self,
        catalog: Catalog | None = None,
        *,
        clock: Clock = system_clock,
        own: OwnPrices | None = None,
        data: Callable[[], PriceData] | None = None,
    ) -> None:
        self._catalog = catalog or Catalog()
        self._clock = clock
        self._book = PriceBook(data, own)

    @property
    def sizes(self) -> frozenset[int]:
        """The numbers of input tokens above which some model's prices change."""
        return self._book.sizes

    @property
    def own_names(self) -> list[str]:
        """The names that have own prices, sorted, in lower case; without those that stand for several (``…*``)."""
        return self._book.own_names

    @property
    def price_state(self) -> PriceState:
        """The price list in force. The owner's own prices have days of their own."""
        data = self._book.data
        return self._state(data.source, data.date, listed=True)

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
        state = self._state(rates.source, rates.date, listed=rates.listed)
        return Cost(
            model=model,
            provider=rates.provider,
            usage=usage,
            input_nano=input_nano,
            output_nano=output_nano,
            cache_nano=cache_nano,
            total_nano=input_nano + output_nano + cache_nano,
            tier=tier,
            price_source=state.source,
            price_date=state.date,
            prices=_price_texts(rates),
            price_age_days=state.age_days,
            warnings=(*state.warnings, *rates.warnings),
            assumed=rates.warnings,
            disagrees_with=None if rates.own else self._second_opinion(info, rates, usage, tier, at),
        )

    def _second_opinion(
        self, info: ModelInfo, rates: Rates, usage: TokenUsage, tier: Tier, at: datetime
    ) -> Disagreement | None:
        return disagreement(
            info,
            rates.prices,
            tier=tier,
            input_tokens=usage.input_tokens,
            provider=rates.provider,
            at=at,
            listed=lambda day, size: self._book.rates(info, tier=tier, at=day, input_tokens=size).prices,
        )

    def _state(self, source: str, day: str, *, listed: bool) -> PriceState:
        age = age_days(day, self._clock())
        if not listed:  # a contract holds as long as its owner says
            return PriceState(source, day, age)
        found = [self._book.data.warning] if self._book.data.warning else []
        if age is not None and age > STALE_DAYS:
            found.append(f"The prices are {age} days old ({source}, {day}); providers may have changed theirs since.")
        return PriceState(source, day, age, tuple(found))


def _moment(at_us: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=at_us)
    except OverflowError:
        raise InvalidInput("at", "the time is out of range; give a time of the years 1 to 9999.") from None


def _exact_nano(usage: TokenUsage, rates: Rates, model: str) -> list[Fraction]:
    """The exact cost of input, output and cache. A kind of token that was not used needs no price."""
    writes = usage.cache_write_tokens + usage.cache_write_1h_tokens
    fresh = usage.input_tokens - usage.cached_input_tokens - writes
    price, fresh_price = rates.prices.get, rates.prices["input"]
    output_price = price("output")
    return [
        _nano(fresh, fresh_price) + Fraction(price("per_thousand_requests", 0)) * NANO_PER_REQUEST,
        _needed(usage.output_tokens - usage.reasoning_tokens, output_price, "output", model)
        + _needed(usage.reasoning_tokens, price("reasoning", output_price), "output", model),
        _nano(usage.cached_input_tokens, price("cached_input", fresh_price))
        + _needed(usage.cache_write_tokens, price("cache_write"), "writing to the cache", model)
        + _needed(usage.cache_write_1h_tokens, price("cache_write_1h"), "writing to the cache for an hour", model),
    ]


def _needed(tokens: int, price: Decimal | None, what: str, model: str) -> Fraction:
    if tokens and price is None:
        raise UnknownPrice(model, f"none for {what}")
    return _nano(tokens, price or Decimal(0))


def _nano(tokens: int, price: Decimal) -> Fraction:
    return tokens * Fraction(price) * NANO_PER_TOKEN


def _rounded(parts: list[Fraction]) -> list[int]:
    """Whole nano-dollars whose sum is the exact sum rounded up; what rounding adds goes to the largest remainders."""
    total = ceil(sum(parts))
    whole = [int(part) for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda index: whole[index] - parts[index])
    for index in by_remainder[: total - sum(whole)]:
        whole[index] += 1
    return whole


def _price_texts(rates: Rates) -> dict[str, str]:
    return {name: decimal_text(rates.prices[name]) for name in PRICE_NAMES if name in rates.prices}
