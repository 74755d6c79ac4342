"""Fixtures of the whole suite: asyncio as the only backend, a clock that tests move, ids that count, Postgres."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partialmethod
from itertools import count

import pytest
from hypothesis import HealthCheck, settings

from tests.loopback import raise_loopback
from tests.postgres import Cluster, running_cluster
from tests.waiting import NET_SECONDS
from tokenward.engine.types import SECOND_US
from tokenward.engine.usage import UsageEvent
from tokenward.storage.base import UsageStore
from tokenward.storage.postgres.pg_tiktoken import PgTiktoken


@pytest.fixture
def anyio_backend() -> str:
    """The backend of every asynchronous test: the drivers are asyncio's."""
    return "asyncio"


@dataclass
class FakeClock:
    """A clock that stands still until a test moves it. Starts on 2026-11-21 12:00:00 UTC."""

    now_us: int = 1_795_262_400 * SECOND_US

    def __call__(self) -> int:
        return self.now_us

    def advance(self, seconds: float) -> None:
        self.now_us += round(seconds * SECOND_US)


@dataclass
class CountingIds:
    """Identifiers 1, 2, 3 … with a prefix."""

    prefix: str = "id-"

    def __post_init__(self) -> None:
        self._numbers: Iterator[int] = count(1)

    def __call__(self) -> str:
        return f"{self.prefix}{next(self._numbers)}"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def new_id() -> CountingIds:
    return CountingIds()


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A Postgres server, started by the first test that asks for it."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def postgres_url(postgres_cluster: Cluster) -> Iterator[str]:
    """The URL of an empty place in Postgres: a schema of its own, the only one in which names are looked up."""
    with postgres_cluster.schema() as url:
        yield url


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: a quarter of the time tests wait for a process, a disk or a clock."""
    return (os.cpu_count() or 1) + 1


def pytest_configure() -> None:
    """Servers of the tests listen on loopback, also where the network is cut off; no example has to be quick.

    A change is judged by the same examples each time; those that are new each time are for who looks for bugs.
    """
    raise_loopback()
    settings.register_profile(
        "any machine",
        settings(),
        deadline=None,
        derandomize="TOKENWARD_EXPLORE" not in os.environ,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("any machine")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it when tests were skipped for want of a program: nobody reads the letters s among the dots."""
    reports: list[pytest.TestReport] = terminalreporter.stats.get("skipped", [])
    reasons = Counter(one.longrepr[2] for one in reports if isinstance(one.longrepr, tuple))
    for reason, times in reasons.items():
        said = reason.removeprefix("Skipped: ")
        if re.match(r"No \w+ for the tests: ", said):
            terminalreporter.write_line(f"WARNING: {times} tests skipped. {said}", yellow=True)


async def events_of(store: UsageStore) -> list[UsageEvent]:
    """All events of a store, oldest first."""
    return [event async for event in store.events(0, 2**62)]


@pytest.fixture
def patient_pg_tiktoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the server is that the tests run on, it is asked to count."""
    monkeypatch.setattr(PgTiktoken, "__init__", partialmethod(PgTiktoken.__init__, timeout_seconds=NET_SECONDS))
