"""Tools that take as long as a test wants, and calls of them."""

from typing import Any

import anyio

from tests.server.http.serving import MODERN, call
from tests.server.odd_server import Echo, open_context
from tests.waiting import until
from tokenward.server.strict import StrictServer
from tokenward.tools.definition import Tool, ToolContext


class Sleepers:
    """A server with a tool that sleeps until it is woken, and says how its sleep ended."""

    def __init__(self) -> None:
        self.asleep = 0
        self.ended: list[str] = []
        self.wake = anyio.Event()

    @property
    def server(self) -> StrictServer:
        async def sleep(context: ToolContext) -> Echo:
            await context.report_progress(1, 2, "asleep")
            self.asleep += 1
            try:
                await self.wake.wait()
            except anyio.get_cancelled_exc_class():
                self.ended.append("cancelled")
                raise
            finally:
                self.asleep -= 1
            self.ended.append("woken")
            return Echo(length=0)

        tools = [Tool(run=sleep, description="", result=Echo, read_only=True, idempotent=True)]
        return StrictServer("s", version="1", instructions="", load_tools=lambda: tools, open_context=open_context)

    async def are(self, number: int) -> None:
        """Wait until so many sleep."""

        async def hold() -> bool:
            return self.asleep == number

        await until(hold)


def newest(message: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A message and its headers as the newest protocol has them."""
    params: dict[str, Any] = dict(message.get("params", {}))
    params["_meta"] = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
        **params.get("_meta", {}),
    }
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": message["method"]}
    if "name" in params:
        headers["Mcp-Name"] = params["name"]
    return {**message, "params": params}, headers


def nap(*, token: str | None = None, in_newest: bool = False) -> tuple[dict[str, Any], dict[str, str]]:
    """A call of the tool and its headers, in either era."""
    message = call("sleep", token=token)
    return newest(message) if in_newest else (message, {})


def listen() -> tuple[dict[str, Any], dict[str, str]]:
    """A stream of notifications that the newest protocol opens."""
    return newest({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {"notifications": {}}})
