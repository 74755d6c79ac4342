"""The whole application behind its door, for tests, and a caller with a token who speaks to it."""

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import anyio
import httpx2
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenward.engine.types import JsonObject, JsonValue
from tokenward.server.auth.caller import Caller
from tokenward.server.auth.settings import AuthSettings
from tokenward.server.auth.tokens import hash_of
from tokenward.server.http.app import build_app
from tokenward.server.settings import Settings, load_settings
from tokenward.tools.principal import Principal

ALICE, BOB, ADMIN, READER, TWO_GROUPS, OPS = (f"tw_{name}-0123456789abcdef0123456789" for name in "abcdef")


def auth_table(**more: object) -> AuthSettings:
    """Alice and Bob, who use and read; an admin; who only reads; who is in two groups."""

    def token(clear: str, subject: str, scopes: list[str], groups: list[str]) -> dict[str, object]:
        return {"hash": hash_of(clear), "subject": subject, "scopes": scopes, "groups": groups}

    tokens = [
        token(ALICE, "alice", ["use", "report"], ["red"]),
        token(BOB, "bob", ["use", "report"], []),
        token(ADMIN, "root", ["admin"], []),
        token(READER, "reader", ["report"], []),
        token(TWO_GROUPS, "both", ["use"], ["red", "blue"]),
        token(OPS, "ops", ["admin"], ["operations"]),
    ]
    return AuthSettings.model_validate({"tokens": tokens, **more})


def settings_with(auth: AuthSettings | None = None, *, store: str = "memory://", **flags: object) -> Settings:
    """Settings with authentication, whatever the machine's own say."""
    given: dict[str, object] = {"store": store, "user": "the-operator", "auth": auth or auth_table(), **flags}
    return load_settings(None, **given)


def known(app: ASGIApp, principal: Principal) -> ASGIApp:
    """An application behind a door that takes everybody for the same one."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "user": Caller(principal, client_id="test")}, receive, send)

    return enter


@asynccontextmanager
async def running(app: ASGIApp) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of an application whose lifespan has begun, in this process and without a socket."""
    to_app, from_server = anyio.create_memory_object_stream[Message](2)
    said, heard = anyio.create_memory_object_stream[Message](2)
    async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
        for stream in (to_app, from_server, said, heard):
            stack.enter_context(stream)

        async def live() -> None:
            await app({"type": "lifespan", "asgi": {"version": "3.0"}}, from_server.receive, said.send)

        tasks.start_soon(live)
        await to_app.send({"type": "lifespan.startup"})
        assert (await heard.receive())["type"] == "lifespan.startup.complete"
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8484") as client:
            yield client
        await to_app.send({"type": "lifespan.shutdown"})
        assert (await heard.receive())["type"] == "lifespan.shutdown.complete"


@asynccontextmanager
async def application(settings: Settings | None = None) -> AsyncGenerator["Door"]:
    """The application that is shipped."""
    async with running(build_app(settings or settings_with())) as client:
        yield Door(client)


@dataclass(frozen=True)
class Answer:
    """What a tool answered."""

    is_error: bool
    text: str
    content: JsonObject


@dataclass(frozen=True)
class Door:
    """Calls tools with a token."""

    client: httpx2.AsyncClient

    async def post(self, token: str | None, body: JsonValue, **headers: str) -> httpx2.Response:
        given = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json", **headers}
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        return await self.client.post("/mcp", content=json.dumps(body), headers=given)

    async def call(self, token: str, tool: str, **arguments: JsonValue) -> Answer:
        params: JsonObject = {"name": tool, "arguments": arguments}
        body: JsonObject = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        response = await self.post(token, body)
        assert response.status_code == 200, response.text
        result = response.json()["result"]
        return Answer(bool(result.get("isError")), result["content"][0]["text"], result.get("structuredContent") or {})

    async def good(self, token: str, tool: str, **arguments: JsonValue) -> JsonObject:
        answer = await self.call(token, tool, **arguments)
        assert not answer.is_error, answer.text
        return answer.content

    async def refused(self, token: str, tool: str, **arguments: JsonValue) -> str:
        answer = await self.call(token, tool, **arguments)
        assert answer.is_error, answer.text
        return answer.text
