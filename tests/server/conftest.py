"""What the tests of the commands share: a command line in a folder and on a ledger of its own."""

import json
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner, Result

from tests.waiting import NET_SECONDS
from tokenward.server.cli import cli
from tokenward.server.commands import doctor_telemetry
from tokenward.server.http import shared

Run: TypeAlias = Callable[..., Result]
Json: TypeAlias = Callable[..., dict[str, Any]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The settings' variables. A test may change them before it runs a command."""
    (tmp_path / "config.toml").touch()
    return {
        "TOKENWARD_CONFIG": str(tmp_path / "config.toml"),
        "TOKENWARD_STORE": f"sqlite:///{tmp_path / 'ledger.db'}",
        "TOKENWARD_USER": "alice",
        "TOKENWARD_PRICES_FILE": str(tmp_path / "prices.json"),
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def invoke(*arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(cli, list(arguments), input=stdin, env=environment, prog_name="tokenward")

    return invoke


@pytest.fixture(autouse=True)
def any_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the disk is on which these tests run, ``doctor`` has nothing to say of it, and stores get closed."""
    monkeypatch.setattr(doctor_telemetry, "_SLOW_SECONDS", NET_SECONDS)
    monkeypatch.setattr(shared, "_CLOSE_SECONDS", NET_SECONDS)


@pytest.fixture
def answer(run: Run) -> Json:
    """Runs a command that does its work, or is refused by a limit, and reads its JSON."""

    def invoke(*arguments: str, stdin: str | bytes | None = None) -> dict[str, Any]:
        result = run(*arguments, "--json", stdin=stdin)
        assert result.exit_code in (0, 3), result.stderr
        assert result.stdout.count("\n") == 1
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    return invoke


@pytest.fixture(autouse=True)
def interruptible() -> Generator[None]:
    """Processes start with the usual ways to take signals, though these tests may run where they are ignored."""
    usual: dict[signal.Signals, signal.Handlers | Callable[..., object]] = {signal.SIGINT: signal.default_int_handler}
    if sys.platform != "win32":
        usual[signal.SIGHUP] = signal.SIG_DFL
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
