"""``tokenward serve``: the MCP tools over standard input and output, or over HTTP."""

from typing import Literal

import click

from tokenward.engine.errors import InvalidInput
from tokenward.server.commands.session import Session, pass_session


@click.command()
@click.option(
    "--transport",
    type=click.Choice(["stdio", "http", "sse"]),
    default="stdio",
    show_default=True,
    help="stdio for one client on this machine; http for many; sse is http and what came before it, for old clients.",
)
@click.option("--tools", metavar="SET", help="all, core, or the names of tools with commas between them.")
@click.option("--host", metavar="ADDRESS", help="Over HTTP: the address to listen on; 127.0.0.1 by default.")
@click.option("--port", type=click.IntRange(0, 65_535), help="The port; 0 takes a free one and says which.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that share the port.")
@click.option("--sse", is_flag=True, help="Serve /sse and /messages/ too.")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without authentication.")
@pass_session
def serve(
    session: Session,
    *,
    transport: Literal["stdio", "http", "sse"],
    tools: str | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    sse: bool,
    insecure: bool,
) -> None:
    """Serve the MCP tools to agents and editors."""
    said = {"host": host, "port": port, "workers": workers, "sse": sse or None, "insecure": insecure or None}
    flags = {name: value for name, value in said.items() if value is not None}
    if transport == "stdio":
        if flags:
            raise InvalidInput(f"--{next(iter(flags))}", "is for HTTP; give --transport http too.")
        from tokenward.server.application import serve_stdio  # noqa: PLC0415 - heavy

        serve_stdio(session.settings(tools=tools))
        return
    if transport == "sse":
        flags["sse"] = True
    from tokenward.server.http.serve import serve_http  # noqa: PLC0415 - heavy

    serve_http(session.settings(tools=tools, http=flags or None))
