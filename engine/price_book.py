"""What a model costs per million tokens: the data of ``genai-prices``, found for our names and read without guessing.

Only the data bundled with the package is read; nothing is ever downloaded. Where the data leaves a question open, the
answer is :class:`~tokenward.engine.errors.UnknownPrice`: a tier without its own price, a cache write without one, an
input beyond what a tier's price covers, a server that one runs oneself. The library itself would fall back to another
rate in these cases without saying so.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib.metadata import version
from itertools import product
from typing import TYPE_CHECKING

from tokenward.engine.catalog import Catalog, ModelInfo
from tokenward.engine.datafiles import list_at, object_at, read_json, text_at
from tokenward.engine.errors import InvalidInput, UnknownPrice
from tokenward.engine.usage import Tier

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo as PricedModel
    from genai_prices.types import ModelPrice, Provider, TieredPrices


_FOUND_NAMES = 1024
_BEDROCK = re.compile(
    r"(?:(?:us|us-gov|eu|apac|au|ca|jp|global)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshotai|nvidia|openai|qwen|writer|zai)\.[a-z]"
)


@dataclass(frozen=True, slots=True)
class PriceFacts:
    """``data/prices.json``: what the price package does not say itself.

    Attributes:
        package: The price package.
        version: The release that tokenward was tested with.
        date: The day on which that release appeared (ISO 8601).
        contexts: For each tier, the request context by which the package's data names it.
        self_hosted: Prefixes of model names that stand for servers that one runs oneself.
    """

    package: str
    version: str
    date: str
    contexts: dict[str, dict[str, str]]
    self_hosted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices in USD per million tokens as they apply to one request; ``None`` where no price is known.

    Attributes:
        provider: Whose prices these are.
        input: Input that is neither read from nor written to a cache.
        output: Output, reasoning included unless it has its own price.
        cached_input: Input read from a cache.
        cache_write: Input written to a cache for 5 minutes (or for the provider's only keeping time).
        cache_write_1h: Input written to a cache for an hour.
        reasoning: Reasoning, where it is priced apart from other output.
        per_thousand_requests: What a request costs before its tokens, in USD per thousand requests.
    """

    provider: str
    input: Decimal
    output: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    per_thousand_requests: Decimal | None = None


@cache
def price_facts() -> PriceFacts:
    """The facts about the price data that ship with tokenward."""
    document = read_json("prices.json")
    tiers = object_at(document, "tiers")
    return PriceFacts(
        package=text_at(document, "package"),
        version=text_at(document, "version"),
        date=text_at(document, "date"),
        contexts={tier: {key: str(value) for key, value in object_at(tiers, tier).items()} for tier in tiers},
        self_hosted=frozenset(str(prefix) for prefix in list_at(document, "self_hosted")),
    )


@cache
def price_source() -> tuple[str, str]:
    """The price data's name and version, and the day of its state (ISO 8601, or ``"unknown"``).

    The package states no date. The day is the one on which its release appeared on the package index, kept in
    ``data/prices.json`` for the release that tokenward was tested with; for any other release it is unknown.
    """
    facts = price_facts()
    installed = version(facts.package)
    return f"{facts.package} {installed}", facts.date if installed == facts.version else "unknown"


class PriceBook:
    """Finds a model's prices. Loading the data takes some tenths of a second, at the first question."""

    def __init__(self) -> None:
        self._plain = Catalog()
        self._find = lru_cache(maxsize=_FOUND_NAMES)(self._search)

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
        found = self._find(info.requested, info.name, info.provider)
        if isinstance(found, str):
            raise UnknownPrice(info.requested, found)
        provider, model = found
        table = _table(info.requested, found, tier, at, input_tokens)
        if table.input_mtok is None and not _is_free(model, table):
            raise UnknownPrice(info.requested, f"{provider.id} lists no price per input token")
        return _rates(provider.id, table, input_tokens)

    def _search(self, requested: str, name: str, maker: str | None) -> "tuple[Provider, PricedModel] | str":
        """The price list's provider and model, or why there is none.

        A host written in front of the name (``groq/…``, Bedrock's ``us.anthropic.…``, Vertex' ``…@20260101``) has its
        own prices, and only those count. Without one, the maker's do. The name as written comes before the catalog's,
        since a dated version can have its own price. A configured alias says nothing itself: only its target counts.
        """
        from genai_prices.data import providers  # noqa: PLC0415 - heavy
        from genai_prices.data_snapshot import find_provider_by_id  # noqa: PLC0415 - heavy

        written = requested.strip().lower()
        prefix, _, rest = written.partition("/")
        if rest and prefix in price_facts().self_hosted:
            return "what a model costs on one's own server is not known"
        alias = self._is_alias(requested, name)
        references = [name] if alias else [rest or written, written, name]
        host_id = prefix if rest else _implied_host(written)
        host = find_provider_by_id(providers, host_id) if host_id else None
        owner = find_provider_by_id(providers, maker) if maker else None
        lists = [host] if host and not alias else [provider for provider in (host, owner) if provider]
        if not lists:
            lists = [p for p in providers if p.model_match and any(map(p.model_match.is_match, references))]
        for provider, reference in product(lists, references):
            own = (model for model in provider.models if model.id == reference)
            if model := provider.find_model(reference, all_providers=providers) or next(own, None):
                return provider, model
        seller = f"{lists[0].id} does not list it" if lists else "no provider lists it by this name"
        return seller if host else f"{seller}; where a host serves it, put the host in front, as in 'groq/…'"

    def _is_alias(self, requested: str, name: str) -> bool:
        """Whether only the configuration, not the spelling, makes this name of that."""
        try:
            return self._plain.resolve(requested).name != name
        except InvalidInput:
            return True


def _rates(provider: str, table: "ModelPrice", input_tokens: int) -> Rates:
    """The table's prices for an input of this size. A table without any input price is a free model's."""

    def price(*keys: str) -> Decimal | None:
        prices = (getattr(table, key) for key in keys)
        return next((_at_size(value, input_tokens) for value in prices if value is not None), None)

    base = price("input_mtok")
    return Rates(
        provider=provider,
        input=Decimal(0) if base is None else base,
        output=Decimal(0) if base is None else price("output_mtok"),
        cached_input=price("cache_read_mtok"),
        cache_write=price("cache_write_5m_mtok", "cache_write_mtok"),
        cache_write_1h=price("cache_write_1h_mtok"),
        reasoning=price("output_reasoning_mtok"),
        per_thousand_requests=price("requests_kcount"),
    )


def _at_size(price: "Decimal | TieredPrices", input_tokens: int) -> Decimal:
    """A price at a size: crossing a threshold reprices all tokens, not only those above it."""
    if isinstance(price, Decimal):
        return price
    return next((tier.price for tier in reversed(price.tiers) if input_tokens > tier.start), price.base)


def _table(
    name: str, found: "tuple[Provider, PricedModel]", tier: Tier, at: datetime, input_tokens: int
) -> "ModelPrice":
    """The price table for a tier at a time. The library answers an unknown tier with standard prices; this refuses."""
    provider, model = found
    standard = model.get_prices(at)
    if tier == "standard":
        return standard
    when = price_facts().contexts[tier]
    stated = any(
        variant.when == when and (variant.constraint is None or variant.constraint.active(at))
        for variant in model.price_variants or ()
    )
    if not stated or all(own is not model for own in provider.models):
        raise UnknownPrice(name, f"{provider.id} states no {tier} price for {at.date()}", "tier")
    table = model.get_prices(at, when)
    if isinstance(table.input_mtok, Decimal) and not (
        standard.input_mtok is None or isinstance(standard.input_mtok, Decimal)
    ):
        start = standard.input_mtok.tiers[0].start
        if input_tokens > start:
            raise UnknownPrice(name, f"{provider.id} states no {tier} price above {start} input tokens", "tier")
    return table


def _is_free(model: "PricedModel", table: "ModelPrice") -> bool:
    """Whether a model is stated to cost nothing: OpenRouter's ``:free`` variants, listed without any price."""
    return model.id.endswith(":free") and not vars(table)


def _implied_host(written: str) -> str:
    """The host that a name without ``host/`` in front gives away by its form."""
    if "@" in written:
        return "google"
    return "aws" if _BEDROCK.match(written) else ""
