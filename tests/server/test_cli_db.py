"""``tokenward db``: upkeep for people and as JSON, wrong values, files that cannot be used, exit codes."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.packaging.project import ROOT
from tests.server.conftest import Json, Run
from tokenward.server.commands import db

COMMANDS = ["upgrade", "status", "prune", "export", "import", "reprice"]


def ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def record(run: Run, *days: int, model: str = "gpt-4o") -> None:
    """An event so many days ago, each."""
    for one in days:
        result = run("record", "--model", model, "--input", "1000", "--output", "10", "--at", ago(one))
        assert result.exit_code == 0, result.stderr


def of_the_period(report: dict[str, Any]) -> dict[str, Any]:
    """A report without its end, which is the moment it was asked for."""
    return {name: value for name, value in report.items() if name != "end"}


def totals(answer: Json) -> dict[str, Any]:
    report = answer("report", "--since", ago(300))
    found: dict[str, Any] = report["totals"]
    return found


def refused(result: Result, said: str, exit_code: int = 2) -> None:
    assert result.exit_code == exit_code
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(run: Run, command: str) -> None:
    assert f"  {command} " in run("db", "--help").stdout
    assert run("db", command, "--help").exit_code == 0


@pytest.mark.parametrize("command", ["prune", "export", "import", "reprice"])
def test_examples_in_the_help_stand_line_by_line(run: Run, command: str) -> None:
    examples = run("db", command, "--help").stdout.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert len(examples) > 1
    assert all(f" db {command}" in one for one in examples)


# upgrade, status


def test_upgrade_says_the_versions(run: Run, answer: Json) -> None:
    made = run("db", "upgrade")
    assert made.exit_code == 0
    assert made.stdout.startswith("Made the schema, version ")
    assert run("db", "upgrade").stdout.startswith("The schema is up to date: version ")
    versions = answer("db", "upgrade")
    assert versions["before"] == versions["after"] > 0
    assert not versions["partitioned"]


@pytest.mark.parametrize("store", ["memory://", "sqlite:///x.db"])
def test_partitions_are_for_postgres(run: Run, store: str) -> None:
    refused(run("--store", store, "db", "upgrade", "--partitions"), "--partitions is for Postgres")
    assert not Path("x.db").exists()


def test_status_counts(run: Run, answer: Json, environment: dict[str, str]) -> None:
    empty = answer("db", "status")
    assert (empty["events"], empty["oldest_event"], empty["pruned_before"]) == (0, None, None)
    record(run, 3, 1)
    run("quota", "set", "default", "tokens/day", "100000")
    run("quota", "check", "--tokens", "5", "--reserve")
    status = answer("db", "status")
    assert status["store"] == environment["TOKENWARD_STORE"]
    assert (status["kind"], status["schema_version"]) == ("sqlite", status["latest_version"])
    assert (status["events"], status["pending_holds"], status["open_budgets"], status["limits"]) == (2, 1, 0, 1)
    assert datetime.fromisoformat(status["oldest_event"]) < datetime.now(UTC) - timedelta(days=2)
    assert status["bytes"] > 1_000
    shown = run("db", "status").stdout
    assert "pending holds" in shown
    assert f" {status['bytes']:,}" in shown


@pytest.mark.parametrize("command", [["upgrade"], ["status"], ["export"], ["import"], ["reprice"]])
def test_a_store_that_cannot_be_used_is_an_error(run: Run, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "work" / "bad.db").write_text("no database " * 500, encoding="utf-8")
    result = run("--store", "sqlite:///bad.db", "db", *command, stdin="")
    refused(result, "Error: ", 1)


def test_a_newer_schema_is_refused(run: Run, environment: dict[str, str]) -> None:
    run("db", "upgrade")
    with sqlite3.connect(environment["TOKENWARD_STORE"].removeprefix("sqlite:///")) as connection:
        connection.execute("INSERT INTO schema_version SELECT 99, applied FROM schema_version LIMIT 1")
    connection.close()
    refused(run("db", "status"), "The store has schema version 99", 1)


def test_a_ledger_moves_to_postgres(run: Run, answer: Json, postgres_url: str) -> None:
    record(run, 200, 100, 1)
    run("db", "prune", "--older-than", "150d", "--yes")
    content = run("db", "export").stdout
    postgres = ["--store", postgres_url]
    done = answer(*postgres, "db", "import", stdin=content)
    assert (done["events"], done["hourly"]) == (2, 1)
    status = answer(*postgres, "db", "status")
    assert (status["kind"], status["events"], status["partitioned"]) == ("postgres", 2, False)
    assert status["store"].endswith("?***")
    since = ago(300)
    assert of_the_period(answer(*postgres, "report", "--since", since)) == of_the_period(
        answer("report", "--since", since)
    )
    back = run(*postgres, "db", "export").stdout
    events = [line for line in content.splitlines() if '"kind":"event"' in line]
    assert events == [line for line in back.splitlines() if '"kind":"event"' in line]
    assert answer(*postgres, "db", "prune", "--older-than", "90d", "--yes")["deleted"] == 1
    assert answer(*postgres, "db", "reprice")["models"][0]["changed"] == 0


# prune


def test_prune_deletes_old_events_and_keeps_the_reports(run: Run, answer: Json) -> None:
    record(run, 200, 100, 70, 1)
    before = totals(answer)
    found = answer("db", "prune", "--older-than", "90d", "--dry-run")
    assert (found["found"], found["deleted"]) == (2, 0)
    assert datetime.fromisoformat(found["before"]).timestamp() % 900 == 0
    assert run("db", "prune", "--older-than", "90d", "--dry-run").stdout.startswith("There are 2 events from before ")
    assert answer("db", "status")["events"] == 4
    done = run("db", "prune", "--older-than", "90d", "--yes")
    assert done.stdout.startswith("Deleted 2 events from before ")
    status = answer("db", "status")
    assert status["events"] == 2
    pruned = datetime.fromisoformat(status["pruned_before"])
    assert timedelta(days=90) <= datetime.now(UTC) - pruned < timedelta(days=90, minutes=16)
    assert totals(answer) == before
    assert answer("db", "prune", "--older-than", "90d", "--yes")["deleted"] == 0
    last = answer("db", "prune", "--older-than", "9w", "--yes")
    assert (last["found"], last["deleted"]) == (1, 1)
    assert answer("db", "prune", "--older-than", "26w", "--yes")["deleted"] == 0
    assert totals(answer) == before


@pytest.mark.parametrize(
    ("age", "said"),
    [
        ("61d", "--older-than: '61d' is too young: limits of a month need the events of 62 days; give at least 62d."),
        ("8w", "'8w' is too young"),
        ("0d", "'0d' is not an age; give days or weeks, such as 90d or 26w."),
        ("6m", "'6m' is not an age"),
        ("-90d", "'-90d' is not an age"),
        ("90", "'90' is not an age"),
        ("\u0669\u0660d", "is not an age"),
        ("", "'' is not an age"),
    ],
)
def test_wrong_ages_are_refused(run: Run, age: str, said: str) -> None:
    refused(run("db", "prune", f"--older-than={age}", "--yes"), said)


def test_without_anybody_to_ask_nothing_is_deleted(run: Run, answer: Json) -> None:
    record(run, 100)
    refused(run("db", "prune", "--older-than", "90d", stdin="y\n"), "Nobody is there to ask: give --yes")
    assert answer("db", "status")["events"] == 1


def test_a_person_is_asked(run: Run, answer: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "_asks", lambda: True)
    record(run, 100)
    left = run("db", "prune", "--older-than", "90d", stdin="n\n")
    assert (left.exit_code, left.stdout) == (1, "")
    assert "Delete 1 events from before " in left.stderr
    assert answer("db", "status")["events"] == 1
    assert run("db", "prune", "--older-than", "90d", stdin="y\n").exit_code == 0
    assert answer("db", "status")["events"] == 0
    assert "Deleted 0 events" in run("db", "prune", "--older-than", "90d").stdout


# export, import


def test_export_to_a_file_and_import_into_another_store(run: Run, answer: Json) -> None:
    record(run, 3, 2, 1)
    run("quota", "set", "user:alice", "cost/month", "25.00")
    done = run("db", "export", "ledger.jsonl")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "Exported 3 events, 1 limits to ledger.jsonl.\n"
    lines = [json.loads(line) for line in Path("ledger.jsonl").read_text("ascii").splitlines()]
    assert [one["kind"] for one in lines] == ["header", "limit", "event", "event", "event", "end"]
    assert os.name != "posix" or Path("ledger.jsonl").stat().st_mode & 0o777 == 0o600
    other = ["--store", "sqlite:///other.db"]
    first = run(*other, "db", "import", "ledger.jsonl")
    assert first.stdout.splitlines() == ["Events: 3 new, 0 already there.", "Limits: 1 set, 0 left as they are."]
    again = answer(*other, "db", "import", "ledger.jsonl")
    assert (again["events"], again["known_events"], again["limits"], again["kept_limits"]) == (0, 3, 0, 1)
    since = ago(30)
    reports = [of_the_period(answer(*store, "report", "--since", since, "--group-by", "day")) for store in ([], other)]
    assert reports[0] == reports[1]
    assert reports[0]["totals"]["requests"] == 3


def test_export_and_import_through_pipes(run: Run, answer: Json) -> None:
    record(run, 2, 1)
    content = run("db", "export").stdout
    done = answer("--store", "sqlite:///other.db", "db", "import", stdin=content)
    assert done["events"] == 2
    done = answer("--store", "sqlite:///other.db", "db", "import", "-", stdin=content)
    assert done["known_events"] == 2


def test_nothing_of_the_machine_is_exported(run: Run, environment: dict[str, str]) -> None:
    record(run, 1)
    content = run("db", "export").stdout
    assert environment["TOKENWARD_STORE"].removeprefix("sqlite:///") not in content
    assert "sqlite" not in content
    header = json.loads(content.splitlines()[0])
    assert set(header) == {"kind", "format", "tokenward", "exported", "from", "to", "pruned_before"}


def test_a_span_of_time_in_the_settings_zone(run: Run) -> None:
    for at in ("2026-03-31T21:59:59Z", "2026-03-31T22:00:00Z", "2026-04-01T21:59:59Z", "2026-04-01T22:00:00Z"):
        run("record", "--model", "gpt-4o", "--input", "1", "--output", "1", "--at", at)
    Path("berlin.toml").write_text('timezone = "Europe/Berlin"', encoding="utf-8")
    result = run("--config", "berlin.toml", "db", "export", "--from", "2026-04-01", "--to", "2026-04-02")
    times = [one.get("timestamp") for one in map(json.loads, result.stdout.splitlines()) if one["kind"] == "event"]
    assert times == ["2026-03-31T22:00:00.000000+00:00", "2026-04-01T21:59:59.000000+00:00"]


@pytest.mark.parametrize("command", ["export", "reprice"])
def test_wrong_times_are_refused(run: Run, command: str) -> None:
    refused(run("db", command, "--from", "yesterday"), "--from: 'yesterday' is not a time; give RFC 3339")
    refused(run("db", command, "--to", "2026-13-01"), "--to: '2026-13-01' is not a time")
    refused(run("db", command, "--from", "2026-11-02", "--to", "2026-11-02"), "--to: is not after --from.")


def test_a_file_is_replaced_only_when_the_export_is_whole(
    run: Run, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    record(run, 1)
    Path("a.jsonl").write_text("before", encoding="utf-8")
    refused(run("db", "export", "a.jsonl", "--from", "x"), "--from: ")
    assert Path("a.jsonl").read_text("utf-8") == "before"

    def broken(*_arguments: object) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("tokenward.archive_lines.end_line", broken)
        refused(run("db", "export", "a.jsonl"), "FILE: 'a.jsonl' cannot be written (No space left on device).", 1)
    assert Path("a.jsonl").read_text("utf-8") == "before"
    assert os.listdir() == ["a.jsonl"]  # noqa: PTH208 - names only
    assert run("db", "export", "a.jsonl").exit_code == 0
    assert Path("a.jsonl").read_text("utf-8").startswith('{"kind":"header"')
    assert os.listdir() == ["a.jsonl"]  # noqa: PTH208 - names only


def test_a_link_to_a_file_stays_a_link(run: Run) -> None:
    Path("real").mkdir()
    Path("real/a.jsonl").touch()
    Path("link.jsonl").symlink_to("real/a.jsonl")
    assert run("db", "export", "link.jsonl").exit_code == 0
    assert Path("link.jsonl").is_symlink()
    assert Path("real/a.jsonl").read_text("utf-8").startswith('{"kind":"header"')


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
def test_a_named_pipe_is_written_to(run: Run) -> None:
    os.mkfifo("pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_text("utf-8")))
    reader.start()
    assert run("db", "export", "pipe").exit_code == 0
    reader.join()
    assert read[0].startswith('{"kind":"header"')
    assert Path("pipe").is_fifo()


def test_files_that_cannot_be_used(run: Run, tmp_path: Path) -> None:
    refused(run("db", "export", "no/such/file"), "FILE: 'no/such/file' cannot be written (No such file", 1)
    refused(run("db", "export", str(tmp_path)), "cannot be written (Is a directory)", 1)
    refused(run("db", "import", "gone.jsonl"), "FILE: 'gone.jsonl' cannot be read (No such file")
    refused(run("db", "import", str(tmp_path)), "cannot be read (Is a directory)")
    Path("text").write_text("hello\n", encoding="utf-8")
    refused(run("db", "import", "text"), "Error: line 1: kind: expected a JSON object on one line")
    refused(run("db", "import", stdin=b"\xff"), "Error: line 1: kind: expected")


def test_what_was_left_out_is_said(run: Run) -> None:
    record(run, 100, 1)
    content = run("db", "export").stdout
    run("db", "prune", "--older-than", "90d", "--yes")
    done = run("db", "import", stdin=content)
    assert done.stdout == "Events: 0 new, 1 already there.\n"
    assert "Warning: 1 events are from a time that this ledger has pruned; they were left out.\n" in done.stderr
    done = run("db", "import", stdin=content.replace('"input_tokens":1000', '"input_tokens":1001'))
    assert "Warning: 1 events stand in the ledger with other numbers; they stay as they are.\n" in done.stderr
    moved = run("--store", "sqlite:///other.db", "db", "import", stdin=run("db", "export").stdout)
    assert "Sums of pruned time: 1 new, 0 already there.\n" in moved.stdout
    assert " and 1 sums of pruned time to x.jsonl." in run("db", "export", "x.jsonl").stderr


@pytest.mark.skipif(os.name != "posix", reason="closes a pipe")
def test_a_reader_that_leaves_early_is_no_error(run: Run, environment: dict[str, str]) -> None:
    record(run, 1)
    command = [sys.executable, "-m", "tokenward", "db", "export"]
    with subprocess.Popen(
        command,
        env=os.environ | environment | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


# reprice


def test_reprice(run: Run, answer: Json) -> None:
    record(run, 2, 1)
    right = totals(answer)["cost"]
    record(run, 1, model="no-such-model")
    content = run("db", "export").stdout
    other = ["--store", "sqlite:///other.db"]
    run(*other, "db", "import", stdin=re.sub(r'"cost":"[^"]+"', '"cost":"0.000000005"', content))
    table = run(*other, "db", "reprice", "--dry-run").stdout
    assert "$0.00000001" in table
    assert f"${right}" in table
    assert table.endswith("Nothing was changed.\n")
    document = answer(*other, "db", "reprice")
    assert document == {
        "dry_run": False,
        "models": [
            {
                "model": "gpt-4o",
                "events": 2,
                "changed": 2,
                "unknown": 0,
                "old_cost": "0.00000001",
                "new_cost": right,
            },
            {"model": "no-such-model", "events": 1, "changed": 0, "unknown": 1, "old_cost": "0.00", "new_cost": "0.00"},
        ],
    }
    assert [one["changed"] for one in answer(*other, "db", "reprice", "--from", "2026-01-01")["models"]] == [0, 0]
    only = answer(*other, "db", "reprice", "--model", "gpt-4o")["models"]
    assert [one["model"] for one in only] == ["gpt-4o"]
    assert run(*other, "db", "reprice", "--to", "2026-01-01").stdout == "There are no such events.\n"


def test_aliases_of_the_settings_give_a_price(run: Run, answer: Json) -> None:
    record(run, 1, model="own-name")
    assert totals(answer)["unpriced_requests"] == 1
    Path("alias.toml").write_text('[aliases]\nown-name = "gpt-4o"', encoding="utf-8")
    done = answer("--config", "alias.toml", "db", "reprice")["models"]
    assert [(one["changed"], one["unknown"], one["old_cost"]) for one in done] == [(1, 0, "0.00")]
    assert totals(answer)["unpriced_requests"] == 0
    assert totals(answer)["cost"] == done[0]["new_cost"]
