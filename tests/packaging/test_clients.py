"""What people copy into their clients: each is read as its client reads it, and what it names is started and used."""

import os
import re
import shutil
import sysconfig
from collections.abc import Iterator

import httpx2
import pytest

from tests.deploy.serving import AUTH_EXAMPLE, Server, ask, call, example_token, serving
from tests.packaging.clients import CLIENTS, Local, Remote, Snippet, page_snippets, read_as_its_client, readme_snippets
from tests.packaging.conftest import HANDSHAKE, Ask
from tests.packaging.project import ROOT
from tests.waiting import NET_SECONDS
from tokenward.engine.types import JsonObject

SCRIPTS = sysconfig.get_path("scripts")
ADDRESS = "https://tokenward.example.com"
COUNT: JsonObject = {"text": "hello world", "model": "gpt-4o"}

PAGE = list(page_snippets())
README = list(readme_snippets())
TOKEN = {"TOKENWARD_TOKEN": "a-token"}


def name(snippet: Snippet) -> str:
    return f"{snippet.page}-{snippet.client}"


def local(snippet: Snippet) -> Local | None:
    meant = read_as_its_client(snippet, TOKEN)
    return meant if isinstance(meant, Local) else None


def remote(snippet: Snippet) -> bool:
    return isinstance(read_as_its_client(snippet, TOKEN), Remote)


def test_every_client_has_a_snippet() -> None:
    assert {one.client for one in README} == set(CLIENTS)
    assert {one.client for one in PAGE if local(one)} == set(CLIENTS)
    # Claude Desktop's file is for local servers only.
    assert {one.client for one in PAGE if remote(one)} == set(CLIENTS) - {"Claude Desktop"}


def test_the_readme_and_the_page_mean_the_same() -> None:
    page = {one.client: local(one) for one in PAGE if local(one)}
    assert {one.client: local(one) for one in README} == page


def test_every_block_of_the_page_is_read() -> None:
    text = (ROOT / "docs" / "clients.md").read_text("utf-8")
    assert len(PAGE) == len(re.findall(r"^```\w+$", text, re.MULTILINE))


def test_no_snippet_holds_a_token() -> None:
    for snippet in PAGE:
        meant = read_as_its_client(snippet, TOKEN)
        if isinstance(meant, Remote):
            assert meant == Remote(f"{ADDRESS}/mcp", {"Authorization": "Bearer a-token"})


@pytest.mark.parametrize("snippet", [one for one in PAGE if local(one)], ids=name)
def test_a_local_snippet_starts_a_server_that_counts(
    snippet: Snippet, ask: Ask, clean_environment: dict[str, str]
) -> None:
    meant = local(snippet)
    assert meant is not None
    environment = clean_environment | meant.environment
    environment["PATH"] = f"{SCRIPTS}{os.pathsep}{environment['PATH']}"
    program = shutil.which(meant.command[0], path=SCRIPTS)
    if program is None:
        pytest.skip("tokenward is not installed in this environment")
    result = ask([program, *meant.command[1:]], environment, "tools/call", {"name": "count_tokens", "arguments": COUNT})
    assert not result.get("isError"), result
    assert isinstance(result["structuredContent"], dict)
    assert result["structuredContent"]["tokens"] == 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An HTTP server that only the example's token opens."""
    home = tmp_path_factory.mktemp("home")
    kept = {key: value for key, value in os.environ.items() if "TOKENWARD" not in key}
    environment = kept | {"PYTHONPATH": str(ROOT / "src"), "HOME": str(home), "TOKENWARD_STORE": "memory://"}
    with serving(environment, ["--config", str(AUTH_EXAMPLE)]) as started:
        yield started


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(trust_env=False, timeout=NET_SECONDS) as opened:
        yield opened


@pytest.mark.parametrize("snippet", [one for one in PAGE if remote(one)], ids=name)
def test_a_remote_snippet_reaches_a_server_that_counts(snippet: Snippet, server: Server, client: httpx2.Client) -> None:
    meant = read_as_its_client(snippet, {"TOKENWARD_TOKEN": example_token()})
    assert isinstance(meant, Remote)
    url = meant.url.replace(ADDRESS, server.url)
    client.headers.update(meant.headers)
    handshake = ask(client, url, "initialize", HANDSHAKE)
    assert isinstance(handshake["serverInfo"], dict)
    assert handshake["serverInfo"]["name"] == "tokenward"
    assert call(client, url, "count_tokens", COUNT)["tokens"] == 2


def test_a_remote_snippet_without_its_token_is_refused(server: Server, client: httpx2.Client) -> None:
    assert client.post(f"{server.url}/mcp", json={}).status_code == 401
