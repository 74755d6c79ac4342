"""Waiting for what happens beside a test, with a deadline instead of a guess."""

from collections.abc import Awaitable, Callable

import anyio


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Ask again and again until something holds; an error if it does not in time."""
    with anyio.fail_after(seconds):
        while not await holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await anyio.sleep(0.01)
