"""Waiting for what happens beside a test, and passing time that nobody has to wait for.

The seconds that a wait may take are a net against hanging, never what is tested.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

NET_SECONDS = 60.0


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = NET_SECONDS) -> None:
    """Ask again and again until something holds; an error if it does not in time."""
    with anyio.fail_after(seconds):
        while not await holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await anyio.sleep(0.01)


def wait_until(holds: Callable[[], bool], seconds: float = NET_SECONDS) -> None:
    """As :func:`until`, where no event loop runs."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.02)


def pass_seconds(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the event loop's clock, which deadlines are set on, forward."""
    loop = asyncio.get_running_loop()
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + seconds)


async def settled() -> None:
    """Let all tasks do what they can do without time, a few messages over loopback or pipes included."""
    for _ in range(100):
        await anyio.lowlevel.checkpoint()


class StillClock:
    """The event loop's clock, standing still: only a test moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: self.now)

    def pass_seconds(self, seconds: float) -> None:
        """Move it."""
        self.now += seconds

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what needs no time of this clock."""
        deadline = time.monotonic() + NET_SECONDS
        while not holds():
            assert time.monotonic() < deadline, "what was waited for did not come"
            await anyio.lowlevel.checkpoint()
