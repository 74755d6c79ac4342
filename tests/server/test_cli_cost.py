"""``tokenward cost`` with own prices, other currencies, old prices and a second opinion."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from tests.server.conftest import Json, Run

SETTINGS = """
currency = "USD"
[exchange_rates]
EUR = { rate = "0.92", date = 2026-11-20, source = "ECB" }
[aliases]
prod = "my-model"
[prices."my-model"]
input = "0.50"
output = "2"
[prices."ollama/*"]
input = "0"
output = "0"
"""
PROSE = "Naïve café owners frequently reorganise their spreadsheets. " * 20


def configure(environment: dict[str, str], text: str = SETTINGS) -> None:
    Path(environment["TOKENWARD_CONFIG"]).write_text(text, "utf-8")


def test_own_prices_of_the_settings_count(answer: Json, environment: dict[str, str]) -> None:
    configure(environment)
    found = answer("cost", "--model", "prod", "--input", "1000000", "--output", "500000")
    assert (found["total_cost"], found["price_source"]) == ("1.50", "own prices")
    assert answer("cost", "--model", "ollama/llama3", "--input", "5")["total_cost"] == "0.00"
    recorded = answer("record", "--model", "my-model", "--input", "1000000", "--output", "500000")
    assert recorded["cost"] == "1.50"
    assert answer("report")["totals"]["cost"] == "1.50"


def test_own_models_are_listed(answer: Json, environment: dict[str, str]) -> None:
    configure(environment)
    (found,) = answer("models", "--search", "my-model")["models"]
    assert (found["model"], found["prices"]) == ("my-model", {"input": "0.50", "output": "2.00"})


def test_costs_are_shown_in_a_currency_with_its_rate(answer: Json, run: Run, environment: dict[str, str]) -> None:
    configure(environment)
    arguments = ("cost", "--model", "gpt-4o", "--input", "1000000")
    assert answer(*arguments)["total_cost"] == "2.50"
    euros = answer(*arguments, "--currency", "eur")
    assert (euros["total_cost"], euros["currency"]) == ("2.30", "EUR")
    shown = run(*arguments, "--currency", "EUR").stdout
    assert "2.30 EUR" in shown
    assert "1 USD = 0.92 EUR, as of 2026-11-20 (ECB)" in shown
    configure(environment, SETTINGS.replace('"USD"', '"EUR"'))
    assert answer(*arguments)["currency"] == "EUR"
    assert answer(*arguments, "--currency", "USD")["total_cost"] == "2.50"


def test_a_currency_without_a_rate_is_refused(run: Run, environment: dict[str, str]) -> None:
    configure(environment)
    refused = run("cost", "--model", "gpt-4o", "--input", "1", "--currency", "GBP")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("Error: currency: no rate is set for 'GBP'")
    assert "EUR, USD" in refused.stderr


@pytest.mark.parametrize("counted", [("--text", "a"), ("--messages", "request.json")])
def test_parts_of_an_input_that_is_counted_are_refused(run: Run, tmp_path: Path, counted: tuple[str, str]) -> None:
    option, value = counted
    if option == "--messages":
        value = str(tmp_path / value)
        Path(value).write_text('[{"role": "user", "content": "a"}]', "utf-8")
    refused = run("cost", "--model", "gpt-4o", option, value, "--cached", "1")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "cached_input_tokens: goes with input_tokens" in refused.stderr


def test_age_and_second_opinion_are_shown(run: Run) -> None:
    shown = run("cost", "--model", "deepseek-chat", "--input", "1000").stdout
    assert " days old)." in shown
    assert "states other prices per million: " in shown


def test_a_request_is_recounted_for_each_model(answer: Json, run: Run) -> None:
    messages = [{"role": "user", "content": PROSE}]
    tool = {"type": "function", "function": {"name": "f", "description": "Finds orders by customer and day."}}
    Path("request.json").write_text(json.dumps({"messages": messages, "tools": [tool]}), "utf-8")
    arguments = ("cost", "--model", "gpt-4o", "--messages", "request.json", "--compare", "claude-sonnet-4-5")
    found = answer(*arguments)
    (other,) = found["comparisons"]
    assert other["recounted"]
    assert other["input_tokens"] >= 1.2 * found["input_tokens"]
    assert Decimal(other["token_ratio"]) == round(Decimal(other["input_tokens"]) / found["input_tokens"], 3)
    assert f"x {other['token_ratio']}" in run(*arguments).stdout
    assert "as given" in run("cost", "--model", "gpt-4o", "--input", "9", "--compare", "claude-sonnet-4-5").stdout


def test_prices_that_cannot_be_used_stop_with_their_key(run: Run, environment: dict[str, str]) -> None:
    configure(environment, '[prices."my-model"]\ninput = "-1"\n')
    refused = run("cost", "--model", "gpt-4o", "--input", "1")
    assert refused.exit_code == 1
    assert refused.stderr == "Error: Setting prices.my-model[0].input: expected 0 or more; it is negative.\n"
