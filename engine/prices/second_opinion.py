"""A second opinion on prices: a reduced table of another public list, and where the two differ by more than 1 %.

The table is ``data/second_prices.json``, made by ``scripts/make_second_prices.py``. It holds the makers' own prices, so
nothing is said of what other hosts charge. A difference does not say who is right: both lists are kept by hand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache, lru_cache, partial

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.datafiles import object_at, read_json, text_at
from tokenward.engine.errors import UnknownPrice
from tokenward.engine.money import decimal_text
from tokenward.engine.types import JsonObject
from tokenward.engine.usage import Tier

_THRESHOLD = Decimal("0.01")
"""Prices whose difference is no more than this share of the other list's are taken for the same."""

_REMEMBERED = 1_024


@dataclass(frozen=True, slots=True)
class Difference:
    """A price that the lists state differently, in USD per million tokens as decimal strings.

    Attributes:
        ours: The price that was applied.
        theirs: The other list's.
        ratio: Ours by theirs, to four decimals.
    """

    ours: str
    theirs: str
    ratio: str


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Where another list states other prices for the same model, tier and size.

    Attributes:
        source: The other list and its version.
        date: The day on which that version was released (ISO 8601).
        prices: The differences, by the names of the kinds of tokens (``input``, ``output``, ``cached_input`` …).
    """

    source: str
    date: str
    prices: dict[str, Difference]


def disagreement(
    info: ModelInfo,
    rates: Mapping[str, Decimal],
    *,
    tier: Tier,
    input_tokens: int,
    provider: str | None = None,
    at: datetime | None = None,
    listed: Callable[[datetime, int], Mapping[str, Decimal]] | None = None,
) -> Disagreement | None:
    """Where the other list differs from prices that were applied, or ``None`` if it does not or is silent.

    Only prices that both state are compared: a kind of token that the other list does not state for an input of this
    size is passed over. It has one price for each of its sizes, that of its day. Where our list had another price on
    that day, or has another one at the start of that size, it knows of a change or a size on which the other is silent.

    Args:
        info: The model, as the catalog resolved it.
        rates: The prices applied, in USD per million tokens, by the fields of
            :class:`~tokenward.engine.prices.listed.Rates`; further fields are ignored.
        tier: How the request is served.
        input_tokens: Its whole input.
        provider: Whose prices were applied, by genai-prices' name; the maker's if not given. Other hosts' are not
            compared.
        at: When the request was made, with a zone. Nothing is said of days before the other list.
        listed: Our list's prices at a time for an input; without it, they are taken for the same at all of them.
    """
    source, day = second_source()
    start = datetime.combine(date.fromisoformat(day), time(), UTC)
    if at is not None and at < start:
        return None
    name = _listed(info)
    served = info.served or tier
    size = name and _size(name, served, input_tokens)
    if not name or not size:
        return None
    found = _compared(name, provider or info.provider, served, size, frozenset(rates.items()))
    # At the same hour: some prices depend on it.
    then = start if at is None else datetime.combine(start, at.astimezone(UTC).timetz())
    if not found or (listed and not _stands(rates, partial(listed, then, min(int(size) + 1, input_tokens)))):
        return None
    return Disagreement(source, day, dict(found))


def _stands(rates: Mapping[str, Decimal], then: Callable[[], Mapping[str, Decimal]]) -> bool:
    """Whether our list's prices are those that it states for the other list's day and size."""
    try:
        return then() == rates
    except UnknownPrice:
        return False


@cache
def second_source() -> tuple[str, str]:
    """The other list and its version, and the day on which that version was released (ISO 8601)."""
    source = object_at(read_json("second_prices.json"), "source")
    return f"{text_at(source, 'package')} {text_at(source, 'version')}", text_at(source, "released")


@cache
def _models() -> JsonObject:
    return object_at(read_json("second_prices.json"), "models")


def _listed(info: ModelInfo) -> str | None:
    """The other list's name of a model: as it is written, if that leads to the same model, else the catalog's."""
    for name in (info.target.strip().lower().rsplit("/", 1)[-1], info.name):
        entry = _models().get(name)
        if isinstance(entry, dict) and entry.get("name", name) == info.name:
            return name
    return None


def _size(name: str, tier: str, input_tokens: int) -> str | None:
    """The size above which the prices that hold for an input are stated; ``None`` where there are none for it."""
    sizes = object_at(object_at(_models(), name), "rates").get(tier)
    starts = sorted(map(int, sizes)) if isinstance(sizes, dict) else []
    # A price above a size does not hold for the size itself.
    below = [start for start in starts if start < input_tokens or start == 0]
    return str(below[-1]) if below else None


@lru_cache(maxsize=_REMEMBERED)
def _compared(
    name: str, provider: str | None, tier: str, size: str, stated: frozenset[tuple[str, Decimal]]
) -> tuple[tuple[str, Difference], ...]:
    entry = object_at(_models(), name)
    if text_at(entry, "provider") != provider:
        return ()
    theirs = object_at(object_at(object_at(entry, "rates"), tier), size)
    pairs = [(kind, price, Decimal(text_at(theirs, kind))) for kind, price in sorted(stated) if kind in theirs]
    return tuple((kind, _difference(ours, other)) for kind, ours, other in pairs if _differ(ours, other))


def _differ(ours: Decimal, theirs: Decimal) -> bool:
    return abs(ours - theirs) > _THRESHOLD * theirs


def _difference(ours: Decimal, theirs: Decimal) -> Difference:
    return Difference(decimal_text(ours), decimal_text(theirs), f"{ours / theirs:.4f}")
