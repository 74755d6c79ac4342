"""Counting texts by the providers' APIs: what is sent, and what is made of the answers."""

import threading

import anyio
import pytest

from tests.providers.asking import (
    MODELS,
    PROVIDERS,
    SECRET_TEXT,
    WORDS,
    one,
    opened,
)
from tests.providers.double import Asked, ProviderDouble, Reply, documented
from tests.waiting import NET_SECONDS
from tokenward.engine.errors import InvalidInput
from tokenward.engine.types import JsonObject
from tokenward.providers.client import AT_ONCE
from tokenward.providers.counter import MAX_BODY_BYTES, SINGLE, TEXT_SLACK
from tokenward.service import Backend, Tokenward

pytestmark = pytest.mark.anyio


@PROVIDERS
async def test_a_text_is_counted_without_the_frame_of_its_message(double: ProviderDouble, provider: str) -> None:
    async with opened(double) as service:
        result = await one(service, SECRET_TEXT, MODELS[provider])
        metrics = service.counter.get_performance_metrics()
    assert (result.token_count, result.method, result.exact) == (WORDS, "provider_api", False)
    assert (result.lower, result.upper) == (WORDS - TEXT_SLACK, WORDS + TEXT_SLACK)
    assert (result.model, result.cache_hit, result.warnings) == (MODELS[provider], False, ())
    assert len(double.asked) == 2  # the frame, and the text
    assert metrics["total_calls"] == 1


@pytest.mark.parametrize(
    ("model", "path", "body"),
    [
        (
            "claude-haiku-4-5",
            "/v1/messages/count_tokens",
            {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "hi"}]},
        ),
        (
            "gemini-2.5-pro",
            "/v1beta/models/gemini-2.5-pro:countTokens",
            {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        ),
        ("gpt-4o", "/v1/responses/input_tokens", {"model": "gpt-4o", "input": "hi"}),
    ],
)
async def test_what_is_sent_for_a_text(double: ProviderDouble, model: str, path: str, body: JsonObject) -> None:
    async with opened(double) as service:
        await one(service, "hi", model)
    assert (double.asked[-1].path, double.asked[-1].body) == (path, body)
    assert double.asked[-1].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("anthropic/claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001"),
        ("claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("ft:gpt-4o-mini-2024-07-18:Org::AbC", "ft:gpt-4o-mini-2024-07-18:Org::AbC"),
        ("claude-opus-77", "claude-opus-77"),
    ],
)
async def test_the_model_is_named_as_its_provider_does(double: ProviderDouble, asked: str, sent: str) -> None:
    async with opened(double) as service:
        result = await one(service, "hi", asked)
    assert (double.asked[-1].body["model"], result.model, result.method) == (sent, asked, "provider_api")


async def test_texts_keep_their_order_and_repetitions_are_asked_once(double: ProviderDouble) -> None:
    texts = ["one", "", "one two", "one", "one two three"]
    async with opened(double) as service:
        batch = await service.count_texts(texts, "claude-haiku-4-5")
        again = await service.count_texts(texts, "claude-haiku-4-5")
    assert [result.token_count for result in batch.results] == [1, 0, 2, 1, 3]
    assert (batch.total_tokens, batch.cache_hits) == (7, 1)
    assert [result.cache_hit for result in batch.results] == [False, False, False, True, False]
    # The empty text is not asked for: it has no tokens anywhere.
    assert (batch.results[1].method != "provider_api", batch.results[1].warnings) == (True, ())
    assert len(double.asked) == 4
    assert [result.token_count for result in again.results] == [1, 0, 2, 1, 3]
    assert all(result.cache_hit for result in again.results)


async def test_eight_are_under_way_at_once(double: ProviderDouble) -> None:
    together = threading.Barrier(AT_ONCE, timeout=NET_SECONDS)

    def meeting(asked: Asked) -> Reply:
        if asked.body["input"] != SINGLE:
            together.wait()
        return documented(asked)

    double.answer = meeting
    async with opened(double) as service, anyio.create_task_group() as group:
        for call in range(4):
            texts = [f"text {call} {number}" for number in range(AT_ONCE)]
            group.start_soon(service.count_texts, texts, "gpt-4o")
    assert double.most_at_once == AT_ONCE


async def test_lone_surrogates_are_sent_as_the_engine_counts_them(double: ProviderDouble) -> None:
    async with opened(double) as service:
        result = await one(service, "a \ud800 b", "gpt-4o")
    assert (result.token_count, double.asked[-1].body["input"]) == (3, "a \ufffd b")


async def test_a_text_that_is_too_large_is_not_sent(double: ProviderDouble) -> None:
    text = "word " * (MAX_BODY_BYTES // 5)
    async with opened(double) as service:
        result = await one(service, text, "gpt-4o")
    assert (result.method, len(double.asked)) == ("tiktoken", 1)
    assert result.warnings == ("Counted in process: more than 4 MiB are not sent to OpenAI.",)


async def test_a_single_text_for_a_list_is_refused(double: ProviderDouble) -> None:
    backends: tuple[Backend, ...] = ("tiktoken", "provider_api")
    for backend in backends:
        async with Tokenward.open("memory://", backend=backend) as service:
            with pytest.raises(InvalidInput, match="give a list of texts"):
                await service.count_texts("text", "gpt-4o")
    assert double.asked == []
