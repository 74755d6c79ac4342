"""What a store says of its queue and its holds, on each store."""

import pytest

from tests.conftest import FakeClock
from tokenward.engine.limits import Amounts, Subjects
from tokenward.engine.types import SECOND_US
from tokenward.storage.base import Reserve, UsageStore

pytestmark = pytest.mark.anyio


async def test_holds_are_those_that_have_not_ended(store: UsageStore, clock: FakeClock) -> None:
    ask = Reserve(subjects=Subjects("alice"), amounts=Amounts(10), ttl_us=60 * SECOND_US)
    held = [(await store.reserve(ask)).reservation_id for _ in range(3)]
    assert await store.holds() == 3
    assert held[0] is not None
    await store.release(held[0])
    assert await store.holds() == 2
    clock.advance(120)
    await store.expire()
    assert await store.holds() == 0


async def test_nothing_waits_once_all_is_answered(store: UsageStore) -> None:
    await store.expire()
    assert store.waiting == 0
