"""What is special to Postgres: servers that share it, connections that break, a server that dies under load."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random
from urllib.parse import urlsplit, urlunsplit

import anyio
import psycopg
import pytest

from tests.conftest import events_of
from tests.postgres import Cluster, free_port
from tests.storage.proxy import Cut, Moment, Proxy
from tests.waiting import NET_SECONDS, pass_seconds
from tokenward.engine.errors import ConfigurationError, StoreUnavailable
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.types import HOUR_US, MINUTE_US, random_id, system_clock
from tokenward.engine.usage import TokenUsage
from tokenward.storage.base import Record, RecordOutcome, Reserve, UsageStore
from tokenward.storage.group_commit import Patience
from tokenward.storage.postgres import PostgresStore
from tokenward.storage.postgres import database as postgres_database
from tokenward.storage.postgres.database import PostgresDatabase
from tokenward.storage.store import LedgerStore

pytestmark = pytest.mark.anyio

ALICE = Subjects("alice", "team")
RECORD = Record(user="alice", group="team", model="m", usage=TokenUsage(1), cost_nano=1)
HOLD = Reserve(subjects=ALICE, amounts=Amounts(2, 5), ttl_us=HOUR_US)
TEAM = TokenLimit("group:team", "tokens", "day", 1_000_000)
IMPATIENT = Patience(0, 0)
MOMENTS: tuple[Moment, ...] = ("before", "during", "after")


async def execute(url: str, statement: str) -> None:
    """Run a statement behind the store's back."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(statement.encode())


async def eventually(condition: Callable[[], bool]) -> None:
    """Waits until something is so, which it has to be soon."""
    with anyio.fail_after(NET_SECONDS):
        while not condition():  # noqa: ASYNC110 - what changes tells nobody
            await asyncio.sleep(0.01)


async def standing(store: UsageStore, url: str, subjects: Sequence[Subjects]) -> list[tuple[str, int, int]]:
    """How the limits of the subjects stand, which is what the ledger says when all counters are rebuilt."""
    counted = [row for one in subjects for row in await store.status(one)]
    await execute(url, "DELETE FROM quota_state")
    rebuilt = [row for one in subjects for row in await store.status(one)]
    assert [(row.limit, row.used, row.reserved) for row in counted] == [
        (row.limit, row.used, row.reserved) for row in rebuilt
    ]
    return [(row.limit.subject, row.used, row.reserved) for row in counted]


async def once(store: UsageStore, outcomes: Sequence[RecordOutcome]) -> None:
    """Each outcome names an event of its own, which stands in the ledger once."""
    counted = Counter(event.event_id for event in await events_of(store))
    assert set(counted.values()) <= {1}
    assert len({one.event_id for one in outcomes}) == len(outcomes)
    assert counted.keys() >= {one.event_id for one in outcomes}


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    """A wire to an empty schema."""
    async with Proxy(postgres_url).running() as running:
        yield running


ROWS: tuple[tuple[Moment, ...], ...] = (
    ("before", "before", "after"),
    ("during", "before", "during"),
    ("after", "after", "after"),
)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_commit_whose_reply_is_lost_is_done_once(proxy: Proxy, moment: Moment) -> None:
    outcomes: list[RecordOutcome] = []
    holds: list[str | None] = []
    async with PostgresStore(proxy.url) as store:
        await store.set_limit(TEAM)
        for _ in range(6):
            proxy.cuts.append(Cut(moment=moment))
            before = proxy.connections
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(recorded, store, RECORD, outcomes)
                for _ in range(3):
                    group.start_soon(held, store, holds)
            assert not proxy.cuts
            assert proxy.connections > before
        await once(store, outcomes)
        assert not any(one.duplicate or one.overage for one in outcomes)
        assert len(await events_of(store)) == len(outcomes) == 30
        assert len(set(holds) - {None}) == 18
        assert await standing(store, proxy.server_url, [ALICE]) == [("group:team", 30, 36)]


async def recorded(store: UsageStore, record: Record, outcomes: list[RecordOutcome]) -> None:
    outcomes.append(await store.record(record))


async def held(store: UsageStore, holds: list[str | None]) -> None:
    holds.append((await store.reserve(HOLD)).reservation_id)


async def test_replies_lost_in_a_row_are_one_event(proxy: Proxy) -> None:
    async with PostgresStore(proxy.url) as store:
        await store.set_limit(TEAM)
        for moments in ROWS:
            proxy.cuts.extend(Cut(moment=one) for one in moments)
            outcome = await store.record(RECORD)
            # Whether the server heard a COMMIT that was cut while under way is chance; then fewer are needed.
            proxy.cuts.clear()
            await once(store, [outcome])
            assert not outcome.duplicate
        await standing(store, proxy.server_url, [ALICE])
        assert len(await events_of(store)) == 3


async def test_a_settled_hold_whose_reply_is_lost_is_settled_once(proxy: Proxy) -> None:
    async with PostgresStore(proxy.url) as store:
        await store.set_limit(TEAM)
        for moment in MOMENTS:
            hold = (await store.reserve(HOLD)).reservation_id
            assert hold
            proxy.cuts.append(Cut(moment=moment))
            outcome = await store.record(Record(model="m", usage=TokenUsage(1), cost_nano=1, reservation_id=hold))
            assert (outcome.duplicate, outcome.overage) == (False, False)
            proxy.cuts.append(Cut(moment=moment))
            given = (await store.reserve(HOLD)).reservation_id
            assert given
            assert (await store.release(given)).released
        assert await standing(store, proxy.server_url, [ALICE]) == [("group:team", 3, 0)]


@pytest.mark.parametrize("later", range(7))
async def test_a_connection_dropped_in_a_transaction_is_tried_again(proxy: Proxy, later: int) -> None:
    async with PostgresStore(proxy.url) as store:
        await store.set_limit(TEAM)
        proxy.cuts.append(Cut(b"BEGIN", "before", later))
        outcomes = list(await asyncio.gather(*(store.record(RECORD) for _ in range(5))))
        # The last pieces may belong to the next transaction.
        outcomes += await asyncio.gather(*(store.record(RECORD) for _ in range(5)))
        assert not proxy.cuts
        await once(store, outcomes)
        assert await standing(store, proxy.server_url, [ALICE]) == [("group:team", 10, 0)]


async def test_a_bulk_recording_whose_reply_is_lost_is_written_once(proxy: Proxy) -> None:
    records = [Record(user="alice", model="m", usage=TokenUsage(1), cost_nano=1, event_id=f"e{n}") for n in range(1500)]
    async with PostgresStore(proxy.url) as store:
        for moment in ("before", "after"):
            proxy.cuts.append(Cut(moment=moment))
            some = records[:1_200] if moment == "before" else records[1_200:]
            outcomes = await store.record_many(some)
            assert [one.event_id for one in outcomes] == [one.event_id for one in some]
            assert not any(one.duplicate for one in outcomes)
        assert len(await events_of(store)) == 1_500


async def test_limits_set_while_the_reply_is_lost_are_an_error_and_not_in_doubt(proxy: Proxy) -> None:
    async with PostgresStore(proxy.url) as store:
        proxy.cuts.append(Cut(moment="after"))
        with pytest.raises(StoreUnavailable, match="try again"):
            await store.set_limit(TEAM)
        await store.set_limit(TEAM)
        assert await store.limits() == [TEAM]


@pytest.mark.slow
async def test_a_server_that_dies_under_load_loses_and_doubles_nothing(
    postgres_cluster: Cluster, postgres_url: str
) -> None:
    people = [Subjects(f"user{number}", "team") for number in range(8)]
    acknowledged: list[RecordOutcome] = []
    refused: list[StoreUnavailable] = []
    tasks, each = 64, 30

    async def work(store: UsageStore, task: int) -> None:
        who = people[task % len(people)]
        for _ in range(each):
            hold = None
            try:
                ask = Reserve(subjects=who, amounts=Amounts(2), ttl_us=HOUR_US, key=random_id())
                hold = (await store.reserve(ask)).reservation_id
            except StoreUnavailable as error:
                refused.append(error)
            record = Record(
                user=who.user,
                group=who.group,
                model="m",
                usage=TokenUsage(1),
                cost_nano=1,
                reservation_id=hold or "",
                event_id=random_id(),
            )
            acknowledged.append(await store.record(record))

    async def crash() -> None:
        for number in (200, 900):
            await eventually(lambda: len(acknowledged) >= number)  # noqa: B023 - called at once
            await anyio.to_thread.run_sync(postgres_cluster.kill)
            await anyio.to_thread.run_sync(postgres_cluster.start)

    async with PostgresStore(postgres_url) as store:
        for limit in (TEAM, TokenLimit("default", "cost", "month", 10**9, "calendar")):
            await store.set_limit(limit)
        async with anyio.create_task_group() as group:
            group.start_soon(crash)
            for task in range(tasks):
                group.start_soon(work, store, task)
        assert len(acknowledged) == tasks * each
        assert not any(one.duplicate for one in acknowledged)
        await once(store, acknowledged)
        assert len(await events_of(store)) == len(acknowledged)
        used = [row for row in await standing(store, postgres_url, people) if row[0] == "group:team"]
        assert {one for _, one, _ in used} == {len(acknowledged)}


def in_haste(url: str) -> str:
    """For a store that waits for a connection no longer than it must: two seconds."""
    return f"{url}&connect_timeout=2"


@asynccontextmanager
async def opened(store: LedgerStore) -> AsyncGenerator[LedgerStore]:
    """The store, open: on a busy machine two seconds may be too few for its first connection."""
    async with AsyncExitStack() as stack:
        with anyio.fail_after(NET_SECONDS):
            while True:
                with suppress(StoreUnavailable):
                    await stack.enter_async_context(store)
                    break
        yield store


async def found(store: UsageStore) -> None:
    """Record once, as soon as there is a connection."""
    with anyio.fail_after(NET_SECONDS):
        while True:
            try:
                await store.record(RECORD)
            except StoreUnavailable:
                continue
            return


async def test_a_server_that_is_away_is_said_and_found_again(proxy: Proxy) -> None:
    async with opened(PostgresStore(in_haste(proxy.url), patience=IMPATIENT)) as store:
        await found(store)
        there, proxy.server_url = (
            proxy.server_url,
            proxy.server_url.replace(f":{urlsplit(proxy.server_url).port}/", f":{free_port()}/"),
        )
        proxy.cut_all()
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="unavailable") as caught:
                await store.record(RECORD)
            assert not caught.value.lasting
        with pytest.raises(StoreUnavailable):
            await store.limits()
        proxy.server_url = there
        await found(store)
        assert len(await events_of(store)) == 2


@pytest.mark.slow
async def test_connections_that_went_silent_are_given_up(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A route was lost: nothing comes back and nothing is closed, but new connections can be made."""
    async with PostgresStore(proxy.url) as store:
        await store.set_limit(TEAM)
        first = [await store.record(RECORD), *await asyncio.gather(*(store.record(RECORD) for _ in range(3)))]
        # Several connections are made and lie idle.
        await asyncio.gather(*(store.limits() for _ in range(6)))
        proxy.silence()
        recording = asyncio.create_task(store.record(RECORD))
        await eventually(lambda: proxy.unheard == 1)
        pass_seconds(postgres_database.ANSWER_SECONDS, monkeypatch)
        outcomes = [*first, await recording]
        # The other connections on that route were not waited for one after the other.
        assert proxy.unheard == 1
        assert (await store.reserve(HOLD)).reservation_id
        assert await store.limits() == [TEAM]
        await once(store, outcomes)
        assert await standing(store, proxy.server_url, [ALICE]) == [("group:team", 5, 2)]


@pytest.mark.slow
async def test_a_connection_that_goes_silent_while_it_is_set_up_gives_its_place_back(proxy: Proxy) -> None:
    proxy.mute = b"idle_in_transaction"
    async with opened(PostgresStore(in_haste(proxy.url), pool_size=1, patience=IMPATIENT)) as store:
        await found(store)
        assert not proxy.mute


@pytest.mark.slow
async def test_a_lost_connection_is_not_asked_about_on_a_route_that_went_silent(proxy: Proxy) -> None:
    async with PostgresStore(proxy.url, patience=IMPATIENT) as store:
        await store.set_limit(TEAM)
        await found(store)
        for _ in range(3):  # several connections are made and lie idle
            await asyncio.gather(*(store.limits() for _ in range(6)))
        proxy.lose()
        await found(store)


async def test_a_pool_without_a_free_connection_is_unavailable_for_a_while(postgres_url: str) -> None:
    database = PostgresDatabase(in_haste(postgres_url), pool_size=1)
    async with opened(LedgerStore(database, new_id=random_id, patience=Patience(0.1, NET_SECONDS))) as store:
        await found(store)
        async with database.transaction():
            with pytest.raises(StoreUnavailable, match="no connection is free"):
                await store.reserve(HOLD)
            with pytest.raises(StoreUnavailable, match="no connection is free"):
                await store.limits()
            waiting = asyncio.create_task(store.record(RECORD))
            with pytest.raises(StoreUnavailable, match="no connection is free"):
                await store.reserve(HOLD)
            assert not waiting.done()
        assert not (await waiting).duplicate
        assert (await store.reserve(HOLD)).reservation_id


async def test_a_pool_of_one_connection_serves_everybody(postgres_url: str) -> None:
    async with PostgresStore(postgres_url, pool_size=1) as store:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(store.record, RECORD)
                group.start_soon(store.limits)
                group.start_soon(store.set_limit, TEAM)
        assert await standing(store, postgres_url, [ALICE]) == [("group:team", 5, 0)]


async def test_servers_see_each_others_limits_at_once(postgres_url: str) -> None:
    async with PostgresStore(postgres_url) as one, PostgresStore(postgres_url) as two:
        for limit in (10, 20, 30, 25):
            await one.set_limit(TokenLimit("user:alice", "tokens", "day", limit))
            (row,) = (await two.reserve(Reserve(subjects=ALICE, amounts=Amounts(1)))).decision.limits
            assert row.limit.limit == limit
        assert (await two.reserve(Reserve(subjects=ALICE, amounts=Amounts(25), ttl_us=HOUR_US))).reservation_id
        assert not (await one.reserve(Reserve(subjects=ALICE, amounts=Amounts(1)))).decision.allowed
        assert await two.delete_limit("user:alice", "tokens", "day")
        assert (await one.reserve(Reserve(subjects=ALICE, amounts=Amounts(1)))).decision.limits == ()


async def test_a_limit_is_set_while_many_servers_are_busy(postgres_url: str) -> None:
    """Their locks overlap without a gap; setting a limit waits for those under way and for nobody else."""
    done = Counter[int]()
    waited: list[int] = []
    servers, stop = 4, anyio.Event()

    async def busy(store: UsageStore, server: int, user: str) -> None:
        while not stop.is_set():
            await store.record(Record(user=user, model="m", usage=TokenUsage(1), cost_nano=0))
            done[server] += 1

    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(PostgresStore(postgres_url)) for _ in range(servers)]
        async with anyio.create_task_group() as group:
            for server, store in enumerate(stores):
                for task in range(8):
                    group.start_soon(busy, store, server, f"user{server}-{task}")
            await eventually(lambda: len(done) == servers)
            for limit in range(1, 11):
                before = done.total()
                await stores[0].set_limit(TokenLimit("user:alice", "tokens", "day", limit))
                waited.append(done.total() - before)
            stop.set()
    # A batch of each, the one that follows it, and some slack for the machine.
    assert sorted(waited)[len(waited) // 2] <= 8 * servers * 4


@pytest.mark.slow
async def test_servers_that_cross_each_other_never_wait_in_a_circle(postgres_url: str) -> None:
    """Users and groups are combined crosswise, and half of all subjects are new."""
    random = Random(7)
    written: list[RecordOutcome] = []

    async def work(store: UsageStore, seed: int) -> None:
        own = Random(seed)
        for number in range(12):
            new = f"{seed}-{number}"
            user = own.choice(["a", "b", "c", "d", f"n{number}", f"new{new}"])
            group = own.choice(["x", "y", "z", f"g{number}", f"new{new}"])
            who = Subjects(user, group, own.choice(["", "s", "t"]))
            hold = (await store.reserve(Reserve(subjects=who, amounts=Amounts(3), ttl_us=HOUR_US))).reservation_id
            assert hold
            usage = TokenUsage(1)
            if own.random() < 0.3:
                await store.release(hold)
                many = [Record(user=own.choice("abcd"), group=group, model="m", usage=usage, cost_nano=1)] * 3
                written.extend(await store.record_many(many))
            else:
                await recorded(store, Record(model="m", usage=usage, cost_nano=1, reservation_id=hold), written)

    async with (
        PostgresStore(postgres_url, patience=IMPATIENT) as one,
        PostgresStore(postgres_url, patience=IMPATIENT) as two,
        PostgresStore(postgres_url, patience=IMPATIENT) as three,
    ):
        for subject in ("group:x", "group:y", "session:s", "global", "default"):
            await one.set_limit(TokenLimit(subject, "tokens", "day", 1_000_000))
        # Without patience a deadlock would be an error.
        async with anyio.create_task_group() as group:
            for store in (one, two, three):
                for _ in range(24):
                    group.start_soon(work, store, random.getrandbits(32))
        rows = await standing(two, postgres_url, [Subjects("a", "x", "s"), Subjects("b", "y")])
        assert {(used, held) for subject, used, held in rows if subject == "global"} == {(len(written), 0)}
        await once(three, written)
        assert len(await events_of(three)) == len(written)


def changed(url: str, **parts: str) -> str:
    """The URL with another user, password, port or database."""
    found = urlsplit(url)
    login = ":".join(parts.get(name, "postgres") for name in ("user", "password"))
    port = parts.get("port", str(found.port))
    return urlunsplit(found._replace(netloc=f"{login}@127.0.0.1:{port}", path=f"/{parts.get('database', 'postgres')}"))


@pytest.mark.parametrize(
    ("wrong", "message", "lasting"),
    [
        ({"database": "nowhere"}, "the database does not exist", True),
        ({"port": "1"}, "cannot be made", False),
        ({"user": "nobody_here"}, "does not exist|login is refused", True),
    ],
)
async def test_a_database_that_cannot_be_opened_says_why_without_the_password(
    postgres_url: str, wrong: dict[str, str], message: str, lasting: bool
) -> None:
    url = changed(postgres_url, password="s3cret", **wrong)
    with pytest.raises(StoreUnavailable, match=message) as caught:
        async with PostgresStore(url):
            pass
    assert caught.value.lasting == lasting
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        'password authentication failed for user "p"',
        'no pg_hba.conf entry for host "10.0.0.1", user "p", database "d", no encryption',
        'role "p" is not permitted to log in',
    ],
)
async def test_a_refused_login_says_so(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """In the words of a server's refusal, which come without a code. The servers of these tests trust everybody."""

    async def refused(*_args: object, **_options: object) -> None:
        raise psycopg.OperationalError(f'connection failed: connection to server at "h" failed: FATAL:  {said}')

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", refused)
    with pytest.raises(StoreUnavailable, match="login is refused; check user and password") as caught:
        async with PostgresStore("postgresql://p:s3cret@h/d"):
            pass
    assert caught.value.lasting
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("parameter", ["nonsense=1", "connect_timeout=soon"])
def test_a_url_that_is_none_is_refused(parameter: str) -> None:
    with pytest.raises(ConfigurationError, match="not valid"):
        PostgresStore(f"postgresql://host/x?{parameter}")


async def test_the_server_tells_the_time(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before_us = system_clock()
    async with PostgresStore(postgres_url) as store:
        # The machine's own clock is of no importance once the schema stands.
        monkeypatch.setattr("time.time", lambda: 0.0)
        monkeypatch.setattr("time.time_ns", lambda: 0)
        await store.record(RECORD)
        monkeypatch.undo()
        (event,) = await events_of(store)
    assert before_us - MINUTE_US <= event.timestamp_us <= system_clock() + MINUTE_US


async def test_a_closed_store_leaves_no_connection_and_says_so(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = PostgresStore(postgres_url)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.record(RECORD)
    with caplog.at_level(logging.WARNING):
        async with store:
            await asyncio.gather(store.record(RECORD), store.limits(), store.reserve(HOLD))
    assert caplog.records == []
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.limits()
    async with store:
        assert len(await events_of(store)) == 1


async def test_a_caller_cancelled_at_any_moment_leaves_the_store_whole(postgres_url: str) -> None:
    async with PostgresStore(postgres_url) as store:
        await store.set_limit(TEAM)
        for number in range(40):
            task = asyncio.create_task(store.reserve(HOLD))
            for _ in range(number):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await store.record(RECORD)
        ((_, used, reserved),) = await standing(store, postgres_url, [ALICE])
        assert used == 1
        assert reserved % HOLD.amounts.tokens == 0


async def test_a_cancelled_worker_gives_its_connection_back(postgres_url: str) -> None:
    async with PostgresStore(postgres_url, pool_size=1) as store:
        await store.set_limit(TEAM)
        own = asyncio.all_tasks()
        for steps in range(0, 60, 3):
            asking = asyncio.create_task(store.record(RECORD))
            for _ in range(steps):
                await asyncio.sleep(0)
            for task in asyncio.all_tasks() - own:
                if "GroupCommit._work" in repr(task.get_coro()):
                    task.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await store.record(RECORD)
        await standing(store, postgres_url, [ALICE])
