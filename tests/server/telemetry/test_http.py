"""The measuring of HTTP requests: bounded labels, and what is logged of each."""

import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from tokenward.performance import Performance
from tokenward.server.http.app import build_app
from tokenward.server.settings import Settings
from tokenward.server.telemetry.http import RequestMetrics, route_of
from tokenward.server.telemetry.logs import JsonLines

pytestmark = pytest.mark.anyio

Message = MutableMapping[str, Any]


class Odd:
    """An application that does as its path says."""

    async def __call__(self, scope: Message, _: object, send: Callable[[Message], Awaitable[None]]) -> None:
        if scope["path"] == "/healthz":
            await send({"type": "http.response.start", "status": 204, "headers": []})
        if scope["path"] == "/readyz":
            raise RuntimeError


async def never() -> Message:
    raise NotImplementedError


async def nowhere(_: Message) -> None:
    """The client takes anything."""


async def asked(performance: Performance, path: str, method: str = "GET", kind: str = "http") -> None:
    scope = {"type": kind, "method": method, "path": path, "query_string": b"q=secret"}
    await RequestMetrics(Odd(), performance)(scope, never, nowhere)


async def test_requests_are_counted_by_method_route_and_status() -> None:
    performance = Performance()
    await asked(performance, "/healthz")
    await asked(performance, "/mcp", "SECRET")
    with pytest.raises(RuntimeError):
        await asked(performance, "/readyz")
    assert {key: one.count for key, one in performance.requests.items()} == {
        ("GET", "/healthz", 204): 1,
        ("other", "/mcp", 499): 1,
        ("GET", "/readyz", 500): 1,
    }
    assert performance.in_flight == 0


async def test_what_is_no_request_passes_by() -> None:
    performance = Performance()
    await asked(performance, "/", kind="lifespan")
    assert not performance.requests


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/mcp", "/mcp"),
        ("/metrics", "/metrics"),
        ("/messages/?session_id=1", "/messages/"),
        ("/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"),
        ("/mcp/secret", "other"),
        ("/secret", "other"),
        ("", "other"),
    ],
)
def test_only_routes_are_named(path: str, route: str) -> None:
    assert route_of(path) == route


async def test_every_route_of_ours_has_a_name() -> None:
    auth = {"tokens": [{"hash": f"sha256:{'0' * 64}", "subject": "alice", "scopes": ["admin"]}]}
    app = build_app(Settings.model_validate({"store": "memory://", "auth": auth, "http": {"sse": True}}))
    paths = paths_in(app)
    assert {"/healthz", "/metrics", "/admin/limits", "/sse"} <= paths
    assert {path for path in paths if route_of(path) == "other" and "{" not in path} == set()


def paths_in(app: object, seen: set[int] | None = None) -> set[str]:
    """The paths of all routes anywhere in an application."""
    seen = seen if seen is not None else set()
    if id(app) in seen:
        return set()
    seen.add(id(app))
    paths: set[str] = set()
    for route in getattr(app, "routes", None) or ():
        paths.add(f"{route.path}/" if type(route).__name__ == "Mount" else route.path)
    closure = [cell.cell_contents for cell in getattr(app, "__closure__", None) or ()]
    inside: list[Any] = [*closure, *getattr(app, "__dict__", {}).values()]
    for one in inside:
        within: list[Any] = [*one.values()] if isinstance(one, dict) else [one]  # pyright: ignore[reportUnknownVariableType]
        for each in within:
            if callable(each) and not isinstance(each, type):
                paths |= paths_in(each, seen)
    return paths


async def test_a_request_is_logged_without_its_query(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tokenward.access"):
        await asked(Performance(lambda: 1.0), "/healthz")
    (record,) = caplog.records
    assert record.getMessage() == "GET /healthz 204 0.0000 s"
    line = json.loads(JsonLines().format(record))
    assert (line["method"], line["route"], line["status"], line["seconds"]) == ("GET", "/healthz", 204, 0.0)
    assert "secret" not in json.dumps(line)


async def test_nothing_is_logged_unless_wanted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tokenward.access"):
        await asked(Performance(), "/healthz")
    assert not caplog.records
