"""``tokenward statusline``: the short way says what the long way says, or leaves it to it."""

import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.server.conftest import Json, Run
from tests.waiting import NET_SECONDS
from tokenward.engine.limits import TokenLimit
from tokenward.engine.quota import LimitStatus
from tokenward.engine.types import HOUR_US
from tokenward.server.commands import statusline
from tokenward.server.settings import Settings, load_settings
from tokenward.server.statusline import READ, WITHOUT_EFFECT, line_of, print_quickly
from tokenward.storage.glance import SCHEMA_VERSION, Glance
from tokenward.storage.migrate import latest_version

Quick: TypeAlias = Callable[..., str | None]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statusline, "PATIENCE_SECONDS", NET_SECONDS)


@pytest.fixture
def quick(environment: dict[str, str]) -> Quick:
    """The line by the short way, or ``None`` where it does not lead to one."""

    def look(*options: str) -> str | None:
        output = io.StringIO()
        done = print_quickly([*options, "statusline"], environment=environment, output=output)
        return output.getvalue() if done else None

    return look


def used(limit: TokenLimit, amount: int, reserved: int = 0, resets_us: int | None = None) -> LimitStatus:
    return LimitStatus(limit, amount, reserved, limit.limit - amount - reserved, resets_us)


DAY = TokenLimit("user:alice", "tokens", "day", 1_000)
MONTH = TokenLimit("global", "cost", "month", 25_000_000_000, "calendar", "UTC")


@pytest.mark.parametrize(
    ("glance", "line"),
    [
        (Glance("alice", 0, 0, 0, ()), "alice · nothing used today"),
        (Glance("alice", 999, 1, 0, ()), "alice · today 999 tokens, <$0.01"),
        (Glance("alice", 999, 9_999_999, 0, ()), "alice · today 999 tokens, <$0.01"),
        (Glance("alice", 999, 14_999_999, 0, ()), "alice · today 999 tokens, $0.01"),
        (Glance("alice", 999, 15_000_000, 0, ()), "alice · today 999 tokens, $0.02"),
        (Glance("alice", 12_399, 3_000_000_000, 2, ()), "alice · today 12.3k tokens, $3.00 + 2 unpriced"),
        (Glance("a", 3_400_000_000, 10**15, 0, ()), "a · today 3.4G tokens, $1,000,000.00"),
        (Glance("a", 1, 0, 0, (used(DAY, 790, 9),)), "a · today 1 tokens, $0.00 · 79 % of tokens per day"),
        (
            Glance("a", 1, 0, 0, (used(DAY, 100), used(MONTH, 20_000_000_000, 0, 27 * HOUR_US))),
            "a · today 1 tokens, $0.00 · ! 80 % of cost per month (global), $5.00 left, resets 02 Jan 03:00",
        ),
        (
            Glance("a", 0, 0, 0, (used(TokenLimit("user:a", "requests", "day", 0), 0),)),
            "a · nothing used today · ! 100 % of requests per day, 0 left",
        ),
    ],
)
def test_the_line(glance: Glance, line: str) -> None:
    assert line_of(glance, "UTC") == line


def test_both_ways_say_the_same(run: Run, answer: Json, quick: Quick) -> None:
    steps = [
        ("record", "--model", "gpt-4o", "--input", "12000", "--output", "800"),
        ("quota", "set", "user:alice", "tokens/day", "100000"),
        ("record", "--model", "no-such-model", "--input", "100", "--output", "1"),
        ("quota", "set", "default", "cost/month", "25.00", "--timezone", "Asia/Kathmandu"),
        ("quota", "check", "--tokens", "50", "--model", "gpt-4o", "--reserve"),
        ("quota", "set", "global", "requests/hour", "4"),
        ("record", "--model", "gpt-4o", "--input", "12000", "--output", "0", "--user", "bob"),
    ]
    for step in steps:
        answer(*step)
        for options in ((), ("--user", "bob")):
            # The long way first: counters of a new limit are made by whoever asks.
            assert run(*options, "statusline").stdout == quick(*options)
    assert "% of requests per hour (global)" in str(quick())


def test_json_has_every_limit(answer: Json) -> None:
    answer("quota", "set", "user:alice", "cost/day", "1.00")
    answer("record", "--model", "gpt-4o", "--input", "100000", "--output", "0")
    document = answer("statusline")
    assert document["tokens_today"] == 100_000
    assert document["cost_today"] == "0.25"
    assert document["limits"] == [{"limit": "user:alice, cost per day", "used": "0.25", "remaining": "0.75"}]


def test_what_the_short_way_is_not_sure_of_is_left_to_the_long_one(
    run: Run, answer: Json, quick: Quick, environment: dict[str, str], tmp_path: Path
) -> None:
    assert quick() is None, "there is no ledger yet"
    answer("record", "--model", "gpt-4o", "--input", "1000", "--output", "0")
    assert quick() is not None
    answer("quota", "set", "user:alice", "tokens/day", "100000")
    assert quick() is None, "the new limit's counter is not made yet"
    run("statusline")
    assert quick() is not None
    for option in ("--json", "--help", "--store=memory://", "--log-level"):
        assert quick(option, "x") is None
    assert quick("--store", "memory://") is None
    assert quick("--store", "postgresql://localhost/nothing") is None
    assert quick("--store", "nonsense") is None
    assert quick("--user", "") is None
    for name, value in (
        ("TIMEZONE", "Nowhere/City"),
        ("LIMITS", "{}"),
        ("CURRENCY", "EUR"),
        ("CONFIG", str(tmp_path / "no")),
    ):
        before = environment.copy()
        environment[f"TOKENWARD_{name}"] = value
        assert quick() is None, name
        environment.clear()
        environment.update(before)
    (tmp_path / "config.toml").write_text("store = ")
    assert quick() is None
    (tmp_path / "config.toml").write_text('stroe = "memory://"')
    assert quick() is None


def test_a_hold_that_is_over_is_ended_before_it_is_shown(run: Run, answer: Json, quick: Quick, tmp_path: Path) -> None:
    answer("quota", "set", "user:alice", "tokens/day", "1000")
    held = answer("quota", "check", "--tokens", "500", "--reserve")
    assert held["allowed"]
    assert "50 % of tokens per day" in str(quick())
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute("UPDATE reservation SET expires = 1")
    assert quick() is None
    assert "0 % of tokens per day" in run("statusline").stdout
    assert quick() == run("statusline").stdout


def test_limits_of_the_settings_are_shown_once_the_ledger_has_them(
    run: Run, answer: Json, quick: Quick, environment: dict[str, str], tmp_path: Path
) -> None:
    answer("record", "--model", "gpt-4o", "--input", "1000", "--output", "0")
    limits = [{"subject": "user:alice", "window": "day", "limit": 2_000}]
    environment["TOKENWARD_LIMITS"] = json.dumps(limits)
    assert quick() is None
    assert "! 50 %" not in run("statusline").stdout
    assert "50 % of tokens per day" in str(quick())
    environment["TOKENWARD_LIMITS"] = ""
    written = '[[limits]]\nsubject = "default"\nmetric = "cost"\nwindow = "month"\nlimit = "0.0025"\n'
    (tmp_path / "config.toml").write_text(written)
    assert quick() is None
    assert "! 100 % of cost per month, $0.00 left" in run("statusline").stdout
    assert quick() == run("statusline").stdout
    for wrong in ("limits = 3", "limits = [3]", '[[limits]]\nwindow = "day"'):
        (tmp_path / "config.toml").write_text(wrong)
        assert quick() is None


def test_a_zone_makes_a_limit_of_the_settings_the_calendars_for_both_ways(
    run: Run, answer: Json, quick: Quick, tmp_path: Path
) -> None:
    limit = '[[limits]]\nsubject = "user:alice"\nwindow = "day"\nlimit = 1000\ntimezone = "Asia/Tokyo"\n'
    (tmp_path / "config.toml").write_text(limit, encoding="utf-8")
    answer("record", "--model", "gpt-4o", "--input", "900", "--output", "0")
    assert ", resets " in run("statusline").stdout  # a calendar's window says when, a rolling one not at all
    assert quick() == run("statusline").stdout


def test_another_currency_takes_the_long_way(run: Run, answer: Json, quick: Quick, environment: dict[str, str]) -> None:
    answer("record", "--model", "gpt-4o", "--input", "1000", "--output", "0")
    environment |= {"TOKENWARD_CURRENCY": "EUR", "TOKENWARD_EXCHANGE_RATES": '{"EUR": {"rate": "0.8"}}'}
    assert quick() is None
    assert run("statusline").stdout == "alice · today 1.0k tokens, <0.01 EUR\n"


def test_a_damaged_or_foreign_file_is_left_to_the_long_way(quick: Quick, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database" * 100)
    assert quick() is None
    (tmp_path / "ledger.db").unlink()
    sqlite3.connect(tmp_path / "ledger.db").execute("CREATE TABLE other (id)").connection.close()
    assert quick() is None


def test_looking_changes_nothing(answer: Json, quick: Quick, tmp_path: Path) -> None:
    answer("record", "--model", "gpt-4o", "--input", "1000", "--output", "0")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        before = list(connection.iterdump())
    assert quick()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        assert list(connection.iterdump()) == before


@pytest.mark.parametrize(
    ("variables", "written", "options"),
    [
        ({}, "", ()),
        ({"TOKENWARD_USER": "bob"}, 'user = "carol"', ()),
        ({"TOKENWARD_USER": ""}, 'user = "carol"', ()),
        ({"tokenward_user": "dave"}, 'user = "carol"', ()),
        ({"TOKENWARD_USER": "bob"}, 'user = "carol"', ("--user", "erin")),
        ({"TOKENWARD_USER": ""}, 'timezone = "Asia/Tokyo"\nlog_level = "ERROR"', ()),
        ({"TOKENWARD_TIMEZONE": "America/New_York"}, 'timezone = "Asia/Tokyo"', ()),
    ],
)
def test_both_ways_read_the_same_settings(
    variables: dict[str, str],
    written: str,
    options: tuple[str, ...],
    environment: dict[str, str],
    run: Run,
    quick: Quick,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del environment["TOKENWARD_USER"]
    environment.update(variables)
    (tmp_path / "config.toml").write_text(written)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(user=dict(zip(options[::2], options[1::2], strict=True)).get("--user"))
    assert run(*options, "record", "--model", "gpt-4o", "--input", "1000", "--output", "0").exit_code == 0
    line = quick(*options)
    assert line == run(*options, "statusline").stdout
    assert str(line).startswith(f"{settings.user} · today 1.0k tokens")


def test_a_newer_schema_is_left_to_the_long_way(run: Run, answer: Json, quick: Quick, tmp_path: Path) -> None:
    answer("record", "--model", "gpt-4o", "--input", "1000", "--output", "0")
    assert latest_version("sqlite") == SCHEMA_VERSION
    assert quick() is not None
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute("INSERT INTO schema_version VALUES (?, 0)", (SCHEMA_VERSION + 1,))
    assert quick() is None
    assert run("statusline").exit_code == 1


@pytest.mark.parametrize("changed", [{"mode": "calendar"}, {"timezone": "Asia/Tokyo", "mode": "calendar"}])
def test_a_limit_of_the_settings_is_compared_whole(
    run: Run, quick: Quick, environment: dict[str, str], changed: dict[str, str]
) -> None:
    limit = {"subject": "user:alice", "window": "day", "limit": 2_000}
    environment["TOKENWARD_LIMITS"] = json.dumps([limit])
    run("statusline")
    assert quick() == run("statusline").stdout
    environment["TOKENWARD_LIMITS"] = json.dumps([{**limit, **changed}])
    assert quick() is None
    run("statusline")
    assert quick() == run("statusline").stdout


def test_a_ledger_that_is_locked_for_long_is_said_soon(
    environment: dict[str, str], answer: Json, tmp_path: Path
) -> None:
    answer("record", "--model", "gpt-4o", "--input", "1000", "--output", "0")
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = exclusive")
        connection.execute("BEGIN EXCLUSIVE")
        command = [sys.executable, "-m", "tokenward", "statusline"]
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert "did not answer" in done.stderr


def test_every_setting_is_known_to_the_short_way() -> None:
    """A new one either changes the line or does not; ``config`` names the file and stands in none."""
    assert {*READ, *WITHOUT_EFFECT} == {*Settings.model_fields, "config"}


def test_variables_that_are_no_settings_do_not_matter(answer: Json, quick: Quick, environment: dict[str, str]) -> None:
    answer("record", "--model", "gpt-4o", "--input", "1000", "--output", "0")
    environment["TOKENWARD_REQUIRE_POSTGRES"] = "1"
    assert quick() == "alice · today 1.0k tokens, <$0.01\n"


def test_the_short_way_loads_nothing_heavy(environment: dict[str, str], answer: Json) -> None:
    answer("record", "--model", "gpt-4o", "--input", "1000", "--output", "0")
    code = (
        "import sys; sys.argv = ['tokenward', 'statusline']\n"
        "from tokenward.server.entry import main\n"
        "main()\n"
        "heavy = {'click', 'pydantic', 'anyio', 'asyncio', 'aiosqlite', 'tiktoken', 'rich', 'genai_prices', 'mcp'}\n"
        "print(len(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    line, heavy = done.stdout.splitlines()
    assert line == "alice · today 1.0k tokens, <$0.01"
    assert heavy == "0"


def test_a_terminal_that_cannot_show_a_character_still_gets_the_line(environment: dict[str, str], answer: Json) -> None:
    answer("record", "--model", "gpt-4o", "--input", "1000", "--output", "0")
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert print_quickly(["statusline"], environment=environment, output=output)
    output.seek(0)
    assert output.read() == "alice ? today 1.0k tokens, <$0.01\n"
