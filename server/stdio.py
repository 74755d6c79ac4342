"""MCP over standard input and output.

On Unix the event loop itself reads and writes, without the three thread hops per message of the SDK's transport, and
the server ends in good order on end of input, SIGTERM and SIGINT. Windows gets the SDK's transport.
"""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
import anyio.lowlevel
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from tokenward.server.frames import UnreadableLine, read_lines, read_message, write_message
from tokenward.server.strict import StrictServer

_CHUNK_BYTES = 2**16
_CALLS_END_SECONDS = 30
"""After the end of input, calls in progress may take this long to be answered."""
_WRITES_END_SECONDS = 1


def serve_stdio(server: StrictServer) -> None:
    """Serve one client over the process's standard input and output until it leaves or the process is told to end."""
    if _by_event_loop():
        asyncio.run(_serve(server))
    else:
        server.run("stdio")


def _by_event_loop() -> bool:
    if sys.platform == "win32":
        return False
    inward, outward = os.fstat(0), os.fstat(1)
    # The event loop takes data coming in on a socket it writes to for the peer's leaving.
    return not (stat.S_ISSOCK(inward.st_mode) and os.path.samestat(inward, outward))


def _is_pipe(handle: int) -> bool:
    mode = os.fstat(handle).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


async def _serve(server: StrictServer) -> None:
    to_server, incoming = anyio.create_memory_object_stream[SessionMessage | Exception]()
    outgoing, from_server = anyio.create_memory_object_stream[SessionMessage]()
    inward, outward = _take_streams()
    async with _source(inward) as read, _sink(outward) as write, anyio.create_task_group() as group:
        link = _Link(read, write)
        group.start_soon(link.read_all, to_server)
        group.start_soon(link.write_all, from_server)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, link.stop)
        await server.serve_streams(incoming, outgoing)
        # A client that has stopped reading must not keep the process.
        group.cancel_scope.deadline = anyio.current_time() + _WRITES_END_SECONDS


class _Link:
    """The two directions of the wire, and which calls are still to be answered."""

    def __init__(self, read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]) -> None:
        self._read = read
        self._write = write
        self._reading = anyio.CancelScope()
        self._finishing = anyio.CancelScope()
        self._open_calls: set[str | int] = set()
        self._answered = anyio.Event()

    def stop(self) -> None:
        """Let the server end as if the client had left, but soon: what is nearly done is still answered."""
        self._reading.cancel()
        self._end_calls_within(_WRITES_END_SECONDS)

    def _end_calls_within(self, seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        self._finishing.deadline = min(self._finishing.deadline, end)

    async def read_all(self, to_server: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        async with to_server:
            with self._reading, suppress(anyio.BrokenResourceError):
                async for line in read_lines(self._read):
                    if line is None or line.strip():
                        await self._receive(line, to_server)
            self._end_calls_within(_CALLS_END_SECONDS)
            with self._finishing:
                while self._open_calls:
                    self._answered = anyio.Event()
                    await self._answered.wait()

    async def _receive(self, line: bytes | None, to_server: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        try:
            message = read_message(line)
        except UnreadableLine as problem:
            await self._send(problem.answer)
            return
        if isinstance(message, JSONRPCRequest) and message.method == "tools/call":
            self._open_calls.add(message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._close((message.params or {}).get("requestId"))
        await to_server.send(SessionMessage(message))

    async def write_all(self, from_server: MemoryObjectReceiveStream[SessionMessage]) -> None:
        async with from_server:
            async for item in from_server:
                await self._send(item.message)
                if isinstance(item.message, JSONRPCResponse | JSONRPCError):
                    self._close(item.message.id)

    async def _send(self, message: JSONRPCMessage) -> None:
        try:
            await self._write(write_message(message))
        except OSError:  # the client has left
            self.stop()

    def _close(self, request_id: object) -> None:
        if isinstance(request_id, str | int):
            self._open_calls.discard(request_id)
        self._answered.set()


def _take_streams() -> tuple[int, int]:
    """Private handles of standard input and output, whose numbers then lead nowhere and to standard error.

    So nothing that is printed, by whatever code, can get between the messages, and no child can read them.
    """
    import fcntl  # noqa: PLC0415 - not on Windows

    sys.stdout.flush()
    inward, outward = (fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3) for number in (0, 1))
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    try:
        os.dup2(2, 1)
    except OSError:
        os.dup2(nowhere, 1)
    os.close(nowhere)
    return inward, outward


@asynccontextmanager
async def _source(handle: int) -> AsyncGenerator[Callable[[], Awaitable[bytes]]]:
    """What reads the next piece, until the end of the block."""
    with os.fdopen(handle, "rb", 0) as file:
        if not _is_pipe(handle):
            # Files never keep one waiting.
            ready = partial(anyio.wait_readable, handle) if file.isatty() else anyio.lowlevel.checkpoint

            async def read_directly() -> bytes:
                await ready()
                return file.read(_CHUNK_BYTES)

            yield read_directly
            return
        reader = asyncio.StreamReader(limit=_CHUNK_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, file)
        try:
            yield partial(reader.read, _CHUNK_BYTES)
        finally:
            transport.close()


@asynccontextmanager
async def _sink(handle: int) -> AsyncGenerator[Callable[[bytes], Awaitable[None]]]:
    """What writes a line, until the end of the block."""
    with os.fdopen(handle, "wb") as file:
        if not _is_pipe(handle):

            async def write_directly(line: bytes) -> None:
                file.write(line)
                file.flush()
                await anyio.lowlevel.checkpoint()

            yield write_directly
            return
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
        transport, _ = await loop.connect_write_pipe(lambda: protocol, file)
        transport.set_write_buffer_limits(0)  # drained means handed over, so that the last answer is not lost
        writer = asyncio.StreamWriter(transport, protocol, None, loop)

        async def write_pipe(line: bytes) -> None:
            writer.write(line)
            await writer.drain()

        try:
            yield write_pipe
        finally:
            if not transport.is_closing():
                transport.abort()
