"""What ``.gitignore`` files ignore, entry by entry as git walks a tree."""

import re
from collections.abc import Iterable, Sequence

_MAX_LINE = 1_000


class IgnoreFile:
    """One ``.gitignore``.

    Args:
        depth: How many names lead from the root to the folder it lies in.
        text: Its content. Lines that are no pattern are passed over, as git does.
    """

    def __init__(self, depth: int, text: str) -> None:
        self.depth = depth
        # The last line that matches decides.
        self._rules = list(_rules(text.splitlines()))[::-1]

    def verdict(self, parts: Sequence[str], *, is_folder: bool) -> bool | None:
        """Whether an entry is ignored (``True``), kept (``False``) or not mentioned (``None``).

        Only the entry itself is judged, not the folders above it: whoever walks prunes those.
        """
        path = "/".join(parts[self.depth :])
        for regex, ignores in self._rules:
            if _names(regex, path, is_folder=is_folder):
                return ignores
        return None


def is_ignored(files: Sequence[IgnoreFile], parts: Sequence[str], *, is_folder: bool) -> bool:
    """Whether the ``.gitignore`` files that lie above an entry (the root's first) ignore it: the nearest decides."""
    for file in reversed(files):
        verdict = file.verdict(parts, is_folder=is_folder)
        if verdict is not None:
            return verdict
    return False


def _rules(lines: Iterable[str]) -> Iterable[tuple[re.Pattern[str], bool]]:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # noqa: PLC0415 - only needed for folders

    for line in lines:
        try:
            expression, ignores = GitIgnoreSpecPattern.pattern_to_regex(line[:_MAX_LINE])
            if expression is not None and ignores is not None:
                yield re.compile(expression), ignores
        except (ValueError, re.error):
            continue


def _names(regex: re.Pattern[str], path: str, *, is_folder: bool) -> bool:
    """Whether the pattern names this very entry.

    The library's expressions also match what lies below an entry. Where one can do so, it marks the slash after the
    entry with a group: only a mark at the path's end is this entry.
    """
    if not regex.groupindex:
        return regex.search(path) is not None
    path += "/" if is_folder else ""
    return any(match.end(1) in (-1, len(path)) for match in regex.finditer(path))
