"""Progress of ``count_tokens`` over files, as a client of a real server process sees it."""

import os
import sys
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")]

REPOSITORY = Path(__file__).resolve().parents[2]


async def test_progress_only_ever_grows(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    for number in range(130):
        (tmp_path / "work" / f"{number}.txt").write_text("hello world", encoding="utf-8")
    (tmp_path / "config.toml").touch()
    steps: list[tuple[float, float | None, str | None]] = []

    async def follow(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    settings = {
        "PYTHONPATH": str(REPOSITORY / "src"),
        "TOKENWARD_STORE": "memory://",
        "TOKENWARD_CONFIG": str(tmp_path / "config.toml"),
    }
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "tokenward", "serve"], env=os.environ | settings, cwd=tmp_path / "work"
    )
    async with Client(server) as client:
        arguments = {"paths": ["."], "model": "gpt-4o"}
        result = await client.call_tool("count_tokens", arguments, progress_callback=follow)
    assert result.structured_content is not None
    assert result.structured_content["tokens"] == 260
    done = [one[0] for one in steps]
    assert len(done) > 2
    assert done == sorted(set(done))
    assert done[-1] == 130
    assert steps[-1][2] == "130 files, 260 tokens"
    assert {one[1] for one in steps} == {130}
