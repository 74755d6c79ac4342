"""``tokenward doctor`` on settings: in plain words, without secrets, and what is unwise is seen."""

from collections import Counter
from pathlib import Path

import pytest

from tests.server.conftest import Json, Run

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = (REPOSITORY / "docs" / "examples" / "auth.toml").read_text("utf-8")
OWN = """
[[auth.tokens]]
hash = "sha256:{digits}"
subject = "alice"
"""
JWT = """
[auth.jwt]
issuer = "https://login.example.com"
audience = "https://tokens.example.com/mcp"
jwks_url = "https://login.example.com/.well-known/jwks.json"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def findings(answer: Json) -> dict[str, tuple[str, str]]:
    return {one["subject"]: (one["verdict"], one["detail"]) for one in answer("doctor")["findings"]}


def test_tokens_that_everybody_knows_are_worth_a_look(run: Run, answer: Json, settings: Path) -> None:
    settings.write_text(EXAMPLE, "utf-8")
    verdict, detail = findings(answer)["auth tokens"]
    assert verdict == "note"
    assert "alice (use, report), orchestrator (admin)" in detail
    result = run("doctor")
    assert result.exit_code == 0
    assert "All is well." not in result.stdout
    assert result.stdout.splitlines()[-2:] == ["Worth a look: auth tokens.", "Nothing is broken."]
    rows = [one for one in result.stdout.splitlines() if " ok " in one or " note " in one]
    assert rows[-1].startswith(" auth tokens "), "what is worth a look comes last"
    settings.write_text(OWN.format(digits="0" * 64), "utf-8")
    assert "auth tokens" not in findings(answer)


def test_who_may_come_in_is_told_without_a_hash(answer: Json, settings: Path) -> None:
    settings.write_text(OWN.format(digits="a1" * 32) + JWT + "[auth]\nrequests_per_minute = 60", "utf-8")
    found = findings(answer)
    assert found["auth"] == (
        "ok",
        "1 token, JWT from https://login.example.com, 60 requests a minute each (file)",
    )
    assert "a1a1" not in str(found)


def test_settings_are_told_in_plain_words(answer: Json, environment: dict[str, str], settings: Path) -> None:
    found = findings(answer)
    assert (found["http"][1], found["auth"][1], found["telemetry"][1]) == ("default", "none (default)", "default")
    assert (found["fail_open"][1], found["calibration"][1]) == ("off (default)", "on (default)")
    written = """
        roots = ["."]
        priorities = { low = 50 }
        aliases = { ours = "gpt-4o" }
        provider_timeout_seconds = 2.5
        [prices.ours]
        input = "1.00"
        output = "2.00"
        [http]
        host = "127.0.0.1"
        allowed_hosts = ["a.example", "b.example"]
        sse = true
        """
    settings.write_text(written, "utf-8")
    environment["TOKENWARD_TELEMETRY__LOGS"] = "json"
    found = findings(answer)
    assert found["http"][1] == "allowed_hosts a.example, b.example, sse on (file)"
    assert found["telemetry"][1] == "logs json (TOKENWARD_TELEMETRY__LOGS)"
    assert found["priorities"][1] == "low = 50 (file)"
    assert found["aliases"][1] == "ours = gpt-4o (file)"
    assert found["own prices"][1] == "ours (file)"
    assert found["provider_timeout_seconds"][1] == "2.5 (file)"
    assert not [detail for _, detail in found.values() if "()" in detail or "Setting(" in detail or "'" in detail[:1]]


def test_no_two_findings_have_the_same_name(answer: Json) -> None:
    subjects = Counter(one["subject"] for one in answer("doctor")["findings"])
    assert max(subjects.values()) == 1, subjects
    assert {"store", "store URL", "price list", "own prices"} <= set(subjects)


def test_into_a_pipe_no_line_ends_with_blanks(run: Run) -> None:
    lines = run("doctor").stdout.splitlines()
    assert len(lines) > 40
    assert lines == [one.rstrip() for one in lines]
