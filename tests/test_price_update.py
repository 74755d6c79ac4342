"""The update of prices: only what is right comes into force, as a whole, and what was there is kept."""

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import FakeClock
from tests.price_data import input_price, model_of, price_file, provider_of, published, published_bytes
from tokenward import price_update
from tokenward.engine.errors import InvalidInput, PricesRefused
from tokenward.engine.prices.check import LARGEST_PRICE
from tokenward.engine.prices.data import bundled_source, prices_in_force, read_prices
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.engine.usage import TokenUsage
from tokenward.price_update import PriceFile

TODAY = "2026-11-21"
URL = "https://prices.example/data.json"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "prices.json"


@pytest.fixture
def prices(file: Path, clock: FakeClock) -> PriceFile:
    return PriceFile(file, clock=clock)


def input_of(file: Path) -> str:
    """What a million tokens of input of gpt-4o cost by the prices in force."""
    cost = CostCalculator(data=lambda: prices_in_force(file)).calculate_cost(TokenUsage(1), "gpt-4o")
    return f"{cost.prices['input']} {cost.price_date}"


def refused(prices: PriceFile, file: Path, content: bytes, *, force: bool = False) -> str:
    """Why an update does not happen; and that nothing changed."""
    before = prices.status()
    listed = sorted(file.parent.iterdir()) if file.parent.exists() else []
    with pytest.raises(PricesRefused) as caught:
        prices.update(content, URL, force=force)
    assert prices.status() == before
    assert (sorted(file.parent.iterdir()) if file.parent.exists() else []) == listed
    return str(caught.value)


def test_an_update_is_in_force_until_it_is_reverted(prices: PriceFile, file: Path) -> None:
    source, day = bundled_source()
    assert (prices.status().source, prices.status().age_days) == (source, 11)
    assert not file.parent.exists()
    done = prices.update(published_bytes(input_price(3)), URL)
    assert (done.status.source, done.status.date) == (f"genai-prices update {TODAY}", TODAY)
    assert (done.status.fetched_from, done.status.file_date, done.status.age_days) == (URL, TODAY, 0)
    change = next(one for one in done.changes.changed if one.price == "input_mtok")
    assert (change.provider, change.model, change.before, change.after) == ("openai", "gpt-4o", "2.50", "3.00")
    assert input_of(file) == f"3.00 {TODAY}"
    assert prices.revert().source == source
    assert input_of(file) == f"2.50 {day}"
    with pytest.raises(PricesRefused, match="no updated price file"):
        prices.revert()


def test_the_old_file_is_kept_and_comes_back(prices: PriceFile, file: Path, clock: FakeClock) -> None:
    prices.update(published_bytes(input_price(3)), URL)
    clock.advance(86_400)
    assert prices.update(published_bytes(input_price(4)), URL).status.previous_date == TODAY
    assert input_of(file) == "4.00 2026-11-22"
    assert prices.revert().date == TODAY
    assert input_of(file) == f"3.00 {TODAY}"
    assert prices.revert().source == bundled_source()[0]


def test_the_same_prices_again_are_only_newer(prices: PriceFile, file: Path, clock: FakeClock) -> None:
    prices.update(published_bytes(input_price(3)), URL)
    clock.advance(86_400)
    prices.update(published_bytes(input_price(4)), URL)
    clock.advance(86_400)
    done = prices.update(published_bytes(input_price(4)), URL)
    assert (done.changes.changed, done.status.date, done.status.previous_date) == ((), "2026-11-23", TODAY)


def test_models_that_are_new_and_gone_are_named(prices: PriceFile) -> None:
    document = published()
    model_of(document, "openai", "gpt-4o")["id"] = "gpt-4o-renamed"
    changes = prices.update(json.dumps(document).encode(), URL).changes
    assert (changes.new, changes.gone) == (("openai/gpt-4o-renamed",), ("openai/gpt-4o",))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not JSON"),
        (b"<!doctype html><title>Sign in</title>", "web page"),
        (b"\x1f\x8b\x08\x00packed", "not JSON"),
        (b"\xff\xfe[", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "not genai-prices' array"),
        (b'"text"', "not genai-prices' array"),
        (b"null", "not genai-prices' array"),
        (b"[]", "no provider"),
        (b"[1]", "form"),
        (b'[{"id": "openai", "models": {}}]', "form"),
        (b'[{"id": "openai", "name": "x", "api_pattern": "x", "models": [{"id": "x", "prices": 1}]}]', "form"),
        (b'[{"id": "openai", "models": [{"id": "x", "match": [], "prices": {}}]}]', "form"),
    ],
)
def test_what_is_no_price_data_is_refused(prices: PriceFile, file: Path, content: bytes, problem: str) -> None:
    assert problem in refused(prices, file, content)


def test_a_truncated_body_is_refused(prices: PriceFile, file: Path) -> None:
    content = published_bytes()
    assert "not all of it" in refused(prices, file, content[: len(content) // 2])


def test_too_much_is_refused(prices: PriceFile, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_update, "MAX_PRICE_FILE_BYTES", 1_000)
    assert "more than 1,000 bytes" in refused(prices, file, published_bytes())


@pytest.mark.parametrize(
    "price", [-1, -0.0001, LARGEST_PRICE + 1, 1e999, {"base": 1, "tiers": [{"start": 200_000, "price": -1}]}]
)
def test_a_price_that_cannot_be_is_refused_even_by_force(prices: PriceFile, file: Path, price: JsonValue) -> None:
    content = published_bytes(input_price(price))
    assert refused(prices, file, content, force=True)


@pytest.mark.parametrize("price", ["cheap", None, [], float("nan")])
def test_a_price_that_is_none_is_refused(prices: PriceFile, file: Path, price: JsonValue) -> None:
    assert "form" in refused(prices, file, published_bytes(input_price(price)), force=True)


@pytest.mark.parametrize("price", [25.01, 0.2499, 0])
def test_a_drastic_price_needs_force(prices: PriceFile, file: Path, price: float) -> None:
    content = published_bytes(input_price(price))
    assert "openai/gpt-4o from 2.50 to" in refused(prices, file, content)
    assert prices.update(content, URL, force=True).changes.drastic
    assert input_of(file) == f"{price:.2f} {TODAY}" or "0.2499" in input_of(file)


@pytest.mark.parametrize("price", [25, 0.25])
def test_a_factor_of_ten_does_not(prices: PriceFile, price: float) -> None:
    assert not prices.update(published_bytes(input_price(price)), URL).changes.drastic


def test_drastic_prices_of_less_known_providers_are_taken(prices: PriceFile) -> None:
    document = published()
    models = provider_of(document, "groq")["models"]
    assert isinstance(models, list)
    for model in models:
        assert isinstance(model, dict)
        model["prices"] = {"input_mtok": 1_000}
    changes = prices.update(json.dumps(document).encode(), URL).changes
    assert changes.changed
    assert not changes.drastic


def test_a_missing_provider_is_refused(prices: PriceFile, file: Path) -> None:
    document = [one for one in published() if isinstance(one, dict) and one["id"] != "anthropic"]
    assert "'anthropic'" in refused(prices, file, json.dumps(document).encode(), force=True)


@pytest.mark.parametrize("provider", ["openrouter", "mistral"])
def test_missing_models_are_refused(prices: PriceFile, file: Path, provider: str) -> None:
    document = published()
    models = provider_of(document, provider)["models"]
    assert isinstance(models, list)
    del models[len(models) // 3 :]
    assert "incomplete" in refused(prices, file, json.dumps(document).encode(), force=True)


def at_ten_past(model: JsonObject) -> None:
    model["prices"] = [
        {"prices": {"input_mtok": 1}},
        {"constraint": {"start_time": "00:10:00Z", "end_time": "10:00:00Z"}, "prices": {"input_mtok": 2}},
    ]


def with_pattern(model: JsonObject) -> None:
    model["match"] = {"and": [{"starts_with": "gpt"}, {"regex": "(gpt"}]}


@pytest.mark.parametrize(("change", "problem"), [(at_ten_past, "quarter hour"), (with_pattern, "pattern")])
def test_what_would_break_later_is_refused(
    prices: PriceFile, file: Path, change: Callable[[JsonObject], None], problem: str
) -> None:
    assert problem in refused(prices, file, published_bytes(change), force=True)


def test_older_data_is_refused(prices: PriceFile, file: Path, clock: FakeClock) -> None:
    def with_change(model: JsonObject) -> None:
        model["prices"] = [
            {"prices": {"input_mtok": 2}},
            {"constraint": {"start_date": "2026-11-20"}, "prices": {"input_mtok": 3}},
        ]

    prices.update(published_bytes(with_change), URL)
    assert "older" in refused(prices, file, published_bytes())
    with pytest.raises(PricesRefused, match=f"of 2026-11-20, and what is in force of {TODAY}"):
        prices.update(published_bytes(with_change), URL, day="2026-11-20")


def test_days_that_cannot_be_are_refused(prices: PriceFile) -> None:
    with pytest.raises(PricesRefused, match="not newer"):
        prices.update(published_bytes(), URL, day=bundled_source()[1])
    for day, problem in (("2026-11-22", "to come"), ("soon", "not a day"), ("", "not a day")):
        with pytest.raises(InvalidInput, match=problem):
            prices.update(published_bytes(), URL, day=day or "-")


def test_a_price_file_of_another_machine_keeps_its_day(prices: PriceFile, file: Path) -> None:
    document = price_file(published(), "2026-11-15")
    assert prices.update(json.dumps(document).encode(), "copy.json").status.date == "2026-11-15"
    document["sha256"] = "0" * 64
    assert "undamaged" in refused(prices, file, json.dumps(document).encode())


def test_a_damaged_file_is_said_and_can_be_replaced(prices: PriceFile, file: Path) -> None:
    prices.update(published_bytes(input_price(3)), URL)
    file.write_bytes(file.read_bytes()[:-100])
    status = prices.status()
    assert (status.source, status.file_date) == (bundled_source()[0], "")
    assert "not JSON" in status.warning
    prices.update(published_bytes(input_price(4)), URL)
    assert prices.status().previous_date == ""
    file.write_bytes(b"")
    assert prices.revert().warning == ""
    assert not file.exists()


# The file -------------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_everything_as_it_is(prices: PriceFile, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices.update(published_bytes(input_price(3)), URL)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in refused(prices, file, published_bytes(input_price(4)))
    assert input_of(file) == f"3.00 {TODAY}"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(prices: PriceFile, file: Path) -> None:
    file.parent.mkdir(mode=0o500)
    assert "cannot be written" in refused(prices, file, published_bytes())


def test_a_file_in_place_of_the_folder_is_said(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(PricesRefused, match="cannot be written"):
        PriceFile(tmp_path / "data" / "prices.json", clock=clock).update(published_bytes(), URL)


KILLED = """
import os, signal, sys
from pathlib import Path
from tokenward.price_update import PriceFile

class Killing:
    def __init__(self, real): self.real = real
    def __call__(self, descriptor): os.kill(os.getpid(), signal.SIGKILL)

os.fsync = Killing(os.fsync)
PriceFile(Path(sys.argv[1])).update(Path(sys.argv[2]).read_bytes(), "killed")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_an_update_that_is_killed_leaves_the_old_prices(tmp_path: Path, file: Path) -> None:
    prices = PriceFile(file)
    prices.update(published_bytes(input_price(3)), URL)
    (tmp_path / "new.json").write_bytes(published_bytes(input_price(4)))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(file), str(tmp_path / "new.json")], check=False)
    assert killed.returncode == -9
    (left,) = file.parent.glob(".prices-*")
    assert input_of(file).startswith("3.00 ")
    prices.update(published_bytes(input_price(4)), URL)
    assert left.exists()  # it could be of an update that is under way
    an_hour_ago = time.time() - 3_700
    os.utime(left, (an_hour_ago, an_hour_ago))
    prices.update(published_bytes(input_price(5)), URL)
    assert sorted(one.name for one in file.parent.iterdir()) == ["prices.json", "prices.previous.json"]
    assert input_of(file).startswith("5.00 ")


def update_often(file: Path, price: int) -> None:
    for _ in range(2):
        PriceFile(file, clock=FakeClock()).update(published_bytes(input_price(price)), URL)


def test_updates_at_the_same_time_leave_a_whole_file(file: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=update_often, args=(file, price)) for price in (3, 4)]
    for one in processes:
        one.start()
    seen: set[str] = set()
    while any(one.is_alive() for one in processes):
        if file.exists():
            seen.add(read_prices(file).date)
    for one in processes:
        one.join()
        assert one.exitcode == 0
    # The processes may have been quicker than a look between their updates.
    seen.add(read_prices(file).date)
    assert len(seen) == 1
    assert input_of(file)[:4] in ("3.00", "4.00")
    assert sorted(one.name for one in file.parent.iterdir()) == ["prices.json", "prices.previous.json"]


def test_a_link_stays_a_link(tmp_path: Path, file: Path, clock: FakeClock) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(file)
    PriceFile(link, clock=clock).update(published_bytes(input_price(3)), URL)
    assert link.is_symlink()
    assert input_of(link).startswith("3.00 ")
