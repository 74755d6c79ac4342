"""With a user's name, only that user's holds can be ended or made longer, and sessions have owners; on every store."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias

import pytest

from tests.conftest import FakeClock
from tests.storage.requests import TTL_US, hold, taken, used
from tokenward.engine.budget import Share
from tokenward.engine.errors import UnknownReservation
from tokenward.engine.limits import Subjects, TokenLimit
from tokenward.engine.types import SECOND_US
from tokenward.storage.base import OpenBudget, Record, UsageStore
from tokenward.storage.transaction import KEEP_ANSWERS_US

pytestmark = pytest.mark.anyio

Try: TypeAlias = Callable[[UsageStore, str, str], Awaitable[object]]

TRIES: dict[str, Try] = {
    "release": lambda store, name, user: store.release(name, user),
    "extend": lambda store, name, user: store.extend(name, 2 * TTL_US, user),
}


@pytest.mark.parametrize("user", ["bob", "Alice", "alic"])
@pytest.mark.parametrize("name", TRIES)
async def test_a_hold_of_others_is_as_none(store: UsageStore, name: str, user: str) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    held = str((await store.reserve(hold(60))).reservation_id)
    with pytest.raises(UnknownReservation) as theirs:
        await TRIES[name](store, held, user)
    with pytest.raises(UnknownReservation) as none:
        await TRIES[name](store, "0" * len(held), user)
    assert str(theirs.value).replace(held, "0" * len(held)) == str(none.value)
    assert await taken(store) == (0, 60)


async def test_ones_own_hold(store: UsageStore, clock: FakeClock) -> None:
    held = str((await store.reserve(hold(60))).reservation_id)
    assert await store.extend(held, 2 * TTL_US, "alice") == clock() + 2 * TTL_US
    assert (await store.release(held, "alice")).released
    assert (await store.release(held, "alice")).released


async def test_how_the_hold_of_others_ended_is_not_told(store: UsageStore) -> None:
    released, settled = [str((await store.reserve(hold(5))).reservation_id) for _ in range(2)]
    await store.release(released)
    await store.record(used(5, None, settled))
    for name in (released, settled):
        with pytest.raises(UnknownReservation):
            await store.release(name, "bob")
        with pytest.raises(UnknownReservation):
            await store.extend(name, TTL_US, "bob")


async def test_a_hold_of_others_is_not_settled(store: UsageStore) -> None:
    await store.set_limit(TokenLimit("user:alice", "tokens", "day", 100))
    held = str((await store.reserve(hold(60))).reservation_id)
    event = used(5, None, held)
    stolen = Record(
        model=event.model, usage=event.usage, cost_nano=event.cost_nano, user="bob", reservation_id=held, key="k"
    )
    with pytest.raises(UnknownReservation) as theirs:
        await store.record(stolen)
    # Nor is it told that there is one, before it ends and after.
    with pytest.raises(UnknownReservation) as none:
        await store.record(replace(stolen, reservation_id="0" * len(held)))
    assert str(theirs.value).replace(held, "0" * len(held)) == str(none.value)
    assert await taken(store) == (0, 60)
    await store.record(event)
    with pytest.raises(UnknownReservation):
        await store.record(stolen)


async def test_a_session_is_whose_it_was_first(store: UsageStore) -> None:
    assert await store.claim_session("alice", "s")
    assert not await store.claim_session("bob", "s")
    assert await store.claim_session("alice", "s")
    assert await store.claim_session("bob", "S")


async def test_of_many_who_claim_a_session_at_once_one_gets_it(store: UsageStore) -> None:
    users = [f"user {number}" for number in range(20)]
    got = await asyncio.gather(*(store.claim_session(user, "s") for user in users))
    assert got.count(True) == 1
    assert await store.claim_session(users[got.index(True)], "s")


async def test_a_budget_opens_its_session_to_its_user(store: UsageStore) -> None:
    assert await store.claim_session("mallory", "s")
    await store.open_budget(OpenBudget(subjects=Subjects("alice", session="s"), share=Share(tokens=10), ttl_us=TTL_US))
    assert await store.claim_session("alice", "s")
    assert not await store.claim_session("bob", "s")


async def test_a_session_is_free_again_when_its_claim_is_forgotten(store: UsageStore, clock: FakeClock) -> None:
    assert await store.claim_session("alice", "s")
    clock.advance(KEEP_ANSWERS_US / SECOND_US + 60)
    assert await store.claim_session("alice", "other")
    assert await store.claim_session("bob", "s")
