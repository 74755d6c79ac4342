"""Host and Origin: who may be asked under which name, and by which pages."""

import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.server.http.serving import call, serving, settings_for
from tokenward.server.http.guard import Guard, is_everywhere, is_loopback
from tokenward.server.http.paths import MCP_PATH

pytestmark = pytest.mark.anyio

EVERY_ROUTE = ["/mcp", "/sse", "/messages/?session_id=1", "/healthz", "/readyz", "/metrics", "/admin/limits", "/", "/x"]


async def status(
    named_host: str | None,
    origin: str | None = None,
    *,
    host: str = "127.0.0.1",
    allowed_hosts: tuple[str, ...] = (),
    allowed_origins: tuple[str, ...] = (),
) -> int:
    """What the guard says: 200, or the status of its refusal."""
    said: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        said.append(200)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            said.append(message["status"])

    named = {"host": named_host, "origin": origin}
    headers = [(name.encode(), value.encode()) for name, value in named.items() if value is not None]
    scope = {"type": "http", "path": MCP_PATH, "method": "POST", "headers": headers}
    guard = Guard(app, host=host, allowed_hosts=allowed_hosts, allowed_origins=allowed_origins)
    await guard(scope, _nothing, send)
    (code,) = said
    return code


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8484", "127.0.0.1:1", "[::1]:8484", "[::1]"])
async def test_loopback_has_its_names(host: str) -> None:
    for listening in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "tokens.example"):
        assert await status(host, host=listening) == 200


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:8484",
        "localhost.evil.example",
        "localhost:8484.evil.example",
        "localhost:",
        "localhost:port",
        "localhost:123456",
        "evil.example@localhost",
        "localhost@evil.example",
        "localhost/",
        "localhost evil.example",
        "127.0.0.2",
        "127.1",
        "2130706433",
        "10.0.0.1",
        "::1",
        "[::1",
        "[localhost]",
        "localhost.",
        "*",
        "null",
    ],
)
async def test_other_names_are_refused(host: str | None) -> None:
    assert await status(host) == 421


async def test_the_address_that_is_listened_on_is_a_name() -> None:
    assert await status("10.0.0.1:8484", host="10.0.0.1") == 200
    assert await status("10.0.0.2:8484", host="10.0.0.1") == 421
    assert await status("[fd00::1]:8484", host="fd00::1") == 200


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
async def test_a_server_for_all_addresses_answers_to_addresses_but_not_to_names(everywhere: str) -> None:
    for host in ("10.0.0.1", "10.0.0.1:8484", "[fd00::1]:8484", "localhost:8484"):
        assert await status(host, host=everywhere) == 200
    for host in ("evil.example", "10.0.0.1.evil.example", "10.0.0.256", "2130706433", everywhere + "x"):
        assert await status(host, host=everywhere) == 421


async def test_further_hosts_can_be_allowed() -> None:
    allowed = ("Tokens.example", "other.example:8484")
    assert await status("tokens.example", allowed_hosts=allowed) == 200
    assert await status("tokens.example:443", allowed_hosts=allowed) == 200
    assert await status("other.example:8484", allowed_hosts=allowed) == 200
    assert await status("other.example:8485", allowed_hosts=allowed) == 421
    assert await status("other.example", allowed_hosts=allowed) == 421
    assert await status("any.example", allowed_hosts=("*",)) == 200
    assert await status("any example", allowed_hosts=("*",)) == 421


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:6274", 200),
        ("https://127.0.0.1", 200),
        ("http://[::1]:3000", 200),
        ("http://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("http://localhost@evil.example", 403),
        ("http://evil.example/localhost", 403),
        ("null", 403),
        ("", 403),
        ("file://", 403),
        ("chrome-extension://abc", 403),
        ("localhost:8484", 403),
        ("http://", 403),
    ],
)
async def test_pages_on_loopback_may_ask_a_server_on_loopback(origin: str, expected: int) -> None:
    assert await status("localhost:8484", origin) == expected


async def test_pages_on_loopback_may_not_ask_other_servers() -> None:
    assert await status("10.0.0.1:8484", "http://localhost:3000", host="10.0.0.1") == 403


async def test_a_page_of_our_own_may_ask() -> None:
    assert await status("tokens.example", "https://tokens.example", allowed_hosts=("tokens.example",)) == 200
    assert await status("tokens.example", "https://other.example", allowed_hosts=("tokens.example",)) == 403


async def test_further_origins_can_be_allowed() -> None:
    allowed = ("https://App.example:8443/", "chrome-extension://abc")
    assert await status("localhost", "https://app.example:8443", allowed_origins=allowed) == 200
    assert await status("localhost", "https://app.example", allowed_origins=allowed) == 403
    assert await status("localhost", "http://app.example:8443", allowed_origins=allowed) == 403
    assert await status("localhost", "chrome-extension://abc", allowed_origins=allowed) == 200
    assert await status("localhost", "null", allowed_origins=("*",)) == 200


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", ""]))
    assert all(map(is_everywhere, ["0.0.0.0", "::"]))
    assert not any(map(is_everywhere, ["127.0.0.1", "example.org"]))


async def test_every_route_is_guarded() -> None:
    async with serving(settings_for(sse=True)) as served:
        for path in EVERY_ROUTE:
            for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
                for headers, expected in (({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403)):
                    answer = await served.client.request(method, path, headers=headers)
                    assert answer.status_code == expected, (method, path)


@pytest.mark.parametrize("repeated", ["Host: localhost", "Host: evil.example"])
async def test_two_hosts_are_none(repeated: str) -> None:
    async with serving() as served:
        answer = await served.raw(
            f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{repeated}\r\nConnection: close\r\n\r\n".encode()
        )
    assert answer.split(b" ", 2)[1] in (b"421", b"400")


async def test_two_origins_must_both_be_welcome() -> None:
    async with serving() as served:
        answer = await served.raw(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil.example\r\n"
            b"Connection: close\r\n\r\n"
        )
    assert answer.startswith(b"HTTP/1.1 403 ")


async def test_a_refusal_names_nothing_of_the_request() -> None:
    async with serving() as served:
        answer = await served.post(call("echo", text="x"), Host="evil.example")
        assert answer.json() == {
            "jsonrpc": "2.0",
            "id": None,
            "error": {
                "code": -32000,
                "message": "The Host header names no host of this server. Operators add names with http.allowed_hosts.",
            },
        }
        elsewhere = await served.client.get("/healthz", headers={"Host": "evil.example"})
        assert elsewhere.headers["content-type"] == "application/problem+json"
        assert "evil" not in elsewhere.text
