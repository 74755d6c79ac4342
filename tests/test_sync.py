"""The façade for synchronous callers: one service, many threads."""

import asyncio
import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import CountingIds, FakeClock
from tests.waiting import NET_SECONDS
from tokenward import (
    BudgetRequest,
    EstimateRequest,
    InvalidInput,
    QuotaCheck,
    QuotaRequest,
    RecordRequest,
    ReportRequest,
    SyncTokenward,
    TokenLimit,
    TokenUsage,
    Tokenward,
    UnknownPrice,
)
from tokenward.engine.errors import ConfigurationError, UnknownBudget, UnknownReservation
from tokenward.engine.types import DAY_US, JsonObject

LIMIT = 20_000
THREADS = 8
MESSAGES: list[JsonObject] = [{"role": "user", "content": "Is there a dress code?"}]


@pytest.fixture
def service(clock: FakeClock, new_id: CountingIds) -> Iterator[SyncTokenward]:
    limits = [TokenLimit("default", "tokens", "day", LIMIT)]
    with SyncTokenward.open("memory://", default_user="alice", limits=limits, clock=clock, new_id=new_id) as opened:
        yield opened


def test_the_whole_life_of_a_request(service: SyncTokenward) -> None:
    held = service.check_quota(QuotaRequest(model="gpt-4o", tokens=1_000, reserve=True))
    assert held.allowed
    receipt = service.record_usage(
        RecordRequest(model="gpt-4o", usage=TokenUsage(400, 100), reservation_id=held.reservation_id)
    )
    assert (receipt.recorded, receipt.overage, receipt.user) == (True, False, "alice")
    (status,) = service.quota_status().limits
    assert (status.used, status.reserved) == (500, 0)


def test_every_method_answers(service: SyncTokenward, clock: FakeClock) -> None:
    held = service.check_quota(QuotaRequest(tokens=10, reserve=True))
    assert service.extend_quota(str(held.reservation_id), ttl_seconds=60) == held.expires_us
    assert service.release_quota(str(held.reservation_id)).released
    assert len(service.record_many([RecordRequest(model="gpt-4o", usage=TokenUsage(1))] * 3)) == 3
    assert service.open_budget(BudgetRequest(session="s", tokens=5)).allowed
    assert service.budget("s").remaining.tokens == 5
    assert service.close_budget("s", user="alice").ended_us == clock()
    limit = TokenLimit("user:bob", "requests", "hour", 1)
    service.set_limit(limit)
    assert service.limits("user:bob") == [limit]
    assert service.delete_limit("user:bob", "requests", "hour")
    assert service.usage_report(ReportRequest(clock() - DAY_US, clock() + 1)).totals.requests == 3
    assert service.count_messages(MESSAGES, "gpt-4o").tokens == 13
    assert service.estimate_cost(EstimateRequest(model="gpt-4o", usage=TokenUsage(1_000))).cost.total_nano == 2_500_000
    assert service.service.counter.count_tokens("hello world", "gpt-4o").token_count == 2


def test_nothing_of_the_service_is_missing() -> None:
    def methods(of: type) -> set[str]:
        return {name for name, one in inspect.getmembers(of) if not name.startswith("_") and callable(one)}

    assert methods(Tokenward) - methods(SyncTokenward) == {"ledger"}


@pytest.mark.parametrize("name", ["check_quota", "record_usage", "estimate_cost", "open"])
def test_methods_carry_the_services_own_description(name: str) -> None:
    assert inspect.signature(getattr(SyncTokenward, name)) == inspect.signature(getattr(Tokenward, name))
    assert inspect.getdoc(getattr(SyncTokenward, name)) == inspect.getdoc(getattr(Tokenward, name))


def test_errors_come_through_as_themselves(service: SyncTokenward) -> None:
    with pytest.raises(InvalidInput, match="give an integer") as error:
        service.check_quota(QuotaRequest(tokens=-1))
    assert error.value.field == "tokens"
    with pytest.raises(UnknownReservation):
        service.release_quota("nothing")
    with pytest.raises(UnknownBudget):
        service.budget("nothing")
    with pytest.raises(UnknownPrice):
        service.estimate_cost(EstimateRequest(model="my-own-model", usage=TokenUsage(1)))
    assert service.quota_status().allowed


def test_a_wrong_url_is_refused_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with pytest.raises(ConfigurationError), SyncTokenward.open("mysql://host/db"):
        pass
    assert set(threading.enumerate()) <= before


def test_what_is_raised_in_the_block_comes_out_of_it(clock: FakeClock) -> None:
    before = set(threading.enumerate())
    with pytest.raises(InvalidInput), SyncTokenward.open("memory://", clock=clock) as service:
        service.budget("")
    # The thread of a closed connection tells that it is closed before it ends.
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=NET_SECONDS)
    assert set(threading.enumerate()) <= before


def work_until_denied(service: SyncTokenward, together: threading.Barrier) -> int:
    """Reserve and settle until nothing fits, not before everybody has had a turn; returns the tokens used."""
    together.wait()
    used = 0
    while (held := service.check_quota(QuotaRequest(tokens=100, reserve=True))).reservation_id is not None:
        usage = TokenUsage(60, 40)
        receipt = service.record_usage(RecordRequest(model="gpt-4o", usage=usage, reservation_id=held.reservation_id))
        assert not receipt.overage
        if not used:
            together.wait()
        used += usage.total_tokens
    return used


def test_many_threads_at_once_never_pass_the_limit(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    limits = [TokenLimit("global", "tokens", "day", LIMIT)]
    together = threading.Barrier(THREADS, timeout=NET_SECONDS)
    with SyncTokenward.open(url, limits=limits) as service, ThreadPoolExecutor(THREADS) as pool:
        workers: list[Future[int]] = [pool.submit(work_until_denied, service, together) for _ in range(THREADS)]
        used = [one.result() for one in workers]
        (status,) = service.quota_status().limits
    assert sum(used) == LIMIT
    assert (status.used, status.reserved) == (LIMIT, 0)
    assert all(used)


def test_after_its_block_a_service_says_that_it_is_closed(clock: FakeClock) -> None:
    with SyncTokenward.open("memory://", clock=clock) as service:
        service.quota_status()
    with pytest.raises(RuntimeError, match="closed: its with block has ended"):
        service.quota_status()
    assert service.count_messages(MESSAGES, "gpt-4o").tokens == 13


def test_it_refuses_to_stop_an_event_loop(service: SyncTokenward) -> None:
    async def wrong() -> None:
        service.quota_status()

    async def right() -> QuotaCheck:
        return await asyncio.to_thread(service.quota_status)

    with pytest.raises(RuntimeError, match="would block the event loop"):
        asyncio.run(wrong())
    assert asyncio.run(right()).allowed


def test_it_is_not_opened_inside_an_event_loop() -> None:
    async def wrong() -> None:
        with SyncTokenward.open("memory://"):
            pass

    with pytest.raises(RuntimeError, match="Use Tokenward and await it"):
        asyncio.run(wrong())
