"""Reads the Dockerfile, and what .dockerignore leaves of the checkout for it."""

import json
import re
import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from tests.packaging.project import ROOT, project_files

PORT = "8484"


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction and what follows it, on one line."""

    instruction: str
    text: str

    @property
    def words(self) -> list[str]:
        """The JSON form's words, or the shell's."""
        if self.text.startswith("["):
            return [str(word) for word in json.loads(self.text)]
        return shlex.split(self.text)


@dataclass(slots=True)
class Stage:
    """What stands between one ``FROM`` and the next."""

    base: str
    name: str = ""
    steps: list[Step] = field(default_factory=list[Step])

    def every(self, instruction: str) -> list[Step]:
        """The steps of one instruction, in order."""
        return [step for step in self.steps if step.instruction == instruction]

    def last(self, instruction: str) -> Step:
        """The one that counts where an instruction may be repeated."""
        return self.every(instruction)[-1]


def stages() -> list[Stage]:
    """The Dockerfile's stages; what stands before the first ``FROM`` are arguments of that."""
    found: list[Stage] = []
    arguments: dict[str, str] = {}
    for step in _steps((ROOT / "Dockerfile").read_text("utf-8")):
        if step.instruction == "FROM":
            base, _, name = step.text.partition(" AS ")
            found.append(Stage(re.sub(r"\$\{(\w+)\}", lambda one: arguments[one[1]], base), name))
        elif found:
            found[-1].steps.append(step)
        else:
            assert step.instruction == "ARG"
            name, _, value = step.text.partition("=")
            arguments[name] = value
    return found


def image() -> Stage:
    """The last stage: what is run."""
    return stages()[-1]


def _steps(text: str) -> list[Step]:
    whole = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\s*\\\n\s*", " ", whole)
    lines = [line.strip() for line in joined.splitlines() if line.strip()]
    return [Step(*line.split(maxsplit=1)) for line in lines]


def context_files() -> list[Path]:
    """The files that git tracks or would add and that .dockerignore lets through, relative to the checkout.

    The last rule that matches decides, and a rule for a folder is one for all that it holds.
    """
    rules = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]
    names = [path.relative_to(ROOT) for path in project_files()]
    return [name for name in names if not _ignored(name, rules)]


def _ignored(name: Path, rules: list[str]) -> bool:
    ignored = False
    for rule in rules:
        pattern = rule.removeprefix("!")
        candidates = [name, *name.parents][:-1]
        if any(_matches(str(one), pattern) for one in candidates):
            ignored = not rule.startswith("!")
    return ignored


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatchcase(name.rpartition("/")[2], pattern[3:])
    return "/" not in name and fnmatchcase(name, pattern)
