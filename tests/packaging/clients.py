"""How each client reads its file: which process it starts, or which address it calls with which headers."""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.packaging.project import ROOT
from tokenward.engine.types import JsonObject, JsonValue

CLIENTS = ("Claude Code", "Claude Desktop", "Cursor", "VS Code", "Codex", "Kilo Code", "Kilo Code, legacy")

# How each client writes a value that comes from somewhere else; the last is for people.
_REFERENCES = re.compile(r"\$\{input:([\w-]+)\}|\$\{env:(\w+)\}|\{env:(\w+)\}|\$\{(\w+)\}|YOUR_TOKEN")


@dataclass(frozen=True, slots=True)
class Snippet:
    """One block of a document, the client whom it is for, and the document's name."""

    client: str
    language: str
    text: str
    page: str


@dataclass(frozen=True, slots=True)
class Local:
    """A server that the client starts."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Remote:
    """A server that the client calls."""

    url: str
    headers: dict[str, str]


def page_snippets() -> Iterator[Snippet]:
    """The blocks of docs/clients.md, by the heading that they stand under."""
    page = (ROOT / "docs" / "clients.md").read_text("utf-8")
    for section in page.split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        for language, text in _blocks(body):
            yield Snippet(heading, language, text, "clients.md")


def readme_snippets() -> Iterator[Snippet]:
    """The blocks of the README, once for each client that is named before a block."""
    readme = (ROOT / "README.md").read_text("utf-8")
    part = readme.partition("<!-- clients: begin")[2].partition("<!-- clients: end -->")[0]
    for named, language, text in re.findall(r"((?:(?!```).)*?)```(\w+)\n(.*?)```", part, re.DOTALL):
        for client in re.findall(r"\*\*([^*]+)\*\*", named):
            yield Snippet(client, language, text, "README.md")


def _blocks(body: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w+)\n(.*?)^```", body, re.DOTALL | re.MULTILINE)


def read_as_its_client(snippet: Snippet, variables: dict[str, str]) -> Local | Remote:
    """What the snippet's client makes of it.

    Args:
        snippet: The block.
        variables: The values that the client finds in its environment, or asks its user for.
    """
    if snippet.language == "toml":
        return _codex(tomllib.loads(snippet.text), variables)
    document: JsonObject = json.loads(snippet.text)
    entry = _one_server(document, {"VS Code": "servers", "Kilo Code": "mcp"}.get(snippet.client, "mcpServers"))
    if snippet.client == "VS Code":
        variables = variables | dict.fromkeys(_asked_for(document), variables["TOKENWARD_TOKEN"])
    return _kilo(entry, variables) if snippet.client == "Kilo Code" else _common(snippet.client, entry, variables)


def _one_server(document: JsonObject, key: str) -> JsonObject:
    servers = _table(document[key])
    assert set(servers) == {"tokenward"}
    return _table(servers["tokenward"])


def _common(client: str, entry: JsonObject, variables: dict[str, str]) -> Local | Remote:
    """Claude's form, which Cursor, VS Code and the older Kilo Code share up to the names of the transports."""
    if "url" in entry:
        transport = {"Cursor": None, "Kilo Code, legacy": "streamable-http"}.get(client, "http")
        assert entry.get("type") == transport
        assert set(entry) <= {"type", "url", "headers"}
        return Remote(str(entry["url"]), _filled(entry["headers"], variables))
    assert entry.get("type", "stdio") == "stdio"
    assert set(entry) <= {"type", "command", "args", "env"}
    return Local([str(entry["command"]), *_words(entry["args"])], _filled(entry.get("env", {}), variables))


def _kilo(entry: JsonObject, variables: dict[str, str]) -> Local | Remote:
    if entry["type"] == "remote":
        assert set(entry) <= {"type", "url", "headers", "oauth", "enabled", "timeout"}
        return Remote(str(entry["url"]), _filled(entry["headers"], variables))
    assert entry["type"] == "local"
    assert set(entry) <= {"type", "command", "environment", "enabled", "timeout"}
    return Local(_words(entry["command"]), _filled(entry.get("environment", {}), variables))


def _codex(document: JsonObject, variables: dict[str, str]) -> Local | Remote:
    entry = _one_server(document, "mcp_servers")
    if "url" in entry:
        assert set(entry) <= {"url", "bearer_token_env_var"}
        return Remote(str(entry["url"]), {"Authorization": f"Bearer {variables[str(entry['bearer_token_env_var'])]}"})
    assert set(entry) <= {"command", "args", "env"}
    return Local([str(entry["command"]), *_words(entry["args"])], _filled(entry.get("env", {}), {}))


def _asked_for(document: JsonObject) -> list[str]:
    """The names of VS Code's inputs; a token is not shown while it is typed."""
    inputs = document.get("inputs", [])
    assert isinstance(inputs, list)
    asked = [_table(one) for one in inputs]
    assert all(one["type"] == "promptString" and one["password"] is True for one in asked)
    return [str(one["id"]) for one in asked]


def _filled(table: JsonValue, variables: dict[str, str]) -> dict[str, str]:
    def value(match: re.Match[str]) -> str:
        return variables[next((name for name in match.groups() if name), "TOKENWARD_TOKEN")]

    return {name: _REFERENCES.sub(value, str(text)) for name, text in _table(table).items()}


def _table(value: JsonValue) -> JsonObject:
    assert isinstance(value, dict)
    return value


def _words(value: JsonValue) -> list[str]:
    assert isinstance(value, list)
    return [str(one) for one in value]
