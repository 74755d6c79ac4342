"""What a server has loaded when it answers the handshake, and after the first calls."""

import json
import subprocess
import sys

import pytest

from tests.server.test_stdio import ENVIRONMENT, HANDSHAKE, ROOT, call
from tests.waiting import NET_SECONDS
from tokenward.engine.counting.counter import TokenCounter
from tokenward.server.surface.instructions import instructions_for
from tokenward.tools.registry import NAMES

HEAVY = (
    "tiktoken",
    "genai_prices",
    "aiosqlite",
    "sqlite3",
    "rich",
    "tokenward.service",
    "tokenward.tools.count_tokens",
)

# Measuring coverage would load modules of its own.
UNMEASURED = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("COVERAGE")}

# Says on standard error which of the modules are there when the handshake's answer is written.
WATCHED = """
import json, sys
from tokenward.server import frames, stdio
from tokenward.server.application import serve_stdio
from tokenward.server.settings import load_settings
written = []
def write_message(message):
    if not written:
        print(json.dumps(sorted(sys.modules)), file=sys.stderr)
    written.append(1)
    return frames.write_message(message)
stdio.write_message = write_message
serve_stdio(load_settings(store="memory://"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the SDK's transport on Windows is not watched")
def test_nothing_heavy_is_loaded_before_the_handshake() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        input=HANDSHAKE + call(1, "count_tokens", text="x", model="gpt-4o"),
        capture_output=True,
        env=UNMEASURED,
        cwd=ROOT,
        check=True,
        timeout=NET_SECONDS,
    )
    loaded = set(json.loads(done.stderr))
    assert "tokenward.server.strict" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_the_instructions_are_short() -> None:
    text = instructions_for(NAMES)
    assert TokenCounter().count_tokens(text, "o200k_base").token_count <= 200
    assert text.index("check_quota") < text.index("record_usage") < text.index("release_quota")
