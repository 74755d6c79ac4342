"""Reading files to count: what is found, what is skipped, and that nothing leads out of the allowed folders."""

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from threading import Event

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenward.engine.errors import InvalidInput
from tokenward.engine.steps import Stopped, stoppable
from tokenward.files import FileText, SkippedFile, read_files
from tokenward.ignore import IgnoreFile, PathPattern, is_ignored

Tree = dict[str, str | bytes]


def plant(root: Path, tree: Tree) -> Path:
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def texts(paths: Sequence[str], root: Path) -> dict[str, str]:
    return {one.path: one.text for one in read_files(paths, [root]) if isinstance(one, FileText)}


def skipped(paths: Sequence[str], root: Path) -> dict[str, str]:
    return {one.path: one.reason for one in read_files(paths, [root]) if isinstance(one, SkippedFile)}


# Finding


TREE: Tree = {"b.py": "b", "a.txt": "a", "src/x.py": "x", "src/deep/y.py": "y", "src/deep/z.md": "z", ".env": "e"}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a.txt"], ["a.txt"]),
        (["./src/../a.txt"], ["a.txt"]),
        (["*.py"], ["b.py"]),
        (["**/*.py"], ["b.py", "src/x.py", "src/deep/y.py"]),
        (["src/**"], ["src/x.py", "src/deep/y.py", "src/deep/z.md"]),
        (["src/**/deep/*.md"], ["src/deep/z.md"]),
        (["s?c/[xq].py"], ["src/x.py"]),
        (["src"], ["src/x.py", "src/deep/y.py", "src/deep/z.md"]),
        (["."], [".env", "a.txt", "b.py", "src/x.py", "src/deep/y.py", "src/deep/z.md"]),
        (["b.py", "a.txt", "*.py", "./b.py"], ["b.py", "a.txt"]),
        (["**/**/y.*"], ["src/deep/y.py"]),
    ],
)
def test_paths_folders_and_globs(root: Path, paths: list[str], expected: list[str]) -> None:
    plant(root, TREE)
    assert list(texts(paths, root)) == expected


def test_absolute_paths_are_shown_relative(root: Path) -> None:
    plant(root, TREE)
    assert texts([str(root / "src" / "*.py")], root) == {"src/x.py": "x"}


def test_a_name_with_a_wildcard_character_that_exists_is_meant_literally(root: Path) -> None:
    plant(root, {"[id].ts": "page", "i": "no"})
    assert texts(["[id].ts"], root) == {"[id].ts": "page"}


def test_further_roots_are_told_apart(tmp_path: Path) -> None:
    plant(tmp_path, {"one/a": "1", "two/a": "2"})
    found = read_files(["a", str(tmp_path / "two" / "a")], [tmp_path / "one", tmp_path / "two"])
    assert list(found) == [FileText("a", "1"), FileText("two/a", "2")]


@pytest.mark.parametrize("path", ["nothing.txt", "*.rs", "src/**/*.rs", "nowhere/*.py", "a.txt/*", "n" * 300])
def test_no_match_names_the_pattern(root: Path, path: str) -> None:
    plant(root, TREE)
    with pytest.raises(InvalidInput, match=r"^paths: '.*(matches no file|does not exist)\.$"):
        texts([path], root)


@pytest.mark.parametrize("path", ["*.zzz", "**/*.zzz", "**/deep/*.zzz"])
def test_what_lies_on_the_way_is_no_match(root: Path, path: str) -> None:
    plant(root.parent, {"out/secret.txt": "s3cret"})
    plant(root, TREE | {".git/config": "", ".gitignore": "deep/\n*.log\n", "x.log": ""})
    for name, target in {"within": "src", "outside": "../out", "file": "../out/secret.txt", "loop": "loop"}.items():
        (root / name).symlink_to(target)
    with pytest.raises(InvalidInput, match=r"zzz' matches no file\.$"):
        texts([path], root)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("src", "a link to a folder"),
        ("..", "outside the allowed"),
        ("gone", "nowhere"),
        ("own.zzz", "not a regular file"),
    ],
)
def test_a_link_whose_name_matches_is_said(root: Path, target: str, reason: str) -> None:
    plant(root, TREE)
    (root / "own.zzz").symlink_to(target)
    assert reason in skipped(["**/*.zzz"], root)["own.zzz"]


def test_a_named_folder_of_skipped_things_is_a_match(root: Path) -> None:
    plant(root, {"all/.gitignore": "*", "all/below/a": "", ".gitignore": ""})
    assert skipped(["all"], root) == {
        "all/.gitignore": "ignored by .gitignore",
        "all/below/": "ignored by .gitignore",
    }


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800"])
def test_what_is_no_path_is_refused(root: Path, path: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not a path|does not exist"):
        texts([path], root)


def test_no_paths_and_no_roots_are_refused(root: Path) -> None:
    with pytest.raises(InvalidInput, match="at least one file"):
        read_files([], [root])
    with pytest.raises(InvalidInput, match="TOKENWARD_ROOTS"):
        read_files(["a"], [])
    with pytest.raises(InvalidInput, match=r"none of the allowed folders exists; .*TOKENWARD_ROOTS"):
        read_files(["a"], [root / "missing"])


def test_too_many_files_are_refused(root: Path) -> None:
    plant(root, {f"{index}.txt": "x" for index in range(5)})
    assert len(list(read_files(["."], [root], max_files=5))) == 5
    with pytest.raises(InvalidInput, match="more than 4 files match"):
        list(read_files(["."], [root], max_files=4))


def test_nothing_is_read_before_all_is_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(root, {f"{index}.txt": "x" for index in range(5)})
    opened: list[str] = []
    really_open = os.open

    def noted(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        opened.append(Path(path).name)
        return really_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", noted)
    for paths, problem in (
        (["."], "more than 4 files"),
        (["1.txt", "gone"], "does not exist"),
        (["*", "*.z"], "no fi"),
    ):
        with pytest.raises(InvalidInput, match=problem):
            next(read_files(paths, [root], max_files=4 if paths == ["."] else 9))
    assert not [name for name in opened if name.endswith(".txt")]


def test_the_total_is_known_from_the_first_file_on(root: Path) -> None:
    plant(root, TREE | {"picture.bin": b"\0"})
    found = read_files([".", "*.py", "b.py"], [root])
    assert found.total is None
    next(found)
    assert found.total == 1 + len(list(found)) == 7


def test_deep_folders_do_not_exhaust_the_stack(root: Path) -> None:
    folder = root
    for _ in range(1_050):
        folder /= "d"
        folder.mkdir()
    plant(folder, {"f": "bottom"})
    assert list(texts(["**/f"], root).values()) == ["bottom"]
    # Clearing up after the test must not exhaust it either.
    (folder / "f").unlink()
    while folder != root:
        folder.rmdir()
        folder = folder.parent


# Staying inside


OUTSIDE = ["../secret.txt", "src/../../secret.txt", "/etc/passwd", "/etc/*", "../*", "**/../../secret.txt", "..", "/"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_paths_that_lead_out_are_refused(root: Path, path: str) -> None:
    plant(root, TREE)
    plant(root.parent, {"secret.txt": "s3cret"})
    with pytest.raises(InvalidInput) as caught:
        read_files([path], [root])
    assert "is outside the allowed folders" in str(caught.value)
    assert repr(path) in str(caught.value)
    assert str(root) not in str(caught.value)


def test_a_folder_whose_name_begins_alike_is_outside(root: Path) -> None:
    plant(root.parent, {"root-2/secret.txt": "s3cret"})
    with pytest.raises(InvalidInput, match="outside"):
        read_files(["../root-2/secret.txt"], [root])


def test_a_folder_in_another_letter_case_is_outside(root: Path) -> None:
    if (root.parent / "ROOT").exists():
        pytest.skip("this file system ignores letter case")
    plant(root.parent, {"ROOT/secret.txt": "s3cret"})
    with pytest.raises(InvalidInput, match="outside"):
        read_files(["../ROOT/secret.txt"], [root])


def test_what_exists_outside_is_not_told(root: Path) -> None:
    plant(root.parent, {"there.txt": "", "t[h]ere.txt": ""})
    messages: set[str] = set()
    for name in ("there.txt", "gone.txt", "t[h]ere.txt", "g[o]ne.txt"):
        with pytest.raises(InvalidInput) as caught:
            read_files([f"../{name}"], [root])
        messages.add(str(caught.value).replace(repr(f"../{name}"), ""))
    assert len(messages) == 1


def test_named_links_that_lead_out_are_refused(root: Path) -> None:
    plant(root.parent, {"out/secret.txt": "s3cret"})
    (root / "file").symlink_to(root.parent / "out" / "secret.txt")
    (root / "folder").symlink_to("../out")
    (root / "again").symlink_to("folder")
    for path in ("file", "folder", "folder/secret.txt", "folder/*", "again/secret.txt", "folder/gone.txt"):
        with pytest.raises(InvalidInput, match="outside"):
            read_files([path], [root])


def test_links_found_on_the_way(root: Path) -> None:
    plant(root.parent, {"out/secret.txt": "s3cret"})
    plant(root, {"kept/real.txt": "real", ".git/config": "token"})
    links = {"a": "kept/real.txt", "b": "../out/secret.txt", "c": "../out", "d": "kept", "e": "gone", "f": "f"}
    for name, target in (links | {"g": ".git/config"}).items():
        (root / name).symlink_to(target)
    assert texts(["."], root) == {"kept/real.txt": "real"}
    assert texts(["[ab]"], root) == {"kept/real.txt": "real"}
    reasons = skipped(["."], root)
    assert {name for name, reason in reasons.items() if "outside" in reason} == {"b", "c"}
    assert reasons["d"] == "a link to a folder; name the folder itself"
    assert reasons["g"] == "git's own data"
    assert reasons["e"] == "a link that leads nowhere"
    assert texts(["d"], root) == {"kept/real.txt": "real"}


def test_a_root_may_itself_be_a_link(tmp_path: Path) -> None:
    plant(tmp_path, {"real/a": "1"})
    (tmp_path / "alias").symlink_to("real")
    assert texts(["a"], tmp_path / "alias") == {"a": "1"}


def test_a_folder_swapped_for_a_link_after_it_was_judged_is_not_read(root: Path) -> None:
    plant(root, {"folder/secret.txt": "harmless"})
    plant(root.parent, {"out/secret.txt": "s3cret"})
    found = read_files(["folder/secret.txt"], [root])
    (root / "folder").rename(root / "old")
    (root / "folder").symlink_to("../out")
    assert list(found) == [SkippedFile("folder/secret.txt", "changed while it was looked at")]


def test_a_file_swapped_for_a_link_or_a_pipe_after_it_was_found_is_not_read(root: Path) -> None:
    plant(root.parent, {"out/secret.txt": "s3cret"})
    plant(root, {"a": "1", "b": "2", "c": "3", "d/e": "4"})
    found = read_files(["."], [root])
    assert next(found) == FileText("a", "1")
    (root / "b").unlink()
    (root / "b").symlink_to("../out/secret.txt")
    (root / "c").unlink()
    os.mkfifo(root / "c")
    (root / "d").rename(root.parent / "d")
    (root / "d").symlink_to("../d")
    said = {one.path: one.reason for one in found if isinstance(one, SkippedFile)}
    assert said == {"b": "not a regular file", "c": "not a regular file", "d/e": "changed while it was looked at"}


def test_a_pipe_swapped_in_at_the_last_moment_does_not_hold_it_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(root, {"a": "1"})
    real = Path.lstat

    def swapping(path: Path) -> os.stat_result:
        status = real(path)
        if path.name == "a":
            path.unlink()
            os.mkfifo(path)
        return status

    found = read_files(["*"], [root])
    monkeypatch.setattr(Path, "lstat", swapping)
    assert list(found) == [SkippedFile("a", "not a regular file")]


def test_chains_of_links_are_judged_by_their_end(root: Path) -> None:
    plant(root.parent, {"out/secret.txt": "s3cret"})
    plant(root, {"real.txt": "real"})
    for name, target in {"a": "b", "b": "c", "c": "../out/secret.txt", "d": "e", "e": "real.txt"}.items():
        (root / name).symlink_to(target)
    (root / "absolute").symlink_to(root.parent / "out")
    (root / "around").symlink_to(f"../{root.name}/../out/secret.txt")
    assert texts(["."], root) == {"real.txt": "real"}
    assert texts(["d"], root) == {"real.txt": "real"}
    for path in ("a", "b", "c", "absolute/secret.txt", "around", f"../{root.name}/a"):
        with pytest.raises(InvalidInput, match="outside"):
            read_files([path], [root])


# What is skipped


def test_binaries_and_other_encodings(root: Path) -> None:
    plant(
        root,
        {
            "utf8.txt": "grüße\r\n",
            "bom.txt": b"\xef\xbb\xbfhi",
            "utf16.txt": "hé".encode("utf-16"),
            "utf16be.txt": b"\xfe\xff" + "hé".encode("utf-16-be"),
            "utf32.txt": "hé".encode("utf-32"),
            "latin1.txt": "grüße".encode("latin-1"),
            "image.png": b"\x89PNG\r\n\x1a\n\0\0\0",
            "late.bin": b"x" * 9_000 + b"\xff\0",
            "empty.txt": "",
        },
    )
    assert texts(["."], root) == {
        "utf8.txt": "grüße\r\n",
        "bom.txt": "hi",
        "utf16.txt": "hé",
        "utf16be.txt": "hé",
        "utf32.txt": "hé",
        "empty.txt": "",
    }
    assert skipped(["."], root) == {
        "image.png": "binary",
        "late.bin": "not UTF-8 text",
        "latin1.txt": "not UTF-8 text",
    }


def test_large_files(root: Path) -> None:
    plant(root, {"fits": "x" * 10, "huge": "x" * 11})
    with (root / "sparse").open("wb") as file:
        file.truncate(2**40)
    found = list(read_files(["."], [root], max_file_bytes=10))
    assert found[0] == FileText("fits", "x" * 10)
    assert found[1:] == [SkippedFile(name, "larger than 10 bytes") for name in ("huge", "sparse")]


def test_special_files_are_never_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "pipe")
    os.mkfifo(root / ".gitignore")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        assert set(skipped(["."], root).values()) == {"not a regular file"}
        assert set(skipped(["."], root)) == {"pipe", "socket", ".gitignore"}
        assert skipped(["pipe"], root) == {"pipe": "not a regular file"}


def test_devices_are_never_opened() -> None:
    assert skipped(["/dev/null"], Path("/dev")) == {"null": "not a regular file"}


def test_unreadable_files_and_folders(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(root, {"ok": "1", "locked": "2", "folder/x": "3"})
    really_open = os.open

    def guarded(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path in ("locked", "folder"):
            raise PermissionError(13, "no")
        return really_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", guarded)
    assert skipped(["."], root) == {"locked": "may not be read", "folder/": "may not be read"}


def test_names_that_are_no_text_are_shown_as_such(root: Path) -> None:
    try:
        (root / os.fsdecode(b"b\xff.txt")).write_text("1", encoding="utf-8")
    except (OSError, UnicodeError):
        pytest.skip("this file system only takes text for names")
    assert texts(["."], root) == {"b\ufffd.txt": "1"}


# .gitignore


def test_gitignore_nested_with_negation(root: Path) -> None:
    plant(
        root,
        {
            ".gitignore": "*.log\nbuild/\n/only-top\n!keep.log\n",
            "a.log": "",
            "keep.log": "kept",
            "only-top": "",
            "build/x.py": "",
            "sub/only-top": "kept",
            "sub/.gitignore": "!b.log\n*.tmp\n",
            "sub/b.log": "kept",
            "sub/c.log": "",
            "sub/d.tmp": "",
            "d.tmp": "kept",
            ".git/config": "",
        },
    )
    kept = {name for name, text in texts(["."], root).items() if text == "kept"}
    assert kept == {"keep.log", "sub/only-top", "sub/b.log", "d.tmp"}
    reasons = skipped(["."], root)
    ignored = {name for name, reason in reasons.items() if reason == "ignored by .gitignore"}
    assert ignored == {"a.log", "only-top", "build/", "sub/c.log", "sub/d.tmp"}
    assert reasons[".git/"] == "git's own data"


def test_names_given_explicitly_win_over_gitignore(root: Path) -> None:
    plant(root, {".gitignore": "build\n*.log\n", "a.log": "a", "build/x.py": "x", "build/y.log": "y"})
    assert texts(["a.log", "build/y.log"], root) == {"a.log": "a", "build/y.log": "y"}
    assert set(texts(["build"], root)) == {"build/x.py", "build/y.log"}
    assert texts(["build/*.py"], root) == {"build/x.py": "x"}
    assert skipped(["*.log"], root) == {"a.log": "ignored by .gitignore"}


def test_a_named_file_is_read_also_where_its_folder_is_walked(root: Path) -> None:
    plant(root, {".gitignore": "*.log\n", "a.log": "a", "b.log": "b"})
    assert texts([".", "a.log"], root) == texts(["a.log", "."], root) == {".gitignore": "*.log\n", "a.log": "a"}
    assert skipped([".", "a.log"], root) == {"b.log": "ignored by .gitignore"}


@pytest.mark.parametrize("path", [".git", ".git/config", ".GIT/config", "sub/.git/*"])
def test_git_is_always_skipped(root: Path, path: str) -> None:
    plant(root, {".git/config": "token", ".GIT/config": "token", "sub/.git/config": "token"})
    assert set(skipped([path], root).values()) == {"git's own data"}
    assert texts([path], root) == {}


def test_a_gitignore_above_the_named_folder_counts(root: Path) -> None:
    plant(root, {".gitignore": "*.log\n", "sub/a.log": "", "sub/b": "b"})
    assert texts(["sub"], root) == {"sub/b": "b"}


def test_broken_gitignore_lines_are_passed_over(root: Path) -> None:
    plant(root, {".gitignore": "[z-a]\n\\\n/\n[\n!\n*.log\n", "a.log": "", "b": "b"})
    assert set(texts(["."], root)) == {".gitignore", "b"}


def git_ignores(root: Path, paths: Sequence[str]) -> set[str]:
    """Git's own answer for files."""
    command = ["git", "-c", "core.excludesFile=", "check-ignore", "--no-index", "--stdin"]
    answer = subprocess.run(command, cwd=root, input="\n".join(paths), capture_output=True, text=True, check=False)
    return set(answer.stdout.split())


FILES = [f"{x}{y}{z}" for x in ("", "a/", "b/") for y in ("", "a/", "c/") for z in ("f", "a.py", "b.log")]
PATTERN = st.sampled_from(
    [
        "a",
        "b/",
        "/a",
        "a/",
        "*.py",
        "*",
        "*/",
        "a/*",
        "a/**",
        "**/c",
        "/b/c",
        "c/f",
        "f",
        "?",
        "[ab]",
        "[^b]",
        "**",
        "a/**/f",
        "[",
        "\\",
        "\\*",
        "a\\.py",
        "f  ",
        "f\\ ",
        "#f",
        "b.l[!a-n]*",
        "a//f",
        "/",
        "***",
    ]
)


@pytest.mark.skipif(which("git") is None, reason="git is not installed")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.tuples(st.sampled_from(["", "", "!"]), PATTERN), min_size=1, max_size=4))
def test_gitignore_is_understood_as_git_does(root: Path, lines: list[tuple[str, str]]) -> None:
    if not (root / ".git").exists():
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        plant(root, dict.fromkeys(FILES, "x"))
    text = "".join(f"{sign}{pattern}\n" for sign, pattern in lines)
    (root / ".gitignore").write_text(text, encoding="utf-8")
    git = git_ignores(root, FILES)
    rule = [IgnoreFile(0, text)]
    ours = {
        path
        for path in FILES
        if any(
            is_ignored(rule, path.split("/")[: depth + 1], is_folder=depth < path.count("/"))
            for depth in range(path.count("/") + 1)
        )
    }
    assert ours == git


@pytest.mark.parametrize("pattern", ["*a" * 60 + "b", "**/a/" * 60 + "b", "?*" * 60 + "b"])
def test_no_pattern_is_slow(pattern: str) -> None:
    """Would take longer than the universe has, with expressions that go back."""
    parts = ["a" * 250] if "/" not in pattern else ["a"] * 1_000
    assert IgnoreFile(0, pattern).verdict(parts, is_folder=False) is None
    assert not PathPattern(pattern.split("/")).matches(parts)


@pytest.mark.parametrize(
    "path", ["[" * 256, "[" * 60_000, "*" * 256, "src/" + "?" * 256 + "/x", "a/" * 1_000_000, "*/" * 2_048 + "x"]
)
def test_long_patterns_are_refused_before_they_are_read(root: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenward.ignore.translate", pytest.fail)

    def realpath(path: Path) -> str:
        return str(path) if path == root else pytest.fail("resolved")

    monkeypatch.setattr("os.path.realpath", realpath)
    with pytest.raises(InvalidInput, match=r"^paths: .* is too long"):
        read_files([path], [root])


def test_as_long_as_a_name_can_be_is_long_enough(root: Path) -> None:
    plant(root, {"a" * 255: "x"})
    assert list(texts(["a" * 254 + "?"], root)) == ["a" * 255]
    assert list(texts(["a" * 255], root)) == ["a" * 255]


def test_long_lines_of_gitignore_are_passed_over(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def translate(glob: str) -> str:
        read.append(glob)
        return "x"

    monkeypatch.setattr("tokenward.ignore.translate", translate)
    IgnoreFile(0, "\n".join(["[a]" * 100, "a/" * 3_000, "b" * 255 + "*", "c" * 254 + "*", "short"]))
    assert read == ["c" * 254 + "*", "short"]


def test_reading_a_gitignore_can_be_stopped() -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        stoppable(lambda: IgnoreFile(0, "a\n" * 3), stop)
