"""The application behind HTTP: both protocol eras, health, and what callers from elsewhere may not do."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mcp.client import Client

from tests.server.http.serving import MODERN, Protocol, call, serving, settings_for
from tests.server.http.sleepers import newest
from tests.waiting import NET_SECONDS
from tokenward.server.application import build_server
from tokenward.server.http import health
from tokenward.server.http.app import without_folders
from tokenward.server.settings import Settings

pytestmark = pytest.mark.anyio

ERAS = pytest.mark.parametrize("era", ["legacy", MODERN])
PROTOCOLS = pytest.mark.parametrize("protocol", ["httptools", "h11"])
BAD_IDS = (b"null", b"1.5", b"true", b"[1]", b"{}", b"NaN", b"1e400")


@ERAS
@PROTOCOLS
async def test_a_client_is_served(era: str, protocol: Protocol) -> None:
    async with serving(protocol=protocol) as served, Client(served.url, mode=era) as client:
        assert "echo" in [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("echo", {"text": "hi"})
        assert result.structured_content == {"length": 2, "text": "hi"}


@ERAS
async def test_progress_is_told_to_those_who_follow_it(era: str, tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text("word " * 100)
    settings = Settings.model_validate({"store": "memory://", "roots": [tmp_path], "http": {"port": 0}})
    told: list[float] = []

    async def follow(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    arguments = {"paths": [f"{tmp_path}/*.txt"], "model": "gpt-4o"}
    async with serving(settings, real=True) as served, Client(served.url, mode=era) as client:
        silent = await client.call_tool("count_tokens", arguments)
        assert not told
        followed = await client.call_tool("count_tokens", arguments, progress_callback=follow)
    assert told
    assert told == sorted(told)
    assert silent.structured_content == followed.structured_content


async def test_json_is_the_answer_unless_progress_is_followed() -> None:
    async with serving() as served:
        plain = await served.post(call("echo", text="x"))
        assert plain.headers["content-type"] == "application/json"
        assert plain.json()["result"]["structuredContent"] == {"length": 1, "text": "x"}
        followed = await served.post(call("echo", token="t", text="x"))
        assert followed.headers["content-type"].startswith("text/event-stream")
        # Who takes no events gets JSON all the same.
        answer = await served.post(call("echo", token="t", text="x"), Accept="application/json")
        assert answer.headers["content-type"] == "application/json"
        # The word in a text asks for nothing.
        quoted = await served.post(call("echo", text='{"progressToken": 1}'))
        assert quoted.headers["content-type"] == "application/json"


@PROTOCOLS
@pytest.mark.parametrize("space", ["", " ", "  \t "])
async def test_white_space_around_header_values_means_nothing(protocol: Protocol, space: str) -> None:
    message, headers = newest(call("echo", text="x"))
    body = json.dumps(message)
    lines = {"Host": "localhost", "Content-Type": "application/json", "Accept": "application/json", **headers}
    written = "".join(f"{name}:{space}{value}{space}\r\n" for name, value in lines.items())
    async with serving(protocol=protocol) as served:
        answer = await served.raw(
            f"POST /mcp HTTP/1.1\r\n{written}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
        )
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert b'"length":1' in answer


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "OPTIONS"])
async def test_there_are_no_sessions_to_listen_to_or_to_end(method: str) -> None:
    async with serving() as served:
        answer = await served.client.request(method, "/mcp", headers={"Accept": "text/event-stream"})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


MALFORMED: list[tuple[bytes, int, str | int | None]] = [
    (b"", -32700, None),
    (b"{", -32700, None),
    (b"\xff\xfe", -32700, None),
    (b'"\\ud800', -32700, None),
    (b"[]", -32600, None),
    (b"null", -32600, None),
    (b'"secret"', -32600, None),
    (b"1", -32600, None),
    (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600, None),
    (b'{"id":1}', -32600, 1),
    (b'{"id":"a","method":"secret"}', -32600, "a"),
    (b'{"jsonrpc":"2.0","id":1,"method":5}', -32600, 1),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":["secret"]}', -32600, 1),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}}", -32602, 1),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * 400 + b"]" * 400 + b"}}", -32602, 1),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"9" * 5_000 + b"}}", -32602, 1),
    *((b'{"jsonrpc":"2.0","id":%s,"method":"ping"}' % one, -32600, None) for one in BAD_IDS),
    *((b'{"jsonrpc":"2.0","id":%s,"method":"ping","params":{"a":"\\ud800"}}' % one, -32600, None) for one in BAD_IDS),
]


@pytest.mark.parametrize("version", [None, "2025-11-25", MODERN])
async def test_malformed_messages_are_answered(version: str | None) -> None:
    headers = {} if version is None else {"MCP-Protocol-Version": version}
    async with serving() as served:
        for body, code, request_id in MALFORMED:
            answer = await served.post(body, **headers)
            assert answer.status_code == 400, body[:100]
            assert answer.headers["content-type"] == "application/json"
            said = answer.json()
            assert (said["jsonrpc"], said["id"], said["error"]["code"]) == ("2.0", request_id, code), body[:100]
            assert len(answer.content) < 200
            assert "secret" not in answer.text


@pytest.mark.parametrize("version", [None, MODERN])
@pytest.mark.parametrize(("header", "status"), [("Content-Type", 415), ("Accept", 406)])
async def test_what_is_not_json_is_refused_in_json(header: str, status: int, version: str | None) -> None:
    headers = {header: "text/plain"} if version is None else {header: "text/plain", "MCP-Protocol-Version": version}
    async with serving() as served:
        answer = await served.post(call("echo", text="x"), **headers)
    assert answer.status_code == status
    assert "application/json" in answer.json()["error"]["message"]


async def test_notifications_and_answers_are_taken() -> None:
    async with serving() as served:
        for rest in (b'"method":"notifications/initialized"', b'"id":1,"result":{}'):
            assert (await served.post(b'{"jsonrpc":"2.0",%s}' % rest)).status_code == 202


async def test_texts_are_texts() -> None:
    async with serving(real=True) as served:
        for text in ('{"a": 1}', "a\ud800b", "\U0001f600", "null", "\u00e9"):
            message = call("count_tokens", text=text, model="gpt-4o")
            for asked, headers in ((message, {}), newest(message)):
                answer = await served.post(asked, **headers)
                assert answer.json()["result"]["structuredContent"]["tokens"] > 0
        body = json.dumps(call("count_tokens", text="?", model="gpt-4o")).encode().replace(b"?", b"a\xffb")
        assert (await served.post(body)).json()["result"]["structuredContent"]["tokens"] > 0


async def test_everybody_works_on_one_ledger() -> None:
    async with serving(real=True, settings=settings_for(sse=True)) as served:
        check = call("check_quota", model="gpt-4o", input_tokens=10, reserve=True)
        reserved = (await served.post(check)).json()["result"]["structuredContent"]["reservation_id"]
        async with Client(served.url, mode=MODERN) as client:
            released = await client.call_tool("release_quota", {"reservation_id": reserved})
        assert not released.is_error


async def test_health(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", NET_SECONDS)
    async with serving() as served:
        alive = await served.client.get("/healthz")
        assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
        ready = await served.client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
        assert ready.headers["cache-control"] == "no-store"
        assert (await served.client.post("/readyz")).status_code == 405


async def test_a_server_without_its_store_is_alive_but_not_ready(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", NET_SECONDS)  # a disk may be slow
    (tmp_path / "file").touch()
    settings = Settings.model_validate({"store": f"sqlite:///{tmp_path}/file/ledger.db", "http": {"port": 0}})
    async with serving(settings) as served:
        assert (await served.client.get("/healthz")).status_code == 200
        answer = await served.client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "store unavailable"})
        assert "Not ready" in caplog.text
        # It gets ready without being started anew.
        (tmp_path / "file").unlink()
        assert (await served.client.get("/readyz")).status_code == 200


async def test_a_server_whose_schema_was_changed_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", NET_SECONDS)
    settings = Settings.model_validate({"store": f"sqlite:///{tmp_path}/ledger.db", "http": {"port": 0}})
    async with serving(settings, real=True) as served:
        assert (await served.client.get("/readyz")).status_code == 200
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as newer, newer:
            newer.execute("INSERT INTO schema_version VALUES (9999, 0)")
        answer = await served.client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "schema not current"})
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as broken, broken:
            broken.execute("DROP TABLE schema_version")
        answer = await served.client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "store unavailable"})


async def test_files_are_counted_only_where_folders_were_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("hello")
    monkeypatch.chdir(tmp_path)
    count = call("count_tokens", paths=[str(tmp_path / "a.txt")], model="gpt-4o")
    async with serving(real=True) as served:
        assert (await served.post(count)).json()["result"]["isError"]
    named = Settings.model_validate({"store": "memory://", "roots": [tmp_path], "http": {"port": 0}})
    async with serving(named, real=True) as served:
        assert not (await served.post(count)).json()["result"]["isError"]
    assert without_folders(named).roots == (tmp_path,)
    assert without_folders(Settings.model_validate({"store": "memory://"})).roots == ()


async def test_a_server_can_keep_sessions() -> None:
    settings = settings_for()
    async with (
        serving(settings, server=build_server(settings), stateful=True) as served,
        Client(served.url, mode="legacy") as client,
    ):
        assert (await client.call_tool("count_tokens", {"text": "x", "model": "gpt-4o"})).structured_content
        assert "mcp-session-id" in (await served.post(INITIALIZE)).headers


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


async def test_sessions_are_not_kept_otherwise() -> None:
    async with serving() as served:
        assert "mcp-session-id" not in (await served.post(INITIALIZE)).headers


@pytest.mark.parametrize("path", ["/", "/mcp/x", "/nowhere", "/sse", "/messages/", "/admin/limits"])
async def test_what_is_not_served_is_not_found(path: str) -> None:
    async with serving() as served:
        assert (await served.client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/mcp", 401),
        ("/sse", 401),
        ("/messages/?session_id=1", 401),
        ("/admin/limits", 401),
        ("/admin/openapi.json", 401),
        ("/", 401),
        ("/nowhere", 401),
    ],
)
async def test_what_needs_a_token(path: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", NET_SECONDS)
    token = {"hash": "sha256:" + "0" * 64, "subject": "alice"}
    settings = Settings.model_validate(
        {"store": "memory://", "http": {"port": 0, "sse": True}, "auth": {"tokens": [token]}}
    )
    async with serving(settings, real=True) as served:
        for authorization in ({}, {"Authorization": "Bearer wrong"}):
            answer = await served.client.get(path, headers=authorization)
            assert answer.status_code == expected
            assert ("www-authenticate" in answer.headers) == (expected == 401)
