"""What a review of the stores found: servers that cross each other, full disks, retries, backlogs, narrow rights."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import aiosqlite
import anyio
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.conftest import CountingIds, FakeClock, events_of
from tests.storage.requests import ALICE, TTL_US, give, given, hold, left, taken, used, work_in
from tokenward.engine.budget import Budget
from tokenward.engine.errors import InvalidInput, StoreOverloaded, StoreUnavailable
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.types import SECOND_US, random_id
from tokenward.engine.usage import Dimension, UsageQuery
from tokenward.performance import Performance
from tokenward.storage.base import Operation, Record, RecordMany, Release, UsageStore
from tokenward.storage.factory import open_store
from tokenward.storage.group_commit import Batch, GroupCommit, Patience
from tokenward.storage.postgres import PostgresStore
from tokenward.storage.postgres.database import PostgresDatabase
from tokenward.storage.postgres.transaction import PostgresTransaction
from tokenward.storage.sqlite import SqliteStore
from tokenward.storage.sqlite.transaction import SqliteTransaction
from tokenward.storage.store import LedgerStore
from tokenward.storage.transaction import MOST_EXPIRED

pytestmark = pytest.mark.anyio

WORKER = Subjects("alice", "", "worker")
LIMIT = TokenLimit("user:alice", "tokens", "day", 100_000)
EVER = 2**53
BULK = 10_000


def changed(url: str, *, option: str = "", **parameters: str) -> str:
    """The URL with other parameters, and with one more option for the server."""
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), **parameters}
    if option:
        query["options"] = f"{query.get('options', '')} {option}".strip()
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))


async def rebuilt(store: UsageStore, limit: TokenLimit = LIMIT) -> tuple[int, int]:
    """(used, reserved) of alice's limit, which a rebuild from the ledger does not change."""
    counted = await taken(store)
    # Setting a limit drops the states that it touches.
    await store.set_limit(limit)
    assert await taken(store) == counted
    return counted


@dataclass(frozen=True, slots=True)
class Servers:
    """Two stores on one database, and a look at how many of their transactions wait for a lock."""

    one: PostgresStore
    two: PostgresStore
    url: str
    name: str

    @asynccontextmanager
    async def held_up(self, subject: str) -> AsyncGenerator[None]:
        """Nobody can lock the subject's state meanwhile."""
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            found = await connection.execute("SELECT 1 FROM quota_state WHERE subject = %s FOR UPDATE", [subject])
            assert found.rowcount == 1
            yield
            await connection.rollback()

    async def waiting(self, count: int) -> None:
        """Returns once so many transactions wait for a lock."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            with anyio.fail_after(60):
                while await (await connection.execute(query, [self.name])).fetchone() != (count,):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)


@pytest.fixture
async def servers(postgres_url: str) -> AsyncIterator[Servers]:
    """Two servers that know alice's limit and that her state is there."""
    name = random_id()
    url = changed(postgres_url, application_name=name)
    async with PostgresStore(url) as one, PostgresStore(url) as two:
        await one.set_limit(LIMIT)
        for store in (one, two):
            await store.status(ALICE)
            await store.status(WORKER)
        yield Servers(one, two, postgres_url, name)


async def test_a_key_that_two_servers_use_at_once_is_one_hold(servers: Servers) -> None:
    """Both look for the key before either has its locks."""
    request = hold(100, key="same")
    async with servers.held_up("user:alice"):
        asked = [asyncio.create_task(store.reserve(request)) for store in (servers.one, servers.two)]
        await servers.waiting(2)
    first, second = await asyncio.gather(*asked)
    assert first.reservation_id
    assert first.reservation_id == second.reservation_id
    assert (first.expires_us, first.differs) == (second.expires_us, second.differs)
    assert (await servers.one.describe()).holds == 1
    assert await rebuilt(servers.two) == (0, 100)
    assert (await servers.two.release(first.reservation_id)).released
    assert await rebuilt(servers.one) == (0, 0)


async def test_a_budget_opened_between_look_and_lock_is_kept_to(servers: Servers) -> None:
    """The other server looked for a budget when there was none, and has its locks when there is one."""
    async with servers.held_up("user:alice"):
        opening = asyncio.create_task(given(servers.one, give("worker", tokens=10)))
        await servers.waiting(1)
        asking = asyncio.create_task(work_in(servers.two, "worker", 5_000))
        await servers.waiting(2)
    await opening
    refused = await asking
    assert (refused.decision.allowed, refused.reservation_id) == (False, None)
    assert isinstance(refused.decision.denied_by, Budget)
    assert await rebuilt(servers.one) == (0, 10)
    assert await left(servers.one, "worker") == Amounts(10, 0, 0)


async def test_work_that_waited_for_a_budget_to_open_draws_on_it(servers: Servers) -> None:
    async with servers.held_up("user:alice"):
        opening = asyncio.create_task(given(servers.one, give("worker", tokens=10)))
        await servers.waiting(1)
        asking = asyncio.create_task(work_in(servers.two, "worker", 4))
        await servers.waiting(2)
    await opening
    reservation_id = str((await asking).reservation_id)
    assert (await left(servers.one, "worker")).tokens == 6
    assert await rebuilt(servers.one) == (0, 10)
    await servers.two.record(used(3, None, reservation_id))
    assert (await left(servers.two, "worker")).tokens == 7
    assert await rebuilt(servers.two) == (3, 7)
    closed = await servers.one.close_budget("alice", "worker")
    assert (closed.budget.used.tokens, closed.remaining.tokens) == (3, 7)
    assert await rebuilt(servers.one) == (3, 0)


Fault: TypeAlias = Literal["undone", "reply lost"]


class Faulty(PostgresDatabase):
    """A database whose next transactions are undone, or committed without a word.

    Attributes:
        faults: What happens to the next transactions.
        between: Done after one that was undone, before anybody knows.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.faults: deque[Fault] = deque()
        self.between: Callable[[], Awaitable[object]] | None = None

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[PostgresTransaction]:
        fault = self.faults.popleft() if self.faults else None
        try:
            async with super().transaction() as tx:
                yield tx
                if fault == "undone":
                    raise StoreUnavailable("dropped before its COMMIT")  # noqa: TRY301
        except StoreUnavailable:
            if self.between is not None:
                await self.between()
            raise
        if fault == "reply lost":
            raise StoreUnavailable("the reply to COMMIT was lost")


async def test_a_retry_without_changes_answers_for_itself(postgres_url: str) -> None:
    """The first try gave a hold and was undone; the second refused it and was committed, which nobody heard."""
    database = Faulty(postgres_url)
    async with LedgerStore(database, new_id=random_id) as store, PostgresStore(postgres_url) as other:
        await store.set_limit(replace(LIMIT, limit=100))
        assert await taken(store) == (0, 0)
        database.between = lambda: other.reserve(hold(100))
        database.faults.extend(["undone", "reply lost"])
        outcome = await store.reserve(hold(100))
        assert not database.faults
        assert (outcome.decision.allowed, outcome.reservation_id) == (False, None)
        assert (await store.describe()).holds == 1
        assert await rebuilt(store, replace(LIMIT, limit=100)) == (0, 100)


async def test_a_retry_with_changes_answers_for_itself(postgres_url: str) -> None:
    """The hold of the try that was undone was never given; the one that is named stands in the ledger."""
    database = Faulty(postgres_url)
    async with LedgerStore(database, new_id=CountingIds()) as store:
        await store.set_limit(LIMIT)
        database.faults.extend(["undone", "reply lost", "undone"])
        outcome = await store.reserve(hold(100))
        assert not database.faults
        assert (await store.release(str(outcome.reservation_id))).released
        assert await rebuilt(store) == (0, 0)


@dataclass(slots=True)
class SmallFile:
    """A ledger in a file that grows no further than it is let."""

    store: SqliteStore
    connection: aiosqlite.Connection
    path: Path
    reservation_id: str

    async def may_grow(self, pages: int) -> None:
        ((count,),) = await self.connection.execute_fetchall("PRAGMA page_count")
        await self.connection.execute_fetchall(f"PRAGMA max_page_count = {count + pages}")

    def rows(self) -> dict[str, list[Any]]:
        """Everything in the ledger's tables, read behind the store's back."""
        with sqlite3.connect(self.path) as other:
            names = [name for (name,) in other.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            found = {name: other.execute(f'SELECT * FROM "{name}"').fetchall() for name in names}
        other.close()
        return found


@pytest.fixture
async def small(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SmallFile]:
    """A ledger with a limit, a few events and a hold of 100, whose store has no patience."""
    opened: list[aiosqlite.Connection] = []
    connect = aiosqlite.connect

    def remembered(*args: Any, **options: Any) -> aiosqlite.Connection:
        opened.append(connect(*args, **options))
        return opened[-1]

    monkeypatch.setattr(aiosqlite, "connect", remembered)
    path = tmp_path / "ledger.db"
    async with SqliteStore(path, clock=clock, new_id=CountingIds(), patience=Patience(0, 0)) as store:
        await store.set_limit(LIMIT)
        for number in range(3):
            await store.record(used(10, key=f"before-{number}"))
        reservation_id = str((await store.reserve(hold(100))).reservation_id)
        yield SmallFile(store, opened[0], path, reservation_id)


def large(number: int, reservation_id: str = "") -> Record:
    """An event that takes two pages, the key another."""
    return replace(used(20, ALICE, reservation_id, key=f"{number}" * 5_000), price_source="p" * 6_000)


async def agreed(store: UsageStore) -> list[int]:
    """The tokens of every event, on which events, rollup and counters agree."""
    events = await events_of(store)
    spent = sorted(event.usage.total_tokens for event in events)
    dimensions: list[Dimension] = ["user", "model", "session", "group", "endpoint", "quarter_hour"]
    for dimension in dimensions:
        sums = await store.usage(UsageQuery(0, EVER, dimension))
        assert sum(one.requests for one in sums) == len(events)
        assert sum(one.input_tokens for one in sums) == sum(spent)
    lines = [line async for line in store.hourly(EVER)]
    assert sum(line.sums.requests for line in lines) == len(events)
    assert (await rebuilt(store))[0] == sum(spent)
    return spent


@pytest.mark.parametrize("pages", range(13))
async def test_a_file_that_is_full_in_the_middle_of_a_batch_holds_nothing_of_it(small: SmallFile, pages: int) -> None:
    """One page more lets one statement more through before SQLite gives up."""
    store = small.store
    before = small.rows()
    await small.may_grow(pages)
    batch = [large(1, small.reservation_id), large(2), large(3)]
    said = await asyncio.gather(*map(store.record, batch), return_exceptions=True)
    assert all("the disk is full" in str(one) for one in said)
    assert small.rows() == before
    assert (await store.describe()).holds == 1
    await small.may_grow(1_000)
    assert await agreed(store) == [10, 10, 10]
    assert await taken(store) == (30, 100)
    outcomes = await asyncio.gather(*map(store.record, batch))
    assert not any(one.duplicate for one in outcomes)
    assert await agreed(store) == [10, 10, 10, 20, 20, 20]
    assert await taken(store) == (90, 0)


@pytest.mark.parametrize("statement", ["quota_state", "reservation", "event_key", "token_usage", "usage_hourly"])
async def test_a_statement_at_which_sqlite_rolls_back_by_itself_leaves_nothing(
    small: SmallFile, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk's error is answered so, in the middle of what a batch writes."""
    before, broken, many = small.rows(), True, SqliteTransaction._many  # pyright: ignore[reportPrivateUsage]

    async def breaking(tx: SqliteTransaction, sql: str, values: Any) -> None:
        nonlocal broken
        if broken and statement in sql:
            broken = False
            # This is what SQLite does at that statement.
            await small.connection.rollback()
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR"
            raise error
        await many(tx, sql, values)

    monkeypatch.setattr(SqliteTransaction, "_many", breaking)
    with pytest.raises(StoreUnavailable, match="the disk reported an error"):
        await small.store.record(large(1, small.reservation_id))
    assert not broken
    assert small.rows() == before
    assert not (await small.store.record(large(1, small.reservation_id))).duplicate
    assert await agreed(small.store) == [10, 10, 10, 20]
    assert await taken(small.store) == (50, 0)


def bulk(user: str, count: int = BULK) -> list[Record]:
    return [used(1, Subjects(user), event_id=f"{user}-{number}") for number in range(count)]


async def test_many_events_of_many_callers_and_single_ones_take_turns(store_url: str, clock: FakeClock) -> None:
    meter, done = Performance().ledger, list[str]()

    async def many(user: str) -> None:
        outcomes = await store.record_many(bulk(user))
        assert len({one.event_id for one in outcomes}) == BULK
        done.append(user)

    async def single(name: str) -> None:
        await store.record(used(1, Subjects(name)))
        done.append(name)

    async with open_store(store_url, clock=clock, meter=meter) as store:
        await store.set_limit(TokenLimit("default", "tokens", "day", 10**12))
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(many(f"many{number}"))
                group.create_task(single(f"single{number}"))
        sums = await store.usage(UsageQuery(0, EVER, "user"))
    assert (meter.commits.count, meter.operations.total) == (5, 10)
    turns = [[f"many{number}", f"single{number}"] for number in range(5)]
    assert [sorted(done[at : at + 2]) for at in range(0, 10, 2)] == turns
    assert {one.key: one.requests for one in sums} == {name: BULK if "many" in name else 1 for name in done}


class Gate:
    """A commit that waits until it is let through."""

    def __init__(self) -> None:
        self.batches: list[list[Operation]] = []
        self.free = asyncio.Event()
        self.error: StoreUnavailable | None = None

    async def __call__(self, batch: Batch) -> Sequence[object]:
        self.batches.append(list(batch.operations))
        await self.free.wait()
        if self.error:
            raise self.error
        return list(batch.operations)


def gated(max_waiting: int) -> tuple[Gate, GroupCommit]:
    gate = Gate()
    return gate, GroupCommit(gate, new_id=CountingIds(), patience=Patience(0, 0), max_waiting=max_waiting)


def submitted(together: GroupCommit, operations: Sequence[Operation]) -> list["asyncio.Task[Operation]"]:
    return [asyncio.create_task(together.submit(one)) for one in operations]


async def settled() -> None:
    """Everything that can go on without waiting has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


MANY = RecordMany(bulk("alice"))


async def test_a_batch_holds_many_events_of_one_caller_at_most() -> None:
    gate, together = gated(10_000)
    gate.free.set()
    asked: list[Operation] = [MANY, MANY, *(Release(str(number)) for number in range(30)), MANY, Release("last")]
    assert await asyncio.gather(*submitted(together, asked)) == asked
    # Nobody overtakes: what did not fit beside 10,000 events waits with those behind it.
    assert [one for batch in gate.batches for one in batch] == asked
    assert [sum(isinstance(one, RecordMany) for one in batch) for batch in gate.batches] == [1, 1, 0, 1]
    small: list[Operation] = [RecordMany(bulk("alice", 100))] * 100
    gate.batches.clear()
    assert await asyncio.gather(*submitted(together, small)) == small
    assert [len(batch) for batch in gate.batches] == [85, 15]


async def test_too_many_events_that_wait_are_refused() -> None:
    gate, together = gated(1_000)
    asked = submitted(together, [MANY])
    await settled()
    asked += submitted(together, [MANY, MANY])
    await settled()
    assert (len(gate.batches), len(together)) == (1, 2)
    for one in (MANY, Release("1")):
        with pytest.raises(StoreOverloaded):
            await together.submit(one)
    gate.free.set()
    assert await asyncio.gather(*asked) == [MANY] * 3
    assert await together.submit(Release("1")) == Release("1")


async def test_events_whose_callers_gave_up_weigh_nothing() -> None:
    gate, together = gated(1_000)
    gate.error = StoreUnavailable("away")
    asked = submitted(together, [MANY])
    await settled()
    asked += submitted(together, [MANY, MANY])
    await settled()
    gate.free.set()
    said = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in said] == [StoreUnavailable] * 3
    assert len(gate.batches) == 1
    gate.error = None
    assert await asyncio.gather(*submitted(together, [MANY, MANY])) == [MANY] * 2


async def test_a_backlog_of_holds_ends_a_thousand_at_a_time(store: UsageStore, clock: FakeClock) -> None:
    people = [Subjects(f"user{number}", "team") for number in range(50)]
    team = TokenLimit("group:team", "tokens", "day", 10**9)
    await store.set_limit(team)
    await store.set_limit(TokenLimit("default", "tokens", "day", 10**9))
    over = [replace(hold(10, people[number % 50]), ttl_us=SECOND_US + number) for number in range(3 * MOST_EXPIRED)]
    outcomes = await asyncio.gather(*map(store.reserve, over))
    await store.reserve(hold(7, people[0]))
    clock.advance(2)
    assert (await store.describe()).holds == 3 * MOST_EXPIRED + 1
    held: list[int] = []
    for _ in range(4):
        # Every question is a batch, and ends some.
        (row,) = [one for one in await store.status(people[1]) if one.limit == team]
        held.append(row.reserved)
    assert held == [20_007, 10_007, 7, 7]
    assert await store.expire() == 0
    assert (await store.describe()).holds == 1
    for one in (outcomes[0], outcomes[-1]):
        assert (await store.release(str(one.reservation_id))).ended == "expired"
    await store.set_limit(team)
    assert [row.reserved for row in await store.status(people[0])] == [7, 7]


async def test_what_names_a_hold_deep_in_a_backlog_is_answered(store: UsageStore, clock: FakeClock) -> None:
    await store.set_limit(LIMIT)
    over = [replace(hold(1), ttl_us=SECOND_US + number) for number in range(2 * MOST_EXPIRED)]
    outcomes = await asyncio.gather(*map(store.reserve, over))
    clock.advance(2)
    late = await store.record(used(5, None, str(outcomes[-1].reservation_id)))
    assert not late.duplicate
    assert await store.expire() <= MOST_EXPIRED
    assert await store.expire() == 0
    assert await rebuilt(store) == (5, 0)


async def test_one_event_id_of_two_users_is_refused_with_all_that_came_with_it(store: UsageStore) -> None:
    await store.set_limit(LIMIT)
    bob = Subjects("bob")
    many = [used(1, key="k"), used(10, event_id="e"), used(10, event_id="e"), used(10, bob, event_id="e")]
    with pytest.raises(InvalidInput, match=r"another user") as caught:
        await store.record_many(many)
    assert caught.value.field == "records[3].event_id"
    assert await events_of(store) == []
    assert await store.usage(UsageQuery(0, EVER, "user")) == []
    assert await rebuilt(store) == (0, 0)
    outcomes = await store.record_many(many[:3])
    assert [one.duplicate for one in outcomes] == [False, False, True]
    assert await rebuilt(store) == (11, 0)


async def test_one_event_id_of_two_users_by_way_of_a_hold_is_refused(store: UsageStore) -> None:
    await store.set_limit(LIMIT)
    reservation_id = str((await store.reserve(hold(50))).reservation_id)
    many = [used(10, Subjects("bob"), event_id="e"), used(10, None, reservation_id, event_id="e")]
    with pytest.raises(InvalidInput, match="another user") as caught:
        await store.record_many(many)
    assert caught.value.field == "records[1].event_id"
    assert await events_of(store) == []
    assert await rebuilt(store) == (0, 50)


@pytest.mark.parametrize("character", ["\0", "\ud800"])
async def test_questions_with_characters_that_no_database_keeps_are_refused(store: UsageStore, character: str) -> None:
    wrong = f"a{character}"
    asks: dict[str, Callable[[], Awaitable[object]]] = {
        "subject": lambda: store.limits(f"user:{wrong}"),
        "subject ": lambda: store.delete_limit(f"user:{wrong}", "tokens", "day"),
        "metric": lambda: store.delete_limit("user:a", wrong, "day"),
        "window": lambda: store.delete_limit("user:a", "tokens", wrong),
        "user": lambda: store.usage(UsageQuery(0, EVER, "model", wrong)),
    }
    for field, ask in asks.items():
        with pytest.raises(InvalidInput, match="no database keeps") as caught:
            await ask()
        assert caught.value.field == field.strip()
    assert await store.limits() == []


@pytest.fixture
async def clerk_url(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a ledger for a role that may read and write its tables, and create nothing."""
    async with PostgresStore(postgres_url):
        pass
    role = Identifier(f"clerk_{random_id()}")
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        found = await (await connection.execute("SELECT current_schema()")).fetchone()
        assert found is not None
        schema = Identifier(str(found[0]))
        await connection.execute(SQL("CREATE ROLE {}").format(role))
        try:
            await connection.execute(SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, role))
            tables = SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO {}")
            await connection.execute(tables.format(schema, role))
            yield changed(postgres_url, option=f"-crole={role.as_string(connection).strip(chr(34))}")
        finally:
            await connection.execute(SQL("DROP OWNED BY {}").format(role))
            await connection.execute(SQL("DROP ROLE {}").format(role))


async def test_a_role_that_may_only_read_and_write_keeps_the_ledger(clerk_url: str) -> None:
    with psycopg.connect(clerk_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE TABLE more (one integer)")
    async with PostgresStore(clerk_url) as store:
        await store.set_limit(LIMIT)
        reservation_id = str((await store.reserve(hold(50))).reservation_id)
        await store.record(used(20, None, reservation_id, key="k"))
        await store.record_many(bulk("alice", 1_500))
        await given(store, give("worker", tokens=10))
        assert (await work_in(store, "worker", 4)).reservation_id
        assert await rebuilt(store) == (1_520, 10)
        assert len(await events_of(store)) == 1_501
        assert await store.limits() == [LIMIT]
        assert await store.prune(0) == 0
        assert await store.delete_limit(LIMIT.subject, LIMIT.metric, LIMIT.window)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_a_server_with_another_isolation_by_default_keeps_to_the_limit(postgres_url: str, isolation: str) -> None:
    escaped = isolation.replace(" ", "\\ ")
    url = changed(postgres_url, option=f"-cdefault_transaction_isolation={escaped}")
    with psycopg.connect(url) as connection:
        assert connection.execute("SHOW transaction_isolation").fetchone() == (isolation,)
    limit = replace(LIMIT, limit=200)
    # Without patience a transaction that is not serializable would be an error.
    async with PostgresStore(url, patience=Patience(0, 0)) as one, PostgresStore(url, patience=Patience(0, 0)) as two:
        await one.set_limit(limit)
        asked = [store.reserve(hold(10)) for _ in range(24) for store in (one, two)]
        outcomes = await asyncio.gather(*asked)
        holds = [str(outcome.reservation_id) for outcome in outcomes if outcome.reservation_id]
        assert len(set(holds)) == len(holds) == 20
        assert await rebuilt(one, limit) == (0, 200)
        settling = [store.record(used(3, None, name)) for store, name in zip([one, two] * 10, holds, strict=True)]
        await asyncio.gather(*settling)
        assert await rebuilt(two, limit) == (60, 0)


async def test_many_events_in_many_budgets_count_in_their_own(store: UsageStore) -> None:
    await store.set_limit(LIMIT)
    sessions = [f"s{number}" for number in range(300)]
    await asyncio.gather(*(given(store, give(name, tokens=20)) for name in sessions))
    spent = [number % 5 + 1 for number in range(300)]
    many = [
        used(tokens, Subjects("alice", "", name), event_id=f"{name}-{turn}")
        for turn in range(3)
        for name, tokens in zip(sessions, spent, strict=True)
    ]
    await store.record_many(many)
    for name, tokens in zip(sessions, spent, strict=True):
        status = await store.budget("alice", name)
        assert (status.budget.used, status.remaining) == (Amounts(3 * tokens, 0, 3), Amounts(20 - 3 * tokens, 0, 0))
    assert await rebuilt(store) == (3 * sum(spent), 300 * 20 - 3 * sum(spent))
    await asyncio.gather(*(store.close_budget("alice", name) for name in sessions))
    assert await rebuilt(store) == (3 * sum(spent), 0)


async def test_a_budget_that_is_closed_and_opened_in_one_batch_is_the_new_one(store: UsageStore) -> None:
    await store.set_limit(LIMIT)
    first = await given(store, give("worker", tokens=50))
    _, closed, opened, _, status = await asyncio.gather(
        store.record(used(3, WORKER)),
        store.close_budget("alice", "worker"),
        store.open_budget(give("worker", tokens=20, ttl_us=2 * TTL_US)),
        store.record_many([used(4, WORKER), used(1, WORKER)]),
        store.budget("alice", "worker"),
    )
    assert (closed.budget.budget_id, closed.budget.used.tokens, closed.remaining.tokens) == (first, 3, 47)
    assert opened.budget is not None
    assert opened.budget.budget.budget_id == status.budget.budget_id != first
    assert (status.budget.used.tokens, status.remaining.tokens) == (5, 15)
    assert await rebuilt(store) == (8, 15)
