"""Limits in their order, a page at a time, the same on every store."""

import pytest

from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import LimitQuery, TokenLimit
from tokenward.storage.base import UsageStore

pytestmark = pytest.mark.anyio

SUBJECTS = ("user:Zoë", "user:alice", "user:Alice", "user:a-b", "user:a b", "user:ab", "global", "default", "group:é")
LIMITS = [TokenLimit(subject, "tokens", "day", 1_000) for subject in SUBJECTS] + [
    TokenLimit("user:alice", "cost", "month", 5, "calendar", "Europe/Berlin"),
    TokenLimit("user:alice", "tokens", "hour", 7),
]


def place(limit: TokenLimit) -> tuple[str, str, str]:
    return (limit.subject, limit.metric, limit.window)


async def test_pages_together_are_all_limits_in_order(store: UsageStore) -> None:
    for limit in LIMITS:
        await store.set_limit(limit)
    every = await store.limits()
    assert every == sorted(LIMITS, key=place)
    assert await store.limits_page(LimitQuery()) == every
    for size in (1, 4, len(LIMITS), 100):
        found: list[TokenLimit] = []
        while page := await store.limits_page(LimitQuery(after=place(found[-1]) if found else ("", "", ""), size=size)):
            assert len(page) <= size
            found += page
        assert found == every


async def test_pages_are_filtered(store: UsageStore) -> None:
    for limit in LIMITS:
        await store.set_limit(limit)
    (found,) = await store.limits_page(LimitQuery("user:alice", "tokens", "hour"))
    assert found == LIMITS[-1]
    of_alice = await store.limits("user:alice")
    assert [one.limit for one in of_alice] == [5, 1_000, 7]
    assert await store.limits_page(LimitQuery("user:alice", size=2, after=place(of_alice[0]))) == of_alice[1:]
    assert await store.limits_page(LimitQuery(metric="cost")) == [LIMITS[-2]]
    assert await store.limits_page(LimitQuery(window="minute")) == []


async def test_what_no_database_takes_is_refused(store: UsageStore) -> None:
    for query in (
        LimitQuery("a\0b"),
        LimitQuery(metric="a\0b"),
        LimitQuery(window="\ud800"),
        LimitQuery(after=("", "\0", "")),
    ):
        with pytest.raises(InvalidInput):
            await store.limits_page(query)
