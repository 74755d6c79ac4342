"""Operating-system processes on one SQLite file: they race, they die, they start at once."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import FakeClock
from tokenward.engine.quota import Amounts, Subjects, TokenLimit
from tokenward.engine.types import SECOND_US, system_clock
from tokenward.storage.base import Reserve
from tokenward.storage.factory import open_store
from tokenward.storage.migrate import migrations

pytestmark = pytest.mark.anyio

PROCESSES = 8
LIMIT = 2_000
RACER = Path(__file__).with_name("racer.py")
STARTER = Path(__file__).with_name("starter.py")
HOLDER = Path(__file__).with_name("holder.py")


def race(url: str, user: str, group: str) -> int:
    """The tokens that eight processes were admitted together."""
    racers = [
        subprocess.Popen(
            [sys.executable, str(RACER), url, user.format(seed=seed), group, str(seed)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(PROCESSES)
    ]
    outputs = [racer.communicate(timeout=100)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * PROCESSES
    return sum(int(output) for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "user"),
    [
        (TokenLimit("user:alice", "tokens", "day", LIMIT), "alice"),
        (TokenLimit("group:team", "tokens", "day", LIMIT), "user{seed}"),
        (TokenLimit("default", "tokens", "month", LIMIT, "calendar"), "newcomer"),
    ],
    ids=["one user", "eight users of a group", "first request of a new subject"],
)
async def test_eight_processes_never_pass_a_limit_and_use_it_up(tmp_path: Path, limit: TokenLimit, user: str) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with open_store(url) as store:
        await store.set_limit(limit)
    admitted = race(url, user, "team")
    async with open_store(url) as store:
        recorded = sum(event.usage.total_tokens for event in await store.events(0, system_clock() + SECOND_US))
        (row,) = await store.status(Subjects(user.format(seed=0), "team"))
    assert recorded == admitted == row.used
    assert row.reserved == 0
    assert 0.99 * LIMIT <= recorded <= LIMIT


@pytest.mark.slow
def test_processes_starting_at_once_apply_each_migration_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.db"
    starters = [
        subprocess.Popen([sys.executable, str(STARTER), f"sqlite:///{path}"], stdout=subprocess.PIPE) for _ in range(6)
    ]
    assert [one.communicate(timeout=100)[0].strip() for one in starters] == [b"0"] * 6
    with closing(sqlite3.connect(path)) as connection:
        versions = connection.execute("SELECT version FROM schema_version ORDER BY 1").fetchall()
    assert versions == [(version,) for version, _ in migrations("sqlite")]


@pytest.mark.slow
async def test_a_killed_holder_gives_its_hold_back(tmp_path: Path, clock: FakeClock) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with open_store(url, clock=clock) as store:
        await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    command = [sys.executable, str(HOLDER), url, str(clock())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "holding"
        os.kill(process.pid, signal.SIGKILL)
    ask = Reserve(subjects=Subjects("alice"), amounts=Amounts(100), ttl_us=SECOND_US)
    async with open_store(url, clock=clock) as store:
        assert not (await store.reserve(ask)).decision.allowed
        clock.advance(60)
        assert (await store.reserve(ask)).decision.allowed
