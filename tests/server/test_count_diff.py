"""``tokenward count --diff``: what git prints, and what a repository must not make it do."""

import io
import os
import subprocess
from pathlib import Path
from shutil import which

import pytest
from rich.console import Console

from tests.server.conftest import Json, Run
from tokenward.engine.counting.counter import get_token_counter
from tokenward.engine.errors import InvalidInput
from tokenward.files import FileText
from tokenward.server.commands.count_show import show_counts
from tokenward.server.commands.git_diff import read_diff
from tokenward.server.commands.model_tally import DiffCount
from tokenward.server.commands.session import Refused
from tokenward.tools.count_tokens import CountedItem
from tokenward.tools.counted import window_fit

pytestmark = pytest.mark.skipif(which("git") is None, reason="needs git")


@pytest.fixture(autouse=True)
def repository(run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder as a repository with one commit, untouched by the machine's own settings."""
    del run
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "n")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "e@x")
    git("init", "-q", "-b", "main")
    Path("a.py").write_text("def a() -> int:\n    return 1\n", encoding="utf-8")
    Path("sub").mkdir()
    Path("sub/b.txt").write_text("one\ntwo\n", encoding="utf-8")
    commit()
    return Path.cwd()


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "surrogateescape")


def commit() -> None:
    git("add", "-A")
    git("commit", "-q", "-m", "x")


def parts(revision: str = "HEAD", *paths: str) -> dict[str, str]:
    return {one.path: one.text for one in read_diff(revision, paths).files() if isinstance(one, FileText)}


def change() -> None:
    """Everything that can become of a file."""
    Path("gone").write_text("x\n", encoding="utf-8")
    Path("old name").write_text("a line that stays as it is\n" * 9, encoding="utf-8")
    Path("link").write_text("a.py", encoding="utf-8")
    Path("mode.sh").write_text("echo\n", encoding="utf-8")
    Path("binary").write_bytes(b"\0\1")
    Path("latin").write_bytes(b"gr\xfc\xdfe\n")
    commit()
    Path("a.py").write_text("def a() -> int:\n    return 22\n", encoding="utf-8")
    Path("gone").unlink()
    Path("old name").rename('n "ew" grüße.txt')
    Path("link").unlink()
    Path("link").symlink_to("a.py")
    Path("mode.sh").chmod(0o755)
    Path("binary").write_bytes(b"\0\2")
    Path("latin").write_bytes(b"gr\xfc\xdfe!\n")
    Path("empty").touch()
    Path("like a header").write_text("diff --git a/x b/x\n* Unmerged path y\n", encoding="utf-8")
    git("add", "-A")


# What is counted


def test_the_whole_and_its_files(answer: Json) -> None:
    change()
    found = answer("count", "--diff", "HEAD", "--model", "gpt-4o")
    printed = git("diff", "HEAD", "--", ":/", ":(exclude)latin")
    counter = get_token_counter()
    assert found["tokens"] == counter.count_tokens(printed, "gpt-4o").token_count
    assert found["sum_of_files"] == sum(one["tokens"] for one in found["items"])
    names = ["a.py", "binary", "empty", "gone", "like a header", "link", "mode.sh", 'n "ew" grüße.txt']
    assert [one["path"] for one in found["items"]] == names
    assert found["skipped"] == [
        {"path": "binary", "reason": "binary; the diff only says that it differs"},
        {"path": "latin", "reason": "not UTF-8 text"},
    ]
    assert (found["revision"], found["exact"], found["method"]) == ("HEAD", True, "tiktoken")
    for item in found["items"]:
        alone = git("diff", "-M", "HEAD", "--", item["path"], *(["old name"] if "grüße" in item["path"] else []))
        assert item["tokens"] == counter.count_tokens(alone, "gpt-4o").token_count, item


@pytest.mark.parametrize(
    "setting",
    [
        "core.quotePath=false",
        "diff.noprefix=true",
        "diff.mnemonicPrefix=true",
        "diff.context=0",
        "diff.suppressBlankEmpty=true",
        "diff.renames=copies",
        "diff.algorithm=histogram",
        "color.ui=always",
        "color.diff=always",
        "diff.colorMoved=zebra",
        "core.pager=cat -n",
        "diff.submodule=log",
        "diff.relative=true",
    ],
)
def test_the_users_own_settings_count_as_in_git(setting: str) -> None:
    change()
    git("config", *setting.split("=", 1))
    diff = read_diff("HEAD")
    assert diff.output == git("diff", "--no-color", "HEAD")
    assert len(diff.sections) == 9
    assert "".join(diff.output[one.start : one.end] for one in diff.sections) == diff.output


def shown(*sums: int) -> list[str]:
    """What is printed of a diff whose whole is 12 tokens, by the sums over its files for each model."""
    counts = [
        DiffCount(
            **dict(window_fit(12, 12, None)),
            tokens=12,
            lower=12,
            upper=12,
            exact=True,
            method="tiktoken",
            model=f"model{index}",
            encoding="x",
            items=[CountedItem(path="a", tokens=5), CountedItem(path="b", tokens=files - 5)],
            revision="HEAD",
            sum_of_files=files,
        )
        for index, files in enumerate(sums)
    ]
    output = io.StringIO()
    show_counts(Console(file=output, width=100), counts)
    return [" ".join(one.split()) for one in output.getvalue().splitlines()]


def test_the_sum_of_the_files_and_the_whole_are_told_apart_where_they_differ() -> None:
    assert "total 12 12" in shown(12, 12)
    different = shown(12, 13)
    assert different.index("sum of the files 12 13") + 1 == different.index("the diff as a whole 12 12")
    assert not [one for one in different if one.startswith("total")]


def test_a_range_and_a_column_per_model(run: Run, answer: Json) -> None:
    git("checkout", "-q", "-b", "topic")
    Path("a.py").write_text("topic\n", encoding="utf-8")
    commit()
    git("checkout", "-q", "main")
    Path("sub/b.txt").write_text("main\n", encoding="utf-8")
    commit()
    assert list(parts("main...topic")) == ["a.py"]
    assert list(parts("main..topic")) == ["a.py", "sub/b.txt"]
    models = ("--model", "gpt-4o", "--model", "gemini-2.5-pro")
    both = answer("count", "--diff", "main..topic", *models)["results"]
    assert [one["model"] for one in both] == ["gpt-4o", "gemini-2.5-pro"]
    said = run("count", "--diff", "main..topic", *models).stdout
    (row,) = [one for one in said.splitlines() if one.startswith(" a.py ")]
    assert row.split() == ["a.py", f"{both[0]['items'][0]['tokens']}", "≈", f"{both[1]['items'][0]['tokens']}"]


def test_from_a_folder_below(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.py").write_text("2\n", encoding="utf-8")
    Path("sub/b.txt").write_text("2\n", encoding="utf-8")
    monkeypatch.chdir("sub")
    assert list(parts()) == ["a.py", "sub/b.txt"]
    assert list(parts("HEAD", ".")) == ["sub/b.txt"]
    assert list(parts("HEAD", "../a.py")) == ["a.py"]


def test_no_difference_is_no_tokens(answer: Json, run: Run) -> None:
    found = answer("count", "--diff", "HEAD")
    assert (found["tokens"], found["sum_of_files"], found["items"]) == (0, 0, [])
    assert run("count", "--diff", "HEAD").exit_code == 0
    assert answer("count", "--diff", "HEAD", "sub")["tokens"] == 0


def test_a_merge_with_conflicts() -> None:
    git("checkout", "-q", "-b", "topic")
    Path("a.py").write_text("topic\n", encoding="utf-8")
    commit()
    git("checkout", "-q", "main")
    Path("a.py").write_text("main\n", encoding="utf-8")
    commit()
    subprocess.run(["git", "merge", "-q", "topic"], check=False, capture_output=True)
    assert list(parts()) == ["a.py"]
    git("add", "-A")
    git("commit", "-q", "-m", "merged")
    assert "<<<<<<<" in parts("HEAD^!")["a.py"]
    assert parts("HEAD^!")["a.py"] == git("diff", "HEAD^!")


def test_the_window_is_compared(answer: Json) -> None:
    Path("a.py").write_text("2\n", encoding="utf-8")
    found = answer("count", "--diff", "HEAD", "--max-context", "1")
    assert (found["fits"], found["context_window"]) == (False, 1)


# What is refused


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("nope", "diff: git says: bad revision 'nope'."),
        ("", "diff: git says: bad revision ''."),
        ("HEAD nope", "diff: git says: bad revision 'HEAD nope'."),
        ("--output=stolen", "diff: '--output=stolen' is not a revision; it cannot begin with a dash."),
        ("-O/etc/passwd", "it cannot begin with a dash."),
        ("--no-index", "it cannot begin with a dash."),
        ("/etc/passwd", "diff: git says: bad revision '…/passwd'."),
        ("../outside", "diff: git says: bad revision '../outside'."),
    ],
)
def test_revisions_that_are_none(run: Run, repository: Path, revision: str, said: str) -> None:
    result = run("count", "--diff", revision)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert str(repository) not in result.stderr
    assert not Path("stolen").exists()


def test_paths_outside_of_the_repository(run: Run, repository: Path) -> None:
    result = run("count", "--diff", "HEAD", "../x")
    assert result.exit_code == 2
    assert "diff: git says: ../x: '../x' is outside repository at" in result.stderr
    assert str(repository.parent) not in result.stderr


def test_options_among_the_paths_are_paths(run: Run) -> None:
    Path("a.py").write_text("2\n", encoding="utf-8")
    assert '"tokens":0,' in run("count", "--diff", "HEAD", "--json", "--", "--stat").stdout


def test_no_repository(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = run("count", "--diff", "HEAD")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: --diff: this folder is in no git repository.\n"


def test_no_git(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("count", "--diff", "HEAD")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no git in the PATH" in result.stderr


def test_a_repository_of_somebody_else(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    result = run("count", "--diff", "HEAD")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: --diff: the repository belongs to another user; git wants it named in safe.directory first.\n"
    )


def test_a_diff_that_is_too_long() -> None:
    Path("a.py").write_text("x\n" * 5_000, encoding="utf-8")
    assert read_diff("HEAD", max_bytes=20_000).output.count("\n") > 5_000
    with pytest.raises(Refused, match="longer than 10,000 bytes"):
        read_diff("HEAD", max_bytes=10_000)


def test_a_text_that_no_argument_can_hold() -> None:
    with pytest.raises(InvalidInput, match="not a revision"):
        read_diff("a\0b")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_a_git_that_fails_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexit 7\n", encoding="utf-8")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidInput, match="git failed and did not say why"):
        read_diff("HEAD")


# What a repository wants to run


@pytest.fixture
def trap(tmp_path: Path) -> tuple[str, Path]:
    """A program that leaves a mark where it was run, and the mark."""
    mark = tmp_path / "mark"
    program = tmp_path / "trap"
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\ncat 2>/dev/null\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program), mark


TRAPS = [
    ("core.fsmonitor", ""),
    ("diff.external", ""),
    ("diff.x.command", "*.py diff=x"),
    ("diff.x.textconv", "*.py diff=x"),
    ("filter.x.clean", "*.py filter=x"),
    ("filter.x.process", "*.py filter=x"),
    # Plain git runs those above always, and these when it has a terminal or a remote.
    ("core.pager", ""),
    ("pager.diff", ""),
    ("core.sshCommand", ""),
]


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(("setting", "attributes"), TRAPS)
def test_nothing_that_the_repository_names_is_run(trap: tuple[str, Path], setting: str, attributes: str) -> None:
    program, mark = trap
    Path(".git/info/attributes").parent.mkdir(exist_ok=True)
    Path(".git/info/attributes").write_text(f"{attributes}\n", encoding="utf-8")
    git("config", setting, program)
    hooks = Path(".git/hooks")
    hooks.mkdir(exist_ok=True)
    for hook in ("post-index-change", "fsmonitor-watchman"):
        (hooks / hook).unlink(missing_ok=True)
        (hooks / hook).symlink_to(program)
    Path("a.py").write_text("def a() -> int:\n    return 3\n", encoding="utf-8")
    diff = read_diff("HEAD")
    assert not mark.exists()
    assert list(parts()) == ["a.py"]
    assert any("x" in one for one in diff.warnings) == setting.startswith("filter.")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(("setting", "attributes"), TRAPS[:6])
def test_the_traps_are_traps(trap: tuple[str, Path], setting: str, attributes: str) -> None:
    program, mark = trap
    Path(".gitattributes").write_text(f"{attributes}\n", encoding="utf-8")
    git("config", setting, program)
    Path("a.py").write_text("def a() -> int:\n    return 3\n", encoding="utf-8")
    subprocess.run(["git", "diff", "HEAD"], capture_output=True, check=False)
    assert mark.exists()


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_a_submodule_is_not_looked_into(trap: tuple[str, Path], repository: Path, tmp_path: Path) -> None:
    program, mark = trap
    git("clone", "-q", str(repository), str(tmp_path / "inner"))
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tmp_path / "inner"), "inner")
    commit()
    git("-C", "inner", "config", "filter.x.clean", program)
    attributes = Path(".git/modules/inner/info/attributes")
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("*.py filter=x\n", encoding="utf-8")
    Path("inner/a.py").write_text("def a() -> int:\n    return 3\n", encoding="utf-8")
    Path("a.py").write_text("def a() -> int:\n    return 3\n", encoding="utf-8")
    assert list(parts()) == ["a.py"]
    assert not mark.exists()
    assert "inner" in git("diff", "HEAD")
    assert mark.exists()


def test_what_is_missing_is_not_fetched(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("config", "uploadpack.allowFilter", "true")
    git("clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{repository}", str(tmp_path / "partial"))
    monkeypatch.chdir(tmp_path / "partial")
    with pytest.raises(InvalidInput, match="git says: "):
        read_diff("HEAD")
    assert git("diff", "HEAD")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_the_users_own_filter_runs(trap: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program, mark = trap
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "global"))
    git("config", "--global", "filter.x.clean", program)
    Path(".gitattributes").write_text("*.py filter=x\n", encoding="utf-8")
    Path("a.py").write_text("def a() -> int:\n    return 3\n", encoding="utf-8")
    assert read_diff("HEAD").warnings == ()
    assert mark.exists()


def test_a_filter_that_cannot_be_switched_off_is_refused() -> None:
    git("config", "filter.a=b.clean", "cat")
    with pytest.raises(Refused, match="cannot be switched off"):
        read_diff("HEAD")


def test_the_filters_that_were_not_run_are_named(run: Run, answer: Json) -> None:
    git("config", "filter.own.clean", "cat")
    git("config", "filter.own.required", "true")
    said = "the repository's own filters were not run: own"
    assert answer("count", "--diff", "HEAD")["warnings"] == [said]
    assert f"Note: {said}" in run("count", "--diff", "HEAD").stdout
