"""What a request costs per million tokens: the owner's own prices first, then the price list's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Context, Decimal
from functools import cached_property, partial

from tokenward.engine.catalog import Catalog, ModelInfo, served_as
from tokenward.engine.errors import InvalidInput, UnknownPrice, shown
from tokenward.engine.prices.data import PriceData, bundled_prices
from tokenward.engine.prices.listed import PriceList, Rates, served_tier
from tokenward.engine.prices.own import OWN_SOURCE, OwnPrice, OwnPrices
from tokenward.engine.usage import Tier

_EXACT = Context(prec=80)
"""Enough digits for any price less any discount; the caller's decimal settings must not matter."""


class PriceBook:
    """Finds the prices of requests.

    Args:
        data: Gives the price list's data; what ships with genai-prices if not given.
        own: The owner's own prices, which come first.
    """

    def __init__(self, data: Callable[[], PriceData] | None = None, own: OwnPrices | None = None) -> None:
        self._list = PriceList(data or bundled_prices)
        self._own = own or OwnPrices()
        self._plain = Catalog()
        self._spellings = dict(self._known_spellings())

    @property
    def data(self) -> PriceData:
        """The price list's data in force."""
        return self._list.data

    @property
    def own_names(self) -> list[str]:
        """The names that have own prices, but for those that stand for several or can be no model's."""
        return [name for name in self._own.names if self._info(name) is not None]

    @property
    def sizes(self) -> frozenset[int]:
        """The numbers of input tokens above which some model's prices change."""
        return self._list.sizes() | self._own.sizes

    def rates(self, info: ModelInfo, *, tier: Tier, at: datetime, input_tokens: int) -> Rates:
        """The prices of one request.

        Args:
            info: The model, as the catalog resolved it.
            tier: How the request is served.
            at: When it was made; prices change over time and some over the day.
            input_tokens: Its whole input; some prices are higher for all tokens above a number of input tokens.

        Raises:
            UnknownPrice: No price is known for the model, or none for this tier, time or size.
        """
        listed = partial(self._list.rates, tier=tier, at=at, input_tokens=input_tokens)
        own = self._own_price(info, at) if self._own else None
        if own is None:
            return listed(info)
        # Own prices of the very name (``gpt-4o:batch``) state that price as their standard one.
        served = tier if served_as(own.key) == info.served else served_tier(info, tier)
        table = next((table for name, table in own.tables.items() if name == served), None)
        stated = {} if table is None else table.at_size(input_tokens)
        if own.on_list:
            return _negotiated(own, self._base(own, info, listed), stated)
        if table is None:
            raise UnknownPrice(info.requested, f"{OWN_SOURCE} state no {served} price", "tier")
        return _own_rates(own, stated)

    def _base(self, own: OwnPrice, info: ModelInfo, listed: Callable[[ModelInfo], Rates]) -> Rates:
        """The list prices that own prices stand on: those of another model, or the model's own."""
        try:
            return listed(self._plain.resolve(own.like) if own.like else info)
        except UnknownPrice as error:
            like = f"like {shown(own.like)}: " if own.like else ""
            reason = f"{OWN_SOURCE} stand on the price list, {like}{error.reason}"
            raise UnknownPrice(info.requested, reason, error.field) from None

    def _own_price(self, info: ModelInfo, at: datetime) -> OwnPrice | None:
        """The owner's price of a model: by a name as it is written, else by another name of its seller."""
        names = self._names(info)
        return self._own.find(names, at) or self._own.find(self._other_names(names), at)

    def _other_names(self, names: Sequence[str]) -> list[str]:
        """The names with what own prices call the same seller in front: ``xai/grok-4`` for ``x-ai/grok-4``."""
        split = [name.rpartition("/") for name in names]
        sellers = {prefix: self._list.sold(f"{prefix}/-") for prefix, _, _ in split if prefix}
        return [
            f"{other}/{rest}"
            for prefix, _, rest in split
            for other, seller in self._sellers.items()
            if prefix and seller == sellers[prefix]
        ]

    @cached_property
    def _sellers(self) -> dict[str, str]:
        return {prefix: self._list.sold(f"{prefix}/-") for prefix in sorted(self._own.prefixes)}

    def _names(self, info: ModelInfo) -> list[str]:
        """How own prices may call a model, the most telling first: as written, by its seller, by its bare name."""
        asked = info.requested.strip().lower()
        full = info.target.strip().lower()
        prefix, _, rest = full.rpartition("/")
        seller = self._list.seller(info) or prefix or info.provider or ""
        bare = rest if not info.known else info.name
        names = [full, f"{seller}/{rest}", f"{seller}/{bare}", rest, bare]
        if asked != full:  # an alias
            alias = asked.rpartition("/")[2]
            names = [asked, f"{seller}/{alias}", alias, *names]
        spelled = [self._spellings[name] for name in names if name in self._spellings]
        return list(dict.fromkeys([*names, *spelled]))

    def _known_spellings(self) -> Iterator[tuple[str, str]]:
        """Own names of known models by the catalog's spelling: ``claude-sonnet-4.5`` is ``claude-sonnet-4-5``."""
        for key in self._own.names:
            prefix, slash, rest = key.rpartition("/")
            info = self._info(rest)
            if info is not None and info.known and ":" not in rest:
                yield f"{prefix}{slash}{info.name}", key

    def _info(self, name: str) -> ModelInfo | None:
        try:
            return self._plain.resolve(name)
        except InvalidInput:
            return None


def _negotiated(own: OwnPrice, base: Rates, stated: Mapping[str, Decimal]) -> Rates:
    """The list's prices less the discount, with what the owner states in place of them."""
    share = _EXACT.divide(_EXACT.subtract(Decimal(100), own.discount_percent), Decimal(100))
    prices = {name: _EXACT.multiply(price, share) for name, price in base.prices.items()} | dict(stated)
    source = f"{own.source or OWN_SOURCE} on {base.source}"
    return replace(
        _own_rates(own, prices),
        provider=own.provider or base.provider,
        source=source,
        date=base.date,
        warnings=base.warnings,
    )


def _own_rates(own: OwnPrice, prices: Mapping[str, Decimal]) -> Rates:
    return Rates(
        provider=own.provider or own.key.rpartition("/")[0] or "own",
        prices=prices,
        source=f"{OWN_SOURCE} ({own.source})" if own.source else OWN_SOURCE,
        date=own.date,
        own=True,
        listed=own.on_list,
    )
