"""What is special to a SQLite file: its faults, its URL, its schema."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests.conftest import FakeClock, events_of
from tests.waiting import NET_SECONDS, until, wait_until
from tokenward.engine.errors import ConfigurationError, SchemaTooNew, StoreUnavailable
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.types import SECOND_US
from tokenward.engine.usage import TokenUsage
from tokenward.storage.base import Record, Reserve
from tokenward.storage.factory import open_store, sqlite_path
from tokenward.storage.group_commit import Patience
from tokenward.storage.migrate import statements
from tokenward.storage.sqlite import SqliteStore
from tokenward.storage.sqlite.database import SqliteDatabase

pytestmark = pytest.mark.anyio

ALICE = Subjects("alice")
RECORD = Record(user="alice", model="m", usage=TokenUsage(1), cost_nano=0, key="k")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


async def test_a_locked_file_is_unavailable_and_then_available(path: Path) -> None:
    async with SqliteStore(path, busy_seconds=0.05, patience=Patience(0, 0)) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked by another process"):
                await store.record(RECORD)
            other.execute("COMMIT")
        assert not (await store.record(RECORD)).duplicate


async def test_what_was_acknowledged_survives(path: Path, clock: FakeClock) -> None:
    async with SqliteStore(path, clock=clock) as store:
        await store.set_limit(TokenLimit("user:alice", "tokens", "day", 10))
        await store.reserve(Reserve(subjects=ALICE, amounts=Amounts(5), ttl_us=60 * SECOND_US))
        first = await store.record(RECORD)
    async with SqliteStore(path, clock=clock) as store:
        (row,) = await store.status(ALICE)
        assert (row.used, row.reserved) == (1, 5)
        again = await store.record(RECORD)
        assert (again.duplicate, again.event_id) == (True, first.event_id)


async def test_a_newer_schema_is_refused(path: Path) -> None:
    async with SqliteStore(path):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO schema_version VALUES (9999, 0)")
    with pytest.raises(SchemaTooNew, match="9999"):
        async with SqliteStore(path):
            pass


async def test_an_error_within_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SqliteStore(path) as store:
        await store.set_limit(TokenLimit("user:alice", "tokens", "day", 10))

        def no_id() -> str:
            raise RuntimeError("no more ids")

        monkeypatch.setattr(store, "_new_id", no_id)
        with pytest.raises(RuntimeError):
            await store.record(RECORD)
        (row,) = await store.status(ALICE)
        assert (row.used, row.reserved) == (0, 0)
        assert await events_of(store) == []


async def test_a_caller_cancelled_at_any_moment_leaves_the_store_whole(path: Path) -> None:
    async with SqliteStore(path) as store:
        for number in range(60):
            task = asyncio.create_task(store.record(replace(RECORD, key=f"k{number}")))
            for _ in range(number):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert not (await store.record(replace(RECORD, key="last"))).duplicate
        events = await events_of(store)
        for number in range(60):
            await store.record(replace(RECORD, key=f"k{number}"))
        assert len(await events_of(store)) == 61
        assert len({event.event_id for event in events}) == len(events)


async def test_a_caller_cancelled_while_it_waits_blocks_nobody(path: Path) -> None:
    async with SqliteStore(path, busy_seconds=NET_SECONDS) as store:

        async def taken() -> bool:
            return not store.waiting

        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asking = asyncio.create_task(store.record(RECORD))
            while not store.waiting:  # noqa: ASYNC110 - it takes a step, and no time
                await asyncio.sleep(0)
            await until(taken)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            other.execute("COMMIT")
        # The first was under way and is done by now, or is about to be.
        assert (await store.record(RECORD)).duplicate
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")


def test_a_shutdown_that_cancels_every_task_leaves_the_store_whole(path: Path) -> None:
    async def shut_down_at(steps: int, store: SqliteStore) -> None:
        asking = asyncio.create_task(store.record(replace(RECORD, key=f"k{steps}")))
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        await store.record(replace(RECORD, key=f"next{steps}"))

    async def main() -> None:
        async with SqliteStore(path) as store:
            for steps in range(12):
                await shut_down_at(steps, store)

    asyncio.run(main())


def test_one_event_loop_after_the_other_may_use_a_store(path: Path) -> None:
    store = SqliteStore(path)

    async def record_some(first: int) -> int:
        await asyncio.gather(*(store.record(replace(RECORD, key=f"k{first + one}")) for one in range(5)))
        return len(await events_of(store))

    asyncio.run(store.__aenter__())
    assert [asyncio.run(record_some(first)) for first in (0, 5)] == [5, 10]
    asyncio.run(store.__aexit__(None, None, None))


async def test_a_file_that_was_deleted_takes_no_more_records(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.record(RECORD)
        path.unlink()  # noqa: ASYNC240
        with pytest.raises(StoreUnavailable, match="moved or deleted"):
            await store.record(replace(RECORD, key="other"))


async def pragma(store: SqliteStore, text: str) -> int:
    database = store._database  # pyright: ignore[reportPrivateUsage]
    assert isinstance(database, SqliteDatabase)
    connection = database._connection  # pyright: ignore[reportPrivateUsage]
    ((value,),) = await connection.execute_fetchall(f"PRAGMA {text}")
    return int(value)


async def fill(store: SqliteStore) -> None:
    for number in range(10_000):
        record = Record(user="alice", model="m" * 150, usage=TokenUsage(1), cost_nano=0, key=str(number))
        await store.record(record)


async def test_a_full_disk_refuses_and_loses_nothing(path: Path) -> None:
    async with SqliteStore(path, patience=Patience(0, 0)) as store:
        await store.record(RECORD)
        await pragma(store, f"max_page_count={await pragma(store, 'page_count')}")
        with pytest.raises(StoreUnavailable, match="disk is full"):
            await fill(store)
        written = len(await events_of(store))
        await pragma(store, "max_page_count=100000")
        await store.record(Record(user="alice", model="m", usage=TokenUsage(1), cost_nano=0))
        assert len(await events_of(store)) == written + 1


async def test_a_closed_store_says_so(path: Path) -> None:
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.record(RECORD)


async def test_a_file_in_the_place_of_the_folder_is_unavailable(path: Path) -> None:
    path.write_text("")  # noqa: ASYNC240
    with pytest.raises(StoreUnavailable, match="folder cannot be created"):
        async with SqliteStore(path / "ledger.db"):
            pass


async def test_the_folder_and_its_files_are_the_users_own(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "new" / "ledger.db") as store:
        await store.record(RECORD)
        made = [tmp_path / "new", *(tmp_path / "new").iterdir()]
        assert len(made) == 4
        assert [one.stat().st_mode & 0o077 for one in made] == [0] * 4


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("memory://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///ledger.db", Path("ledger.db")),
        ("sqlite:////var/lib/ledger.db", Path("/var/lib/ledger.db")),
        ("sqlite:///a%20b.db", Path("a b.db")),
        ("sqlite:///~/l.db", Path.home() / "l.db"),
    ],
)
def test_urls(url: str, path: Path | None) -> None:
    assert sqlite_path(url) == path


def test_a_url_with_parameters_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="takes no parameters"):
        sqlite_path("sqlite:///x.db?mode=ro")
    assert sqlite_path("sqlite:///x%3F.db") == Path("x?.db")


def test_the_default_is_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    found = sqlite_path("sqlite:///")
    assert found is not None
    assert found.name == "ledger.db"
    assert found.parent.name == "tokenward"


def test_a_script_is_split_at_statements_not_at_semicolons() -> None:
    script = "-- a; comment\nCREATE TABLE a (b TEXT DEFAULT ';');\nCREATE INDEX c\n  ON a (b);\n"
    assert [one.split()[-1] for one in statements(script)] == ["';');", "(b);"]


async def test_two_stores_on_one_file_see_each_other(path: Path) -> None:
    async with open_store(f"sqlite:///{path}") as one, open_store(f"sqlite:///{path}") as two:
        await one.set_limit(TokenLimit("user:alice", "tokens", "day", 10))
        assert (await two.reserve(Reserve(subjects=ALICE, amounts=Amounts(10), ttl_us=SECOND_US))).decision.allowed
        assert not (await one.reserve(Reserve(subjects=ALICE, amounts=Amounts(1), ttl_us=SECOND_US))).decision.allowed


class Slow:
    """Opens connections as slowly as a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.begun, self.goes_on = threading.Event(), threading.Event()
        self.made: list[sqlite3.Connection] = []
        self._before = set(threading.enumerate())
        self._number = number
        self._connect: Callable[..., sqlite3.Connection] = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", self._connected)

    def _connected(self, *args: Any, **options: Any) -> sqlite3.Connection:
        self.made.append(self._connect(*args, **options))
        if len(self.made) == self._number:
            self.begun.set()
            assert self.goes_on.wait(NET_SECONDS)
        return self.made[-1]

    def all_closed(self) -> bool:
        new = set(threading.enumerate()) - self._before
        if any("_connection_worker_thread" in thread.name for thread in new):
            return False
        for one in self.made:
            with contextlib.suppress(sqlite3.ProgrammingError):
                one.total_changes  # noqa: B018 - closed ones refuse it
                return False
        return True


@pytest.mark.parametrize("number", [1, 2], ids=["to write", "to read"])
async def test_a_connection_that_comes_when_nobody_waits_any_more_is_closed(
    path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, number)

    async def work() -> None:
        async with SqliteStore(path) as store:
            await events_of(store)

    working = asyncio.create_task(work())
    await anyio.to_thread.run_sync(slow.begun.wait)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    slow.goes_on.set()
    await anyio.to_thread.run_sync(wait_until, slow.all_closed)
    assert len(slow.made) == number


async def test_all_connections_are_closed_also_by_an_end_that_is_cancelled(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, 0)
    database = SqliteDatabase(path)
    await database.connect()
    await database.describe()
    closing = asyncio.create_task(database.close())
    await asyncio.sleep(0)
    closing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await closing
    await anyio.to_thread.run_sync(wait_until, slow.all_closed)
    assert len(slow.made) == 2
