"""Random lives of a ledger against the slow model: the same counts always, and never over the limit in any span."""

from dataclasses import dataclass

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import CountingIds, FakeClock
from tests.storage.model import Admitted, ModelLedger
from tokenward.engine.quota import Amounts, Subjects, TokenLimit
from tokenward.engine.types import MINUTE_US, SECOND_US
from tokenward.engine.usage import TokenUsage
from tokenward.storage.base import Record, Reserve, UsageStore
from tokenward.storage.factory import open_store

LIMIT = 100
ALICE = Subjects("alice")
MINUTE = TokenLimit("user:alice", "tokens", "minute", LIMIT)


@dataclass(frozen=True)
class Step:
    """One thing that happens: after ``wait`` seconds, ``action`` with ``tokens`` on the hold picked by ``pick``."""

    wait: float
    action: str
    tokens: int
    pick: int


STEPS = st.builds(
    Step,
    wait=st.sampled_from([0, 0.5, 3, 10, 25, 61, 600]),
    action=st.sampled_from(["reserve", "reserve", "reserve", "settle", "settle", "release", "extend", "toggle"]),
    tokens=st.integers(0, 60),
    pick=st.integers(0, 5),
)


class Life:
    """Drives a store and the model side by side and compares them after every step."""

    def __init__(self, store: UsageStore, clock: FakeClock) -> None:
        self.store, self.clock, self.model = store, clock, ModelLedger()
        self.holds: list[tuple[str, Admitted]] = []

    async def step(self, step: Step) -> None:
        self.clock.advance(step.wait)
        self.model.expire(self.clock())
        if step.action == "reserve":
            await self.reserve(step.tokens)
        elif step.action == "toggle":
            await self.store.delete_limit("user:alice", "tokens", "minute")
            await self.store.set_limit(MINUTE)
        else:
            live = [(name, one) for name, one in self.holds if one.expires_us is not None]
            if live:
                name, work = live[step.pick % len(live)]
                await self.on_hold(step, name, work)
        await self.compare()

    async def reserve(self, tokens: int) -> None:
        used, held = self.model.taken(MINUTE.span, self.clock())
        ttl_us = 90 * SECOND_US
        outcome = await self.store.reserve(Reserve(subjects=ALICE, amounts=Amounts(tokens), ttl_us=ttl_us))
        assert outcome.decision.allowed == (used + held + tokens <= LIMIT)
        if outcome.reservation_id is not None:
            work = Admitted(self.clock(), held=tokens, expires_us=self.clock() + ttl_us)
            self.model.work.append(work)
            self.holds.append((outcome.reservation_id, work))
        elif outcome.decision.retry_after_seconds is not None:
            later = self.clock() + outcome.decision.retry_after_seconds * SECOND_US
            assert self.model.taken_if_unused(MINUTE.span, later) + tokens <= LIMIT
            assert self.model.taken_if_unused(MINUTE.span, later - SECOND_US) + tokens > LIMIT

    async def on_hold(self, step: Step, name: str, work: Admitted) -> None:
        if step.action == "settle":
            used = min(step.tokens, work.held)
            usage = TokenUsage(used, 0)
            await self.store.record(Record(model="m", usage=usage, cost_nano=0, reservation_id=name))
            work.end(used)
        elif step.action == "release":
            await self.store.release(name)
            work.end()
        else:
            work.expires_us = max(work.expires_us or 0, self.clock() + 120 * SECOND_US)
            assert await self.store.extend(name, 120 * SECOND_US) == work.expires_us

    async def compare(self) -> None:
        (row,) = await self.store.status(ALICE)
        assert (row.used, row.reserved) == self.model.taken(MINUTE.span, self.clock())
        assert self.model.most_in(MINUTE_US) <= LIMIT


@settings(max_examples=120, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_a_ledger_lives_as_the_model_does(steps: list[Step]) -> None:
    async def live() -> None:
        clock = FakeClock()
        async with open_store("memory://", clock=clock, new_id=CountingIds()) as store:
            await store.set_limit(MINUTE)
            life = Life(store, clock)
            for step in steps:
                await life.step(step)

    anyio.run(live)
