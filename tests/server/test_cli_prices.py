"""``tokenward prices``, and what other commands say of updated prices: over real sockets, and only on request."""

import os
import subprocess
import sys
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.price_data import input_price, published_bytes
from tests.price_server import PriceServer, bomb, price_server, sends
from tests.server.conftest import Json, Run
from tokenward.engine.prices.data import bundled_source


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Generator[PriceServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with price_server() as running:
        running.answers["/data.json"] = sends(published_bytes(input_price(3)))
        yield running


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def test_the_way_there_and_back(run: Run, answer: Json, server: PriceServer, tmp_path: Path) -> None:
    source, day = bundled_source()
    before = answer("prices", "status")
    assert (before["source"], before["date"], before["fetched_from"]) == (source, day, None)
    assert answer("cost", "--model", "gpt-4o", "--input", "1000000")["total_cost"] == "2.50"

    server.answers["/data.json?token=secret"] = server.answers["/data.json"]
    shown = run("prices", "update", "--from", f"{server.url}/data.json?token=secret")
    assert shown.exit_code == 0, shown.stderr
    assert "openai" in shown.stdout
    assert f"Prices: genai-prices update {today()}, as of {today()} (0 days old)." in shown.stdout
    assert "secret" not in shown.stdout + (tmp_path / "prices.json").read_text("utf-8")[:1_000]
    assert server.asked == ["/data.json?token=secret"]

    priced = answer("cost", "--model", "gpt-4o", "--input", "1000000")
    assert (priced["total_cost"], priced["price_date"]) == ("3.00", today())
    assert priced["price_source"] == f"genai-prices update {today()}"
    assert answer("models", "--search", "gpt-4o")["price_date"] == today()
    assert answer("prices", "status")["fetched_from"] == f"{server.url}/data.json"

    assert run("prices", "revert").exit_code == 0
    assert answer("cost", "--model", "gpt-4o", "--input", "1000000")["total_cost"] == "2.50"
    assert "bundled prices are in force" in run("prices", "revert").stderr
    assert len(server.asked) == 1


def test_an_update_from_a_file_has_the_files_day(answer: Json, run: Run) -> None:
    Path("data.json").write_bytes(published_bytes(input_price(3)))
    moment = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
    os.utime("data.json", (moment, moment))
    done = answer("prices", "update", "--from", "data.json")
    assert (done["date"], done["fetched_from"]) == ("2026-11-20", "data.json")
    assert {"provider": "openai", "model": "gpt-4o", "price": "input_mtok", "before": "2.50", "after": "3.00"} in done[
        "changed"
    ]
    assert answer("prices", "update", "--from", "data.json", "--date", "2026-11-21")["date"] == "2026-11-21"
    refused = run("prices", "update", "--from", "data.json")
    assert (refused.exit_code, "is of 2026-11-20" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<html><body>Sign in", "web page"),
        (b'[{"id": "openai"', "not all of it"),
        (b'{"prices": []}', "not genai-prices' array"),
        (bomb(1_000_000), "not JSON"),
        (published_bytes(input_price(-1)), "cannot be"),
        (published_bytes(input_price(900)), "force the update"),
    ],
)
def test_what_is_wrong_changes_nothing(
    run: Run, server: PriceServer, tmp_path: Path, body: bytes, problem: str
) -> None:
    server.answers["/data.json"] = sends(body)
    refused = run("prices", "update", "--from", f"{server.url}/data.json")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert problem in refused.stderr
    assert not (tmp_path / "prices.json").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--from", "nowhere.json"), "cannot be read"),
        (("--from", "."), "cannot be read"),
        (("--from", "http://prices.example/data.json"), "expected https"),
        (("--from", "ftp://prices.example/data.json"), "expected https"),
        (("--date", "2026-11-21"), "is for a file"),
    ],
)
def test_wrong_values_are_said(run: Run, arguments: tuple[str, ...], problem: str) -> None:
    refused = run("prices", "update", *arguments)
    assert (refused.exit_code, problem in refused.stderr) == (2, True)


def test_a_damaged_file_is_said_and_the_bundled_prices_are_used(run: Run, answer: Json, tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text("{}", encoding="utf-8")
    assert answer("cost", "--model", "gpt-4o", "--input", "1000000")["price_source"] == bundled_source()[0]
    examined = run("doctor")
    assert examined.exit_code == 1
    assert "Broken: price file." in examined.stdout
    assert "'prices.json' is not used" in answer("prices", "status")["warning"]
    assert answer("models", "--search", "gpt-4o")["warnings"]


# The hook sees every attempt to look up a host or to connect, also of libraries and threads.
QUIET = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        print("REACHED OUT", event, arguments, file=sys.stderr)
        raise SystemExit(9)
sys.addaudithook(refuse)
from tokenward.server.cli import cli
cli(sys.argv[1:], prog_name="tokenward")
"""


@pytest.mark.parametrize(
    "arguments",
    [
        "cost --model gpt-4o --input 5",
        "models --search gpt-4o",
        "prices status",
        "doctor",
        "record --model o3 --input 1 --output 1",
    ],
)
def test_nothing_else_reaches_out(arguments: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", QUIET, *arguments.split()],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, **environment},
    )
    assert (done.returncode, "REACHED OUT" in done.stderr) == (0, False), done.stderr


def test_the_hook_sees_an_update(environment: dict[str, str], server: PriceServer) -> None:
    command = [sys.executable, "-c", QUIET, "prices", "update", "--from", f"{server.url}/data.json"]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, encoding="utf-8", env={**os.environ, **environment}
    )
    assert "REACHED OUT" in done.stderr
    assert not server.asked
