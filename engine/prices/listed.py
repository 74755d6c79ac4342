"""What providers charge per million tokens: genai-prices' data, found for our names and read without guessing.

Only the data in force is read (:mod:`tokenward.engine.prices.data`); nothing is ever downloaded here. Where the data
leaves a question open, the answer is :class:`~tokenward.engine.errors.UnknownPrice`: a tier without its own price, a
cache write without one, an input beyond what a tier's price covers, a server that one runs oneself. The library itself
would fall back to another rate in these cases without saying so.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import cache, cached_property, lru_cache
from itertools import product
from typing import TYPE_CHECKING

from tokenward.engine.catalog import ModelInfo, served_as
from tokenward.engine.datafiles import list_at, object_at, read_json, text_at
from tokenward.engine.errors import UnknownPrice, shown
from tokenward.engine.prices.data import PriceData, bundled_prices, tables
from tokenward.engine.usage import Tier

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo as PricedModel
    from genai_prices.types import ModelPrice, Provider, TieredPrices


_FOUND_NAMES = 1024
_WAY = re.compile(r"([^/:]+)([/:])(?=.)")
_DEARER = frozenset({"priority", "fast"})
_BEDROCK = re.compile(
    r"(?:(?:us|us-gov|eu|apac|au|ca|jp|global)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshotai|nvidia|openai|qwen|writer|zai)\.[a-z]"
)


@dataclass(frozen=True, slots=True)
class PriceFacts:
    """``data/prices.json``: what the price package does not say itself.

    Attributes:
        contexts: For each tier, the request context by which the package's data names it.
        self_hosted: Prefixes of model names that stand for servers that one runs oneself.
        hosts: Prefixes of model names that stand for a provider which the package knows by another name.
        routers: Prefixes that sell nothing themselves: what follows says who does.
    """

    contexts: dict[str, dict[str, str]]
    self_hosted: frozenset[str]
    hosts: dict[str, str]
    routers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices as they apply to one request.

    Attributes:
        provider: Whose prices these are.
        prices: USD per million tokens, as far as known: ``input`` always, that is what is neither read from nor written
            to a cache; ``output``, reasoning included unless it has its own price; ``cached_input``; ``cache_write``
            for 5 minutes (or for the provider's only keeping time); ``cache_write_1h``; ``reasoning``. And
            ``per_thousand_requests``, what requests cost before their tokens.
        source: Where the prices are from.
        date: The day of their state (ISO 8601), or ``"unknown"``.
        own: The owner's own prices, in whole or in part.
        listed: The price list's, in whole or in part: as old as that is.
        warnings: Why they may be another seller's.
    """

    provider: str
    prices: Mapping[str, Decimal]
    source: str = ""
    date: str = "unknown"
    own: bool = False
    listed: bool = True
    warnings: tuple[str, ...] = ()


def served_tier(info: ModelInfo, tier: Tier) -> str:
    """The tier that bills a request: the one asked for, or the one that the model's name says, or ``fast``.

    Raises:
        UnknownPrice: They contradict each other.
    """
    if info.served and tier not in ("standard", info.served):
        raise UnknownPrice(info.requested, f"the name says {info.served}, the request {tier}", "tier")
    return info.served or tier


@cache
def price_facts() -> PriceFacts:
    """The facts about the price data that ship with tokenward."""
    document = read_json("prices.json")
    tiers, hosts = object_at(document, "tiers"), object_at(document, "hosts")
    return PriceFacts(
        contexts={tier: {key: str(value) for key, value in object_at(tiers, tier).items()} for tier in tiers},
        self_hosted=frozenset(str(prefix) for prefix in list_at(document, "self_hosted")),
        hosts={prefix: text_at(hosts, prefix) for prefix in hosts},
        routers=frozenset(str(prefix) for prefix in list_at(document, "routers")),
    )


class PriceList:
    """Finds a model's list prices. Loading the data takes some tenths of a second, at the first question.

    Args:
        data: Gives the data in force; what ships with genai-prices if not given.
    """

    def __init__(self, data: Callable[[], PriceData] = bundled_prices) -> None:
        self._data = cache(data)
        self._find = lru_cache(maxsize=_FOUND_NAMES)(self._search)

    @property
    def data(self) -> PriceData:
        """The data in force."""
        return self._data()

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
        found = self._find(info)
        if isinstance(found, str):
            raise UnknownPrice(info.requested, found)
        provider, model = found
        # A host that lists the name itself (OpenRouter's ``…:batch``) states that price as its standard one.
        served = tier if served_as(model.id) == info.served else served_tier(info, tier)
        table = _table(info.requested, found, served, at, input_tokens)
        if table.input_mtok is None and not _is_free(model, table):
            raise UnknownPrice(info.requested, f"{provider.id} lists no price per input token")
        return replace(_rates(provider.id, table, input_tokens, self.data), warnings=self._doubts(info, provider.id))

    def seller(self, info: ModelInfo) -> str:
        """Whose prices count for a name: the provider's id in the data; empty if there is none."""
        found = self._find(info)
        return "" if isinstance(found, str) else found[0].id

    def sold(self, name: str) -> str:
        """A name with its seller's id in the data in front, as far as it says one: ``bedrock/x`` is ``aws/x``."""
        written = self._written(name)
        host = self._host(written)
        prefix, _, rest = written.partition("/")
        return f"{host.id}/{rest or prefix}" if host else written

    def sizes(self) -> frozenset[int]:
        """The numbers of input tokens above which some model's prices change."""
        from genai_prices.types import TieredPrices  # noqa: PLC0415 - heavy

        models = (model for provider in self.data.providers for model in provider.models)
        prices: list[object] = [price for model in models for table in tables(model) for price in vars(table).values()]
        return frozenset(tier.start for price in prices if isinstance(price, TieredPrices) for tier in price.tiers)

    def _search(self, info: ModelInfo) -> "tuple[Provider, PricedModel] | str":
        """The price list's provider and model, or why there is none.

        A host written in front of the name (``groq/…``, Bedrock's ``us.anthropic.…``, Vertex' ``…@20260101``) has its
        own prices, and only those count. Without one, the maker's do. The name as written comes before the catalog's,
        since a dated version can have its own price. A configured alias says nothing itself: its target counts, sold
        by the host in front of the alias (``azure/my-deployment``) if the target names none and that host lists it.
        """
        providers = self.data.providers
        written = self._written(info.target)
        prefix, _, rest = written.partition("/")
        if rest and prefix in price_facts().self_hosted:
            return "what a model costs on one's own server is not known"
        host, owner = self._host(written), self._provider(info.provider or "")
        before = None if host or info.target == info.requested else self._host(self._written(info.requested))
        lists = [host] if host else [provider for provider in (before, owner) if provider]
        references = [rest or written, written, info.name]
        if not lists:
            lists = [p for p in providers if p.model_match and any(map(p.model_match.is_match, references))]
        for provider, reference in product(lists, references):
            own = (model for model in provider.models if model.id == reference)
            if model := provider.find_model(reference, all_providers=providers) or next(own, None):
                return provider, model
        seller = f"{lists[0].id} does not list it" if lists else "no provider lists it by this name"
        return seller if host else f"{seller}; where a host serves it, put the host in front, as in 'groq/…'"

    def _doubts(self, info: ModelInfo, seller: str) -> tuple[str, ...]:
        """That the host in front of a name is not known, so that the maker's prices stand for its."""
        written = self._written(info.target)
        prefix, _, rest = written.partition("/")
        if not rest or self._host(written) or prefix == info.served:
            return ()
        return (f"No prices of {shown(prefix)} are known; {seller}'s are taken, which may be others.",)

    def _written(self, name: str) -> str:
        """A name as it is compared: without routers in front, and ``groq/x`` for ``groq:x``."""
        facts, written = price_facts(), name.strip().lower()
        while found := _WAY.match(written):
            prefix, mark = found.groups()
            rest = written[found.end() :]
            known = prefix in facts.hosts or prefix in facts.self_hosted or prefix in self._ids
            if prefix not in facts.routers:
                return f"{prefix}/{rest}" if mark == ":" and known else written
            written = rest
        return written

    @cached_property
    def _ids(self) -> frozenset[str]:
        return frozenset(provider.id for provider in self.data.providers)

    def _host(self, written: str) -> "Provider | None":
        """The host in front of a name, or the one that its form gives away."""
        prefix, _, rest = written.partition("/")
        if not rest:
            return self._provider("google" if "@" in written else "aws" if _BEDROCK.match(written) else "")
        return self._provider("aws" if prefix.startswith("arn:") else price_facts().hosts.get(prefix, prefix))

    def _provider(self, name: str) -> "Provider | None":
        from genai_prices.data_snapshot import find_provider_by_id  # noqa: PLC0415 - heavy

        return find_provider_by_id(self.data.providers, name) if name else None


def _rates(provider: str, table: "ModelPrice", input_tokens: int, data: PriceData) -> Rates:
    """The table's prices for an input of this size. A table without any input price is a free model's."""

    def price(*keys: str) -> Decimal | None:
        prices = (getattr(table, key) for key in keys)
        return next((_at_size(value, input_tokens) for value in prices if value is not None), None)

    stated = {
        "input": price("input_mtok"),
        "output": price("output_mtok"),
        "cached_input": price("cache_read_mtok"),
        "cache_write": price("cache_write_5m_mtok", "cache_write_mtok"),
        "cache_write_1h": price("cache_write_1h_mtok"),
        "reasoning": price("output_reasoning_mtok"),
        "per_thousand_requests": price("requests_kcount"),
    }
    if stated["input"] is None:
        stated |= {"input": Decimal(0), "output": Decimal(0)}
    prices = {name: amount for name, amount in stated.items() if amount is not None}
    return Rates(provider, prices, source=data.source, date=data.date)


def _at_size(price: "Decimal | TieredPrices", input_tokens: int) -> Decimal:
    """A price at a size: crossing a threshold reprices all tokens, not only those above it."""
    if isinstance(price, Decimal):
        return price
    return next((tier.price for tier in reversed(price.tiers) if input_tokens > tier.start), price.base)


def _table(
    name: str, found: "tuple[Provider, PricedModel]", tier: str, at: datetime, input_tokens: int
) -> "ModelPrice":
    """The price table for a tier at a time. The library answers an unknown tier with standard prices; this refuses."""
    provider, model = found
    if model.prices == []:
        raise UnknownPrice(name, f"{provider.id} lists no price")
    standard = model.get_prices(at)
    if tier == "standard":
        return standard
    when = price_facts().contexts[tier]
    stated = [
        variant.prices
        for variant in model.price_variants or ()
        if variant.when == when and (variant.constraint is None or variant.constraint.active(at))
    ]
    if not stated or all(own is not model for own in provider.models):
        raise UnknownPrice(name, f"{provider.id} states no {tier} price for {at.date()}", "tier")
    table = model.get_prices(at, when)
    if isinstance(table.input_mtok, Decimal) and not (
        standard.input_mtok is None or isinstance(standard.input_mtok, Decimal)
    ):
        start = standard.input_mtok.tiers[0].start
        if input_tokens > start:
            raise UnknownPrice(name, f"{provider.id} states no {tier} price above {start} input tokens", "tier")
    return _without_cheaper(table, stated) if tier in _DEARER else table


def _without_cheaper(table: "ModelPrice", stated: "Iterable[ModelPrice]") -> "ModelPrice":
    """A dearer tier's table without the prices that it only has from the standard tier: they would be too low."""
    keys = {key for prices in stated for key, price in vars(prices).items() if price is not None}
    taken = [key for key in vars(table) if key.endswith("_mtok") and key not in keys]
    table = copy(table)
    table.__dict__.update(dict.fromkeys(taken))
    return table


def _is_free(model: "PricedModel", table: "ModelPrice") -> bool:
    """Whether a model is stated to cost nothing: OpenRouter's ``:free`` variants, listed without any price."""
    return model.id.endswith(":free") and not vars(table)
