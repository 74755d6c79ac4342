"""The process that looks after workers: whom it replaces, when it gives up, and how it ends."""

import errno
import itertools
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from functools import partial
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from tests.server.http import toilers
from tests.waiting import NET_SECONDS, wait_until
from tokenward.engine.errors import ConfigurationError
from tokenward.server.ending import ending_signals
from tokenward.server.http import workers
from tokenward.server.http.workers import Work, Workers, pause_seconds

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")

NEVER = 1_000_000.0


@pytest.fixture
def listener() -> Generator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


class Pauses:
    """The pauses that were asked for; nobody waits for them. After so many the process is told to end."""

    def __init__(self, most: int = 1_000) -> None:
        self.after: list[int] = []
        self._most = most

    def __call__(self, failures: int) -> float:
        self.after.append(failures)
        if len(self.after) == self._most:
            signal.raise_signal(signal.SIGTERM)
        return 0.0


@pytest.mark.parametrize("step", [0, 10, 3_600], ids=lambda step: f"each moment {step} s later")
def test_workers_that_cannot_start_are_not_started_for_ever(listener: socket.socket, step: int) -> None:
    """However long a start takes."""
    pauses = Pauses()
    with pytest.raises(ConfigurationError, match="as soon as they have started"):
        Workers(listener, toilers.fail, 1, end_seconds=5, now=itertools.count(0, step).__next__, pause=pauses).run()
    assert pauses.after == [1, 2, 3, 4]


def test_so_are_those_that_end_soon_after_they_served(listener: socket.socket) -> None:
    pauses = Pauses()
    with pytest.raises(ConfigurationError, match="as soon as they have started"):
        Workers(listener, toilers.serve_and_end, 1, end_seconds=5, now=lambda: 0, pause=pauses).run()
    assert pauses.after == [1, 2, 3, 4]


def test_workers_that_end_now_and_then_are_replaced_at_once(listener: socket.socket) -> None:
    """Each has served for an hour."""
    pauses = Pauses(most=8)
    now = itertools.count(0, 3_600).__next__
    Workers(listener, toilers.serve_and_end, 1, end_seconds=5, now=now, pause=pauses).run()
    assert pauses.after == [0] * 8


def test_nobody_gives_up_while_a_worker_serves(listener: socket.socket, tmp_path: Path) -> None:
    """Though as many have failed before it."""
    pauses = Pauses(most=9)
    work = partial(toilers.serve_as_sixth, tmp_path)
    Workers(listener, work, 2, end_seconds=NEVER, pause=pauses, ready=(tmp_path / "ready").touch).run()
    assert pauses.after == [1, 2, 3, 4, 1, 2, 3, 4, 5]


def test_pauses_grow_to_a_minute() -> None:
    assert [pause_seconds(failures) for failures in range(8)] == [0, 1, 2, 4, 8, 16, 32, 64]
    assert pause_seconds(10_000) == 64


def test_places_stay_empty_so_long(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    now, started_at, start = [0.0], list[float](), SpawnProcess.start

    def started(process: SpawnProcess) -> None:
        started_at.append(now[0])
        start(process)

    def waited(things: list[Connection | socket.socket | int], seconds: float | None) -> list[object]:
        now[0] += seconds or 0
        return [*connection.wait(things, seconds and 0)]

    monkeypatch.setattr(SpawnProcess, "start", started)
    monkeypatch.setattr(workers, "wait", waited)
    with pytest.raises(ConfigurationError):
        Workers(listener, toilers.fail, 1, end_seconds=5, now=lambda: now[0]).run()
    assert started_at == [0, 1, 1 + 2, 1 + 2 + 4]


def test_a_process_that_cannot_be_made_is_a_failure_too(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_process(_: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    pauses = Pauses()
    monkeypatch.setattr(SpawnProcess, "start", no_process)
    with pytest.raises(ConfigurationError):
        Workers(listener, toilers.fail, 1, end_seconds=5, pause=pauses).run()
    assert pauses.after == [1, 2, 3, 4]
    assert "A worker cannot be started (Resource temporarily unavailable)." in caplog.messages


def test_one_that_dies_before_it_has_read_its_work_is_not_waited_for(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings may be longer than what a pipe holds."""
    work = partial(toilers.serve_as_first, Path("x" * 2_000_000))
    monkeypatch.setattr(workers, "_serve", toilers.die_at_once)
    with pytest.raises(ConfigurationError):
        Workers(listener, work, 1, end_seconds=5, pause=Pauses()).run()


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (toilers.raise_with_a_text, "Internal error in a worker (ValueError)"),
        (toilers.refuse, "The settings are unusable. Mend them."),
    ],
)
def test_why_a_worker_ends_is_logged_and_nothing_else(
    listener: socket.socket, work: Work, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Never what an error says that is not ours: it may quote a user."""
    with pytest.raises(ConfigurationError):
        Workers(listener, work, 1, end_seconds=5, pause=Pauses()).run()
    assert capfd.readouterr().err.splitlines() == [said] * 4


def told_when(holds: Callable[[], bool]) -> threading.Thread:
    def tell() -> None:
        try:
            wait_until(holds)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=tell)
    thread.start()
    return thread


def test_the_end_does_not_wait_for_workers_that_still_start(
    listener: socket.socket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ready = threading.Event()
    teller = told_when(lambda: ready.is_set() and (tmp_path / "hangs").exists())
    work = partial(toilers.serve_as_first_or_hang, tmp_path)
    Workers(listener, work, 2, end_seconds=NEVER, ready=ready.set).run()
    teller.join(NET_SECONDS)
    assert caplog.messages == []


def test_one_that_serves_before_the_others_have_started_is_heard(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places, start = itertools.count(), SpawnProcess.start

    def started(process: SpawnProcess) -> None:
        if next(places):
            wait_until((tmp_path / "said").exists)
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", started)
    work = partial(toilers.serve_as_first_or_hang, tmp_path)
    tell = partial(os.kill, os.getpid(), signal.SIGTERM)
    Workers(listener, work, 2, end_seconds=NEVER, ready=tell).run()


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_each_signal_of_the_end_is_one(listener: socket.socket, tmp_path: Path, number: str) -> None:
    work = partial(toilers.serve_as_first, tmp_path)
    ready = partial(os.kill, os.getpid(), signal.Signals[number])
    Workers(listener, work, 1, end_seconds=NEVER, ready=ready).run()
    assert (tmp_path / "ended well").exists()


def test_a_hang_up_that_is_to_be_ignored_is_ignored() -> None:
    """As ``nohup`` asks; what was set before comes back after each test."""
    assert signal.SIGHUP in ending_signals()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert signal.SIGHUP not in ending_signals()
