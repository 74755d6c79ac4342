"""Several processes that serve one port, and the one that looks after them."""

import logging
import multiprocessing
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.resource_tracker import ensure_running
from typing import TypeAlias

from tokenward.engine.errors import ConfigurationError

Work: TypeAlias = Callable[[socket.socket, Callable[[], object]], None]
"""Serves on a socket; calls the other thing when it does."""

_EARLY_SECONDS = 5.0
_MAX_FAILURES = 3
"""A worker that ends early is started again, but not more often than so many times in a row."""
_ROW_SECONDS = 60.0
"""What ended longer ago is of another row."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_SPAWN = multiprocessing.get_context("spawn")

_LOG = logging.getLogger(__name__)


class Workers:
    """Keeps workers at work until this process is told to end, and then lets them end in good order.

    Args:
        listener: What all of them listen on.
        work: What each does, until it is told to end by SIGTERM. It goes to the worker's process by pickling.
        number: How many.
        end_seconds: A worker that takes longer to end is killed.
        now: Seconds that only grow.
        restart_seconds: How long the place of a worker that ended early stays empty.
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
        restart_seconds: float = 1.0,
        ready: Callable[[], object] = lambda: None,
    ) -> None:
        self._listener = listener
        self._work = work
        self._number = number
        self._end_seconds = end_seconds
        self._now = now
        self._restart_seconds = restart_seconds
        self._ready = ready
        self._serving, self._tell_serving = _SPAWN.Pipe(duplex=False)
        self._processes: list[SpawnProcess] = []
        self._started_at: dict[int, float] = {}

    def run(self) -> None:
        """Serve until this process is told to end.

        Raises:
            ConfigurationError: The workers do not come up.
        """
        with _told_to_end() as told:
            try:
                self._processes = [self._started() for _ in range(self._number)]
                self._keep(told)
            finally:
                self._listener.close()
                self._end()

    def _started(self) -> SpawnProcess:
        process = _SPAWN.Process(target=_serve, args=(self._work, self._listener, self._tell_serving))
        with _signals_held():
            process.start()
        self._started_at[process.sentinel] = self._now()
        return process

    def _keep(self, told: socket.socket) -> None:
        """Replace workers that end by themselves, but not for ever those that cannot even start."""
        failures = served = 0
        ended_at = self._now()
        while told not in (come := wait([told, self._serving, *(one.sentinel for one in self._processes)])):
            if self._serving in come:
                self._serving.recv_bytes()
                served += 1
                if served == 1:
                    self._ready()
            for place, one in enumerate(self._processes):
                if one.exitcode is None:
                    continue
                _LOG.warning("A worker ended with exit code %s; another one takes its place.", one.exitcode)
                ended_before, ended_at = ended_at, self._now()
                early = ended_at - self._started_at.pop(one.sentinel) < _EARLY_SECONDS
                failures = (failures if ended_at - ended_before < _ROW_SECONDS else 0) + 1 if early else 0
                if failures > _MAX_FAILURES * self._number:
                    raise ConfigurationError("The workers end as soon as they have started; see what they logged.")
                if early and wait([told], self._restart_seconds):
                    return
                self._processes[place] = self._started()

    def _end(self) -> None:
        for one in self._processes:
            one.terminate()
        for one in self._processes:
            one.join(self._end_seconds)
            if one.exitcode is None:
                _LOG.warning("A worker did not end in time and was killed.")
                one.kill()
                one.join()


def _serve(work: Work, listener: socket.socket, serving: Connection) -> None:
    work(listener, partial(serving.send_bytes, b"."))


@contextmanager
def _signals_held() -> Generator[None]:
    """Have a process that starts keep signals until it hears them, and then end in good order; so does this one."""
    if sys.platform == "win32":
        yield
        return
    ensure_running()  # else the start of a worker starts it, and lets the signals go
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hear_signals() -> None:
    """Have a worker told now what it was told while it started."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


@contextmanager
def _told_to_end() -> Generator[socket.socket]:
    """A socket that can be read once this process was told to end."""
    told, tell = socket.socketpair()
    tell.setblocking(False)

    def handle(*_: object) -> None:
        tell.send(b".")

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        with told, tell:
            yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
