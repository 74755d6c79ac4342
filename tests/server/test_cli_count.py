"""``tokenward count`` over files: several models over one reading, the table, and what is shown on the way."""

import io
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.server.conftest import Json, Run
from tokenward import files
from tokenward.engine.catalog import ModelInfo
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.tokenizers.base import Method
from tokenward.files import FileText, SkippedFile
from tokenward.server.commands.count_show import one_line, show_counts
from tokenward.server.commands.model_tally import FileTally
from tokenward.tools.count_messages import Breakdown, MessagesCount
from tokenward.tools.count_tokens import CountedItem, TokenCount, count_tokens
from tokenward.tools.counted import window_fit

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = ("--model", "gpt-4o", "--model", "gemini-2.5-pro", "--model", "gpt-4")


def plant() -> None:
    Path("a.py").write_text("print('hello world')\n" * 40, encoding="utf-8")
    Path("b.txt").write_text("Some words, 12345 and grüße.\n" * 9, encoding="utf-8")
    Path("c.bin").write_bytes(b"\0\1")
    Path("d").mkdir()
    Path("d/e.txt").touch()


# Several models


def test_files_are_read_once_for_all_models(answer: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    plant()
    opened: list[str] = []
    really_open = os.open

    def noted(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        opened.append(Path(path).name)
        return really_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", noted)
    assert len(answer("count", ".", *MODELS)["results"]) == 3
    assert [opened.count(name) for name in ("a.py", "b.txt", "c.bin", "e.txt")] == [1, 1, 1, 1]


def test_each_model_counts_as_the_tool_does(run: Run, answer: Json, environment: dict[str, str]) -> None:
    del run
    plant()
    from tokenward.server.application import open_context
    from tokenward.server.settings import load_settings

    async def by_tool(model: str) -> object:
        async with open_context(load_settings(store="memory://")) as context:
            return (await count_tokens(context, model=model, paths=["."], detail="full")).model_dump(mode="json")

    import anyio

    for one in answer("count", ".", *MODELS, "--model", "no-such-model")["results"]:
        expected = anyio.run(by_tool, one["model"])
        assert isinstance(expected, dict)
        assert one == expected | {name: one[name] for name in ("items_omitted", "skipped_omitted")}
    assert answer("count", ".", "--max-context", "100")["fits"] is False


class Letters:
    """A counter that is quick: a token per character."""

    info: ModelInfo = TokenCounter().text_counter("gpt-4o").info
    method: Method = "tiktoken"
    exact = True
    inline_characters = 50_000

    def count(self, text: str) -> int:
        return len(text)

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        del text
        return tokens, tokens


def test_texts_are_let_go_when_they_are_counted() -> None:
    def many() -> Iterator[FileText | SkippedFile]:
        for number in range(100):
            yield FileText(f"{number}.txt", "x" * 2**20)

    tally = FileTally([Letters(), Letters()], many())
    tracemalloc.start()
    try:
        while tally.step():
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [one.tokens for one in tally.results(None)] == [100 * 2**20] * 2
    assert peak < 8 * 2**20


def test_a_step_ends_with_the_files_and_now_and_then() -> None:
    rows: list[FileText | SkippedFile] = [FileText("x", "x" * 600_000) for _ in range(4)]
    tally = FileTally([Letters()], iter([*rows, SkippedFile("y", "binary")]))
    assert tally.step()
    assert tally.done == 2
    while tally.step():
        pass
    assert (tally.done, tally.summary) == (5, "5 files, 2,400,000 tokens")


def test_files_are_counted_in_a_thread(answer: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    plant()
    threads: set[bool] = set()
    step = FileTally.step

    def noted(self: FileTally) -> bool:
        threads.add(threading.current_thread() is threading.main_thread())
        return step(self)

    monkeypatch.setattr(FileTally, "step", noted)
    answer("count", ".")
    assert threads == {False}


# What is given


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.py", "--text", "x"],
        ["a.py", "--messages", "m"],
        ["--text", "x", "--messages", "m"],
        ["--text", "x", "--diff", "HEAD"],
        ["--messages", "m", "--diff", "HEAD"],
        ["--text", "", "a.py"],
    ],
)
def test_exactly_one_thing_is_counted(run: Run, arguments: list[str]) -> None:
    plant()
    result = run("count", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Give exactly one of PATHS, --text, --messages, --diff" in result.stderr


def test_an_empty_text_is_a_text(answer: Json) -> None:
    assert answer("count", "--text", "")["tokens"] == 0


def test_too_many_files(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plant()
    monkeypatch.setattr(files.read_files, "__kwdefaults__", {"max_file_bytes": 10, "max_files": 3})
    result = run("count", ".")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "more than 3 files match" in result.stderr


# What is shown


def test_a_row_per_file_a_column_per_model_and_a_summary(run: Run, answer: Json) -> None:
    plant()
    results = answer("count", ".", *MODELS)["results"]
    lines = run("count", ".", *MODELS).stdout.splitlines()
    assert lines[1].split() == ["gpt-4o", "gemini-2.5-pro", "gpt-4"]
    for index, name in enumerate(("a.py", "b.txt", "d/e.txt")):
        (row,) = [one for one in lines if one.startswith(f" {name} ")]
        expected = [one["items"][index]["tokens"] for one in results]
        assert row.split() == [name, f"{expected[0]:,}", "≈", f"{expected[1]:,}", f"{expected[2]:,}"]
    (total,) = [one for one in lines if one.startswith(" total ")]
    assert total.replace("≈", "").split()[1:] == [f"{one['tokens']:,}" for one in results]
    assert "Skipped c.bin: binary" in lines
    estimate = results[1]
    (summary,) = [one for one in lines if one.startswith(" gemini-2.5-pro ")]
    assert f"estimate, {estimate['lower']:,} to {estimate['upper']:,}" in summary
    assert f"{estimate['method']}, {estimate['encoding']}" in summary
    assert f"{estimate['context_window']:,}" in summary


LONG = "src/components/dashboard/widgets/visualisation/charting/a_rather_long_name_for_a_module_"
NAMES = ("gpt-5", "claude-sonnet-4-5-20250929", "us.anthropic.claude-opus-4-1-20250805-v1:0", "[/x]", "x" * 70)


def any_count(model: str, tokens: int, lower: int, upper: int, window: int | None = None) -> dict[str, Any]:
    """What every count says, of a text or of a request."""
    return dict(window_fit(tokens, upper, window)) | {
        "tokens": tokens,
        "lower": lower,
        "upper": upper,
        "exact": lower == upper,
        "method": "tiktoken" if lower == upper else "estimate",
        "model": model,
        "encoding": "cl100k_base",
    }


def counted(model: str) -> TokenCount:
    return TokenCount(
        **any_count(model, 2_222_220, 1_000_000, 3_000_000, 1_048_576),
        items=[CountedItem(path=f"{LONG}{number}.py", tokens=1_111_110) for number in (1, 2)],
    )


def printed(counts: list[TokenCount], width: int) -> list[str]:
    output = io.StringIO()
    show_counts(Console(file=output, width=width, highlight=False), counts)
    return output.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_nothing_is_lost_on_a_narrow_terminal(width: int) -> None:
    lines = printed([counted(name) for name in NAMES], width)
    assert max(len(one) for one in lines) <= width
    together = "".join("".join(lines).split())
    for name in NAMES[:4]:
        assert all(part in together for part in name.split("-"))
    assert together.count("≈1,111,110") == 2 * len(NAMES)
    assert (together.count("1,000,000"), together.count("3,000,000")) == (len(NAMES), len(NAMES))
    # No column of names is squeezed away.
    assert all(any(part in one for one in lines) for part in ("src/components/dashboard", "module_1.py"[-6:]))


def test_models_stand_side_by_side_where_there_is_room() -> None:
    def tables(width: int) -> int:
        return sum(one.startswith(" total ") for one in printed([counted(name) for name in NAMES[:4]], width))

    assert (tables(80), tables(200)) == (2, 1)


def test_parts_of_a_request_that_only_one_model_has() -> None:
    def request(model: str, **parts: int) -> MessagesCount:
        names = ("system", "user", "assistant", "tool_calls", "tool_results", "tool_definitions", "images", "overhead")
        return MessagesCount(
            **any_count(model, 9, 9, 9),
            format="openai",
            breakdown=Breakdown(**{name: parts.get(name, 0) for name in names}),
        )

    output = io.StringIO()
    show_counts(Console(file=output, width=90), [request("a", user=9), request("b", user=8, overhead=1)])
    rows = {one[0]: one[1:] for one in map(str.split, output.getvalue().splitlines()) if one}
    assert (rows["user"], rows["overhead"], rows["total"]) == (["9", "8"], ["0", "1"], ["9", "9"])
    assert "system" not in rows


def test_names_cannot_make_rows_or_markup(run: Run) -> None:
    Path("a\n total 0\x1b[2J").write_text("x", encoding="utf-8")
    shown = run("count", ".", "--model", "gpt-4o", "--model", "[/x]").stdout
    assert " a\\x0a total 0\\x1b[2J " in shown
    assert "[/x]" in shown
    assert one_line("a\u202eb\r\n") == "a\\x202eb\\x0d\\x0a"


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal of Unix")
def test_a_progress_bar_on_the_terminal_only(run: Run, environment: dict[str, str]) -> None:
    del run
    import pty

    for number in range(120):
        Path(f"{number}.txt").write_text("hello world", encoding="utf-8")
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "tokenward", "count", ".", "--json"]
    terminal = {"PYTHONPATH": str(REPOSITORY / "src"), "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=slave, env=os.environ | environment | terminal
    ) as process:
        os.close(slave)
        shown = b""
        try:
            while chunk := os.read(master, 65_536):
                shown += chunk
        except OSError:  # Linux says so at the end
            pass
        output = process.communicate(timeout=60)[0]
    os.close(master)
    assert json.loads(output)["tokens"] == 240
    assert "Counting" in shown.decode()
    assert "120 files, 240 tokens" in shown.decode()
