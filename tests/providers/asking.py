"""What the tests of the providers' APIs have in common: a service that asks the double, and what they ask."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest

from tests.conftest import FakeClock
from tests.providers.double import ProviderDouble
from tests.waiting import NET_SECONDS
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.results import BatchTokenCountResult, MessageCount, TokenCountResult
from tokenward.engine.types import JsonObject
from tokenward.providers.counter import ProviderCounter
from tokenward.providers.urls import ProviderName
from tokenward.service import Tokenward

MODELS = {"anthropic": "claude-haiku-4-5", "gemini": "gemini-2.5-pro", "openai": "gpt-4o"}
LABELS = {"anthropic": "Anthropic", "gemini": "Gemini", "openai": "OpenAI"}
PROVIDERS = pytest.mark.parametrize("provider", list(MODELS))
SECRET_TEXT = "the quick brown zebra keeps secrets"
WORDS = 6


class FakeTimer:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, but not for ever."""
    with anyio.fail_after(NET_SECONDS):
        while not condition():  # noqa: ASYNC110 - the double's threads make it come true
            await anyio.sleep(0.002)


def opened(double: ProviderDouble, timeout_seconds: float = NET_SECONDS) -> AbstractAsyncContextManager[Tokenward]:
    """A service that asks the double."""
    urls: dict[ProviderName, str] = {"anthropic": double.url, "gemini": double.url, "openai": double.url}
    return Tokenward.open(
        "memory://", backend="provider_api", provider_urls=urls, provider_timeout_seconds=timeout_seconds
    )


@asynccontextmanager
async def counting(
    double: ProviderDouble,
    timer: Callable[[], float],
    clock: FakeClock | None = None,
    timeout_seconds: float = NET_SECONDS,
) -> AsyncGenerator[ProviderCounter]:
    """The counter alone, on a timer of the test's."""
    counter = TokenCounter()

    async def in_process(texts: Sequence[str], model: str) -> BatchTokenCountResult:
        return counter.count_tokens_batch(texts, model)

    provider = ProviderCounter(
        counter,
        in_process,
        urls={"anthropic": double.url, "gemini": double.url, "openai": double.url},
        timeout_seconds=timeout_seconds,
        timer=timer,
        clock=clock or FakeClock(),
    )
    try:
        yield provider
    finally:
        await provider.aclose()


async def one(service: Tokenward | ProviderCounter, text: str, model: str = MODELS["anthropic"]) -> TokenCountResult:
    (result,) = (await service.count_texts([text], model)).results
    return result


def by_provider(*results: TokenCountResult) -> list[bool]:
    """Which of the results a provider counted."""
    return [result.method == "provider_api" for result in results]


def assert_in_process(result: TokenCountResult, text: str, model: str, reason: str) -> None:
    """The text is counted as the engine does, and one warning says why the engine did it."""
    expected = TokenCounter().count_tokens(text, model)
    assert result._replace(processing_time=0, warnings=(), cache_hit=False) == expected._replace(
        processing_time=0, warnings=(), cache_hit=False
    )
    assert result.warnings == (*expected.warnings, f"Counted in process: {reason}.")


async def request(service: Tokenward, model: str, given: JsonObject) -> MessageCount:
    """The count of a request that is given by the names of the arguments."""
    messages, tools = given["messages"], given.get("tools")
    assert isinstance(messages, list)
    assert tools is None or isinstance(tools, list)
    return await service.count_request(
        [one for one in messages if isinstance(one, dict)],
        model,
        tools=[one for one in tools if isinstance(one, dict)] if tools else None,
        tool_choice=given.get("tool_choice"),
        system=given.get("system"),
        format="anthropic" if given.get("format") == "anthropic" else "auto",
    )
