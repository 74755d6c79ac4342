"""Runs the conformance suites and the inspector, and tells what they found.

The exit code is 1 when something fails that is not expected to, when something passes that is expected to fail, and
when scenarios are missing.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from tests.conformance import inspector
from tests.conformance.served import ROOT, ServerError, fixture_build
from tests.conformance.suites import NODE, SUITES, Suite
from tests.conformance.verdict import Outcome, Verdict, as_json, judge, read_expectations, reasons_of, report

_RESULTS = ROOT / "build" / "conformance"
_EXPECTED = Path(__file__).with_name("expected.toml")


@click.command()
@click.argument("only", nargs=-1)
def main(only: Sequence[str]) -> None:
    """Run everything, or the runs whose names hold one of the given words."""
    if not NODE.exists():
        raise click.ClickException(f"{NODE.relative_to(ROOT)} is missing; make conformance installs it.")
    shutil.rmtree(_RESULTS, ignore_errors=True)
    chosen = [suite for suite in (*SUITES, None) if not only or any(word in _name(suite) for word in only)]
    expectations = read_expectations(_EXPECTED)
    verdicts: list[Verdict] = []
    for suite in chosen:
        print(f"running {_name(suite)} …", flush=True)
        try:
            outcomes = _outcomes(suite)
        except (ServerError, subprocess.TimeoutExpired) as error:
            verdicts.append(Verdict(_name(suite), (), (), (f"did not run to its end: {error}",)))
        else:
            count = suite.scenarios if suite else inspector.SCENARIOS
            verdicts.append(judge(_name(suite), outcomes, count, expectations))
    _RESULTS.mkdir(parents=True, exist_ok=True)
    (_RESULTS / "results.json").write_text(as_json(verdicts), encoding="utf-8")
    print(f"\n{report(verdicts, reasons_of(expectations))}\n\nDetails are in {_RESULTS}.")
    sys.exit(any(one.faults for one in verdicts))


def _name(suite: Suite | None) -> str:
    return suite.run if suite else inspector.RUN


def _outcomes(suite: Suite | None) -> list[Outcome]:
    """Run a suite against a server of its own, or the inspector; everything that they say is kept."""
    folder = _RESULTS / _name(suite)
    folder.mkdir(parents=True)
    if suite is None:
        return inspector.outcomes(folder)
    with fixture_build(folder / "server.txt", as_shipped=suite.as_shipped) as url:
        return suite.outcomes(url, folder)


if __name__ == "__main__":
    main()
