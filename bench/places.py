"""Where the ledgers of the benchmarks live: files of SQLite in a folder, schemas in a private Postgres cluster."""

import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.postgres import running_cluster


class MissingError(Exception):
    """Something that a part measures is not on this machine; the message says what."""


@dataclass(frozen=True, slots=True)
class Place:
    """A database in which an empty store can be made: ``new()`` gives its URL and clears up afterwards."""

    name: str
    new: Callable[[], AbstractContextManager[str]]


@contextmanager
def sqlite() -> Generator[Place]:
    """SQLite in a folder of its own."""
    numbers = count()

    @contextmanager
    def new() -> Generator[str]:
        with tempfile.TemporaryDirectory(dir=folder) as each:
            yield f"sqlite:///{Path(each) / f'ledger-{next(numbers)}.db'}"

    with tempfile.TemporaryDirectory(prefix="tokenward-bench-") as folder:
        yield Place("SQLite", new)


@contextmanager
def postgres() -> Generator[Place]:
    """Postgres: the server that the tests would use.

    Raises:
        MissingError: There is none.
    """
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(running_cluster())
        except pytest.skip.Exception as error:
            raise MissingError(str(error)) from None
        yield Place("Postgres", cluster.schema)
