"""The benchmark's conversations are valid, its rules find what is wrong, and truncation breaks none of them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest

from bench.conversations import SHAPES, Writer
from bench.trim_rules import Verdict, judge
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.errors import InvalidMessages
from tokenward.engine.history import truncate_history, validate_messages
from tokenward.engine.types import JsonObject

MODEL = "gpt-4o"
NOTHING_WRONG = Verdict(
    orphans=0,
    unanswered=0,
    empty=False,
    disordered=False,
    added=0,
    changed=0,
    system_lost=False,
    task_lost=False,
    end_lost=False,
    only_system=False,
)


@cache
def counter() -> TokenCounter:
    """One for all tests, so that its vocabulary is loaded once."""
    return TokenCounter(cache_size=20_000)


def call(*ids: str, text: str | None = None) -> JsonObject:
    functions: list[JsonObject] = [
        {"id": each, "type": "function", "function": {"name": "read", "arguments": '{"a": 1}'}} for each in ids
    ]
    return {"role": "assistant", "content": text, "tool_calls": [*functions]}


def result(call_id: str, text: str = "found") -> JsonObject:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


SYSTEM: JsonObject = {"role": "system", "content": "00000001 be brief"}
TASK: JsonObject = {"role": "user", "content": "00000002 look it up"}
ANSWER: JsonObject = {"role": "assistant", "content": "00000003 done"}
ORIGINAL = [SYSTEM, TASK, call("1", "2"), result("1"), result("2"), ANSWER, call("3", "4"), result("3")]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_conversation_is_valid_and_always_the_same(shape: str) -> None:
    messages = SHAPES[shape](Writer(5), 40)
    validate_messages(messages, "openai")
    assert judge(messages, messages) == NOTHING_WRONG
    assert messages == SHAPES[shape](Writer(5), 40)
    assert messages != SHAPES[shape](Writer(6), 40)


@pytest.mark.parametrize(
    ("left", "verdict"),
    [
        ([], replace(NOTHING_WRONG, empty=True, system_lost=True, task_lost=True, end_lost=True, only_system=True)),
        ([SYSTEM], replace(NOTHING_WRONG, task_lost=True, end_lost=True, only_system=True)),
        ([SYSTEM, TASK, result("2"), *ORIGINAL[5:]], replace(NOTHING_WRONG, orphans=1)),
        ([SYSTEM, TASK, call("1", "2"), result("1"), *ORIGINAL[5:]], replace(NOTHING_WRONG, unanswered=1)),
        (
            [SYSTEM, TASK, call("1", "2"), ANSWER, result("1"), *ORIGINAL[6:]],
            replace(NOTHING_WRONG, orphans=1, unanswered=2, disordered=True),
        ),
        ([SYSTEM, TASK, ANSWER, *ORIGINAL[2:5], *ORIGINAL[6:]], replace(NOTHING_WRONG, disordered=True)),
        ([SYSTEM, TASK, TASK, *ORIGINAL[2:]], replace(NOTHING_WRONG, disordered=True)),
        ([*ORIGINAL[:2], {"role": "user", "content": "more"}, *ORIGINAL[2:]], replace(NOTHING_WRONG, added=1)),
        ([SYSTEM, {"role": "user", "content": "00000002 lo..p"}, *ORIGINAL[2:]], replace(NOTHING_WRONG, changed=1)),
        ([SYSTEM, TASK, call("1", "2"), result("1", ""), *ORIGINAL[4:]], replace(NOTHING_WRONG, changed=1)),
        (
            [{"role": "system", "content": "00000001 be"}, *ORIGINAL[1:]],
            replace(NOTHING_WRONG, changed=1, system_lost=True),
        ),
        ([SYSTEM, *ORIGINAL[5:]], replace(NOTHING_WRONG, task_lost=True)),
        (ORIGINAL[:6], replace(NOTHING_WRONG, end_lost=True)),
    ],
)
def test_the_rules_find_what_is_wrong(left: Sequence[JsonObject], verdict: Verdict) -> None:
    assert judge(ORIGINAL, left) == verdict


def test_the_rules_and_the_validator_agree_on_what_is_refused() -> None:
    # The end stays: only with the original at hand can it be told from calls that are in flight.
    for first in range(len(ORIGINAL)):
        for last in range(first, len(ORIGINAL)):
            left = [*ORIGINAL[:first], *ORIGINAL[last:]]
            refused = judge(ORIGINAL, left).refused
            if refused:
                with pytest.raises(InvalidMessages):
                    validate_messages(left, "openai")
            else:
                validate_messages(left, "openai")


def test_another_spelling_of_a_message_is_no_change() -> None:
    spelled: JsonObject = {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "id": each, "function": {"arguments": '{"a":1}', "name": "read"}}
            for each in ("1", "2")
        ],
    }
    assert judge(ORIGINAL, [SYSTEM, TASK, spelled, *ORIGINAL[3:]]) == NOTHING_WRONG


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [20, 60])
def test_truncation_breaks_no_rule(shape: str, size: int) -> None:
    messages = SHAPES[shape](Writer(size), size)
    whole = count_messages(messages, MODEL, counter=counter(), format="openai").tokens
    truncated = 0
    for share in (0.9, 0.5, 0.2, 0.1):
        budget = int(whole * share)
        found = truncate_history(messages, budget, MODEL, counter=counter())
        expected = replace(NOTHING_WRONG, changed=len(found.cleared), added=int(found.placeholder is not None))
        assert judge(messages, found.messages) == expected
        again = count_messages(found.messages, MODEL, counter=counter(), format="openai").tokens
        assert again == found.tokens_after
        assert again <= budget if found.fits else found.messages == messages
        truncated += found.fits
    assert truncated
