"""The page on the admin API says what the API answers, word for word, and names every parameter that there is."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread

import anyio.to_thread
import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette

from tests.conftest import FakeClock
from tests.server.auth.doors import known
from tests.server.http.admin_server import ADMIN, admin_app
from tests.waiting import until
from tokenward.server.http.admin import admin_routes
from tokenward.server.http.admin_operations import Operation, operations
from tokenward.service import Tokenward
from tokenward.tools.definition import ToolContext
from tokenward.tools.principal import Principal

pytestmark = pytest.mark.anyio
REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "admin-api.md").read_text("utf-8")
EXAMPLES = re.findall(r"```text\n→ (\w+) (\S+)\n(?:  (\{.*?\})\n)?← (\d+) (.*?)\n```", PAGE, re.DOTALL)
PROGRAM = (REPOSITORY / "docs" / "examples" / "orchestrator.py").read_text("utf-8")


@asynccontextmanager
async def asked(clock: FakeClock) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of the page's server."""
    orchestrator = Principal("orchestrator", frozenset({"admin"}))
    async with Tokenward.open("memory://", clock=clock) as service:
        context = ToolContext(service=service)

        async def opened() -> ToolContext:
            return context

        app = known(Starlette(routes=admin_routes(opened)), orchestrator)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client


async def test_examples_are_answered_as_the_page_says(clock: FakeClock) -> None:
    assert len(EXAMPLES) == 8
    async with asked(clock) as client:
        for method, path, body, status, said in EXAMPLES:
            headers = {"content-type": "application/json"} if body else {}
            answer = await client.request(method, path, content=body or None, headers=headers)
            assert answer.status_code == int(status), answer.text
            text = re.sub(r'"next_cursor":"[^"]+"', '"next_cursor":"CURSOR"', answer.text)
            assert text == re.sub(r"\n +", "", said)


@pytest.mark.parametrize("one", operations(), ids=lambda one: f"{one.method} {one.path}")
async def test_every_operation_and_parameter_is_named(one: Operation) -> None:
    section = PAGE.partition(f"\n## {one.method} {one.path}\n")[2].partition("\n## ")[0]
    for name in one.tool.parameters:
        assert f"`{name}`" in section
    assert f"| `{one.method} {one.path}` |" in PAGE


async def test_the_orchestrator_is_quoted_and_prints_what_the_page_says(tmp_path: Path) -> None:
    quoted, printed = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", PAGE, re.DOTALL)[0]
    assert quoted == PROGRAM
    server = uvicorn.Server(uvicorn.Config(admin_app(tmp_path), port=0, log_level="critical", lifespan="on"))
    thread = Thread(target=server.run)
    thread.start()

    async def started() -> bool:
        return server.started

    def run() -> str:
        port = server.servers[0].sockets[0].getsockname()[1]
        environment = {**os.environ, "TOKENWARD_URL": f"http://127.0.0.1:{port}", "TOKENWARD_TOKEN": ADMIN}
        command = [sys.executable, "-W", "error", "-c", PROGRAM]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

    try:
        await until(started)
        assert await anyio.to_thread.run_sync(run) == printed
    finally:
        server.should_exit = True
        thread.join()
