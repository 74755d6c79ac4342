"""Group commit: whatever waits together is committed together, and acknowledged after the commit.

One batch is in flight at a time; the next one is what has gathered meanwhile, so the batches grow with the load. The
queue is bounded: when it is full, work is refused, never dropped. A store that cannot be reached is asked again with
the same batch until the callers' patience is over.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import anyio

from tokenward.engine.errors import StoreOverloaded, StoreUnavailable
from tokenward.engine.types import NewId
from tokenward.storage.base import Operation, Record, RecordMany

MAX_BATCH = 512
"""Most operations in one transaction."""

MAX_WAITING = 10_000
"""Most operations that wait; more are refused."""

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an operation is tried again while the store cannot be reached, in seconds."""

    check_seconds: float = 10.0
    record_seconds: float = 60.0

    def of(self, operation: Operation) -> float:
        """What was spent must be written down, so recording waits longer than asking."""
        return self.record_seconds if isinstance(operation, Record | RecordMany) else self.check_seconds


class CommitMeter(Protocol):
    """Is told what the queue does, by the event loop that works it off."""

    @property
    def timer(self) -> Callable[[], float]:
        """Seconds that only go up."""
        ...

    def answered(self, seconds: float) -> None:
        """An operation was answered, that long after it was asked."""
        ...

    def committed(self, operations: int, seconds: float) -> None:
        """That many operations were committed in one transaction."""
        ...

    def failed(self) -> None:
        """The store did not take a transaction."""
        ...

    def refused(self) -> None:
        """An operation was refused because too many waited."""
        ...


@dataclass(slots=True)
class Batch:
    """Operations that are committed together.

    Attributes:
        outcomes: What they came to, once they were sent to be committed: if that commit's own outcome was lost and it
            turns out to have happened, this is the answer.
        tried: Whether it was tried before, wholly or in part.
    """

    batch_id: str
    operations: Sequence[Operation]
    outcomes: Sequence[object] | None = None
    tried: bool = False


@dataclass(slots=True, eq=False)
class _Waiting:
    operation: Operation
    future: "asyncio.Future[Any]"
    gives_up_at: float

    @property
    def weight(self) -> int:
        """How many operations it stands for: an event of many costs a twentieth of one alone."""
        return 1 + len(self.operation.records) // 20 if isinstance(self.operation, RecordMany) else 1


@dataclass(slots=True)
class _Queue:
    """What waits in one event loop, and the task that commits it."""

    waiting: deque[_Waiting] = field(default_factory=deque["_Waiting"])
    weight: int = 0
    worker: "asyncio.Task[None] | None" = None

    def push(self, one: _Waiting) -> None:
        self.waiting.append(one)
        self.weight += one.weight

    def pop(self) -> _Waiting:
        one = self.waiting.popleft()
        self.weight -= one.weight
        return one

    def keep(self, some: Iterable[_Waiting]) -> None:
        self.waiting = deque(some)
        self.weight = sum(one.weight for one in self.waiting)


class GroupCommit:
    """Gathers operations into batches.

    Args:
        commit: Commits a batch and returns an outcome for each operation: an exception is that operation's answer. It
            raises StoreUnavailable when nothing can be known to be committed.
        new_id: Names batches.
        patience: How long unreachable stores are asked again.
        max_waiting: Most operations that wait; many events at once weigh as much as the work they make.
        meter: Is told what is done; nobody if ``None``.
    """

    def __init__(
        self,
        commit: Callable[[Batch], Awaitable[Sequence[object]]],
        *,
        new_id: NewId,
        patience: Patience | None = None,
        max_waiting: int = MAX_WAITING,
        max_batch: int = MAX_BATCH,
        meter: CommitMeter | None = None,
    ) -> None:
        self._commit = commit
        self._meter = meter
        self._new_id = new_id
        self._patience = patience or Patience()
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()
        self._closing = False

    @property
    def _queue(self) -> _Queue:
        """The running loop's: a library's user may call from one loop after the other."""
        return self._queues.setdefault(asyncio.get_running_loop(), _Queue())

    def __len__(self) -> int:
        """How many operations wait in this loop."""
        return len(self._queue.waiting)

    @property
    def waiting(self) -> int:
        """How many operations wait, in all loops; may be asked from any thread."""
        loops = [loop() for loop in self._queues.keyrefs()]  # taken in one step: others may come meanwhile
        queues = [self._queues.get(loop) for loop in loops if loop is not None]
        return sum(len(queue.waiting) for queue in queues if queue is not None)

    async def submit(self, operation: Operation) -> Any:
        """Have an operation committed; its outcome.

        A caller that is cancelled leaves its operation whole: done if it was under way, else not done.

        Raises:
            StoreOverloaded: Too much is waiting; nothing was done.
            StoreUnavailable: The store could not be reached; nothing was acknowledged.
        """
        loop, queue = asyncio.get_running_loop(), self._queue
        one = _Waiting(operation, loop.create_future(), loop.time() + self._patience.of(operation))
        meter = self._meter
        if queue.weight >= self._max_waiting:
            if meter is not None:
                meter.refused()
            raise StoreOverloaded(len(queue.waiting))
        queue.push(one)
        if queue.worker is None:
            self._start(queue)
        if meter is None:
            return await one.future
        started = meter.timer()
        outcome = await one.future
        meter.answered(meter.timer() - started)
        return outcome

    def _start(self, queue: _Queue) -> None:
        batch: list[_Waiting] = []
        queue.worker = asyncio.get_running_loop().create_task(self._work(queue, batch))
        queue.worker.add_done_callback(partial(self._ended, queue, batch))

    def _ended(self, queue: _Queue, batch: Sequence[_Waiting], worker: "asyncio.Task[None]") -> None:
        """Go on with whoever came meanwhile. Only a shutdown that cancels every task leaves anybody in the batch."""
        queue.worker = None
        for one in batch:
            _answer(one, StoreUnavailable("The ledger was shut down before this was done.", lasting=True))
        if not worker.cancelled():
            worker.exception()
        if any(not one.future.done() for one in queue.waiting):
            self._start(queue)

    def open(self) -> None:
        """Have patience (again)."""
        self._closing = False

    async def close(self) -> None:
        """Wait for what was submitted; a store that cannot be reached is not asked again."""
        self._closing = True
        if (worker := self._queue.worker) is not None:
            await asyncio.wait([worker])

    async def _work(self, queue: _Queue, batch: list[_Waiting]) -> None:
        while queue.waiting:
            batch[:] = self._taken(queue)
            await self._commit_all(batch)
            # Callers that were just answered may have more to ask: it goes with the next batch.
            await asyncio.sleep(0)

    def _taken(self, queue: _Queue) -> Iterator[_Waiting]:
        """The next batch, without those whose callers are gone."""
        weight = 0
        while queue.waiting and (not weight or weight + queue.waiting[0].weight <= self._max_batch):
            one = queue.pop()
            if not one.future.done():
                weight += one.weight
                yield one

    async def _commit_all(self, waiting: Sequence[_Waiting]) -> None:
        """Commit a batch, again and again while somebody is willing to wait."""
        pause = _FIRST_PAUSE_SECONDS
        batch = Batch(self._new_id(), [one.operation for one in waiting])
        while waiting:
            try:
                outcomes = await self._committed(batch)
            except StoreUnavailable as error:
                patient, queue = self._patient(waiting, error), self._queue
                queue.keep(self._patient(queue.waiting, error))
                batch, waiting = _rest(batch, waiting, patient), patient
                await anyio.sleep(pause if waiting else 0)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
                await self._one_by_one(waiting, error)
                return
            else:
                for one, outcome in zip(waiting, outcomes, strict=True):
                    _answer(one, outcome)
                return

    async def _committed(self, batch: Batch) -> Sequence[object]:
        """Commit a batch once, and tell who measures."""
        meter = self._meter
        if meter is None:
            return await self._commit(batch)
        started = meter.timer()
        try:
            outcomes = await self._commit(batch)
        except StoreUnavailable:
            meter.failed()
            raise
        meter.committed(len(batch.operations), meter.timer() - started)
        return outcomes

    def _patient(self, waiting: Sequence[_Waiting], error: StoreUnavailable) -> list[_Waiting]:
        """Those who go on waiting; the others are told."""
        now = asyncio.get_running_loop().time()
        patient: list[_Waiting] = []
        for one in waiting:
            if one.future.done():
                continue
            if self._closing or error.lasting or now >= one.gives_up_at:
                _answer(one, error)
            else:
                patient.append(one)
        return patient

    async def _one_by_one(self, waiting: Sequence[_Waiting], error: Exception) -> None:
        """One bad operation must not sink the others: each is tried alone, and the bad one gets its error."""
        if len(waiting) == 1:
            _answer(waiting[0], error)
            return
        for one in waiting:
            await self._commit_all([one])


def _answer(one: _Waiting, outcome: object) -> None:
    if one.future.done():
        return
    if isinstance(outcome, BaseException):
        one.future.set_exception(outcome)
    else:
        one.future.set_result(outcome)


def _rest(batch: Batch, before: Sequence[_Waiting], after: Sequence[_Waiting]) -> Batch:
    """The batch without those who gave up. If it was committed after all, its outcomes answer the others."""
    kept = {id(one) for one in after}
    outcomes = batch.outcomes and [
        outcome for one, outcome in zip(before, batch.outcomes, strict=True) if id(one) in kept
    ]
    return Batch(batch.batch_id, [one.operation for one in after], outcomes, batch.tried)
