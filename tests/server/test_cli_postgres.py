"""The commands on Postgres: what ``doctor`` finds, and counting in the database."""

import json
from pathlib import Path

import psycopg
import pytest

from tests.server.conftest import Json, Run

pytestmark = pytest.mark.usefixtures("patient_pg_tiktoken")

FUNCTION = "CREATE FUNCTION tiktoken_count(text, text) RETURNS bigint LANGUAGE sql RETURN 7"


@pytest.fixture
def environment(postgres_url: str, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config.toml").touch()
    return {"TOKENWARD_CONFIG": str(tmp_path / "config.toml"), "TOKENWARD_STORE": postgres_url}


def found(answer: Json) -> dict[str, tuple[str, str]]:
    return {one["subject"]: (one["verdict"], one["detail"]) for one in answer("doctor")["findings"]}


def test_doctor_says_whether_the_database_counts(
    answer: Json, run: Run, environment: dict[str, str], postgres_url: str
) -> None:
    missing = "Counted in process: the database has no function tiktoken_count(text, text)"
    findings = found(answer)
    assert findings["store"] == ("ok", "reachable, schema up to date, limits set: 0")
    assert findings["pg_tiktoken"] == ("ok", missing)
    assert findings["backend"] == ("ok", "tiktoken (default)")
    assert findings["psycopg"][0] == "ok"
    environment["TOKENWARD_BACKEND"] = "pg_tiktoken"
    assert found(answer)["pg_tiktoken"] == ("note", missing)
    with psycopg.connect(postgres_url) as connection:
        connection.execute(FUNCTION)
    assert found(answer)["pg_tiktoken"] == ("ok", "offered by the database, used")
    environment["TOKENWARD_BACKEND"] = "tiktoken"
    assert found(answer)["pg_tiktoken"] == ("ok", "offered by the database, not used")


def test_a_text_is_counted_in_the_database(answer: Json, environment: dict[str, str], postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(FUNCTION)
    environment["TOKENWARD_BACKEND"] = "pg_tiktoken"
    counted = answer("count", "--text", "hello world", "--model", "gpt-4")
    assert (counted["tokens"], counted["method"], counted["exact"]) == (7, "pg_tiktoken", True)


def test_the_backend_needs_a_postgres_store(run: Run, environment: dict[str, str]) -> None:
    environment |= {"TOKENWARD_BACKEND": "pg_tiktoken", "TOKENWARD_STORE": "memory://"}
    result = run("count", "--text", "hello world")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: Setting backend: pg_tiktoken counts in a Postgres store; give store=postgresql://….\n"
    )
    assert json.loads(run("doctor", "--json").stdout)["ok"] is False


def test_events_are_partitioned_by_month_when_it_is_asked_for(answer: Json, run: Run) -> None:
    assert answer("db", "upgrade")["partitioned"] is False
    for _ in range(2):
        done = answer("db", "upgrade", "--partitions")
        assert (done["partitioned"], done["before"]) == (True, done["after"])
    assert answer("db", "status")["partitioned"] is True
    assert "Events are partitioned by month." in run("db", "upgrade").stdout
    answer("record", "--model", "gpt-4o", "--input", "5", "--output", "5")
    assert answer("report")["totals"]["requests"] == 1


def test_a_ledger_moves_from_postgres_to_a_file(
    answer: Json, run: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["TOKENWARD_USER"] = "alice"
    answer("quota", "set", "user:alice", "tokens/day", "1000")
    held = answer("quota", "check", "--tokens", "100", "--reserve")["reservation_id"]
    answer("record", "--model", "gpt-4o", "--input", "60", "--output", "6", "--reservation", held, "--key", "k")
    answer("record", "--model", "gpt-4o", "--input", "1", "--output", "1", "--session", "s")
    limits, totals = answer("quota", "list"), answer("report")["totals"]
    archive = str(tmp_path / "archive.jsonl")
    assert run("db", "export", archive).exit_code == 0
    environment["TOKENWARD_STORE"] = f"sqlite:///{tmp_path / 'ledger.db'}"
    assert [answer("db", "import", archive)["events"] for _ in range(2)] == [2, 0]
    assert (answer("quota", "list"), answer("report")["totals"]) == (limits, totals)
    (limit,) = answer("quota", "show")["limits"]
    assert (limit["used"], limit["reserved"]) == (68, 0)
