"""What workers of a test do, each in a process of its own. Not with the tests, whose imports take long."""

import itertools
import multiprocessing
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.waiting import wait_until
from tokenward.engine.errors import ConfigurationError
from tokenward.server.ending import ending_signals
from tokenward.server.http.workers import hear_signals

Ready = Callable[[], object]


def _ticket(folder: Path) -> int:
    """How many came before."""
    for number in itertools.count():
        with suppress(FileExistsError):
            (folder / str(number)).mkdir()
            return number
    raise AssertionError


def _end(*_: object) -> None:
    sys.exit(0)


def _serve_until_told(ready: Ready) -> None:
    """Serve, until this process or the one that looks after it is told to end."""
    for number in ending_signals():
        signal.signal(number, _end)
    hear_signals()
    ready()
    _wait()


def _wait() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()


def fail(_: socket.socket, _ready: Ready) -> None:
    raise SystemExit(3)


def die_at_once(_: socket.socket, _pipe: object) -> None:
    """What stands in for the whole of a worker: it has not even asked what to do."""


def serve_and_end(_: socket.socket, ready: Ready) -> None:
    ready()


def raise_with_a_text(_: socket.socket, _ready: Ready) -> None:
    raise ValueError("what alice wrote")


def refuse(_: socket.socket, _ready: Ready) -> None:
    raise ConfigurationError("The settings are unusable. Mend them.")


def serve_as_first(folder: Path, _: socket.socket, ready: Ready) -> None:
    """The first serves; those that come later fail."""
    if _ticket(folder) > 0:
        raise SystemExit(3)
    try:
        _serve_until_told(ready)
    finally:
        (folder / "ended well").touch()


def serve_as_sixth(folder: Path, _: socket.socket, ready: Ready) -> None:
    """The sixth serves; the others fail, the second when that is known: so four have failed where the sixth is.

    The first fails when the second is there, which else could be the one that takes its place.
    """
    ticket = _ticket(folder)
    if ticket == 0:
        wait_until((folder / "1").exists)
    if ticket == 5:
        _serve_until_told(ready)
    if ticket == 1:
        wait_until((folder / "ready").exists)
    raise SystemExit(3)


def serve_as_first_or_hang(folder: Path, _: socket.socket, ready: Ready) -> None:
    """The first serves, and leaves a note when it has said so; those that come later never have started."""

    def say() -> None:
        ready()
        (folder / "said").touch()

    if _ticket(folder) == 0:
        _serve_until_told(say)
    (folder / "hangs").touch()
    _wait()
