"""The unit for systemd: it is one, and what it starts answers with the folders and settings that systemd would give."""

import os
import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import httpx2
import pytest

from tests.deploy.serving import AUTH_EXAMPLE, serving
from tests.packaging.project import ROOT
from tests.waiting import NET_SECONDS
from tokenward.server.http.settings import HttpSettings

EXAMPLE = ROOT / "docs" / "examples" / "tokenward.service"


def unit() -> dict[str, list[str]]:
    """Every value of every key; no key of ours stands in two sections."""
    values: dict[str, list[str]] = defaultdict(list)
    for line in EXAMPLE.read_text("utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values[key].append(value)
    return values


def test_it_gives_requests_the_time_they_are_promised() -> None:
    (seconds,) = unit()["TimeoutStopSec"]
    assert int(seconds) > HttpSettings.model_fields["drain_seconds"].default


def test_it_starts_the_command_that_the_package_installs() -> None:
    (command,) = unit()["ExecStart"]
    assert shlex.split(command) == ["/opt/tokenward/bin/tokenward", "serve", "--transport", "http"]


def test_its_account_is_nobody_else_s_and_may_write_where_it_must() -> None:
    assert unit()["DynamicUser"] == ["yes"]
    assert unit()["ProtectSystem"] == ["strict"]
    assert unit()["StateDirectory"] == unit()["CacheDirectory"] == ["tokenward"]


def test_what_it_starts_answers(tmp_path: Path) -> None:
    folders = {"%d": tmp_path / "credentials", "%S": tmp_path / "lib", "%C": tmp_path / "cache"}
    environment = {name: value for name, value in os.environ.items() if "TOKENWARD" not in name}
    for name, _, value in (pair.partition("=") for line in unit()["Environment"] for pair in line.split()):
        environment[name] = value.replace(value[:2], str(folders[value[:2]]))
    for folder in folders.values():
        folder.mkdir()
    (credential,) = unit()["LoadCredential"]
    settings = folders["%d"] / credential.partition(":")[0]
    settings.write_text(AUTH_EXAMPLE.read_text("utf-8"), "utf-8")
    with serving(environment | {"PYTHONPATH": str(ROOT / "src")}) as server:
        assert httpx2.post(f"{server.url}/mcp", json={}, trust_env=False, timeout=NET_SECONDS).status_code == 401
    assert (folders["%S"] / "tokenward" / "ledger.db").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_it(tmp_path: Path) -> None:
    there = tmp_path / EXAMPLE.name
    # What it starts must exist for systemd to say yes.
    there.write_text(EXAMPLE.read_text("utf-8").replace("/opt/tokenward/bin/tokenward", "/bin/true"), "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(there)], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
