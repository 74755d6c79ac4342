"""What long work does between its steps: see whether it is still wanted, and tell how far it has come.

Work that takes more than some milliseconds is done in steps, and calls :func:`checkpoint` before each. Whoever started
it can then stop it from another thread. How far it has come is what :func:`advance` adds up, in characters.
Both cost next to nothing where nobody listens.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

_Answer = TypeVar("_Answer")


class Stopped(BaseException):
    """Nobody waits for the work any more. No ``Exception``: nothing may take it for a failure and go on otherwise."""


class Progress:
    """How many characters of the material are done. Written by the thread that works, read by others."""

    def __init__(self) -> None:
        self.of_finished = 0
        self.of_current = 0

    @property
    def characters(self) -> int:
        """Those of the texts that are finished, and of the one at hand."""
        return self.of_finished + self.of_current


_stop: ContextVar[threading.Event | None] = ContextVar("stop", default=None)
_progress: ContextVar[Progress | None] = ContextVar("progress", default=None)


def stoppable(work: Callable[[], _Answer], stop: threading.Event) -> _Answer:
    """Do work that ends at its next checkpoint once ``stop`` is set. Raises Stopped."""
    before = _stop.set(stop)
    try:
        checkpoint()
        return work()
    finally:
        _stop.reset(before)


def checkpoint() -> None:
    """End the work here if it was stopped. Raises Stopped."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise Stopped


@contextmanager
def followed() -> Generator[Progress]:
    """What is counted in the block, and in the threads that it starts, is added up."""
    progress = Progress()
    before = _progress.set(progress)
    try:
        yield progress
    finally:
        _progress.reset(before)


def advance(characters: int) -> None:
    """Tell that so much more of the text at hand is done; then as :func:`checkpoint`."""
    progress = _progress.get()
    if progress is not None:
        progress.of_current += characters
    checkpoint()


def finish(characters: int) -> None:
    """Tell that a text of so many characters is done, whatever its steps added up to."""
    progress = _progress.get()
    if progress is not None:
        progress.of_finished += characters
        progress.of_current = 0
