"""Signals that come early: what was said to listen answers, and ends in good order."""

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.server.http.test_serve import ended, started
from tests.waiting import NET_SECONDS
from tokenward.server.http.workers import Workers, hear_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("workers", [1, 2])
def test_who_connects_when_it_listens_is_answered_whatever_comes_then(
    workers: int, number: str, tmp_path: Path
) -> None:
    with started(f"sqlite:///{tmp_path}/ledger.db", "--workers", str(workers)) as (process, url):
        place = urlsplit(url)
        with socket.create_connection((place.hostname or "", place.port or 0), timeout=NET_SECONDS) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            process.send_signal(signal.Signals[number])
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
            assert ended(process) == (0, "")


def _told_before_it_hears(_: socket.socket, ready: Callable[[], object]) -> None:
    """A worker that is slow to start: its end is asked for before it has said how it ends."""
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    heard: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: heard.append(number))
    hear_signals()
    if sorted(heard) == sorted((signal.SIGTERM, signal.SIGINT)):
        ready()
    signal.pause()


def test_workers_keep_signals_until_they_hear_them() -> None:
    said: list[str] = []

    def ready() -> None:
        said.append("ready")
        os.kill(os.getpid(), signal.SIGTERM)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Workers(listener, _told_before_it_hears, 1, end_seconds=0.1, ready=ready).run()
    assert said == ["ready"]
