"""Group commit alone, over a scripted commit: what is gathered, refused, tried again, given up and cancelled."""

import asyncio
import gc
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import anyio
import pytest

from tests.conftest import CountingIds
from tests.waiting import NET_SECONDS, StillClock
from tokenward.engine.errors import InvalidInput, StoreOverloaded, StoreUnavailable
from tokenward.engine.limits import Amounts, Subjects
from tokenward.engine.usage import TokenUsage
from tokenward.storage.base import Expire, Operation, Record, Release, Reserve
from tokenward.storage.group_commit import MAX_BATCH, MAX_WAITING, Batch, GroupCommit, Patience

pytestmark = pytest.mark.anyio

BAD = Release("bad")
CHECK = Reserve(subjects=Subjects("alice"), amounts=Amounts(1))
RECORD = Record(user="alice", model="m", usage=TokenUsage(1), cost_nano=0)


class Commits:
    """A commit that waits until it is let through, and answers each operation with itself.

    Attributes:
        batches: (id, operations) of every try, in order.
        failures: What the next tries raise, before anything is done.
    """

    def __init__(self) -> None:
        self.batches: list[tuple[str, tuple[Operation, ...]]] = []
        self.failures: deque[BaseException] = deque()
        self.done: list[Operation] = []
        self.free = asyncio.Event()
        self.free.set()

    async def __call__(self, batch: Batch) -> Sequence[object]:
        self.batches.append((batch.batch_id, tuple(batch.operations)))
        await self.free.wait()
        if self.failures:
            raise self.failures.popleft()
        if BAD in batch.operations:
            raise ZeroDivisionError
        self.done += batch.operations
        return list(batch.operations)

    @property
    def sizes(self) -> list[int]:
        return [len(operations) for _, operations in self.batches]

    @property
    def ids(self) -> list[str]:
        return [batch_id for batch_id, _ in self.batches]


class Noise:
    """What an event loop would have complained about."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self.heard.append(str(context["message"]))


@pytest.fixture
async def commits() -> AsyncIterator[Commits]:
    """A scripted commit; at the end no task or future may have been left with an error that nobody took."""
    noise = Noise()
    asyncio.get_running_loop().set_exception_handler(noise)
    yield Commits()
    await settled()
    gc.collect()
    await settled()
    assert noise.heard == []


async def settled() -> None:
    """Everything that can go on without waiting has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


def group(commits: Commits, *, max_waiting: int = MAX_WAITING, max_batch: int = MAX_BATCH) -> GroupCommit:
    patience = Patience(0.0, NET_SECONDS)
    return GroupCommit(
        commits, new_id=CountingIds("b"), patience=patience, max_waiting=max_waiting, max_batch=max_batch
    )


def submitted(group: GroupCommit, operations: Sequence[Operation]) -> list["asyncio.Task[object]"]:
    return [asyncio.create_task(group.submit(one)) for one in operations]


def releases(count: int, first: int = 0) -> list[Operation]:
    return [Release(str(first + one)) for one in range(count)]


def unreachable(*, lasting: bool = False) -> StoreUnavailable:
    return StoreUnavailable("away", lasting=lasting)


async def test_what_gathers_while_a_batch_is_in_flight_is_the_next_batch(commits: Commits) -> None:
    commits.free.clear()
    together = group(commits)
    first = submitted(together, releases(1))
    await settled()
    others = submitted(together, releases(30, first=1))
    await settled()
    assert (commits.sizes, len(together)) == ([1], 30)
    commits.free.set()
    assert await asyncio.gather(*first, *others) == releases(31)
    assert commits.sizes == [1, 30]
    assert commits.ids == ["b1", "b2"]


async def test_operations_submitted_together_are_one_batch_in_their_order(commits: Commits) -> None:
    assert await asyncio.gather(*submitted(group(commits), releases(64))) == releases(64)
    assert commits.sizes == [64]
    assert commits.done == releases(64)


async def test_a_batch_has_a_greatest_size_and_the_order_stays(commits: Commits) -> None:
    assert await asyncio.gather(*submitted(group(commits, max_batch=4), releases(10))) == releases(10)
    assert commits.sizes == [4, 4, 2]
    assert commits.done == releases(10)


async def test_a_full_queue_refuses_at_once_and_drops_nothing(commits: Commits) -> None:
    commits.free.clear()
    together = group(commits, max_waiting=5)
    in_flight = submitted(together, releases(1))
    await settled()
    waiting = submitted(together, releases(5, first=1))
    await settled()
    for one in releases(3, first=6):
        with pytest.raises(StoreOverloaded, match="5"):
            await together.submit(one)
    commits.free.set()
    assert await asyncio.gather(*in_flight, *waiting) == releases(6)
    assert await together.submit(Release("9")) == Release("9")
    assert commits.done == [*releases(6), Release("9")]


async def test_one_bad_operation_does_not_sink_its_batch(commits: Commits) -> None:
    good = releases(6)
    tasks = submitted(group(commits), [*good[:3], BAD, *good[3:]])
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one for one in outcomes if isinstance(one, Release)] == good
    assert isinstance(outcomes[3], ZeroDivisionError)
    assert commits.done == good
    assert commits.sizes == [7, *[1] * 7]


async def test_an_outcome_that_is_an_error_is_raised_to_its_caller_alone() -> None:
    async def commit(batch: Batch) -> Sequence[object]:
        return [InvalidInput("user", "no.") if one == BAD else one for one in batch.operations]

    tasks = submitted(GroupCommit(commit, new_id=CountingIds()), [Release("1"), BAD, Release("2")])
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert (outcomes[0], outcomes[2]) == (Release("1"), Release("2"))
    assert isinstance(outcomes[1], InvalidInput)


async def test_an_unreachable_store_is_asked_again_with_the_same_batch(commits: Commits) -> None:
    commits.failures.extend(unreachable() for _ in range(3))
    assert await asyncio.gather(*submitted(group(commits), [RECORD, RECORD])) == [RECORD, RECORD]
    assert commits.ids == ["b1"] * 4
    assert commits.sizes == [2] * 4


async def test_who_waits_during_an_outage_keeps_the_order(commits: Commits) -> None:
    commits.failures.append(unreachable())
    together = group(commits)
    ones = [Record(user=str(number), model="m", usage=TokenUsage(1), cost_nano=0) for number in range(4)]
    first = submitted(together, ones[:2])
    await settled()
    later = submitted(together, ones[2:])
    assert await asyncio.gather(*first, *later) == ones
    assert commits.done == ones


async def test_records_have_more_patience_than_checks(commits: Commits) -> None:
    commits.failures.append(unreachable())
    check, record = submitted(group(commits), [CHECK, RECORD])
    with pytest.raises(StoreUnavailable, match="away"):
        await check
    assert not record.done()
    assert await record == RECORD
    # What goes on is the same batch without those who gave up: its first try may have been committed after all.
    assert commits.batches == [("b1", (CHECK, RECORD)), ("b1", (RECORD,))]


async def test_outcomes_of_a_lost_commit_stay_with_their_operations() -> None:
    """The first try is committed and its reply lost; the check gives up, the records get their own outcomes."""
    tries: list[Batch] = []

    async def commit(batch: Batch) -> Sequence[object]:
        tries.append(batch)
        if len(tries) == 1:
            batch.outcomes, batch.tried = [f"outcome of {one}" for one in range(len(batch.operations))], True
            raise unreachable()
        assert batch.tried
        assert batch.outcomes is not None
        return batch.outcomes

    together = GroupCommit(commit, new_id=CountingIds(), patience=Patience(0.0, NET_SECONDS))
    outcomes = await asyncio.gather(*submitted(together, [RECORD, CHECK, RECORD, CHECK]), return_exceptions=True)
    assert (outcomes[0], outcomes[2]) == ("outcome of 0", "outcome of 2")
    assert isinstance(outcomes[1], StoreUnavailable)
    assert isinstance(outcomes[3], StoreUnavailable)
    assert len({one.batch_id for one in tries}) == 1


async def test_patience_ends(commits: Commits, monkeypatch: pytest.MonkeyPatch) -> None:
    commits.failures.extend(unreachable() for _ in range(1_000))
    still = StillClock(monkeypatch)
    together = GroupCommit(commits, new_id=CountingIds(), patience=Patience(5, 60))

    async def after(seconds: float) -> tuple[bool, bool]:
        """Who has given up by then, once it was tried again."""
        tries = len(commits.batches)
        still.pass_seconds(seconds)
        await still.until(lambda: len(commits.batches) > tries)
        await settled()
        return check.done(), record.done()

    check, record = submitted(together, [CHECK, RECORD])
    await settled()
    assert [await after(seconds) for seconds in (4, 2, 53, 2)] == [
        (False, False),
        (True, False),
        (True, False),
        (True, True),
    ]
    for one in (check, record):
        with pytest.raises(StoreUnavailable):
            await one
    commits.failures.clear()
    assert await together.submit(RECORD) == RECORD


async def test_who_waits_behind_a_patient_batch_has_its_own_patience(commits: Commits) -> None:
    commits.failures.extend(unreachable() for _ in range(1_000))
    together = GroupCommit(commits, new_id=CountingIds(), patience=Patience(0.05, 3_600))
    (record,) = submitted(together, [RECORD])
    await settled()
    with anyio.fail_after(NET_SECONDS), pytest.raises(StoreUnavailable):
        await together.submit(CHECK)
    assert (record.done(), len(together)) == (False, 0)
    commits.failures.clear()
    assert await record == RECORD


async def test_closing_tells_all_who_wait_after_one_try(commits: Commits) -> None:
    commits.failures.extend(unreachable() for _ in range(1_000))
    commits.free.clear()
    together = group(commits, max_batch=2)
    tasks = submitted(together, [RECORD] * 20)
    await settled()
    closing = asyncio.create_task(together.close())
    await settled()
    commits.free.set()
    await closing
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in outcomes] == [StoreUnavailable] * 20
    assert len(commits.batches) == 1


async def test_what_waiting_cannot_help_is_said_at_once(commits: Commits) -> None:
    commits.failures.append(unreachable(lasting=True))
    together = group(commits)
    with pytest.raises(StoreUnavailable):
        await together.submit(RECORD)
    assert len(commits.batches) == 1
    assert await together.submit(RECORD) == RECORD


async def test_a_caller_who_is_gone_before_its_turn_is_not_served(commits: Commits) -> None:
    commits.free.clear()
    together = group(commits)
    tasks = submitted(together, releases(1))
    await settled()
    tasks += submitted(together, releases(3, first=1))
    await settled()
    tasks[2].cancel()
    commits.free.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[2], asyncio.CancelledError)
    assert commits.done == [Release("0"), Release("1"), Release("3")]


async def test_a_caller_who_goes_while_it_is_served_is_served(commits: Commits) -> None:
    commits.free.clear()
    together = group(commits)
    leaving, staying = submitted(together, releases(2))
    await settled()
    leaving.cancel()
    await settled()
    assert leaving.cancelled()
    commits.free.set()
    assert await staying == Release("1")
    assert commits.done == releases(2)


async def test_nobody_is_left_in_the_batch_and_the_next_goes_on(commits: Commits) -> None:
    commits.failures.append(unreachable())
    commits.free.clear()
    together = group(commits)
    leaving = submitted(together, [RECORD, RECORD])
    await settled()
    for task in leaving:
        task.cancel()
    await settled()
    commits.free.set()
    assert await together.submit(RECORD) == RECORD
    assert commits.done == [RECORD]


@pytest.mark.parametrize("steps", range(8))
async def test_a_caller_cancelled_at_any_step_leaves_the_others_alone(commits: Commits, steps: int) -> None:
    together = group(commits)
    leaving, staying = submitted(together, releases(2))
    for _ in range(steps):
        await asyncio.sleep(0)
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    assert await staying == Release("1")
    assert await together.submit(Release("2")) == Release("2")
    assert len(commits.done) == len(set(commits.done))


async def test_closing_waits_for_what_was_submitted(commits: Commits) -> None:
    commits.free.clear()
    together = group(commits, max_batch=2)
    tasks = submitted(together, releases(7))
    await settled()
    closing = asyncio.create_task(together.close())
    await settled()
    assert not closing.done()
    commits.free.set()
    await closing
    assert [task.done() for task in tasks] == [True] * 7
    assert commits.done == releases(7)


async def test_closing_does_not_wait_for_a_store_that_is_away(commits: Commits) -> None:
    commits.failures.extend(unreachable() for _ in range(1_000))
    together = GroupCommit(commits, new_id=CountingIds(), patience=Patience(3_600, 3_600))
    tasks = submitted(together, [RECORD, CHECK])
    await settled()
    with anyio.fail_after(NET_SECONDS):
        await together.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in outcomes] == [StoreUnavailable] * 2
    commits.failures.clear()
    together.open()
    assert await together.submit(Expire()) == Expire()


async def test_a_shutdown_that_cancels_the_worker_answers_everybody(commits: Commits) -> None:
    commits.free.clear()
    together = group(commits)
    tasks = submitted(together, releases(3))
    await settled()
    waiting = submitted(together, releases(2, first=3))
    await settled()
    (worker,) = asyncio.all_tasks() - {*tasks, *waiting, *own_tasks()}
    worker.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in outcomes] == [StoreUnavailable] * 3
    commits.free.set()
    # Whoever had not been taken yet is served by a new worker.
    assert await asyncio.gather(*waiting) == releases(2, first=3)


def own_tasks() -> set["asyncio.Task[object]"]:
    """The tasks that are the test's own, or its runner's."""
    return {task for task in asyncio.all_tasks() if "_work" not in repr(task.get_coro())}


def test_one_event_loop_after_the_other() -> None:
    done: list[Operation] = []

    async def commit(batch: Batch) -> Sequence[object]:
        await asyncio.sleep(0)
        done.extend(batch.operations)
        return list(batch.operations)

    together = GroupCommit(commit, new_id=CountingIds())

    async def some(first: int) -> list[object]:
        return list(await asyncio.gather(*submitted(together, releases(5, first))))

    assert [asyncio.run(some(first)) for first in (0, 5)] == [releases(5), releases(5, 5)]
    assert done == releases(10)


def test_a_loop_that_ends_with_work_under_way_does_not_stop_the_next() -> None:
    async def commit(batch: Batch) -> Sequence[object]:
        if batch.operations[0] == Release("stuck"):
            await asyncio.sleep(3_600)
        return list(batch.operations)

    together = GroupCommit(commit, new_id=CountingIds())

    async def leave() -> None:
        submitted(together, [Release("stuck")])
        await settled()

    async def next_one() -> object:
        return await together.submit(Release("1"))

    asyncio.run(leave())
    assert asyncio.run(next_one()) == Release("1")


def test_what_waits_can_be_asked_from_a_thread_while_loops_come() -> None:
    async def commit(batch: Batch) -> Sequence[object]:
        return list(batch.operations)

    together = GroupCommit(commit, new_id=CountingIds())
    over, asked = threading.Event(), list[int]()

    def ask() -> None:
        while not over.is_set():
            asked.append(together.waiting)

    loops: list[asyncio.AbstractEventLoop] = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor() as threads:
            asking = threads.submit(ask)
            for _ in range(300):
                loops.append(asyncio.new_event_loop())
                with closing(loops[-1]):
                    loops[-1].run_until_complete(together.submit(Release("1")))
            over.set()
            asking.result(NET_SECONDS)
    finally:
        sys.setswitchinterval(interval)
    assert set(asked) <= {0, 1}
