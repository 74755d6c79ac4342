"""What the commands say, and exit with, when the store does not do what it is asked."""

import pytest

from tests.scripted_store import ScriptedStore
from tests.server.conftest import Run
from tokenward import service
from tokenward.engine.errors import SchemaTooNew, StoreError, StoreOverloaded, StoreUnavailable, UnknownBudget

FAULTS = [
    StoreOverloaded(10_000),
    StoreUnavailable("The ledger's store is unavailable: the disk is full."),
    SchemaTooNew(9, 2),
    UnknownBudget("main"),
]
COMMANDS = [
    ["quota", "show"],
    ["quota", "check", "--tokens", "1"],
    ["quota", "check", "--tokens", "1", "--reserve"],
    ["record", "--model", "gpt-4o", "--input", "1", "--output", "1"],
    ["budget", "open", "main", "--tokens", "1"],
    ["budget", "show", "main"],
    ["budget", "close", "main"],
    ["quota", "list"],
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_fault_of_the_store_is_one_line_and_exit_code_1(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str], fault: StoreError
) -> None:
    store = ScriptedStore()
    store.fault = fault

    def open_store(*_: object, **__: object) -> ScriptedStore:
        return store

    monkeypatch.setattr(service, "open_store", open_store)
    for arguments in (command, [*command, "--json"]):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"Error: {str(fault).partition(' Nothing')[0]}")
        assert result.stderr.count("\n") == 1
        assert result.stderr.count("Nothing was") <= 1
