"""A wire between a store and Postgres that can be cut at a chosen moment, or go silent."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from urllib.parse import urlsplit, urlunsplit

_PIECE = 1 << 16


Moment: TypeAlias = Literal["before", "during", "after"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a connection is cut, once.

    Attributes:
        text: What the client says when it is time.
        moment: Before the server hears it, while the server may be at it, or after the server has answered.
        later: So many pieces of the client's after that.
    """

    text: bytes = b"COMMIT"
    moment: Moment = "after"
    later: int = 0


@dataclass(slots=True, eq=False)
class _Wire:
    """One client's connection and the one to the server."""

    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    deaf: bool = False
    silent: bool = False
    set_up: bool = False
    working: bool = False
    counted: int = -1

    def close(self) -> None:
        for _, writer in (self.client, self.server):
            writer.close()


@dataclass(slots=True)
class Proxy:
    """Hands on what is said, until a cut or silence.

    Attributes:
        cuts: Those to come; each is used for one connection.
        mute: What a client says on a connection that is silent from then on; used once.
        unheard: The transactions that were begun on connections that are silent, those of setting up left out.
    """

    server_url: str
    cuts: deque[Cut] = field(default_factory=deque[Cut])
    mute: bytes = b""
    connections: int = 0
    unheard: int = 0
    _wires: set[_Wire] = field(default_factory=set[_Wire])
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set["asyncio.Task[None]"])
    _port: int = 0

    @property
    def url(self) -> str:
        """The server's URL by way of this proxy."""
        parts = urlsplit(self.server_url)
        login = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{self._port}"))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Proxy"]:
        """Listens on a free port."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for wire in self._wires:
                wire.close()

    def cut_all(self) -> None:
        """Cut every connection, now."""
        for wire in self._wires:
            wire.close()

    def silence(self) -> None:
        """Nothing is handed on any more where there is a connection, and nothing is closed: a route that was lost."""
        for wire in self._wires:
            wire.silent = True

    def lose(self) -> None:
        """Close the connections that batches came by; the others go silent."""
        for wire in self._wires:
            wire.silent = True
            if wire.working:
                wire.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        parts = urlsplit(self.server_url)
        try:
            server = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError:
            writer.close()
            return
        wire = _Wire((reader, writer), server)
        self._wires.add(wire)
        for pump in (self._to_server(wire), self._to_client(wire)):
            task = asyncio.create_task(_closing(wire, pump))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _to_server(self, wire: _Wire) -> None:
        reader, writer = wire.client[0], wire.server[1]
        while piece := await reader.read(_PIECE):
            if self.mute and self.mute in piece:
                self.mute, wire.silent = b"", True
            if wire.silent:
                self.unheard += wire.set_up and b"BEGIN" in piece
                continue
            wire.set_up = wire.set_up or b"COMMIT\0" in piece
            cut = self._due(wire, piece)
            if cut is None:
                writer.write(piece)
                await writer.drain()
            elif cut.moment == "before":
                return
            else:
                # The answer is not handed on; whoever reads it closes the wire.
                wire.deaf = True
                writer.write(piece)
                await writer.drain()
                if cut.moment == "during":
                    wire.client[1].close()

    async def _to_client(self, wire: _Wire) -> None:
        reader, writer = wire.server[0], wire.client[1]
        while (piece := await reader.read(_PIECE)) and not wire.deaf:
            if not wire.silent:
                writer.write(piece)
                await writer.drain()

    def _due(self, wire: _Wire, piece: bytes) -> Cut | None:
        """The cut that is to be made at this piece. A connection that is only being set up is left alone."""
        wire.working = wire.working or b"ledger_meta" in piece
        if not self.cuts or not wire.working:
            return None
        if wire.counted < 0 and self.cuts[0].text in piece:
            wire.counted = 0
        elif wire.counted >= 0:
            wire.counted += 1
        return self.cuts.popleft() if wire.counted >= self.cuts[0].later and wire.counted >= 0 else None


async def _closing(wire: _Wire, pump: Awaitable[None]) -> None:
    """Pump until one end is closed, then close both."""
    with suppress(OSError):
        await pump
    wire.close()
