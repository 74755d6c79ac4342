"""Clients of the legacy transport that do not read their stream."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message

from tests.server.http.test_sse import INITIALIZE
from tests.server.odd_server import odd_server
from tests.waiting import NET_SECONDS, StillClock, until
from tokenward.server.http.drain import Drain
from tokenward.server.http.sse import Bounds, sse_routes

pytestmark = pytest.mark.anyio


TIMEOUT_SECONDS = 600.0
"""How long a session may be unread in these tests. It passes by moving the clock."""


class Reader:
    """A client of the application itself, that takes events as long as it wants."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._events: list[str] = []
        self.leave = anyio.Event()
        self.reads = True
        self.kept = False
        self.left = False

    async def listen(self) -> None:
        """Open a session, until the server ends it, or this leaves."""

        async def receive() -> Message:
            await self.leave.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if not self.reads:
                self.kept = True
                await anyio.sleep_forever()
            self._events.append(message.get("body", b"").decode())

        await self.app(scope_of("GET", "/sse"), receive, send)
        self.left = True

    async def place(self) -> str:
        """Where to post."""

        async def named() -> bool:
            return "session_id=" in "".join(self._events)

        await until(named)
        return "".join(self._events).split("session_id=")[1].split()[0]

    async def post(self, message: object, session_id: str, statuses: list[int]) -> None:
        """Post a message; the status of the answer is told at once, for the server may go on with it."""
        bodies: Iterator[bytes] = iter([json.dumps(message).encode()])

        async def receive() -> Message:
            for body in bodies:
                return {"type": "http.request", "body": body, "more_body": False}
            await anyio.sleep_forever()
            raise AssertionError

        async def send(answer: Message) -> None:
            if "status" in answer:
                statuses.append(answer["status"])

        await self.app(scope_of("POST", "/messages/", f"session_id={session_id}"), receive, send)


def scope_of(method: str, path: str, query: str = "") -> dict[str, Any]:
    headers = [(b"content-type", b"application/json"), (b"host", b"localhost")]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": query.encode(),
        "headers": headers,
    }


@contextmanager
def opened(max_concurrency: int) -> Generator[Reader]:
    bounds = Bounds(Drain(), 10_000, max_concurrency, TIMEOUT_SECONDS)
    yield Reader(Starlette(routes=sse_routes(odd_server(), bounds)))


async def test_a_session_that_does_not_read_takes_a_part_of_the_places(caplog: pytest.LogCaptureFixture) -> None:
    with opened(8) as slow, anyio.fail_after(NET_SECONDS):
        other = Reader(slow.app)
        async with anyio.create_task_group() as group:
            for one in (slow, other):
                group.start_soon(one.listen)
            statuses: dict[Reader, list[int]] = {slow: [], other: []}
            places = {one: await one.place() for one in (slow, other)}
            slow.reads = False
            for one in (slow, other):
                await one.post(INITIALIZE, places[one], statuses[one])

            async def turned_away() -> bool:
                group.start_soon(slow.post, {**INITIALIZE, "id": len(statuses[slow])}, places[slow], statuses[slow])
                return 429 in statuses[slow]

            await until(turned_away)
            await other.post({**INITIALIZE, "id": 2}, places[other], statuses[other])
            assert statuses[other] == [202, 202]
            for one in (slow, other):
                one.leave.set()
    assert slow.left
    assert not [one for one in caplog.records if one.exc_info]


async def test_a_session_that_does_not_read_is_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(64) as slow:
        async with anyio.create_task_group() as group:
            group.start_soon(slow.listen)
            place = await slow.place()
            slow.reads = False
            statuses: list[int] = []
            for number in range(4):
                group.start_soon(slow.post, {**INITIALIZE, "id": number}, place, statuses)

            async def kept() -> bool:
                return slow.kept and len(statuses) == 4

            await until(kept)
            assert not slow.left
            # In steps: an answer may wait to be written only after some of them.
            clock = StillClock(monkeypatch)
            start = clock.now

            def has_left() -> bool:
                clock.pass_seconds(1)
                return slow.left

            await clock.until(has_left)
            assert clock.now - start > TIMEOUT_SECONDS / 2
    assert slow.left
    assert not [one for one in caplog.records if one.exc_info]
