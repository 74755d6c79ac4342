"""The door: which headers open it, what everybody else is told, and how often anybody may come."""

import anyio
import httpx2
import pytest
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.conftest import FakeClock
from tests.server.auth.doors import ADMIN, ALICE, BOB, application, auth_table, settings_with
from tests.server.auth.issuer import AUDIENCE, ISSUER, RSA_KEY, Issuer, key_set, listening, public, serving
from tests.waiting import NET_SECONDS
from tokenward.engine.types import JsonObject
from tokenward.server.auth import jwks
from tokenward.server.auth.caller import principal_of
from tokenward.server.auth.door import authenticated, metadata_routes
from tokenward.server.auth.rates import SWEEP_AT, Rates
from tokenward.server.auth.settings import AuthSettings
from tokenward.server.auth.tokens import TOKEN_BYTES, TokenBook, hash_of, new_token
from tokenward.server.http import health
from tokenward.server.http.app import build_app
from tokenward.server.settings import load_settings

pytestmark = pytest.mark.anyio

LIST: JsonObject = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
CALL_AS: JsonObject = {"tokens": 1}


async def who(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that tells who is asking."""
    await JSONResponse({"subject": principal_of(Request(scope)).subject})(scope, receive, send)


def client(app: ASGIApp) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8484")


def door(clock: FakeClock, settings: AuthSettings | None = None, **more: object) -> httpx2.AsyncClient:
    return client(authenticated(who, settings or auth_table(**more), clock=clock))


@pytest.mark.parametrize("header", ["Authorization", "authorization", "AUTHORIZATION"])
@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer  "])
async def test_a_good_token_opens(clock: FakeClock, header: str, scheme: str) -> None:
    async with door(clock) as asking:
        response = await asking.get("/", headers={header: f"{scheme}{ALICE}"})
    assert (response.status_code, response.json()) == (200, {"subject": "alice"})


NO_TOKEN: list[list[tuple[str, str]]] = [
    [],
    [("Authorization", "")],
    [("Authorization", "Bearer")],
    [("Authorization", "Bearer ")],
    [("Authorization", ALICE)],
    [("Authorization", f"Basic {ALICE}")],
    [("Authorization", f"Token {ALICE}")],
    [("Authorization", f"Bearer\t{ALICE}")],
    [("Authorization", f"Bearer {ALICE}x")],
    [("Authorization", f"Bearer {ALICE[:-1]}")],
    [("Authorization", f"Bearer {ALICE.upper()}")],
    [("Authorization", f"Bearer {ALICE}, Bearer {ALICE}")],
    [("Authorization", f"Bearer {hash_of(ALICE)}")],
    [("Authorization", "Bearer " + "x" * 1_000_000)],
    [("Authorization", f"Bearer {ALICE}"), ("Authorization", f"Bearer {BOB}")],
    [("Authorization", f"Bearer {ALICE}"), ("authorization", f"Bearer {ALICE}")],
    [("X-Authorization", f"Bearer {ALICE}")],
    [("Proxy-Authorization", f"Bearer {ALICE}")],
    [("Cookie", f"Authorization=Bearer {ALICE}")],
]


@pytest.mark.parametrize("headers", NO_TOKEN, ids=range(len(NO_TOKEN)))
async def test_nothing_else_does(clock: FakeClock, headers: list[tuple[str, str]]) -> None:
    async with door(clock) as asking:
        response = await asking.get(f"/?access_token={ALICE}&token={ALICE}", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer ")
    assert response.json()["error"] == "invalid_token"
    assert "tw_" not in response.text + str(response.headers)


async def test_a_token_ends(clock: FakeClock) -> None:
    table = {"hash": hash_of(ALICE), "subject": "alice", "expires": "2026-11-21T12:00:01Z"}
    async with door(clock, AuthSettings.model_validate({"tokens": [table]})) as asking:
        headers = {"Authorization": f"Bearer {ALICE}"}
        assert (await asking.get("/", headers=headers)).status_code == 200
        clock.advance(1)
        assert (await asking.get("/", headers=headers)).status_code == 401


async def test_a_token_of_the_authorization_server(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "TIMEOUT_SECONDS", NET_SECONDS)
    issuer = Issuer(clock() // 1_000_000)
    with serving(key_set(public(RSA_KEY, "one"))) as (url, asked):
        jwt = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": url}
        async with door(clock, jwt=jwt) as asking:
            good = await asking.get("/", headers={"Authorization": f"Bearer {issuer.token(sub='ann')}"})
            bad = await asking.get("/", headers={"Authorization": f"Bearer {issuer.token(aud='x')}"})
            none = await asking.get("/", headers={"Authorization": f"Bearer {issuer.token(scope='openid')}"})
            static = await asking.get("/", headers={"Authorization": f"Bearer {BOB}"})
    assert asked == ["/jwks"]
    assert good.json() == {"subject": "ann"}
    assert static.json() == {"subject": "bob"}
    assert (bad.status_code, none.status_code) == (401, 403)
    assert none.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    assert "/.well-known/oauth-protected-resource/mcp" in bad.headers["www-authenticate"]


async def test_when_nobody_can_say_nobody_comes_in(clock: FakeClock) -> None:
    async def broken(_: str) -> bytes:
        raise OSError

    jwt = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "https://issuer.example/jwks"}
    app = authenticated(who, auth_table(jwt=jwt), clock=clock, fetch=broken)
    token = Issuer(clock() // 1_000_000).token()
    async with client(app) as asking:
        response = await asking.get("/", headers={"Authorization": f"Bearer {token}"})
        static = await asking.get("/", headers={"Authorization": f"Bearer {BOB}"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "30")
    assert static.status_code == 200


async def test_each_subject_has_its_own_number_of_requests(clock: FakeClock) -> None:
    async with door(clock, requests_per_minute=2) as asking:

        async def status(token: str) -> int:
            return (await asking.get("/", headers={"Authorization": f"Bearer {token}"})).status_code

        assert [await status(ALICE) for _ in range(3)] == [200, 200, 429]
        assert await status(BOB) == 200
        refused = await asking.get("/", headers={"Authorization": f"Bearer {ALICE}"})
        assert refused.headers["retry-after"] == "30"
        clock.advance(30)
        assert [await status(ALICE) for _ in range(2)] == [200, 429]


def test_buckets_of_those_who_left_are_forgotten(clock: FakeClock) -> None:
    rates = Rates(60, clock)
    for number in range(SWEEP_AT):
        rates.take(f"user {number}")
    clock.advance(2)
    rates.take("one more")
    assert len(vars(rates)["_buckets"]) == 1


def test_many_who_stay_are_not_looked_through_each_time(clock: FakeClock) -> None:
    rates = Rates(60, clock)
    for number in range(3 * SWEEP_AT):
        assert rates.take(f"user {number}") == 0
    assert len(vars(rates)["_buckets"]) == 3 * SWEEP_AT


def test_a_clock_that_goes_back_gives_nothing(clock: FakeClock) -> None:
    rates = Rates(1, clock)
    assert rates.take("a") == 0
    clock.advance(-3_600)
    assert rates.take("a") == 60
    assert Rates(0, clock).take("a") == 0


def test_tokens_are_random_and_known_by_their_hash(clock: FakeClock) -> None:
    one, two = new_token(), new_token()
    assert one != two
    assert len(one) == len("tw_") + 2 * TOKEN_BYTES
    book = TokenBook(auth_table().tokens, clock)
    assert book.find(one) is None
    found = book.find(ALICE)
    assert found is not None
    assert found.subject == "alice"
    assert ALICE not in repr(auth_table())
    assert hash_of(ALICE).removeprefix("sha256:") not in repr(auth_table())


async def test_every_route_but_the_open_ones_asks_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", NET_SECONDS)
    auth = auth_table(jwt={"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "https://issuer.example/jwks"})
    # Where only this machine can ask, /metrics is open.
    settings = settings_with(auth, http={"sse": True, "host": "192.0.2.1", "allowed_hosts": ["127.0.0.1:8484"]})
    closed = ["/mcp", "/mcp/", "/", "/sse", "/messages/", "/metrics", "/admin/limits", "/admin/usage", "/healthz/x"]
    closed += ["/admin/openapi.json", "//healthz", "/healthz/../mcp", "/HEALTHZ", "/healthz%2f..%2fmcp", "/nothing"]
    async with application(settings) as asked:
        for path in closed:
            for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
                response = await asked.client.request(method, path)
                assert response.status_code == 401, (method, path)
        for path in ("/healthz", "/readyz", "/.well-known/oauth-protected-resource/mcp"):
            assert (await asked.client.get(path)).status_code == 200, path
        headers = {"Authorization": f"Bearer {ALICE}"}
        assert (await asked.client.get("/metrics", headers=headers)).status_code == 403
        assert (await asked.client.get("/admin/usage", headers=headers)).status_code == 403
        metadata = (await asked.client.get("/.well-known/oauth-protected-resource/mcp")).json()
    assert metadata["authorization_servers"] == [ISSUER]
    assert metadata["resource"] == AUDIENCE


ADDRESSES = [
    *("https://{}.example", "https://{}.example/", "https://{}.example/mcp", "https://{}.example:8443/a/mcp/"),
    *("https://{}.example:443/mcp", "https://{}.Example/mcp"),
]


@pytest.mark.parametrize("place", ADDRESSES)
async def test_addresses_are_told_as_they_are_written(place: str) -> None:
    issuer, audience = place.format("login"), place.format("tokens")
    jwt = {"issuer": issuer, "audience": audience, "jwks_url": "https://login.example/jwks"}
    settings = auth_table(jwt=jwt)
    settings.check(written=True)
    (route,) = metadata_routes(settings)
    async with client(Starlette(routes=[route])) as asking:
        told = (await asking.get(route.path)).json()
    # Clients compare both as texts.
    assert (told["authorization_servers"], told["resource"]) == ([issuer], audience)
    async with client(authenticated(who, settings)) as asking:
        challenge = (await asking.get("/")).headers["www-authenticate"]
    place = "/".join(audience.split("/")[:3]).lower().removesuffix(":443")
    assert f'resource_metadata="{place}{route.path}"' in challenge


async def test_without_authentication_there_is_one_user_and_no_admin() -> None:
    settings = load_settings(None, store="memory://", user="the-operator")
    async with application(settings) as asked:
        params: JsonObject = {"name": "check_quota", "arguments": CALL_AS}
        response = await asked.post(None, {**LIST, "method": "tools/call", "params": params})
        assert response.json()["result"]["structuredContent"]["user"] == "the-operator"
        for path in ("/admin/limits", "/admin/usage"):
            assert (await asked.client.get(path)).status_code in (401, 403, 404)


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
async def test_both_eras_know_who_asks(era: str) -> None:
    async with listening(build_app(settings_with())) as port:
        for token, subject in ((ALICE, "alice"), (BOB, "bob")):
            headers = {"Authorization": f"Bearer {token}"}
            async with httpx2.AsyncClient(headers=headers, timeout=NET_SECONDS) as http:
                transport = streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)
                async with Client(transport, mode=era) as asking:
                    result = await asking.call_tool("check_quota", CALL_AS)
                    refused = await asking.call_tool("check_quota", {**CALL_AS, "user": "somebody"})
            assert result.structured_content is not None
            assert result.structured_content["user"] == subject
            assert refused.is_error


async def test_the_legacy_transport_knows_who_asks_and_lends_no_session() -> None:
    addresses: list[str] = []
    async with listening(build_app(settings_with(http={"sse": True}))) as port:
        base = f"http://127.0.0.1:{port}"
        headers = {"Authorization": f"Bearer {ALICE}"}
        transport = sse_client(f"{base}/sse", headers=headers, timeout=NET_SECONDS, on_session_created=addresses.append)
        async with Client(transport, mode="legacy") as asking:
            result = await asking.call_tool("check_quota", CALL_AS)
            assert result.structured_content is not None
            assert result.structured_content["user"] == "alice"
            async with httpx2.AsyncClient(timeout=NET_SECONDS) as http:
                url = f"{base}/messages/?session_id={addresses[0]}"
                for token, status in ((BOB, 404), (ADMIN, 404), (ALICE, 202)):
                    posted = await http.post(url, json=LIST, headers={"Authorization": f"Bearer {token}"})
                    assert posted.status_code == status
                assert (await http.post(url, json=LIST)).status_code == 401


async def test_callers_at_once_are_not_mixed_up() -> None:
    async with application() as asked:
        seen: list[tuple[str, object]] = []

        async def ask(token: str, subject: str) -> None:
            for _ in range(10):
                answer = await asked.good(token, "check_quota", tokens=1)
                seen.append((subject, answer["user"]))

        async with anyio.create_task_group() as tasks:
            for token, subject in ((ALICE, "alice"), (BOB, "bob"), (ADMIN, "root")):
                tasks.start_soon(ask, token, subject)
    assert len(seen) == 30
    assert all(subject == user for subject, user in seen)
