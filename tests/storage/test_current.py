"""Whether the schema is the one that this tokenward knows."""

import pytest

from tokenward.storage.base import UsageStore

pytestmark = pytest.mark.anyio


async def test_a_store_that_was_just_connected_is_current(store: UsageStore) -> None:
    assert await store.is_current()
