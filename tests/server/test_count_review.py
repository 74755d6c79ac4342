"""``tokenward count`` where something turns on it: signals, secrets, tokenizers that fail, hostile settings."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.server.conftest import Json, Run
from tests.server.test_tool_tax import REPOSITORY, command, is_alive, served
from tests.waiting import NET_SECONDS, wait_until
from tokenward.engine.catalog import Catalog, ModelInfo
from tokenward.engine.errors import InvalidInput
from tokenward.engine.tokenizers.base import Method
from tokenward.engine.types import JsonObject
from tokenward.files import FileText
from tokenward.server.commands import git_diff, mcp_tools
from tokenward.server.commands.count_show import show_counts
from tokenward.server.commands.git_diff import GitDiff, read_diff
from tokenward.server.commands.mcp_tools import read_target
from tokenward.server.commands.model_tally import FileTally, diff_counts
from tokenward.server.commands.tool_tax import Tax, ToolTax
from tokenward.server.commands.worth import in_words
from tokenward.tools.counted import window_fit

posix = pytest.mark.skipif(os.name != "posix", reason="processes of Unix")
needs_git = pytest.mark.skipif(which("git") is None or os.name != "posix", reason="needs git and FIFOs")


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are started with this process's environment."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "src"))


# Signals

STUBBORN = """
import os, pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.stdin.readline()  # whoever speaks to this process knows that it runs
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
for line in sys.stdin: pass
pathlib.Path(sys.argv[1] + ".left").touch()
while True: signal.pause()
"""

PATIENT = """
from tokenward.server.cli import cli
from tokenward.server.commands import mcp_process
mcp_process._GRACE_SECONDS = 600.0  # longer than a test may take
cli(prog_name="tokenward")
"""


@posix
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_kills_the_server_at_once(tmp_path: Path, second: signal.Signals) -> None:
    pid = tmp_path / "pid"
    stubborn = shlex.join((sys.executable, "-c", STUBBORN, str(pid)))
    arguments = [sys.executable, "-c", PATIENT, "--store", "memory://", "count", "--mcp", stubborn]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            wait_until(lambda: pid.exists() and bool(pid.read_text(encoding="utf-8")))
            process.send_signal(signal.SIGINT)
            wait_until((tmp_path / "pid.left").exists)
            server = int(pid.read_text(encoding="utf-8"))
            assert is_alive(server)
            process.send_signal(second)
            wait_until(lambda: not is_alive(server))
            _, errors = process.communicate(timeout=NET_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, errors.strip()) == (130, b"")


@posix
def test_a_termination_ends_the_server_where_interrupts_are_ignored(tmp_path: Path) -> None:
    """As they are for what a script starts with an ampersand."""
    pid = tmp_path / "pid"
    stubborn = shlex.join((sys.executable, "-c", STUBBORN, str(pid)))
    command = [sys.executable, "-m", "tokenward", "--store", "memory://", "count", "--mcp", stubborn]
    arguments = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            wait_until(lambda: pid.exists() and bool(pid.read_text(encoding="utf-8")))
            server = int(pid.read_text(encoding="utf-8"))
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=NET_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 130
    wait_until(lambda: not is_alive(server))


# Secrets


@pytest.mark.parametrize("user", ["user:s3cret@", "s3cret@", ":s3cret@", "@"])
def test_a_url_with_a_password_is_refused(run: Run, user: str) -> None:
    result = run("count", "--mcp", f"http://{user}host/mcp")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--header" in result.stderr
    assert "s3cret" not in result.stderr
    with pytest.raises(InvalidInput, match="no user or password"):
        read_target(f"https://{user}host")
    assert read_target("https://host/a@b?c=@").url == "https://host/a@b?c=@"


@posix
@pytest.mark.parametrize("level", ["debug", "info"])
def test_a_key_in_the_url_is_not_logged(level: str) -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        del receive
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    before = [sys.executable, "-m", "tokenward", "--store", "memory://", "--log-level", level, "count", "--mcp"]
    with served(refusing) as origin:
        done = subprocess.run([*before, f"{origin}/mcp?key=s3cret"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "answered HTTP 404." in done.stderr
    assert "s3cret" not in done.stderr


# Tokenizers that fail on the way


class Failing:
    """Two tokens a letter and exact, until it fails at a count; then one a letter, for good."""

    def __init__(self, *fails_at: int) -> None:
        self.info: ModelInfo = Catalog().resolve("gpt-4o")
        self.inline_characters = 0
        self._fails_at = fails_at
        self._counts = 0
        self._failures = 0

    @property
    def exact(self) -> bool:
        return not self._failures

    @property
    def method(self) -> Method:
        return "estimate" if self._failures % 2 else "huggingface"

    def count(self, text: str) -> int:
        self._counts += 1
        self._failures += self._counts in self._fails_at
        return len(text) * (1 if self._failures else 2)

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        return (tokens, tokens) if self.exact else (0, len(text) * 9)


class Overtaxed(Failing):
    """Has not the memory for one text, again and again."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def count(self, text: str) -> int:
        self._failures = int(text == self._text)
        return super().count(text)


def named(names: str) -> Iterator[FileText]:
    return iter([FileText(one, one) for one in names])


def five() -> Iterator[FileText]:
    return iter([FileText(f"{number}", "abc") for number in range(5)])


def test_all_files_are_counted_in_the_way_that_is_said() -> None:
    tally = FileTally([Failing(3), Failing()], five(), five)
    while tally.step():
        pass
    failed, sound = tally.results(None)
    assert (failed.tokens, failed.exact, failed.method) == (15, False, "estimate")
    assert (failed.lower, failed.upper) == (0, 135)
    assert (sound.tokens, sound.exact, sound.method) == (30, True, "huggingface")
    assert [[one.path for one in count.items or ()] for count in (failed, sound)] == [["0", "1", "2", "3", "4"]] * 2


def test_a_failure_at_the_last_file_counts_all_again() -> None:
    tally = FileTally([Failing(5)], five(), five)
    while tally.step():
        pass
    (count,) = tally.results(None)
    assert (count.tokens, count.exact, len(count.items or ())) == (15, False, 5)


def test_what_is_too_much_for_a_tokenizer_is_counted_by_another() -> None:
    tally = FileTally([Overtaxed("b")], named("abc"), lambda: named("abc"))
    while tally.step():
        pass
    (count,) = tally.results(None)
    assert [one.tokens for one in count.items or ()] == [2, 1, 2]
    assert (count.tokens, count.lower, count.upper) == (5, 4, 13)
    assert (count.exact, count.method) == (False, "estimate")


def test_a_failure_over_the_whole_diff_counts_its_files_again() -> None:
    tally = FileTally([Failing(6)], five(), five)
    while tally.step():
        pass
    (count,) = diff_counts(GitDiff("abcdef", ()), "HEAD", tally, None)
    assert (count.tokens, count.sum_of_files, count.exact) == (6, 15, False)
    assert [one.tokens for one in count.items or ()] == [3] * 5


def test_files_are_read_again(run: Run, answer: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenward.engine.counting.counter import TokenCounter

    del run
    counter = Failing(3)

    def failing(_counter: TokenCounter, _model: str) -> Failing:
        return counter

    monkeypatch.setattr(TokenCounter, "text_counter", failing)
    for file in five():
        Path(file.path).write_text(file.text, encoding="utf-8")
    found = answer("count", ".")
    assert (found["tokens"], found["exact"], len(found["items"])) == (15, False, 5)


# What a repository's configuration can do


@pytest.fixture
def repository(run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    del run
    for name, value in {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}.items():
        monkeypatch.setenv(name, value)
    author = ("-c", "user.name=n", "-c", "user.email=e@x")
    Path("a").write_text("1\n", encoding="utf-8")
    for arguments in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *arguments], check=True)
    Path("a").write_text("2\n", encoding="utf-8")
    return Path.cwd()


def set_endless(repository: Path, setting: str) -> None:
    os.mkfifo(repository / ".git" / "endless")
    subprocess.run(["git", "config", setting, str(repository / ".git" / "endless")], check=True)


@needs_git
def test_no_file_gives_the_order(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_diff, "SILENCE_SECONDS", 10.0)
    set_endless(repository, "diff.orderFile")
    (section,) = read_diff("HEAD").sections
    assert section.path == "a"


@needs_git
def test_a_git_that_is_silent_is_ended(repository: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_diff, "SILENCE_SECONDS", 0.3)
    set_endless(repository, "include.path")
    result = run("count", "--diff", "HEAD")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "--diff: git printed nothing for 0.3 s and was ended" in result.stderr
    assert result.stderr.count("\n") == 1


# What is shown


def test_what_was_learned_is_shown_where_it_adjusts() -> None:
    learned: JsonObject = {"samples": 37, "ratio": 1.168, "low": 1.02, "high": 1.306}
    row: JsonObject = {"exact": False, "learned": learned, "mean_error_percent": 6.6}
    assert in_words(row) == "learned 1.17 (1.02 to 1.31), 37"
    learned["samples"] = 2
    assert in_words(row) == "± 7 %"


@pytest.mark.parametrize("width", [80, 200])
def test_models_with_what_was_learned(run: Run, answer: Json, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    from io import StringIO

    from rich.console import Console

    from tokenward.server.commands import render

    for _ in range(30):
        recorded = ["--model", "gemini-2.5-pro", "--input", "1100", "--output", "1", "--counted", "1000"]
        assert run("record", *recorded).exit_code == 0
    rows = answer("models", "--search", "gemini-2.5-pro")["models"]
    (row,) = [one for one in rows if one["model"] == "gemini-2.5-pro"]
    assert row["learned"] == {"samples": 30, "ratio": 1.1, "low": 1.1, "high": 1.1}
    output = StringIO()
    monkeypatch.setattr(render, "stdout_console", lambda: Console(file=output, width=width))
    assert run("models", "--search", "gemini-2.5-pro").exit_code == 0
    lines = output.getvalue().splitlines()
    table = lines[: next(index for index, one in enumerate(lines) if "USD per million" in one)]
    assert max(map(len, table)) <= width
    shown = "learned 1.10 (1.10 to 1.10), 30" if width == 200 else "learned 1.10 "
    assert any(" gemini-2.5-pro " in one and shown in one for one in lines)
    assert any("(1.10 to 1.10), 30" in one for one in lines)
    assert any(one.startswith("Learned: ") for one in lines)


def test_one_model_is_one(run: Run) -> None:
    assert "\n1 model. " in run("models", "--search", "chatgpt-4o-latest").stdout


def test_instructions_are_marked_by_their_own_range(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    tax = ToolTax(
        **dict(window_fit(10, 20, None)),
        tokens=10,
        lower=5,
        upper=20,
        exact=False,
        method="tiktoken",
        model="m",
        encoding="e",
        server="s",
        tools=[],
        sum_of_tools=0,
        instructions=Tax(tokens=12, lower=12, upper=12),
    )
    show_counts(Console(width=200), [tax])
    assert "instructions add 12 to m (exact)." in capsys.readouterr().out


# What may be asked for


def test_no_number_of_seconds(run: Run) -> None:
    result = run("count", "--mcp", "x", "--timeout", "nan")
    assert result.exit_code == 2
    assert "--timeout" in result.stderr


@posix
@pytest.mark.parametrize(
    ("arguments", "said"),
    [("", "Give exactly one of"), ("-", "Standard input is closed"), ("--messages -", "Standard input is closed")],
)
def test_a_closed_standard_input(arguments: str, said: str) -> None:
    line = f"{shlex.quote(sys.executable)} -m tokenward --store memory:// count {arguments} <&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


# Servers

EVENTS = b"text/event-stream"


def test_an_event_stream_without_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        del receive
        if scope["type"] != "http":
            return
        status = 405 if scope["method"] == "POST" else 200
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", EVENTS)]})
        body = b"" if status == 405 else b"event: endpoint\ndata: /x\n\n" + b": x\n" * 1_000
        await send({"type": "http.response.body", "body": body})

    monkeypatch.setattr(mcp_tools, "MAX_LIST_BYTES", 1_000)
    with served(endless) as origin:
        result = run("count", "--mcp", f"{origin}/sse", "--timeout", "60")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: --mcp: the server's list of tools is longer than 16 MiB.\n"


UNREADABLE = """
import sys
print('{"id": 1, "level": "info"}', flush=True)
print('{"jsonrpc": "2.0", "id": 0, "answer": []}', flush=True)
for line in sys.stdin: pass
"""


@posix
def test_an_answer_that_cannot_be_read_is_told_at_once(run: Run) -> None:
    unreadable = shlex.join((sys.executable, "-c", UNREADABLE))
    result = run("count", "--mcp", unreadable, "--timeout", "60")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "an answer of the server cannot be read (Invalid request: not a JSON-RPC 2.0 message)" in result.stderr
    assert result.stderr.count("\n") == 1


@posix
def test_signals_are_as_before_afterwards(run: Run) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(one) for one in numbers]
    assert threading.current_thread() is threading.main_thread()
    assert run("count", "--mcp", command("good")).exit_code == 0
    assert [signal.getsignal(one) for one in numbers] == before
