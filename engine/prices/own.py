"""Prices that the owner sets: models of one's own, free ones on one's own server, negotiated discounts, contracts.

They come before the price list's. What they leave open stays open: it is refused, not taken from somewhere else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date as Day  # noqa: N812 - 'date' is a field here
from datetime import datetime
from decimal import Decimal

from tokenward.engine.errors import InvalidInput, nearest, shown
from tokenward.engine.usage import MAX_TOKENS, Tier

PRICE_NAMES = ("input", "output", "cached_input", "cache_write", "cache_write_1h", "reasoning", "per_thousand_requests")
"""What can have a price: the keys of :class:`~tokenward.engine.prices.listed.Rates`' ``prices``."""

MAX_PRICE = Decimal(100_000)
"""Largest price in USD per million tokens; the dearest that providers list is 600. A typo stays out of the ledger."""

MAX_DECIMALS = 18

OWN_SOURCE = "own prices"
_UNKNOWN_DAY = "unknown"
_ANY = "*"
_MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class OwnTable:
    """Own prices of one service level.

    Attributes:
        prices: USD per million tokens (for ``per_thousand_requests`` per thousand requests), by ``PRICE_NAMES``.
        long_context: What costs otherwise for inputs above so many tokens: all tokens of such a request.

    Raises:
        InvalidInput: A name or price that cannot be, or a number of tokens that is none.
    """

    prices: Mapping[str, Decimal]
    long_context: Mapping[int, Mapping[str, Decimal]] = field(default_factory=dict[int, Mapping[str, Decimal]])

    def __post_init__(self) -> None:
        _check_prices(self.prices)
        for above, prices in self.long_context.items():
            if not 0 < above <= MAX_TOKENS:
                raise InvalidInput("long_context.above", f"give a number of tokens from 1 to {MAX_TOKENS}.")
            _check_prices(prices)

    def at_size(self, input_tokens: int) -> dict[str, Decimal]:
        """The prices for a whole input of this size. One token more than ``above`` reprices all of them."""
        prices = dict(self.prices)
        for above in sorted(self.long_context):
            if input_tokens > above:
                prices.update(self.long_context[above])
        return prices


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPrice:
    """The owner's prices of one model, or of all whose name begins alike.

    Attributes:
        name: The model's name. With ``*`` at the end it stands for all names that begin so; with a provider in front
            (``openai/*``, ``azure/gpt-4o``) for that provider's only.
        tables: The prices by service level.
        like: A model of the price list whose prices these are, as far as ``tables`` says nothing else.
        discount_percent: What is taken off the price list's price: of ``like``, else of the model itself.
        provider: Whose prices they are said to be.
        start: The first day (UTC) on which they hold; empty for always.
        end: The first day on which they no longer hold; empty for never.
        date: The day of their state (ISO 8601), or ``"unknown"``.
        source: Where they are from, in the owner's words.

    Raises:
        InvalidInput: They contradict themselves, or say nothing.
    """

    name: str
    tables: Mapping[Tier, OwnTable] = field(default_factory=dict[Tier, OwnTable])
    like: str = ""
    discount_percent: Decimal = Decimal(0)
    provider: str = ""
    start: Day | None = None
    end: Day | None = None
    date: str = _UNKNOWN_DAY
    source: str = ""

    def __post_init__(self) -> None:
        key = self.key
        if not key or not key.isprintable() or len(key) > _MAX_NAME or _ANY in key.removesuffix(_ANY) or key == _ANY:
            raise InvalidInput(
                "name", f"{shown(self.name)} is no model's name; a '*' goes after a name or 'provider/'."
            )
        for where, text in (("like", self.like), ("provider", self.provider), ("source", self.source)):
            if not text.isprintable():
                raise InvalidInput(where, f"{shown(text)} has characters that cannot be printed.")
        _check_decimal("discount_percent", self.discount_percent)
        if self.discount_percent > 100:
            raise InvalidInput("discount_percent", "give a percentage from 0 to 100: '15'.")
        if self.start and self.end and self.start >= self.end:
            raise InvalidInput("until", "it is not after 'from'; it is the first day on which they no longer hold.")
        if self.on_list:
            return
        if not self.tables:
            raise InvalidInput("input", "no price is set; give at least input, or like, or discount_percent.")
        for tier, table in self.tables.items():
            if "input" not in table.prices:
                where = "input" if tier == "standard" else f"{tier}.input"
                raise InvalidInput(where, "it is missing; give a price, '0' for what is free, or like another model.")

    @property
    def key(self) -> str:
        """The name as it is compared."""
        return self.name.strip().lower()

    @property
    def on_list(self) -> bool:
        """They stand on prices of the price list."""
        return bool(self.like or self.discount_percent)

    def holds(self, day: Day) -> bool:
        """Whether they hold on a day."""
        return (self.start is None or self.start <= day) and (self.end is None or day < self.end)


class OwnPrices:
    """All prices that the owner sets.

    Args:
        prices: One for each name, or several that hold one after the other.

    Raises:
        InvalidInput: Two of the same name hold on the same day.
    """

    def __init__(self, prices: Iterable[OwnPrice] = ()) -> None:
        self._by_key: dict[str, list[OwnPrice]] = {}
        for one in prices:
            self._add(one)
        starts = (key for key in self._by_key if key.endswith(_ANY))
        # The longest beginning is the most telling one.
        self._beginnings = sorted(starts, key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._by_key)

    @property
    def names(self) -> list[str]:
        """The names without beginnings (``…*``), sorted, in lower case."""
        return sorted(key for key in self._by_key if not key.endswith(_ANY))

    @property
    def prefixes(self) -> frozenset[str]:
        """What stands before the last slash of names and beginnings: providers, or ways to them."""
        return frozenset(key.rpartition("/")[0] for key in self._by_key if "/" in key)

    @property
    def sizes(self) -> frozenset[int]:
        """The numbers of input tokens above which prices change."""
        tables = (table for several in self._by_key.values() for one in several for table in one.tables.values())
        return frozenset(above for table in tables for above in table.long_context)

    def find(self, names: Sequence[str], at: datetime) -> OwnPrice | None:
        """The prices of a model that hold at a moment.

        Args:
            names: How the model may be called, the most telling name first.
            at: The moment; days are UTC days.
        """
        beginnings = [key for key in self._beginnings if any(name.startswith(key[:-1]) for name in names)]
        keys = [*names, *beginnings]
        several = (one for key in keys for one in self._by_key.get(key, ()))
        return next((one for one in several if one.holds(at.date())), None)

    def _add(self, price: OwnPrice) -> None:
        several = self._by_key.setdefault(price.key, [])
        if any(_overlap(price, other) for other in several):
            raise InvalidInput(
                "prices", f"two prices of {shown(price.name)} hold on the same day; set 'from' and 'until' apart."
            )
        several.append(price)


def _overlap(one: OwnPrice, other: OwnPrice) -> bool:
    start = max(one.start or Day.min, other.start or Day.min)
    return start < min(one.end or Day.max, other.end or Day.max)


def _check_prices(prices: Mapping[str, Decimal]) -> None:
    for name, price in prices.items():
        if name not in PRICE_NAMES:
            known = ", ".join(PRICE_NAMES)
            raise InvalidInput(name, f"it is no kind of price.{nearest(name, PRICE_NAMES)} Known: {known}.")
        _check_decimal(name, price)


def _check_decimal(name: str, amount: object) -> None:
    if not isinstance(amount, Decimal) or not amount.is_finite():
        raise InvalidInput(name, "give a decimal number as text: '2.50'.")
    if amount.is_signed() and amount:
        raise InvalidInput(name, f"{amount} is negative; a price is 0 or more.")
    if amount > MAX_PRICE:
        raise InvalidInput(name, f"{amount} is more than {MAX_PRICE}; prices are in USD per million tokens.")
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -MAX_DECIMALS:
        raise InvalidInput(name, f"it has more than {MAX_DECIMALS} decimals.")
