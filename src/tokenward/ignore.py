"""Which paths are wanted: globs, and the ``.gitignore`` files that use them. Nothing here reads a file.

A pattern is walked along a path name by name, keeping the set of places in it that are reached. So it never goes back,
and no pattern that somebody put into a repository can make it slow, which regular expressions of whole paths could be.
"""

import re
from collections.abc import Iterator, Sequence
from fnmatch import translate

from tokenward.engine.steps import checkpoint

WILDCARDS = frozenset("*?[")

MAX_NAME_CHARACTERS = 255
"""Longest glob: no file's name is longer, and the time to read one can grow with the square of its length."""

MAX_PATH_CHARACTERS = 4096
"""Longest path or pattern, as of the system; the time to resolve one grows with the square too."""

LONGEST = f"a name with wildcards has at most {MAX_NAME_CHARACTERS} characters, a path {MAX_PATH_CHARACTERS}."
"""The bounds, to say them."""

_BRACKETS = re.compile(r"\[([!^]?)(\]?[^\]]*)\]")


class PathPattern:
    """A pattern of names: each a glob, or ``**`` for any number of folders (at the end: for all that lies below).

    Args:
        names: The globs, as :mod:`fnmatch` understands them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        names = [*names, "*"] if names[-1:] == ["**"] or names[-1:] == ("**",) else names
        self._names = [None if name == "**" else re.compile(translate(name)) for name in names]
        self.start = self._closed({0})

    def step(self, places: frozenset[int], name: str) -> frozenset[int]:
        """The places reached after one more name; none means that nothing below can match."""
        reached: set[int] = set()
        for place in places:
            if place < len(self._names):
                glob = self._names[place]
                if glob is None:
                    reached.add(place)
                elif glob.match(name):
                    reached.add(place + 1)
        return self._closed(reached)

    def accepts(self, places: frozenset[int]) -> bool:
        """Whether the names so far are a match."""
        return len(self._names) in places

    def matches(self, parts: Sequence[str]) -> bool:
        """Whether a whole path matches."""
        if len(self._names) == 2 and self._names[0] is None and (last := self._names[1]):
            return last.match(parts[-1]) is not None
        places = self.start
        for part in parts:
            places = self.step(places, part)
        return self.accepts(places)

    def _closed(self, places: set[int]) -> frozenset[int]:
        """``**`` also stands for no folder at all."""
        for place, name in enumerate(self._names):
            if place in places and name is None:
                places.add(place + 1)
        return frozenset(places)


class IgnoreFile:
    """One ``.gitignore``.

    Args:
        depth: How many names lead from the root to the folder it lies in.
        text: Its content. Lines that are no valid pattern are passed over, as git does, and those over the bounds.
    """

    def __init__(self, depth: int, text: str) -> None:
        self.depth = depth
        # The last line that matches decides.
        self._rules = list(_rules(text))[::-1]

    def verdict(self, parts: Sequence[str], *, is_folder: bool) -> bool | None:
        """Whether an entry is ignored (``True``), kept (``False``) or not mentioned (``None``).

        Only the entry itself is judged, not the folders above it: whoever walks prunes those.
        """
        below = parts[self.depth :]
        for pattern, ignores, only_folders in self._rules:
            if (is_folder or not only_folders) and pattern.matches(below):
                return ignores
        return None


def is_too_long(names: Sequence[str]) -> bool:
    """Whether the names of a path or pattern are over the bounds: together, or one of them that is a glob."""
    globs = (name for name in names if set(name) & WILDCARDS)
    return len("/".join(names)) > MAX_PATH_CHARACTERS or any(len(name) > MAX_NAME_CHARACTERS for name in globs)


def is_ignored(files: Sequence[IgnoreFile], parts: Sequence[str], *, is_folder: bool) -> bool:
    """Whether the ``.gitignore`` files that lie above an entry (the root's first) ignore it: the nearest decides."""
    for file in reversed(files):
        verdict = file.verdict(parts, is_folder=is_folder)
        if verdict is not None:
            return verdict
    return False


def _rules(text: str) -> Iterator[tuple[PathPattern, bool, bool]]:
    """Per line: the pattern, whether it ignores, and whether it means folders only."""
    for line in text.split("\n"):
        checkpoint()
        written = _without_trailing_spaces(line.removesuffix("\r"))
        if written.startswith("#") or is_too_long(written.split("/")):
            continue
        ignores = not written.startswith("!")
        written = written.removeprefix("!")
        only_folders = written.endswith("/")
        names = [_glob(name) for name in written.removesuffix("/").split("/")]
        if names == [""] or None in names:
            continue
        # A slash anywhere but at the end ties the pattern to the file's own folder.
        anchored = names[1:] if names[0] == "" else names if len(names) > 1 else ["**", *names]
        yield PathPattern([name or "" for name in anchored]), ignores, only_folders


def _without_trailing_spaces(line: str) -> str:
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    return line


def _glob(name: str) -> str | None:
    """One name of a pattern as :mod:`fnmatch` writes it; ``None`` if git takes it for no pattern."""
    made, position = "", 0
    while position < len(name):
        character = name[position]
        brackets = _BRACKETS.match(name, position)
        if character == "\\":
            position += 1
            if position == len(name):
                return None
            made += f"[{name[position]}]" if name[position] in "*?[" else name[position]
        elif brackets:
            made += f"[{'!' if brackets[1] else ''}{brackets[2]}]"
            position = brackets.end() - 1
        elif character == "[":
            return None
        else:
            made += character
        position += 1
    return made
