"""``tokenward doctor`` on telemetry: the extras, how fast it is here, and what is switched on and cannot be."""

from typing import Any

import pytest

from tests.server.conftest import Json, Run
from tokenward.engine.tokenizers import files
from tokenward.server.commands import doctor_telemetry


def findings_of(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["subject"]: (one["verdict"], one["detail"]) for one in document["findings"]}


def nothing(_: str) -> None:
    """What is installed of a library."""


def test_it_says_how_fast_it_is_and_what_is_held(answer: Json) -> None:
    answer("quota", "check", "--tokens", "10", "--reserve")
    found = findings_of(answer("doctor"))
    verdict, detail = found["counting speed"]
    assert verdict == "ok"
    assert detail.startswith("first count ")
    assert detail.count(" ms") == 2
    assert found["store speed"][1].count(" ms") == 3
    assert found["reservations"] == ("ok", "1 pending")
    for extra, libraries in doctor_telemetry.EXTRAS:
        assert all(f"{one} " in found[f"extra {extra}"][1] for one in libraries)
    assert [extra for extra, _ in doctor_telemetry.EXTRAS] == ["http", "prometheus", "otel"]
    assert found["telemetry"] == ("ok", "default")


def test_a_missing_extra_says_how_to_install_it_and_is_no_fault(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "installed", nothing)
    result = run("doctor")
    assert result.exit_code == 0
    assert "tokenward[http]" in result.stdout
    assert "tokenward[prometheus]" in result.stdout
    assert "tokenward[otel]" in result.stdout


def test_of_an_extra_with_two_libraries_the_missing_one_is_named(answer: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_uvloop(library: str) -> str:
        return "" if library == "uvloop" else "1.2"

    monkeypatch.setattr(files, "installed", without_uvloop)
    verdict, detail = findings_of(answer("doctor"))["extra http"]
    assert verdict == "ok"
    assert detail == "httptools 1.2; uvloop not installed: pip install 'tokenward[http]'"


def test_switched_on_without_its_extra_is_broken(
    run: Run, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment["TOKENWARD_TELEMETRY"] = '{"otel": true}'
    monkeypatch.setattr(files, "installed", nothing)
    result = run("doctor")
    assert result.exit_code == 1
    assert "Broken: extra otel." in result.stdout


def test_a_slow_store_is_noted(answer: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_telemetry, "_SLOW_SECONDS", 0.0)
    assert findings_of(answer("doctor"))["store speed"][0] == "note"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('{"otle": true}', "Unknown setting 'otle' in telemetry. Did you mean 'otel'?"),
        ('{"logs": "xml"}', "Setting telemetry.logs: "),
        ("[]", "Setting telemetry: expected a table."),
    ],
)
def test_a_wrong_setting_is_named(run: Run, environment: dict[str, str], written: str, said: str) -> None:
    environment["TOKENWARD_TELEMETRY"] = written
    result = run("report")
    assert result.exit_code == 1
    assert said in result.stderr


def test_a_setting_can_be_given_alone(answer: Json, environment: dict[str, str]) -> None:
    environment["TOKENWARD_TELEMETRY__LOGS"] = "json"
    assert "logs json" in findings_of(answer("doctor"))["telemetry"][1]
