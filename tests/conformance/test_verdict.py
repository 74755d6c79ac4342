"""What suites found, held against what is expected: every way of failing, and the file of expectations itself."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from tests.conformance import inspector, run
from tests.conformance.served import ROOT, ServerError
from tests.conformance.suites import SUITES, Suite
from tests.conformance.verdict import (
    Expectation,
    Outcome,
    judge,
    read_expectations,
    read_outcomes,
    reasons_of,
    report,
)

HERE = Path(__file__).parent
GOOD = Outcome("ping", 2)
BAD = Outcome("tasks", 1, ("FAILURE tasks-get: no such method",))
KNOWN = Expectation(run="suite", scenarios=("tasks",), reason="The SDK has no tasks yet.")


def write_run(folder: Path, scenario: str, **statuses: str) -> None:
    checks = [{"id": name, "status": status} for name, status in statuses.items()]
    run_folder = folder / f"server-{scenario}-2026-11-22T12-52-53-863Z"
    run_folder.mkdir()
    (run_folder / "checks.json").write_text(json.dumps(checks), encoding="utf-8")


def test_what_a_suite_wrote_is_read(tmp_path: Path) -> None:
    write_run(tmp_path, "tools-list", first="SUCCESS", second="SUCCESS", told="INFO", left_out="SKIPPED")
    write_run(tmp_path, "server-sse-polling", first="WARNING", told="INFO")
    write_run(tmp_path, "ping", first="SUCCESS", second="FAILURE")
    (tmp_path / "output.txt").touch()
    outcomes = read_outcomes(tmp_path)
    assert [(one.scenario, one.succeeded, one.passed) for one in outcomes] == [
        ("ping", 1, False),
        ("server-sse-polling", 0, False),
        ("tools-list", 2, True),
    ]
    assert outcomes[0].problems == ("FAILURE second: ",)


def test_a_scenario_without_a_success_has_not_passed(tmp_path: Path) -> None:
    write_run(tmp_path, "tasks-status-notifications", only="SKIPPED")
    (outcome,) = read_outcomes(tmp_path)
    assert not outcome.passed
    (fault,) = judge("suite", [outcome], 1, []).faults
    assert fault == "tasks-status-notifications: no check succeeded"


def test_what_passes_and_what_is_known_not_to_is_no_fault() -> None:
    verdict = judge("suite", [GOOD, BAD], 2, [KNOWN])
    assert (verdict.faults, verdict.expected) == ((), ("tasks",))
    assert verdict.row == ("suite", "1 of 2", "3", "1", "0", "ok")


def test_what_fails_without_being_expected_to_is_a_fault() -> None:
    other = Expectation(run="another suite", scenarios=("tasks",), reason="The SDK has no tasks yet.")
    verdict = judge("suite", [GOOD, BAD], 2, [other])
    assert verdict.faults == ("tasks: FAILURE tasks-get: no such method",)
    assert verdict.row[-1] == "FAILED"


@pytest.mark.parametrize("outcomes", [[GOOD, Outcome("tasks", 1)], [GOOD, Outcome("other", 1)]], ids=["passed", "gone"])
def test_what_passes_against_expectation_is_a_fault(outcomes: list[Outcome]) -> None:
    verdict = judge("suite", outcomes, 2, [KNOWN])
    assert verdict.faults == ("tasks: passes or did not run, but is expected to fail",)


@pytest.mark.parametrize("count", [1, 3])
def test_scenarios_that_did_not_run_are_a_fault(count: int) -> None:
    verdict = judge("suite", [GOOD, BAD], count, [KNOWN])
    assert verdict.faults == (f"2 scenarios ran instead of {count}",)


def test_the_report_has_a_row_per_run_the_reasons_and_the_faults() -> None:
    verdicts = [judge("suite", [GOOD, BAD], 2, [KNOWN]), judge("other", [BAD], 1, [])]
    lines = report(verdicts, reasons_of([KNOWN])).splitlines()
    assert lines[0].split("  ")[0] == "run"
    assert [line.split()[0] for line in lines[2:4]] == ["suite", "other"]
    assert lines[4:] == [
        "",
        "Expected in suite: tasks",
        "  The SDK has no tasks yet.",
        "",
        "FAULT in other: tasks: FAILURE tasks-get: no such method",
    ]


def test_every_expectation_has_a_reason_and_a_run_that_exists() -> None:
    expectations = read_expectations(HERE / "expected.toml")
    assert {one.run for one in expectations} <= {suite.run for suite in SUITES} | {inspector.RUN}
    named = [(one.run, name) for one in expectations for name in one.scenarios]
    assert len(named) == len(set(named))


def test_the_page_has_every_run_with_what_passes() -> None:
    page = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    counts = {suite.run: suite.scenarios for suite in SUITES} | {inspector.RUN: inspector.SCENARIOS}
    for name, count in counts.items():
        failing = sum(len(one.scenarios) for one in read_expectations(HERE / "expected.toml") if one.run == name)
        assert f"| `{name}` | {count - failing} of {count} |" in page


def test_only_the_tasks_extension_fails_where_there_are_sessions() -> None:
    failing = [
        name for one in read_expectations(HERE / "expected.toml") if one.run.startswith("0.") for name in one.scenarios
    ]
    assert [name for name in failing if not name.startswith("tasks-")] == ["server-sse-polling"]


@pytest.mark.parametrize("entry", ['run = "a"\nscenarios = ["b"]', 'run = "a"\nscenarios = []\nreason = "x"'])
def test_an_expectation_without_a_reason_or_a_scenario_is_refused(entry: str, tmp_path: Path) -> None:
    file = tmp_path / "expected.toml"
    file.write_text(f"[[expected]]\n{entry}\n", encoding="utf-8")
    with pytest.raises(ValidationError):
        read_expectations(file)


@pytest.mark.parametrize(
    ("tasks", "exit_code"), [(BAD, 0), (Outcome("tasks", 1), 1), (Outcome("unknown", 0), 1)], ids=str
)
def test_the_exit_code_tells(tasks: Outcome, exit_code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_with([GOOD, tasks], tmp_path, monkeypatch)
    assert result == exit_code


def test_a_server_that_fails_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_with(ServerError("no server came up"), tmp_path, monkeypatch) == 1
    (told,) = json.loads((tmp_path / "results" / "results.json").read_text(encoding="utf-8"))
    assert told["faults"] == ["did not run to its end: no server came up"]


def run_with(found: list[Outcome] | ServerError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a run of one suite that finds this."""

    def outcomes(_suite: Suite | None) -> list[Outcome]:
        if isinstance(found, ServerError):
            raise found
        return found

    expected = tmp_path / "expected.toml"
    expected.write_text(
        '[[expected]]\nrun = "suite"\nscenarios = ["tasks"]\nreason = "The SDK has no tasks yet."\n', encoding="utf-8"
    )
    monkeypatch.setattr(run, "_outcomes", outcomes)
    monkeypatch.setattr(run, "_EXPECTED", expected)
    monkeypatch.setattr(run, "_RESULTS", tmp_path / "results")
    monkeypatch.setattr(run, "NODE", expected)
    monkeypatch.setattr(run, "SUITES", (Suite("suite", "package", (), 2),))
    result = CliRunner().invoke(run.main, ["suite"])
    assert (tmp_path / "results" / "results.json").exists()
    return result.exit_code


def test_without_node_the_run_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "NODE", ROOT / "nowhere" / "node")
    result = CliRunner().invoke(run.main, [])
    assert result.exit_code == 1
    assert "make conformance installs it" in result.output


def test_versions_are_pinned_and_no_lock_file_names_hosts() -> None:
    package = json.loads((HERE / "package.json").read_text(encoding="utf-8"))
    versions: dict[str, str] = package["dependencies"]
    assert versions["node"].startswith("24.")
    assert versions["conformance"].endswith("@0.1.16")
    assert versions["conformance-alpha"].endswith("@0.2.0-alpha.11")
    assert versions["@modelcontextprotocol/inspector"].startswith("2.12.")
    assert all(version[-1].isdigit() and version[0] in "0123456789n" for version in versions.values())
    assert not (HERE / "package-lock.json").exists()
