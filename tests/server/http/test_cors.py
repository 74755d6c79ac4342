"""Pages of other origins: which of them browsers let ask and read, and with what."""

from functools import partial
from typing import Any

import anyio
import httpx2
import pytest
from mcp.client.streamable_http import LAST_EVENT_ID, MCP_SESSION_ID
from mcp.shared.inbound import MCP_METHOD_HEADER, MCP_NAME_HEADER, MCP_PROTOCOL_VERSION_HEADER, X_MCP_HEADER_KEY

from tests.server.auth.doors import ALICE, auth_table
from tests.server.http.serving import HEADERS, Served, call, next_data, serving, settings_for
from tests.server.http.sleepers import Sleepers, nap
from tokenward.server.settings import Settings

pytestmark = pytest.mark.anyio

PAGE = "https://app.example"
STRANGER = "https://evil.example"
TOKEN = {"Authorization": f"Bearer {ALICE}"}
ASKED_WITH = {
    *("authorization", "content-type", "accept", LAST_EVENT_ID),
    *(MCP_SESSION_ID, MCP_PROTOCOL_VERSION_HEADER, MCP_METHOD_HEADER, MCP_NAME_HEADER),
}
EVERY_PATH = ["/mcp", "/sse", "/messages/?session_id=1", "/admin/limits", "/metrics", "/healthz", "/nothing"]


def settings_of(*, origins: tuple[str, ...] = (PAGE,), rate: int = 1_000, **http: object) -> Settings:
    """Settings with tokens and pages."""
    auth = auth_table(requests_per_minute=rate)
    table = {"port": 0, "allowed_origins": origins, **http}
    return Settings.model_validate({"store": "memory://", "auth": auth, "http": table})


async def preflight(
    served: Served, path: str = "/mcp", *, origin: str = PAGE, method: str = "POST", **more: str
) -> httpx2.Response:
    """What a browser asks before it sends a page's request."""
    asked = {"Origin": origin, "Access-Control-Request-Method": method, **more}
    return await served.client.request("OPTIONS", path, headers=asked)


def names(answer: httpx2.Response, header: str) -> set[str]:
    """The names that a header lists, in lower case."""
    return {one.strip().lower() for one in answer.headers.get(header, "").split(",")} - {""}


def assert_readable(answer: httpx2.Response) -> None:
    """A browser gives the answer to the page, and what a client needs of its headers."""
    assert answer.headers.get_list("access-control-allow-origin") == [PAGE]
    exposed = {"mcp-session-id", "mcp-protocol-version", "retry-after", "www-authenticate"}
    assert names(answer, "access-control-expose-headers") == exposed
    assert "origin" in names(answer, "vary")
    assert "access-control-allow-credentials" not in answer.headers


def assert_unshared(answer: httpx2.Response) -> None:
    """Nothing tells a browser to give the answer to a page."""
    assert [name for name in answer.headers if name.startswith("access-control")] == []


@pytest.mark.parametrize("path", EVERY_PATH)
async def test_a_preflight_is_answered_without_a_token(path: str) -> None:
    wanted = ", ".join(sorted(ASKED_WITH))
    async with serving(settings_of(sse=True), real=True) as served:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
            answer = await preflight(served, path, method=method, **{"Access-Control-Request-Headers": wanted})
            assert answer.status_code == 200, (method, answer.text)
            assert answer.headers["access-control-allow-origin"] == PAGE
            assert method.lower() in names(answer, "access-control-allow-methods")
            assert names(answer, "access-control-allow-headers") >= ASKED_WITH
            assert answer.headers["access-control-max-age"] == "600"
            assert "origin" in names(answer, "vary")
            assert "access-control-allow-credentials" not in answer.headers


async def test_what_no_client_needs_is_not_allowed() -> None:
    async with serving(settings_of(), real=True) as served:
        assert (await preflight(served, method="PATCH")).status_code == 400
        assert (await preflight(served, **{"Access-Control-Request-Headers": "x-other"})).status_code == 400


async def test_a_page_of_the_internet_may_ask_a_server_on_this_machine() -> None:
    async with serving(settings_of(), real=True) as served:
        answer = await preflight(served, **{"Access-Control-Request-Private-Network": "true"})
    assert (answer.status_code, answer.headers["access-control-allow-private-network"]) == (200, "true")


async def test_no_tool_asks_for_a_header_of_its_own() -> None:
    async with serving(settings_of(), real=True) as served:
        answer = await served.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, Origin=PAGE, **TOKEN)
    assert "check_quota" in answer.text
    assert X_MCP_HEADER_KEY not in answer.text


async def test_answers_and_refusals_can_be_read() -> None:
    settings = settings_of(rate=1, max_body_bytes=2_000)
    async with serving(settings, real=True) as served:
        post = partial(served.post, {"jsonrpc": "2.0", "id": 1, "method": "ping"}, Origin=PAGE)
        answers = [await post(**TOKEN), await post(**TOKEN), await post()]
        answers.append(await served.post(call("count_tokens", text="x" * 2_000), Origin=PAGE, **TOKEN))
        answers.append(await served.client.get("/healthz", headers={"Origin": PAGE}))
    assert [one.status_code for one in answers] == [200, 429, 401, 413, 200]
    for one in answers:
        assert_readable(one)
    assert "retry-after" in answers[1].headers
    assert "www-authenticate" in answers[2].headers


async def test_a_page_is_told_to_come_again() -> None:
    sleepers = Sleepers()
    settings = settings_for(max_concurrency=1, allowed_origins=[PAGE])
    async with serving(settings, server=sleepers.server) as served, anyio.create_task_group() as group:
        group.start_soon(served.post, call("sleep"))
        await sleepers.are(1)
        refused = await served.post(call("sleep"), Origin=PAGE)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert_readable(refused)
        # A preflight takes no place.
        assert (await preflight(served)).status_code == 200
        sleepers.wake.set()


@pytest.mark.parametrize("in_newest", [False, True])
async def test_events_come_as_they_are_sent(in_newest: bool) -> None:
    sleepers = Sleepers()
    message, headers = nap(token="t", in_newest=in_newest)
    headers = {**HEADERS, **headers, "Origin": PAGE}
    async with (
        serving(settings_for(allowed_origins=[PAGE]), server=sleepers.server) as served,
        served.client.stream("POST", "/mcp", json=message, headers=headers) as answer,
    ):
        assert_readable(answer)
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        assert "asleep" in await next_data(lines)
        assert sleepers.asleep == 1
        sleepers.wake.set()
        assert '"result"' in await next_data(lines)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({"Origin": STRANGER}, 403), ({"Origin": "null"}, 403), ({"Origin": PAGE, "Host": "evil.example"}, 421)],
)
async def test_strangers_are_refused_as_before(headers: dict[str, str], expected: int) -> None:
    async with serving(settings_of(sse=True), real=True) as served:
        for path in EVERY_PATH:
            for method in ("OPTIONS", "POST", "GET"):
                asked = {"Access-Control-Request-Method": "POST", **TOKEN, **headers}
                answer = await served.client.request(method, path, headers=asked)
                assert answer.status_code == expected, (method, path)
                assert_unshared(answer)


async def test_a_page_on_loopback_asks_but_reads_only_where_it_is_named() -> None:
    local = "http://localhost:6274"
    for origins, shared in (((PAGE,), None), ((PAGE, local), local)):
        async with serving(settings_for(allowed_origins=origins)) as served:
            answer = await served.post(call("echo", text="x"), Origin=local)
        assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (200, shared)
        assert "origin" in names(answer, "vary")


@pytest.mark.parametrize(
    ("allowed", "sent", "shared"),
    [
        ("https://App.example:8443/", "https://app.example:8443", "https://app.example:8443"),
        ("chrome-extension://abc", "chrome-extension://abc", "chrome-extension://abc"),
        ("*", STRANGER, "*"),
        ("null", "null", "null"),
    ],
)
async def test_origins_are_taken_as_settings_write_them(allowed: str, sent: str, shared: str) -> None:
    async with serving(settings_for(allowed_origins=[allowed])) as served:
        for answer in (await preflight(served, origin=sent), await served.post(call("echo", text="x"), Origin=sent)):
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, shared)
            assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(("asks", "expected"), [(True, 401), (False, 405)])
async def test_without_allowed_origins_nothing_is_shared(asks: bool, expected: int) -> None:
    local: dict[str, Any] = {"origin": "http://localhost:6274"}
    async with serving(settings_of(origins=()) if asks else settings_for(), real=True) as served:
        asked = await preflight(served, **local)
        answer = await served.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, Origin=local["origin"], **TOKEN)
    assert (asked.status_code, answer.status_code) == (expected, 200)
    for one in (asked, answer):
        assert_unshared(one)
        assert "vary" not in one.headers
