"""Who may use the admin API, what it takes for a request, and what it says when something goes wrong."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.server.auth.doors import known
from tests.server.http.admin_server import ADDRESS, ADMIN, REPORTER, USER, admin_app, client_of
from tokenward.engine.errors import SchemaTooNew, StoreUnavailable
from tokenward.server.http.admin import admin_routes
from tokenward.server.http.admin_operations import operations
from tokenward.server.http.app import build_app
from tokenward.server.http.openapi import openapi_document
from tokenward.server.settings import load_settings
from tokenward.tools.definition import ToolContext
from tokenward.tools.principal import Principal

PATHS = [*dict.fromkeys(one.path for one in operations()), "/admin/openapi.json"]
LIMIT = {"subject": "user:alice", "metric": "tokens", "window": "day", "limit": 5}
PROBLEM = "application/problem+json"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with client_of(admin_app(tmp_path)) as client:
        yield client


# Who may ask --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "wrong", f"{ADMIN}x"])
def test_without_a_good_token_nothing_is_told(tmp_path: Path, token: str | None) -> None:
    with client_of(admin_app(tmp_path), token) as client:
        for path in [*PATHS, "/admin/other"]:
            for method in ("GET", "PUT", "DELETE", "POST", "OPTIONS"):
                refused = client.request(method, path, json=LIMIT)
                assert refused.status_code == 401
                assert refused.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("token", [USER, REPORTER])
def test_other_scopes_do_not_open_it(tmp_path: Path, token: str) -> None:
    with client_of(admin_app(tmp_path), token) as client:
        for path in PATHS:
            for method in ("GET", "PUT", "DELETE", "POST", "HEAD"):
                refused = client.request(method, path, json=LIMIT)
                assert refused.status_code == 403
                assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="admin"'
        assert client.get("/admin/usage", params={"user": "alice"}).status_code == 403
    with client_of(admin_app(tmp_path)) as client:
        assert client.get("/admin/limits").json()["limits"] == []


def test_it_is_not_there_where_nobody_authenticates(tmp_path: Path) -> None:
    app = build_app(load_settings(store=f"sqlite:///{tmp_path / 'ledger.db'}", user="me"))
    with client_of(app) as client:
        for path in PATHS:
            assert client.get(path).status_code == 404
            assert client.put(path, json=LIMIT).status_code in (404, 405)


def test_the_routes_themselves_refuse_who_came_past_the_door() -> None:
    async def unopened() -> ToolContext:
        raise AssertionError("opened for nobody")

    with TestClient(Starlette(routes=admin_routes(unopened)), ADDRESS) as client:
        for path in PATHS:
            refused = client.get(path)
            assert (refused.status_code, refused.headers["content-type"]) == (403, PROBLEM)


def test_a_page_of_somebody_elses_is_refused(client: TestClient) -> None:
    for path in PATHS:
        assert client.get(path, headers={"host": "evil.example"}).status_code == 421
        assert client.get(path, headers={"origin": "https://evil.example"}).status_code == 403


# What is a request --------------------------------------------------------------------------------------------------


def test_other_methods_are_refused_with_those_that_there_are(client: TestClient) -> None:
    for path, allowed in (("/admin/limits", "DELETE, GET, HEAD, PUT"), ("/admin/usage", "GET, HEAD")):
        for method in ("POST", "PATCH", "OPTIONS", "TRACE", "BREW"):
            refused = client.request(method, path)
            assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
            assert refused.json()["detail"] == f"{path} takes {allowed}."


def test_head_is_get_without_the_answer(client: TestClient) -> None:
    assert client.head("/admin/limits").status_code == 200
    assert client.head("/admin/limits?rows=0").status_code == 400


def test_what_is_not_there_is_said_so(client: TestClient) -> None:
    for path in ("/admin/other", "/admin/limits/", "/admin/limits/user:alice", "/admin/"):
        refused = client.get(path, follow_redirects=False)
        assert (refused.status_code, refused.headers["content-type"]) == (404, PROBLEM)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"limit": NaN}',
        b'{"limit": 1' + b"0" * 5_000 + b"}",
        b'{"subject": "global", "subject": "default"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"subject": "global", "metric": "tokens", "window": "day", "limit": 1e999}',
        b'{"subject": "global", "metric": "tokens", "window": "day", "limit": ' + b"[" * 300 + b"]" * 300 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_cannot_be_is_refused(client: TestClient, body: bytes) -> None:
    refused = client.put("/admin/limits", content=body, headers={"content-type": "application/json"})
    assert (refused.status_code, refused.headers["content-type"]) == (400, PROBLEM)
    assert len(refused.content) < 500


def test_only_json_is_taken(client: TestClient) -> None:
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"):
        refused = client.put("/admin/limits", content=json.dumps(LIMIT), headers={"content-type": kind})
        assert (refused.status_code, refused.headers["content-type"]) == (415, PROBLEM)


def test_fields_do_not_come_as_a_query(client: TestClient) -> None:
    refused = client.put("/admin/limits?subject=global", json=LIMIT)
    assert refused.status_code == 400
    assert client.get("/admin/openapi.json?x=1").status_code == 400


@pytest.mark.parametrize("query", ["subject", "&", "subject=%ff", "subject=%80a", "a=1" + "&a=1" * 60])
def test_a_query_that_cannot_be_read_is_refused(client: TestClient, query: str) -> None:
    refused = client.get(f"/admin/limits?{query}")
    assert (refused.status_code, refused.headers["content-type"]) == (400, PROBLEM)


def test_a_body_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with client_of(admin_app(tmp_path, http={"max_body_bytes": 2_000})) as client:
        assert client.put("/admin/limits", json={**LIMIT, "subject": "user:" + "a" * 3_000}).status_code == 413


# When something goes wrong ------------------------------------------------------------------------------------------


def client_that_meets(error: Exception) -> TestClient:
    async def broken() -> ToolContext:
        raise error

    admin = Principal("orchestrator", frozenset({"admin"}))
    return TestClient(known(Starlette(routes=admin_routes(broken)), admin), ADDRESS)


@pytest.mark.parametrize("error", [StoreUnavailable("The ledger is away."), SchemaTooNew(9, 8)])
def test_a_ledger_that_is_away_is_503_with_a_time_to_come_again(error: Exception) -> None:
    with client_that_meets(error) as client:
        refused = client.get("/admin/limits")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json() == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": str(error),
    }


def test_a_crash_says_nothing_to_the_client_and_no_values_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), client_that_meets(RuntimeError("a secret")) as client:
        refused = client.put("/admin/limits", json=LIMIT)
    assert (refused.status_code, refused.headers["content-type"]) == (500, PROBLEM)
    assert refused.json()["detail"] == "Internal error; see the server's log."
    assert "Internal error in PUT /admin/limits" in caplog.text
    assert "a secret" not in caplog.text
    assert "alice" not in caplog.text


# The document -------------------------------------------------------------------------------------------------------


def test_the_document_says_what_there_is(client: TestClient) -> None:
    document: dict[str, Any] = client.get("/admin/openapi.json").json()
    assert document == openapi_document()
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert documented == {(one.method, one.path) for one in operations()} | {("GET", "/admin/openapi.json")}
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)))
    assert references
    assert {one.rpartition("/")[2] for one in references} <= set(document["components"]["schemas"])
    assert all(one.startswith("#/components/schemas/") for one in references)
    names = {one.tool.name for one in operations()}
    assert {name for one in operations() for name in one.links} <= names
