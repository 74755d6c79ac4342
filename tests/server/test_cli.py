"""Every command: for people and as JSON, wrong values, exit codes."""

import json
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from tests.server.conftest import Json, Run
from tokenward.engine.errors import InvalidInput, StoreUnavailable
from tokenward.server.commands import doctor, render
from tokenward.server.commands.session import Session, refusal
from tokenward.server.settings import LogLevel


def test_help_lists_the_commands_and_each_has_help(run: Run) -> None:
    shown = run("--help").stdout
    for command in ("serve", "count", "cost", "models", "quota", "report", "record", "doctor"):
        assert f"  {command} " in shown
        assert "--help" in run(command, "-h").stdout
    for command in ("show", "list", "set", "delete", "check", "release"):
        assert run("quota", command, "--help").exit_code == 0


@pytest.mark.parametrize("command", ["count", "cost", "report", "record", "quota set"])
def test_examples_in_the_help_stand_line_by_line(run: Run, command: str) -> None:
    examples = run(*command.split(), "--help").stdout.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert len(examples) > 1
    assert all(f"tokenward {command} " in one for one in examples)


def test_version(run: Run) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("tokenward ")


# count


def test_count_text_is_exact_for_openai(answer: Json) -> None:
    one = answer("count", "--text", "hello world")
    assert (one["tokens"], one["exact"], one["method"], one["model"]) == (2, True, "tiktoken", "gpt-4o")


def test_count_reads_standard_input(answer: Json, run: Run) -> None:
    assert answer("count", "-", stdin="hello world")["tokens"] == 2
    assert answer("count", stdin='{"a": 1}')["tokens"] == 6
    assert run("count", "-", stdin=b"\xff\xfe\xfa").exit_code == 2


def test_count_files_per_model_with_totals(run: Run, answer: Json) -> None:
    Path("a.py").write_text("print('hello world')\n", encoding="utf-8")
    Path("b.py").write_text("x = 1\n" * 1000, encoding="utf-8")
    Path("c.bin").write_bytes(b"\0\1")
    shown = run("count", ".", "--model", "gpt-4o", "--model", "gemini-2.5-pro").stdout
    assert "a.py" in shown
    assert "Skipped c.bin: binary" in shown
    both = answer("count", ".", "--model", "gpt-4o", "--model", "gemini-2.5-pro")["results"]
    assert [one["model"] for one in both] == ["gpt-4o", "gemini-2.5-pro"]
    assert both[0]["tokens"] == sum(item["tokens"] for item in both[0]["items"])
    assert f" {both[0]['tokens']:,} " in shown
    assert f"≈ {both[1]['tokens']:,} " in shown
    assert not both[1]["exact"]
    assert both[0]["skipped"] == [{"path": "c.bin", "reason": "binary"}]


def test_count_takes_files_outside_the_working_folder(answer: Json, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("hello world", encoding="utf-8")
    assert answer("count", str(tmp_path / "other.txt"))["tokens"] == 2
    assert answer("count", "../other.txt")["tokens"] == 2


def unreadable() -> None:
    """Files that cannot be counted, and one that can."""
    Path("ok").write_text("hello world", encoding="utf-8")
    Path("latin").write_bytes("grüße".encode("latin-1"))
    Path("binary").write_bytes(b"\0")
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")


@pytest.mark.skipif(os.name != "posix", reason="needs pipes and links")
@pytest.mark.parametrize(
    ("path", "reason"),
    [("latin", "not UTF-8"), ("./binary", "binary"), ("loop", "not a regular file"), ("pipe", "not a regular file")],
)
def test_a_named_file_that_cannot_be_counted_is_an_error(run: Run, path: str, reason: str) -> None:
    unreadable()
    alone = run("count", path)
    assert (alone.exit_code, alone.stdout) == (1, "")
    assert alone.stderr.startswith(f"Error: paths: '{path}' was not counted: {reason}")
    some = run("count", "ok", path, "--json")
    assert (some.exit_code, json.loads(some.stdout)["tokens"]) == (1, 2)
    assert some.stderr.startswith(f"Warning: paths: '{path}' was not counted: {reason}")


@pytest.mark.skipif(os.name != "posix", reason="needs pipes and links")
@pytest.mark.parametrize("path", [".", "*", "*a*"])
def test_what_folders_and_globs_skip_is_no_error(run: Run, path: str) -> None:
    unreadable()
    result = run("count", path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Skipped binary: binary" in result.stdout


def test_a_text_as_the_input_of_a_request_is_a_message(answer: Json, run: Run) -> None:
    Path("text").write_text('{"input": "hello"}', encoding="utf-8")
    Path("list").write_text('{"input": [{"role": "user", "content": "hello"}]}', encoding="utf-8")
    assert answer("count", "--messages", "text") == answer("count", "--messages", "list")
    Path("tools").write_text('{"input": "hello", "tools": [1]}', encoding="utf-8")
    refused = run("count", "--messages", "tools")
    assert refused.exit_code == 2
    assert "Error: tools: those of 'tools' are not all objects." in refused.stderr


def test_count_messages_of_any_provider(answer: Json) -> None:
    text = "hello world"
    bodies: dict[str, object] = {
        "openai": {"messages": [{"role": "user", "content": text}]},
        "list": [{"role": "user", "content": text}],
        "anthropic": {
            "system": "Be brief.",
            "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}],
        },
        "gemini": {"contents": [{"role": "user", "parts": [{"text": text}]}]},
    }
    for name, body in bodies.items():
        Path(name).write_text(json.dumps(body), encoding="utf-8")
    assert answer("count", "--messages", "openai")["tokens"] == 2 + 3 + 1 + 3
    assert answer("count", "--messages", "list")["breakdown"]["user"] == 2
    assert answer("count", "--messages", "anthropic", "--model", "claude-sonnet-4-5")["breakdown"]["system"] > 0
    assert answer("count", "--messages", "gemini", "--model", "gemini-2.5-pro")["format"] == "gemini"


def test_count_messages_for_people_shows_the_parts(run: Run) -> None:
    Path("m").write_text(json.dumps([{"role": "user", "content": "hi"}]), encoding="utf-8")
    shown = run("count", "--messages", "m").stdout
    assert "overhead" in shown
    assert "total" in shown


def test_count_window(answer: Json) -> None:
    one = answer("count", "--text", "hello world", "--max-context", "1")
    assert (one["fits"], one["context_window"], one["remaining_tokens"]) == (False, 1, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["count", "a", "--text", "b"], "exactly one"),
        (["count", "nothing.txt"], "paths: 'nothing.txt' does not exist."),
        (["count", "-", "a"], "'-' stands alone"),
        (["count", "--text", "a", "--model", "nothing_base"], "no encoding is called 'nothing_base'"),
        (["count", "--messages", "gone.json"], "messages: 'gone.json' cannot be read"),
        (["count", "--messages", "m", "--max-context", "5"], "--max-context"),
        (["cost", "--model", "gpt-4o"], "exactly one"),
        (["cost", "--model", "gpt-4o", "--input", "-1"], "-1"),
        (["cost", "--model", "gpt-4o", "--input", "1", "--cached", "2"], "input_tokens: 1 is less"),
        (["cost", "--model", "gpt-4o", "--input", "1", "--at", "yesterday"], "at: 'yesterday' is not a time"),
        (["quota", "set", "user:a", "token/day", "1"], "Did you mean 'tokens/day'?"),
        (["quota", "set", "user:a", "tokens/day", "1.5"], "LIMIT: '1.5' is not a number of tokens"),
        (["quota", "set", "user:a", "cost/day", "abc"], "LIMIT: 'abc' is not an amount in USD"),
        (["quota", "set", "alice", "tokens/day", "1"], "subject: 'alice' is not user:NAME"),
        (["quota", "set", "user:a", "tokens/day", "1", "--timezone", "Mars"], "timezone: 'Mars'"),
        (["quota", "set", "user:a", "tokens/day", "1", "--rolling", "--timezone", "Asia/Tokyo"], "goes with mode"),
        (["quota", "set", "user:a", "tokens/hour", "1", "--calendar"], "hour is always rolling"),
        (["quota", "delete", "user:a", "tokens/day"], "there is no limit user:a, tokens per day"),
        (["quota", "check", "--tokens", "1", "--input", "1"], "give only one"),
        (["record", "--model", "gpt-4o"], "input_tokens: give both"),
        (["record", "--model", "gpt-4o", "--response", "-"], "response: '-' is not JSON."),
        (["report", "--period", "3x"], "period: '3x' is not a period"),
        (["report", "--until", "2026-01-01"], "give a start"),
        (["bogus"], "No such command 'bogus'"),
        (["serve", "--transport", "pigeon"], "pigeon"),
    ],
)
def test_wrong_values_exit_with_2_and_say_what_is_wrong(run: Run, arguments: list[str], said: str) -> None:
    Path("m").write_text("[]", encoding="utf-8")
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_other_errors_exit_with_1(run: Run) -> None:
    unknown = run("cost", "--model", "nobody-knows-this", "--input", "1")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "no price is known" in unknown.stderr
    assert run("--config", "/gone.toml", "quota", "show").exit_code == 1
    assert run("--store", "ftp://x", "quota", "show").exit_code == 1
    assert run("quota", "release", "never-given").exit_code == 1


def test_errors_become_exit_codes() -> None:
    assert refusal(InvalidInput("field", "no")).exit_code == 2
    assert refusal(StoreUnavailable("no")).exit_code == 1


def test_unexpected_errors_show_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_: Session, __: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(Session, "run", crash)
    result = run("quota", "show")
    assert result.exit_code == 1
    assert result.stderr == "Error: Internal error (ZeroDivisionError). Run with --log-level debug to see where.\n"


def test_an_interrupt_exits_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Session, __: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "run", interrupt)
    assert run("quota", "show").exit_code == 130


# cost and models


def test_cost(answer: Json, run: Run) -> None:
    arguments = ["cost", "--model", "gpt-4o", "--input", "1000000", "--output", "100000", "--cached", "1000000"]
    one = answer(*arguments, "--compare", "claude-sonnet-4-5")
    assert Decimal(one["total_cost"]) == sum(Decimal(one[part]) for part in ("input_cost", "output_cost", "cache_cost"))
    assert (one["currency"], one["exact"], one["input_tokens"]) == ("USD", True, 1_000_000)
    assert [other["model"] for other in one["comparisons"]] == ["claude-sonnet-4-5"]
    shown = run(*arguments).stdout
    assert f"${one['total_cost']}" in shown
    assert one["price_date"] in shown


def test_cost_of_a_text_and_of_a_whole_request(answer: Json) -> None:
    assert answer("cost", "--model", "gpt-4o", "--text", "-", stdin="hello world")["input_tokens"] == 2
    message = {"role": "user", "content": "hi"}
    tool = {"type": "function", "function": {"name": "f", "description": "Does it."}}
    Path("plain").write_text(json.dumps([message]), encoding="utf-8")
    Path("tools").write_text(json.dumps({"messages": [message], "tools": [tool]}), encoding="utf-8")
    plain = answer("cost", "--model", "gpt-4o", "--messages", "plain", "--output", "5")
    tools = answer("cost", "--model", "gpt-4o", "--messages", "tools", "--compare", "claude-sonnet-4-5")
    assert plain["output_tokens"] == 5
    assert tools["input_tokens"] > plain["input_tokens"]
    assert tools["comparisons"][0]["exact"] is False


def test_models(answer: Json, run: Run) -> None:
    found = {one["model"]: one for one in answer("models", "--search", "gpt-4o")["models"]}
    assert found["gpt-4o"]["exact"]
    assert found["gpt-4o"]["encoding"] == "o200k_base"
    assert Decimal(found["gpt-4o"]["prices"]["input"]) > 0
    assert all("gpt-4o" in name for name in found)
    family = found["gpt-4o"]["family"]
    assert {one["family"] for one in answer("models", "--family", family)["models"]} == {family}
    assert "± 8 %" in run("models", "--search", "gemini-2.5-pro").stdout


# quota, record, report


def test_quota_from_setting_to_deleting(answer: Json, run: Run) -> None:
    assert answer("quota", "set", "user:alice", "tokens/day", "100_000")["limit"] == 100_000
    month = answer("quota", "set", "default", "cost/month", "25.00", "--timezone", "Europe/Berlin")
    assert (month["limit"], month["mode"], month["timezone"]) == ("25.00", "calendar", "Europe/Berlin")
    assert answer("quota", "set", "global", "cost/month", "$9", "--rolling")["mode"] == "rolling"
    listed = answer("quota", "list")["limits"]
    assert {(one["subject"], one["metric"], one["window"]) for one in listed} == {
        ("user:alice", "tokens", "day"),
        ("default", "cost", "month"),
        ("global", "cost", "month"),
    }
    assert [one["subject"] for one in answer("quota", "list", "global")["limits"]] == ["global"]
    shown = run("quota", "show").stdout
    assert "100,000" in shown
    assert "$25.00" in shown
    assert "by the calendar of Europe/Berlin" in run("quota", "list").stdout
    assert answer("quota", "delete", "user:alice", "tokens/day")["deleted"]
    assert {one["scope"] for one in answer("quota", "show")["limits"]} == {"default", "global"}


def test_quota_of_nobody_says_so(run: Run) -> None:
    assert "No limit applies to bob." in run("quota", "show", "--user", "bob").stdout


def test_quota_check_exits_with_3_when_denied(run: Run) -> None:
    run("quota", "set", "user:alice", "tokens/hour", "1000")
    assert run("quota", "check", "--tokens", "1000").exit_code == 0
    denied = run("quota", "check", "--tokens", "1001", "--json")
    assert denied.exit_code == 3
    assert json.loads(denied.stdout)["allowed"] is False
    said = run("quota", "check", "--tokens", "1001")
    assert said.exit_code == 3
    assert "Denied. user:alice, tokens per hour" in said.stdout


def test_reserve_record_and_report(answer: Json, run: Run) -> None:
    run("quota", "set", "user:alice", "tokens/hour", "1000")
    held = answer("quota", "check", "--tokens", "900", "--reserve", "--key", "k")
    same = answer("quota", "check", "--tokens", "900", "--reserve", "--key", "k")
    assert same["reservation_id"] == held["reservation_id"]
    denied = run("quota", "check", "--tokens", "200")
    assert re.search(r"It fits again in (10|9) min", denied.stdout)
    usage = ["--model", "gpt-4o", "--input", "300", "--output", "50", "--key", "e"]
    first = answer("record", *usage, "--reservation", held["reservation_id"])
    again = answer("record", *usage, "--reservation", held["reservation_id"])
    assert first["recorded"]
    assert not first["overage"]
    assert (again["duplicate"], again["event_id"]) == (True, first["event_id"])
    totals = answer("report", "--period", "24h")["totals"]
    assert (totals["requests"], totals["total_tokens"], totals["cost"]) == (1, 350, first["cost"])
    shown = run("report", "--group-by", "day").stdout
    assert "350" in shown
    assert "Tokens per day" in shown
    assert "█" in shown


def test_a_hold_is_given_back_unless_it_was_settled(answer: Json, run: Run) -> None:
    run("quota", "set", "user:alice", "tokens/hour", "1000")
    held = answer("quota", "check", "--tokens", "900", "--reserve")["reservation_id"]
    assert "Gave 900 tokens back." in run("quota", "release", held).stdout
    held = answer("quota", "check", "--tokens", "900", "--reserve")["reservation_id"]
    answer("record", "--model", "gpt-4o", "--input", "1", "--output", "1", "--reservation", held)
    assert "Nothing to give back" in run("quota", "release", held).stdout


def test_overage_is_recorded_with_a_warning(run: Run) -> None:
    run("quota", "set", "user:alice", "tokens/hour", "10")
    result = run("record", "--model", "gpt-4o", "--input", "11", "--output", "0")
    assert result.exit_code == 0
    assert "Recorded for alice" in result.stdout
    assert result.stderr.count("recorded all the same") == 1
    assert "Warning: overage: a limit is exceeded now" in result.stderr


def test_record_a_providers_response(answer: Json, run: Run) -> None:
    response = {"usage": {"prompt_tokens": 70, "completion_tokens": 7, "total_tokens": 77}}
    Path("response.json").write_text(json.dumps(response), encoding="utf-8")
    assert answer("record", "--model", "gpt-4o", "--response", "response.json")["recorded"]
    assert answer("record", "--model", "gpt-4o", "--response", "-", stdin=json.dumps(response))["recorded"]
    assert answer("report")["totals"]["total_tokens"] == 154
    assert run("record", "--model", "gpt-4o", "--response", "-", stdin="[1]").exit_code == 2


def test_what_a_request_was_counted_as_is_learned_from(answer: Json, run: Run) -> None:
    usage = ["--model", "gemini-2.5-pro", "--input", "1100", "--output", "1"]
    for key in ("a", "b", "b"):
        answer("record", *usage, "--counted", "1000", "--key", key)
    (model,) = (one for one in answer("models")["models"] if one["model"] == "gemini-2.5-pro")
    assert model["learned"] == {"samples": 2, "ratio": 1.1, "low": 1.1, "high": 1.1}
    assert "nothing was learned" in run("record", *usage, "--counted", "9000").stderr


def test_an_estimate_is_recorded_as_one(answer: Json, run: Run) -> None:
    usage = ["--model", "gemini-2.5-pro", "--input", "1100", "--output", "1"]
    answer("record", *usage, "--estimated")
    answer("record", *usage)
    run("db", "export", "archive.jsonl")
    lines = [json.loads(line) for line in Path("archive.jsonl").read_text(encoding="ascii").splitlines()]
    assert [one.get("estimated") for one in lines if one["kind"] == "event"] == [True, None]


def test_an_unpriced_model_is_recorded_without_a_cost(run: Run) -> None:
    result = run("record", "--model", "nobody-knows-this", "--input", "1", "--output", "1")
    assert "an unknown price" in result.stdout
    assert "Warning: Recorded without a cost" in result.stderr
    assert "1 request has no known price" in run("report").stdout


def test_report_by_model_with_top_users_and_a_forecast(run: Run) -> None:
    run("record", "--model", "gpt-4o", "--input", "5", "--output", "1", "--user", "bob")
    for day in range(1, 31):
        at = f"2025-03-{day:02d}T12:00:00Z"
        run("record", "--model", "gpt-4o", "--input", str(1_000 + day), "--output", "9", "--at", at)
    period = ["--since", "2025-03-01", "--until", "2025-04-01"]
    shown = run("report", *period, "--group-by", "model", "--forecast-days", "7").stdout
    assert "next 7 days" in shown
    assert "Method:" in shown
    everything = run("report", "--since", "2025-03-01", "--group-by", "model").stdout
    assert "top users" in everything
    assert "bob" in everything


def test_an_empty_report_says_so(run: Run) -> None:
    result = run("report", "--forecast-days", "3")
    assert "Nothing was recorded" in result.stdout
    assert "No forecast" in result.stdout


def test_what_users_write_is_neither_markup_nor_obeyed(run: Run) -> None:
    run("record", "--model", "gpt-4o", "--input", "1", "--output", "1", "--user", "[red]eve[/red]")
    assert "[red]eve[/red]" in run("report").stdout
    Path("e\x1b[31mvil.txt").write_text("x", encoding="utf-8")
    shown = run("count", ".").stdout
    assert "\x1b" not in shown
    assert "e\\x1b[31mvil.txt" in shown


# doctor


def test_doctor_finds_all_well(answer: Json, run: Run) -> None:
    found = answer("doctor")
    assert found["ok"], found
    subjects = {one["subject"]: one for one in found["findings"]}
    assert "TOKENWARD_USER" in subjects["user"]["detail"]
    assert "o200k_base" in subjects["vocabularies"]["detail"]
    assert "All is well." in run("doctor").stdout
    option = {one["subject"]: one for one in json.loads(run("--user", "bob", "doctor", "--json").stdout)["findings"]}
    assert option["user"]["detail"] == "bob (option)"


def test_doctor_finds_roots_that_are_missing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("roots = ['gone', '.']", encoding="utf-8")
    some = run("doctor", "--json")
    missing = {"subject": "roots", "verdict": "note", "detail": "there is no folder gone"}
    assert some.exit_code == 0
    assert missing in json.loads(some.stdout)["findings"]
    (tmp_path / "config.toml").write_text("roots = ['gone']", encoding="utf-8")
    assert run("doctor").exit_code == 1


def test_doctor_says_what_is_broken_and_exits_with_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('usr = "x"', encoding="utf-8")
    result = run("doctor")
    assert result.exit_code == 1
    assert "Broken: settings." in result.stdout
    (tmp_path / "config.toml").write_text("", encoding="utf-8")
    (tmp_path / "file").touch()
    assert "Broken: store." in run("--store", f"sqlite:///{tmp_path}/file/ledger.db", "doctor").stdout


def no_findings(_session: Session) -> list[doctor.Finding]:
    return []


def test_doctor_never_shows_a_password(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_store", no_findings)
    result = run("--store", "postgresql://me:s3cret@db/tokens?password=s3cret", "doctor", "--json")
    assert "s3cret" not in result.output


def test_an_examination_that_crashes_is_a_finding(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "_vocabularies", crash)
    result = run("doctor")
    assert result.exit_code == 1
    assert "unexpected ZeroDivisionError" in result.stdout


# Tables


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (5, "5 s"),
        (60, "1 min 0 s"),
        (61, "1 min 1 s"),
        (3_600, "1 h 0 min"),
        (3_601, "1 h 1 min"),
        (7_199, "2 h 0 min"),
    ],
)
def test_durations(seconds: int, said: str) -> None:
    assert render.duration(seconds) == said


def test_sparkline() -> None:
    assert render.sparkline([0, 7, 14]) == "▁▄█"
    assert render.sparkline([0, 0]) == "▁▁"
    assert render.sparkline([]) == ""


def test_without_a_terminal_nothing_is_wrapped_or_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    console = render.stdout_console()
    render.line(console, "long " * 100)
    console.print(render.table(["name", ">n"], [("word " * 60, 1_000)]))
    lines = capsys.readouterr().out.splitlines()
    assert any(len(one) > 300 for one in lines)
    assert all("\x1b" not in one for one in lines)


def test_progress_is_only_shown_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with render.progress("counting") as nobody:
        assert nobody is None
    monkeypatch.setattr(Console, "is_terminal", True)
    with render.progress("counting") as report:
        assert report is not None


@pytest.mark.parametrize("level", get_args(LogLevel))
def test_every_level_of_the_settings_is_one_of_the_option_too(run: Run, answer: Json, level: str) -> None:
    assert run("--log-level", level.lower(), "models").exit_code == 0
    findings = {one["subject"]: one["detail"] for one in answer("--log-level", level, "doctor")["findings"]}
    assert findings["log_level"] == f"{level} (option)"
