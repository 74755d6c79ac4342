"""What ``git diff`` prints, whole and file by file.

A repository's configuration and attributes belong to whoever made the repository, and can name programs for git to
run. None of them is run here: no external diff, no text conversion, no file system monitor, no filter, no pager, no
hook, and no transport that would fetch what is missing.
"""

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from shutil import which

from tokenward.engine.errors import InvalidInput, shown
from tokenward.files import FileText, SkippedFile
from tokenward.server.commands.session import Refused

MAX_DIFF_BYTES = 64 * 2**20
"""Longest diff that is counted: 64 MiB."""

SILENCE_SECONDS = 60.0
"""Longest that git may work without printing anything."""

_CHUNK_BYTES = 2**20
_SECTION = re.compile(r"^(?:diff --(?:git|cc|combined) |\* Unmerged path )", re.MULTILINE)
_BINARY = re.compile(r"^Binary files .* differ$", re.MULTILINE)
_HUNK = re.compile(r"^@@", re.MULTILINE)
_FOLDERS = re.compile(r"(?<=['\" ])(?:[A-Za-z]:)?/[^\s':]*/")
_FILTERS = r"^filter\..*\.(clean|process|required)$"
_OF_REPOSITORY = ("local", "worktree")
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",
    "LANGUAGE": "en",
}
_SAFE = ("--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
_DIFF = (
    *("diff", "--raw", "--patch", "-z", "--no-color", "--no-ext-diff", "--no-textconv"),
    # A submodule has a configuration of its own: it is not looked into.
    *("--submodule=short", "--ignore-submodules=dirty"),
    # The repository can name any file for the order: one that never ends, too.
    "-O/dev/null",
)


@dataclass(frozen=True, slots=True)
class _Section:
    """One file's part of the output: where it begins and ends."""

    path: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class GitDiff:
    """A diff.

    Attributes:
        output: All that git printed; bytes that are no UTF-8 as lone surrogates.
        sections: The files, in git's order.
        warnings: What was left out for safety.
    """

    output: str
    sections: tuple[_Section, ...]
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The whole diff, without the files that are not UTF-8 text."""
        if _is_text(self.output):
            return self.output
        parts = (self.output[one.start : one.end] for one in self.sections)
        return "".join(part for part in parts if _is_text(part))

    def files(self) -> Iterator[FileText | SkippedFile]:
        """Each file's part, exactly as git prints it. Of a binary that is only that it differs, which is said."""
        for section in self.sections:
            part = self.output[section.start : section.end]
            if not _is_text(part):
                yield SkippedFile(section.path, "not UTF-8 text")
                continue
            yield FileText(section.path, part)
            if not _HUNK.search(part) and _BINARY.search(part):
                yield SkippedFile(section.path, "binary; the diff only says that it differs")


def read_diff(revision: str, paths: Sequence[str] = (), *, max_bytes: int = MAX_DIFF_BYTES) -> GitDiff:
    """What ``git diff REVISION -- PATHS`` prints in the working folder.

    Args:
        revision: A revision, or a range such as ``main...HEAD``.
        paths: Limit the diff to these, relative to the working folder, as git understands them.
        max_bytes: A longer diff is refused.

    Raises:
        InvalidInput: git knows no such revision, or a path lies outside of the repository.
        Refused: There is no git, no repository, the diff is too long, or git does not come to an end.
    """
    if revision.startswith("-") or "\0" in revision or any("\0" in path for path in paths):
        raise InvalidInput("diff", f"{shown(revision)} is not a revision; it cannot begin with a dash.")
    _git("rev-parse", "--git-dir", max_bytes=_CHUNK_BYTES)
    off, warnings = _filters_off()
    # With a path given, git never takes the revision for a file to compare.
    command = [*off, *_DIFF, "--end-of-options", revision, "--", *(paths or [":/"])]
    raw, _, patch = _git(*command, max_bytes=max_bytes).partition(b"\0\0")
    output = patch.decode("utf-8", "surrogateescape")
    return GitDiff(output, _sections(output, list(_paths(raw))), warnings)


def _is_text(part: str) -> bool:
    try:
        return part.isascii() or bool(part.encode("utf-8"))
    except UnicodeEncodeError:
        return False


# Reading the output -------------------------------------------------------------------------------------------------


def _paths(raw: bytes) -> Iterator[str]:
    """The files of ``--raw -z``, each as often as it has a section: a file that becomes a link is taken away first."""
    fields = iter(raw.split(b"\0"))
    for field in fields:
        if not field.startswith(b":"):
            continue
        status = field.rpartition(b" ")[2]
        path = next(fields, b"")
        two_sided = not field.startswith(b"::")
        if two_sided and status.startswith((b"R", b"C")):
            path = next(fields, b"")
        for _ in range(2 if two_sided and status == b"T" else 1):
            yield path.decode("utf-8", "replace")


def _sections(output: str, paths: Sequence[str]) -> tuple[_Section, ...]:
    """Where each file begins. Lines of a file's content always begin with a mark, so none looks like a header."""
    starts = [match.start() for match in _SECTION.finditer(output)]
    if len(paths) != len(starts):
        headers = (output[start : output.find("\n", start)] for start in starts)
        paths = [_SECTION.sub("", header).encode("utf-8", "replace").decode() for header in headers]
    sections: list[_Section] = []
    for path, (start, end) in zip(paths, pairwise([*starts, len(output)]), strict=True):
        if sections and sections[-1].path == path:
            start = sections.pop().start  # noqa: PLW2901 - a file that became a link is one file
        sections.append(_Section(path, start, end))
    return tuple(sections)


# Running git --------------------------------------------------------------------------------------------------------


def _filters_off() -> tuple[list[str], tuple[str, ...]]:
    """Options that switch off the filters that the repository itself defines; the user's own may run."""
    listed = _git("config", "--show-scope", "-z", "--get-regexp", _FILTERS, max_bytes=_CHUNK_BYTES, accepted=(0, 1))
    fields = iter(listed.decode("utf-8", "surrogateescape").split("\0"))
    keys = [entry.partition("\n")[0] for scope, entry in zip(fields, fields, strict=False) if scope in _OF_REPOSITORY]
    if any("=" in key for key in keys):
        raise Refused("--diff: the repository defines a filter whose name holds '=', which cannot be switched off.")
    off = [part for key in keys for part in ("-c", f"{key}={'false' if key.endswith('.required') else ''}")]
    names = sorted({key.split(".", 1)[1].rpartition(".")[0] for key in keys})
    return off, (f"the repository's own filters were not run: {', '.join(names)}",) if names else ()


def _git(*arguments: str, max_bytes: int, accepted: Sequence[int] = (0,)) -> bytes:
    """What a git command prints.

    Raises:
        InvalidInput: git refuses.
        Refused: It cannot run, prints more than ``max_bytes``, or nothing for too long.
    """
    program = which("git")
    if program is None:
        raise Refused("--diff needs git, and there is no git in the PATH.")
    environment = {**os.environ, **_ENVIRONMENT}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - no shell; the revision follows --end-of-options
            [program, *_SAFE, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        )
        with process:
            try:
                output = _read(process, max_bytes)
            except BaseException:
                process.kill()
                raise
        if process.returncode not in accepted:
            errors.seek(0)
            raise _failure(errors.read(_CHUNK_BYTES).decode("utf-8", "replace"))
    return output


def _read(process: subprocess.Popen[bytes], max_bytes: int) -> bytes:
    """All that a process prints until it ends."""
    output = bytearray()
    while chunk := _next(process):
        output += chunk
        if len(output) > max_bytes:
            raise Refused(f"The diff is longer than {max_bytes:,} bytes; name fewer PATHS or a nearer revision.")
    return bytes(output)


def _next(process: subprocess.Popen[bytes]) -> bytes:
    """What a process prints next; nothing once it has ended. One that is silent for too long is ended."""
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    watch = threading.Timer(SILENCE_SECONDS, end)
    watch.daemon = True
    watch.start()
    try:
        chunk = b"" if process.stdout is None else os.read(process.stdout.fileno(), _CHUNK_BYTES)
        if not chunk:
            process.wait()
    finally:
        watch.cancel()
    if late.is_set():
        raise Refused(
            f"--diff: git printed nothing for {SILENCE_SECONDS:g} s and was ended; "
            "name fewer PATHS, or look for a file without an end in the repository or its configuration."
        )
    return chunk


def _failure(said: str) -> Exception:
    """Git's own message, on one line and without folders of the machine."""
    lines = [line.partition(": ")[2] for line in said.splitlines() if line.startswith(("fatal: ", "error: "))]
    message = lines[0] if lines else "git failed and did not say why"
    if "not a git repository" in message:
        return Refused("--diff: this folder is in no git repository.")
    if "dubious ownership" in message:
        return Refused("--diff: the repository belongs to another user; git wants it named in safe.directory first.")
    return InvalidInput("diff", f"git says: {_FOLDERS.sub('…/', message).rstrip('.')}.")
