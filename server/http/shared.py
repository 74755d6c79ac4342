"""What all that one process serves has in common."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from tokenward.server.strict import LazyContext, OpenContext
from tokenward.tools.definition import ToolContext

_CLOSE_SECONDS = 3.0
"""How long closing may take: what a store that answers still has to write takes milliseconds."""

_CANCEL_SECONDS = 0.5

_LOG = logging.getLogger(__name__)


class SharedContext:
    """What the tools work with, once for all that one process serves, and opened by the first that needs it."""

    def __init__(self, open_context: OpenContext) -> None:
        self._stack = AsyncExitStack()
        self._lazy = LazyContext(open_context, self._stack)

    async def get(self) -> ToolContext:
        """The context, opened."""
        return await self._lazy.get()

    @asynccontextmanager
    async def lent(self) -> AsyncGenerator[ToolContext]:
        """The context for a borrower, who does not close it."""
        yield await self.get()

    async def aclose(self) -> None:
        """Close what was opened. A store that does not answer is left as it is: the process has to end."""
        closing = asyncio.ensure_future(self._stack.aclose())  # its parts shield themselves, so that no scope ends it
        if (await asyncio.wait([closing], timeout=_CLOSE_SECONDS))[0]:
            await closing
            return
        _LOG.warning(
            "The store did not close within %g s and is left; what it was told last is in doubt.", _CLOSE_SECONDS
        )
        closing.cancel()
        await asyncio.wait([closing], timeout=_CANCEL_SECONDS)
