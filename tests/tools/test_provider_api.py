"""``count_tokens`` and ``count_messages`` with the backend provider_api, on a double of the providers' APIs."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp.client import Client

from tests.providers.double import FRAME, KEYS, PER_TOOL, VARIABLES, ProviderDouble, always
from tests.tools.conftest import ToolClient
from tokenward.server.application import open_context
from tokenward.server.settings import load_settings
from tokenward.server.strict import StrictServer
from tokenward.tools.definition import ToolContext
from tokenward.tools.registry import load_tools

pytestmark = pytest.mark.anyio

IN_PROCESS = "Counted in process: "
MODEL = "claude-haiku-4-5"


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Generator[ProviderDouble]:
    for provider, variable in VARIABLES.items():
        monkeypatch.setenv(variable, KEYS[provider])
    with ProviderDouble().running() as double:
        yield double


@asynccontextmanager
async def connected(double: ProviderDouble, root: Path) -> AsyncGenerator[ToolClient]:
    """A client of a server whose settings say to ask the double."""
    file = root / "settings.toml"
    urls = ", ".join(f'{provider} = "{double.url}"' for provider in VARIABLES)
    asked = f'backend = "provider_api"\nprovider_timeout_seconds = 60\nprovider_urls = {{ {urls} }}\n'
    file.write_text(f'store = "memory://"\n{asked}', encoding="utf-8")
    settings = load_settings(file, roots=(root,))

    @asynccontextmanager
    async def opened() -> AsyncGenerator[ToolContext]:
        async with open_context(settings) as context:
            yield context

    server = StrictServer("test", version="1", instructions="", load_tools=load_tools, open_context=opened)
    async with Client(server) as client:
        yield ToolClient(client)


async def test_texts_are_counted_by_the_provider(double: ProviderDouble, tmp_path: Path) -> None:
    async with connected(double, tmp_path) as client:
        one = await client.answer("count_tokens", text="one two three", model=MODEL)
        many = await client.answer("count_tokens", texts=["one", "one two"], model="gpt-4o")
    assert (one["tokens"], one["lower"], one["upper"]) == (3, 1, 5)
    assert (one["method"], one["exact"], one["warnings"], one["items"]) == ("provider_api", False, None, None)
    assert (many["tokens"], many["method"], many["exact"]) == (3, "provider_api", False)
    assert many["items"] == [{"index": 0, "path": None, "tokens": 1}, {"index": 1, "path": None, "tokens": 2}]


async def test_a_request_is_counted_by_the_provider(double: ProviderDouble, tmp_path: Path) -> None:
    tool = {"name": "find", "input_schema": {"type": "object"}}
    async with connected(double, tmp_path) as client:
        answer = await client.answer(
            "count_messages",
            messages=[{"role": "user", "content": "one two"}],
            system="be good",
            tools=[tool],
            model=MODEL,
            max_output_tokens=100,
            detail="full",
        )
    tokens = FRAME + 4 + PER_TOOL
    assert (answer["tokens"], answer["lower"], answer["upper"]) == (tokens, tokens, tokens)
    assert (answer["exact"], answer["method"], answer["format"]) == (True, "provider_api", "anthropic")
    assert answer["total_with_output"] == tokens + 100
    parts = answer["breakdown"]
    assert isinstance(parts, dict)
    assert sum(part for part in parts.values() if isinstance(part, int)) == tokens
    assert double.asked[0].body["tools"] == [tool]


async def test_what_the_provider_does_not_count_is_said_once(double: ProviderDouble, tmp_path: Path) -> None:
    double.answer = always(503)
    async with connected(double, tmp_path) as client:
        texts = await client.answer("count_tokens", texts=["one", "two"], model="gpt-4o")
        request = await client.answer("count_messages", messages=[{"role": "user", "content": "x"}], model="gpt-4o")
        other = await client.answer("count_tokens", text="one", model="mistral-large")
    assert (texts["method"], texts["exact"], texts["tokens"]) == ("tiktoken", True, 2)
    assert texts["warnings"] == [IN_PROCESS + "OpenAI asks to wait (HTTP 503)."]
    assert (request["method"], request["exact"]) == ("tiktoken", True)
    assert request["warnings"] == [IN_PROCESS + "OpenAI asks to wait (HTTP 503)."]
    assert isinstance(other["warnings"], list)
    assert other["warnings"][-1] == IN_PROCESS + "no provider's counting API has this model."


async def test_where_some_texts_were_refused_the_provider_is_still_named(
    double: ProviderDouble, tmp_path: Path
) -> None:
    async with connected(double, tmp_path) as client:
        answer = await client.answer("count_tokens", texts=["", "one"], model="gpt-4o")
    assert (answer["method"], answer["exact"], answer["tokens"]) == ("provider_api", False, 1)


async def test_files_and_histories_stay_here(double: ProviderDouble, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Hello world", encoding="utf-8")
    messages = [{"role": "user", "content": "Hello world"}]
    async with connected(double, tmp_path) as client:
        files = await client.answer("count_tokens", paths=["a.txt"], model="gpt-4o")
        await client.answer("truncate_history", messages=messages, model="gpt-4o", max_tokens=1_000)
        await client.answer("check_quota", messages=messages, model="gpt-4o")
        await client.answer("estimate_cost", text="Hello world", model="gpt-4o")
    assert (files["tokens"], files["method"], files["warnings"]) == (2, "tiktoken", None)
    assert double.asked == []
