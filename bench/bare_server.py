"""The least a server built on the same SDK can be, with the SDK's defaults: the floor of the benchmarks.

Over standard input and output, or over HTTP on the port that is given.
"""

import sys

from mcp.server import MCPServer

server = MCPServer("bare", version="0", log_level="WARNING")


@server.tool()
def echo(text: str) -> str:
    """Give the text back."""
    return text


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run("stdio")
