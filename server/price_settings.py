"""Prices and exchange rates as they are written in the settings.

What is written here becomes :class:`~tokenward.engine.prices.own.OwnPrices` and
:class:`~tokenward.engine.currency.Currencies`. Amounts are texts, never binary floats.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, TypeAlias, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema

from tokenward.engine.currency import Currencies, Currency
from tokenward.engine.errors import InvalidInput, nearest
from tokenward.engine.prices.own import PRICE_NAMES, OwnPrice, OwnPrices, OwnTable
from tokenward.engine.types import JsonObject
from tokenward.engine.usage import MAX_TOKENS, Tier

_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,18})?", re.ASCII)
_TIERS: tuple[Tier, ...] = get_args(Tier)


def _decimal(value: object) -> object:
    """A number from its text, or from an integer."""
    if type(value) is int and value >= 0:
        return Decimal(value)
    if isinstance(value, Decimal):
        return value
    if isinstance(value, float):
        # pydantic wants a ValueError here and below.
        raise ValueError("expected a text such as '2.50'; a binary float is not exact")  # noqa: TRY004
    text = value.strip() if isinstance(value, str) else str(value)
    if text.startswith("-"):
        raise ValueError("expected 0 or more; it is negative")
    if not isinstance(value, str) or not _NUMBER.fullmatch(text):
        raise ValueError("expected a decimal number as text, such as '2.50'")
    return Decimal(text)


def _day(value: object) -> object:
    """A day, as TOML's own date or as text."""
    if isinstance(value, datetime) or not isinstance(value, date | str):
        raise ValueError("expected a day, such as 2026-11-20")  # noqa: TRY004 - pydantic wants a ValueError
    try:
        return date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("expected a day, such as 2026-11-20") from None


def _number_schema(pattern: str, least: int, most: int) -> JsonObject:
    """A number as text or as an integer, as narrow as a schema can say it."""
    return {
        "anyOf": [
            {"type": "string", "pattern": rf"^{pattern}$"},
            {"type": "integer", "minimum": least, "maximum": most},
        ]
    }


RATE_SCHEMA = _number_schema(r"(?!0+(\.0+)?$)[0-9]{1,12}(\.[0-9]{1,18})?", 1, 10**12 - 1)
_PRICE_SCHEMA = _number_schema(r"0*(100000(\.0{1,18})?|[0-9]{1,5}(\.[0-9]{1,18})?)", 0, 100_000)
_PERCENT_SCHEMA = _number_schema(r"0*(100(\.0{1,18})?|[0-9]{1,2}(\.[0-9]{1,18})?)", 0, 100)
_DAY_SCHEMA: JsonObject = {
    "type": "string",
    "format": "date",
    "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
}

_Amount: TypeAlias = Annotated[Decimal, BeforeValidator(_decimal), WithJsonSchema(dict(_PRICE_SCHEMA))]
_Percent: TypeAlias = Annotated[Decimal, BeforeValidator(_decimal), WithJsonSchema(dict(_PERCENT_SCHEMA))]
_Rate: TypeAlias = Annotated[Decimal, BeforeValidator(_decimal), WithJsonSchema(dict(RATE_SCHEMA))]
_Day: TypeAlias = Annotated[date, BeforeValidator(_day), WithJsonSchema(dict(_DAY_SCHEMA))]


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RatesSetting(_Written):
    """Prices in USD per million tokens, as texts. What is left out has no price."""

    input: _Amount | None = Field(None, description="Input outside the cache.")
    output: _Amount | None = Field(None, description="Output, reasoning included unless that has its own price.")
    cached_input: _Amount | None = Field(None, description="Input read from the cache; as input if left out.")
    cache_write: _Amount | None = Field(None, description="Input written to the cache for 5 minutes.")
    cache_write_1h: _Amount | None = Field(None, description="Input written to the cache for an hour.")
    reasoning: _Amount | None = Field(None, description="Reasoning; as output if left out.")
    per_thousand_requests: _Amount | None = Field(None, description="USD per thousand requests, beside the tokens.")

    def prices(self) -> dict[str, Decimal]:
        """What is stated."""
        stated: Mapping[str, Decimal | None] = {name: getattr(self, name) for name in PRICE_NAMES}
        return {name: price for name, price in stated.items() if price is not None}


class LongContextSetting(RatesSetting):
    """What costs otherwise for long inputs: all tokens of a request whose whole input is above a number."""

    above: int = Field(strict=True, ge=1, le=MAX_TOKENS, description="Input tokens above which these prices hold.")


class TableSetting(RatesSetting):
    """Prices of one service level."""

    long_context: tuple[LongContextSetting, ...] = Field((), description="Prices of long inputs.")

    def table(self) -> OwnTable | None:
        """The prices in the engine's form; ``None`` if nothing is stated."""
        prices = self.prices()
        sizes = {one.above: one.prices() for one in self.long_context}
        if len(sizes) < len(self.long_context):
            raise InvalidInput("long_context", "one number of tokens stands there twice; keep one of them.")
        return OwnTable(prices, sizes) if prices or sizes else None


class PriceSetting(TableSetting):
    """The price of one model: its own, or the list's with a discount."""

    like: str = Field("", description="A model of the price list with the same prices, but for what is stated here.")
    discount_percent: _Percent = Field(Decimal(0), description="Taken off the list price, from '0' to '100'.")
    provider: str = Field("", description="Whose price it is said to be.")
    start: _Day | None = Field(None, alias="from", description="The first day on which it holds (UTC).")
    until: _Day | None = Field(None, description="The first day on which it no longer holds (UTC).")
    date: _Day | None = Field(None, description="The day of the price; the day of the settings' file if left out.")
    source: str = Field("", description="Where the price is from, such as a contract.")
    batch: TableSetting | None = Field(None, description="Prices of batches.")
    flex: TableSetting | None = Field(None, description="Prices of the service level 'flex'.")
    priority: TableSetting | None = Field(None, description="Prices of the service level 'priority'.")

    def own_price(self, name: str, day: str) -> OwnPrice:
        """The price in the engine's form.

        Args:
            name: The model's.
            day: The day of its state where none is stated.

        Raises:
            InvalidInput: It contradicts itself, or says nothing.
        """
        return OwnPrice(
            name=name,
            tables=self._tables(),
            like=self.like,
            discount_percent=self.discount_percent,
            provider=self.provider,
            start=self.start,
            end=self.until,
            date=self.date.isoformat() if self.date else day,
            source=self.source,
        )

    def _tables(self) -> dict[Tier, OwnTable]:
        written: dict[Tier, TableSetting | None] = {
            "standard": self,
            "batch": self.batch,
            "flex": self.flex,
            "priority": self.priority,
        }
        tables: dict[Tier, OwnTable] = {}
        for tier, one in written.items():
            table = one.table() if one is not None else None
            if table is not None:
                tables[tier] = table
        return tables


class ExchangeRateSetting(_Written):
    """What one US dollar is in another currency."""

    rate: _Rate = Field(description="Units of the currency for one US dollar.")
    date: _Day | None = Field(None, description="The day of the rate.")
    source: str = Field("", description="Where the rate is from.")


def _several(value: object) -> object:
    """One price of a model, or several that hold one after the other."""
    return value if type(value) in (list, tuple) else [value]


def _rate(value: object) -> object:
    """A rate alone, or with its day and source."""
    return value if type(value) in (dict, ExchangeRateSetting) else {"rate": value}


WrittenPrices: TypeAlias = dict[str, Annotated[tuple[PriceSetting, ...], BeforeValidator(_several)]]
ExchangeRates: TypeAlias = dict[str, Annotated[ExchangeRateSetting, BeforeValidator(_rate)]]


def own_prices(prices: Mapping[str, Sequence[PriceSetting]], day: str = "unknown") -> OwnPrices:
    """Written prices in the engine's form.

    Args:
        prices: By the models' names.
        day: The day of the state of those that state none (ISO 8601), or ``"unknown"``.

    Raises:
        InvalidInput: The first that cannot be used, by its key.
    """
    found: list[OwnPrice] = []
    for name, several in prices.items():
        for one in several:
            try:
                found.append(one.own_price(name, day))
            except InvalidInput as error:
                raise InvalidInput(f"prices.{name}.{error.field}", error.problem) from None
    return OwnPrices(found)


def day_of_prices(file: object) -> str:
    """The day on which the settings' file was changed (UTC); unknown where the environment says prices too."""
    if not isinstance(file, Path) or os.environ.get("TOKENWARD_PRICES"):
        return "unknown"
    try:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC).date().isoformat()
    except OSError:  # it was there a moment ago
        return "unknown"


def own_prices_of(prices: Mapping[str, object], day: str = "unknown") -> OwnPrices:
    """Own prices as they would be written in the settings, for those who use the library.

    Raises:
        InvalidInput: The first that cannot be used, by its key.
    """
    try:
        return own_prices(TypeAdapter(WrittenPrices).validate_python(prices), day)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    *parents, last = "prices", *first["loc"]
    problem = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = known_keys(parents)
        problem = f"it is no kind of price.{nearest(str(last), known)} Known: {', '.join(known)}"
    raise InvalidInput(".".join(map(str, (*parents, last))), f"{problem}.")


def check_once(text: str) -> None:
    """Whether no table in a JSON text gives a key twice; of two prices nobody knows which one is meant.

    Raises:
        InvalidInput: One does.
    """

    def once(pairs: list[tuple[str, object]]) -> None:
        keys = [key for key, _ in pairs]
        twice = [key for index, key in enumerate(keys) if key in keys[:index]]
        if twice:
            raise InvalidInput(twice[0], "it stands there twice; keep one of them.")

    json.loads(text, object_pairs_hook=once)


def currencies(rates: Mapping[str, ExchangeRateSetting], default: str) -> Currencies:
    """Written exchange rates in the engine's form.

    Raises:
        InvalidInput: A code or rate cannot be, or the default has none.
    """
    return Currencies((_currency(code, one) for code, one in rates.items()), default)


def _currency(code: str, rate: ExchangeRateSetting) -> Currency:
    try:
        return Currency(code, rate.rate, rate.date.isoformat() if rate.date else "", rate.source)
    except InvalidInput as error:
        where = f"exchange_rates.{code}" if error.field == "currency" else error.field
        raise InvalidInput(where, error.problem) from None


def known_keys(parents: Sequence[int | str]) -> Sequence[str]:
    """The keys of the table at a place in the settings about money, such as ``("prices", "my-model", 0, "batch")``."""
    model: type[BaseModel] = ExchangeRateSetting
    if parents[0] == "prices":
        nested: dict[int | str, type[BaseModel]] = {"long_context": LongContextSetting}
        nested |= dict.fromkeys(_TIERS, TableSetting)
        model = next((nested[part] for part in reversed(parents[2:]) if part in nested), PriceSetting)
    return [field.alias or name for name, field in model.model_fields.items()]
