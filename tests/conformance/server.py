"""The fixture build: this application with the tools, resources and prompts that conformance suites look for.

It serves at ``/mcp`` in the foreground until it is told to end. Unlike ``tokenward serve`` it keeps sessions and lets
clients resume streams, because the suites examine what only sessions can do.
"""

import warnings

import click
from mcp import MCPDeprecationWarning
from starlette.types import ASGIApp

from tests.conformance.asking import add_asking_tools
from tests.conformance.content import add_content_tools
from tests.conformance.events import EventsInMemory
from tests.conformance.reading import add_handlers, add_prompts, add_resources
from tokenward.engine.errors import ConfigurationError
from tokenward.server.application import build_server
from tokenward.server.http.app import build_app
from tokenward.server.http.drain import Drain
from tokenward.server.http.serve import Server, address, listen
from tokenward.server.http.settings import HttpSettings
from tokenward.server.settings import Settings
from tokenward.server.strict import StrictServer

_RETRY_MS = 100
_DRAIN_SECONDS = 1


def fixture_server(settings: Settings) -> StrictServer:
    """The application's MCP server with the fixtures."""
    server = build_server(settings)
    add_content_tools(server)
    add_asking_tools(server)
    add_resources(server)
    add_prompts(server)
    add_handlers(server)
    return server


def fixture_app(settings: Settings, drain: Drain | None = None, *, as_shipped: bool = False) -> ASGIApp:
    """The application with the fixtures: with sessions, or without any as ``tokenward serve`` has it."""
    server = fixture_server(settings)
    if as_shipped:
        return build_app(settings, server=server, drain=drain)
    events = EventsInMemory()
    return build_app(
        settings, server=server, drain=drain, stateful=True, event_store=events, retry_interval_ms=_RETRY_MS
    )


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="0 takes a free one.")
@click.option("--as-shipped", is_flag=True, help="Without sessions and streams to resume.")
def main(host: str, port: int, *, as_shipped: bool) -> None:
    """Serve the fixture build; its address is the first line of the output."""
    # The suites examine what the newest revision calls outdated, too.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    settings = Settings(store="memory://", http=HttpSettings(host=host, port=port))
    drain = Drain()
    try:
        listener = listen(settings.http)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    print(address(settings.http, listener), flush=True)
    Server(fixture_app(settings, drain, as_shipped=as_shipped), drain, _DRAIN_SECONDS).run([listener])


if __name__ == "__main__":
    main()
