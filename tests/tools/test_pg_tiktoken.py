"""``count_tokens`` with the backend pg_tiktoken, on a database that counts as one with the extension does."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp.client import Client

from tests.postgres import Cluster
from tests.storage.plpython import create_functions, functions_folder
from tests.tools.conftest import ToolClient
from tokenward.server.strict import StrictServer
from tokenward.service import Tokenward
from tokenward.tools.definition import ToolContext
from tokenward.tools.registry import load_tools

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient_pg_tiktoken")]

IN_PROCESS = "Counted in process: "


@pytest.fixture(scope="module")
def counting_url(postgres_cluster: Cluster) -> Iterator[str]:
    with functions_folder(postgres_cluster) as folder, postgres_cluster.schema() as url:
        create_functions(url, folder)
        yield url


@asynccontextmanager
async def connected(url: str, root: Path) -> AsyncGenerator[tuple[ToolClient, Tokenward]]:
    async with Tokenward.open(url, backend="pg_tiktoken") as service:

        @asynccontextmanager
        async def open_context() -> AsyncGenerator[ToolContext]:
            yield ToolContext(service=service, roots=(root,))

        server = StrictServer("test", version="1", instructions="", load_tools=load_tools, open_context=open_context)
        async with Client(server) as client:
            yield ToolClient(client), service


async def test_the_tool_counts_in_the_database(counting_url: str, tmp_path: Path) -> None:
    texts = ["Hello world", "", "Grüße aus Köln", "x = 1\n" * 1_000]
    async with connected(counting_url, tmp_path) as (client, service), Tokenward.open("memory://") as other:
        one = await client.answer("count_tokens", text=texts[0], model="gpt-4")
        many = await client.answer("count_tokens", texts=texts, model="cl100k_base")
        metrics = service.counter.get_performance_metrics()
        expected = [other.counter.count_tokens(text, "gpt-4").token_count for text in texts]
    assert (one["tokens"], one["method"], one["exact"], one["warnings"]) == (2, "pg_tiktoken", True, None)
    assert (one["items"], one["context_window"]) == (None, 8192)
    assert (many["tokens"], many["method"], many["warnings"]) == (sum(expected), "pg_tiktoken", None)
    assert (many["lower"], many["upper"]) == (sum(expected), sum(expected))
    assert many["items"] == [{"index": index, "path": None, "tokens": each} for index, each in enumerate(expected)]
    assert metrics["pg_tiktoken_calls"] == 5
    assert metrics["tiktoken_calls"] == 0


async def test_what_the_database_cannot_count_is_counted_here_and_said_once(counting_url: str, tmp_path: Path) -> None:
    async with connected(counting_url, tmp_path) as (client, _):
        newer = await client.answer("count_tokens", texts=["Hello", "world"], model="gpt-4o")
        some = await client.answer("count_tokens", texts=["Hello", "<|endoftext|>", "<|endoftext|>"], model="gpt-4")
        other = await client.answer("count_tokens", text="Hello world", model="claude-sonnet-4-5")
    assert (newer["method"], newer["tokens"], newer["exact"]) == ("tiktoken", 2, True)
    assert newer["warnings"] == [IN_PROCESS + "pg_tiktoken does not offer o200k_base."]
    assert (some["method"], some["exact"]) == ("pg_tiktoken", True)
    assert some["warnings"] == [IN_PROCESS + "pg_tiktoken would count what looks like a special token as one token."]
    assert other["method"] in {"estimate", "ctok"}
    assert isinstance(other["warnings"], list)
    assert other["warnings"][-1] == IN_PROCESS + "pg_tiktoken has no tokenizer of this model."


async def test_files_are_counted_where_they_are_read(counting_url: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Hello world", encoding="utf-8")
    async with connected(counting_url, tmp_path) as (client, _):
        answer = await client.answer("count_tokens", paths=["a.txt"], model="gpt-4")
    assert (answer["tokens"], answer["method"], answer["warnings"]) == (2, "tiktoken", None)


async def test_a_database_without_the_extension_is_no_obstacle(postgres_url: str, tmp_path: Path) -> None:
    async with connected(postgres_url, tmp_path) as (client, _):
        answer = await client.answer("count_tokens", text="Hello world", model="gpt-4")
    assert (answer["tokens"], answer["method"]) == (2, "tiktoken")
    assert answer["warnings"] == [IN_PROCESS + "the database has no function tiktoken_count(text, text)."]
