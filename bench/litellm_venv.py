"""LiteLLM in an environment of its own, made when it is first needed: it brings more packages than tokenward."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.places import MissingError
from tokenward.engine.usage import TokenUsage

FOLDER = Path("build/bench-venv")
REQUIREMENT = "litellm>=1.106,<1.110"


def run(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> str:
    """What a command prints. Raises MissingError with the last of what it complains about."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise MissingError(f"LiteLLM: {' '.join(done.stderr.strip().splitlines()[-1:]) or command[0]}")
    return done.stdout


def python_with_litellm() -> Path:
    """The interpreter of the environment."""
    python, complete = FOLDER / "bin" / "python", FOLDER / ".complete"
    if not complete.exists():
        print(f"\nInstalling {REQUIREMENT} into {FOLDER}", flush=True)
        run([sys.executable, "-m", "venv", "--clear", FOLDER])
        run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", REQUIREMENT])
        complete.touch()
    return python


def litellm_rounds(
    tasks: int, limit: int, rounds: int, call_seconds: float, usage: TokenUsage
) -> tuple[str, list[tuple[int, float]]]:
    """LiteLLM's version, and calls and seconds of each round.

    Raises:
        MissingError: It cannot be installed or does not run.
    """
    options = {
        "tasks": tasks,
        "limit": limit,
        "rounds": rounds,
        "call_seconds": call_seconds,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
    }
    script = Path(__file__).with_name("litellm_router.py")
    # Otherwise it asks the network for prices.
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    printed = run([python_with_litellm(), script, json.dumps(options)], environment)
    found = json.loads(printed.strip().splitlines()[-1])
    return str(found["version"]), [(int(calls), float(seconds)) for calls, seconds in found["rounds"]]
