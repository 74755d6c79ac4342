"""Operating-system processes on one database: they race, they die."""

import asyncio
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import anyio
import pytest

from tests.conftest import FakeClock, events_of
from tests.storage.processes import started
from tokenward.engine.budget import Share
from tokenward.engine.limits import Amounts, Subjects, TokenLimit
from tokenward.engine.types import HOUR_US, SECOND_US
from tokenward.storage.base import OpenBudget, Reserve
from tokenward.storage.factory import open_store

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PROCESSES = 8
LIMIT = 1_000


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new, empty database that several processes can open."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def race(program: str, url: str, user: str, group: str) -> int:
    """The tokens that eight processes spent together."""
    racers = [started(program, url, user.format(seed=seed), group, seed) for seed in range(PROCESSES)]
    outputs = [racer.communicate(timeout=100)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * PROCESSES
    return sum(int(output) for output in outputs)


@pytest.mark.parametrize(
    ("limits", "user"),
    [
        ([TokenLimit("user:alice", "tokens", "day", LIMIT)], "alice"),
        ([TokenLimit("group:team", "tokens", "day", LIMIT)], "user{seed}"),
        (
            [TokenLimit("user:alice", "tokens", "day", 2 * LIMIT), TokenLimit("group:team", "tokens", "hour", LIMIT)],
            "alice",
        ),
        ([TokenLimit("default", "tokens", "month", LIMIT, "calendar")], "newcomer"),
    ],
    ids=["one user", "eight users of a group", "user and group", "first request of a new subject"],
)
async def test_eight_processes_never_pass_a_limit_and_use_it_up(url: str, limits: list[TokenLimit], user: str) -> None:
    async with open_store(url) as store:
        for limit in limits:
            await store.set_limit(limit)
    admitted = race("racer", url, user, "team")
    async with open_store(url) as store:
        recorded = sum(event.usage.total_tokens for event in await events_of(store))
        rows = await store.status(Subjects(user.format(seed=0), "team"))
    assert len(rows) == len(limits)
    assert [(row.used, row.reserved) for row in rows] == [(recorded, 0)] * len(rows)
    assert recorded == admitted
    assert 0.99 * LIMIT <= recorded <= LIMIT


async def test_eight_processes_share_one_budget_and_use_it_up(url: str) -> None:
    parent = Subjects("alice", "team", "parent")
    async with open_store(url) as store:
        await store.set_limit(TokenLimit("user:alice", "tokens", "day", 2 * LIMIT))
        await store.open_budget(OpenBudget(subjects=parent, share=Share(tokens=LIMIT), ttl_us=HOUR_US))
    spent = race("slicer", url, "alice", "team")
    async with open_store(url) as store:
        recorded = sum(event.usage.total_tokens for event in await events_of(store))
        budget = await store.budget("alice", "parent")
        (row,) = await store.status(Subjects("alice", "team"))
        assert (row.used, row.reserved) == (recorded, LIMIT - recorded)
        await store.close_budget("alice", "parent")
        (row,) = await store.status(Subjects("alice", "team"))
        assert (row.used, row.reserved) == (recorded, 0)
    assert spent == recorded == budget.budget.used.tokens
    assert 0.99 * LIMIT <= recorded <= LIMIT


async def test_a_killed_holder_gives_its_hold_back(url: str, clock: FakeClock) -> None:
    async with open_store(url, clock=clock) as store:
        await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    with started("holder", url, clock()) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "holding"
        os.kill(process.pid, signal.SIGKILL)
    ask = Reserve(subjects=Subjects("alice"), amounts=Amounts(100), ttl_us=SECOND_US)
    async with open_store(url, clock=clock) as store:
        assert not (await store.reserve(ask)).decision.allowed
        clock.advance(60)
        assert (await store.reserve(ask)).decision.allowed


TASKS, EACH = 64, 12


def recorded(url: str, kill_after: int | None = None) -> dict[str, str]:
    """Let a process record under load, perhaps until it is killed; the events it acknowledged, by their keys."""
    lines: list[str] = []
    stdin = subprocess.DEVNULL if kill_after is None else subprocess.PIPE
    with started("recorder", url, TASKS, EACH, stdin=stdin) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if len(lines) == kill_after:
                os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == (0 if kill_after is None else -signal.SIGKILL)
    # The last line of a killed process may have been cut off.
    return dict(line.split() for line in lines if line.endswith("\n"))


async def test_a_process_killed_under_load_has_written_what_it_acknowledged_once(url: str) -> None:
    subjects = Subjects("user1", "team")
    async with open_store(url) as store:
        await store.set_limit(TokenLimit("group:team", "tokens", "day", 10_000))
        await store.set_limit(TokenLimit("user:user1", "requests", "day", 10_000))
    known: dict[str, str] = {}
    for kill_after in (100, 250, None):
        acknowledged = await anyio.to_thread.run_sync(recorded, url, kill_after)
        assert {key: acknowledged[key] for key in known.keys() & acknowledged.keys()} == {
            key: event_id for key, event_id in known.items() if key in acknowledged
        }
        known |= acknowledged
        async with open_store(url) as store:
            counted = Counter(event.event_id for event in await events_of(store))
        assert set(counted.values()) == {1}
        assert counted.keys() >= set(known.values())
    assert len(known) == len(set(known.values())) == len(counted) == TASKS * EACH
    async with open_store(url) as store:
        rows = await store.status(subjects)
        # Nothing is held twice either: the second process got the first one's holds and settled them.
        assert {(row.limit.subject, row.used, row.reserved) for row in rows} == {
            ("group:team", TASKS * EACH, 0),
            ("user:user1", TASKS * EACH // 4, 0),
        }


async def test_processes_racing_with_the_same_keys_write_each_event_once(url: str) -> None:
    async with open_store(url):
        pass
    found = await asyncio.gather(*(anyio.to_thread.run_sync(recorded, url) for _ in range(3)))
    assert found[0] == found[1] == found[2]
    async with open_store(url) as store:
        events = await events_of(store)
    assert len(events) == TASKS * EACH
    assert {event.event_id for event in events} == set(found[0].values())
