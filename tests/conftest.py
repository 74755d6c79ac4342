"""Fixtures of the whole suite: asyncio as the only backend, a clock that tests move, ids that count."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest

from tokenward.engine.types import SECOND_US


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
