"""The end of the server: what was accepted is answered, and streams do not hold it up."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial

import anyio
import httpx2
import pytest

from tests.server.http.serving import HEADERS, Protocol, Served, call, next_data, serving, settings_for
from tests.server.http.sleepers import Sleepers, listen, nap
from tests.server.test_stdio import ENVIRONMENT
from tests.waiting import NET_SECONDS, pass_seconds, until
from tokenward.server.http import serve
from tokenward.server.http.drain import Drain
from tokenward.server.http.serve import Server

pytestmark = pytest.mark.anyio

PROTOCOLS = pytest.mark.parametrize("protocol", ["httptools", "h11"])


async def _is_refused(served: Served) -> bool:
    """Whether connections are no longer taken."""
    try:
        await (await served.connected()).aclose()
    except OSError:
        return True
    return False


@PROTOCOLS
@pytest.mark.parametrize("in_newest", [False, True])
@pytest.mark.parametrize("follows", [False, True])
async def test_work_in_progress_is_answered(protocol: Protocol, in_newest: bool, follows: bool) -> None:
    sleepers = Sleepers()
    answers: list[httpx2.Response] = []
    message, headers = nap(token="t" if follows else None, in_newest=in_newest)
    async with serving(server=sleepers.server, protocol=protocol) as served:

        async def ask() -> None:
            answers.append(await served.post(message, **headers))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await sleepers.are(1)
            served.stop()
            await served.drain.wait()
            sleepers.wake.set()
    assert sleepers.ended == ["woken"]
    assert '"result"' in answers[0].text


@PROTOCOLS
async def test_what_is_on_its_way_is_answered_and_told_that_the_connection_ends(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "_LINGER_SECONDS", NET_SECONDS)
    async with serving(protocol=protocol) as served:
        stream = await served.connected()
        served.stop()
        await served.drain.wait()
        async with stream:
            await stream.send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b"".join([chunk async for chunk in stream])
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"connection: close" in answer
        assert b'{"status":"ending"}' in answer
        await until(partial(_is_refused, served))
        pass_seconds(NET_SECONDS, monkeypatch)


@PROTOCOLS
@pytest.mark.parametrize("in_newest", [False, True])
@pytest.mark.parametrize("follows", [False, True])
async def test_work_that_takes_too_long_is_ended_and_its_client_told(
    protocol: Protocol, in_newest: bool, follows: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sleepers = Sleepers()
    answers: list[httpx2.Response] = []
    message, headers = nap(token="t" if follows else None, in_newest=in_newest)
    async with serving(settings_for(drain_seconds=0), server=sleepers.server, protocol=protocol) as served:

        async def ask() -> None:
            answers.append(await served.post(message, **headers))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await sleepers.are(1)
            served.stop()
    assert sleepers.ended == ["cancelled"]
    if follows:  # the answer has begun before; it ends without the result
        assert '"result"' not in answers[0].text
    else:
        assert (answers[0].status_code, answers[0].headers["retry-after"]) == (503, "1")
        assert "idempotency_key" in answers[0].json()["error"]["message"]
    assert not [one for one in caplog.records if one.exc_info or one.levelname == "ERROR"]


async def test_work_may_go_on_for_the_time_of_the_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    sleepers = Sleepers()
    answers: list[httpx2.Response] = []
    # Less than a request may take.
    settings = settings_for(drain_seconds=6_000, request_timeout_seconds=60_000)
    async with serving(settings, server=sleepers.server) as served:

        async def ask() -> None:
            answers.append(await served.post(call("sleep")))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await sleepers.are(1)
            served.stop()
            await served.drain.wait()
            pass_seconds(5_000, monkeypatch)
            await until(partial(_is_refused, served))
            assert (sleepers.asleep, served.drain.over) == (1, False)
            pass_seconds(1_000, monkeypatch)
    assert sleepers.ended == ["cancelled"]
    assert answers[0].status_code == 503


@PROTOCOLS
async def test_streams_end_with_the_server(protocol: Protocol) -> None:
    message, headers = listen()
    # Shorter than the server waits for work in progress.
    with anyio.fail_after(NET_SECONDS):
        async with (
            serving(settings_for(drain_seconds=600), protocol=protocol) as served,
            served.client.stream("POST", "/mcp", json=message, headers={**HEADERS, **headers}) as stream,
        ):
            lines = stream.aiter_lines()
            assert "acknowledged" in await next_data(lines)
            served.stop()
            rest = [one async for one in lines if one and not one.startswith(":")]
    assert rest == []


def test_a_process_that_cannot_end_is_left(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A store that does not answer keeps it as little as its calls do."""
    left: list[tuple[float, int]] = []

    class Timer:
        def __init__(self, seconds: float, leave: Callable[[], None]) -> None:
            self.daemon = False
            self._seconds = seconds
            self._leave = leave

        def start(self) -> None:
            assert self.daemon  # else a process that ends in good order would wait for it

            def leave(code: int) -> None:
                left.append((self._seconds, code))

            monkeypatch.setattr(os, "_exit", leave)
            self._leave()

    async def app(*_: object) -> None:
        """Is never called."""

    server = Server(app, Drain(), 3)
    monkeypatch.setattr(serve, "_SAY_SECONDS", NET_SECONDS)
    monkeypatch.setattr(threading, "Timer", Timer)
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    assert len(left) == 1
    seconds, code = left[0]
    assert 3 < seconds < 13
    assert code == 0
    assert "did not end in time" in caplog.text


UNHEARD = """
import logging, threading
from tokenward.server.http.serve import _leave
handler = logging.StreamHandler()
logging.getLogger().addHandler(handler)
handler.acquire()  # as who writes to a pipe that is full
threading.Thread(target=_leave).start()
threading.Event().wait()
"""


ENDING = """
import threading
from tokenward.server.http.serve import _leave
stuck = threading.Thread(target=threading.Event().wait)  # as the connection of a store that does not close
stuck.start()
last_resort = threading.Timer(1.0, _leave)
last_resort.daemon = True
last_resort.start()
"""


def test_a_thread_that_does_not_end_does_not_keep_the_process() -> None:
    """Not even when the interpreter has begun to end, and starts no more threads."""
    command = [sys.executable, "-c", ENDING]
    assert subprocess.run(command, check=False, env=ENVIRONMENT, timeout=NET_SECONDS).returncode == 0


def test_a_log_that_nobody_reads_does_not_keep_the_process() -> None:
    command = [sys.executable, "-c", UNHEARD]
    assert subprocess.run(command, check=False, env=ENVIRONMENT, timeout=NET_SECONDS).returncode == 0
