"""``tokenward what-if`` and ``tokenward replay``, and what doctor says of alert hooks."""

import json
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Json, Run
from tokenward.alerts import GRACE_SECONDS
from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import TokenLimit
from tokenward.server.commands.limits import limit_of
from tokenward.server.settings import load_settings
from tokenward.service import Tokenward


def test_what_if(answer: Json, run: Run) -> None:
    for _ in range(3):
        answer("record", "--model", "gpt-4o", "--input", "1000", "--output", "100")
    made = answer("what-if", "--model", "gpt-4o-mini", "--cached", "50")
    assert made["scenario"] == {"model": "gpt-4o-mini", "tier": None, "cached_percent": 50}
    totals = made["totals"]
    assert (totals["requests"], totals["compared"], totals["not_priceable"]) == (3, 3, 0)
    assert totals["actual_cost"] == "0.0105"
    # 0.075 USD per million read, 0.15 for the rest, 0.60 for output.
    assert totals["what_if_cost"] == "0.0005175"
    assert totals["difference"] == "-0.0099825"
    assert totals["uncached_cost"] == "0.00063"
    shown = run("what-if", "--model", "gpt-4o-mini").stdout
    assert "-$0.00987" in shown
    assert "gpt-4o" in shown


def test_what_if_and_replay_say_their_currency(answer: Json, run: Run, environment: dict[str, str]) -> None:
    answer("record", "--model", "gpt-4o", "--input", "1000", "--output", "100")
    asked = ("what-if", "--model", "gpt-4o-mini")
    assert (answer(*asked)["currency"], answer("replay", "--limit", "global:cost:day=1")["currency"]) == ("USD", "USD")
    environment["TOKENWARD_EXCHANGE_RATES"], environment["TOKENWARD_CURRENCY"] = '{"EUR": "0.5"}', "EUR"
    made = answer(*asked)
    assert (made["currency"], made["totals"]["actual_cost"]) == ("EUR", "0.00175")
    assert made["exchange_rate"].startswith("1 USD = 0.5")
    shown = run(*asked).stdout
    assert "0.00175 EUR" in shown
    assert "$" not in shown
    assert "Money is in US dollars" in run("replay", "--limit", "global:cost:day=1").stdout


def test_what_if_says_what_it_leaves_open(answer: Json, run: Run) -> None:
    answer("record", "--model", "gpt-4o", "--input", "1000", "--output", "100")
    shown = run("what-if", "--model", "claude-sonnet-4-5").stdout
    assert "by how much is unknown" in shown
    assert "Nothing was recorded" in run("what-if", "--tier", "batch", "--user", "bob").stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["what-if"], "say what would be different"),
        (["what-if", "--tier", "batch", "--since", "2026-11-02", "--until", "2026-11-01"], "the period is empty"),
        (["what-if", "--tier", "batch", "--until", "2026-11-01"], "give a start"),
        (["what-if", "--tier", "batch", "--period", "soon"], "is not a period"),
        (["what-if", "--tier", "batch", "--timezone", "Mars/Base", "--since", "2026-11-01"], "Mars/Base"),
        (["replay", "--limit", "alice=5"], "is not SUBJECT:METRIC:WINDOW=AMOUNT"),
        (["replay", "--limit", "global:tokens:day=1", "--limit", "global:tokens:day=2"], "given twice"),
    ],
)
def test_what_cannot_be_asked(run: Run, arguments: list[str], problem: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert problem in result.stderr


def test_replay(answer: Json, run: Run) -> None:
    for _ in range(3):
        answer("record", "--model", "gpt-4o", "--input", "100", "--output", "0")
    made = answer("replay", "--limit", "user:alice:tokens:day=250", "--limit", "default:cost:month=100")
    assert (made["requests"], made["refused"], made["refused_tokens"]) == (3, 1, 100)
    (first, second) = made["rows"]
    assert (first["subject"], first["scope"], first["refused"], first["peak"]) == ("user:alice", "user", 1, 200)
    assert (second["subject"], second["scope"], second["limit"], second["mode"]) == (
        "user:alice",
        "default",
        "100.00",
        "calendar",
    )
    (example,) = made["examples"]
    assert (example["user"], example["model"], example["tokens"]) == ("alice", "gpt-4o", 100)
    assert example["retry_after_seconds"] > 0
    assert answer("quota", "list")["limits"] == []
    shown = run("replay", "--limit", "user:alice:tokens:day=250").stdout
    assert "1 of 3 requests would have been refused: 100 tokens" in shown


def test_replay_takes_the_limits_in_force(answer: Json, run: Run) -> None:
    assert "There are no limits to try." in run("replay").stdout
    answer("quota", "set", "user:alice", "tokens/day", "50")
    answer("record", "--model", "gpt-4o", "--input", "100", "--output", "0")
    assert answer("replay")["refused"] == 1


@pytest.mark.parametrize(
    ("written", "limit"),
    [
        ("user:alice:tokens:day=100_000", TokenLimit("user:alice", "tokens", "day", 100_000)),
        ("user:a:b=c:requests:minute=5", TokenLimit("user:a:b=c", "requests", "minute", 5)),
        ("global:cost:month=$2.5", TokenLimit("global", "cost", "month", 2_500_000_000, "calendar", "Asia/Tokyo")),
        ("default:cost:month@rolling=1", TokenLimit("default", "cost", "month", 10**9)),
        ("group:x:tokens:day@Europe/Berlin=1", TokenLimit("group:x", "tokens", "day", 1, "calendar", "Europe/Berlin")),
    ],
)
def test_limits_as_they_are_written(written: str, limit: TokenLimit) -> None:
    assert limit_of(written, "Asia/Tokyo") == limit


@pytest.mark.parametrize(
    "written",
    [
        "",
        "=",
        "global:tokens:day",
        "global:tokens:day=",
        "global:tokens:day=-1",
        "global:tokens:day=1.5",
        "global:cost:day=1e3",
        "global:words:day=1",
        "global:tokens:week=1",
        "nobody:tokens:day=1",
        "global:tokens:day@Mars/Base=1",
        "global:tokens:hour@UTC=1",
        "global:tokens:day=" + "9" * 30,
    ],
)
def test_what_is_no_limit(written: str) -> None:
    with pytest.raises(InvalidInput):
        limit_of(written, "UTC")


# Alert hooks --------------------------------------------------------------------------------------------------------


def findings(run: Run) -> dict[str, tuple[str, str]]:
    listed = json.loads(run("doctor", "--json").stdout)["findings"]
    return {one["subject"]: (one["verdict"], one["detail"]) for one in listed}


def test_doctor_says_whether_hooks_are_usable_and_runs_none(run: Run, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "config.toml").write_text(
        f"""
        [[alerts]]
        command = ["{sys.executable}", "-c", "open('{ran}', 'w')"]
        [[alerts]]
        command = ["no-such-program", "s3cret"]
        [[alerts]]
        url = "https://example.com/s3cret"
        secret_variable = "NO_SUCH_VARIABLE"
        """,
        "utf-8",
    )
    found = findings(run)
    assert found[f"alert command {Path(sys.executable).name!r}"] == ("ok", "usable; not run here")
    assert found["alert command 'no-such-program'"] == ("broken", "there is no program 'no-such-program'")
    assert found["alert url"] == ("broken", "NO_SUCH_VARIABLE is not set")
    assert found["alerts"] == ("ok", "3 set (file)")
    assert not ran.exists()
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("alerts = 5", "expected a list of tables"),
        ("[[alerts]]", "alerts[0].command: give either a command or a url."),
        ('[[alerts]]\nurl = "http://example.com/s3cret"', "alerts[0].url: expected https"),
        ('[[alerts]]\ncommand = "s3cret"', "alerts[0].command: expected a list"),
        ('[[alerts]]\ncomand = ["s3cret"]', "Unknown setting 'comand' in alerts[0]. Did you mean 'command'?"),
        ('[[alerts]]\ncommand = ["x"]\ntimeout_seconds = 0', "alerts[0].timeout_seconds"),
    ],
)
def test_hooks_that_cannot_be(run: Run, tmp_path: Path, written: str, problem: str) -> None:
    (tmp_path / "config.toml").write_text(written, "utf-8")
    result = run("report")
    assert result.exit_code == 1
    assert problem in result.stderr
    assert "s3cret" not in result.stderr


def test_a_hook_from_the_command_line(answer: Json, tmp_path: Path) -> None:
    """A command ends only when its hooks have had their moment."""
    told = tmp_path / "told"
    (tmp_path / "config.toml").write_text(
        f"""
        [[limits]]
        subject = "user:alice"
        window = "day"
        limit = 1000
        [[alerts]]
        command = ["/bin/sh", "-c", "cat >> {told}"]
        """,
        "utf-8",
    )
    answer("record", "--model", "gpt-4o", "--input", "900", "--output", "0")
    assert told.read_text("utf-8").count('"alert":"80%"') == 1


def test_a_command_sees_its_hooks_through(answer: Json, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert is claimed before it is told: if the process ended sooner, it would be lost for its window."""
    waits: list[object] = []
    real = Tokenward.open

    def opened(url: str, **options: Any) -> AbstractAsyncContextManager[Tokenward]:
        waits.append(options["alert_grace_seconds"])
        return real(url, **options)

    monkeypatch.setattr(Tokenward, "open", opened)
    hooks = "".join(f'[[alerts]]\ncommand = ["x"]\ntimeout_seconds = {seconds}\n' for seconds in (5, 30))
    for written in ("", hooks):
        (tmp_path / "config.toml").write_text(written, "utf-8")
        answer("report")
    assert waits == [GRACE_SECONDS, GRACE_SECONDS + 30]


def test_the_settings_make_the_hooks(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('anomalies = false\n[[alerts]]\nurl = "https://example.com/s3cret"\nheader = "X-Hook"', "utf-8")
    settings = load_settings(file)
    (hook,) = settings.alert_hooks
    assert (hook.url, hook.header, hook.command) == ("https://example.com/s3cret", "X-Hook", ())
    assert settings.anomalies is False
    assert "s3cret" not in repr(settings)
