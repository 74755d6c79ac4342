"""What happens to a SQLite ledger: its disk is full, somebody holds its lock, its file goes away or is damaged."""

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import events_of
from tests.waiting import NET_SECONDS, StillClock, settled
from tokenward.engine.errors import StoreUnavailable
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.types import HOUR_US
from tokenward.engine.usage import TokenUsage, UsageQuery
from tokenward.performance import Performance
from tokenward.storage.base import Record, Reserve
from tokenward.storage.group_commit import Patience
from tokenward.storage.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ALICE = Subjects("alice")
RECORD = Record(user="alice", model="m", usage=TokenUsage(1), cost_nano=0, key="k")
HOLD = Reserve(subjects=ALICE, amounts=Amounts(2), ttl_us=HOUR_US)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@asynccontextmanager
async def locked(path: Path) -> AsyncGenerator[Callable[[], None]]:
    """Another process holds the write lock; the value lets it go."""
    command = [sys.executable, str(HERE / "locker.py"), str(path)]
    with subprocess.Popen(  # noqa: ASYNC220
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "locked"
        yield process.stdin.close
        process.stdin.close()


@pytest.mark.slow
async def test_a_record_survives_a_lock_of_three_seconds(path: Path) -> None:
    async with SqliteStore(path, busy_seconds=0.2, patience=Patience(NET_SECONDS, NET_SECONDS)) as store:
        await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
        async with locked(path) as let_go:
            asking = [asyncio.create_task(store.record(replace(RECORD, key=f"k{number}"))) for number in range(5)]
            holding = asyncio.create_task(store.reserve(HOLD))
            done, _ = await asyncio.wait([*asking, holding], timeout=3)
            assert not done
            # Reports wait for nobody.
            assert await store.usage(UsageQuery(0, 2**53, "user")) == []
            let_go()
            outcomes = await asyncio.gather(*asking)
            assert (await holding).reservation_id
        assert not any(one.duplicate for one in outcomes)
        (row,) = await store.status(ALICE)
        assert (row.used, row.reserved) == (5, 2)
        assert len(await events_of(store)) == 5


async def test_a_lock_that_is_never_let_go_is_waited_for_as_long_as_patience_lasts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = Performance().ledger
    async with SqliteStore(path, busy_seconds=0.05, patience=Patience(5, 60), meter=tries) as store:
        async with locked(path):
            still = StillClock(monkeypatch)

            async def after(seconds: float) -> tuple[bool, bool]:
                """Who has given up by then, once it was tried again."""
                failures = tries.failures
                still.pass_seconds(seconds)
                await still.until(lambda: tries.failures > failures)
                await settled()
                return hold.done(), record.done()

            record = asyncio.create_task(store.record(RECORD))
            hold = asyncio.create_task(store.reserve(HOLD))
            assert [await after(seconds) for seconds in (0, 4, 2, 53, 2)] == [
                (False, False),
                (False, False),
                (True, False),
                (True, False),
                (True, True),
            ]
            for one in (hold, record):
                with pytest.raises(StoreUnavailable, match="locked by another process"):
                    await one
            with pytest.raises(StoreUnavailable, match="locked by another process"):
                await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
            assert await store.limits() == []
        assert not (await store.record(RECORD)).duplicate


async def test_a_locked_ledger_can_be_opened_and_read(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.record(RECORD)
    async with locked(path), SqliteStore(path, busy_seconds=0.05, patience=Patience(0, 0)) as store:
        assert len(await events_of(store)) == 1
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            await store.record(RECORD)


async def test_a_file_that_comes_back_is_used_again(path: Path) -> None:
    away = path.with_name("away.db")
    async with SqliteStore(path) as store:
        await store.record(RECORD)
        path.rename(away)  # noqa: ASYNC240
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="moved or deleted") as caught:
                await store.record(replace(RECORD, key="other"))
            assert caught.value.lasting
        for ask in (store.limits, store.expire):
            with pytest.raises(StoreUnavailable, match="moved or deleted"):
                await ask()
        away.rename(path)
        assert (await store.record(RECORD)).duplicate


async def test_another_file_in_its_place_is_not_taken_for_it(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    async with SqliteStore(other) as store:
        await store.record(replace(RECORD, key="other"))
    async with SqliteStore(path) as store:
        await store.record(RECORD)
        other.replace(path)
        with pytest.raises(StoreUnavailable, match="moved or deleted"):
            await store.record(replace(RECORD, key="more"))


async def test_a_file_that_is_no_ledger_is_refused_and_left_alone(path: Path) -> None:
    text = b"Dear diary, " * 1_000
    path.write_bytes(text)  # noqa: ASYNC240
    with pytest.raises(StoreUnavailable, match="not a SQLite database") as caught:
        async with SqliteStore(path):
            pass
    assert caught.value.lasting
    assert path.read_bytes() == text  # noqa: ASYNC240


async def test_a_damaged_file_is_said_to_be_damaged(path: Path) -> None:
    async with SqliteStore(path) as store:
        for number in range(300):
            await store.record(replace(RECORD, key=f"k{number}"))
    content = bytearray(path.read_bytes())  # noqa: ASYNC240
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)  # noqa: ASYNC240
    with pytest.raises(StoreUnavailable, match="damaged") as caught:
        async with SqliteStore(path) as store:
            await store.record(RECORD)
    assert caught.value.lasting


@pytest.mark.slow
async def test_a_small_disk_that_is_full_loses_nothing_and_goes_on_when_it_is_freed(tmp_path: Path) -> None:
    """On a real file system of 4 MB, mounted for one process that goes with it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=4m tokenward-test {shlex.quote(str(disk))}"
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-ec"]
    try:
        subprocess.run([*alone, mount], check=True, capture_output=True)  # noqa: ASYNC221
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"No small disk can be mounted here: {error}")
    program = shlex.join([sys.executable, str(HERE / "filler.py"), str(disk)])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(one for one in (str(ROOT), *sys.path) if one)}
    done = subprocess.run(  # noqa: ASYNC221
        [*alone, f"{mount} && exec {program}"], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    facts = json.loads(done.stdout)
    assert len(facts["said"]) == 4
    assert all("the disk is full" in one for one in facts["said"])
    assert facts["full"] > 20
    assert facts["readable"] == facts["full"]
    assert facts["events"] == facts["acknowledged"] == facts["used"] == facts["full"] + 20
    assert facts["reserved"] == facts["held"]
    assert (facts["lost"], facts["first_again"], facts["integrity"]) == ([], True, "ok")
