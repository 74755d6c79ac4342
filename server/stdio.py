"""MCP over standard input and output.

On Unix the event loop itself reads and writes, without the three thread hops per message of the SDK's transport, and
the server ends in good order on end of input, SIGTERM and SIGINT. Windows gets the SDK's transport.
"""

import asyncio
import errno
import math
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeAlias

import anyio
import anyio.lowlevel
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCRequest

from tokenward.engine.errors import ConfigurationError
from tokenward.server.calls import OpenCalls
from tokenward.server.ending import NUMBERS, end_when_told, ending_signals
from tokenward.server.frames import UnreadableLine, read_lines, read_message, write_message
from tokenward.server.last_resort import last_resort
from tokenward.server.strict import StrictServer

_Outgoing: TypeAlias = SessionMessage | JSONRPCError
"""What the server says, or what its client is told of a line that the server does not get."""

_CHUNK_BYTES = 2**16
_MESSAGES_ON_THE_WAY = 16
_MOST_OPEN = 1_000
"""From so many unanswered requests on, nothing is read until one of them is answered: the client has to wait."""

_CALLS_END_SECONDS = 30.0
"""After the end of input, requests in progress may take this long to be answered."""
_STALL_SECONDS = 5.0
"""After the end of input, a client that does not take a write (64 KiB, or one larger answer) within this has left."""
_LAST_CALLS_SECONDS = 0.4
"""After a signal, this long; what is left is told that the connection is closed."""
_LAST_WRITES_SECONDS = 0.6
"""How long after a signal, or after the last answer, a client that has stopped reading may keep the process."""
_LAST_RESORT_SECONDS = 0.95
"""How long after a signal the process may take in any case: a thread may wait for a store, or the loop for a terminal
or a log that nobody reads."""


def serve_stdio(server: StrictServer, last_resort_seconds: float = _LAST_RESORT_SECONDS) -> None:
    """Serve one client over the process's standard input and output until it leaves or the process is told to end.

    Args:
        server: Answers.
        last_resort_seconds: How long after a signal the process ends in any case.

    Raises:
        ConfigurationError: Standard input cannot be read, or standard output cannot be written.
    """
    if sys.platform == "win32":
        server.run("stdio")
        return
    inward, outward = _take_streams()
    asyncio.run(_serve_until_end(server, inward, outward, last_resort_seconds))


async def _serve_until_end(server: StrictServer, inward: int, outward: int, last_resort_seconds: float) -> None:
    numbers = ending_signals()
    with last_resort(numbers, last_resort_seconds, partial(_wake, asyncio.get_running_loop())):
        try:
            await serve_handles(server, inward, outward, numbers)
        finally:
            # While there still is a loop for the handlers to tell.
            end_when_told(numbers)


def _wake(loop: asyncio.AbstractEventLoop) -> None:
    """Let handlers run that came when the loop had just begun to wait."""
    with suppress(RuntimeError):  # it has ended
        loop.call_soon_threadsafe(lambda: None)


def _is_pipe(handle: int) -> bool:
    return stat.S_ISFIFO(os.fstat(handle).st_mode) or _is_socket(handle)


def _is_socket(handle: int) -> bool:
    return stat.S_ISSOCK(os.fstat(handle).st_mode)


async def serve_handles(
    server: StrictServer,
    inward: int,
    outward: int,
    numbers: Sequence[signal.Signals] = NUMBERS,
) -> None:
    """Serve one client that writes to ``inward`` and reads from ``outward``, which are closed at the end.

    Args:
        server: Answers.
        inward: A handle.
        outward: A handle.
        numbers: The signals that end it.

    Raises:
        ConfigurationError: ``outward`` cannot be written.
    """
    # Some room on the way, so that neither side waits its turn for every message.
    to_server, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](_MESSAGES_ON_THE_WAY)
    outgoing, to_client = anyio.create_memory_object_stream[_Outgoing](_MESSAGES_ON_THE_WAY)
    async with _wire(inward, outward) as (read, write):
        link = _Link(read, write)
        async with anyio.create_task_group() as group:
            group.start_soon(link.read_all, to_server, outgoing.clone())
            group.start_soon(link.write_all, to_client)
            _hear(numbers, link.stop)
            await server.serve_streams(incoming, outgoing)
            link.end_writes()
        if link.problem is not None:
            raise ConfigurationError(f"Standard output cannot be written ({link.problem.strerror}).")


def _hear(numbers: Sequence[signal.Signals], stop: Callable[[], object]) -> None:
    """Have the loop call ``stop`` at a signal. Handlers of its own it would take with it at its end."""
    loop = asyncio.get_running_loop()

    def handle(*_: object) -> None:
        loop.call_soon_threadsafe(stop)

    for number in numbers:
        signal.signal(number, handle)


class _Link:
    """The two directions of the wire, and which requests are still to be answered."""

    def __init__(self, read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]) -> None:
        self._read = read
        self._write = write
        self._reading = anyio.CancelScope()
        self._finishing = anyio.CancelScope()
        self._writing = anyio.CancelScope()
        self._writes_end = math.inf
        self._stall_seconds = math.inf
        self._calls = OpenCalls()
        self.problem: OSError | None = None
        """Why the client can no longer be written to, if not because it has left."""

    def stop(self) -> None:
        """Let the server end as if the client had left, but soon: what is nearly done is still answered."""
        self._reading.cancel()
        self._end_calls_within(_LAST_CALLS_SECONDS)
        self.end_writes()

    def end_writes(self) -> None:
        """Write what is still to be written soon, or not at all."""
        self._writes_end = min(self._writes_end, anyio.current_time() + _LAST_WRITES_SECONDS)
        self._writing.deadline = self._writes_end

    @property
    def _write_deadline(self) -> float:
        return min(self._writes_end, anyio.current_time() + self._stall_seconds)

    def _end_calls_within(self, seconds: float) -> None:
        self._finishing.deadline = min(self._finishing.deadline, anyio.current_time() + seconds)

    async def read_all(
        self,
        to_server: MemoryObjectSendStream[SessionMessage | Exception],
        to_client: MemoryObjectSendStream[_Outgoing],
    ) -> None:
        """Hand over what the client says, until it ends or this is stopped; refuse what is no message."""
        async with to_server, to_client:
            with self._reading, suppress(anyio.BrokenResourceError, OSError):
                async for line in read_lines(self._read):
                    if line is None or line.strip():
                        await self._receive(line, to_server, to_client)
                    await self._calls.until(_MOST_OPEN - 1)
            self._end_calls_within(_CALLS_END_SECONDS)
            self._stall_seconds = _STALL_SECONDS
            self._writing.deadline = self._write_deadline
            with self._finishing:
                await self._calls.until(0)

    async def _receive(
        self,
        line: bytes | None,
        to_server: MemoryObjectSendStream[SessionMessage | Exception],
        to_client: MemoryObjectSendStream[_Outgoing],
    ) -> None:
        try:
            message = read_message(line)
        except UnreadableLine as problem:
            await to_client.send(problem.answer)
            return
        self._calls.heard(message)
        if isinstance(message, JSONRPCRequest):
            if (refusal := self._calls.refusal(message)) is not None:
                await to_client.send(refusal)
                return
            self._calls.add(message)
        await to_server.send(SessionMessage(message))

    async def write_all(self, to_client: MemoryObjectReceiveStream[_Outgoing]) -> None:
        """Write what the server says until it ends. What can no longer be written is dropped."""
        async with to_client:
            async for item in to_client:
                said = [item]
                lines = write_message(_message(item))
                # What is ready meanwhile goes with it: the client is woken once.
                while len(lines) < _CHUNK_BYTES and (more := _ready(to_client)) is not None:
                    lines += write_message(_message(more))
                    said.append(more)
                with anyio.CancelScope(deadline=self._write_deadline) as self._writing:
                    await self._send(lines)
                if self._writing.cancelled_caught:
                    self.stop()
                for one in said:
                    if isinstance(one, SessionMessage):
                        self._calls.said(one.message)

    async def _send(self, lines: bytes) -> None:
        if self.problem is not None:
            return
        try:
            await self._write(lines)
        except OSError as problem:
            if not isinstance(problem, ConnectionError) and problem.errno != errno.EIO:
                self.problem = problem
            self.stop()  # also when the client has left, or its terminal was closed (EIO)


def _message(item: _Outgoing) -> JSONRPCMessage:
    return item.message if isinstance(item, SessionMessage) else item


def _ready(stream: MemoryObjectReceiveStream[_Outgoing]) -> _Outgoing | None:
    """What is next if it is there already."""
    try:
        return stream.receive_nowait()
    except (anyio.WouldBlock, anyio.EndOfStream):
        return None


def _take_streams() -> tuple[int, int]:
    """Private handles of standard input and output, whose numbers then lead nowhere and to standard error.

    So nothing that is printed, by whatever code, can get between the messages, and no child can read them.
    """
    inward = _private(0, os.O_WRONLY, "Standard input is closed or cannot be read.")
    outward = _private(1, os.O_RDONLY, "Standard output is closed or cannot be written.")
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    try:
        os.dup2(2, 1)
    except OSError:
        os.dup2(nowhere, 1)
    os.close(nowhere)
    return inward, outward


def _private(number: int, useless: int, problem: str) -> int:
    """Another handle of a standard stream, which children do not get.

    Args:
        number: The stream's.
        useless: The mode in which the server could not use it.
        problem: What to say then, or if there is no such stream.

    Raises:
        ConfigurationError: That.
    """
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        handle = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:
        raise ConfigurationError(problem) from None
    if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == useless:
        raise ConfigurationError(problem)
    return handle


@asynccontextmanager
async def _wire(
    inward: int, outward: int
) -> AsyncGenerator[tuple[Callable[[], Awaitable[bytes]], Callable[[bytes], Awaitable[None]]]]:
    """What reads the next piece and what writes a line, until the end of the block."""
    if not (_is_socket(inward) and os.path.samestat(os.fstat(inward), os.fstat(outward))):
        async with _source(inward) as read, _sink(outward) as write:
            yield read, write
        return
    # One socket is one transport: as a pipe to write to, what comes in on it is taken for the peer's leaving.
    os.close(outward)
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=inward), limit=_CHUNK_BYTES)
    try:
        yield partial(reader.read, _CHUNK_BYTES), _writing_to(writer)
    finally:
        writer.transport.abort()


def _writing_to(writer: asyncio.StreamWriter) -> Callable[[bytes], Awaitable[None]]:
    writer.transport.set_write_buffer_limits(0)  # drained means handed over, so that the last answer is not lost

    async def write(line: bytes) -> None:
        writer.write(line)
        await writer.drain()

    return write


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
        # asyncio asks for 256 KiB of memory at each read, which leaves holes in the heap. A pipe never holds so much.
        vars(transport)["max_size"] = _CHUNK_BYTES
        try:
            yield partial(reader.read, _CHUNK_BYTES)
        finally:
            transport.close()


@asynccontextmanager
async def _sink(handle: int) -> AsyncGenerator[Callable[[bytes], Awaitable[None]]]:
    """What writes a line, until the end of the block."""
    with os.fdopen(handle, "wb", 0) as file:
        if not _is_pipe(handle):

            async def write_directly(line: bytes) -> None:
                rest = memoryview(line)
                while rest:
                    try:
                        rest = rest[os.write(handle, rest) :]
                    except BlockingIOError:
                        await anyio.wait_writable(handle)
                await anyio.lowlevel.checkpoint()

            yield write_directly
            return
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
        transport, _ = await loop.connect_write_pipe(lambda: protocol, file)
        try:
            yield _writing_to(asyncio.StreamWriter(transport, protocol, None, loop))
        finally:
            if not transport.is_closing():
                transport.abort()
