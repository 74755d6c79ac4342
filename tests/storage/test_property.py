"""Random lives of a ledger against the slow model: the same counts always, and never over the limit in any span."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import CountingIds, FakeClock, events_of
from tests.postgres import Cluster
from tests.storage.model import Admitted, ModelLedger, Pot, Sums, payers, sums, sums_of
from tokenward.engine.budget import Share
from tokenward.engine.limits import Amounts, Metric, Subjects, TokenLimit
from tokenward.engine.types import HOUR_US, MINUTE_US, SECOND_US
from tokenward.engine.usage import Dimension, TokenUsage, UsageEvent, UsageQuery, UsageSum
from tokenward.storage.base import OpenBudget, Record, RecordOutcome, Reserve, UsageStore
from tokenward.storage.factory import open_store

USERS = ("alice", "bob")
SESSIONS = ("outer", "inner")
LIMITS = (
    TokenLimit("user:alice", "tokens", "minute", 100),
    TokenLimit("user:bob", "requests", "minute", 8),
    TokenLimit("group:team", "tokens", "hour", 250),
    TokenLimit("session:outer", "tokens", "minute", 90),
    TokenLimit("global", "cost", "minute", 120),
    TokenLimit("global", "tokens", "day", 700, "calendar", "Europe/Berlin"),
)
LENGTHS = {"minute": MINUTE_US, "hour": HOUR_US}


@dataclass(frozen=True)
class Step:
    """One thing that happens: after ``wait`` seconds (the clock may go back), ``action``, sized and picked."""

    wait: float
    action: str
    user: str
    session: str
    tokens: int
    cost: int
    pick: int


ACTIONS = (
    *("reserve",) * 6,
    *("settle", "settle", "settle", "settle above", "release", "extend", "record", "record many"),
    *("open", "open", "open inner", "open inner", "close", "limit", "no limit", "rebuild"),
)
STEPS = st.builds(
    Step,
    wait=st.sampled_from([0, 0, 0, 0.5, 3, 10, 25, 61, 600, -0.5, -7, -40]),
    action=st.sampled_from(ACTIONS),
    user=st.sampled_from(("alice", "alice", "alice", "bob")),
    session=st.sampled_from(("", "outer", "inner", "inner")),
    tokens=st.integers(0, 60),
    cost=st.integers(0, 40),
    pick=st.integers(0, 9),
)


class Life:
    """Drives a store and the model side by side and compares them after every step."""

    def __init__(self, store: UsageStore, clock: FakeClock, forget: Callable[[UsageStore], Awaitable[None]]) -> None:
        self.store, self.clock, self.model, self.forget = store, clock, ModelLedger(), forget
        self.holds: list[tuple[str, Admitted]] = []
        self.latest_us = clock.now_us
        self.kept_to = True
        """Nobody used more than they held, and no limit was changed."""

    async def begin(self) -> None:
        for limit in LIMITS:
            await self.store.set_limit(limit)
        self.model.limits = list(LIMITS)

    async def step(self, step: Step) -> None:
        # Never back by more than the shortest window: what is further ahead than that is ignored.
        self.clock.now_us = max(self.clock.now_us + round(step.wait * SECOND_US), self.latest_us - 55 * SECOND_US)
        self.latest_us = max(self.latest_us, self.clock.now_us)
        self.model.expire(self.clock())
        steps: dict[str, Callable[[Step], Awaitable[None]]] = {
            "reserve": self.reserve,
            "record": self.record,
            "record many": self.record_many,
            "open": self.open,
            "open inner": self.open,
            "close": self.close,
            "limit": self.limit,
            "no limit": self.limit,
            "rebuild": self.rebuild,
        }
        await steps.get(step.action, self.on_hold)(step)
        await self.compare()

    def place(self, step: Step) -> tuple[Subjects, frozenset[str], Pot | None]:
        """Who asks: what the store is told, who counts it, and the budget it stands in."""
        pot = self.model.pot(step.user, step.session)
        told = Subjects(step.user, "" if pot else "team", step.session)
        return told, pot.inner_names if pot else frozenset(told.names), pot

    async def reserve(self, step: Step) -> None:
        subjects, names, pot = self.place(step)
        size = 5 if pot else 1
        asked, ttl_us = Amounts(step.tokens // size, step.cost // size), (10 + 20 * step.pick) * SECOND_US
        fits = self.model.fits(names, pot, sums_of(asked), self.clock())
        outcome = await self.store.reserve(Reserve(subjects=subjects, amounts=asked, ttl_us=ttl_us))
        assert outcome.decision.allowed == fits
        assert (outcome.reservation_id is not None) == fits
        if outcome.reservation_id is not None:
            work = Admitted(self.clock(), names, sums_of(asked), expires_us=self.clock() + ttl_us, pot=pot)
            self.model.hold(work)
            self.holds.append((outcome.reservation_id, work))

    async def on_hold(self, step: Step) -> None:
        live = [(name, one) for name, one in self.holds if one.expires_us is not None]
        if not live:
            return
        name, work = live[step.pick % len(live)]
        if step.action == "release":
            assert (await self.store.release(name)).released
            self.model.settle(work, None)
        elif step.action == "extend":
            work.expires_us = max(work.expires_us or 0, self.clock() + 120 * SECOND_US)
            assert await self.store.extend(name, 120 * SECOND_US) == work.expires_us
        else:
            await self.settle(step, name, work)

    async def settle(self, step: Step, name: str, work: Admitted) -> None:
        above = step.action == "settle above"
        tokens = work.held["tokens"] + step.tokens if above else min(step.tokens, work.held["tokens"])
        cost = min(step.cost, work.held["cost"])
        more = tokens > work.held["tokens"]
        self.model.settle(work, sums(tokens, cost, 1))
        self.kept_to &= not more
        usage = TokenUsage(tokens, 0)
        outcome = await self.store.record(Record(model="m", usage=usage, cost_nano=cost, reservation_id=name))
        assert outcome.overage == more

    def unheld(self, step: Step, tokens: int) -> tuple[Record, bool]:
        """Usage without a hold, and whether it is more than was allowed."""
        subjects, names, pot = self.place(step)
        at_us = self.clock() + {7: -1_200, 8: -15, 9: 3_600}.get(step.pick, 0) * SECOND_US
        spend = sums(tokens, step.cost, 1)
        lacking = any(payer.left[metric] < spend[metric] for payer, metric in payers(pot))
        self.model.hold(Admitted(min(at_us, self.clock()), names, used=spend, pot=pot))
        self.kept_to = False
        record = Record(
            model=f"m{step.pick % 2}",
            usage=TokenUsage(tokens, 0),
            cost_nano=step.cost,
            user=subjects.user,
            group=subjects.group,
            session=subjects.session,
            at_us=at_us,
        )
        return record, lacking or self.model.over(names, self.clock())

    async def record(self, step: Step) -> None:
        record, over = self.unheld(step, step.tokens)
        assert (await self.store.record(record)).overage == over

    async def record_many(self, step: Step) -> None:
        expected = [self.unheld(step, tokens) for tokens in (step.tokens, 1, step.tokens // 2)]
        outcomes: list[RecordOutcome] = await self.store.record_many([record for record, _ in expected])
        assert [one.overage for one in outcomes] == [over for _, over in expected]

    async def open(self, step: Step) -> None:
        parent = "outer" if step.action == "open inner" else ""
        session = "inner" if parent else "outer"
        above = self.model.pot(step.user, parent)
        if self.model.pot(step.user, session) or (parent and not above):
            return
        names = above.inner_names if above else frozenset(Subjects(step.user, "team").names)
        size = 2 if parent else 1
        given: dict[Metric, int] = {"tokens": step.tokens // size} if step.tokens > 1 else {"requests": 3}
        if step.pick % 2:
            given["cost"] = step.cost // size
        share = Share(given.get("tokens"), given.get("cost"), given.get("requests"))
        wanted: Sums = sums_of(share.amounts)
        fits = self.model.fits(names, above, wanted, self.clock())
        ttl_us = (30 + 120 * step.pick) * SECOND_US
        request = OpenBudget(subjects=Subjects(step.user, "team", session), share=share, parent=parent, ttl_us=ttl_us)
        outcome = await self.store.open_budget(request)
        assert outcome.decision.allowed == (outcome.budget is not None) == fits
        if fits:
            expires_us = self.clock() + ttl_us
            self.model.give(Pot(session, names, frozenset(given), self.clock(), wanted, expires_us, above))

    async def close(self, step: Step) -> None:
        if (pot := self.model.pot(step.user, step.session)) is not None:
            closed = await self.store.close_budget(step.user, step.session)
            assert sums_of(closed.remaining) == self.model.close(pot)

    async def limit(self, step: Step) -> None:
        self.kept_to = False
        one = LIMITS[step.pick % len(LIMITS)]
        others = [other for other in self.model.limits if key_of(other) != key_of(one)]
        standing = len(others) < len(self.model.limits)
        if step.action == "limit":
            changed = replace(one, limit=one.limit * (step.tokens + 30) // 60)
            await self.store.set_limit(changed)
            self.model.limits = [*others, changed]
        else:
            assert await self.store.delete_limit(*key_of(one)) == standing
            self.model.limits = others

    async def rebuild(self, _: Step) -> None:
        await self.forget(self.store)

    async def compare(self) -> None:
        now_us = self.clock()
        places = [(user, session) for user in USERS for session in ("", *SESSIONS)]
        pots = [self.model.pot(*place) for place in places]
        told = [
            Subjects(user, "" if pot else "team", session) for (user, session), pot in zip(places, pots, strict=True)
        ]
        # All asked at once, so that it is one batch.
        statuses, budgets = await asyncio.gather(
            asyncio.gather(*[self.store.status(one) for one in told]),
            asyncio.gather(*[self.store.budget(*place) for place, pot in zip(places, pots, strict=True) if pot]),
        )
        for subjects, pot, rows in zip(told, pots, statuses, strict=True):
            names = pot.inner_names if pot else subjects.names
            expected = {key_of(one): self.model.taken(one, now_us) for one in self.model.limits if one.subject in names}
            assert {key_of(one.limit): (one.used, one.reserved) for one in rows} == expected
        for pot, status in zip([one for one in pots if one], budgets, strict=True):
            assert (sums_of(status.remaining), sums_of(status.budget.used)) == (pot.left, pot.used)
        if self.kept_to:
            for one in LIMITS:
                if length_us := LENGTHS.get(one.window):
                    assert self.model.most_in(one.subject, one.metric, length_us) <= one.limit

    async def compare_sums(self, ranges: list[tuple[int, int]]) -> None:
        """What reports say, from the rollup, is what the events say."""
        events = await events_of(self.store)
        settled = [one for one in self.model.work if one.used["requests"]]
        assert len(events) == len(settled)
        dimensions: tuple[Dimension, ...] = ("user", "model", "session", "group", "endpoint", "quarter_hour")
        for start, length in ranges:
            for dimension in dimensions:
                for user in (None, "alice"):
                    start_us = START_US + start * SECOND_US
                    query = UsageQuery(start_us, start_us + length * SECOND_US, dimension, user)
                    assert await self.store.usage(query) == slow_usage(events, query)


START_US = FakeClock().now_us


def key_of(limit: TokenLimit) -> tuple[str, str, str]:
    return limit.subject, limit.metric, limit.window


def slow_usage(events: list[UsageEvent], query: UsageQuery) -> list[UsageSum]:
    """A report, one event after the other."""
    found: dict[str, UsageSum] = {}
    for one in events:
        if query.start_us <= one.timestamp_us < query.end_us and query.user in (None, one.user):
            quarter_hour = one.timestamp_us // (900 * SECOND_US)
            key = str(quarter_hour if query.dimension == "quarter_hour" else getattr(one, query.dimension))
            line = UsageSum(key, 1, one.usage.input_tokens, cost_nano=one.cost_nano or 0)
            found[key] = found[key].plus(line) if key in found else line
    return [found[key] for key in sorted(found)]


@dataclass(frozen=True)
class Plan:
    """A whole life: its steps, whether everybody keeps to the rules, and what is asked for in the end."""

    steps: list[Step]
    honest: bool
    ranges: list[tuple[int, int]]


PLANS = st.builds(
    Plan,
    steps=st.lists(STEPS, min_size=10, max_size=30),
    honest=st.booleans(),
    ranges=st.lists(
        st.tuples(st.sampled_from([-7200, -901, -1, 0, 1, 450, 900]), st.sampled_from([0, 1, 900, 901, 20_000]))
    ),
)
DISHONEST = ("settle above", "record", "record many", "limit", "no limit")


async def live(url: str, plan: Plan, forget: Callable[[UsageStore], Awaitable[None]]) -> None:
    """One life, and the same ledger opened again."""
    clock = FakeClock()
    async with open_store(url, clock=clock, new_id=CountingIds()) as store:
        life = Life(store, clock, forget)
        await life.begin()
        for step in plan.steps:
            if not (plan.honest and step.action in DISHONEST):
                await life.step(step)
        await life.compare_sums(plan.ranges)
    if url != "memory://":
        async with open_store(url, clock=clock, new_id=CountingIds("later-")) as store:
            life.store = store
            await life.compare()
            await forget(store)
            await life.compare()


async def limits_anew(store: UsageStore) -> None:
    """Set every limit as it stands: what was counted for them is forgotten."""
    for limit in await store.limits():
        await store.set_limit(limit)


@settings(max_examples=60, deadline=None)
@given(PLANS)
def test_a_ledger_in_memory_lives_as_the_model_does(plan: Plan) -> None:
    anyio.run(live, "memory://", plan, limits_anew)


@settings(max_examples=8, deadline=None)
@given(PLANS)
def test_a_ledger_in_a_file_lives_as_the_model_does(plan: Plan) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"

        async def forget(_: UsageStore) -> None:
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("DELETE FROM quota_state")

        anyio.run(live, f"sqlite:///{path}", plan, forget)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLANS)
def test_a_ledger_in_postgres_lives_as_the_model_does(postgres_cluster: Cluster, plan: Plan) -> None:
    with postgres_cluster.schema() as url:

        async def forget(_: UsageStore) -> None:
            with psycopg.connect(url) as connection:
                connection.execute("DELETE FROM quota_state")

        anyio.run(live, url, plan, forget)
