"""The end of a server: told once, and heard by everything that would otherwise go on."""

from collections.abc import Generator
from contextlib import contextmanager

import anyio


class Drain:
    """Whether the server is ending. What was accepted is still answered, nothing new is waited for.

    Attributes:
        over: Whether the time for answers is over too, and what is still at work was ended.
    """

    def __init__(self) -> None:
        self._begun = anyio.Event()
        self._at_work: set[anyio.CancelScope] = set()
        self.over = False

    @property
    def begun(self) -> bool:
        """Whether it has begun."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Begin."""
        self._begun.set()

    async def wait(self) -> None:
        """Wait until it begins."""
        await self._begun.wait()

    @contextmanager
    def ending(self, work: anyio.CancelScope) -> Generator[None]:
        """Work that is ended when the time is over."""
        self._at_work.add(work)
        if self.over:
            work.cancel()
        try:
            yield
        finally:
            self._at_work.discard(work)

    def finish(self) -> None:
        """End what is at work."""
        self.over = True
        for work in self._at_work:
            work.cancel()
