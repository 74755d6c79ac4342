"""Changes over the admin API whose client leaves, or whose time is over, while the store is slow."""

import gc
import logging
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from tests.waiting import settled
from tokenward.engine.limits import TokenLimit
from tokenward.server.http.admin_operations import delete_limit, set_limit
from tokenward.service import Tokenward
from tokenward.tools.definition import ToolContext
from tokenward.tools.principal import Principal

pytestmark = pytest.mark.anyio

Change: TypeAlias = Callable[[ToolContext], Coroutine[Any, Any, object]]

SECRET = "a row that the driver quotes"
STANDING, SET = TokenLimit("user:ann", "tokens", "day", 1), TokenLimit("user:bob", "tokens", "day", 5)
CHANGES: list[tuple[Change, str, list[TokenLimit], str]] = [
    (
        partial(set_limit, subject="user:bob", metric="tokens", window="day", limit=5),
        "set_limit",
        [STANDING, SET],
        "Admin API: orchestrator set user:bob, tokens per day to at most 5",
    ),
    (
        partial(delete_limit, subject="user:ann", metric="tokens", window="day"),
        "delete_limit",
        [],
        "Admin API: orchestrator deleted user:ann, tokens per day",
    ),
]


@pytest.mark.parametrize(("change", "method", "limits", "line"), CHANGES, ids=["set", "delete"])
async def test_what_is_changed_is_logged_though_nobody_waits_any_more(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: Change,
    method: str,
    limits: list[TokenLimit],
    line: str,
) -> None:
    file = tmp_path / "ledger.db"
    url = f"sqlite:///{file}"
    caplog.set_level(logging.INFO, logger="tokenward")
    async with Tokenward.open(url) as service:
        await service.set_limit(STANDING)
        begun, real = anyio.Event(), getattr(service, method)

        async def told(*arguments: object) -> object:
            begun.set()
            return await real(*arguments)

        monkeypatch.setattr(service, method, told)
        context = ToolContext(service, principal=Principal("orchestrator", frozenset({"admin"})))
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with anyio.CancelScope() as asking:
                async with anyio.create_task_group() as group:
                    group.start_soon(change, context)
                    await begun.wait()
                    await settled()
                    asking.cancel()
            assert asking.cancelled_caught  # whoever asked does not wait for the store
            assert line not in caplog.messages
            other.execute("ROLLBACK")
    assert line in caplog.messages
    async with Tokenward.open(url) as service:
        assert await service.limits() == limits


async def test_a_change_that_fails_when_nobody_waits_any_more_is_logged_without_its_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, goes_on = anyio.Event(), anyio.Event()

    async def fail(_: TokenLimit) -> None:
        begun.set()
        await goes_on.wait()
        raise RuntimeError(SECRET)

    async with Tokenward.open("memory://") as service:
        monkeypatch.setattr(service, "set_limit", fail)
        context = ToolContext(service, principal=Principal("orchestrator", frozenset({"admin"})))
        async with anyio.create_task_group() as group:
            group.start_soon(CHANGES[0][0], context)
            await begun.wait()
            group.cancel_scope.cancel()
        goes_on.set()
        await settled()
        gc.collect()
    assert caplog.messages == ["Internal error in a change of limits (RuntimeError)"]
    assert SECRET not in caplog.text
