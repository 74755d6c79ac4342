"""Writes docs/prices.schema.json anew: the JSON schema of the settings about money, for editors that check TOML.

python -m scripts.make_price_schema
"""

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from tokenward.engine.prices.own import PRICE_NAMES
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.server.price_settings import RATE_SCHEMA, ExchangeRateSetting, PriceSetting

FILE = Path(__file__).parents[1] / "docs" / "prices.schema.json"


_TIERS = ("batch", "flex", "priority")
_COMPLETE: JsonObject = {
    "if": {"anyOf": [{"required": ["like"]}, {"required": ["discount_percent"]}]},
    "else": {
        "anyOf": [
            {"required": ["input"]},
            {
                "anyOf": [{"required": [tier]} for tier in _TIERS],
                "properties": dict.fromkeys((*PRICE_NAMES, "long_context"), False),
            },
        ],
        "properties": {tier: {"required": ["input"]} for tier in _TIERS},
    },
}
"""What stands on no other price states that of input, in each of its tables."""


def price_schema() -> JsonObject:
    """The schema. Other settings may stand beside these."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tokenward's settings about money",
        "type": "object",
        "properties": {
            "prices": {
                "type": "object",
                "description": "Own prices by the model's name; 'openai/*' or 'my-*' for all that begin so.",
                "propertyNames": {"pattern": r"^\s*[^*\s][^*]*\*?\s*$", "maxLength": 256},
                "additionalProperties": _either(
                    PriceSetting, {"type": "array", "items": {"$ref": "#/$defs/PriceSetting"}}
                ),
            },
            "currency": {"type": "string", "pattern": "^[A-Za-z]{3}$", "description": "What prices are shown in."},
            "exchange_rates": {
                "type": "object",
                "description": "What one US dollar is in other currencies.",
                "propertyNames": {"pattern": "^[A-Z]{3}$"},
                "additionalProperties": _either(ExchangeRateSetting, RATE_SCHEMA),
            },
        },
        "$defs": {
            name: _without_null(schema)
            for name, schema in {
                **_definitions(PriceSetting, _COMPLETE),
                **_definitions(ExchangeRateSetting),
            }.items()
        },
    }


def schema_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(price_schema(), indent=2, ensure_ascii=False) + "\n"


def _either(model: type[BaseModel], other: JsonObject) -> JsonObject:
    """A table, or something shorter in its place."""
    return {"anyOf": [{"$ref": f"#/$defs/{model.__name__}"}, other]}


def _definitions(model: type[BaseModel], further: JsonObject | None = None) -> JsonObject:
    """A table's schema and those of the tables in it, by name."""
    schema: JsonObject = model.model_json_schema(ref_template="#/$defs/{model}")
    nested = schema.pop("$defs", {})
    return {**(nested if isinstance(nested, dict) else {}), model.__name__: {**schema, **(further or {})}}


def _without_null(schema: JsonValue) -> JsonValue:
    """A schema without ``null``, which stands in the settings' types for what is left out; TOML has none."""
    if isinstance(schema, list):
        return [_without_null(one) for one in schema if one != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    return {key: _without_null(one) for key, one in schema.items() if not (key == "default" and one is None)}


def main() -> int:
    """Write the file."""
    FILE.write_text(schema_text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
