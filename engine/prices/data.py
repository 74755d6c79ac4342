"""Which price data is in force: what ships with ``genai-prices``, or what ``tokenward prices update`` fetched.

A price file is a JSON object: ``providers`` is the array that genai-prices publishes, and beside it stand its name
(``source``), where it came from (``from``), the day of its state (``date``, ISO 8601) and the SHA-256 of the array as
compact JSON (``sha256``). Nothing here downloads anything.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tokenward.engine.datafiles import read_json, text_at
from tokenward.engine.errors import ConfigurationError
from tokenward.engine.types import DAY_US, JsonObject, JsonValue

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, PriceVariant, Provider, TieredPrices
    from pydantic import TypeAdapter

MAX_PRICE_FILE_BYTES = 32 * 1024 * 1024
"""More than this is no price file; the published one has some hundred kilobytes."""

UNKNOWN_DATE = "unknown"

_EPOCH = date(1970, 1, 1)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PriceData:
    """Prices of all providers, and what they are.

    Attributes:
        providers: The providers and their models, in genai-prices' types.
        source: Where they come from, such as ``genai-prices 0.2.3``.
        date: The day of their state (ISO 8601), or ``"unknown"``.
        fetched_from: Where an update came from; empty for what is bundled.
        warning: Why these are in force although others were asked for; empty if nothing is wrong.
    """

    providers: "list[Provider]"
    source: str
    date: str
    fetched_from: str = ""
    warning: str = ""


@cache
def bundled_prices() -> PriceData:
    """The data of the installed genai-prices. Loading it takes some tenths of a second."""
    from genai_prices.data import providers  # noqa: PLC0415 - heavy

    return PriceData(providers, *bundled_source())


@cache
def bundled_source() -> tuple[str, str]:
    """The installed package and its version, and the day of its state; nothing heavy is loaded.

    The package states no date. The day is the one on which its release appeared on the package index, kept in
    ``data/prices.json`` for the release that tokenward was tested with; for any other release it is unknown.
    """
    facts = read_json("prices.json")
    package = text_at(facts, "package")
    installed = version(package)
    return f"{package} {installed}", text_at(facts, "date") if installed == text_at(facts, "version") else UNKNOWN_DATE


def read_prices(file: Path) -> PriceData:
    """The prices in a file that ``tokenward prices update`` wrote.

    Raises:
        ConfigurationError: The file cannot be read, is damaged, or holds no prices.
    """
    document = read_price_file(file)
    try:
        return price_data_of(document)
    except ValueError as error:
        raise _damaged(file, str(error).partition("\n")[0]) from None


def price_data_of(document: JsonObject) -> PriceData:
    """The prices in a price file's document.

    Raises:
        ValueError: Its providers do not have the form of genai-prices' data.
    """
    raw = document["providers"]
    providers = parse_providers(raw if isinstance(raw, list) else [])
    return PriceData(providers, str(document["source"]), str(document["date"]), str(document.get("from", "")))


def read_price_file(file: Path) -> JsonObject:
    """A price file as it is written, its checksum and head found right.

    Raises:
        ConfigurationError: The file cannot be read or is damaged.
    """
    document = _document(file)
    try:
        date.fromisoformat(str(document.get("date")))
    except ValueError:
        raise _damaged(file, "it has no day") from None
    if not isinstance(document.get("source"), str) or not isinstance(document.get("providers"), list):
        raise _damaged(file, "it is not one that 'tokenward prices update' wrote")
    if document.get("sha256") != checksum(document["providers"]):
        raise _damaged(file, "its checksum is wrong")
    return document


def prices_in_force(file: Path | None) -> PriceData:
    """The prices of a file if there is one and it is newer than what is bundled, else what is bundled.

    A file that cannot be used is no error: the bundled prices are in force, with a ``warning`` that is also logged.

    Args:
        file: Where updated prices are kept; ``None`` for never.
    """
    if file is None:
        return bundled_prices()
    try:
        if not file.exists():
            return bundled_prices()
        updated = read_prices(file)
    except (ConfigurationError, OSError) as error:
        problem = _unreadable(file, error) if isinstance(error, OSError) else error
        warning = f"{problem} The prices bundled with tokenward are used."
        _LOG.warning("%s", warning)
        bundled = bundled_prices()
        return replace(bundled, warning=warning)
    return updated if is_newer(updated, bundled_prices()) else bundled_prices()


def price_loader(file: Path | None) -> Callable[[], PriceData]:
    """A function that reads the prices in force at its first call and remembers them."""

    @cache
    def load() -> PriceData:
        return prices_in_force(file)

    return load


def is_newer(prices: PriceData, than: PriceData) -> bool:
    """Whether prices are of a later day than others; where a day is unknown, whether they know of later changes."""
    known = [day for day in (prices.date, than.date) if day != UNKNOWN_DATE]
    if len(known) == 2:
        return prices.date > than.date
    until = date.fromisoformat(known[0]) if known else date.max
    return last_change(prices.providers, until) > last_change(than.providers, until)


def age_days(day: str, now_us: int) -> int | None:
    """Whole days from a day (ISO 8601) to now, at least 0; ``None`` if the day is not known."""
    try:
        first = date.fromisoformat(day)
    except ValueError:
        return None
    return max(0, now_us // DAY_US - (first - _EPOCH).days)


def last_change(providers: "Sequence[Provider]", until: date) -> date:
    """The latest day, up to one, on which the data has a price begin; the day 1 where it knows of none."""
    from genai_prices.types import StartDateConstraint  # noqa: PLC0415 - heavy

    days = (
        one.constraint.start_date
        for provider in providers
        for model in provider.models
        for one in conditions(model)
        if isinstance(one.constraint, StartDateConstraint)
    )
    return max((day for day in days if day <= until), default=date.min)


def conditions(model: "ModelInfo") -> "Iterator[ConditionalPrice | PriceVariant]":
    """A model's prices that hold at some times or for some requests only."""
    if isinstance(model.prices, list):
        yield from model.prices
    yield from model.price_variants or ()


def tables(model: "ModelInfo") -> "Iterator[ModelPrice]":
    """All tables of a model's prices."""
    if not isinstance(model.prices, list):
        yield model.prices
    yield from (one.prices for one in conditions(model))


def checksum(raw: JsonValue) -> str:
    """The SHA-256 of a value as compact JSON."""
    return hashlib.sha256(json.dumps(raw, separators=(",", ":"), sort_keys=True).encode()).hexdigest()


def parse_providers(raw: list[JsonValue]) -> "list[Provider]":
    """genai-prices' published array in its types. How usage is read from responses is left out.

    Raises:
        ValueError: It does not have that form.
    """
    try:
        return _providers_schema().validate_python([_provider(one) for one in raw])
    except (AssertionError, RecursionError, StopIteration, TypeError) as error:  # the library's own checks
        raise ValueError(f"it does not have the form of price data ({type(error).__name__})") from None


@cache
def _providers_schema() -> "TypeAdapter[list[Provider]]":
    from genai_prices.types import Provider  # noqa: PLC0415 - heavy
    from pydantic import ConfigDict, TypeAdapter  # noqa: PLC0415 - heavy

    return TypeAdapter(list[Provider], config=ConfigDict(arbitrary_types_allowed=True))


@cache
def _price_schema() -> "TypeAdapter[dict[str, Decimal | TieredPrices]]":
    from genai_prices.types import TieredPrices  # noqa: PLC0415 - heavy
    from pydantic import TypeAdapter  # noqa: PLC0415 - heavy

    return TypeAdapter(dict[str, Decimal | TieredPrices])


def _provider(raw: JsonValue) -> object:
    provider = _object(raw, "a provider")
    models = provider.get("models")
    if not isinstance(models, list):
        raise ValueError("a provider has no list of models")  # noqa: TRY004 - a wrong form is one error
    return {**provider, "extractors": None, "models": [_model(one) for one in models]}


def _model(raw: JsonValue) -> object:
    model = _object(raw, "a model")
    prices, variants = model.get("prices"), model.get("price_variants")
    return {
        **model,
        "prices": [_conditional(one) for one in prices] if isinstance(prices, list) else _price(prices),
        "price_variants": [_conditional(one) for one in variants] if isinstance(variants, list) else variants,
    }


def _conditional(raw: JsonValue) -> object:
    price = _object(raw, "a price")
    return {**price, "prices": _price(price.get("prices"))}


def _price(raw: JsonValue) -> "ModelPrice":
    from genai_prices.types import ModelPrice  # noqa: PLC0415 - heavy

    return ModelPrice(**_price_schema().validate_python(_object(raw, "a table of prices")))


def _object(raw: JsonValue, what: str) -> JsonObject:
    if not isinstance(raw, dict):
        raise ValueError(f"{what} is not an object")  # noqa: TRY004 - a wrong form is one error
    return raw


def _document(file: Path) -> JsonObject:
    """The file's object; ConfigurationError if it cannot be read as one."""
    try:
        if file.stat().st_size > MAX_PRICE_FILE_BYTES:
            raise _damaged(file, "it is too large")
        document: JsonValue = json.loads(file.read_bytes())
    except OSError as error:
        raise _unreadable(file, error) from None
    except (ValueError, RecursionError):
        raise _damaged(file, "it is not JSON") from None
    if not isinstance(document, dict):
        raise _damaged(file, "it is not one that 'tokenward prices update' wrote")
    return document


def _unreadable(file: Path, error: OSError) -> ConfigurationError:
    return _damaged(file, f"it cannot be read ({error.strerror})")


def _damaged(file: Path, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"The price file {file.name!r} is not used: {problem}. "
        "Run 'tokenward prices update', or 'tokenward prices revert'."
    )
