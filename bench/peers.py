"""Peers that bring more packages than tokenward: each in an environment of its own, made when it is first needed.

A peer that is asked again and again is a script of ours, run by that environment's Python: a line of JSON on its
standard input is a question, a line on its standard output the answer, and the first line printed its version.
"""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.places import MissingError
from tokenward.engine.types import JsonObject


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment below the folder that ``make clean`` removes."""

    name: str
    folder: Path
    requirements: tuple[str, ...]

    def python(self) -> Path:
        """Its interpreter.

        Raises:
            MissingError: It cannot be made.
        """
        python, complete = self.folder / "bin" / "python", self.folder / ".complete"
        if not complete.exists():
            print(f"\nInstalling {', '.join(self.requirements)} into {self.folder}", flush=True)
            run(self.name, [sys.executable, "-m", "venv", "--clear", self.folder])
            run(self.name, [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *self.requirements])
            complete.touch()
        return python


LITELLM = Environment("LiteLLM", Path("build/bench-venv"), ("litellm>=1.106,<1.110",))
LANGCHAIN = Environment(
    "LangChain", Path("build/bench-langchain"), ("langchain-core>=1.7,<1.8", "langchain-openai>=1.7,<1.8")
)


def run(name: str, command: Sequence[str | Path], environment: dict[str, str] | None = None) -> str:
    """What a command prints. Raises MissingError with the peer's name and the last of what the command complains of."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise MissingError(f"{name}: {' '.join(done.stderr.strip().splitlines()[-1:]) or command[0]}")
    return done.stdout


def offline() -> dict[str, str]:
    """Environment variables with which no peer asks the network: for prices, or for OpenAI's vocabularies.

    LiteLLM has the vocabularies in its package, where tiktoken finds them for the others.
    """
    variables = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    for folder in LITELLM.folder.glob("lib/python*/site-packages/litellm/litellm_core_utils/tokenizers"):
        variables["TIKTOKEN_CACHE_DIR"] = str(folder.resolve())
    return variables


class Peer:
    """A running script."""

    def __init__(self, name: str, process: "subprocess.Popen[str]") -> None:
        self.name = name
        self._process = process
        self.version = self._line()

    def ask(self, question: object) -> JsonObject:
        """Its answer.

        Raises:
            MissingError: It does not run any more.
        """
        if self._process.stdin is None:
            raise MissingError(f"{self.name}: it has no standard input")
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: JsonObject = json.loads(self._line())
        return answer

    def _line(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise MissingError(f"{self.name}: its script does not run")
        return line.strip()


@contextmanager
def started(environment: Environment, script: str) -> Generator[Peer]:
    """A script of this folder, run by the environment's Python.

    Raises:
        MissingError: It cannot be installed or does not run.
    """
    command = [environment.python(), Path(__file__).with_name(script)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=offline(),
    ) as process:
        try:
            yield Peer(environment.name, process)
        finally:
            if process.stdin is not None:
                process.stdin.close()
