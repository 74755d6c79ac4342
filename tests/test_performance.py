"""What a process counts of itself: buckets, what it is told by real work, and that no name of a caller's gets in."""

import json
from collections.abc import AsyncIterator, Sequence
from itertools import count

import anyio
import pytest

from tests.conftest import CountingIds, FakeClock
from tests.scripted_store import ScriptedStore
from tests.test_tracker import made_tracker
from tests.waiting import NET_SECONDS
from tokenward import QuotaRequest, RecordRequest, TokenUsage
from tokenward.engine.catalog import Catalog
from tokenward.engine.errors import StoreOverloaded, StoreUnavailable
from tokenward.engine.limits import Subjects, TokenLimit
from tokenward.performance import MOST_MODELS, OTHER, SECONDS, Histogram, Performance, named_models
from tokenward.requests import BudgetRequest
from tokenward.service import Tokenward
from tokenward.storage.base import Status
from tokenward.storage.group_commit import Batch, GroupCommit, Patience
from tokenward.sync import SyncTokenward

pytestmark = pytest.mark.anyio

SECRET = "my secret words"


class Ticking:
    """A timer that goes on by a second each time it is read."""

    def __init__(self) -> None:
        self._seconds = count()

    def __call__(self) -> float:
        return float(next(self._seconds))


@pytest.fixture
async def service(clock: FakeClock, new_id: CountingIds) -> AsyncIterator[Tokenward]:
    limit = TokenLimit("default", "tokens", "day", 10_000)
    async with Tokenward.open("memory://", limits=[limit], clock=clock, new_id=new_id) as opened:
        yield opened


def test_a_value_falls_into_the_bucket_whose_bound_it_reaches() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 7.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert (histogram.count, histogram.total) == (5, 12.0)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ((), 0.5, 0.0),
        ((1.5,), 0.5, 1.5),
        ((0.5, 0.5, 1.5, 1.5), 0.5, 1.0),
        ((0.5, 0.5, 1.5, 1.5), 1.0, 2.0),
        ((9.0,), 0.5, 2.0),
        ((0.5, 9.0), 0.95, 2.0),
    ],
)
def test_a_quantile_is_a_point_within_its_bucket(values: Sequence[float], share: float, expected: float) -> None:
    histogram = Histogram((1.0, 2.0))
    for value in values:
        histogram.observe(value)
    assert histogram.quantile(share) == pytest.approx(expected)


async def test_a_hold_its_usage_and_the_commits_are_counted(service: Tokenward) -> None:
    held = await service.check_quota(
        QuotaRequest(model="claude-sonnet-4-5", input_tokens=100, max_output_tokens=50, reserve=True)
    )
    usage = TokenUsage(100, 20, cached_input_tokens=40, cache_write_tokens=10, reasoning_tokens=5)
    request = RecordRequest(
        model="Claude-Sonnet-4-5", usage=usage, reservation_id=held.reservation_id, idempotency_key="a"
    )
    receipt = await service.record_usage(request)
    await service.record_usage(request)
    done = service.performance
    assert dict(done.checks) == {"allowed": 1}
    assert dict(done.reservations) == {"held": 1, "settled": 1}
    assert dict(done.events) == {"new": 1, "duplicate": 1}
    kinds = {"input": 100, "output": 20, "cache_read": 40, "cache_write": 10, "reasoning": 5}
    assert dict(done.tokens) == {("anthropic", "claude-sonnet-4-5", kind): tokens for kind, tokens in kinds.items()}
    assert dict(done.cost_nano) == {("anthropic", "claude-sonnet-4-5"): receipt.cost_nano}
    assert done.ledger.waits.count == 3
    assert done.ledger.operations.total == 3
    assert done.ledger.commits.count == done.ledger.operations.count


async def test_a_release_and_a_denial_are_counted_by_what_denied(service: Tokenward) -> None:
    held = await service.check_quota(QuotaRequest(tokens=100, reserve=True))
    assert held.reservation_id is not None
    await service.release_quota(held.reservation_id)
    await service.check_quota(QuotaRequest(user=SECRET, tokens=20_000))
    done = service.performance
    assert dict(done.reservations) == {"held": 1, "released": 1}
    assert dict(done.checks) == {"allowed": 1, "denied": 1}
    assert dict(done.denials) == {("default", "tokens", "day"): 1}


async def test_a_sessions_budget_denies_without_its_name(service: Tokenward) -> None:
    await service.open_budget(BudgetRequest(session=SECRET, tokens=10))
    await service.check_quota(QuotaRequest(session=SECRET, tokens=50))
    assert dict(service.performance.denials) == {("budget", "any", "any"): 1}


async def test_many_events_at_once_are_counted_one_by_one(service: Tokenward) -> None:
    usage = TokenUsage(10, 1)
    await service.record_many([RecordRequest(model="gpt-4o", usage=usage, idempotency_key=key) for key in "aab"])
    assert dict(service.performance.events) == {"new": 2, "duplicate": 1}
    assert service.performance.tokens["openai", "gpt-4o", "input"] == 20


async def test_usage_over_a_limit_and_without_a_price_is_told(service: Tokenward) -> None:
    await service.record_usage(RecordRequest(model=SECRET, usage=TokenUsage(20_000, 0)))
    done = service.performance
    assert dict(done.events) == {"new": 1, "overage": 1, "unpriced": 1}
    assert dict(done.cost_nano) == {(OTHER, OTHER): 0}


async def test_no_name_of_a_callers_is_in_what_is_told(service: Tokenward) -> None:
    await service.count_texts([SECRET], "gpt-4o")
    await service.check_quota(QuotaRequest(user=SECRET, group=SECRET, session=SECRET, tokens=20_000, model=SECRET))
    await service.record_usage(
        RecordRequest(model=SECRET, usage=TokenUsage(1, 1), user=SECRET, endpoint=SECRET, idempotency_key=SECRET)
    )
    assert SECRET not in json.dumps(service.get_performance_metrics())


async def test_all_of_it_for_people(service: Tokenward) -> None:
    await service.count_texts(["one", "one"], "gpt-4o")
    await service.record_usage(RecordRequest(model="gpt-4o", usage=TokenUsage(1_000_000, 0)))
    service.performance.called("count_tokens", 0.002, "ok")
    told = service.get_performance_metrics()
    assert json.loads(json.dumps(told)) == told
    calls, counting, recorded, ledger = (told[name] for name in ("calls", "counting", "recorded", "ledger"))
    assert isinstance(calls, dict)
    assert isinstance(counting, dict)
    assert isinstance(ledger, dict)
    assert calls["count_tokens"] == {
        "ok": {"calls": 1, "average_seconds": 0.002, "p50_seconds": 0.00175, "p95_seconds": pytest.approx(0.002425)}
    }
    assert (counting["cache_hits"], counting["cache_hit_rate"]) == (1, 50.0)
    assert recorded == {"events": {"new": 1, "overage": 1}, "tokens": {"input": 1_000_000, "output": 0}, "cost": "2.50"}
    assert (ledger["queue_depth"], ledger["commits"], ledger["operations_per_commit"]) == (0, 1, 1.0)


def test_synchronous_callers_get_it_too(clock: FakeClock) -> None:
    with SyncTokenward.open("memory://", clock=clock) as service:
        service.quota_status()
        assert service.get_performance_metrics()["checks"] == {"allowed": 1}


async def test_checks_that_are_let_through_without_a_store_are_told(clock: FakeClock) -> None:
    store = ScriptedStore()
    store.fault = StoreUnavailable("down")
    tracker = made_tracker(store, clock, fail_open=True)
    await tracker.check_quota(QuotaRequest(tokens=1))
    assert dict(tracker.performance.checks) == {"unchecked": 1}


def test_models_are_named_only_where_they_are_known() -> None:
    named = named_models(Catalog({"ours": "gpt-4o"}))
    assert named("ours") == ("openai", "gpt-4o")
    assert named("Claude-Sonnet-4-5") == ("anthropic", "claude-sonnet-4-5")
    assert named("gpt-4o-" + "x" * 20) == (OTHER, OTHER)
    assert named("\n") == (OTHER, OTHER)
    assert SECRET not in named(f"ft:gpt-4o-mini:acme:{SECRET}:1")[1]


def test_the_models_told_apart_are_limited() -> None:
    done = Performance()
    for number in range(2 * MOST_MODELS):
        done.recorded("openai", f"model-{number}", TokenUsage(1, 1), 1, settled=False, overage=False)
    assert len(done.cost_nano) == MOST_MODELS + 1
    assert done.cost_nano[OTHER, OTHER] == MOST_MODELS


async def test_the_queue_tells_its_waits_commits_failures_and_refusals(new_id: CountingIds) -> None:
    performance = Performance(Ticking())
    go_on = anyio.Event()
    problems = [StoreUnavailable("down")]

    async def commit(batch: Batch) -> Sequence[object]:
        await go_on.wait()
        if problems:
            raise problems.pop()
        return [None] * len(batch.operations)

    queue = GroupCommit(
        commit, new_id=new_id, patience=Patience(NET_SECONDS, NET_SECONDS), max_waiting=2, meter=performance.ledger
    )
    performance.ledger.queued = lambda: queue.waiting
    ask = Status(Subjects("alice"))
    async with anyio.create_task_group() as group:
        group.start_soon(queue.submit, ask)
        await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            group.start_soon(queue.submit, ask)
        await anyio.wait_all_tasks_blocked()
        assert await anyio.to_thread.run_sync(performance.ledger.queued) == 2
        with pytest.raises(StoreOverloaded):
            await queue.submit(ask)
        go_on.set()
    ledger = performance.ledger
    assert (ledger.refusals, ledger.failures, ledger.queued()) == (1, 1, 0)
    assert (ledger.commits.count, ledger.operations.total, ledger.waits.count) == (2, 3, 3)
    assert ledger.commits.total >= 2


async def test_holds_are_counted_in_the_store(service: Tokenward) -> None:
    store = await service.ledger()
    assert (await store.holds(), store.waiting) == (0, 0)
    held = await service.check_quota(QuotaRequest(tokens=100, reserve=True))
    assert await store.holds() == 1
    assert held.reservation_id is not None
    await service.release_quota(held.reservation_id)
    assert await store.holds() == 0


def test_the_buckets_of_durations_go_up() -> None:
    assert list(SECONDS) == sorted(set(SECONDS))
