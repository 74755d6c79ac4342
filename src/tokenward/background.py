"""Work beside the requests: it never delays or fails a caller, is bounded, and ends with the service."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import anyio

from tokenward.engine.errors import TokenwardError

_LOG = logging.getLogger(__name__)

_END_SECONDS = 5.0

_Key = TypeVar("_Key", bound=Hashable)


class Background(Generic[_Key]):
    """Does a piece of work for keys, one after the other in a task of its own. For one event loop.

    Args:
        what: Names the work in the log.
        work: Does it for a key. Its errors are logged by their kind alone.
        most: Keys that may wait; what comes then is left undone.
    """

    def __init__(self, what: str, work: Callable[[_Key], Awaitable[None]], *, most: int) -> None:
        self._what = what
        self._work = work
        self._most = most
        self._waiting: dict[_Key, None] = {}
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._full = False

    def submit(self, key: _Key) -> None:
        """Have the work done for a key soon; a key that waits already is done once."""
        if self._closed or key in self._waiting:
            return
        if len(self._waiting) >= self._most:
            if not self._full:
                _LOG.warning("%s: too much is waiting; some is left undone.", self._what)
            self._full = True
            return
        self._waiting[key] = None
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                key = next(iter(self._waiting))
                # It is taken out before: what happens while it is worked on has to be looked at again.
                del self._waiting[key]
                try:
                    await self._work(key)
                except TokenwardError as error:
                    _LOG.warning("%s: not done (%s).", self._what, type(error).__name__)
                except Exception as error:  # noqa: BLE001 - whatever it is, no caller waits for it
                    _LOG.warning("%s: failed (%s).", self._what, type(error).__name__)
            self._full = False
        finally:
            self._worker = None

    async def aclose(self, grace_seconds: float = 0.0) -> None:
        """Take no more, let what waits be done for a while, and end the rest."""
        self._closed = True
        await end_tasks([] if self._worker is None else [self._worker], grace_seconds)


async def end_tasks(tasks: "list[asyncio.Task[None]]", grace_seconds: float) -> None:
    """Wait for tasks for a while, then cancel them and wait until they have cleaned up."""
    if not tasks:
        return
    try:
        if grace_seconds:
            await asyncio.wait(tasks, timeout=grace_seconds)
    finally:
        with anyio.CancelScope(shield=True):
            for one in tasks:
                one.cancel()
            await asyncio.wait(tasks, timeout=_END_SECONDS)
