"""Another MCP server's list of tools, asked for as a client.

What the server says is untrusted: its lists are bounded, its texts are for the caller to clean, and its words appear
in errors only cleaned and cut.
"""

import json
import logging
import os
import re
import shlex
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import anyio
import httpx2
from mcp.client import Client, Transport
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.types import JsonObject
from tokenward.server.commands.count_show import one_line
from tokenward.server.commands.mcp_process import Overheard, server_process
from tokenward.server.commands.session import Refused

_LOG = logging.getLogger(__name__)

MAX_PAGES = 200
"""Most pages of a list of tools."""

MAX_TOOLS = 5_000
"""Most tools of a server."""

MAX_LIST_BYTES = 16 * 2**20
"""Longest list of tools, and longest answer over HTTP: 16 MiB."""

_TOO_LONG = f"--mcp: the server's list of tools is longer than {MAX_LIST_BYTES >> 20} MiB."
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff]*?)[ \t]*")
_NO_URL = "it is not a URL; expected http://HOST… or https://HOST…."
_SAID_CHARACTERS = 200
_NO_ACCESS = (401, 403)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is: a URL with headers, or a command."""

    url: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolList:
    """What a server says of itself, in its own, unclean words.

    Attributes:
        server: Its name and version.
        instructions: What it wants a model to read at the start.
        tools: Per tool: name, description and inputSchema, which is what clients show to a model.
    """

    server: str
    instructions: str
    tools: tuple[JsonObject, ...]


def read_target(written: str, headers: Sequence[str] = ()) -> Target:
    """A server from the command line.

    Args:
        written: A URL, or a command as a shell would take it.
        headers: ``Name: value``, for a URL only.

    Raises:
        InvalidInput: It is neither, or a header is none; a header's value is never shown.
    """
    if re.match(r"https?://", written, re.IGNORECASE):
        _check_url(written)
        return Target(url=written, headers=tuple(_header(one) for one in headers))
    if headers:
        raise InvalidInput("header", "goes with a URL; a command takes its secrets from the environment.")
    try:
        command = tuple(shlex.split(written, posix=os.name == "posix"))
    except ValueError as error:
        raise InvalidInput("mcp", f"{shown(written)} is not a command ({error}).") from None
    if not command or "\0" in written:
        raise InvalidInput("mcp", "expected a command or a URL.")
    return Target(command=command)


def _check_url(written: str) -> None:
    try:
        parts = urlsplit(written)
        located = bool(parts.hostname)
    except ValueError:
        raise InvalidInput("mcp", _NO_URL) from None
    if "@" in parts.netloc:
        raise InvalidInput("mcp", "a URL holds no user or password; give them with --header 'Authorization: …'.")
    if not located:
        raise InvalidInput("mcp", _NO_URL)


def _header(written: str) -> tuple[str, str]:
    match = _HEADER.fullmatch(written)
    if match is None:
        raise InvalidInput("header", "expected 'Name: value', on one line.")
    return match[1], match[2]


async def list_tools(target: Target, timeout_seconds: float = 30.0) -> ToolList:
    """Connect to a server, list its tools and let it go.

    Args:
        target: The server.
        timeout_seconds: For everything together.

    Raises:
        Refused: It cannot be started or reached, or does not do as MCP servers do.
    """
    heard = _Heard()
    # What goes wrong is told once, by the error.
    with _quiet():
        try:
            with anyio.fail_after(timeout_seconds) as heard.scope:
                return await (_from_command(target, heard) if target.command else _from_url(target, heard))
        except Exception as error:  # noqa: BLE001 - raised again, explained
            # Only their kinds: their words can hold the URL, with a key in it, or the server's.
            _LOG.debug("Listing the tools failed: %s", ", ".join(type(cause).__name__ for cause in _causes(error)))
            raise _explained(error, heard, timeout_seconds) from None
    raise heard.refused or Refused("--mcp: the talk with the server was ended.")


@dataclass(slots=True)
class _Heard:
    """What explains a failure."""

    overheard: Overheard = field(default_factory=Overheard)
    statuses: list[int] = field(default_factory=list[int])
    refused: Refused | None = None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def refuse(self, message: str) -> Refused:
        """End the talk. An error alone need not: the SDK hands not every one on."""
        self.refused = Refused(message)
        self.scope.cancel()
        return self.refused


async def _from_command(target: Target, heard: _Heard) -> ToolList:
    return await _listed(server_process(target.command, heard.overheard))


async def _from_url(target: Target, heard: _Heard) -> ToolList:
    """By Streamable HTTP, or by the older HTTP with SSE where the server refuses that."""
    async with _http_client(target, heard) as client:
        try:
            return await _listed(streamable_http_client(target.url, http_client=client))
        except Exception:
            refused = {400, 404, 405, 406, 415, 501}
            if not heard.statuses or not set(heard.statuses) <= refused:
                raise

    def factory(
        headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
    ) -> httpx2.AsyncClient:
        del headers, timeout, auth
        return _http_client(target, heard)

    return await _listed(sse_client(target.url, httpx_client_factory=factory))


def _http_client(target: Target, heard: _Heard) -> httpx2.AsyncClient:
    async def note(response: httpx2.Response) -> None:
        heard.statuses.append(response.status_code)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise heard.refuse("--mcp: the server answers in a compressed form that was not asked for.")
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _Bounded(response.stream, heard)

    return httpx2.AsyncClient(
        headers=[("accept-encoding", "identity"), *target.headers],
        timeout=None,
        event_hooks={"response": [note]},
    )


class _Bounded(httpx2.AsyncByteStream):
    """A response's body that ends with an error where it is too long."""

    def __init__(self, body: httpx2.AsyncByteStream, heard: _Heard) -> None:
        self._body = body
        self._heard = heard

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_LIST_BYTES
        async for chunk in self._body:
            left -= len(chunk)
            if left < 0:
                raise self._heard.refuse(_TOO_LONG)
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()


async def _listed(transport: Transport) -> ToolList:
    async with Client(transport, cache=None) as client:
        info = client.server_info
        server = "" if info is None else f"{info.name} {info.version}".strip()
        return ToolList(server, client.instructions or "", tuple(await _pages(client)))


async def _pages(client: Client) -> list[JsonObject]:
    tools: list[JsonObject] = []
    left = MAX_LIST_BYTES
    cursors: set[str] = set()
    cursor: str | None = None
    while True:
        try:
            page = await client.list_tools(cursor=cursor)
        except MCPError as error:
            if error.code == METHOD_NOT_FOUND and cursor is None:
                return []  # a server of resources or prompts only
            raise
        for tool in page.tools:
            described: JsonObject = {} if tool.description is None else {"description": tool.description}
            tools.append({"name": tool.name, **described, "inputSchema": tool.input_schema})
            left -= len(json.dumps(tools[-1]))
        if left < 0:
            raise Refused(_TOO_LONG)
        if len(tools) > MAX_TOOLS or len(cursors) >= MAX_PAGES:
            raise Refused(f"--mcp: the server lists more than {MAX_TOOLS:,} tools or {MAX_PAGES} pages.")
        cursor = page.next_cursor
        if not cursor:
            return tools
        if cursor in cursors:
            raise Refused("--mcp: the server's list of tools never ends: it gives the same cursor twice.")
        cursors.add(cursor)


@contextmanager
def _quiet() -> Generator[None]:
    """Keep what others log of the talk off the terminal: it holds the URL, with a key in it, and the server's words.

    The SDK's own warnings are shown only where all is to be seen.
    """
    said = logging.WARNING if logging.getLogger().isEnabledFor(logging.DEBUG) else logging.CRITICAL + 1
    levels = {"mcp": said, "client": said, "httpx2": logging.WARNING, "httpcore2": logging.WARNING}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


# What went wrong ----------------------------------------------------------------------------------------------------


def _explained(error: Exception, heard: _Heard, timeout_seconds: float) -> Exception:
    """The failure in one line; what is none of the server's is given back."""
    causes = list(_causes(error))
    refused = heard.refused or next((cause for cause in causes if isinstance(cause, Refused)), None)
    if refused is not None:
        return refused
    problem = _problem(causes, heard, timeout_seconds)
    return error if problem is None else Refused(f"--mcp: the server {problem}{_noise(heard.overheard)}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error itself, or those of a group of them."""
    together: Sequence[BaseException] = getattr(error, "exceptions", ())
    for one in together:
        yield from _causes(one)
    if not together:
        yield error


def _problem(causes: Sequence[BaseException], heard: _Heard, timeout_seconds: float) -> str | None:
    refusal = next((status for status in heard.statuses if status in _NO_ACCESS), None)
    if refusal is not None:
        return f"wants authentication (HTTP {refusal}); give it with --header 'Authorization: Bearer …'."
    if heard.overheard.exit_code is not None:
        return f"ended (exit code {heard.overheard.exit_code}) before it had listed its tools."
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return f"did not list its tools within {timeout_seconds:g} s (--timeout)."
    if heard.statuses and heard.statuses[-1] >= 400:
        return f"answered HTTP {heard.statuses[-1]}."
    return next((said for cause in causes if (said := _failure(cause))), None)


def _failure(cause: BaseException) -> str | None:
    match cause:
        case httpx2.TransportError():
            return f"cannot be reached ({type(cause).__name__})."
        case MCPError():
            return f"refused: {_cut(cause.error.message)} (error {cause.error.code})."
        case ValueError() | httpx2.HTTPError() | httpx2.InvalidURL() | RuntimeError():  # a ValidationError is the first
            return "does not answer as an MCP server does."
        case _:
            return None


def _noise(overheard: Overheard) -> str:
    """What it said besides MCP."""
    said = overheard.errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
    printed = " It printed lines that are no MCP messages." if overheard.unreadable else ""
    return printed + (f" It said: {_cut(said)}" if said else "")


def _cut(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _SAID_CHARACTERS else f"{text[: _SAID_CHARACTERS - 1]}…"
