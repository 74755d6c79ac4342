"""The prompt cache: what a truncation leaves of it, what that costs, and how to cut less often."""

import inspect
from collections.abc import Callable
from typing import Final

import pytest

from tests.engine.histories import counter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.history import (
    STRATEGIES,
    Strategy,
    TokenOptimizer,
    TruncationResult,
    compress_messages,
    truncate_history,
)
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.types import JsonObject
from tokenward.engine.usage import TokenUsage

BUDGET: Final = 2_000
MODEL: Final = "gpt-4o"


def turn(number: int) -> list[JsonObject]:
    call: JsonObject = {"id": f"c{number}", "type": "function", "function": {"name": "grep", "arguments": "{}"}}
    return [
        {"role": "user", "content": f"Question {number}? " + "why " * 20},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": f"found {number} " + "line " * 60},
        {"role": "assistant", "content": f"Answer {number}. " + "so " * 20},
    ]


def cut(messages: list[JsonObject], strategy: Strategy, *, keep_prefix: bool) -> TruncationResult:
    return TokenOptimizer(counter()).truncate_history(
        messages, BUDGET, MODEL, strategy=strategy, keep_prefix=keep_prefix
    )


def same_beginning(one: list[JsonObject], other: list[JsonObject]) -> int:
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def whole(sent: list[JsonObject], history: list[JsonObject], new: list[JsonObject]) -> list[JsonObject]:
    """The caller keeps everything, and cuts it anew at each turn."""
    del sent
    return [*history, *new]


def carried_on(sent: list[JsonObject], history: list[JsonObject], new: list[JsonObject]) -> list[JsonObject]:
    """The caller goes on from what was sent."""
    del history
    return [*sent, *new]


def tokens_read_again(goes_on: Callable[..., list[JsonObject]], strategy: Strategy, *, keep_prefix: bool) -> int:
    """Over 60 turns: the tokens behind the first difference to what was sent before, new messages aside."""
    history: list[JsonObject] = [{"role": "system", "content": "Be brief."}]
    sent = history
    again = 0
    for number in range(60):
        new = turn(number)
        before = goes_on(sent, history, new)
        history = [*history, *new]
        result = cut(before, strategy, keep_prefix=keep_prefix)
        assert result.fits
        first = same_beginning(sent, result.messages)
        sizes = [row.tokens for row in count_messages(sent, MODEL, counter=counter()).messages]
        again += sum(sizes[first:])
        sent = result.messages
    return again


@pytest.mark.parametrize("goes_on", [whole, carried_on])
@pytest.mark.parametrize("strategy", ["smart", "fifo"])
def test_a_stable_prefix_is_read_again_less_often(strategy: Strategy, goes_on: Callable[..., list[JsonObject]]) -> None:
    moving = tokens_read_again(goes_on, strategy, keep_prefix=False)
    stable = tokens_read_again(goes_on, strategy, keep_prefix=True)
    assert stable < moving / 2


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_more_than_one_chunk_more_is_given_up(strategy: Strategy) -> None:
    messages = [one for number in range(20) for one in turn(number)]
    just, stable = (cut(messages, strategy, keep_prefix=keep) for keep in (False, True))
    assert just.fits == stable.fits
    largest = max(row.tokens for row in count_messages(turn(19), MODEL, counter=counter()).messages) * 2
    assert stable.tokens_after > just.tokens_after - BUDGET // 4 - largest
    assert {*just.dropped} <= {*stable.dropped}


def test_nothing_is_dropped_to_fill_a_chunk_where_clearing_is_enough() -> None:
    messages = [one for number in range(15) for one in turn(number)]
    result = cut(messages, "smart", keep_prefix=True)
    assert result.cleared
    assert not result.dropped


def test_what_the_lost_cache_costs() -> None:
    calculator = CostCalculator(counter().catalog, clock=lambda: 1_767_225_600_000_000)
    messages = [one for number in range(20) for one in turn(number)]
    result = TokenOptimizer(counter(), calculator).truncate_history(messages, BUDGET, MODEL, strategy="fifo")
    prefix = result.prefix
    assert prefix.messages == 0
    assert prefix.lost_tokens == sum(
        row.tokens
        for row in count_messages(messages, MODEL, counter=counter()).messages
        if row.index not in result.dropped
    )
    prices = calculator.calculate_cost(TokenUsage(1), MODEL).prices
    difference = float(prices["input"]) - float(prices["cached_input"])
    assert prefix.lost_nano == pytest.approx(prefix.lost_tokens * difference * 1_000, abs=1)


def test_an_unknown_price_is_none_and_nothing_lost_is_0() -> None:
    optimizer = TokenOptimizer(counter(), CostCalculator(counter().catalog, clock=lambda: 1_767_225_600_000_000))
    messages = [one for number in range(20) for one in turn(number)]
    assert optimizer.truncate_history(messages, BUDGET, "a-model-of-my-own", strategy="fifo").prefix.lost_nano is None
    fits = optimizer.truncate_history(messages, 100_000, "a-model-of-my-own")
    assert (fits.prefix.messages, fits.prefix.lost_tokens, fits.prefix.lost_nano) == (80, 0, 0)
    end = optimizer.truncate_history(messages, BUDGET, "a-model-of-my-own", strategy="lifo", placeholder=False)
    assert (end.prefix.lost_tokens, end.prefix.lost_nano) == (0, 0), "nothing that is kept is behind what was dropped"


@pytest.mark.parametrize("function", [truncate_history, compress_messages])
def test_the_optimizer_takes_what_the_functions_take(function: Callable[..., object]) -> None:
    bound = set(inspect.signature(getattr(TokenOptimizer, function.__name__)).parameters) - {"self"}
    assert bound == set(inspect.signature(function).parameters) - {"counter", "calculator", "plugins"}
