"""truncate_history over the protocol: strategies of other packages, the prefix, and answers to what cannot be."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.strategy_packages import Install, installing
from tests.tools.conftest import Connect
from tokenward.engine.history import STRATEGIES, strategy_plugins
from tokenward.engine.types import JsonObject

pytestmark = pytest.mark.anyio

WORDS = "word " * 60
TURNS: list[JsonObject] = [
    {"role": ("user", "assistant")[index % 2], "content": f"{index} {WORDS}"} for index in range(6)
]
MESSAGES: list[JsonObject] = [{"role": "system", "content": "Be brief."}, *TURNS, {"role": "user", "content": "Why?"}]


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    with installing(tmp_path / "site") as installs:
        yield installs


async def test_an_installed_strategy_is_taken_by_its_name(connect: Connect, install: Install) -> None:
    install()
    async with connect() as client:
        (tool,) = [one for one in (await client.client.list_tools()).tools if one.name == "truncate_history"]
        answer = await client.answer(
            "truncate_history", messages=MESSAGES, model="gpt-4o", max_tokens=300, strategy="longest"
        )
    assert tool.input_schema["properties"]["strategy"] == {"type": "string"}
    assert (answer["strategy"], answer["fits"]) == ("longest", True)


async def test_a_broken_strategy_is_refused_in_a_line(connect: Connect, install: Install) -> None:
    install("def longest_first(units, policy): return [7]")
    async with connect() as client:
        refusal = await client.refusal(
            "truncate_history", messages=MESSAGES, model="gpt-4o", max_tokens=300, strategy="longest"
        )
    assert refusal.startswith("strategy: 'longest' of acme_cuts 1.0 gave something that is neither Drop nor Clear;")


async def test_nothing_is_looked_for_before_the_tools_are_listed(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def look(group: str) -> tuple[()]:
        looked.append(group)
        return ()

    strategy_plugins.installed_strategies.cache_clear()
    monkeypatch.setattr(strategy_plugins, "installed_entries", look)
    async with connect() as client:
        assert not looked
        (tool,) = [one for one in (await client.client.list_tools()).tools if one.name == "truncate_history"]
    strategy_plugins.installed_strategies.cache_clear()
    assert tool.input_schema["properties"]["strategy"]["enum"] == list(STRATEGIES)
    assert looked == ["tokenward.strategies"]


async def test_the_prefix_is_in_the_answer(connect: Connect) -> None:
    async with connect() as client:
        cut = await client.answer("truncate_history", messages=MESSAGES, model="gpt-4o", max_tokens=330)
        unpriced = await client.answer("truncate_history", messages=MESSAGES, model="my-own-1", max_tokens=300)
        fits = await client.answer("truncate_history", messages=MESSAGES, model="gpt-4o", max_tokens=3_000)
    prefix = cut["prefix"]
    assert isinstance(prefix, dict)
    assert (prefix["messages"], cut["placeholder"]) == (2, 2)
    # 1.25 dollars per million: a token of input costs 2.50, one from the cache half of it.
    lost = prefix["lost_tokens"]
    assert isinstance(lost, int)
    assert float(str(prefix["lost_cost"])) == pytest.approx(lost * 1.25e-6)
    assert isinstance(unpriced["prefix"], dict)
    assert unpriced["prefix"].get("lost_cost") is None
    assert isinstance(fits["prefix"], dict)
    assert (fits["prefix"]["messages"], fits["prefix"]["lost_tokens"]) == (len(MESSAGES), 0)


async def test_a_budget_below_the_system_prompt_changes_nothing(connect: Connect) -> None:
    async with connect() as client:
        answer = await client.answer(
            "truncate_history",
            messages=MESSAGES,
            system=WORDS,
            model="claude-sonnet-4-5",
            max_tokens=9,
            format="openai",
        )
    assert (answer["fits"], answer["messages"], answer["dropped"]) == (False, MESSAGES, [])


async def test_mixed_formats_are_refused(connect: Connect) -> None:
    mixed = [*MESSAGES, {"role": "model", "parts": [{"text": "Hi"}]}]
    async with connect() as client:
        refusal = await client.refusal("truncate_history", messages=mixed, model="gpt-4o", max_tokens=9)
    assert refusal.startswith("messages[8]: it is written for gemini")
