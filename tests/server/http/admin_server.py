"""What the tests of the admin API share: the real application with authentication, on a ledger of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from starlette.testclient import TestClient
from starlette.types import ASGIApp

from tokenward.server.auth.tokens import hash_of
from tokenward.server.http.app import build_app
from tokenward.server.settings import load_settings

ADMIN, USER, REPORTER = "admin-token", "user-token", "reporter-token"
ADDRESS = "http://127.0.0.1:8484"

Ask: TypeAlias = Callable[..., Any]


def admin_app(folder: Path, **settings: object) -> ASGIApp:
    """The application. The ledger is the one that the command line's tests have too."""
    (folder / "config.toml").touch()
    tokens = [
        {"hash": hash_of(ADMIN), "subject": "orchestrator", "scopes": ["admin"]},
        {"hash": hash_of(USER), "subject": "alice", "scopes": ["use", "report"]},
        {"hash": hash_of(REPORTER), "subject": "bob", "scopes": ["report"]},
    ]
    given: dict[str, object] = {"store": f"sqlite:///{folder / 'ledger.db'}", "auth": {"tokens": tokens}, **settings}
    return build_app(load_settings(folder / "config.toml", **given))


def client_of(app: ASGIApp, token: str | None = ADMIN) -> TestClient:
    """A client that shows a token. The application runs while the client is entered."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return TestClient(app, ADDRESS, headers=headers)
