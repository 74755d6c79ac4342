"""Requests that were counted before: the same answer, never another request's, and no text is kept."""

import copy
import json
import pickle
from dataclasses import asdict, dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.counting.remembered import MOST_CHARACTERS, MOST_MESSAGES, RememberedRequests, request_key
from tokenward.engine.counting.results import MessageCount
from tokenward.engine.errors import InvalidMessages
from tokenward.engine.tokenizers.base import Method, Tokenizer, TokenizerOptions
from tokenward.engine.types import JsonObject, JsonValue

USER: JsonObject = {"role": "user", "content": "What is a token?"}
TOOL: JsonObject = {"name": "f", "parameters": {"type": "object"}}


def count(
    counter: TokenCounter,
    messages: list[JsonObject],
    model: str = "gpt-4o",
    *,
    tools: list[JsonObject] | None = None,
    choice: JsonValue = None,
    system: JsonValue = None,
) -> MessageCount:
    return count_messages(messages, model, counter=counter, tools=tools, tool_choice=choice, system=system)


def test_a_request_is_counted_once() -> None:
    counter = TokenCounter()
    first = count(counter, [USER])
    assert count(counter, [copy.deepcopy(USER)]) is first
    assert count(counter, [USER, USER]) is not first


def test_without_a_cache_nothing_is_kept() -> None:
    counter = TokenCounter(cache_size=0)
    assert count(counter, [USER]) is not count(counter, [USER])


@dataclass(frozen=True)
class Request:
    model: str
    format: str
    messages: list[JsonObject]
    tools: list[JsonObject]
    choice: JsonValue
    system: JsonValue

    def key(self) -> bytes | None:
        text = COUNTER.text_counter(self.model)
        return request_key(text, self.format, self.messages, self.tools, self.choice, self.system)

    def as_text(self) -> str:
        """As text, 1 and True and 1.0 differ, which they do not for Python."""
        return json.dumps(asdict(self), sort_keys=True)


COUNTER = TokenCounter()
texts = st.sampled_from(["", "a", "hello", "\ud800", "1"])
values = st.one_of(st.none(), st.booleans(), st.integers(-1, 2), st.sampled_from([0.0, 1.0, -0.0]), texts)
messages: st.SearchStrategy[JsonObject] = st.fixed_dictionaries({"role": texts, "content": texts, "more": values})
requests = st.builds(
    Request,
    model=st.sampled_from(["gpt-4o", "gpt-4", "GPT-4o"]),
    format=st.sampled_from(["auto", "openai", "anthropic"]),
    messages=st.lists(messages, max_size=3),
    tools=st.lists(st.just(TOOL), max_size=2),
    choice=st.sampled_from([None, "auto", "none"]),
    system=texts,
)


@settings(deadline=None, max_examples=300)
@given(requests, requests)
def test_different_requests_have_different_keys(one: Request, other: Request) -> None:
    assert one.key() == copy.deepcopy(one).key() is not None
    assert one.key() != other.key() or one.as_text() == other.as_text()


def test_estimates_and_what_is_no_json_are_not_kept() -> None:
    assert request_key(COUNTER.text_counter("gemini-2.5-pro"), "auto", [USER], ()) is None
    assert request_key(COUNTER.text_counter("gpt-4o"), "auto", [USER], (), object()) is None  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_an_error_is_not_remembered() -> None:
    counter = TokenCounter()
    for _ in range(2):
        with pytest.raises(InvalidMessages):
            count(counter, [{"role": "user"}])


def test_the_least_recently_used_goes_first() -> None:
    kept = RememberedRequests(2)
    counts = [count(COUNTER, [USER] * number) for number in (1, 2, 3)]
    for name, each in zip((b"a", b"b"), counts, strict=False):
        kept.put(name, each)
    assert kept.get(b"a") is counts[0]
    kept.put(b"c", counts[2])
    assert (kept.get(b"a"), kept.get(b"b"), kept.get(b"c")) == (counts[0], None, counts[2])
    kept.put(None, counts[1])
    assert kept.get(None) is None


def test_no_text_is_kept() -> None:
    counter = TokenCounter()
    count(counter, [{"role": "user", "content": "thesecretword"}], system="anothersecret")
    held = [getattr(counter.requests, name) for name in ("_counts",)]
    assert b"secret" not in pickle.dumps(held)


@pytest.mark.parametrize("size", [-1, 0])
def test_a_size_below_one_keeps_nothing(size: int) -> None:
    counter = TokenCounter(cache_size=size)
    assert count(counter, [USER]).tokens == count(counter, [USER]).tokens
    shrunk = TokenCounter()
    first = count(shrunk, [USER])
    shrunk.cache_size = size
    count(shrunk, [USER, USER])
    assert count(shrunk, [USER]) is not first


def test_large_requests_are_not_kept() -> None:
    text = COUNTER.text_counter("gpt-4o")
    assert request_key(text, "auto", [USER] * MOST_MESSAGES, ()) is not None
    assert request_key(text, "auto", [USER] * (MOST_MESSAGES + 1), ()) is None
    part: JsonObject = {"type": "text", "text": "x" * (MOST_CHARACTERS // 2)}
    parts: JsonObject = {"role": "user", "content": [part, part]}
    assert request_key(text, "auto", [parts], ()) is None


class Failing:
    """Counts 99 for every text until the third, and is exact and right from then on."""

    method: Method = "tiktoken"

    def __init__(self) -> None:
        self.counted = 0

    @property
    def exact(self) -> bool:
        return True

    @property
    def encoding(self) -> str:
        return "first" if self.counted < 3 else "second"

    def count(self, text: str) -> int:
        self.counted += 1
        return 99 if self.counted < 3 else len(text)

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        del text
        return tokens, tokens


def test_a_tokenizer_that_fails_halfway_leaves_no_part_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(info: ModelInfo, options: TokenizerOptions) -> Tokenizer:
        del info, options
        return Failing()

    monkeypatch.setattr("tokenward.engine.counting.counter.tokenizer_for", make)
    counter = TokenCounter()
    found = count(counter, [USER, {"role": "user", "content": "four"}])
    assert found.breakdown.user == len("What is a token?") + len("four")
    assert found.encoding == "second"
    assert count(counter, [USER, {"role": "user", "content": "four"}]) is found
