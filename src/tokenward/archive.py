"""The ledger as JSON lines: written from one store, read into another of any kind.

An archive is a header, the limits, the sums of the time whose events were pruned, every event since, and a last line
with the counts, so that a file that was cut off is noticed. Pending holds, open budgets and answers to idempotency keys
are not in it: they belong to work that is going on.

Both directions go line by line; memory does not grow with the number of events.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from tokenward import archive_lines as form
from tokenward.archive_lines import END_US, EndLine, EventLine, HeaderLine, HourlyLine, LimitLine
from tokenward.engine.errors import InvalidInput, StoreError
from tokenward.engine.limits import TokenLimit
from tokenward.engine.types import QUARTER_HOUR_US, Clock
from tokenward.engine.usage import UsageEvent
from tokenward.storage.base import HourlyUsage, UsageStore

BATCH = 10_000
"""Events that are written together: what a store takes in one transaction."""

_MAX_LINE_BYTES = 65_536
_PROGRESS_EVERY = 1_000

Progress: TypeAlias = Callable[[int], Awaitable[None]]
"""Is told how many events are done."""


async def no_progress(_done: int, /) -> None:
    """For callers that follow no progress."""


@dataclass(slots=True)
class Exported:
    """How many lines of each kind were written."""

    limits: int = 0
    hourly: int = 0
    events: int = 0


@dataclass(slots=True)
class Imported:
    """What became of an archive's lines.

    Attributes:
        events: New in this ledger.
        known_events: Were there already.
        differing_events: Those of the known ones that stand there with other numbers, and stay so.
        pruned_events: Left out, because this ledger has pruned their time and keeps sums of it only.
        hourly: Sums of pruned time that are new in this ledger.
        known_hourly: Were there already.
        limits: Set.
        kept_limits: Not set, because the ledger has one of that subject, metric and window.
    """

    events: int = 0
    known_events: int = 0
    differing_events: int = 0
    pruned_events: int = 0
    hourly: int = 0
    known_hourly: int = 0
    limits: int = 0
    kept_limits: int = 0


async def export_ledger(
    store: UsageStore,
    write: Callable[[str], object],
    *,
    clock: Clock,
    version: str,
    start_us: int = 0,
    end_us: int = END_US,
    progress: Progress = no_progress,
) -> Exported:
    """Write the ledger, or a span of its time, line by line.

    Args:
        store: A connected store.
        write: Takes a line with its end.
        clock: Now, microseconds UTC.
        version: Of the tokenward that writes.
        start_us: From this moment on. Sums of pruned time count where their quarter hour starts.
        end_us: Up to this moment, which is not included.
        progress: Is told how many events are written.

    Raises:
        StoreUnavailable: The store cannot be read; what was written is not whole.
        StoreError: Events were pruned meanwhile; what was written is not whole.
    """
    pruned_us = await store.pruned_before_us()
    done = Exported()
    write(form.header_line(clock(), version, start_us, end_us, pruned_us))
    for limit in await store.limits():
        write(form.limit_line(limit))
        done.limits += 1
    sums_end_us = -(-min(pruned_us, end_us) // QUARTER_HOUR_US) * QUARTER_HOUR_US
    async for sums in store.hourly(sums_end_us):
        if sums.quarter_hour * QUARTER_HOUR_US >= start_us:
            write(form.hourly_line(sums))
            done.hourly += 1
    # Of the time before, the sums above speak, also for an event that was recorded there after the pruning.
    async for event in store.events(max(start_us, pruned_us), end_us):
        write(form.event_line(event))
        done.events += 1
        if done.events % _PROGRESS_EVERY == 0:
            await progress(done.events)
    if await store.pruned_before_us() != pruned_us:
        raise StoreError("Events were pruned while the ledger was exported, so this is not all of it. Export again.")
    write(form.end_line(done.limits, done.hourly, done.events))
    return done


async def import_ledger(
    store: UsageStore,
    stream: BinaryIO,
    *,
    clock: Clock,
    replace_limits: bool = False,
    progress: Progress = no_progress,
) -> Imported:
    """Read an archive into a store, 10,000 events at a time. What is there already stays, so twice adds nothing.

    Args:
        store: A connected store.
        stream: The archive.
        clock: Now, microseconds UTC.
        replace_limits: Set limits also where the ledger has one of that subject, metric and window.
        progress: Is told how many events are read.

    Raises:
        InvalidInput: A line that is wrong, by its number, or an archive without its end. Of the batch around a wrong
            line nothing was written; batches before it stand.
        StoreUnavailable: The store cannot be written; batches before stand.
    """
    reading = _Import(store, clock(), await store.pruned_before_us())
    number = 0
    for number, line in _lines(stream):
        try:
            reading.take(line)
        except InvalidInput as error:
            raise InvalidInput(f"line {number}", f"{error} {_AGAIN}") from None
        if reading.full:
            await reading.write()
            await progress(reading.read.events)
    if not reading.ended:
        raise InvalidInput(f"line {number + 1}", f"the last line of an archive is missing: it was cut off. {_AGAIN}")
    await reading.write()
    await reading.set_limits(replace=replace_limits)
    return reading.result


_AGAIN = "What was read before it may be imported; importing again adds nothing twice."


class _Import:
    """An archive that is being read: what waits for the next batch, and what became of the rest."""

    def __init__(self, store: UsageStore, now_us: int, pruned_us: int) -> None:
        self.result = Imported()
        self.read = Exported()
        self.ended = False
        self._store = store
        self._now_us = now_us
        self._pruned_us = pruned_us
        self._headed = False
        self._events: list[UsageEvent] = []
        self._hourly: list[HourlyUsage] = []
        # They are few, and set last: counting under them event by event would be work for nothing.
        self._limits: list[TokenLimit] = []

    @property
    def full(self) -> bool:
        """Whether it is time to write."""
        return len(self._events) + len(self._hourly) >= BATCH

    def take(self, written: bytes) -> None:
        """Check a line and put it where it waits. Raises InvalidInput."""
        line = form.parsed(written)
        if self.ended or isinstance(line, HeaderLine) == self._headed:
            raise InvalidInput("kind", "an archive is one header, its lines and one end; import archives one by one.")
        match line:
            case HeaderLine():
                line.check()
                self._headed = True
            case LimitLine():
                self._limits.append(line.token_limit())
                self.read.limits += 1
            case HourlyLine():
                self._hourly.append(line.hourly_usage(self._now_us))
                self.read.hourly += 1
            case EventLine():
                event = line.event(self._now_us)
                self.read.events += 1
                if line.timestamp < self._pruned_us:
                    self.result.pruned_events += 1
                else:
                    self._events.append(event)
            case EndLine():
                line.check(self.read.limits, self.read.hourly, self.read.events)
                self.ended = True

    async def write(self) -> None:
        """Write what waits."""
        if self._hourly:
            new = await self._store.add_hourly(self._hourly)
            self.result.hourly += new
            self.result.known_hourly += len(self._hourly) - new
        if self._events:
            added = await self._store.add_events(self._events)
            self.result.events += added.new
            self.result.known_events += added.known
            self.result.differing_events += added.differing
        self._hourly, self._events = [], []

    async def set_limits(self, *, replace: bool) -> None:
        """Set the limits that the ledger has not, or all."""
        standing = {(one.subject, one.metric, one.window): one for one in await self._store.limits()}
        for limit in self._limits:
            there = standing.get((limit.subject, limit.metric, limit.window))
            if there is None or (replace and there != limit):
                await self._store.set_limit(limit)
                self.result.limits += 1
            else:
                self.result.kept_limits += 1


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers, without empty ones. Raises InvalidInput for one that is too long to be any."""
    number = 0
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > _MAX_LINE_BYTES:
            raise InvalidInput(f"line {number}", f"it is longer than {_MAX_LINE_BYTES} bytes; this is no archive.")
        if line.strip():
            yield number, line
