"""The price data in force: the bundled, or a file's that is newer, undamaged and in genai-prices' form."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.price_data import model_of, price_file, published
from tokenward.engine.errors import ConfigurationError
from tokenward.engine.prices.data import (
    UNKNOWN_DATE,
    bundled_prices,
    bundled_source,
    is_newer,
    parse_providers,
    price_loader,
    prices_in_force,
    read_prices,
)
from tokenward.engine.types import JsonObject, JsonValue


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "prices.json"


def write(file: Path, document: JsonValue) -> None:
    file.write_text(json.dumps(document), encoding="utf-8")


def test_the_published_form_holds_what_is_bundled() -> None:
    expected = [replace(provider, extractors=None) for provider in bundled_prices().providers]
    assert parse_providers(published()) == expected


def test_bundled_prices_say_what_they_are() -> None:
    data = bundled_prices()
    assert (data.source, data.date) == bundled_source()
    assert data.source.startswith("genai-prices ")
    assert (data.fetched_from, data.warning) == ("", "")


def test_a_newer_file_is_in_force(file: Path) -> None:
    write(file, price_file(published(), "2027-01-01"))
    data = prices_in_force(file)
    assert (data.source, data.date) == ("genai-prices update 2027-01-01", "2027-01-01")
    assert (data.fetched_from, data.warning) == ("https://prices.example/data.json", "")


@pytest.mark.parametrize("day", ["2026-01-01", bundled_source()[1]])
def test_a_file_that_is_not_newer_is_not(file: Path, day: str) -> None:
    write(file, price_file(published(), day))
    assert prices_in_force(file) is bundled_prices()


def test_without_a_file_the_bundled_are_in_force(file: Path) -> None:
    assert prices_in_force(None) is prices_in_force(file) is bundled_prices()


def without(key: str) -> Callable[[JsonObject], None]:
    def change(document: JsonObject) -> None:
        del document[key]

    return change


def replaced(values: JsonObject) -> Callable[[JsonObject], None]:
    def change(document: JsonObject) -> None:
        document.update(values)

    return change


def with_other_price(document: JsonObject) -> None:
    providers = document["providers"]
    assert isinstance(providers, list)
    model_of(providers, "openai", "gpt-4o")["prices"] = {"input_mtok": 0}


@pytest.mark.parametrize(
    "change",
    [
        with_other_price,
        without("sha256"),
        without("providers"),
        without("source"),
        without("date"),
        replaced({"date": "yesterday"}),
        replaced({"providers": "all"}),
        replaced(price_file([{"id": "openai"}], "2027-01-01")),
        replaced(price_file([{"id": "openai", "models": [1]}], "2027-01-01")),
        replaced(price_file([1], "2027-01-01")),
    ],
)
def test_a_damaged_file_leads_to_the_bundled_with_a_warning(
    file: Path, change: Callable[[JsonObject], None], caplog: pytest.LogCaptureFixture
) -> None:
    document = price_file(published(), "2027-01-01")
    change(document)
    write(file, document)
    with pytest.raises(ConfigurationError, match=r"'prices\.json' is not used"):
        read_prices(file)
    with caplog.at_level(logging.WARNING):
        data = prices_in_force(file)
    assert data.providers is bundled_prices().providers
    assert "bundled" in data.warning
    assert data.warning in caplog.text


@pytest.mark.parametrize("content", [b"", b"[]", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"source": "x"'])
def test_what_is_no_price_file_is_said(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="not used"):
        read_prices(file)
    assert prices_in_force(file).warning


def test_a_folder_is_no_price_file(tmp_path: Path) -> None:
    assert "cannot be read" in prices_in_force(tmp_path).warning


def test_a_folder_that_may_not_be_searched_is_said(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refused)
    data = prices_in_force(file)
    assert data.providers is bundled_prices().providers
    assert "it cannot be read (Permission denied)" in data.warning


def test_a_file_is_read_once(file: Path) -> None:
    write(file, price_file(published(), "2027-01-01"))
    load = price_loader(file)
    first = load()
    file.unlink()
    assert load() is first


def test_without_a_day_the_last_change_decides() -> None:
    bundled = replace(bundled_prices(), date=UNKNOWN_DATE)
    document = published()
    same = replace(bundled, providers=parse_providers(document), date="2026-12-31")
    assert not is_newer(same, bundled)
    model_of(document, "openai", "gpt-4o")["prices"] = [
        {"prices": {"input_mtok": 1}},
        {"constraint": {"start_date": "2026-12-24"}, "prices": {"input_mtok": 2}},
    ]
    assert is_newer(replace(same, providers=parse_providers(document)), bundled)
    assert not is_newer(bundled, replace(same, providers=parse_providers(document)))
