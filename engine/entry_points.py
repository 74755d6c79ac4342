"""What other packages add to this one: the entry points of a group, with the package that brought each."""

import logging
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, distributions

_LOG = logging.getLogger(__name__)


def installed_entries(group: str) -> tuple[tuple[EntryPoint, str], ...]:
    """The entry points of a group in this environment, by name, each with its package's name and version.

    Reads the metadata of every installed package and imports none of them. It takes some milliseconds, so whoever asks
    keeps the answer.
    """
    found: dict[tuple[str, str], tuple[EntryPoint, str]] = {}
    for distribution in distributions():
        for entry, named in _entries_of(distribution, group):
            # A distribution further up the path hides one of the same name.
            found.setdefault((entry.name, named.partition(" ")[0]), (entry, named))
    return tuple(one for _, one in sorted(found.items()))


def _entries_of(distribution: Distribution, group: str) -> Iterator[tuple[EntryPoint, str]]:
    try:
        entries = [entry for entry in distribution.entry_points if entry.group == group]
        named = f"{distribution.name} {distribution.version}" if entries else ""
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one package's metadata, the others count
        _LOG.debug("The entry points of a distribution cannot be read: %s.", type(error).__name__)
        return
    yield from ((entry, named) for entry in entries)
