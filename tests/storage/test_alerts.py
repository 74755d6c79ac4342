"""What is done once for a whole ledger, whoever asks: telling of an alert, making the key that signs cursors."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import FakeClock
from tests.storage.processes import started
from tests.storage.requests import used
from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import Subjects, TokenLimit
from tokenward.storage.base import UsageStore
from tokenward.storage.factory import open_store
from tokenward.storage.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


async def test_an_alert_is_claimed_once(store: UsageStore, clock: FakeClock) -> None:
    claim = ("user:alice", "cost", "day", clock(), 80)
    assert await store.claim_alert(*claim)
    assert not await store.claim_alert(*claim)
    clock.advance(7_200)
    assert not await store.claim_alert(*claim)


async def test_each_part_of_an_alert_makes_another_one(store: UsageStore) -> None:
    first = ("user:alice", "cost", "day", 900, 80)
    others = [
        ("user:bob", "cost", "day", 900, 80),
        ("user:alice", "tokens", "day", 900, 80),
        ("user:alice", "cost", "month", 900, 80),
        ("user:alice", "cost", "day", 901, 80),
        ("user:alice", "cost", "day", 900, 100),
        # The parts are told apart, whatever stands in them.
        ('user:alice","cost', "", "day", 900, 80),
    ]
    for one in (first, *others):
        assert await store.claim_alert(*one)
        assert not await store.claim_alert(*one)


async def test_one_of_many_tasks_gets_it(store: UsageStore) -> None:
    got = await asyncio.gather(*(store.claim_alert("global", "tokens", "hour", 0, 100) for _ in range(50)))
    assert sorted(got) == [False] * 49 + [True]


async def test_an_alert_can_be_claimed_while_its_subject_works(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 1_000))
    outcomes = await asyncio.gather(
        *(store.record(used(1)) for _ in range(20)), *(store.claim_alert("user:alice", "t", "d", 0, 80) for _ in "ab")
    )
    assert sorted(outcomes[20:], key=bool) == [False, True]
    (row,) = await store.status(Subjects("alice"))
    assert row.used == 20
    await store.delete_limit("user:alice", "tokens", "day")
    assert not await store.claim_alert("user:alice", "t", "d", 0, 80)


@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
async def test_it_is_remembered_longer_than_any_window_and_then_forgotten(url: str, clock: FakeClock) -> None:
    claim = ("user:alice", "cost", "month", 0, 80)
    for days, claimed in ((0, True), (34, False), (2, True)):
        clock.advance(days * 86_400)
        async with open_store(url, clock=clock) as store:
            # Whatever writes answers also forgets old ones.
            await store.record(used(1, key=f"after {days}"))
            assert await store.claim_alert(*claim) is claimed


@pytest.mark.parametrize(
    ("claim", "field"),
    [
        (("user:\0", "cost", "day", 0, 80), "subject"),
        (("user:alice", "\ud800", "day", 0, 80), "metric"),
        (("user:alice", "cost", "\0", 0, 80), "window"),
        (("user:alice", "cost", "day", -1, 80), "window_start_us"),
        (("user:alice", "cost", "day", 2**62, 80), "window_start_us"),
        (("user:alice", "cost", "day", 0, -80), "percent"),
        (("user:alice", "cost", "day", 0, 80.5), "percent"),
    ],
)
async def test_what_is_no_alert_is_refused(
    store: UsageStore, claim: tuple[str, str, str, int, int], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await store.claim_alert(*claim)
    assert refused.value.field == field


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new, empty database that several processes can open."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.mark.slow
@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
def test_eight_processes_claim_each_alert_once_and_share_one_key(url: str) -> None:
    claimers = [started("claimer", url, 30) for _ in range(8)]
    lines = [claimer.communicate(timeout=100)[0].split() for claimer in claimers]
    assert [claimer.returncode for claimer in claimers] == [0] * 8
    assert sorted(int(user) for _, *users in lines for user in users) == list(range(30))
    assert len({key for key, *_ in lines}) == 1


async def test_the_cursors_key_stays(store: UsageStore) -> None:
    keys = await asyncio.gather(*(store.cursor_key() for _ in range(5)))
    assert len(set(keys)) == 1
    assert type(keys[0]) is bytes
    assert len(keys[0]) == 32


@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
async def test_the_cursors_key_is_the_ledgers(url: str, tmp_path: Path) -> None:
    async with open_store(url) as first, open_store(url) as second:
        assert await first.cursor_key() == await second.cursor_key()
    async with open_store(url) as again, open_store(f"sqlite:///{tmp_path / 'another.db'}") as other:
        assert await again.cursor_key() == await first.cursor_key()
        assert await again.cursor_key() != await other.cursor_key()


async def test_a_key_is_made_when_it_is_first_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        async with SqliteStore(path) as store:
            await store.record(used(1))
            assert connection.execute("SELECT count(*) FROM ledger_secret").fetchall() == [(0,)]
            key = await store.cursor_key()
            assert connection.execute("SELECT name, value FROM ledger_secret").fetchall() == [("cursor", key.hex())]
