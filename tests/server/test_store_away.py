"""Over the wire while the ledger is of no use: counting does not need it, and recording says in time what is wrong."""

import json
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Self

import anyio
import pytest
from mcp.client import Client

from tests.conftest import FakeClock
from tests.scripted_store import ScriptedStore
from tests.server.test_stdio import HANDSHAKE, call, content, started
from tests.server.test_stdio_end import answer, assert_ends_well, close_input, send
from tokenward.server.application import build_server
from tokenward.server.settings import load_settings
from tokenward.service import Tokenward
from tokenward.storage.base import Record, Reserve
from tokenward.storage.group_commit import Patience
from tokenward.tools.definition import ToolContext

SMALL_LEDGER = """
import resource, sys
from tokenward.server.application import serve_stdio
from tokenward.server.settings import load_settings
from tokenward.storage import group_commit
group_commit.Patience.of = lambda *_: 0.0
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
serve_stdio(load_settings(store="sqlite:///" + sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, before)  # what measures the tests writes at the end
"""
"""A server whose files cannot grow much, and which has no patience."""


class SilentStore(ScriptedStore):
    """A ledger that never answers, not even to being connected."""

    asked = False

    async def __aenter__(self) -> Self:
        self.asked = True
        await anyio.sleep_forever()
        return self


@pytest.mark.anyio
@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
@pytest.mark.parametrize("calibration", [True, False])
async def test_counting_does_not_wait_for_the_ledger(
    era: str, calibration: bool, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while others wait for it."""
    store = SilentStore()

    def opened(url: str, **_: object) -> SilentStore:
        return store

    monkeypatch.setattr("tokenward.service.open_store", opened)

    @asynccontextmanager
    async def opener() -> AsyncGenerator[ToolContext]:
        async with Tokenward.open("memory://", calibration=calibration, clock=clock) as service:
            yield ToolContext(service=service)

    async def check() -> None:
        await client.call_tool("check_quota", {"tokens": 5})

    server = build_server(load_settings(store="memory://"), opener)
    messages = [{"role": "user", "content": "hi"}]
    async with Client(server, mode=era) as client, anyio.create_task_group() as group:
        for model in ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro"):
            counted = await client.call_tool("count_tokens", {"text": "hello world", "model": model})
            assert not counted.is_error
            counted = await client.call_tool("count_messages", {"messages": messages, "model": model})
            assert not counted.is_error
        priced = await client.call_tool("estimate_cost", {"model": "gpt-4o", "input_tokens": 5})
        assert not priced.is_error
        assert not store.asked
        group.start_soon(check)
        while not store.asked:  # noqa: ASYNC110 - what is waited for tells nobody
            await anyio.sleep(0.01)
        counted = await client.call_tool("count_tokens", {"text": "hello again", "model": "gpt-4o"})
        assert not counted.is_error
        group.cancel_scope.cancel()


def test_checks_wait_ten_seconds_and_records_a_minute() -> None:
    """As the page on the ledger says."""
    patience = Patience()
    page = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text(encoding="utf-8")
    waits = f"checks wait {patience.check_seconds:.0f} seconds, records {patience.record_seconds:.0f}"
    assert waits in " ".join(page.split())
    assert patience.of(Reserve.__new__(Reserve)) == patience.check_seconds
    assert patience.of(Record.__new__(Record)) == patience.record_seconds


@pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")
def test_a_full_disk_is_said_over_the_wire_and_loses_nothing(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    acknowledged = set[object]()
    with started((sys.executable, "-W", "error", "-c", SMALL_LEDGER, str(ledger))) as process:
        send(process, HANDSHAKE)
        answer(process)
        record = call(1, "record_usage", model="gpt-4o", input_tokens=1, output_tokens=1)
        send(process, record)
        while "structuredContent" in json.dumps(heard := answer(process)):
            acknowledged.add(content(heard)["event_id"])
            send(process, record)
        said = json.dumps(heard)
        assert "the disk" in said
        assert "full" in said
        assert "Nothing was acknowledged; send it again with the same idempotency_key" in said
        send(process, call(2, "count_tokens", text="hi", model="gpt-4o"))
        assert content(answer(process))["tokens"] == 1
        close_input(process)
        assert_ends_well(process)
    with closing(sqlite3.connect(ledger)) as opened:
        kept = {name for (name,) in opened.execute("SELECT event_id FROM token_usage")}
    assert acknowledged <= kept
    assert acknowledged
