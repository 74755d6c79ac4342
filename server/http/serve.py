"""The process that serves HTTP: its socket, its workers, and its end."""

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import date
from functools import partial
from math import ceil
from types import FrameType
from typing import Literal

import uvicorn
from sse_starlette.sse import AppStatus
from starlette.types import ASGIApp

from tokenward.engine.errors import ConfigurationError
from tokenward.server.ending import ending_signals
from tokenward.server.http.app import build_app
from tokenward.server.http.drain import Drain
from tokenward.server.http.guard import bracketed, is_loopback
from tokenward.server.http.paths import MCP_PATH
from tokenward.server.http.settings import HttpSettings
from tokenward.server.http.wire import protocol_class
from tokenward.server.http.workers import Workers, hear_signals
from tokenward.server.price_settings import day_of_prices
from tokenward.server.settings import Settings
from tokenward.server.telemetry.logs import announce, set_up_logging

_LINGER_SECONDS = 0.25
"""Requests that are on their way when the server is told to end are waited for so long."""

_CUT_OFF_SECONDS = 1.0
"""Work that is ended gets so long to say so; then its connection is closed."""

_END_SECONDS = 8.0
"""How much longer than its work in progress a process may take to end; a store that does not answer may keep it."""

_BACKLOG = 2048

_SILENCE_TICKS = 100
"""A connection is closed that brings no whole request in so many tenths of a second, or in twice as many at most."""

UNREAD_TICKS = 600
"""A connection is closed whose client reads nothing of an answer for so many tenths of a second, or twice as many at
most; nginx, too, waits a minute (``send_timeout``)."""

_KEEP_ALIVE_SECONDS = 75
"""How long a connection may be idle: longer than balancers keep theirs (nginx: 60 s), so that none sends a request on
one that is being closed."""

_SAY_SECONDS = 1.0
"""The most that the last line of the log may take."""

_LOG = logging.getLogger(__name__)


def serve_http(settings: Settings) -> None:
    """Serve until the process is told to end.

    Raises:
        ConfigurationError: The settings cannot be served, or the address cannot be listened on.
    """
    check_servable(settings)
    listener = listen(settings.http)
    ready = partial(announce, settings, f"Listening on {address(settings.http, listener)}")
    if settings.http.workers == 1:
        serve_on(listener, settings, ready)
        return
    work, end_seconds = partial(_serve_as_worker, handed_over(settings)), settings.http.drain_seconds + _END_SECONDS
    Workers(listener, work, settings.http.workers, end_seconds=end_seconds, ready=ready).run()


def check_servable(settings: Settings) -> None:
    """Refuse settings that would do harm, or not what they say.

    Raises:
        ConfigurationError: Which one, and what to do.
    """
    http = settings.http
    if not (is_loopback(http.host) or settings.auth.enabled or http.insecure):
        raise ConfigurationError(
            f"Listening on {http.host} without authentication would let everybody who reaches it spend and read. "
            "Set up [auth], listen on 127.0.0.1, or give --insecure."
        )
    if http.workers > 1 and settings.store.startswith("memory:"):
        raise ConfigurationError("http.workers: each worker would have a memory:// of its own; choose another store.")
    if http.workers > 1 and http.sse:
        raise ConfigurationError("http.workers: a session of the legacy SSE lives in one process; serve it with one.")


def listen(http: HttpSettings) -> socket.socket:
    """The socket, listening.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(http.host, http.port, type=socket.SOCK_STREAM)[0]
        everywhere = http.host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server(place[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=everywhere)
    except OSError as error:
        number = None if isinstance(error, socket.gaierror) else error.errno
        problem = (os.strerror(number) if number else error.strerror) or "error"
        raise ConfigurationError(f"{http.host}:{http.port} cannot be listened on ({problem}).") from None
    return listener


def address(http: HttpSettings, listener: socket.socket) -> str:
    """The URL to give to clients."""
    return f"http://{bracketed(http.host)}:{listener.getsockname()[1]}{MCP_PATH}"


def handed_over(settings: Settings) -> Settings:
    """The same settings, not checked again, for a process that cannot read their file: it may say something else now.

    Their own class, which knows that file, is not pickled; all that is asked of it later is the day of prices.
    """
    values, day = dict(settings), day_of_prices(settings.model_config.get("toml_file"))
    if day != "unknown":
        dated = {"date": date.fromisoformat(day)}
        values["prices"] = {
            name: tuple(one if one.date else one.model_copy(update=dated) for one in several)
            for name, several in settings.prices.items()
        }
    return Settings.model_construct(settings.model_fields_set, **values)


def _serve_as_worker(settings: Settings, listener: socket.socket, ready: Callable[[], object]) -> None:
    set_up_logging(settings)
    serve_on(listener, settings, ready)


def serve_on(listener: socket.socket, settings: Settings, ready: Callable[[], object]) -> None:
    """Serve in this process until it is told to end; ``ready`` is called when requests are answered."""
    drain = Drain()
    Server(build_app(settings, drain=drain), drain, settings.http.drain_seconds, ready=ready).run([listener])


def waiting_connections(listener: socket.socket) -> list[socket.socket]:
    """The connections that the kernel has made and nobody has accepted: closing the listener would reset them."""
    listener.setblocking(False)
    waiting: list[socket.socket] = []
    with suppress(OSError):  # there are no more, or this process may not open more
        while True:
            waiting.append(listener.accept()[0])
            waiting[-1].setblocking(False)
    return waiting


def _leave() -> None:
    """End this process as it is. Those whose work it cut off were told.

    What keeps it may be a log that nobody reads.
    """
    said = threading.Thread(target=_LOG.warning, args=["The process did not end in time and is left as it is."])
    said.daemon = True
    try:
        said.start()  # refused while the interpreter waits, at its own end, for a thread that does not come to one
        said.join(_SAY_SECONDS)
    finally:
        os._exit(0)


def _is_silent(connection: object) -> bool:
    """Whether no request has arrived since the connection was opened, or since its last bytes came."""
    timer, exchange = (getattr(connection, name, None) for name in ("timeout_keep_alive_task", "cycle"))
    return timer is None and (exchange is None or exchange.response_complete)


class Server(uvicorn.Server):
    """Ends with what was accepted answered, and with exit code 0.

    Args:
        app: What is served.
        drain: Is begun when this is told to end.
        drain_seconds: How long the work in progress may go on then.
        protocol: What reads HTTP: ``httptools``, ``h11``, or by itself the first of them that is installed.
        ready: Is called when requests are answered, and a signal ends this in good order.
    """

    def __init__(
        self,
        app: ASGIApp,
        drain: Drain,
        drain_seconds: float,
        protocol: Literal["auto", "httptools", "h11"] = "auto",
        *,
        ready: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol_class(protocol),
                lifespan="on",
                interface="asgi3",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=ceil(drain_seconds + _CUT_OFF_SECONDS),
            )
        )
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._ready = ready
        self._silent: set[object] = set()
        self._unread: dict[object, tuple[object, int]] = {}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; a worker ends when the process that looks after it does, however that ended."""
        # Streams would be cut off with answers in them; the application ends them itself.
        AppStatus.enable_automatic_graceful_drain = False
        parent = multiprocessing.parent_process()
        if parent is not None and sys.platform != "win32":
            loop = asyncio.get_running_loop()
            loop.add_reader(parent.sentinel, self._end_with, loop, parent.sentinel)
        await super().startup(sockets)
        if self._ready is not None:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in good order, but in any case: this process too, which nobody looks after."""
        super().handle_exit(sig, frame)
        self._end_in_any_case()

    def _end_with(self, loop: asyncio.AbstractEventLoop, parent: int) -> None:
        loop.remove_reader(parent)
        self.should_exit = True
        self._end_in_any_case()

    def _end_in_any_case(self) -> None:
        last_resort = threading.Timer(self._drain_seconds + _END_SECONDS, _leave)
        last_resort.daemon = True
        last_resort.start()

    async def on_tick(self, counter: int) -> bool:
        """Close connections that bring no request, or only a part of one, or whose answers nobody reads.

        The original waits for either for ever.
        """
        if counter % _SILENCE_TICKS == 0:
            silent = {one for one in self.server_state.connections if _is_silent(one)}
            for one in silent:
                if one in self._silent:
                    one.shutdown()
            self._silent = set(silent)
        if counter % UNREAD_TICKS == 0:
            before, self._unread = self._unread, {}
            for one in list(self.server_state.connections):
                exchange, now = getattr(one, "cycle", None), one.transport.get_write_buffer_size()
                self._unread[one] = (exchange, now)
                then, bytes_ = before.get(one, (None, 0))
                if then is exchange and 0 < bytes_ <= now:
                    one.transport.abort()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, answer what is on its way, and then end."""
        self._drain.begin()
        loop = asyncio.get_running_loop()
        over_at = loop.time() + self._drain_seconds
        arrived = [one for listener in sockets or () for one in waiting_connections(listener)]
        for server in self.servers:
            server.close()
        for one in arrived:
            await loop.connect_accepted_socket(self._connection, one)
        await asyncio.sleep(_LINGER_SECONDS)
        timer = loop.call_at(over_at, self._drain.finish)
        await super().shutdown(sockets)
        timer.cancel()

    def _connection(self) -> asyncio.Protocol:
        kind = self.config.http_protocol_class
        return kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Take signals; unlike the original, do not end the process by the same signal afterwards."""
        before = {number: signal.signal(number, self.handle_exit) for number in ending_signals()}
        hear_signals()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
