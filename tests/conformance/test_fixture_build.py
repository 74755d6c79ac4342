"""The fixture build: this application and its own tools, the fixtures beside them, and how its process ends."""

import json
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import anyio
import pytest
from mcp.client import Client
from mcp.client.session import ClientRequestContext
from mcp_types import (
    CallToolResult,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    EmbeddedResource,
    ListRootsResult,
    Root,
    TextContent,
    TextResourceContents,
)
from pydantic import FileUrl

from tests.conformance.events import EventsInMemory
from tests.conformance.served import ROOT, environment
from tests.conformance.server import fixture_server
from tokenward.server.application import build_server
from tokenward.server.settings import Settings

pytestmark = pytest.mark.anyio
ERAS = pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
SETTINGS = Settings(store="memory://")


async def say(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="Paris"), model="m")


async def fill(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Ada", "color": "green", "ok": True, "context": "the sea"})


async def show(context: ClientRequestContext) -> ListRootsResult:
    return ListRootsResult(roots=[Root(uri=FileUrl("file:///a"))])


def client(era: str) -> Client:
    return Client(
        fixture_server(SETTINGS),
        mode=era,
        sampling_callback=say,
        elicitation_callback=fill,
        list_roots_callback=show,
    )


def text_of(result: CallToolResult) -> str:
    block = result.content[0]
    assert isinstance(block, TextContent)
    return block.text


@ERAS
async def test_it_is_the_application_with_more(era: str) -> None:
    async with Client(build_server(SETTINGS), mode=era) as plain:
        own = (await plain.list_tools()).tools
    async with client(era) as fixture:
        listed = (await fixture.list_tools()).tools
        counted = await fixture.call_tool("count_tokens", {"text": "hello world", "model": "gpt-4o"})
    assert listed[: len(own)] == own
    assert len(own) == 9
    assert {tool.name for tool in listed[9:]} >= {"test_simple_text", "json_schema_2020_12_tool"}
    assert counted.structured_content is not None
    assert counted.structured_content["tokens"] == 2


@pytest.mark.parametrize(
    ("tool", "answer"),
    [
        ("elicitation", "Hello, Ada!"),
        ("sampling", "Paris"),
        ("list_roots", "roots: file:///a"),
        ("request_state", "state-ok"),
        ("multiple_inputs", "all answered"),
        ("multi_round", "Ada likes green"),
        ("tampered_state", "state-ok: sealed"),
    ],
)
async def test_answers_that_want_more_input_get_it(tool: str, answer: str) -> None:
    async with client("2026-07-28") as fixture:
        assert text_of(await fixture.call_tool(f"test_input_required_result_{tool}", {})) == answer


@pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")
@pytest.mark.parametrize(
    ("tool", "arguments", "answer"),
    [
        ("test_sampling", {"prompt": "capital?"}, "LLM response: Paris"),
        ("test_elicitation", {"message": "who?"}, "User response: action=accept, content="),
        ("test_elicitation_sep1034_defaults", {}, "User response: action=accept, content="),
        ("test_elicitation_sep1330_enums", {}, "User response: action=accept, content="),
    ],
)
async def test_sessions_can_ask_their_client(tool: str, arguments: dict[str, str], answer: str) -> None:
    async with client("legacy") as fixture:
        assert text_of(await fixture.call_tool(tool, arguments)).startswith(answer)


@ERAS
async def test_prompts_and_resources_are_beside_the_applications_own(era: str) -> None:
    async with client(era) as fixture:
        prompt = await fixture.get_prompt("test_prompt_with_embedded_resource", {"resourceUri": "test://x"})
        text = await fixture.read_resource("test://template/7/data")
    (content,) = text.contents
    assert isinstance(content, TextResourceContents)
    assert json.loads(content.text)["id"] == "7"
    embedded = prompt.messages[0].content
    assert isinstance(embedded, EmbeddedResource)
    assert embedded.resource.uri == "test://x"


async def test_events_are_sent_again_from_where_a_client_left() -> None:
    store = EventsInMemory()
    places = [await store.store_event(stream, None) for stream in ("a", "b", "a")]
    sent: list[object] = []

    async def keep(event: object) -> None:
        sent.append(event)

    assert places == ["0", "1", "2"]
    assert await store.replay_events_after("0", keep) == "a"
    assert sent == []
    assert await store.replay_events_after("3", keep) is None
    assert await store.replay_events_after("x", keep) is None


@contextmanager
def serving(*options: str) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.server", *options],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("era", "number", "options"),
    [
        ("legacy", signal.SIGTERM, ()),
        ("2026-07-28", signal.SIGINT, ()),
        ("legacy", signal.SIGINT, ("--as-shipped",)),
        ("2026-07-28", signal.SIGTERM, ("--as-shipped",)),
    ],
    ids=str,
)
async def test_it_serves_at_its_address_and_ends_when_told(
    era: str, number: signal.Signals, options: tuple[str, ...]
) -> None:
    with serving("--port", "0", *options) as process:
        assert process.stdout is not None
        url = (await anyio.to_thread.run_sync(process.stdout.readline)).strip()
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/mcp")
        async with Client(url, mode=era) as connected:
            assert text_of(await connected.call_tool("test_simple_text", {})).startswith("This is a simple text")
        process.send_signal(number)
        _, said = await anyio.to_thread.run_sync(process.communicate)
    assert (process.returncode, said) == (0, "")


def test_a_port_that_is_taken_is_an_error_and_not_another_port() -> None:
    with serving("--port", "0") as first:
        assert first.stdout is not None
        port = first.stdout.readline().strip().rsplit(":", 1)[1].split("/")[0]
        with serving("--port", port) as second:
            printed, said = second.communicate(timeout=60)
    assert second.returncode == 1
    assert printed == ""
    assert "cannot be listened on" in said


def test_make_hands_over_host_and_port() -> None:
    told = subprocess.run(
        ["make", "--dry-run", "conformance-server", "PORT=1234", "HOST=::1"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "-m tests.conformance.server --host ::1 --port 1234" in told.stdout
