"""What suites found, held against what is expected of them.

A scenario passes when at least one check succeeded and none failed or warned. What does not pass must be named in
``expected.toml`` with a reason, and what is named there must not pass.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

_RUN_FOLDER = re.compile(r"server-(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")


class Check(BaseModel):
    """One check of a scenario, as the suites write it down."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    status: str
    error: str = Field(default="", alias="errorMessage")


class Expectation(BaseModel):
    """Scenarios of a suite that do not pass, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    scenarios: tuple[str, ...] = Field(min_length=1)
    reason: str = Field(min_length=20)


@dataclass(frozen=True)
class Outcome:
    """What became of a scenario.

    Attributes:
        scenario: Its name.
        succeeded: How many checks did.
        problems: What failed or warned, a line each.
    """

    scenario: str
    succeeded: int
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing is left to explain."""
        return self.succeeded > 0 and not self.problems


@dataclass(frozen=True)
class Verdict:
    """One run of a suite.

    Attributes:
        run: Its name, as ``expected.toml`` has it.
        outcomes: Its scenarios.
        expected: Those that did not pass, as expected.
        faults: What makes the run fail, a line each.
    """

    run: str
    outcomes: tuple[Outcome, ...]
    expected: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def row(self) -> tuple[str, ...]:
        """The run as a row of the table."""
        passed = [one for one in self.outcomes if one.passed]
        checks = sum(one.succeeded for one in self.outcomes)
        counts = (f"{len(passed)} of {len(self.outcomes)}", checks, len(self.expected), len(self.faults))
        return (self.run, *map(str, counts), "ok" if not self.faults else "FAILED")


_HEAD = ("run", "scenarios passed", "checks passed", "expected failures", "faults", "verdict")


def read_outcomes(folder: Path) -> list[Outcome]:
    """The scenarios that a suite wrote below a folder, by name."""
    checks = TypeAdapter(list[Check])
    return sorted(
        (
            _outcome(found["scenario"], checks.validate_json((run / "checks.json").read_bytes()))
            for run in folder.iterdir()
            if (found := _RUN_FOLDER.fullmatch(run.name))
        ),
        key=lambda one: one.scenario,
    )


def _outcome(scenario: str, checks: Iterable[Check]) -> Outcome:
    told = list(checks)
    problems = tuple(f"{one.status} {one.id}: {one.error}" for one in told if one.status in ("FAILURE", "WARNING"))
    return Outcome(scenario, sum(one.status == "SUCCESS" for one in told), problems)


def read_expectations(file: Path) -> list[Expectation]:
    """What is known not to pass.

    Raises:
        ValidationError: An entry has no reason, or what no entry has.
    """
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("expected", [])
    return TypeAdapter(list[Expectation]).validate_python(entries)


def judge(run: str, outcomes: Sequence[Outcome], count: int, expectations: Iterable[Expectation]) -> Verdict:
    """Hold a run against what is expected of it.

    Args:
        run: Its name.
        outcomes: Its scenarios.
        count: How many scenarios it has, so that none is left out unseen.
        expectations: What is known not to pass, in any run.
    """
    known = {name: one.reason for one in expectations if one.run == run for name in one.scenarios}
    open_ = [one for one in outcomes if not one.passed]
    faults = [_told(one) for one in open_ if one.scenario not in known]
    faults += [f"{name}: passes or did not run, but is expected to fail" for name in known.keys() - _names(open_)]
    if len(outcomes) != count:
        faults.append(f"{len(outcomes)} scenarios ran instead of {count}")
    expected = tuple(one.scenario for one in open_ if one.scenario in known)
    return Verdict(run, tuple(outcomes), expected, tuple(sorted(faults)))


def _names(outcomes: Iterable[Outcome]) -> set[str]:
    return {one.scenario for one in outcomes}


def _told(outcome: Outcome) -> str:
    return f"{outcome.scenario}: {'; '.join(outcome.problems) or 'no check succeeded'}"


def report(verdicts: Sequence[Verdict], reasons: Mapping[tuple[str, str], str]) -> str:
    """The table, then what did not pass as expected and why, then what is wrong."""
    rows = [_HEAD, *(one.row for one in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    for verdict in verdicts:
        for reason in dict.fromkeys(reasons[verdict.run, name] for name in verdict.expected):
            names = [name for name in verdict.expected if reasons[verdict.run, name] == reason]
            lines += ["", f"Expected in {verdict.run}: {', '.join(names)}", f"  {reason}"]
    faults = [f"FAULT in {verdict.run}: {fault}" for verdict in verdicts for fault in verdict.faults]
    return "\n".join([*lines, *([""] if faults else []), *faults])


def reasons_of(expectations: Iterable[Expectation]) -> dict[tuple[str, str], str]:
    """The reason by run and scenario."""
    return {(one.run, name): one.reason for one in expectations for name in one.scenarios}


def as_json(verdicts: Iterable[Verdict]) -> str:
    """Everything, for those who want to look closer."""
    return json.dumps(
        [
            {
                "run": verdict.run,
                "faults": verdict.faults,
                "scenarios": [
                    {"name": one.scenario, "checks": one.succeeded, "problems": one.problems}
                    for one in verdict.outcomes
                ],
            }
            for verdict in verdicts
        ],
        indent=1,
    )
