"""The store behind a service: connected when it is first needed, once for all who wait for it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import anyio

from tokenward.engine.errors import StoreUnavailable
from tokenward.storage.base import UsageStore


class LazyStore:
    """Connects a store for its first caller. An attempt goes on when its callers leave, until the end.

    Else one that takes longer than any caller waits, as the upgrade of a large ledger may, never came to an end. Who
    waits for one that fails shares its failure: another one each would take its time in turn.

    Args:
        store: What is connected.
        prepare: What is to be done with it before anybody gets it.
    """

    def __init__(self, store: UsageStore, prepare: Callable[[UsageStore], Awaitable[None]]) -> None:
        self._store = store
        self._prepare = prepare
        self._stack = AsyncExitStack()
        self._attempt: asyncio.Task[None] | None = None
        self._callers = 0
        self._connected = False
        self._closed = False

    async def get(self) -> UsageStore:
        """The store, connected. Raises StoreError."""
        if self._connected:
            return self._store
        if self._closed:
            raise _closed()
        if self._attempt is None:
            self._attempt = asyncio.get_running_loop().create_task(self._connect())
            self._attempt.add_done_callback(self._tried)
        attempt = self._attempt
        self._callers += 1
        try:
            await asyncio.wait([attempt])
        finally:
            self._callers -= 1
            self._give_up()
        if attempt.cancelled():
            raise _closed()
        attempt.result()
        return self._store

    async def aclose(self) -> None:
        """Close the store, if it was ever needed, also when the caller is cancelled. Later calls are refused."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            if self._attempt is not None:
                self._give_up()
                await asyncio.wait([self._attempt])
            await self._stack.aclose()

    async def _connect(self) -> None:
        async with AsyncExitStack() as connecting:
            await connecting.enter_async_context(self._store)
            await self._prepare(self._store)
            self._stack.push_async_exit(connecting.pop_all())
        self._connected = True

    def _tried(self, attempt: "asyncio.Task[None]") -> None:
        self._attempt = None
        if not attempt.cancelled():
            attempt.exception()  # nobody may be left to be told

    def _give_up(self) -> None:
        """Connect no more once nobody will need it."""
        if self._closed and not self._callers and self._attempt is not None:
            self._attempt.cancel()


def _closed() -> StoreUnavailable:
    return StoreUnavailable("The ledger is closed. Open the service before using it.", lasting=True)
