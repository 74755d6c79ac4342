"""The inspector, against the application itself: its tools listed strictly, and one of them under load."""

import json
import re
import subprocess
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field

from tests.conformance.served import ROOT, environment, product
from tests.conformance.suites import NODE, NODE_MODULES
from tests.conformance.verdict import Outcome
from tokenward.tools.registry import load_tools

RUN = "inspector 2.12"
SCENARIOS = 22
"""Seven ways of reaching the tools, twice each, and what a strict listing warns of."""
_ERAS = ("legacy", "modern")
_PROGRAM = NODE_MODULES / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
_WITH_TOKENS = ROOT / "docs" / "examples" / "auth.toml"
_TIMEOUT_SECONDS = 120
_CALLS = 300
_CALL = {"text": "the quick brown fox", "model": "gpt-4o"}
_REMARK = re.compile(r'(?:Warning|Error): tool "(?P<tool>[^"]+)"\n\s+Path: (?P<path>\S+)\n\s+Issue: (?P<issue>[^\n]+)')


class _Tool(BaseModel):
    name: str


class _Tools(BaseModel):
    tools: list[_Tool]


class _Listed(BaseModel):
    result: _Tools


class _Load(BaseModel):
    requests: int
    ok: int
    errors: list[str] = Field(default=[], alias="errorMessages")


class _Loaded(BaseModel):
    result: _Load


@dataclass(frozen=True)
class _Door:
    name: str
    target: Sequence[str]


@contextmanager
def _doors(folder: Path) -> Generator[list[_Door]]:
    """How the inspector reaches the application over each transport, until the end of the block."""
    with (
        product(folder / "http.txt", "http") as http,
        product(folder / "http-with-token.txt", "http", _WITH_TOKENS) as guarded,
        product(folder / "sse.txt", "sse") as sse,
    ):
        yield [
            _Door("stdio", (*_told_to_servers(), "--", sys.executable, "-m", "tokenward", "serve")),
            _Door("http", ("--transport", "http", "--server-url", http)),
            _Door(
                "http with a token",
                ("--header", f"Authorization: Bearer {_token()}", "--transport", "http", "--server-url", guarded),
            ),
            _Door("sse", ("--transport", "sse", "--server-url", sse.replace("/mcp", "/sse"))),
        ]


def _token() -> str:
    """The first token that the example file names in a comment."""
    found = re.search(r"^# token: (\S+)$", _WITH_TOKENS.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{_WITH_TOKENS} names no token")
    return found[1]


def _told_to_servers() -> list[str]:
    """The options that hand a server on standard input its variables, which it does not inherit."""
    ours = {name: value for name, value in environment().items() if name in ("TOKENWARD_STORE", "PYTHONPATH")}
    return [word for name, value in ours.items() for word in ("-e", f"{name}={value}")]


def outcomes(folder: Path) -> list[Outcome]:
    """Everything that the inspector is asked, as scenarios of one check each."""
    found: list[Outcome] = []
    remarks: dict[str, Outcome] = {}
    with _doors(folder) as doors:
        for door in doors:
            # The legacy transport serves the legacy era only.
            for era in _ERAS[: 1 if door.name == "sse" else None]:
                listed = _inspect(door, era, folder, "--method", "tools/list", "--strict")
                found += [_strict(f"{door.name}, {era}: tools/list --strict", listed), _load(door, era, folder)]
                remarks |= {one.scenario: one for one in _remarks(listed.stderr)}
    return [*found, *remarks.values()]


def _strict(name: str, done: subprocess.CompletedProcess[str]) -> Outcome:
    if done.returncode:
        return Outcome(name, 0, (_told(done),))
    listed = [tool.name for tool in _Listed.model_validate_json(done.stdout).result.tools]
    wanted = [tool.name for tool in load_tools()]
    problems = () if listed == wanted else (f"listed {listed} instead of {wanted}",)
    return Outcome(name, int(not problems), problems)


def _remarks(said: str) -> Iterable[Outcome]:
    """What a strict listing warns of, by tool and place; the same over every transport."""
    for found in _REMARK.finditer(said):
        place = found["path"].removeprefix("inputSchema.properties.")
        yield Outcome(f"{found['tool']}.{place}", 0, (found["issue"],))


def _load(door: _Door, era: str, folder: Path) -> Outcome:
    name = f"{door.name}, {era}: tools/call --load"
    arguments = ("--method", "tools/call", "--tool-name", "count_tokens", "--tool-args-json", json.dumps(_CALL))
    done = _inspect(door, era, folder, *arguments, "--load", "--load-requests", str(_CALLS))
    if done.returncode:
        return Outcome(name, 0, (_told(done),))
    load = _Loaded.model_validate_json(done.stdout).result
    if load.ok == load.requests == _CALLS:
        return Outcome(name, 1)
    return Outcome(name, 0, (f"{load.ok} of {load.requests} calls were answered", *load.errors))


def _inspect(door: _Door, era: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = ("--cli", "--format", "json", "--protocol-era", era, *arguments, *door.target)
    return subprocess.run(
        [NODE, _PROGRAM, *options],
        cwd=ROOT,
        # It keeps files below the user's home otherwise.
        env={**environment(), "HOME": str(folder.absolute())},
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_SECONDS,
    )


def _told(done: subprocess.CompletedProcess[str]) -> str:
    return f"exit code {done.returncode}: {done.stderr.strip()[-400:]}"
