"""The least a server built on the same SDK can be: the floor for bench/initialize.py."""

from mcp.server import MCPServer

server = MCPServer("bare", version="0", log_level="WARNING")


@server.tool()
def echo(text: str) -> str:
    """Give the text back."""
    return text


if __name__ == "__main__":
    server.run("stdio")
