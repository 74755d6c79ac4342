"""Own prices and exchange rates as they are written: read, refused with a clear line, described by a schema."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from scripts.make_price_schema import FILE, price_schema, schema_text
from tokenward.engine.errors import ConfigurationError, InvalidInput
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.engine.usage import TokenUsage
from tokenward.server.price_settings import PriceSetting, own_prices_of
from tokenward.server.settings import Settings, load_settings

NOW_US = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * 1_000_000
WHOLE = """
currency = "eur"

[exchange_rates]
EUR = { rate = "0.92", date = 2026-11-20, source = "ECB" }
GBP = "0.79"
JPY = 155

[[prices."my-model"]]
input = "0.50"
output = 2
until = 2026-07-01

[[prices."my-model"]]
input = "0.40"
output = "2.00"
cached_input = "0.05"
cache_write = "0.50"
cache_write_1h = "0.60"
reasoning = "3.00"
per_thousand_requests = "1.00"
provider = "acme"
from = "2026-07-01"
date = 2026-06-15
source = "contract 4711"
batch = { input = "0.20", output = "1.00" }
long_context = [{ above = 200_000, input = "0.80" }]

[prices."ollama/*"]
input = "0"
output = "0"

[prices."openai/*"]
discount_percent = "15"

[prices.clone]
like = "gpt-4o"
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Settings]:
    """Settings from a file's text, changed on 2026-10-05."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TOKENWARD_{name.upper()}", raising=False)

    def read(text: str) -> Settings:
        file = tmp_path / "config.toml"
        file.write_text(text, "utf-8")
        changed = datetime(2026, 10, 5, 12, tzinfo=UTC).timestamp()
        os.utime(file, (changed, changed))
        return load_settings(file)

    return read


def calculator(settings: Settings) -> CostCalculator:
    return CostCalculator(clock=lambda: NOW_US, own=settings.own_prices)


def test_everything_that_can_be_written_is_read(load: Callable[[str], Settings]) -> None:
    settings = load(WHOLE)
    priced = calculator(settings)
    now = priced.calculate_cost(TokenUsage(1_000, 100), "my-model")
    assert now.prices == {
        "input": "0.40",
        "output": "2.00",
        "cached_input": "0.05",
        "cache_write": "0.50",
        "cache_write_1h": "0.60",
        "reasoning": "3.00",
        "per_thousand_requests": "1.00",
    }
    assert (now.provider, now.price_source, now.price_date) == ("acme", "own prices (contract 4711)", "2026-06-15")
    assert priced.calculate_cost(TokenUsage(200_001), "my-model").prices["input"] == "0.80"
    assert priced.calculate_cost(TokenUsage(1), "my-model", tier="batch").prices["input"] == "0.20"
    before = priced.calculate_cost(TokenUsage(1), "my-model", at_us=NOW_US - 200 * 86_400 * 10**6)
    assert before.prices == {"input": "0.50", "output": "2.00"}
    assert priced.calculate_cost(TokenUsage(1, 1), "ollama/llama3").total_nano == 0
    assert priced.calculate_cost(TokenUsage(1), "gpt-4o").prices["input"] == "2.125"
    assert priced.calculate_cost(TokenUsage(1), "clone").prices["input"] == "2.50"


def test_a_price_without_a_day_has_the_files(load: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(WHOLE)
    assert calculator(settings).calculate_cost(TokenUsage(1), "ollama/x").price_date == "2026-10-05"
    monkeypatch.setenv("TOKENWARD_PRICES", '{"other": {"input": "1"}}')
    mixed = load(WHOLE)
    assert calculator(mixed).calculate_cost(TokenUsage(1), "other").price_date == "unknown"
    assert calculator(mixed).calculate_cost(TokenUsage(1), "ollama/x").price_age_days is None


def test_currencies_are_read(load: Callable[[str], Settings]) -> None:
    currencies = load(WHOLE).currencies
    assert currencies.default.note == "1 USD = 0.92 EUR, as of 2026-11-20 (ECB)"
    assert (currencies.find("GBP").rate, currencies.find("JPY").rate) == (Decimal("0.79"), Decimal(155))
    assert load("").currencies.default.code == "USD"


def test_the_environment_says_prices_as_json(monkeypatch: pytest.MonkeyPatch, load: Callable[[str], Settings]) -> None:
    prices = {"my-model": [{"input": "1", "until": "2026-01-01"}, {"input": "2", "from": "2026-01-01"}]}
    monkeypatch.setenv("TOKENWARD_PRICES", json.dumps(prices))
    monkeypatch.setenv("TOKENWARD_EXCHANGE_RATES", '{"EUR": "0.9"}')
    monkeypatch.setenv("TOKENWARD_CURRENCY", "EUR")
    settings = load("")
    assert calculator(settings).calculate_cost(TokenUsage(1), "my-model").prices["input"] == "2.00"
    assert settings.currencies.default.text(10**9) == "0.90"


@pytest.mark.parametrize("text", ['{"m": {"input": "1"}, "m": {"input": "2"}}', '{"m": {"input": "1", "input": "2"}}'])
def test_a_key_twice_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, load: Callable[[str], Settings], text: str
) -> None:
    monkeypatch.setenv("TOKENWARD_PRICES", text)
    with pytest.raises(ConfigurationError, match=r"^TOKENWARD_PRICES: (m|input): it stands there twice"):
        load("")


PRICE = '[prices."my-model"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PRICE + 'input = "-1"', "prices.my-model[0].input: expected 0 or more; it is negative"),
        (PRICE + "input = -1", "prices.my-model[0].input: expected 0 or more; it is negative"),
        (
            PRICE + "input = 0.5",
            "my-model[0].input: expected a text such as '2.50'; a binary float is not exact",
        ),
        (PRICE + "input = true", "prices.my-model[0].input: expected a decimal number as text"),
        (PRICE + 'input = "1e3"', "prices.my-model[0].input: expected a decimal number as text"),
        (PRICE + 'input = "$1"', "prices.my-model[0].input: expected a decimal number as text"),
        (PRICE + 'input = "1000000"', "prices.my-model.input: 1000000 is more than 100000"),
        (PRICE + 'inptu = "1"', "Unknown setting 'inptu' in prices.my-model[0]. Did you mean 'input'?"),
        (
            PRICE + 'input = "1"\nbatch = { outptu = "1" }',
            "'outptu' in prices.my-model[0].batch. Did you mean",
        ),
        (
            PRICE + 'input = "1"\nlong_context = [{ abov = 1 }]',
            "'abov' in prices.my-model[0].long_context[0]. Did you mean 'above'?",
        ),
        (PRICE + 'input = "1"\nlong_context = [{ above = 1.5 }]', "prices.my-model[0].long_context[0].above: "),
        (
            PRICE + 'input = "1"\nlong_context = [{ above = 5 }, { above = 5 }]',
            "number of tokens stands there twice",
        ),
        (PRICE + 'output = "1"', "prices.my-model.input: it is missing; give a price, '0' for what is free"),
        (PRICE + 'output = "1"\nfrom = "1.7.2026"', "prices.my-model[0].from: expected a day, such as 2026-11-20"),
        (PRICE + "from = 2026-07-01T12:00:00", "prices.my-model[0].from: expected a day"),
        (PRICE + 'input = "1"\nfrom = 2026-07-02\nuntil = 2026-07-01', "prices.my-model.until: it is not after 'from'"),
        (PRICE + 'discount_percent = "101"', "prices.my-model.discount_percent: give a percentage from 0 to 100"),
        (PRICE + 'input = "1"\nprovider = "\\u001b[31m"', "prices.my-model.provider: "),
        ('[prices."a\\u001b"]\ninput = "1"', "is no model's name"),
        (PRICE, "prices.my-model.input: no price is set"),
        ('[prices]\nmy-model = "free"', "prices.my-model[0]: expected a table"),
        ('prices = "cheap"', "prices: expected a table"),
        ('currency = "GBP"', "currency: no rate is set for 'GBP'; set one in exchange_rates, or use one of: USD"),
        ('[exchange_rates]\nEuro = "0.9"', "exchange_rates.Euro: 'Euro' is no currency code"),
        ('[exchange_rates]\nEUR = "0"', "exchange_rates.EUR: give units per US dollar, more than 0"),
        ("[exchange_rates]\nEUR = 0.92", "exchange_rates.EUR.rate: expected a text such as '2.50'; a binary float"),
        ('[exchange_rates]\nEUR = { raet = "1" }', "'raet' in exchange_rates.EUR. Did you mean 'rate'?"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_key(load: Callable[[str], Settings], text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(text)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_library_takes_prices_in_the_same_form() -> None:
    prices = own_prices_of({"my-model": {"input": "1", "output": "2"}}, "2026-11-01")
    cost = CostCalculator(clock=lambda: NOW_US, own=prices).calculate_cost(TokenUsage(1), "my-model")
    assert (cost.total_nano, cost.price_date) == (1_000, "2026-11-01")
    with pytest.raises(InvalidInput, match=r"^prices.my-model.0.input: expected .* a binary float is not exact.$"):
        own_prices_of({"my-model": {"input": 0.5}})
    with pytest.raises(InvalidInput, match=r"^prices.my-model.0.inptu: .* Did you mean 'input'"):
        own_prices_of({"my-model": {"inptu": "1"}})
    with pytest.raises(InvalidInput, match=r"^prices.my-model.input: "):
        own_prices_of({"my-model": {}})


# The schema ---------------------------------------------------------------------------------------------------------


def test_the_committed_schema_is_that_of_the_settings() -> None:
    assert FILE.read_text("utf-8") == schema_text(), "run python -m scripts.make_price_schema and review the change"


def definition(name: str) -> JsonObject:
    definitions = price_schema()["$defs"]
    assert isinstance(definitions, dict)
    found = definitions[name]
    assert isinstance(found, dict)
    return found


def references(schema: JsonValue) -> set[str]:
    if isinstance(schema, dict):
        own = {str(schema["$ref"])} if "$ref" in schema else set[str]()
        return own.union(*(references(value) for value in schema.values()))
    return set[str]().union(*map(references, schema)) if isinstance(schema, list) else set[str]()


def test_the_schema_knows_every_key_and_no_other() -> None:
    price = definition("PriceSetting")
    assert price["additionalProperties"] is False
    properties = price["properties"]
    assert isinstance(properties, dict)
    keys = {field.alias or name for name, field in PriceSetting.model_fields.items()}
    assert set(properties) == keys
    assert {"input", "cache_write_1h", "from", "until", "long_context", "like", "discount_percent", "batch"} <= keys
    definitions = price_schema()["$defs"]
    assert isinstance(definitions, dict)
    assert references(price_schema()) == {f"#/$defs/{name}" for name in definitions}


def schema_takes(document: JsonObject) -> bool:
    return bool(pytest.importorskip("jsonschema").Draft202012Validator(price_schema()).is_valid(document))


def settings_take(load: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch, document: JsonObject) -> bool:
    for key, value in document.items():
        monkeypatch.setenv(f"TOKENWARD_{key.upper()}", json.dumps(value))
    try:
        load("")
    except ConfigurationError:
        return False
    return True


@pytest.mark.parametrize(
    "document",
    [
        {"prices": {"m": {}}},
        {"prices": {"m": {"output": "1"}}},
        {"prices": {"m": {"input": "1000000"}}},
        {"prices": {"m": {"input": 100_001}}},
        {"prices": {"m": {"input": "1", "batch": {"output": "1"}}}},
        {"prices": {"m": {"discount_percent": "150"}}},
        {"prices": {"m": {"input": "1", "date": "2026-13-45"}}},
        {"prices": {"*": {"input": "1"}}},
        {"prices": {"a*b": {"input": "1"}}},
        {"prices": {"m": None}},
        {"prices": {"m": {"input": None}}},
        {"exchange_rates": {"EUR": "0"}},
        {"exchange_rates": {"EUR": {"rate": "0.00"}}},
    ],
)
def test_the_schema_refuses_what_the_settings_refuse(
    load: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch, document: JsonObject
) -> None:
    assert not settings_take(load, monkeypatch, document)
    assert not schema_takes(document)


@pytest.mark.parametrize(
    "document",
    [
        {"prices": {"my-*": {"input": "0"}, "openai/*": {"discount_percent": "100"}}},
        {"prices": {"m": [{"input": "100000.00", "until": "2026-07-01"}, {"like": "gpt-4o", "from": "2026-07-01"}]}},
        {"prices": {"m": {"batch": {"input": "1"}}}},
        {"prices": {"m": {"like": "gpt-4o", "output": "6", "batch": {"output": "1"}}}},
        {"prices": {"m": {"input": 1, "long_context": [{"above": 5, "output": "1"}]}}},
        {"exchange_rates": {"EUR": "0.92", "JPY": 155, "GBP": {"rate": "0.79", "date": "2026-11-20"}}},
    ],
)
def test_the_schema_takes_what_the_settings_take(
    load: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch, document: JsonObject
) -> None:
    assert settings_take(load, monkeypatch, document)
    assert schema_takes(document)
