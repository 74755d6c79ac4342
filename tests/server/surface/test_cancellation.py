"""Cancellation ends the work, not only the waiting for it: in the library, in memory, on pipes and on sockets."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from mcp.client import Client

from tests.server.http.serving import MODERN, call, serving
from tests.server.http.sleepers import newest
from tests.server.surface.crunching import Cruncher
from tests.server.surface.telling import BEGUN, STOPPED
from tests.server.test_stdio import HANDSHAKE, line, started
from tests.server.test_stdio import call as call_line
from tests.waiting import NET_SECONDS, until
from tokenward.engine import steps
from tokenward.engine.limits import TokenLimit
from tokenward.engine.steps import followed
from tokenward.engine.types import JsonObject
from tokenward.engine.usage import TokenUsage, UsageQuery
from tokenward.requests import QuotaRequest, RecordRequest
from tokenward.service import Tokenward
from tokenward.workers import run_in_thread

pytestmark = pytest.mark.anyio
ERAS = pytest.mark.parametrize("era", ["legacy", MODERN])
TELLING = (sys.executable, "-W", "error", "-m", "tests.server.surface.telling")
CRUNCHING = (sys.executable, "-W", "error", "-m", "tests.server.surface.crunching")


def assert_tells(process: subprocess.Popen[bytes], what: bytes) -> None:
    """Read its standard error up to a line."""
    assert process.stderr is not None
    assert what in iter(process.stderr.readline, b"")


async def begun(cruncher: Cruncher) -> None:
    async def holds() -> bool:
        return cruncher.begun.is_set()

    await until(holds)


async def stopped(cruncher: Cruncher) -> None:
    """It computes no more, and has not for more than the step that it was in."""

    async def holds() -> bool:
        return cruncher.stopped.is_set()

    await until(holds)
    assert cruncher.steps_after <= 1


async def test_a_cancelled_scope_ends_the_thread() -> None:
    cruncher = Cruncher()
    async with anyio.create_task_group() as group:
        group.start_soon(run_in_thread, cruncher.work)
        await begun(cruncher)
        group.cancel_scope.cancel()
    await stopped(cruncher)


async def test_a_cancelled_task_ends_the_thread() -> None:
    import asyncio

    cruncher = Cruncher()
    task = asyncio.create_task(run_in_thread(cruncher.work))
    await begun(cruncher)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await stopped(cruncher)


@ERAS
async def test_a_client_that_cancels_ends_the_thread_and_nothing_else(era: str) -> None:
    cruncher = Cruncher()
    async with Client(cruncher.server, mode=era) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "crunch")
            await begun(cruncher)
            group.cancel_scope.cancel()
        await stopped(cruncher)
        assert (await client.call_tool("echo", {"text": "on"})).structured_content == {"length": 2, "text": None}


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
def test_a_notification_on_a_pipe_ends_the_thread_and_the_call_is_not_answered() -> None:
    cancelled = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}\n'
    with started(CRUNCHING) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(HANDSHAKE + call_line(1, "crunch") + call_line(2, "echo", text="x"))
        process.stdin.flush()
        assert [json.loads(process.stdout.readline())["id"] for _ in range(2)] == [0, 2]
        assert_tells(process, b"begun\n")
        process.stdin.write(cancelled + call_line(3, "echo", text="x"))
        process.stdin.flush()
        assert_tells(process, b"stopped\n")
        output, errors = process.communicate(timeout=NET_SECONDS)
        assert process.returncode == 0
    assert [json.loads(answer)["id"] for answer in output.splitlines()] == [3]
    assert b"stopped" not in errors


@pytest.mark.parametrize("in_newest", [False, True])
async def test_a_closed_connection_ends_the_thread_and_nothing_else(in_newest: bool) -> None:
    cruncher = Cruncher()
    async with serving(server=cruncher.server) as served:
        message = call("crunch")
        headers: dict[str, str] = {}
        if in_newest:
            message, headers = newest(message)
        async with anyio.create_task_group() as group:

            async def post() -> None:
                await served.post(message, **headers)

            group.start_soon(post)
            await begun(cruncher)
            group.cancel_scope.cancel()
        await stopped(cruncher)
        assert (await served.post(call("echo", text="on"))).json()["result"]["structuredContent"]["length"] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
def test_a_long_count_of_the_real_server_ends(tmp_path: Path) -> None:
    text = "It was the best of times, it was the worst of times; 1859 words were written.\n" * 300_000
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    command = (*TELLING, str(tmp_path))
    with started(command) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(HANDSHAKE + call_line(1, "count_tokens", text="warm", model="gpt-4"))
        process.stdin.flush()
        assert [json.loads(process.stdout.readline())["id"] for _ in range(2)] == [0, 1]
        process.stdin.write(call_line(2, "count_tokens", paths=["long.txt"], model="gpt-4"))
        process.stdin.flush()
        assert_tells(process, BEGUN)
        process.stdin.write(
            b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}\n' + line(3, "ping", {})
        )
        process.stdin.flush()
        assert_tells(process, STOPPED)
        more = call_line(4, "count_tokens", text="on", model="gpt-4")
        output, _ = process.communicate(more, timeout=NET_SECONDS)
        assert process.returncode == 0
    assert [json.loads(answer)["id"] for answer in output.splitlines()] == [3, 4]


async def test_what_is_cancelled_while_it_counts_leaves_nothing_in_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled, checkpoint = threading.Event(), steps.checkpoint
    messages: list[JsonObject] = [{"role": "user", "content": "It is what it is, and 12 more. " * 40_000}]
    asked = QuotaRequest(user="alice", model="gpt-4", messages=messages * 40, reserve=True, idempotency_key="one")
    async with Tokenward.open(f"sqlite:///{tmp_path / 'ledger.db'}") as service:
        with followed() as progress:

            def patient_checkpoint() -> None:
                """Else it may be done before it is cancelled."""
                if progress.characters > 0 and threading.current_thread() is not threading.main_thread():
                    cancelled.wait(NET_SECONDS)
                checkpoint()

            async def counting() -> bool:
                return progress.characters > 0

            async def ask() -> None:
                await service.check_quota(asked)
                pytest.fail("it was not cancelled")

            monkeypatch.setattr(steps, "checkpoint", patient_checkpoint)
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await until(counting)
                group.cancel_scope.cancel()
            cancelled.set()
        status = await (await service.ledger()).describe()
        assert (status.holds, status.events) == (0, 0)


async def test_what_is_cancelled_while_it_is_written_is_whole(tmp_path: Path) -> None:
    limit = TokenLimit(subject="user:alice", metric="tokens", window="day", limit=10**9)
    request = RecordRequest(model="gpt-4", usage=TokenUsage(10, 1), user="alice")
    async with Tokenward.open(f"sqlite:///{tmp_path / 'ledger.db'}", limits=[limit]) as service:
        store = await service.ledger()
        for turns in range(30):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(service.record_usage, request)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        await service.record_usage(request)
        (status,) = (await service.quota_status("alice")).limits
        events = [event async for event in store.events(0, 2**60)]
        (summed,) = await store.usage(UsageQuery(0, 2**60, "user"))
    assert 1 <= len(events) < 151
    assert {event.usage for event in events} == {TokenUsage(10, 1)}
    assert summed.requests == len(events)
    assert summed.total_tokens == status.used == 11 * len(events)
    assert status.reserved == 0
