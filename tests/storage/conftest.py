"""The stores that every contract test runs on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import CountingIds, FakeClock
from tokenward.storage.base import UsageStore
from tokenward.storage.factory import open_store


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new, empty store of each kind."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
async def store(store_url: str, clock: FakeClock, new_id: CountingIds) -> AsyncIterator[UsageStore]:
    """A connected store of each kind."""
    async with open_store(store_url, clock=clock, new_id=new_id) as opened:
        yield opened
