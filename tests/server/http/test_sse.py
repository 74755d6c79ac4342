"""The legacy transport: a stream of events, and messages that are posted."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp import ClientSession
from mcp.client.sse import sse_client

from tests.server.http.serving import Protocol, Served, call, next_data, serving, settings_for
from tests.server.http.sleepers import Sleepers
from tests.server.odd_server import SECRET
from tests.waiting import NET_SECONDS, pass_seconds

pytestmark = pytest.mark.anyio

PROTOCOLS = pytest.mark.parametrize("protocol", ["httptools", "h11"])
PATIENT = settings_for(sse=True, drain_seconds=600)
"""A server that waits longer for the last answers than a test may take: who ends with it has not used that up."""

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


@asynccontextmanager
async def session(served: Served) -> AsyncGenerator[tuple[str, AsyncIterator[str]]]:
    """Where to post, and the lines of the stream, of a session that is initialized."""
    async with served.client.stream("GET", "/sse") as stream:
        lines = stream.aiter_lines()
        path = (await next_data(lines)).removeprefix("data: ")
        assert (await served.post(INITIALIZE, path)).status_code == 202
        assert "serverInfo" in await next_data(lines)
        await served.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, path)
        yield path, lines


async def rest(lines: AsyncIterator[str]) -> list[str]:
    """What else a stream brings until it ends, but for comments that keep it alive."""
    return [one async for one in lines if one and not one.startswith(":")]


async def answer(lines: AsyncIterator[str]) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads((await next_data(lines)).removeprefix("data: "))
        if "id" in message:
            return message


@PROTOCOLS
async def test_a_client_is_served(protocol: Protocol) -> None:
    async with (
        serving(settings_for(sse=True), protocol=protocol) as served,
        sse_client(f"http://127.0.0.1:{served.port}/sse", timeout=NET_SECONDS) as (read, write),
        ClientSession(read, write) as client,
    ):
        await client.initialize()
        result = await client.call_tool("echo", {"text": "hi"})
        assert result.structured_content == {"length": 2, "text": "hi"}


async def test_sessions_are_apart() -> None:
    async with (
        serving(settings_for(sse=True)) as served,
        session(served) as (path, lines),
        session(served) as (other_path, other_lines),
    ):
        await served.post(call("echo", text="one"), path)
        await served.post(call("echo", text="other"), other_path)
        assert (await answer(lines))["result"]["structuredContent"]["text"] == "one"
        assert (await answer(other_lines))["result"]["structuredContent"]["text"] == "other"


@PROTOCOLS
async def test_calls_in_progress_are_answered_before_the_end(protocol: Protocol) -> None:
    sleepers = Sleepers()
    with anyio.fail_after(NET_SECONDS):
        async with (
            serving(PATIENT, server=sleepers.server, protocol=protocol) as served,
            session(served) as (path, lines),
        ):
            await served.post(call("sleep"), path)
            await sleepers.are(1)
            served.stop()
            await served.drain.wait()
            sleepers.wake.set()
            assert (await answer(lines))["result"]["structuredContent"] == {"length": 0, "text": None}
            assert await rest(lines) == []


@PROTOCOLS
async def test_an_idle_session_does_not_hold_up_the_end(protocol: Protocol) -> None:
    with anyio.fail_after(NET_SECONDS):
        async with serving(PATIENT, protocol=protocol) as served, session(served) as (_, lines):
            served.stop()
            assert await rest(lines) == []


async def test_a_call_ends_when_its_client_leaves_or_cancels_it() -> None:
    sleepers = Sleepers()
    async with serving(settings_for(sse=True), server=sleepers.server) as served:
        async with session(served) as (path, _):
            await served.post(call("sleep"), path)
            await sleepers.are(1)
            cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
            await served.post(cancel, path)
            await sleepers.are(0)
            await served.post(call("sleep", request_id=2), path)
            await sleepers.are(1)
        await sleepers.are(0)
    assert sleepers.ended == ["cancelled"] * 2


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/messages/", 400),
        ("/messages/?session_id=x", 400),
        ("/messages/?session_id=00000000000000000000000000000000", 404),
    ],
)
async def test_messages_need_a_session(path: str, expected: int) -> None:
    async with serving(settings_for(sse=True)) as served:
        assert (await served.post(call("echo", text="x"), path)).status_code == expected


async def test_what_is_no_message_is_refused_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(settings_for(sse=True)) as served, session(served) as (path, lines):
        for body in (b"{", json.dumps({"text": SECRET}).encode(), b"[]", b"\xff"):
            assert (await served.post(body, path)).status_code == 400
        # The session goes on.
        await served.post(call("echo", text="x"), path)
        assert (await answer(lines))["result"]["structuredContent"]["text"] == "x"
    assert SECRET not in caplog.text


async def test_streams_have_a_number() -> None:
    async with serving(settings_for(sse=True, max_concurrency=1)) as served, session(served):
        assert (await served.client.get("/sse")).status_code == 503


async def test_a_call_that_takes_too_long_is_ended_and_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    sleepers = Sleepers()
    settings = settings_for(sse=True, request_timeout_seconds=30)
    async with serving(settings, server=sleepers.server) as served, session(served) as (path, lines):
        await served.post(call("sleep"), path)
        await sleepers.are(1)
        pass_seconds(30, monkeypatch)
        assert (await answer(lines))["error"]["message"].startswith("The request took too long")
        await sleepers.are(0)
        assert sleepers.ended == ["cancelled"]


async def test_a_session_has_a_number_of_calls_at_work() -> None:
    sleepers = Sleepers()
    settings = settings_for(sse=True, max_concurrency=2)
    async with serving(settings, server=sleepers.server) as served, session(served) as (path, lines):
        for number in (1, 2, 3):
            await served.post(call("sleep", request_id=number), path)
        await sleepers.are(2)
        sleepers.wake.set()
        assert {(await answer(lines))["id"] for _ in range(3)} == {1, 2, 3}
