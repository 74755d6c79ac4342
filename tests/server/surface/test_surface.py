"""Resources, completions and the prompt, as clients of both protocol eras see them."""

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError
from mcp.client import Client
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    Completion,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)

from tests.server.odd_server import SECRET, odd_server
from tokenward.engine.catalog import Catalog
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.errors import StoreUnavailable
from tokenward.engine.limits import TokenLimit
from tokenward.engine.types import JsonObject
from tokenward.engine.usage import TokenUsage
from tokenward.requests import RecordRequest
from tokenward.server.application import build_server
from tokenward.server.settings import load_settings
from tokenward.server.strict import StrictServer
from tokenward.server.surface.prompts import PROMPT
from tokenward.server.surface.surface import Surface
from tokenward.server.surface.uris import MODEL, MODELS, QUOTA, REPORT
from tokenward.service import Tokenward
from tokenward.tools.definition import ToolContext
from tokenward.tools.principal import Principal, Scope
from tokenward.tools.registry import CORE, NAMES

pytestmark = pytest.mark.anyio
ERAS = pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
MODERN = "2026-07-28"
ODD_NAME = "Zoë/Ops & co"
GROUPS = {"red": 500, "blue": 600, "green": 700}


@asynccontextmanager
async def ledger() -> AsyncGenerator[ToolContext]:
    limit = TokenLimit(subject="user:limited", metric="tokens", window="day", limit=1_000)
    limits = [limit, *(TokenLimit(f"group:{name}", "tokens", "day", size) for name, size in GROUPS.items())]
    async with Tokenward.open(
        "memory://", default_user="alice", limits=limits, aliases={"Our-Chat": "gpt-4o"}
    ) as service:
        for user in ("alice", "bob", ODD_NAME):
            await service.record_usage(RecordRequest(model="gpt-4o", usage=TokenUsage(100, 10), user=user))
        yield ToolContext(service=service)


def server_for(
    *scopes: Scope, subject: str = "bob", tools: tuple[str, ...] = NAMES, groups: tuple[str, ...] = ()
) -> StrictServer:
    """A server for nobody in particular, or for somebody with a token."""
    server = StrictServer(
        "s", version="1", instructions="", load_tools=tuple, open_context=ledger, surface=Surface(tools)
    )
    if scopes:
        principal = Principal(subject, frozenset(scopes), frozenset(groups))
        server.principal_of = lambda _: principal
    return server


async def read(server: StrictServer, uri: str, era: str = MODERN) -> JsonObject:
    async with Client(server, mode=era) as client:
        result = await client.read_resource(uri)
    (contents,) = result.contents
    assert isinstance(contents, TextResourceContents)
    assert (contents.uri, contents.mime_type) == (uri, "application/json")
    document: JsonObject = json.loads(contents.text)
    assert contents.text == json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return document


async def refused(server: StrictServer, uri: str, era: str = MODERN) -> MCPError:
    async with Client(server, mode=era) as client:
        try:
            await client.read_resource(uri)
        except MCPError as error:
            return error
    pytest.fail("it was read")


async def completed(server: StrictServer, reference: str, argument: str, value: str, era: str = MODERN) -> Completion:
    is_prompt = "://" not in reference
    ref = PromptReference(name=reference) if is_prompt else ResourceTemplateReference(uri=reference)
    async with Client(server, mode=era) as client:
        return (await client.complete(ref, {"name": argument, "value": value})).completion


@ERAS
async def test_what_is_offered_is_listed(era: str) -> None:
    async with Client(server_for(), mode=era) as client:
        resources = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        prompts = (await client.list_prompts()).prompts
    assert [one.uri for one in resources] == ["tokenward://models"]
    assert [one.uri_template for one in templates] == [MODEL, QUOTA, REPORT]
    assert [one.mime_type for one in resources] + [one.mime_type for one in templates] == 4 * ["application/json"]
    assert all(one.description for one in resources)
    assert all(one.description for one in templates)
    assert all(one.description for one in prompts)
    assert all(one.title for one in (*resources, *templates, *prompts))
    assert [one.name for one in prompts] == ["plan_within_budget"]
    arguments = {one.name: one.required for one in prompts[0].arguments or ()}
    assert arguments == {"task": True, "budget_usd": True, "model": False}


async def test_the_real_server_offers_it_and_says_so() -> None:
    async with Client(build_server(load_settings(store="memory://")), mode="legacy") as client:
        capabilities = client.server_capabilities
        assert capabilities is not None
        assert capabilities.completions is not None
        assert capabilities.resources is not None
        assert capabilities.prompts is not None
        assert len((await client.list_resource_templates()).resource_templates) == 3


async def test_a_server_without_a_surface_offers_nothing() -> None:
    async with Client(odd_server(), mode=MODERN) as client:
        assert (await client.list_resources()).resources == []
        assert (await client.list_prompts()).prompts == []
        with pytest.raises(MCPError, match="Unknown resource"):
            await client.read_resource("tokenward://models")


async def test_what_is_added_in_the_sdks_way_stands_beside_it() -> None:
    server = server_for()

    @server.resource("other://thing")
    def thing() -> str:  # pyright: ignore[reportUnusedFunction]
        return "a thing"

    @server.prompt()
    def greet() -> str:  # pyright: ignore[reportUnusedFunction]
        return "Hello"

    async with Client(server, mode=MODERN) as client:
        assert [one.uri for one in (await client.list_resources()).resources] == ["tokenward://models", "other://thing"]
        assert [one.name for one in (await client.list_prompts()).prompts] == ["plan_within_budget", "greet"]
        (contents,) = (await client.read_resource("other://thing")).contents
        assert isinstance(contents, TextResourceContents)
        assert contents.text == "a thing"
        (message,) = (await client.get_prompt("greet")).messages
        assert isinstance(message.content, TextContent)
        assert message.content.text == "Hello"


async def test_lists_may_be_cached_and_the_ledger_may_not() -> None:
    async with Client(server_for(), mode=MODERN) as client:
        for listed in (
            await client.list_resources(),
            await client.list_resource_templates(),
            await client.list_prompts(),
        ):
            assert (listed.ttl_ms, listed.cache_scope) == (3_600_000, "public")
        for name, ttl_ms in {"models": 600_000, "models/gpt-4o": 600_000, "quota/bob": 0, "report/7d": 0}.items():
            result = await client.read_resource(f"tokenward://{name}")
            assert (result.ttl_ms, result.cache_scope) == (ttl_ms, "private")


@ERAS
async def test_models_are_listed_in_a_bearable_size(era: str) -> None:
    async with Client(server_for(), mode=era) as client:
        (contents,) = (await client.read_resource("tokenward://models")).contents
    assert isinstance(contents, TextResourceContents)
    assert TokenCounter().count_tokens(contents.text, "o200k_base").token_count <= 5_000
    listed: dict[str, Any] = json.loads(contents.text)
    groups = {name: (group, facts) for group in listed["groups"] for name, facts in group["models"].items()}
    group, facts = groups["gpt-4o"]
    assert (group["provider"], group["encoding"], group["method"], group["exact"]) == (
        "openai",
        "o200k_base",
        "tiktoken",
        True,
    )
    assert dict(zip(listed["columns"], facts, strict=True)) == {
        "context_window": 128_000,
        "input_usd_per_million": "2.50",
        "output_usd_per_million": "10.00",
    }
    assert "gpt-4o-2024-08-06" not in groups
    assert "gpt-4o-2024-05-13" in groups  # it has another price
    assert listed["omitted"] + len(groups) == len(Catalog().models())
    assert listed["price_source"]
    assert listed["price_date"]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("gpt-4o", "gpt-4o"),
        ("openrouter/anthropic/claude-sonnet-4.5", "openrouter/anthropic/claude-sonnet-4.5"),
        ("openrouter%2Fanthropic%2Fclaude-sonnet-4.5", "openrouter/anthropic/claude-sonnet-4.5"),
        ("our-chat", "our-chat"),
        ("nothing-like-it", "nothing-like-it"),
    ],
)
async def test_one_model_in_any_spelling(written: str, name: str) -> None:
    found = await read(server_for(), f"tokenward://models/{written}")
    assert found["model"] == name
    assert found["known"] == (name != "nothing-like-it")
    assert ("usd_per_million" in found) == (name != "nothing-like-it")
    assert ("warnings" in found) == (name == "nothing-like-it")


@ERAS
@pytest.mark.parametrize("user", ["alice", "bob", "limited", ODD_NAME])
async def test_a_users_quota(user: str, era: str) -> None:
    encoded = user.replace("ë", "%C3%AB").replace(" ", "%20").replace("&", "%26").replace("/", "%2F")
    found = await read(server_for(), f"tokenward://quota/{encoded}", era)
    limits = found["limits"]
    assert found["user"] == user
    assert isinstance(limits, list)
    assert len(limits) == (user == "limited")
    for limit in limits:
        assert isinstance(limit, dict)
        assert (limit["limit"], limit["used"], limit["remaining"]) == (1_000, 0, 1_000)


@ERAS
async def test_a_report(era: str) -> None:
    found = await read(server_for(), "tokenward://report/7d", era)
    totals, rows = found["totals"], found["rows"]
    assert isinstance(totals, dict)
    assert isinstance(rows, list)
    assert totals["total_tokens"] == 330
    assert len(rows) == 3


@ERAS
@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("tokenward://quota/nobody", "user: nothing is known of 'nobody': no usage and no limit of their own."),
        ("tokenward://quota/%0A", "user: '\\n' is not a name; give 1 to 200 printable characters."),
        ("tokenward://quota/%FF", "Unknown resource: tokenward://quota/%FF"),
        ("tokenward://quota/", "Unknown resource: tokenward://quota/"),
        (
            "tokenward://report/7x",
            "period: '7x' is not a period; give hours, days or weeks ('24h', '7d', '12w'), today",
        ),
        ("tokenward://models/%00", "model: '\\x00' holds control characters; give a plain name."),
        ("tokenward://models/9_base", "model: no encoding is called '9_base'."),
        ("tokenward://secrets", "Unknown resource: tokenward://secrets"),
        ("tokenward://", "Unknown resource: tokenward://"),
    ],
)
async def test_what_is_not_there_is_said_shortly(uri: str, problem: str, era: str) -> None:
    error = await refused(server_for(), uri, era)
    assert error.message.startswith(problem)
    assert len(error.message) < 300
    assert error.code == INVALID_PARAMS
    assert error.data == {"uri": uri}


async def test_what_fails_inside_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def broken() -> AsyncGenerator[ToolContext]:
        raise RuntimeError(SECRET)
        yield

    @asynccontextmanager
    async def unreachable() -> AsyncGenerator[ToolContext]:
        raise StoreUnavailable("The ledger cannot be reached.")
        yield

    for open_context, said in (
        (broken, "Internal error in the resource; see the server's log."),
        (unreachable, "The ledger cannot be reached."),
    ):
        server = StrictServer(
            "s", version="1", instructions="", load_tools=tuple, open_context=open_context, surface=Surface(NAMES)
        )
        error = await refused(server, "tokenward://quota/bob")
        assert (error.code, error.message) == (INTERNAL_ERROR, said)
    assert "Internal error in resource" in caplog.text
    assert SECRET not in caplog.text


async def test_somebody_with_a_token_reads_their_own_only() -> None:
    assert (await read(server_for("use"), "tokenward://quota/bob"))["user"] == "bob"
    assert (await read(server_for("use", subject="new"), "tokenward://quota/new"))["limits"] == []
    assert "models" in str(await read(server_for("use"), "tokenward://models"))
    for uri in ("tokenward://quota/alice", "tokenward://quota/nobody"):
        assert (await refused(server_for("use", "report"), uri)).message.startswith("Forbidden: naming another user")
    assert "'report'" in (await refused(server_for("use"), "tokenward://report/7d")).message
    assert "'use'" in (await refused(server_for("report"), "tokenward://quota/bob")).message
    assert "'use'" in (await refused(server_for("report"), "tokenward://models")).message
    own = (await read(server_for("report"), "tokenward://report/7d"))["totals"]
    every = (await read(server_for("admin"), "tokenward://report/7d"))["totals"]
    assert isinstance(own, dict)
    assert isinstance(every, dict)
    assert (own["total_tokens"], every["total_tokens"]) == (110, 330)
    assert (await read(server_for("admin"), "tokenward://quota/alice"))["user"] == "alice"


async def test_who_is_in_several_groups_sees_the_limits_of_each() -> None:
    def seen(quota: JsonObject) -> list[tuple[object, ...]]:
        assert isinstance(quota["limits"], list)
        rows = [one for one in quota["limits"] if isinstance(one, dict)]
        return [(row["scope"], row["limit"], row.get("group")) for row in rows]

    several = await read(server_for("use", subject="limited", groups=("red", "blue")), "tokenward://quota/limited")
    assert sorted(seen(several)) == [("group", 500, "red"), ("group", 600, "blue"), ("user", 1_000, None)]
    one = await read(server_for("use", subject="limited", groups=("red",)), "tokenward://quota/limited")
    assert sorted(seen(one)) == [("group", 500, None), ("user", 1_000, None)]


@ERAS
async def test_models_are_completed_by_their_beginning(era: str) -> None:
    for reference in (MODEL, "plan_within_budget"):
        found = await completed(server_for(), reference, "model", "GPT-4o", era)
        assert found.values[0] == "gpt-4o"
        assert all(name.startswith("gpt-4o") for name in found.values)
        assert found.total == len(found.values)
        assert found.has_more is False
    everything = await completed(server_for(), MODEL, "model", "", era)
    assert len(everything.values) == 100
    assert everything.total is not None
    assert everything.total > 353
    assert everything.has_more is True
    assert (await completed(server_for(), MODEL, "model", "our-", era)).values == ["our-chat"]
    assert (await completed(server_for(), MODEL, "model", "o200k", era)).values == ["o200k_base", "o200k_harmony"]
    assert (await completed(server_for(), MODEL, "model", "no such", era)).values == []


async def test_users_are_completed_as_far_as_the_caller_may_see_them() -> None:
    assert (await completed(server_for(), QUOTA, "user", "")).values == sorted(["alice", "bob", "limited", ODD_NAME])
    assert (await completed(server_for(), QUOTA, "user", "B")).values == ["bob"]
    assert (await completed(server_for("use"), QUOTA, "user", "")).values == ["bob"]
    assert (await completed(server_for("use", "report"), QUOTA, "user", "al")).values == []
    assert (await completed(server_for("admin"), QUOTA, "user", "al")).values == ["alice"]


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("", ["24h", "7d", "30d", "12w", "today", "month"]),
        ("7", ["7d", "7h", "7w"]),
        ("45", ["45h", "45d", "45w"]),
        ("45d", ["45d"]),
        ("to", ["today"]),
        ("0", []),
        ("x", []),
    ],
)
async def test_periods_are_completed(written: str, values: list[str]) -> None:
    assert (await completed(server_for(), REPORT, "period", written)).values == values


@pytest.mark.parametrize(
    ("reference", "argument"),
    [(MODEL, "user"), ("tokenward://other/{user}", "user"), ("plan_within_budget", "task"), ("other", "model")],
)
async def test_nothing_else_is_completed(reference: str, argument: str) -> None:
    found = await completed(server_for(), reference, argument, "a")
    assert (found.values, found.total) == ([], 0)


async def prompt(arguments: dict[str, str], tools: tuple[str, ...] = NAMES, era: str = MODERN) -> str:
    async with Client(server_for(tools=tools), mode=era) as client:
        (message,) = (await client.get_prompt("plan_within_budget", arguments)).messages
    assert message.role == "user"
    assert isinstance(message.content, TextContent)
    return message.content.text


@ERAS
async def test_the_prompt_teaches_the_way(era: str) -> None:
    text = await prompt({"task": "Translate {the} book.", "budget_usd": "$2.5"}, era=era)
    assert text.startswith(
        "Do this task and spend at most 2.50 USD on it.\n\nTask:\nTranslate {the} book.\n\nHow:\n1. "
    )
    places = [text.index(tool) for tool in ("count_tokens", "estimate_cost", "check_quota with", "record_usage with")]
    assert places == sorted(places)
    assert "reserve=true" in text
    assert TokenCounter().count_tokens(text, "o200k_base").token_count < 350
    assert "Do this task on gpt-5 and" in await prompt({"task": "x", "budget_usd": "1", "model": "gpt-5"}, era=era)


async def test_the_prompt_names_only_what_is_served() -> None:
    served = ("check_quota", "record_usage")
    text = await prompt({"task": "x", "budget_usd": "1"}, tools=served)
    assert [name for name in NAMES if name in text] == list(served)
    async with Client(server_for(tools=("count_tokens",)), mode=MODERN) as client:
        assert (await client.list_prompts()).prompts == []
        with pytest.raises(MCPError):
            await client.get_prompt("plan_within_budget", {"task": "x", "budget_usd": "1"})


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "task: say what is to be done"),
        ({"task": " ", "budget_usd": "1"}, "task: say what is to be done"),
        ({"task": "x" * 20_001, "budget_usd": "1"}, "task: say what is to be done, in 1 to 20000 characters."),
        ({"task": "x"}, "budget_usd: '' is no budget; give USD as a decimal number, such as 2.50."),
        ({"task": "x", "budget_usd": "0"}, "budget_usd: '0' is no budget"),
        ({"task": "x", "budget_usd": "-1"}, "budget_usd: '-1' is no budget"),
        ({"task": "x", "budget_usd": "much"}, "budget_usd: 'much' is no budget"),
        ({"task": "x", "budget_usd": "1", "model": "a\nb"}, "model: give a name"),
        ({"task": "x", "budget_usd": "1", "modle": "x"}, "modle: is no argument. Did you mean 'model'?"),
    ],
)
async def test_wrong_arguments_of_the_prompt_are_named(arguments: dict[str, str], problem: str) -> None:
    async with Client(server_for(), mode=MODERN) as client:
        with pytest.raises(MCPError) as caught:
            await client.get_prompt("plan_within_budget", arguments)
    assert caught.value.code == INVALID_PARAMS
    assert caught.value.message.startswith(problem)


@ERAS
@pytest.mark.parametrize("name", ["nothing", "x" * 3_000])
async def test_an_unknown_prompt_is_the_callers_mistake(name: str, era: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Client(server_for(), mode=era) as client:
        with pytest.raises(MCPError) as caught:
            await client.get_prompt(name)
    assert caught.value.code == INVALID_PARAMS
    assert caught.value.message.startswith("Unknown prompt '")
    assert len(caught.value.message) < 100
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_the_page_names_what_there_is() -> None:
    page = (Path(__file__).parents[3] / "docs" / "tools.md").read_text("utf-8")
    for uri in (MODELS, MODEL, QUOTA, REPORT):
        assert f"| `{uri}` |" in page
    assert f"`plan_within_budget({', '.join(one.name for one in PROMPT.arguments or ())}?)`" in page
    assert ", ".join(f"`{name}`" for name in CORE) in page
