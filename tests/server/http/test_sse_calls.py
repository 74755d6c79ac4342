"""The calls of the legacy transport: their number, their ids, their ends."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from tests.server.http.serving import call, next_data, serving, settings_for
from tests.server.http.sleepers import Sleepers
from tests.server.http.test_sse import answer, rest, session
from tests.waiting import NET_SECONDS, pass_seconds
from tokenward.engine.types import JsonValue
from tokenward.server.http import serve
from tokenward.server.strict import StrictServer

pytestmark = pytest.mark.anyio


def cancellation(request_id: JsonValue) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}


async def refused(lines: AsyncIterator[str], request_id: int | str) -> str:
    said = await answer(lines)
    assert said["id"] == request_id
    return str(said["error"]["message"])


async def test_calls_of_all_sessions_share_the_places() -> None:
    sleepers = Sleepers()
    settings = settings_for(sse=True, max_concurrency=2)
    async with (
        serving(settings, server=sleepers.server) as served,
        session(served) as (path, lines),
        session(served) as (other_path, other_lines),
    ):
        await served.post(call("sleep", request_id=1), path)
        await served.post(call("sleep", request_id=1), other_path)
        await sleepers.are(2)
        await served.post(call("sleep", request_id=2), path)
        assert "Come again" in await refused(lines, 2)
        # Who is full is still heard: a call that is cancelled, under whatever name, gives its place back.
        await served.post(cancellation("1"), path)
        await sleepers.are(1)
        await served.post(call("sleep", request_id=3), path)
        await sleepers.are(2)
        sleepers.wake.set()
        assert (await answer(lines))["id"] == 3
        assert (await answer(other_lines))["id"] == 1


async def test_what_cancels_nothing_gives_no_place_back() -> None:
    sleepers = Sleepers()
    settings = settings_for(sse=True, max_concurrency=2)
    async with serving(settings, server=sleepers.server) as served, session(served) as (path, lines):
        for number in (1, 2):
            await served.post({**call("sleep"), "id": f"[{number}]"}, path)
        await sleepers.are(2)
        await served.post(cancellation([1]), path)
        await served.post(call("sleep", request_id=3), path)
        assert "Come again" in await refused(lines, 3)
        assert sleepers.asleep == 2
        # So are a call's time and its answer still its own.
        sleepers.wake.set()
        assert {(await answer(lines))["id"] for _ in range(2)} == {"[1]", "[2]"}


async def test_a_session_that_ends_gives_its_places_back() -> None:
    sleepers = Sleepers()
    async with serving(settings_for(sse=True, max_concurrency=2), server=sleepers.server) as served:
        for _ in range(3):
            async with session(served) as (path, _):
                for number in (1, 2):
                    await served.post(call("sleep", request_id=number), path)
                await sleepers.are(2)
            await sleepers.are(0)
    assert sleepers.ended == ["cancelled"] * 6


@pytest.mark.parametrize("again", [1, "1"])
async def test_an_id_that_is_open_is_refused(again: int | str) -> None:
    sleepers = Sleepers()
    async with serving(settings_for(sse=True), server=sleepers.server) as served, session(served) as (path, lines):
        await served.post(call("sleep"), path)
        await sleepers.are(1)
        await served.post({**call("sleep"), "id": again}, path)
        assert "still open" in await refused(lines, again)
        assert sleepers.asleep == 1
        sleepers.wake.set()
        assert "result" in await answer(lines)
        await served.post(call("sleep"), path)
        assert "result" in await answer(lines)


async def test_all_that_was_accepted_is_answered_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_LINGER_SECONDS", NET_SECONDS)
    sleepers = Sleepers()
    settings = settings_for(sse=True, max_concurrency=3, drain_seconds=600, request_timeout_seconds=600)
    async with serving(settings, server=sleepers.server) as served, session(served) as (path, lines):
        for number in (1, 2):
            await served.post(call("sleep", request_id=number), path)
        await sleepers.are(2)
        served.stop()
        await served.drain.wait()
        assert (await served.post(call("sleep", request_id=3), path)).status_code == 202
        await sleepers.are(3)
        pass_seconds(NET_SECONDS, monkeypatch)
        sleepers.wake.set()
        assert {(await answer(lines))["id"] for _ in range(3)} == {1, 2, 3}


async def test_messages_that_wait_when_their_session_ends_are_no_error(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave = anyio.Event()

    async def hear_one(
        _self: StrictServer,
        incoming: MemoryObjectReceiveStream[SessionMessage | Exception],
        _outgoing: MemoryObjectSendStream[SessionMessage],
    ) -> None:
        await incoming.receive()
        await leave.wait()

    monkeypatch.setattr(StrictServer, "serve_streams", hear_one)
    async with serving(settings_for(sse=True)) as served, served.client.stream("GET", "/sse") as stream:
        lines = stream.aiter_lines()
        path = (await next_data(lines)).removeprefix("data: ")
        for number in range(3):
            assert (await served.post(call("echo", request_id=number, text="x"), path)).status_code == 202
        leave.set()
        assert await rest(lines) == []
    assert "Error" not in caplog.text


@pytest.mark.parametrize("session_id", ["x%0aERROR+forged", "%7B00000000-0000-0000-0000-000000000000%7D", "A" * 32])
async def test_an_id_of_a_session_that_is_none_is_refused_and_not_logged(
    session_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(settings_for(sse=True)) as served:
        response = await served.post(call("echo", text="x"), f"/messages/?session_id={session_id}")
    assert response.status_code == 400
    assert caplog.text == ""
