"""What a server holds does not grow with the calls that it has answered."""

import gc
import os
import sys
from pathlib import Path
from typing import Any

import aiosqlite
import anyio
import pytest
from mcp.client import Client
from mcp_types import CallToolResult

from bench.pipes import pipe_client
from bench.soak_calls import Load
from tests.storage.requests import used
from tokenward.engine.types import HOUR_US
from tokenward.engine.usage import UsageQuery
from tokenward.server.application import build_server
from tokenward.server.settings import Settings
from tokenward.storage.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

CALLS = 600
SAMPLES = 3

READS = """
import os, sys
from pathlib import Path

asked, read = [], os.read

def noting(handle, size):
    asked.append(size)
    return read(handle, size)

os.read = noting
from tokenward.server.entry import main

try:
    main()
finally:
    Path(os.environ["NOTED"]).write_text(str(max(asked)))
"""


async def _answer(client: Client, load: Load) -> int:
    """Some calls of all tools and what ends their holds; how many."""
    done = 0
    for calls in (list(load.calls(CALLS)), list(load.endings())):
        for call in calls:
            result = await client.call_tool(call.tool, call.arguments)
            assert isinstance(result, CallToolResult)
            assert bool(result.is_error) == call.refused, result
            if not call.refused:
                assert result.structured_content is not None
                call.answered(result.structured_content)
        done += len(calls)
    load.acknowledged.events.clear()
    return done


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


async def test_calls_leave_no_objects_behind() -> None:
    """One object that stays for every other call would be seen."""
    server, load = build_server(Settings(store="memory://", cache_size=50)), Load("memory", 1)
    async with Client(server) as client:
        await _answer(client, load)
        before, done = _blocks(), 0
        for _ in range(SAMPLES):
            done += await _answer(client, load)
        assert _blocks() - before < done / 2


async def test_readers_keep_little_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own default is 2,000 KiB for each connection, stale after the next write."""
    opened: list[aiosqlite.Connection] = []
    connect = aiosqlite.connect

    def remembered(*args: Any, **options: Any) -> aiosqlite.Connection:
        opened.append(connect(*args, **options))
        return opened[-1]

    monkeypatch.setattr(aiosqlite, "connect", remembered)
    async with SqliteStore(tmp_path / "ledger.db") as store:
        await store.record(used(1))
        async with anyio.create_task_group() as reports:
            for _ in range(20):
                reports.start_soon(store.usage, UsageQuery(0, HOUR_US, "model"))
        sizes: list[int] = []
        for one in opened:
            ((size,),) = await one.execute_fetchall("PRAGMA cache_size")
            sizes.append(size)
    assert 1 < len(sizes) <= 4, "one that writes, and at most three that read"
    assert sizes[1:] == [-256] * (len(sizes) - 1)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
def test_reads_ask_for_no_more_memory_than_a_pipe_can_fill(tmp_path: Path) -> None:
    """asyncio's own 256 KiB for each read break the heap into pieces."""
    noted = tmp_path / "noted"
    source = str(Path(__file__).resolve().parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "NOTED": str(noted)}
    with pipe_client([sys.executable, "-c", READS, "serve"], str(tmp_path), environment):
        pass
    assert int(noted.read_text(encoding="ascii")) <= 2**16
