"""The surface behind the real doors: a process on pipes, and a socket with authentication."""

import sys
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import ResourceTemplateReference, TextContent, TextResourceContents

from tests.server.auth.doors import ADMIN, ALICE, READER, settings_with
from tests.server.http.serving import MODERN, Served, serving
from tests.server.http.sleepers import newest
from tests.server.test_stdio import ENVIRONMENT, ROOT
from tokenward.server.surface.uris import MODEL, QUOTA

pytestmark = pytest.mark.anyio
ERAS = pytest.mark.parametrize("era", ["legacy", MODERN])


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
@ERAS
async def test_over_standard_input_and_output(era: str) -> None:
    environment = {**ENVIRONMENT, "TOKENWARD_STORE": "memory://", "TOKENWARD_USER": "alice"}
    process = StdioServerParameters(
        command=sys.executable,
        args=["-W", "error", "-m", "tokenward", "serve", "--tools", "core"],
        env=environment,
        cwd=ROOT,
    )
    async with Client(stdio_client(process), mode=era) as client:
        assert len((await client.list_tools()).tools) == 5
        assert len((await client.list_resource_templates()).resource_templates) == 3
        (contents,) = (await client.read_resource("tokenward://quota/alice")).contents
        assert isinstance(contents, TextResourceContents)
        assert contents.text == '{"user":"alice","limits":[],"warnings":[]}'
        completion = (
            await client.complete(ResourceTemplateReference(uri=MODEL), {"name": "model", "value": "o200k_h"})
        ).completion
        assert completion.values == ["o200k_harmony"]
        prompt = await client.get_prompt("plan_within_budget", {"task": "x", "budget_usd": "3"})
        content = prompt.messages[0].content
        assert isinstance(content, TextContent)
        assert "3.00 USD" in content.text
        assert "truncate_history" not in content.text


async def ask(served: Served, token: str, method: str, params: dict[str, Any], in_newest: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    headers: dict[str, str] = {}
    if in_newest:
        message, headers = newest(message)
        if "uri" in params:
            headers["Mcp-Name"] = params["uri"]
    answer = await served.post(message, Authorization=f"Bearer {token}", **headers)
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.parametrize("in_newest", [False, True])
async def test_over_http_everybody_sees_their_own(in_newest: bool) -> None:
    async with serving(settings_with(http={"port": 0}), real=True) as served:

        async def read(token: str, uri: str) -> dict[str, Any]:
            return await ask(served, token, "resources/read", {"uri": uri}, in_newest)

        async def users(token: str) -> list[str]:
            params = {"ref": {"type": "ref/resource", "uri": QUOTA}, "argument": {"name": "user", "value": ""}}
            answer = await ask(served, token, "completion/complete", params, in_newest)
            values: list[str] = answer["result"]["completion"]["values"]
            return values

        arguments = {"model": "gpt-4o", "input_tokens": 5, "output_tokens": 5}
        recorded = await ask(served, ALICE, "tools/call", {"name": "record_usage", "arguments": arguments}, in_newest)
        assert not recorded["result"].get("isError")
        own = await read(ALICE, "tokenward://quota/alice")
        assert own["result"]["contents"][0]["text"].startswith('{"user":"alice"')
        assert (await read(ALICE, "tokenward://quota/root"))["error"]["message"].startswith("Forbidden")
        assert (await read(READER, "tokenward://quota/reader"))["error"]["message"].startswith("Forbidden")
        assert "result" in await read(ADMIN, "tokenward://quota/alice")
        assert '"total_tokens":10' in (await read(ALICE, "tokenward://report/7d"))["result"]["contents"][0]["text"]
        assert '"total_tokens":0' in (await read(READER, "tokenward://report/7d"))["result"]["contents"][0]["text"]
        assert await users(ALICE) == ["alice"]
        assert await users(ADMIN) == ["alice", "root"]
