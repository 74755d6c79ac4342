"""Text files to count, read by the server itself and only below the folders it was given.

Nothing outside the allowed folders (the *roots*) is ever opened. A path is resolved first, and only its resolved form
is judged. Then the file is opened one name at a time from its root on, without following links, so that nothing
swapped in meanwhile can lead out. What is not read is said, with a reason.
"""

import os
import stat
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.steps import checkpoint
from tokenward.ignore import LONGEST, WILDCARDS, IgnoreFile, PathPattern, is_ignored, is_too_long

MAX_FILE_BYTES = 64 * 2**20
"""Largest file read: 64 MiB."""

MAX_FILES = 10_000
"""Most files looked at in one call, skipped ones included."""

_SNIFFED_BYTES = 8 * 1024
_MAX_IGNORE_BYTES = 2**20
# A longer mark before a shorter one that it begins with.
_MARKS = (
    (BOM_UTF32_LE, "utf-32"),
    (BOM_UTF32_BE, "utf-32"),
    (BOM_UTF16_LE, "utf-16"),
    (BOM_UTF16_BE, "utf-16"),
    (BOM_UTF8, "utf-8-sig"),
)

_BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.scandir in os.supports_fd
_NO_LINK: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER = os.O_RDONLY | _NO_LINK | getattr(os, "O_DIRECTORY", 0)
# Not blocking: should a pipe be swapped in between the look and the opening, it must not hold the server up.
_FILE = os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class FileText:
    """A file that was read. ``path`` is relative to the first allowed folder, with forward slashes."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file, or a whole folder (``path`` ends with a slash), that was not read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Root:
    """An allowed folder, resolved. ``prefix`` tells the files of further roots from the first one's."""

    path: Path
    prefix: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one of the caller's paths leads: names below a root, and the wildcard part that remains."""

    written: str
    root: _Root
    parts: tuple[str, ...]
    pattern: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """A file to read, or with a ``reason`` a file or folder to skip.

    ``wanted`` is false for what was only met on the way: a folder that is not searched is said, but is no match.
    """

    root: _Root
    parts: tuple[str, ...]
    reason: str = ""
    is_folder: bool = False
    wanted: bool = True

    @property
    def shown_path(self) -> str:
        name = self.root.prefix + "/".join(self.parts) + ("/" if self.is_folder else "")
        return os.fsencode(name).decode("utf-8", "replace")


class FileReader(Iterator[FileText | SkippedFile]):
    """The files one by one, read as they are asked for. Nothing is read before all of them are found.

    Attributes:
        total: How many there are at most, once the first was asked for; ``None`` before.
    """

    def __init__(self, find: Callable[[], list[_Found]], max_file_bytes: int) -> None:
        self.total: int | None = None
        self._rows = self._read(find, max_file_bytes)

    def __next__(self) -> FileText | SkippedFile:
        return next(self._rows)

    def _read(self, find: Callable[[], list[_Found]], max_file_bytes: int) -> Iterator[FileText | SkippedFile]:
        found = find()
        self.total = len(found)
        seen: set[object] = set()
        for one in found:
            row, identity = _read(one, max_file_bytes)
            if identity not in seen:
                seen.add(identity)
                yield row


def read_files(
    paths: Sequence[str], roots: Sequence[Path], *, max_file_bytes: int = MAX_FILE_BYTES, max_files: int = MAX_FILES
) -> FileReader:
    """Read files, folders and globs, each file once, in a fixed order.

    Args:
        paths: Files, folders or globs (``*``, ``?``, ``[…]``, and ``**`` for any folders), relative to the first root
            or absolute. A file named without wildcards is read even if a ``.gitignore`` ignores it.
        roots: The allowed folders.
        max_file_bytes: A larger file is skipped.
        max_files: More files than this are refused, skipped ones included.

    Returns:
        The texts, and what was skipped: binaries, text that is neither UTF-8 nor marked UTF-16 or UTF-32, what
        ``.gitignore`` ignores (an ignored folder is one row), ``.git``, links that lead out, special files.

    Raises:
        InvalidInput: No folder is allowed, a path leads outside or is too long; then: it matches nothing or too much.
    """
    if not paths:
        raise InvalidInput("paths", "give at least one file, folder or glob.")
    allowed = _allowed(roots)
    places = [_locate(path, allowed) for path in paths]
    return FileReader(partial(_find_all, places, allowed, max_files), max_file_bytes)


def _allowed(roots: Sequence[Path]) -> list[_Root]:
    if not roots:
        raise InvalidInput("paths", "no folders are allowed; name them in TOKENWARD_ROOTS, or give the text itself.")
    # Unlike Path.is_dir, this answers also where it may not look.
    resolved = [Path(os.path.realpath(root)) for root in roots if os.path.isdir(root)]  # noqa: PTH112
    if not resolved:
        raise InvalidInput("paths", "none of the allowed folders exists; correct the setting roots (TOKENWARD_ROOTS).")
    return [_Root(path, f"{path.name}/" if index else "") for index, path in enumerate(resolved)]


def _below(real: str, roots: Sequence[_Root]) -> tuple[_Root, tuple[str, ...]] | None:
    """The root that a resolved path lies in, and the names that lead there from it."""
    path = Path(real)
    for root in roots:
        if path.is_relative_to(root.path):
            return root, path.relative_to(root.path).parts
    return None


def _locate(written: str, roots: Sequence[_Root]) -> _Place:
    """Resolve one of the caller's paths.

    Raises:
        InvalidInput: It is no path, too long, or leads outside; whether something exists out there is not told.
    """
    checkpoint()
    try:
        names = PurePath(written).parts
        if is_too_long(names):
            raise InvalidInput("paths", f"{shown(written)} is too long; {LONGEST}")
        # A name that holds a wildcard's character and exists is meant literally.
        literal = os.path.lexists(roots[0].path / written)
        fixed = next((i for i, name in enumerate(names) if not literal and set(name) & WILDCARDS), len(names))
        within = _below(os.path.realpath(roots[0].path.joinpath(*names[:fixed])), roots)
    except ValueError:
        raise InvalidInput("paths", f"{shown(written)} is not a path.") from None
    if not written:
        raise InvalidInput("paths", "'' is not a path; use '.' for the folder itself.")
    if within is None or ".." in names[fixed:]:
        problem = "is outside the allowed folders; give a path below them (TOKENWARD_ROOTS)."
        raise InvalidInput("paths", f"{shown(written)} {problem}")
    return _Place(written, *within, names[fixed:])


def _find_all(places: Sequence[_Place], roots: Sequence[_Root], max_files: int) -> list[_Found]:
    """What all places stand for, each thing once."""
    every: dict[tuple[Path, tuple[str, ...]], _Found] = {}
    for place in places:
        matched = False
        for found in _find(place, roots):
            matched = matched or found.wanted
            before = every.setdefault((found.root.path, found.parts), found)
            if before.reason and not found.reason:  # met on the way and ignored, but also named itself
                every[found.root.path, found.parts] = found
            if len(every) > max_files:
                raise InvalidInput("paths", f"more than {max_files} files match; name fewer or narrower paths.")
        if not matched:
            raise InvalidInput("paths", f"{shown(place.written)} matches no file.")
    return list(every.values())


# Finding ------------------------------------------------------------------------------------------------------------


def _find(place: _Place, roots: Sequence[_Root]) -> Iterator[_Found]:
    """What a place stands for: one file, everything in a folder, or what matches a glob."""
    real = place.root.path.joinpath(*place.parts)
    named = not place.pattern
    if any(name.casefold() == ".git" for name in place.parts):
        yield _Found(place.root, place.parts, "git's own data", is_folder=real.is_dir())
        return
    try:
        is_folder = stat.S_ISDIR(real.lstat().st_mode)
    except PermissionError as error:
        yield _Found(place.root, place.parts, _why(error), wanted=named)
        return
    except OSError:
        if not named:
            return
        raise InvalidInput("paths", f"{shown(place.written)} does not exist.") from None
    if is_folder:
        yield from _walk(place, roots)
    elif named:
        yield _Found(place.root, place.parts)


def _walk(place: _Place, roots: Sequence[_Root]) -> Iterator[_Found]:
    """The files below a folder that match its pattern: a folder's own files first, then its folders, by name."""
    pattern = PathPattern(place.pattern or ("**",))
    stack = [(place.parts, pattern.start, _ignore_above(place))]
    while stack:
        checkpoint()
        parts, places, ignores = stack.pop()
        try:
            entries = _entries(place.root, parts)
        except OSError as error:
            wanted = not place.pattern or pattern.accepts(places)
            yield _Found(place.root, parts, _why(error), is_folder=True, wanted=wanted)
            continue
        if any(name == ".gitignore" for name, _ in entries):
            ignores = [*ignores, *_ignore_file(place.root, parts)]
        folders: list[tuple[tuple[str, ...], frozenset[int], list[IgnoreFile]]] = []
        for name, mode in entries:
            below = (*parts, name)
            reached = pattern.step(places, name)
            wanted = pattern.accepts(reached)
            is_folder = stat.S_ISDIR(mode)
            if not reached or not (is_folder or wanted):
                continue
            if name.casefold() == ".git":
                yield _Found(place.root, below, "git's own data", is_folder, wanted)
            elif is_ignored(ignores, below, is_folder=is_folder):
                yield _Found(place.root, below, "ignored by .gitignore", is_folder, wanted)
            elif is_folder:
                folders.append((below, reached, ignores))
            elif stat.S_ISLNK(mode):
                yield _follow(place.root, below, roots)
            else:
                yield _Found(place.root, below)
        stack.extend(reversed(folders))


def _follow(root: _Root, parts: tuple[str, ...], roots: Sequence[_Root]) -> _Found:
    """What a link that matches stands for: a file that is allowed, or a reason to skip it."""
    real = os.path.realpath(root.path.joinpath(*parts))
    within = _below(real, roots)
    if within is None:
        return _Found(root, parts, "a link that leads outside the allowed folders")
    if Path(real).is_dir():
        return _Found(root, parts, "a link to a folder; name the folder itself")
    if any(name.casefold() == ".git" for name in within[1]):
        return _Found(root, parts, "git's own data")
    if not os.path.lexists(real):
        return _Found(root, parts, "a link that leads nowhere")
    return _Found(*within)


def _ignore_above(place: _Place) -> list[IgnoreFile]:
    """The ``.gitignore`` files above a folder. If they ignore it they don't count: it was named, and so is wanted."""
    ignores: list[IgnoreFile] = []
    for depth in range(len(place.parts)):
        ignores += _ignore_file(place.root, place.parts[:depth])
        if is_ignored(ignores, place.parts[: depth + 1], is_folder=True):
            ignores = []
    return ignores


def _ignore_file(root: _Root, parts: tuple[str, ...]) -> list[IgnoreFile]:
    content: bytes | str = ""
    with suppress(OSError):
        content = _content(root, (*parts, ".gitignore"), _MAX_IGNORE_BYTES)[0]
    text = None if isinstance(content, str) else content.decode("utf-8-sig", "surrogateescape")
    return [] if text is None else [IgnoreFile(len(parts), text)]


# Reading ------------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(root: _Root, parts: tuple[str, ...], flags: int) -> Generator[int]:
    """Open what lies below a root without following any link on the way."""
    if not _BY_DESCRIPTOR:
        descriptor = os.open(root.path.joinpath(*parts), flags)
    else:
        descriptor = os.open(root.path, _FOLDER if parts else flags)
        for index, part in enumerate(parts):
            above = descriptor
            try:
                descriptor = os.open(part, flags if index == len(parts) - 1 else _FOLDER, dir_fd=above)
            finally:
                os.close(above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _entries(root: _Root, parts: tuple[str, ...]) -> list[tuple[str, int]]:
    """The names in a folder, sorted, each with its mode (a link's own)."""
    if not _BY_DESCRIPTOR:
        with os.scandir(root.path.joinpath(*parts)) as entries:
            return sorted((entry.name, entry.stat(follow_symlinks=False).st_mode) for entry in entries)
    with _opened(root, parts, _FOLDER) as descriptor, os.scandir(descriptor) as entries:
        return sorted((entry.name, _mode(entry)) for entry in entries)


def _mode(entry: os.DirEntry[str]) -> int:
    """The entry's kind; 0 if it is gone by now (reading it then says so)."""
    try:
        return entry.stat(follow_symlinks=False).st_mode
    except OSError:
        return 0


def _read(found: _Found, max_file_bytes: int) -> tuple[FileText | SkippedFile, object]:
    """A file's text or why there is none, and what tells the file from all others."""
    if found.reason:
        return SkippedFile(found.shown_path, found.reason), found.shown_path
    try:
        content, identity = _content(found.root, found.parts, max_file_bytes)
    except OSError as error:
        return SkippedFile(found.shown_path, _why(error)), found.shown_path
    if isinstance(content, str):
        return SkippedFile(found.shown_path, content), identity
    try:
        return FileText(found.shown_path, _decoded(content)), identity
    except UnicodeDecodeError:
        binary = b"\0" in content[:_SNIFFED_BYTES]
        return SkippedFile(found.shown_path, "binary" if binary else "not UTF-8 text"), identity


def _content(root: _Root, parts: tuple[str, ...], max_bytes: int) -> tuple[bytes | str, object]:
    """A regular file's bytes or the reason not to read it, and its identity.

    The identity is the name in one letter case with the file's number: two spellings of one file on a file system that
    ignores case are one, two hard links are two.
    """
    path = root.path.joinpath(*parts)
    name = str(path).casefold()
    # Looked at before it is opened: opening a device can have effects.
    if not stat.S_ISREG(path.lstat().st_mode):
        return "not a regular file", name
    with _opened(root, parts, _FILE) as descriptor:
        status = os.fstat(descriptor)
        identity = (name, status.st_dev, status.st_ino)
        if not stat.S_ISREG(status.st_mode):
            return "not a regular file", identity
        if status.st_size > max_bytes:
            return f"larger than {max_bytes} bytes", identity
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    return (content, identity) if len(content) <= max_bytes else (f"larger than {max_bytes} bytes", identity)


def _decoded(content: bytes) -> str:
    """The text, without its byte order mark. Line ends stay as they are.

    Raises:
        UnicodeDecodeError: It is binary or in another encoding; replaced characters would be a wrong count.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding)
    if b"\0" in content[:_SNIFFED_BYTES]:
        raise UnicodeDecodeError("utf-8", content[:1], 0, 1, "binary")
    return content.decode("utf-8")


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "changed while it was looked at"
    return "may not be read" if isinstance(error, PermissionError) else "cannot be read"
