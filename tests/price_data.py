"""Price data for tests: what is bundled, in the form in which genai-prices publishes it, and as a price file."""

import json
from collections.abc import Callable
from datetime import date, time
from decimal import Decimal
from functools import cache
from typing import TypeGuard

from genai_prices.data import providers

from tokenward.engine.prices.data import checksum
from tokenward.engine.types import JsonObject, JsonValue

Change = Callable[[JsonObject], None]


def published() -> list[JsonValue]:
    """The bundled data as the array that is published; the caller's own to change."""
    document: list[JsonValue] = json.loads(_text())
    return document


@cache
def _text() -> str:
    return json.dumps([_raw(provider) for provider in providers])


def published_bytes(*changes: Change, provider: str = "openai", model: str = "gpt-4o") -> bytes:
    """The array, with a model of it changed."""
    document = published()
    for change in changes:
        change(model_of(document, provider, model))
    return json.dumps(document).encode()


def model_of(document: list[JsonValue], provider: str, model: str) -> JsonObject:
    """A model's object in the array."""
    models = provider_of(document, provider)["models"]
    assert isinstance(models, list)
    return next(one for one in models if isinstance(one, dict) and one["id"] == model)


def provider_of(document: list[JsonValue], provider: str) -> JsonObject:
    """A provider's object in the array."""
    return next(one for one in document if isinstance(one, dict) and one["id"] == provider)


def input_price(price: JsonValue) -> Change:
    """Sets the price of input; everything else of the prices goes."""

    def change(model: JsonObject) -> None:
        model["prices"] = {"input_mtok": price, "output_mtok": 10}

    return change


def price_file(document: list[JsonValue], day: str) -> JsonObject:
    """A price file with the array, as an update writes it."""
    return {
        "source": f"genai-prices update {day}",
        "from": "https://prices.example/data.json",
        "fetched": f"{day}T00:00:00+00:00",
        "date": day,
        "sha256": checksum(document),
        "providers": document,
    }


def _raw(value: object) -> JsonValue:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if _is_list(value):
        return [_raw(one) for one in value]
    # All others are dictionaries, dataclasses, and the class of prices, which holds what it was made with.
    members = value if _is_dict(value) else vars(value)
    return {key.rstrip("_"): _raw(one) for key, one in members.items() if one is not None and not key.startswith("_")}


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _is_dict(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)
