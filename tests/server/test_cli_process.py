"""The command line as a process: what only a real one shows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "tokenward"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config.toml").touch()
    return os.environ | {
        "PYTHONPATH": str(REPOSITORY / "src"),
        "TOKENWARD_CONFIG": str(tmp_path / "config.toml"),
        "TOKENWARD_STORE": f"sqlite:///{tmp_path / 'ledger.db'}",
        "TOKENWARD_USER": "alice",
    }


def test_module_and_pipe(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*COMMAND, "count", "--json"], env=environment, input="hello world", capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["tokens"] == 2
    assert done.stderr == ""


def test_wrong_usage_names_the_program(environment: dict[str, str]) -> None:
    done = subprocess.run([*COMMAND, "bogus"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: tokenward ")


def test_a_terminal_of_another_code_page_does_not_fail(environment: dict[str, str]) -> None:
    ascii_only = environment | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [*COMMAND, "count", "--text", "grüße", "--model", "claude-sonnet-4-5"]
    done = subprocess.run(command, env=ascii_only, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "claude-sonnet-4-5" in done.stdout


@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["count", "--text", "x"], ["--help"]])
def test_a_reader_that_leaves_early_is_no_error(environment: dict[str, str], arguments: list[str]) -> None:
    with subprocess.Popen(
        [*COMMAND, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("arguments", [["models"], ["count", "--text", "x", "--json"], ["count", "-h"], ["--version"]])
def test_output_that_cannot_be_written_is_an_error(environment: dict[str, str], arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr == "Error: The output cannot be written (No space left on device).\n"
    assert done.returncode == 1


@pytest.mark.skipif(os.name != "posix", reason="closes standard output by the shell")
def test_a_closed_output_is_an_error(environment: dict[str, str]) -> None:
    command = ["sh", "-c", '"$@" >&-', "sh", *COMMAND, "count", "--text", "x"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == "Error: The output cannot be written (standard output is closed).\n"
    assert done.returncode == 1


def test_an_interrupt_exits_with_130(environment: dict[str, str]) -> None:
    code = (
        "import io, signal, sys\n"
        "from tokenward.server.cli import main\n"
        "class Interrupted(io.BytesIO):\n"
        "    def read(self, *_):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "sys.stdin, sys.argv[1:] = io.TextIOWrapper(Interrupted()), ['count', '-']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"\n")


def test_starting_the_command_line_imports_nothing_heavy(environment: dict[str, str]) -> None:
    code = (
        "import sys, tokenward.server.cli\n"
        "heavy = {'mcp', 'rich', 'tiktoken', 'genai_prices', 'pydantic', 'aiosqlite', 'anyio'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_demo_shows_what_it_promises(environment: dict[str, str]) -> None:
    demo = REPOSITORY / "docs" / "examples" / "demo.py"
    done = subprocess.run([sys.executable, str(demo)], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-2000:]
    assert "Every step did what it should." in done.stdout
