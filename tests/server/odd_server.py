"""A server with tools that misbehave, for tests. Run it to serve them over standard input and output."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from tests.waiting import NET_SECONDS
from tokenward.engine.errors import InvalidInput
from tokenward.server.stdio import serve_stdio
from tokenward.server.strict import StrictServer
from tokenward.service import Tokenward
from tokenward.tools.definition import Result, Tool, ToolContext

SECRET = "the user's own words"


class Echo(Result):
    """How long a text is, and the text if it is short."""

    length: int
    text: str | None = None


async def echo(context: ToolContext, *, text: str) -> Echo:
    """Prints where nothing must be printed."""
    print("stray output")
    return Echo(length=len(text), text=text if len(text) < 100 else None)


async def nap(context: ToolContext, *, seconds: float) -> Echo:
    """Takes its time."""
    await anyio.sleep(seconds)
    return Echo(length=0)


async def crash(context: ToolContext, *, text: str) -> Echo:
    """Fails as no tool should, with the caller's text in the error and in its cause."""
    known: dict[str, Echo] = {}
    try:
        return known[text]
    except KeyError as error:
        raise RuntimeError(f"cannot handle {text}") from error


async def refuse(context: ToolContext) -> Echo:
    """Fails as tools do."""
    raise InvalidInput("text", "not today; try tomorrow.")


async def odd_name(context: ToolContext) -> Echo:
    """Answers with what is not Unicode, as a file's name can be."""
    return Echo(length=1, text="a\udc80b")


TOOLS = [
    Tool(run=run, description="", result=Echo, read_only=True, idempotent=True)
    for run in (echo, nap, crash, refuse, odd_name)
]


@asynccontextmanager
async def open_context() -> AsyncGenerator[ToolContext]:
    async with Tokenward.open("memory://") as service:
        print("opened", file=sys.stderr)
        try:
            yield ToolContext(service=service)
        finally:
            await anyio.sleep(0.01)
            print("closed", file=sys.stderr)


def odd_server() -> StrictServer:
    return StrictServer("odd", version="1", instructions="", load_tools=lambda: TOOLS, open_context=open_context)


if __name__ == "__main__":
    # On a busy machine, too, it ends in good order.
    serve_stdio(odd_server(), last_resort_seconds=NET_SECONDS)
