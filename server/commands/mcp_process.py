"""An MCP server as a child process, spoken to over its standard input and output. It never outlives the block.

The SDK's own client for this ends a server's children only if the server itself does not end in time.
"""

import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from shutil import which
from types import FrameType
from typing import TypeAlias

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from tokenward.engine.errors import shown
from tokenward.server.commands.session import Refused
from tokenward.server.frames import UnreadableLine, read_lines, read_message, write_message

Streams: TypeAlias = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]

_GRACE_SECONDS = 2.0
_POLL_SECONDS = 0.01
_REMEMBERED_BYTES = 4_096
_GONE = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)


@dataclass(slots=True)
class Overheard:
    """What a server said besides MCP.

    Attributes:
        unreadable: Lines on its standard output that are no messages.
        errors: The last it wrote to its standard error.
        exit_code: What it ended with; ``None`` if it had to be ended.
    """

    unreadable: int = 0
    errors: bytes = b""
    exit_code: int | None = None


@asynccontextmanager
async def server_process(command: Sequence[str], overheard: Overheard) -> AsyncGenerator[Streams]:
    """A transport for the SDK's client to a process that runs until the end of the block.

    Args:
        command: The program and its arguments; no shell reads them. It gets this process's environment.
        overheard: Filled with what the server said otherwise.

    Raises:
        Refused: The program cannot be started.
    """
    to_session, read_stream = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write_stream, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    with to_session, read_stream, write_stream, from_session, _heeded_signals() as signals:
        process = await _start(command)
        signals.process = process
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_hear, process, to_session, overheard)
                tasks.start_soon(_say, process.stdin, from_session)
                tasks.start_soon(_overhear, process.stderr, overheard)
                yield read_stream, write_stream
                tasks.cancel_scope.cancel()
        finally:
            signals.ending = True
            try:
                with anyio.CancelScope(shield=True):
                    await _end(process)
            finally:
                _kill(process)  # whatever became of the patience


async def _start(command: Sequence[str]) -> Process:
    program = which(command[0])
    if program is None:
        raise Refused(f"--mcp: no program {shown(command[0])} is there to be run.")
    try:
        return await anyio.open_process([program, *command[1:]], start_new_session=os.name == "posix")
    except OSError as error:
        raise Refused(f"--mcp: {shown(command[0])} cannot be started ({error.strerror or 'error'}).") from None


async def _hear(
    process: Process, to_session: MemoryObjectSendStream[SessionMessage | Exception], overheard: Overheard
) -> None:
    """Hand the server's messages on, until its output ends."""

    async def read() -> bytes:
        return await _received(process.stdout)

    with to_session, suppress(anyio.BrokenResourceError):
        async for line in read_lines(read):
            if line is not None and not line.strip():
                continue
            try:
                await to_session.send(SessionMessage(read_message(line)))
            except UnreadableLine as unreadable:
                if line is None or (unreadable.answer.id is not None and b'"jsonrpc"' in line):
                    # An answer: who waits for it would wait for ever.
                    said = unreadable.answer.error.message
                    raise Refused(f"--mcp: an answer of the server cannot be read ({said}).") from None
                overheard.unreadable += 1
        if await _ended_within(process, _GRACE_SECONDS):
            overheard.exit_code = process.returncode


async def _say(stream: ByteSendStream | None, from_session: MemoryObjectReceiveStream[SessionMessage]) -> None:
    """Send the client's messages to the server."""
    if stream is None:
        return
    try:
        async for item in from_session:
            await stream.send(write_message(item.message))
    except _GONE:
        pass  # its output says what became of it


async def _overhear(stream: ByteReceiveStream | None, overheard: Overheard) -> None:
    """Read the server's standard error, so that it never waits, and keep the end."""
    while chunk := await _received(stream):
        overheard.errors = (overheard.errors + chunk)[-_REMEMBERED_BYTES:]


async def _received(stream: ByteReceiveStream | None) -> bytes:
    """The next bytes; none at the end."""
    try:
        return b"" if stream is None else await stream.receive()
    except _GONE:
        return b""


# The end ------------------------------------------------------------------------------------------------------------


async def _end(process: Process) -> None:
    """Let the server end by itself, and then end it with all its children."""
    if process.stdin is not None:
        with suppress(*_GONE):
            await process.stdin.aclose()
    await _ended_within(process, _GRACE_SECONDS)
    _signal(process, signal.SIGTERM)
    if not await _ended_within(process, _GRACE_SECONDS):
        _kill(process)
        await _ended_within(process, _GRACE_SECONDS)
    # Its children had until now.
    _kill(process)
    with anyio.move_on_after(_GRACE_SECONDS):
        await process.aclose()


async def _ended_within(process: Process, seconds: float) -> bool:
    """Whether the server ends in time. Asked again and again: waiting would last until nobody holds its pipes."""
    deadline = anyio.current_time() + seconds
    while process.returncode is None and anyio.current_time() < deadline:  # noqa: ASYNC110
        await anyio.sleep(_POLL_SECONDS)
    return process.returncode is not None


def _kill(process: Process) -> None:
    """End the process and its children at once. It does not wait, so that a handler of signals may call it."""
    _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))


def _signal(process: Process, number: int) -> None:
    """Signal the process and its children: on POSIX its group, which also lives on without its leader."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
    elif process.returncode is None:
        kill = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(kill, capture_output=True, check=False)  # noqa: S603 - a system program


@dataclass(slots=True)
class _Signals:
    """What a signal does: the first ends the command in good order, a further one kills the server at once.

    Attributes:
        interrupt: What Ctrl-C did before.
        process: The server, once it is started.
        ending: Whether the server is being ended, with or without a signal.
    """

    interrupt: Callable[[int, FrameType | None], object]
    process: Process | None = None
    ending: bool = False
    _heard: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.process is not None and (self.ending or self._heard):
            _kill(self.process)
        if not self._heard:
            self._heard = True
            self.interrupt(number, frame)


@contextmanager
def _heeded_signals() -> Generator[_Signals]:
    """SIGTERM and a closed terminal end the command as Ctrl-C does: in good order, and the server with it."""
    interrupt = signal.getsignal(signal.SIGINT)
    heeded = _Signals(interrupt if callable(interrupt) else signal.default_int_handler)
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # What somebody chose to ignore stays ignored.
    free = [one for one in numbers if signal.getsignal(one) == signal.SIG_DFL]
    taken = [signal.SIGINT, *free] if callable(interrupt) else free
    for number in taken:
        signal.signal(number, heeded)
    try:
        yield heeded
    finally:
        for number in taken:
            signal.signal(number, interrupt if number == signal.SIGINT else signal.SIG_DFL)
