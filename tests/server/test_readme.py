"""What the README tells people to type does what it should, typed as it stands."""

import shlex
from pathlib import Path

from tests.server.conftest import Run

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")


def test_the_commands_of_the_readme_run_one_after_the_other(run: Run) -> None:
    block = README.partition("Agents cannot set limits; people do:\n\n```console\n")[2].partition("```")[0]
    commands = [shlex.split(one.removeprefix("$ tokenward "), comments=True) for one in block.splitlines()]
    assert ["db", "prune"] in [one[:2] for one in commands]
    run("record", "--model", "gpt-4o", "--input", "5", "--output", "5")
    for one in commands:
        result = run(*one)
        assert result.exit_code == 0, (one, result.output)
