"""Where work is done: what takes a moment on the event loop, all else in threads, so that the loop stays live.

A thread cannot be interrupted. So a call that is cancelled tells its work to stop, which it does at its next
:func:`tokenward.engine.steps.checkpoint`.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

import anyio.to_thread
from anyio.lowlevel import RunVar

from tokenward.engine.steps import stoppable
from tokenward.engine.types import JsonValue

TEXT_CHARACTERS = 50
"""What each text, number or empty list adds to its characters: counting the shortest takes about as long as these."""

LARGE_CHARACTERS = 200_000
"""From this much material on, work waits for one of a few threads."""

LARGE_AT_ONCE = 2
"""How many threads do large work. Every thread that computes makes the event loop wait its turn for longer."""

_Answer = TypeVar("_Answer")
_Material: TypeAlias = "Sequence[JsonValue] | JsonValue"

_large: RunVar[anyio.CapacityLimiter] = RunVar("large")


async def run_sized(work: Callable[[], _Answer], *material: _Material, inline_characters: int = 0) -> _Answer:
    """Do ``work``, in a worker thread unless its ``material`` is small. Cancelled, it is as :func:`run_in_thread`.

    Args:
        work: What to do. At its first call it may have to load a vocabulary or prices, which takes 0.1 to 0.5 seconds.
        material: What it works on.
        inline_characters: How many characters of material the loop can wait for, as the model's text counter says.
            With 0 the work is always done in a thread.
    """
    size = 0
    for one in material:
        size = _added(one, size)
    if size < inline_characters:
        return work()
    limiter = _large_limiter() if size >= LARGE_CHARACTERS else None
    return await run_in_thread(work, limiter=limiter)


async def run_in_thread(work: Callable[[], _Answer], *, limiter: anyio.CapacityLimiter | None = None) -> _Answer:
    """Do ``work`` in a worker thread. A cancelled call does not wait for it, and it ends at its next checkpoint.

    Args:
        work: What to do. It must change nothing that outlives the call.
        limiter: How many threads there are for it; anyio's own if not given.
    """
    stop = threading.Event()
    try:
        return await anyio.to_thread.run_sync(partial(stoppable, work, stop), abandon_on_cancel=True, limiter=limiter)
    finally:
        stop.set()


def _added(material: _Material, size: int) -> int:
    """The size with this material's added; the walk ends as soon as it is large."""
    # With iterators, so that nothing is copied and no depth is too deep.
    walks: list[Iterator[_Material]] = [iter((material,))]
    while walks and size < LARGE_CHARACTERS:
        for one in walks[-1]:
            if isinstance(one, str):
                size += len(one) + TEXT_CHARACTERS
            elif not one or isinstance(one, int | float):
                size += TEXT_CHARACTERS
            else:
                walks.append(iter(one.values() if isinstance(one, dict) else one))
                break
            if size >= LARGE_CHARACTERS:
                break
        else:
            walks.pop()
    return size


def _large_limiter() -> anyio.CapacityLimiter:
    """The one of this event loop."""
    limiter = _large.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(LARGE_AT_ONCE)
        _large.set(limiter)
    return limiter
