"""server.json, for the MCP registry: its own rules, what the package says of itself, and that what it names starts.

The rules are those of the registry's schema of 2025-12-11 and of its page on packages of this kind.
"""

import json
import os
import re
import sysconfig
from pathlib import Path

import pytest

from tests.packaging.conftest import Ask
from tests.packaging.project import ROOT, pyproject
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.server.settings import Settings

SCRIPTS = Path(sysconfig.get_path("scripts"))
SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
SERVER: JsonObject = json.loads((ROOT / "server.json").read_text("utf-8"))


def tables(value: JsonValue) -> list[JsonObject]:
    assert isinstance(value, list)
    return [one for one in value if isinstance(one, dict)]


def package() -> JsonObject:
    (only,) = tables(SERVER["packages"])
    return only


def test_what_the_schema_asks_for() -> None:
    assert SERVER["$schema"] == SCHEMA
    assert set(SERVER) <= {"$schema", "name", "title", "description", "version", "packages"}
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", str(SERVER["name"]))
    assert 1 <= len(str(SERVER["title"])) <= 100
    assert 1 <= len(str(SERVER["description"])) <= 100
    assert re.fullmatch(r"\d+\.\d+\.\d+", str(SERVER["version"]))


def test_what_the_schema_asks_of_a_package() -> None:
    known = {"registryType", "identifier", "version", "runtimeHint", "transport", "packageArguments"}
    assert set(package()) == known | {"environmentVariables"}
    assert package()["registryType"] == "pypi"
    assert package()["runtimeHint"] == "uvx"
    assert package()["transport"] == {"type": "stdio"}
    assert all(one["type"] == "positional" and one["value"] for one in tables(package()["packageArguments"]))
    inputs = {"name", "description", "placeholder", "isSecret", "format", "default"}
    for variable in tables(package()["environmentVariables"]):
        assert {"name", "description"} <= set(variable) <= inputs
        assert variable.get("format", "string") in {"string", "number", "boolean", "filepath"}


def test_it_is_this_package() -> None:
    project = pyproject()["project"]
    assert package()["identifier"] == project["name"]
    assert SERVER["version"] == package()["version"] == project["version"]
    # What the registry reads in the package's long description to see whose it is.
    assert project["readme"] == "README.md"
    assert f"<!-- mcp-name: {SERVER['name']} -->" in (ROOT / "README.md").read_text("utf-8").splitlines()


def test_its_variables_are_settings() -> None:
    names = {str(one["name"]) for one in tables(package()["environmentVariables"])}
    assert names <= {f"TOKENWARD_{name.upper()}" for name in Settings.model_fields} | {"TOKENWARD_CONFIG"}


def test_what_it_names_starts(ask: Ask, clean_environment: dict[str, str]) -> None:
    # uvx runs the script that is named like the package.
    program = SCRIPTS / str(package()["identifier"])
    assert program.name in pyproject()["project"]["scripts"]
    if not program.exists():
        pytest.skip("tokenward is not installed in this environment")
    arguments = [str(one["value"]) for one in tables(package()["packageArguments"])]
    environment = clean_environment | {"PATH": f"{SCRIPTS}{os.pathsep}{clean_environment['PATH']}"}
    call: JsonObject = {"name": "count_tokens", "arguments": {"text": "hello world", "model": "gpt-4o"}}
    result = ask([str(program), *arguments], environment, "tools/call", call)
    assert not result.get("isError"), result
    assert isinstance(result["structuredContent"], dict)
    assert result["structuredContent"]["tokens"] == 2
