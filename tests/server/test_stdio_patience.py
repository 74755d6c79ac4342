"""How long the server on standard input and output waits for what at its end, on a clock that only the test moves."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
import pytest

from tests.server.http.sleepers import Sleepers
from tests.server.odd_server import odd_server
from tests.server.test_stdio import HANDSHAKE, call
from tests.waiting import StillClock, settled
from tokenward.engine.types import JsonObject
from tokenward.server.stdio import serve_handles
from tokenward.server.strict import StrictServer

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")]


@dataclass
class Wire:
    """A server in this process, at the other ends of two pipes."""

    clock: StillClock
    sink: int
    source: int
    ended: bool = False
    output: bytes = b""
    answers: list[JsonObject] = field(default_factory=list[JsonObject])

    def send(self, *lines: bytes) -> None:
        os.write(self.sink, b"".join(lines))

    def heard(self) -> bool:
        """Take what there is to read."""
        try:
            while chunk := os.read(self.source, 2**16):
                self.output += chunk
        except BlockingIOError:
            pass
        *whole, self.output = self.output.split(b"\n")
        self.answers += map(json.loads, whole)
        return bool(whole)

    def close(self) -> None:
        """Say that nothing more comes."""
        if self.sink >= 0:
            os.close(self.sink)
        self.sink = -1

    async def ends(self) -> None:
        """Wait until the server has ended; the steps of the clock are for what it closes."""

        def has_ended() -> bool:
            self.clock.pass_seconds(0.001)
            return self.ended

        await self.clock.until(has_ended)


@asynccontextmanager
async def served(server: StrictServer, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Wire]:
    (inward, sink), (source, outward) = os.pipe(), os.pipe()
    os.set_blocking(source, False)
    wire = Wire(StillClock(monkeypatch), sink, source)

    async def serve() -> None:
        await serve_handles(server, inward, outward)
        wire.ended = True

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(serve)
            wire.send(HANDSHAKE)
            await wire.clock.until(wire.heard)
            yield wire
    finally:
        for number, handler in before.items():
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, handler)
        os.close(source)
        wire.close()


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("tell", [terminate, interrupt])
async def test_a_call_that_is_done_in_time_is_answered_before_the_end(
    tell: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sleepers = Sleepers()
    async with served(sleepers.server, monkeypatch) as wire:
        wire.send(call(1, "sleep"))
        await wire.clock.until(lambda: sleepers.asleep == 1)
        tell()
        await settled()
        sleepers.wake.set()
        await wire.clock.until(wire.heard)
        await wire.ends()
    assert sleepers.ended == ["woken"]
    assert "result" in wire.answers[1]


@pytest.mark.parametrize("tell", [terminate, interrupt])
async def test_a_call_that_never_ends_is_given_up_within_a_second(
    tell: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sleepers = Sleepers()
    async with served(sleepers.server, monkeypatch) as wire:
        wire.send(call(1, "sleep"))
        await wire.clock.until(lambda: sleepers.asleep == 1)
        start = wire.clock.now
        tell()
        await settled()
        assert sleepers.ended == []
        await wire.ends()
        assert wire.clock.now - start < 1.0
        assert wire.heard()
    assert sleepers.ended == ["cancelled"]
    assert "error" in wire.answers[1]


async def test_after_the_end_of_input_calls_have_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    sleepers = Sleepers()
    async with served(sleepers.server, monkeypatch) as wire:
        wire.send(call(1, "sleep"))
        await wire.clock.until(lambda: sleepers.asleep == 1)
        wire.close()
        await settled()
        wire.clock.pass_seconds(29)
        await settled()
        assert sleepers.ended == []
        wire.clock.pass_seconds(1)
        await wire.ends()
    assert sleepers.ended == ["cancelled"]


async def test_a_client_that_does_not_read_is_given_up_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(odd_server(), monkeypatch) as wire:
        os.set_blocking(wire.sink, False)
        lines = memoryview(b"".join(call(number, "echo", text="x" * 90) for number in range(1, 3_000)))
        with suppress(BlockingIOError):
            while lines:
                lines = lines[os.write(wire.sink, lines) :]
        await settled()
        start = wire.clock.now
        terminate()
        await wire.ends()
        assert wire.clock.now - start < 1.0
