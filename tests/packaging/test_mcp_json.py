"""mcp.json is what people copy into their client: it must parse and name a server that answers."""

import json
import os
import sysconfig
from pathlib import Path

import pytest

from tests.packaging.conftest import Ask
from tests.packaging.project import ROOT
from tokenward.engine.types import JsonObject

SCRIPTS = Path(sysconfig.get_path("scripts"))


def server_entry() -> JsonObject:
    document: JsonObject = json.loads((ROOT / "mcp.json").read_text(encoding="utf-8"))
    servers = document["mcpServers"]
    assert isinstance(servers, dict)
    entry = servers["tokenward"]
    assert isinstance(entry, dict)
    return entry


def test_mcp_json_is_portable() -> None:
    entry = server_entry()
    assert set(entry) == {"command", "args", "env"}
    assert entry["command"] == "tokenward"


def test_mcp_json_starts_a_server(ask: Ask, clean_environment: dict[str, str]) -> None:
    entry = server_entry()
    assert isinstance(entry["args"], list)
    assert isinstance(entry["env"], dict)
    if not (SCRIPTS / str(entry["command"])).exists():
        pytest.skip("tokenward is not installed in this environment")
    environment = clean_environment | {name: str(value) for name, value in entry["env"].items()}
    environment["PATH"] = f"{SCRIPTS}{os.pathsep}{environment['PATH']}"
    command = [str(SCRIPTS / str(entry["command"])), *map(str, entry["args"])]
    listed = ask(command, environment, "tools/list", {})
    assert isinstance(listed["tools"], list)
    names = {str(tool["name"]) for tool in listed["tools"] if isinstance(tool, dict)}
    assert {"count_tokens", "check_quota", "record_usage"} <= names
