"""Several processes that serve one port, and the one that looks after them."""

import logging
import multiprocessing
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.resource_tracker import ensure_running
from typing import TypeAlias

from tokenward.engine.errors import ConfigurationError, TokenwardError
from tokenward.server.crashes import log_crash
from tokenward.server.ending import ending_signals

Work: TypeAlias = Callable[[socket.socket, Callable[[], object]], None]
"""Serves on a socket; calls the other thing when it does."""

_LONG_SECONDS = 60.0
"""A worker that ends before it has served so long has failed."""

_MAX_FAILURES = 3
"""Where nobody serves, and more workers in a row have failed in every place, no more are started."""

_SPAWN = multiprocessing.get_context("spawn")

_LOG = logging.getLogger(__name__)


def pause_seconds(failures: int) -> float:
    """How long a place stays empty after so many failures in a row: a second, then twice as long each time, to 64."""
    return 2.0 ** min(failures - 1, 6) if failures else 0.0


class _Worker:
    """A process that is to serve, or does. What it does it is handed by a pipe, which nobody else can read."""

    def __init__(self, work: Work, listener: socket.socket, now: Callable[[], float]) -> None:
        self._now = now
        self._serves_since: float | None = None
        self._pipe, its = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_serve, args=(listener, its))
        with its, _signals_held():
            self.process.start()
        # Arguments of a process are written to a pipe of which this one holds both ends: for ever, if that one has died
        # before it reads them. This fails then.
        self._pipe.send(work)

    @property
    def watched(self) -> list[Connection | int]:
        """What can be read when there is something to look at. Reads nothing itself: nobody would look at that."""
        return [self.process.sentinel, *([self._pipe] if self._serves_since is None else [])]

    def serves(self) -> bool:
        """Whether it has said that it does."""
        if self._serves_since is None and self._pipe.poll():
            with suppress(EOFError, OSError):  # it has ended
                self._pipe.recv_bytes()
                self._serves_since = self._now()
        return self._serves_since is not None

    def served_seconds(self) -> float:
        """How long it has served."""
        since = self._serves_since if self.serves() else None
        return 0.0 if since is None else self._now() - since

    def tell_end(self) -> None:
        """Have it end: at once if it does not serve yet, for it has accepted nothing, and would keep the port open."""
        if self.serves():
            self.process.terminate()
        else:
            self.process.kill()

    def see_end(self, seconds: float) -> None:
        """Wait for its end."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            _LOG.warning("A worker did not end in time and was killed.")
            self.process.kill()
            self.process.join()


@dataclass(slots=True)
class _Place:
    """Where one worker is at work, and then another: who, how many in a row have failed, and when the next starts."""

    worker: _Worker | None = None
    failures: int = 0
    due_at: float = 0.0


class Workers:
    """Keeps workers at work until this process is told to end, and then lets them end in good order.

    Args:
        listener: What all of them listen on.
        work: What each does, until it is told to end by SIGTERM. It goes to the worker's process by pickling.
        number: How many.
        end_seconds: A worker that takes longer to end is killed; one that does not serve yet, at once.
        now: Seconds that only grow.
        pause: How many seconds a place stays empty after so many failures in a row.
        ready: Is called when the first of them serves.
    """

    def __init__(
        self,
        listener: socket.socket,
        work: Work,
        number: int,
        *,
        end_seconds: float,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[int], float] = pause_seconds,
        ready: Callable[[], object] = lambda: None,
    ) -> None:
        self._listener = listener
        self._work = work
        self._end_seconds = end_seconds
        self._now = now
        self._pause = pause
        self._ready = ready
        self._places = [_Place(due_at=now()) for _ in range(number)]

    @property
    def _workers(self) -> list[_Worker]:
        return [place.worker for place in self._places if place.worker]

    def run(self) -> None:
        """Serve until this process is told to end.

        Raises:
            ConfigurationError: The workers do not come up.
        """
        with _told_to_end() as told:
            try:
                self._keep(told)
            finally:
                self._listener.close()
                self._end()

    def _keep(self, told: socket.socket) -> None:
        """Fill the places, again and again."""
        said_ready = False
        while not self._told(told):
            for place in self._places:
                if place.worker is None and place.due_at <= self._now():
                    self._fill(place)
                elif place.worker and (code := place.worker.process.exitcode) is not None:
                    _LOG.warning("A worker ended with exit code %s; another one takes its place.", code)
                    self._empty(place, place.worker.served_seconds())
            if self._are_served() and not said_ready:
                self._ready()
                said_ready = True

    def _told(self, told: socket.socket) -> bool:
        """Wait until something happened or is due; whether it is the end."""
        due = [place.due_at for place in self._places if place.worker is None]
        seconds = max(0.0, min(due) - self._now()) if due else None
        return told in wait([told, *(thing for one in self._workers for thing in one.watched)], seconds)

    def _are_served(self) -> bool:
        return True in [one.serves() for one in self._workers]  # each of them is asked, and what it said is read

    def _fill(self, place: _Place) -> None:
        try:
            place.worker = _Worker(self._work, self._listener, self._now)
        except OSError as error:
            _LOG.warning("A worker cannot be started (%s).", error.strerror)
            self._empty(place, 0.0)

    def _empty(self, place: _Place, served_seconds: float) -> None:
        place.worker = None
        place.failures = place.failures + 1 if served_seconds < _LONG_SECONDS else 0
        place.due_at = self._now() + self._pause(place.failures)
        if not self._are_served() and all(one.failures > _MAX_FAILURES for one in self._places):
            raise ConfigurationError("The workers end as soon as they have started; see what they logged.")

    def _end(self) -> None:
        for one in self._workers:
            one.tell_end()
        for one in self._workers:
            one.see_end(self._end_seconds)


def _serve(listener: socket.socket, pipe: Connection) -> None:
    """What a worker's process does."""
    try:
        work: Work = pipe.recv()
        work(listener, partial(pipe.send_bytes, b"."))
    except TokenwardError as error:
        _LOG.error("%s", error)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - else its message would be printed
        log_crash("a worker", error)
        sys.exit(1)


@contextmanager
def _signals_held() -> Generator[None]:
    """Have a process that starts keep signals until it hears them, and then end in good order; so does this one."""
    if sys.platform == "win32":
        yield
        return
    ensure_running()  # else the start of a worker starts it, and lets the signals go
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hear_signals() -> None:
    """Have a worker told now what it was told while it started."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ending_signals())


@contextmanager
def _told_to_end() -> Generator[socket.socket]:
    """A socket that can be read once this process was told to end."""
    told, tell = socket.socketpair()
    tell.setblocking(False)

    def handle(*_: object) -> None:
        tell.send(b".")

    before = {number: signal.signal(number, handle) for number in ending_signals()}
    try:
        with told, tell:
            yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
