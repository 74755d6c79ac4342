"""What one request may take: length, time, and how many there are at once."""

import json
from functools import partial

import anyio
import httpx2
import pytest

from tests.server.http.serving import HEADERS, Protocol, Served, call, next_data, serving, settings_for
from tests.server.http.sleepers import Sleepers, listen, nap
from tests.server.odd_server import SECRET
from tests.waiting import NET_SECONDS, pass_seconds, settled, until
from tokenward.server.http import exchange, health
from tokenward.server.http.endpoint import McpEndpoint
from tokenward.server.http.shared import SharedContext
from tokenward.server.settings import Settings

pytestmark = pytest.mark.anyio

PROTOCOLS = pytest.mark.parametrize("protocol", ["httptools", "h11"])
POST = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
SECONDS = 30.0
"""What a request may take in these tests. It passes by moving the clock."""


async def given_up(
    served: Served, sleepers: Sleepers, monkeypatch: pytest.MonkeyPatch, message: object, **headers: str
) -> httpx2.Response:
    """The answer to a call that takes longer than it may."""
    answers: list[httpx2.Response] = []

    async def ask() -> None:
        answers.append(await served.post(message, **headers))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await sleepers.are(1)
        await settled()  # what it has said so far has arrived
        pass_seconds(SECONDS, monkeypatch)
    return answers[0]


async def answer_to_a_part(served: Served, part: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What comes back once the time of a request is over whose rest never comes."""

    async def begun() -> bool:
        return bool(served.server.server_state.tasks)

    async with await served.connected() as stream:
        await stream.send(part.encode())
        await until(begun)
        await settled()
        pass_seconds(SECONDS, monkeypatch)
        return b"".join([chunk async for chunk in stream])


@PROTOCOLS
async def test_a_body_that_is_too_long_is_refused(protocol: Protocol) -> None:
    async with serving(settings_for(max_body_bytes=2_000), protocol=protocol) as served:
        assert (await served.post(call("echo", text="x" * 1_000))).status_code == 200
        answer = await served.post(call("echo", text="x" * 2_000))
        assert answer.status_code == 413
        assert answer.json()["error"]["message"] == "The request is longer than 2000 bytes."


@PROTOCOLS
async def test_a_body_of_unknown_length_is_refused_when_it_gets_too_long(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_UNREAD_SECONDS", 2 * NET_SECONDS)  # nothing is left to wait for
    async with serving(settings_for(max_body_bytes=2_000), protocol=protocol) as served:
        chunk = f"{1_500:x}\r\n{'x' * 1_500}\r\n"
        answer = await served.raw(
            f"{POST}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunk}{chunk}0\r\n\r\n".encode()
        )
        assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("path", ["/messages/?session_id=1", "/healthz", "/nowhere"])
async def test_the_length_is_bounded_on_every_path(path: str) -> None:
    async with serving(settings_for(max_body_bytes=1_024, sse=True)) as served:
        answer = await served.post(b"x" * 1_025, path)
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"


async def test_more_than_the_limit_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", NET_SECONDS)
    sleepers = Sleepers()
    async with serving(settings_for(max_concurrency=2), server=sleepers.server) as served:
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(served.post, call("sleep"))
            await sleepers.are(2)
            refused = await served.post(call("sleep"))
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            # How the server is can always be asked.
            for path in ("/healthz", "/readyz"):
                assert (await served.client.get(path)).status_code == 200
            sleepers.wake.set()
        assert sleepers.ended == ["woken"] * 2
        assert (await served.post(call("sleep"))).status_code == 200


async def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    sleepers = Sleepers()
    async with serving(settings_for(request_timeout_seconds=SECONDS), server=sleepers.server) as served:
        late = partial(given_up, served, sleepers, monkeypatch)
        assert (await late(call("sleep"))).status_code == 504
        assert sleepers.ended == ["cancelled"]
        message, headers = nap(in_newest=True)
        assert (await late(message, **headers)).status_code == 504
        assert sleepers.ended == ["cancelled"] * 2
        # An answer of events has begun before; it ends without the result.
        events = await late(call("sleep", token="t"))
        assert events.status_code == 200
        assert "notifications/progress" in events.text
        assert '"result"' not in events.text
        assert sleepers.ended == ["cancelled"] * 3
        assert sleepers.asleep == 0


@PROTOCOLS
async def test_a_body_that_does_not_come_takes_no_place_for_ever(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(request_timeout_seconds=SECONDS, max_concurrency=1)
    async with serving(settings, protocol=protocol) as served:
        part = f"{POST}Content-Length: 100\r\nConnection: close\r\n\r\n{{"
        answer = await answer_to_a_part(served, part, monkeypatch)
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert (await served.post(call("echo", text="x"))).status_code == 200


@PROTOCOLS
@pytest.mark.parametrize("in_newest", [False, True])
@pytest.mark.parametrize("follows", [False, True])
async def test_work_ends_when_its_client_leaves(protocol: Protocol, in_newest: bool, follows: bool) -> None:
    sleepers = Sleepers()
    message, headers = nap(token="t" if follows else None, in_newest=in_newest)
    async with serving(server=sleepers.server, protocol=protocol) as served:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(served.post, message, **headers))
            await sleepers.are(1)
            group.cancel_scope.cancel()
        await sleepers.are(0)
        assert sleepers.ended == ["cancelled"]


@PROTOCOLS
@pytest.mark.parametrize("headers", [{}, {"Content-Length": "0"}])
async def test_work_on_a_request_without_a_body_ends_too_when_its_client_leaves(
    protocol: Protocol, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", 2 * NET_SECONDS)
    ended: list[str] = []
    begun, over = anyio.Event(), anyio.Event()

    async def stuck(_: SharedContext) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            ended.append("cancelled")
            raise
        finally:
            over.set()

    monkeypatch.setattr(SharedContext, "get", stuck)
    async with serving(protocol=protocol) as served:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(served.client.get, "/readyz", headers=headers))
            await begun.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(NET_SECONDS):
            await over.wait()
        assert ended == ["cancelled"]


async def test_streams_do_not_time_out_and_have_places_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sleepers = Sleepers()
    message, headers = listen()
    settings = settings_for(request_timeout_seconds=SECONDS, max_concurrency=1)
    async with serving(settings, server=sleepers.server) as served:
        stream = partial(served.client.stream, "POST", "/mcp", json=message, headers={**HEADERS, **headers})
        async with stream() as open_stream:
            lines = open_stream.aiter_lines()
            assert "acknowledged" in await next_data(lines)
            # It takes no place from the calls; their time passes, its time does not.
            assert (await given_up(served, sleepers, monkeypatch, call("sleep"))).status_code == 504
            # One stream is the most, and it is still there.
            async with stream() as second:
                assert (second.status_code, second.headers["retry-after"]) == (503, "1")


async def test_an_older_client_cannot_pose_as_a_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    sleepers = Sleepers()
    async with serving(settings_for(request_timeout_seconds=SECONDS), server=sleepers.server) as served:
        for version in ({}, {"MCP-Protocol-Version": "2025-11-25"}):
            headers = {"Mcp-Method": "subscriptions/listen", **version}
            assert (await given_up(served, sleepers, monkeypatch, call("sleep"), **headers)).status_code == 504


async def test_what_goes_wrong_inside_says_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(McpEndpoint, "__call__", fail)
    async with serving() as served:
        answer = await served.post(call("echo", text="x"))
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "Internal error; see the server's log."
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


@PROTOCOLS
@pytest.mark.parametrize("begun", ["", "GET", "GET /healthz HTTP/1.1\r\nHost: local"])
async def test_connections_that_bring_no_request_are_closed(protocol: Protocol, begun: str) -> None:
    async with serving(protocol=protocol) as served, await served.connected() as silent:
        if begun:
            await silent.send(begun.encode())
        assert (await served.client.get("/healthz")).status_code == 200  # keeps its connection
        assert not await served.server.on_tick(0)
        assert not await served.server.on_tick(0)
        with anyio.fail_after(NET_SECONDS), pytest.raises(anyio.EndOfStream):
            await silent.receive()
        assert len(served.server.server_state.connections) == 1


@PROTOCOLS
async def test_a_connection_that_falls_silent_within_a_request_is_closed(protocol: Protocol) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving(protocol=protocol) as served, await served.connected() as silent:
        await silent.send(whole)
        assert (await silent.receive()).startswith(b"HTTP/1.1 200 ")
        await silent.send(whole[:20])

        async def closed() -> bool:
            await served.server.on_tick(0)
            return not served.server.server_state.connections

        await until(closed)
        with pytest.raises(anyio.EndOfStream):
            await silent.receive()


async def test_a_connection_whose_request_is_worked_on_is_left_alone() -> None:
    sleepers = Sleepers()
    async with serving(server=sleepers.server) as served, anyio.create_task_group() as group:

        async def ask() -> None:
            assert (await served.post(call("sleep"))).status_code == 200

        group.start_soon(ask)
        await sleepers.are(1)
        for _ in range(3):
            await served.server.on_tick(0)
        sleepers.wake.set()
    assert sleepers.ended == ["woken"]


@PROTOCOLS
async def test_who_has_no_token_has_no_body_read(protocol: Protocol) -> None:
    token = {"hash": "sha256:" + "0" * 64, "subject": "alice"}
    settings = Settings.model_validate({"store": "memory://", "http": {"port": 0}, "auth": {"tokens": [token]}})
    async with serving(settings, protocol=protocol) as served, await served.connected() as stream:
        await stream.send(f"{POST}Content-Length: 100\r\n\r\n{{".encode())
        with anyio.fail_after(NET_SECONDS):
            assert (await stream.receive()).startswith(b"HTTP/1.1 401 ")


@PROTOCOLS
async def test_a_listener_whose_request_does_not_come_is_not_waited_for(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, headers = listen()
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    async with serving(settings_for(request_timeout_seconds=SECONDS), protocol=protocol) as served:
        part = f"{POST}{lines}Content-Length: 100\r\nConnection: close\r\n\r\n{{"
        answer = await answer_to_a_part(served, part, monkeypatch)
    assert answer.startswith(b"HTTP/1.1 504 ")


@PROTOCOLS
async def test_a_body_that_takes_its_time_is_whole(protocol: Protocol) -> None:
    body = json.dumps(call("echo", text="x"))
    async with serving(protocol=protocol) as served, await served.connected() as stream:
        await stream.send(f"{POST}Content-Length: {len(body)}\r\n\r\n".encode())
        for start in range(0, len(body), 40):
            await stream.send(body[start : start + 40].encode())
            await settled()  # the server reads this part before the next one comes
        assert b'"length":1' in await stream.receive()
