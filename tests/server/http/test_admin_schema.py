"""Schemathesis against the running application: what the OpenAPI document promises is what is answered.

Both ways: what the document allows is accepted and what it does not is refused, all answers are as documented, nothing
is a server's error, and nothing is told without a token. Examples are derived, not drawn: every run is the same one.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from threading import Thread

import anyio.to_thread
import pytest
import uvicorn

from tests.server.http.admin_server import ADMIN, admin_app
from tests.waiting import until
from tokenward.server.http.admin_operations import operations

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(360)]
HOOKS = "tests.server.http.admin_schemathesis"
EXAMPLES = "20"


def run(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Schemathesis with all its checks on the operations of a document."""
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run", url]
    token = ["--header", f"Authorization: Bearer {ADMIN}"]
    examples = ["--generation-deterministic", "--max-examples", EXAMPLES, "--continue-on-failure"]
    patience = ["--request-timeout", "100", "--suppress-health-check", "all"]
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": root, "COLUMNS": "200"}
    return subprocess.run(
        [*command, *token, *examples, *patience, "--checks", "all", "--workers", "1", "--no-color"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


async def started(server: uvicorn.Server) -> bool:
    """Whether it listens."""
    return server.started


async def test_the_document_and_the_answers_agree(tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    server = uvicorn.Server(uvicorn.Config(admin_app(tmp_path), port=0, log_level="critical", lifespan="on"))
    thread = Thread(target=server.run)
    thread.start()
    try:
        await until(partial(started, server))
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/admin/openapi.json"
        said = await anyio.to_thread.run_sync(run, url, tmp_path)
    finally:
        server.should_exit = True
        thread.join()
    assert said.returncode == 0, said.stdout
    for phase in ("Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in said.stdout, said.stdout
    assert f"Tested: {len(operations())}" in said.stdout, said.stdout
