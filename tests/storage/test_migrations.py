"""The schema's versions: many processes migrate at once, a newer schema is refused, an older ledger is taken along."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.conftest import CountingIds, FakeClock, events_of
from tests.storage.processes import started
from tokenward.engine.errors import SchemaTooNew, StoreUnavailable
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.types import HOUR_US
from tokenward.engine.usage import TokenUsage, UsageQuery
from tokenward.storage.base import HourlyUsage, Record, Reserve
from tokenward.storage.factory import open_store
from tokenward.storage.migrate import latest_version, migrations
from tokenward.storage.postgres import PostgresStore
from tokenward.storage.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


def start_six(url: str) -> None:
    """Six processes open a store at once; each finds it ready and without limits."""
    starters = [started("starter", url) for _ in range(6)]
    assert [one.communicate(timeout=100)[0].strip() for one in starters] == ["0"] * 6
    assert [one.returncode for one in starters] == [0] * 6


@pytest.mark.slow
def test_processes_starting_at_once_apply_each_migration_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.db"
    start_six(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        versions = connection.execute("SELECT version FROM schema_version ORDER BY 1").fetchall()
    assert versions == [(version,) for version, _ in migrations("sqlite")]


@pytest.mark.slow
def test_servers_starting_at_once_apply_each_migration_once(postgres_url: str) -> None:
    start_six(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        versions = connection.execute("SELECT version FROM schema_version WHERE version > 0 ORDER BY 1").fetchall()
        meta = connection.execute("SELECT count(*) FROM ledger_meta").fetchone()
    assert versions == [(version,) for version, _ in migrations("postgres")]
    assert meta == (2,)


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_migrations_are_numbered_without_gaps(dialect: str) -> None:
    assert [version for version, _ in migrations(dialect)] == list(range(1, latest_version(dialect) + 1))


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with SqliteStore(path):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO schema_version VALUES (9999, 0)")
        before = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY 1").fetchall()
        with pytest.raises(SchemaTooNew, match=f"9999.*{latest_version('sqlite')}"):
            async with SqliteStore(path):
                pass
        assert connection.execute("SELECT name, sql FROM sqlite_master ORDER BY 1").fetchall() == before


async def test_a_newer_schema_in_postgres_is_refused(postgres_url: str) -> None:
    async with PostgresStore(postgres_url) as store:
        await store.record(Record(user="alice", model="m", usage=TokenUsage(1), cost_nano=1))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("INSERT INTO schema_version VALUES (9999, 0)")
        with pytest.raises(SchemaTooNew, match=f"9999.*{latest_version('postgres')}"):
            async with PostgresStore(postgres_url):
                pass
        connection.execute("DELETE FROM schema_version WHERE version = 9999")
    async with PostgresStore(postgres_url) as store:
        assert len(await events_of(store)) == 1


async def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """A table of the second version's name is in the way: the ledger stays at the first, whole and usable by it."""
    path = tmp_path / "ledger.db"
    first_version(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE usage_hourly_all (x)")
        before = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY 1").fetchall()
        with pytest.raises(sqlite3.OperationalError, match="usage_hourly_all"):
            async with SqliteStore(path):
                pass
        assert connection.execute("SELECT name, sql FROM sqlite_master ORDER BY 1").fetchall() == before
        connection.execute("DROP TABLE usage_hourly_all")
    async with SqliteStore(path) as store:
        assert len(await events_of(store)) == 4


async def test_a_schema_that_cannot_be_written_is_unavailable(postgres_url: str) -> None:
    with pytest.raises(StoreUnavailable, match="read-only"):
        async with PostgresStore(f"{postgres_url}%20-cdefault_transaction_read_only%3Don"):
            pass


NOON_US = FakeClock().now_us
MONTH_US = 1_793_491_200_000_000
LATER_US = NOON_US + 61_000_000
LAST_US = NOON_US + 3_661_000_000

USAGE = [
    (*event, *rest)
    for event, rest in (
        (
            ("id-5", NOON_US, NOON_US, "alice", "team", "s1", "m", 30, 10, 0, 0, 0, 0, 40, 4_500_000_000),
            ("p", "chat", "normal", "id-1", 0),
        ),
        (
            ("id-6", LATER_US, LATER_US, "alice", "team", "s1", "m", 7, 0, 0, 0, 0, 0, 7, None),
            ("", "", "normal", "id-4", 1),
        ),
        (
            ("id-7", LAST_US, LAST_US, "bob", "", "", "n", 5, 5, 0, 2, 1, 0, 10, 1),
            ("", "", "normal", "", 0),
        ),
        (
            ("id-8", LAST_US, LAST_US, "bob", "", "", "n", 1, 0, 0, 0, 0, 0, 1, 1),
            ("", "", "normal", "", 0),
        ),
    )
]
LIMITS = (
    ("group:team", "cost", "month", 10**12, "calendar", "UTC"),
    ("user:alice", "tokens", "day", 1_000, "rolling", "UTC"),
)
STATES = (
    ("group:team", f'{{"cost/month@UTC":[[{MONTH_US},4500000000,5000000000]]}}', LATER_US),
    ("user:alice", '{"tokens/day":[[498684,47,50]]}', LATER_US),
)
PENDING = ("id-2", "alice", "team", "s1", "m", 50, 5_000_000_000, 1, NOON_US, NOON_US + 2 * HOUR_US)
OF_ALICE = '"tokens": 50, "cost_nano": 5000000000, "user": "alice", "group": "team", "session": "s1"'
FIRST = '{"event_id": "id-5", "user": "alice", "cost_nano": 4500000000, "overage": false}'
LATE = '{"event_id": "id-6", "user": "alice", "cost_nano": null, "overage": true}'
OF_BOB = '{"event_id": "id-7", "user": "bob", "cost_nano": 1, "overage": false}'
ANSWERS = (
    ("ended", "id-1", f'{{"ended": "settled", {OF_ALICE}}}'),
    ("ended", "id-3", f'{{"ended": "released", {OF_ALICE}}}'),
    ("ended", "id-4", f'{{"ended": "expired", {OF_ALICE}}}'),
    ("record", "alice\nkey call 1", FIRST),
    ("record", "alice\nreservation id-1", FIRST),
    ("record", "alice\nreservation id-4", LATE),
    ("record", "bob\nkey call 2", OF_BOB),
    ("reserve", "alice\nhold pending", f'{{"reservation_id": "id-2", "expires_us": {NOON_US + 2 * HOUR_US}}}'),
    ("reserve", "alice\nhold released", f'{{"reservation_id": "id-3", "expires_us": {NOON_US + 2 * HOUR_US}}}'),
    ("reserve", "alice\nhold settled", f'{{"reservation_id": "id-1", "expires_us": {NOON_US + 2 * HOUR_US}}}'),
)


def first_version(path: Path) -> None:
    """A ledger as version 1 wrote it: alice settled, released and let holds expire, one pends; bob just recorded."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(dict(migrations("sqlite"))[1])
        connection.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL) STRICT")
        for table, rows in (
            ("schema_version", [(1, NOON_US)]),
            ("token_usage", USAGE),
            ("token_limits", LIMITS),
            ("quota_state", STATES),
            ("reservation", [PENDING]),
            ("event_key", [(*answer, NOON_US) for answer in ANSWERS]),
        ):
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)


@pytest.fixture
def upgraded(tmp_path: Path, clock: FakeClock) -> str:
    """The URL of a ledger of version 1, over an hour after it began."""
    path = tmp_path / "ledger.db"
    first_version(path)
    clock.now_us = LAST_US
    return f"sqlite:///{path}"


async def test_an_upgrade_keeps_events_limits_and_counters(upgraded: str, clock: FakeClock) -> None:
    async with open_store(upgraded, clock=clock, new_id=CountingIds("new-")) as store:
        assert [(one.event_id, one.usage.total_tokens, one.tier) for one in await events_of(store)] == [
            ("id-5", 40, "standard"),
            ("id-6", 7, "standard"),
            ("id-7", 10, "standard"),
            ("id-8", 1, "standard"),
        ]
        assert await store.limits("user:alice") == [TokenLimit("user:alice", "tokens", "day", 1_000)]
        rows = await store.status(Subjects("alice", "team"))
        assert {row.limit.subject: (row.used, row.reserved) for row in rows} == {
            "group:team": (4_500_000_000, 5_000_000_000),
            "user:alice": (47, 50),
        }
        status = await store.describe()
        assert (status.schema_version, status.events, status.holds, status.pruned_before_us) == (
            latest_version("sqlite"),
            *(4, 1, 0),
        )


async def test_an_upgrade_sums_up_what_there_was(upgraded: str, clock: FakeClock) -> None:
    async with open_store(upgraded, clock=clock, new_id=CountingIds("new-")) as store:
        await store.record(Record(user="bob", model="n", usage=TokenUsage(100), cost_nano=10))
        lines = [line async for line in store.hourly(2**62)]
        assert [(line.user, line.group, line.model, line.endpoint, numbers(line)) for line in lines] == [
            ("alice", "team", "m", "", (1, 7, 0, 0, 1)),
            ("alice", "team", "m", "chat", (1, 30, 10, 4_500_000_000, 0)),
            ("bob", "", "n", "", (3, 106, 5, 12, 0)),
        ]
        sums = await store.usage(UsageQuery(0, 2**53, "model"))
        assert {one.key: (one.requests, one.cost_nano) for one in sums} == {"m": (2, 4_500_000_000), "n": (3, 12)}


def numbers(line: HourlyUsage) -> tuple[int, ...]:
    one = line.sums
    return one.requests, one.input_tokens, one.output_tokens, one.cost_nano, one.unpriced_requests


@pytest.mark.parametrize(
    ("asked", "event_id"),
    [
        ({"user": "alice", "key": "call 1"}, "id-5"),
        ({"reservation_id": "id-1"}, "id-5"),
        ({"reservation_id": "id-1", "key": "another"}, "id-5"),
        ({"reservation_id": "id-4"}, "id-6"),
        ({"user": "bob", "key": "call 2"}, "id-7"),
    ],
)
async def test_an_upgrade_keeps_the_answers_to_records(
    upgraded: str, clock: FakeClock, asked: dict[str, str], event_id: str
) -> None:
    async with open_store(upgraded, clock=clock, new_id=CountingIds("new-")) as store:
        record = Record(model="m", usage=TokenUsage(1), cost_nano=1, **asked)  # type: ignore[arg-type]
        for _ in range(2):
            outcome = await store.record(record)
            assert (outcome.event_id, outcome.duplicate) == (event_id, True)
        assert len(await events_of(store)) == 4


async def test_an_upgrade_keeps_the_answers_to_holds(upgraded: str, clock: FakeClock) -> None:
    def asked(key: str) -> Reserve:
        subjects, amounts = Subjects("alice", "team", "s1"), Amounts(50, 5_000_000_000)
        return Reserve(subjects=subjects, amounts=amounts, model="m", ttl_us=HOUR_US, key=key)

    async with open_store(upgraded, clock=clock, new_id=CountingIds("new-")) as store:
        assert (await store.reserve(asked("hold settled"))).reservation_id == "id-1"
        assert (await store.reserve(asked("hold pending"))).reservation_id == "id-2"
        assert (await store.reserve(asked("hold released"))).reservation_id not in ("id-3", None)
        assert (await store.release("id-3")).released
        assert (await store.release("id-4")).ended == "expired"
        assert (await store.release("id-1")).ended == "settled"
        record = Record(model="m", usage=TokenUsage(20), cost_nano=1, reservation_id="id-2")
        assert not (await store.record(record)).overage
        (row,) = await store.status(Subjects("alice"))
        assert (row.used, row.reserved) == (67, 50)


async def test_an_upgrade_expires_what_was_pending(upgraded: str, clock: FakeClock) -> None:
    clock.now_us += HOUR_US
    async with open_store(upgraded, clock=clock, new_id=CountingIds("new-")) as store:
        assert await store.expire() == 1
        (row,) = await store.status(Subjects("alice"))
        assert (row.used, row.reserved) == (47, 0)
