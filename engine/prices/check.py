"""Whether other price data may take the place of what is in force, and what it changes."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from tokenward.engine.datafiles import list_at, read_json
from tokenward.engine.errors import PricesRefused, shown
from tokenward.engine.money import decimal_text
from tokenward.engine.prices.data import conditions, last_change, tables
from tokenward.engine.usage import MAX_TOKENS

if TYPE_CHECKING:
    from datetime import time

    from genai_prices.types import ConditionalPrice, MatchLogic, ModelInfo, ModelPrice, PriceVariant, Provider

FEWEST_SHARE = Decimal("0.8")
"""Data with a smaller share of the models in force, as a whole or of a well-known provider, is taken for incomplete."""

LARGEST_PRICE = 10_000
"""USD per million tokens (or per what else is priced). The dearest in genai-prices 0.2.3 is 600, o1-pro's output."""

LARGEST_FACTOR = 10
"""A well-known model's price that goes up or down by more than this needs somebody to say that it is right."""

MINUTES_PER_STEP = 15
"""Prices that change over the day change on quarter hours; what is priced in bulk relies on it."""


_LONGEST_PATTERN = 200
_MOST_IN_PATTERN = MappingProxyType({r"[*+]|\{\d*,\d*\}": 2, r"(?<!\()\?": 6, r"\(": 6})
"""How many repetitions, options and groups a pattern may have; genai-prices 0.2.3 has 1, 2 and 4, in 104 characters."""

_REPEATED_GROUP = re.compile(r"\)[*+{]|\\[1-9]|\(\?P=")


@dataclass(frozen=True, slots=True)
class PriceChange:
    """A price that another state of the data states differently, in USD per million tokens.

    Attributes:
        provider: Whose price, by genai-prices' name.
        model: Its name in the data.
        price: The kind of price in genai-prices' words, and when it holds: ``input_mtok``, ``input_mtok (batch) from
            2026-12-01 above 200,000``.
        before: The price as a decimal string; empty if new.
        after: The same, afterwards; empty if it is gone.
    """

    provider: str
    model: str
    price: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class PriceChanges:
    """What differs between two states of the data. Models are written as ``provider/model``.

    Attributes:
        new: Models that were not there.
        gone: Models that are no longer there.
        changed: Prices of models that are in both.
        drastic: Those of them that are a well-known provider's and change by more than ``LARGEST_FACTOR``.
    """

    new: tuple[str, ...]
    gone: tuple[str, ...]
    changed: tuple[PriceChange, ...]
    drastic: tuple[PriceChange, ...]


@cache
def well_known() -> frozenset[str]:
    """The providers that price data must have."""
    return frozenset(map(str, list_at(read_json("prices.json"), "well_known")))


def check_prices(after: "Sequence[Provider]", before: "Sequence[Provider]", today: date) -> None:
    """Whether data can be complete and right.

    Args:
        after: The data to be checked.
        before: The data in force.
        today: The day on which it is to come into force.

    Raises:
        PricesRefused: A well-known provider or many models are missing, a price, a size, a time or a pattern cannot be,
            a name stands for another model than before, or the data is older than what is in force.
    """
    _check_once("providers", [provider.id for provider in after])
    sizes, sizes_before = _sizes(after), _sizes(before)
    missing = sorted(well_known() - sizes.keys())
    if missing:
        raise PricesRefused(f"The data has no provider {missing[0]!r}; it is incomplete.")
    _check_size("", sum(sizes.values()), sum(sizes_before.values()))
    for name in sorted(well_known()):
        _check_size(f" of {name}", sizes[name], sizes_before.get(name, 0))
    for provider in after:
        _check_patterns(provider.id, provider.model_match)
        _check_patterns(provider.id, provider.provider_match)
        _check_once(f"models of {provider.id}", [model.id for model in provider.models])
        for model in provider.models:
            _check_model(f"{provider.id}/{model.id}", model)
    _check_names(after, before)
    newest, newest_before = last_change(after, today), last_change(before, today)
    if newest < newest_before:
        raise PricesRefused(
            f"The data is older than what is in force: the last change of a price that it knows of is of {newest}, "
            f"the other's of {newest_before}."
        )


def compare_prices(before: "Sequence[Provider]", after: "Sequence[Provider]") -> PriceChanges:
    """What differs between two states of the data: in all tiers, at all sizes, now and to come."""
    old, new = _stated(before), _stated(after)
    changed: list[PriceChange] = []
    drastic: list[PriceChange] = []
    for key in sorted(old.keys() & new.keys()):
        was, now = old[key], new[key]
        for price in sorted(price for price in was.keys() | now.keys() if was.get(price) != now.get(price)):
            change = PriceChange(*key, price, _text(was.get(price)), _text(now.get(price)))
            changed.append(change)
            if key[0] in well_known() and price in now and _is_drastic(price, was, now[price]):
                drastic.append(change)
    return PriceChanges(
        new=tuple("/".join(key) for key in sorted(new.keys() - old.keys())),
        gone=tuple("/".join(key) for key in sorted(old.keys() - new.keys())),
        changed=tuple(changed),
        drastic=tuple(drastic),
    )


def _check_once(what: str, names: Sequence[str]) -> None:
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise PricesRefused(f"The data has {shown(twice[0])} twice among the {what}.")


def _check_names(after: "Sequence[Provider]", before: "Sequence[Provider]") -> None:
    """Whether the names of well-known models still find these, and no other ones."""
    providers, providers_before = list(after), list(before)
    known = {provider.id: provider for provider in providers}
    for was in providers_before:
        now = known.get(was.id)
        if now is None or was.id not in well_known():
            continue
        for name in {model.id for model in was.models} & {model.id for model in now.models}:
            found = was.find_model(name, all_providers=providers_before)
            other = now.find_model(name, all_providers=providers)
            if found and other and found.id == name != other.id:
                raise PricesRefused(f"In the data {shown(other.id)} takes the name of {was.id}/{name}.")


def _sizes(providers: "Sequence[Provider]") -> Mapping[str, int]:
    return {provider.id: len(provider.models) for provider in providers}


def _check_size(whose: str, models: int, before: int) -> None:
    if models < FEWEST_SHARE * before:
        raise PricesRefused(f"The data has {models} models{whose}, and {before} are in force; it is incomplete.")


def _check_model(name: str, model: "ModelInfo") -> None:
    if model.prices == []:
        raise PricesRefused(f"The data has no price of {shown(name)}.")
    for prices in tables(model):
        for sizes in _tier_starts(prices):
            if sizes != sorted({size for size in sizes if 0 < size <= MAX_TOKENS}):
                raise PricesRefused(f"The data has sizes of inputs that cannot be: {shown(name)}, {sizes}.")
        for kind, _, price in _values(prices):
            if not 0 <= price <= LARGEST_PRICE:
                raise PricesRefused(f"The data has a price that cannot be: {shown(name)}, {kind} {price}.")
    for one in conditions(model):
        for moment in _times(one):
            if (moment.minute % MINUTES_PER_STEP, moment.second, moment.microsecond) != (0, 0, 0):
                raise PricesRefused(f"The data has a price of {shown(name)} begin at {moment}, not on a quarter hour.")
    _check_patterns(name, model.match)


def _check_patterns(name: str, match: "MatchLogic | None") -> None:
    """Whether the regular expressions by which names are found can be used."""
    from genai_prices.types import ClauseAnd, ClauseOr, ClauseRegex  # noqa: PLC0415 - heavy

    if isinstance(match, ClauseRegex):
        if _may_take_long(match.regex):
            raise PricesRefused(f"The data has a pattern for {shown(name)} that may take forever to match.")
        try:
            re.compile(match.regex)
        except (re.error, OverflowError, RecursionError):
            raise PricesRefused(f"The data has a pattern for {shown(name)} that cannot be used.") from None
    for one in match.or_ if isinstance(match, ClauseOr) else match.and_ if isinstance(match, ClauseAnd) else ():
        _check_patterns(name, one)


def _times(one: "ConditionalPrice | PriceVariant") -> "Iterator[time]":
    from genai_prices.types import TimeOfDateConstraint  # noqa: PLC0415 - heavy

    if isinstance(one.constraint, TimeOfDateConstraint):
        yield from (one.constraint.start_time, one.constraint.end_time)


def _values(prices: "ModelPrice") -> Iterator[tuple[str, int, Decimal]]:
    """A table's prices: of what, above how many tokens of input, and the price."""
    from genai_prices.types import TieredPrices  # noqa: PLC0415 - heavy

    for kind, stated in vars(prices).items():
        if isinstance(stated, TieredPrices):
            yield kind, 0, stated.base
            yield from ((kind, tier.start, tier.price) for tier in stated.tiers)
        elif isinstance(stated, Decimal):
            yield kind, 0, stated


def _tier_starts(prices: "ModelPrice") -> Iterator[list[int]]:
    from genai_prices.types import TieredPrices  # noqa: PLC0415 - heavy

    stated: list[object] = list(vars(prices).values())
    yield from ([tier.start for tier in one.tiers] for one in stated if isinstance(one, TieredPrices))


def _stated(providers: "Sequence[Provider]") -> dict[tuple[str, str], dict[str, Decimal]]:
    """All prices of each model, by what they are for and when they hold."""
    return {(provider.id, model.id): dict(_rows(model)) for provider in providers for model in provider.models}


def _rows(model: "ModelInfo") -> Iterator[tuple[str, Decimal]]:
    conditional = list(conditions(model))
    labelled = [(_when(one), one.prices) for one in conditional]
    if len(conditional) < len(list(tables(model))):  # one of them holds always
        labelled.insert(0, ("", next(tables(model))))
    seen = Counter[str]()
    for when, prices in labelled:
        for kind, start, price in _values(prices):
            label = f"{kind}{when}{f' above {start:,}' if start else ''}"
            seen[label] += 1
            yield label if seen[label] == 1 else f"{label} #{seen[label]}", price


def _when(one: "ConditionalPrice | PriceVariant") -> str:
    """When a price holds, in words: `` (batch) from 2026-12-01``."""
    from genai_prices.types import PriceVariant, StartDateConstraint, TimeOfDateConstraint  # noqa: PLC0415 - heavy

    tier = f" ({', '.join(map(str, one.when.values()))})" if isinstance(one, PriceVariant) else ""
    if isinstance(one.constraint, StartDateConstraint):
        return f"{tier} from {one.constraint.start_date}"
    if isinstance(one.constraint, TimeOfDateConstraint):
        return f"{tier} from {one.constraint.start_time} to {one.constraint.end_time}"
    return tier


def _text(price: Decimal | None) -> str:
    return "" if price is None else decimal_text(price)


def _is_drastic(price: str, was: Mapping[str, Decimal], now: Decimal) -> bool:
    """Whether a price changes more than prices do. One that goes to 0 does.

    One that is new is held against all that the model had of its kind, where it had any.
    """
    kind = price.partition(" ")[0]
    before = [was[price]] if price in was else [one for name, one in was.items() if name.partition(" ")[0] == kind]
    return bool(before) and (now > LARGEST_FACTOR * max(before) or LARGEST_FACTOR * now < min(before))


def _may_take_long(regex: str) -> bool:
    """Whether matching a name may take long: repeated groups, and many repetitions or choices, can take forever."""
    too_many = any(len(re.findall(part, regex)) > most for part, most in _MOST_IN_PATTERN.items())
    return too_many or len(regex) > _LONGEST_PATTERN or _REPEATED_GROUP.search(regex) is not None
