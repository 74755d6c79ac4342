"""The tests' own Postgres: that it answers, survives a crash, and that its absence is never silent."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.postgres import REQUIRE, SERVER, Cluster, PrivateCluster, running_cluster

ROOT = Path(__file__).resolve().parents[1]


def answer(url: str, statement: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def test_answers(postgres_cluster: Cluster) -> None:
    assert answer(postgres_cluster.url(), "SELECT 1") == 1
    assert answer(postgres_cluster.url("template1"), "SELECT current_database()") == "template1"


def test_is_durable(postgres_cluster: Cluster) -> None:
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert answer(postgres_cluster.url(), f"SHOW {setting}") == "on"


def test_every_test_gets_an_empty_schema(postgres_cluster: Cluster) -> None:
    with postgres_cluster.schema() as one, postgres_cluster.schema() as two:
        with psycopg.connect(one) as connection:
            connection.execute("CREATE TABLE thing (id int)")
        assert answer(one, "SELECT to_regclass('thing')::text") == "thing"
        assert answer(two, "SELECT to_regclass('thing')::text") is None
        schema = answer(one, "SELECT current_schema()")
    assert answer(postgres_cluster.url(), f"SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'") == 0


def test_comes_back_after_a_crash(postgres_cluster: Cluster, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE thing AS SELECT 7 AS id")
    with psycopg.connect(postgres_url) as connection:
        postgres_cluster.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres_url)
    postgres_cluster.start()
    postgres_cluster.start()
    assert answer(postgres_url, "SELECT id FROM thing") == 7


def test_stops_and_is_started_for_the_next_test(postgres_cluster: Cluster) -> None:
    with postgres_cluster.schema():
        postgres_cluster.stop()
        postgres_cluster.stop()
    assert answer(postgres_cluster.url(), "SELECT 1") == 1


def test_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SERVER, raising=False)
    with running_cluster() as cluster:
        assert isinstance(cluster, PrivateCluster)
        assert answer(cluster.url(), "SELECT 1") == 1
        assert not list(cluster.folder.rglob(".s.PGSQL*"))
    assert not cluster.folder.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(cluster.url())


def test_urls_keep_what_they_have() -> None:
    cluster = Cluster("postgresql://u:p@h:1/db?sslmode=disable&options=-cwork_mem%3D8MB")
    assert cluster.url() == "postgresql://u:p@h:1/db?sslmode=disable&options=-cwork_mem%3D8MB"
    assert cluster.url("other", "s") == (
        "postgresql://u:p@h:1/other?connect_timeout=60&sslmode=disable&options=-cwork_mem%3D8MB%20-csearch_path%3Ds"
    )


PROBE = """
def test_probe(postgres_url: str) -> None:
    pass

def test_control(postgres_cluster) -> None:
    postgres_cluster.kill()
"""


def run_probe(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Two tests that need Postgres, in a session of their own."""
    (folder / "test_probe.py").write_text(PROBE, encoding="utf-8")
    (folder / "conftest.py").write_text("from tests.conftest import *\n", encoding="utf-8")
    # A plug-in of this name stands in for a machine without Debian's folders or pgserver.
    (folder / "bare.py").write_text("import tests.postgres\ntests.postgres.binary_folders = lambda: iter(())\n")
    kept = {name: value for name, value in os.environ.items() if name not in {REQUIRE, SERVER}}
    search = os.pathsep.join([str(folder), str(ROOT), str(ROOT / "src")])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "bare", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    return subprocess.run(
        [*command, str(folder / "test_probe.py")],
        check=False,
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env={**kept, "PATH": "", "PYTHONPATH": search, **environment},
    )


def test_absence_is_loud(tmp_path: Path) -> None:
    done = run_probe(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING: 2 tests skipped. No Postgres for the tests: neither initdb and pg_ctl" in done.stdout
    assert "2 skipped" in done.stdout.splitlines()[-1]


def test_absence_fails_where_postgres_is_required(tmp_path: Path) -> None:
    done = run_probe(tmp_path, **{REQUIRE: "1"})
    assert done.returncode == 1
    assert "2 errors" in done.stdout.splitlines()[-1]
    assert f"{REQUIRE}=1, but: No Postgres for the tests: neither initdb" in done.stdout


def test_a_server_of_others_is_used_but_not_killed(tmp_path: Path, postgres_cluster: Cluster) -> None:
    done = run_probe(tmp_path, **{SERVER: postgres_cluster.url()})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout.splitlines()[-1]
    assert f"the one that {SERVER} names is not ours" in done.stdout
