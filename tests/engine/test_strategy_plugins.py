"""Strategies of other packages: found by name when one is asked for, and never able to break a history."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.histories import FORMATS, counter, histories
from tests.engine.oracle import ORACLES
from tests.strategy_packages import GOOD, Install, installing
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.errors import InvalidInput
from tokenward.engine.history import Clear, Drop, Policy, TokenOptimizer, UnitView, restore, strategy_plugins
from tokenward.engine.history.strategies import Step
from tokenward.engine.history.strategy_plugins import InstalledStrategy, installed_strategies
from tokenward.engine.messages.view import Format
from tokenward.engine.types import JsonObject
from tokenward.tools.truncate_history import TOOL

_YIELD: Final = "            yield Drop(unit.position)"

BROKEN: Final = {
    "import raises": ("1 / 0", "raised ZeroDivisionError when it was imported"),
    "import exits": ("raise SystemExit(1)", "tried to end the program when it was imported"),
    "nothing to import": ("", "raised AttributeError when it was imported"),
    "raises": (GOOD.replace(_YIELD, "            raise KeyError(unit)"), "raised KeyError when it was asked"),
    "exits": (GOOD.replace(_YIELD, "            raise SystemExit(1)"), "tried to end the program when it was asked"),
    "no list": ("def longest_first(units, policy): return 7", "raised TypeError when it was asked"),
    "nothing": ("def longest_first(units, policy): return None", "raised TypeError when it was asked"),
    "takes nothing": ("def longest_first(): return []", "raised TypeError when it was asked"),
    "numbers": (GOOD.replace("yield Drop(unit.position)", "yield unit.position"), "neither Drop nor Clear"),
    "no position": (GOOD.replace("Drop(unit.position)", "Drop('0')"), "neither Drop nor Clear"),
    "true": (GOOD.replace("Drop(unit.position)", "Drop(True)"), "neither Drop nor Clear"),
    "one of its own": (
        GOOD.replace("def longest", "class Mine(Drop): pass\n\ndef longest").replace("yield Drop", "yield Mine"),
        "neither Drop nor Clear",
    ),
    "not there": (GOOD.replace("Drop(unit.position)", "Drop(10_000)"), "a unit that is not there"),
    "negative": (GOOD.replace("Drop(unit.position)", "Drop(-1)"), "a unit that is not there"),
    "what must be kept": (GOOD.replace("if unit.free", "if not unit.free"), "a unit that must be kept"),
    "twice": (GOOD.replace(_YIELD, f"{_YIELD}\n{_YIELD}"), "a unit twice"),
    "endless": (GOOD.replace(_YIELD, f"            while True:\n    {_YIELD}"), "a unit twice"),
    "nothing to clear": (
        GOOD.replace("Drop, ", "Clear, Drop, ").replace("Drop(unit.position)", "Clear(0)"),
        "without results",
    ),
}
"""Plug-ins that break each part of the contract, and what is said of each."""


def chat(turns: int) -> list[JsonObject]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": f"m{i} " + "word " * (10 + i * 7 % 20)} for i in range(turns)]


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    with installing(tmp_path / "site") as installs:
        yield installs


def test_an_installed_strategy_cuts(install: Install) -> None:
    install()
    optimizer = TokenOptimizer(counter())
    messages = chat(9)
    result = optimizer.truncate_history(messages, 200, "gpt-4o", strategy="longest", placeholder=False)
    assert (result.fits, result.strategy) == (True, "longest")
    sizes = [row.tokens for row in count_messages(messages, "gpt-4o", counter=counter()).messages[:-1]]
    by_size = sorted(range(8), key=lambda index: -sizes[index])
    assert set(result.dropped) == set(by_size[: len(result.dropped)])
    assert restore(result) == messages


def test_nothing_is_looked_for_before_a_strategy_that_is_not_built_in(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()

    def look(group: str) -> None:
        pytest.fail(f"{group} was looked for")

    monkeypatch.setattr(strategy_plugins, "installed_entries", look)
    TokenOptimizer(counter()).truncate_history(chat(9), 200, "gpt-4o", strategy="fifo")
    assert "acme_cuts" not in sys.modules


def test_they_can_be_switched_off(install: Install) -> None:
    install()
    with pytest.raises(InvalidInput, match="is not one of smart"):
        TokenOptimizer(counter(), plugins=False).truncate_history(chat(9), 200, "gpt-4o", strategy="longest")


def test_an_unknown_name_is_answered_with_all_that_there_are(install: Install) -> None:
    install()
    with pytest.raises(InvalidInput) as caught:
        TokenOptimizer(counter()).truncate_history(chat(9), 200, "gpt-4o", strategy="longst")
    assert "Did you mean 'longest'?" in str(caught.value)
    assert "not one of smart, fifo, lifo, middle, tool_results, longest." in str(caught.value)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_strategy_is_reported_and_changes_nothing(kind: str, install: Install) -> None:
    source, said = BROKEN[kind]
    install(source)
    messages = chat(9)
    before = json.dumps(messages)
    with pytest.raises(InvalidInput) as caught:
        TokenOptimizer(counter()).truncate_history(messages, 200, "gpt-4o", strategy="longest")
    assert caught.value.field == "strategy"
    assert said in str(caught.value)
    assert "'longest' of acme_cuts 1.0" in str(caught.value)
    assert "word" not in str(caught.value)
    assert json.dumps(messages) == before
    (strategy,) = installed_strategies()
    assert said in (strategy.examine() or "")


def test_a_good_strategy_is_found_good(install: Install) -> None:
    install()
    (strategy,) = installed_strategies()
    assert (strategy.name, strategy.distribution, strategy.examine()) == ("longest", "acme_cuts 1.0", None)


def test_no_package_can_take_the_place_of_a_built_in_strategy(install: Install) -> None:
    install("1 / 0", "smart")
    assert TokenOptimizer(counter()).truncate_history(chat(9), 200, "gpt-4o", strategy="smart").fits
    (strategy,) = installed_strategies()
    assert "built-in" in (strategy.examine() or "")


def test_what_a_strategy_is_shown() -> None:
    call: JsonObject = {"id": "a", "type": "function", "function": {"name": "grep", "arguments": "{}"}}
    messages: list[JsonObject] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Go " * 50},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "found"},
        {"role": "user", "content": "Now?"},
    ]
    seen: list[tuple[UnitView, ...]] = []

    def look(units: tuple[UnitView, ...], policy: Policy) -> list[Step]:
        seen.append(units)
        assert (policy.strategy, policy.keep_last, policy.max_tokens) == ("mine", 1, 60)
        return [Clear(3), Drop(1), Drop(0)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategy_plugins, "installed_strategies", lambda: (_installed(look),))
        result = TokenOptimizer(counter()).truncate_history(messages, 60, "gpt-4o", strategy="mine")
    (units,) = seen
    assert [[message.index for message in unit.messages] for unit in units] == [[1], [2, 3], [4]]
    assert [unit.free for unit in units] == [True, True, False]
    assert units[1].messages[0].tools == ("grep",)
    assert (units[1].messages[1].text, units[1].messages[1].clearable) == ("found", True)
    assert (result.dropped, result.cleared) == ((1, 2, 3), ())


def _installed(function: Callable[..., object], name: str = "mine") -> InstalledStrategy:
    class Entry:
        """As much of an entry point as is used."""

        def __init__(self) -> None:
            self.name = name

        def load(self) -> Callable[..., object]:
            return function

    return InstalledStrategy(Entry(), "mine 1.0")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_order_of_steps_makes_an_invalid_or_too_large_result(format_: Format, data: st.DataObject) -> None:
    history = data.draw(histories(format_))
    total = count_messages(
        history.messages,
        history.model,
        counter=counter(),
        tools=history.tools,
        system=history.system,
        format=format_,
    ).tokens
    budget = data.draw(st.integers(1, total))

    def anything(units: tuple[UnitView, ...], _policy: Policy) -> list[Step]:
        steps: list[Step] = []
        for unit in data.draw(st.permutations([unit for unit in units if unit.free])):
            steps += [Clear(one.index) for one in unit.messages if one.clearable and data.draw(st.booleans())]
            steps += [Drop(unit.position)] if data.draw(st.booleans()) else []
        return steps

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategy_plugins, "installed_strategies", lambda: (_installed(anything),))
        result = TokenOptimizer(counter()).truncate_history(
            history.messages,
            budget,
            history.model,
            strategy="mine",
            format=format_,
            tools=history.tools,
            system=history.system,
            keep_last=data.draw(st.integers(0, 2)),
        )
    assert ORACLES[format_](result.messages)
    assert result.fits == (result.tokens_after <= budget)
    assert result.fits or result.messages == history.messages
    assert restore(result) == history.messages


def test_the_tool_shows_the_names_of_the_built_in_ones_and_takes_any_where_others_are_installed(
    install: Install,
) -> None:
    shown = TOOL.parameters["strategy"].advertised
    assert shown["enum"] == ["smart", "fifo", "lifo", "middle", "tool_results"]
    install()
    assert TOOL.parameters["strategy"].advertised == {"type": "string"}
