"""The HTTP door on a real socket, in the test's own process and event loop."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from unittest.mock import patch

import anyio
import httpx2
from anyio.abc import SocketStream

from tests.server.odd_server import odd_server
from tests.waiting import NET_SECONDS, until
from tokenward.server.http import serve
from tokenward.server.http.app import build_app
from tokenward.server.http.drain import Drain
from tokenward.server.http.serve import Server, listen
from tokenward.server.settings import Settings
from tokenward.server.strict import StrictServer

Protocol: TypeAlias = Literal["httptools", "h11"]

HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
MODERN = "2026-07-28"


def call(tool: str, *, request_id: int = 1, token: str | None = None, **arguments: object) -> dict[str, Any]:
    """A call as clients of the handshake send it."""
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    if token is not None:
        params["_meta"] = {"progressToken": token}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


async def next_data(lines: AsyncIterator[str]) -> str:
    """The next data of a stream of events."""
    async for line in lines:
        if line.startswith("data:"):
            return line
    raise EOFError


def settings_for(**http: object) -> Settings:
    """A ledger in memory, and any free port."""
    return Settings.model_validate({"store": "memory://", "http": {"port": 0, **http}})


@dataclass
class Served:
    """A server that runs."""

    port: int
    server: Server
    drain: Drain
    client: httpx2.AsyncClient = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def post(self, message: object, path: str = "/mcp", **headers: str) -> httpx2.Response:
        content = message if isinstance(message, bytes) else json.dumps(message).encode()
        return await self.client.post(path, content=content, headers={**HEADERS, **headers})

    async def raw(self, request: bytes) -> bytes:
        """What comes back until the server closes."""
        async with await self.connected() as stream:
            await stream.send(request)
            answer = b""
            async for chunk in stream:
                answer += chunk
            return answer

    async def connected(self) -> SocketStream:
        return await anyio.connect_tcp("127.0.0.1", self.port)

    def stop(self) -> None:
        """What SIGTERM does."""
        self.server.should_exit = True


@asynccontextmanager
async def serving(
    settings: Settings | None = None,
    *,
    server: StrictServer | None = None,
    real: bool = False,
    protocol: Protocol = "httptools",
    stateful: bool = False,
) -> AsyncGenerator[Served]:
    """The door with odd tools behind it, or the real ones, until the end of the block."""
    settings = settings or settings_for()
    drain = Drain()
    app = build_app(settings, server=None if real else server or odd_server(), drain=drain, stateful=stateful)
    # Work that is ended says so, however long this machine takes.
    with patch.object(serve, "_CUT_OFF_SECONDS", NET_SECONDS):
        running = Server(app, drain, settings.http.drain_seconds, protocol)
    listener = listen(settings.http)
    port: int = listener.getsockname()[1]
    # No deadlines of its own: a test may put the clock forward.
    client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=None)
    async with AsyncExitStack() as ending, client, anyio.create_task_group() as group:
        ending.enter_context(listener)
        group.start_soon(running.serve, [listener])

        async def started() -> bool:
            return running.started

        try:
            await until(started)
            yield Served(port, running, drain, client)
        finally:
            # Nobody sends anything any more that would have to be waited for.
            ending.enter_context(patch.object(serve, "_LINGER_SECONDS", 0))
            running.should_exit = True
