"""The end of what all requests work with."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from tests.server.odd_server import open_context
from tests.waiting import NET_SECONDS, pass_seconds
from tokenward.server.http import shared as shared_context
from tokenward.server.http.shared import SharedContext
from tokenward.tools.definition import ToolContext

pytestmark = pytest.mark.anyio


async def test_a_store_that_does_not_close_does_not_keep_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    closing = anyio.Event()

    @asynccontextmanager
    async def open_stuck() -> AsyncGenerator[ToolContext]:
        async with open_context() as context:
            yield context
        closing.set()
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()

    shared = SharedContext(open_stuck)
    await shared.get()
    monkeypatch.setattr(shared_context, "_CLOSE_SECONDS", 10 * NET_SECONDS)
    async with anyio.create_task_group() as group:
        group.start_soon(shared.aclose)
        await closing.wait()
        assert not caplog.records
        pass_seconds(10 * NET_SECONDS, monkeypatch)
    assert "did not close" in caplog.text


async def test_what_goes_wrong_at_the_end_is_told() -> None:
    @asynccontextmanager
    async def open_broken() -> AsyncGenerator[ToolContext]:
        async with open_context() as context:
            yield context
        raise OSError("disk full")

    shared = SharedContext(open_broken)
    await shared.get()
    with pytest.raises(OSError, match="disk full"):
        await shared.aclose()
    await SharedContext(open_broken).aclose()  # nothing was opened
