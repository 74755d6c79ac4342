"""Counting by the providers, and in process where they do not count."""

import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias

import anyio

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.counting.cache import CACHE, CountCache
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.results import BatchTokenCountResult, MessageCount, TokenCountResult
from tokenward.engine.errors import InvalidInput
from tokenward.engine.tokenizers.base import Method
from tokenward.engine.tokenizers.pieces import replace_lone_surrogates
from tokenward.engine.types import Clock, JsonObject, system_clock
from tokenward.providers.bodies import Request, request_body, text_body
from tokenward.providers.client import AT_ONCE, ProviderClient
from tokenward.providers.endpoints import Endpoint, NotCounted, RequestRefused, Timer
from tokenward.providers.models import provider_model
from tokenward.providers.urls import ProviderName
from tokenward.secret_files import ENVIRONMENT
from tokenward.workers import run_sized

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""The largest request that is sent: writing a larger one as JSON would keep other threads waiting for too long."""

SINGLE: Final = "a"
"""A text of one token in every vocabulary that we know; the rest of its count is the message's frame."""

TEXT_SLACK: Final = 2
"""How many tokens a text's own count can be off: where it touches the frame, tokens may merge. Assumed."""

_SLACK_OF_REQUEST: Final = 4
_SLACK_OF_ITEM: Final = 2
"""How far the count of a converted request can be from the original's, for each message and tool. Assumed."""

_INLINE_CHARACTERS: Final = 50_000
"""What the event loop may work on itself: some milliseconds."""

_FRAMES: Final = 256

CountTexts: TypeAlias = Callable[[Sequence[str], str], Awaitable[BatchTokenCountResult]]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A body to send, and the key under which its count is kept."""

    key: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class _Asked:
    tokens: int
    cache_hit: bool


class ProviderCounter:
    """Counts texts and requests by their provider's API, each answer kept by a hash of what was asked.

    It never fails for want of the provider: what that does not count is counted in process, and the result's
    ``method`` and ``warnings`` say so. For one event loop.

    Args:
        counter: Resolves models.
        count_texts: Counts texts in process.
        urls: Base URLs that replace the providers' own, by the provider's name.
        timeout_seconds: The most that one call waits for its provider.
        cache_size: The most answers to keep; 0 keeps none.
        environment: Where keys are looked up.
        record: Told of each text that a provider counted: the method and the seconds.
        timer: Seconds that only go up.
        clock: Now, microseconds UTC.
    """

    def __init__(
        self,
        counter: TokenCounter,
        count_texts: CountTexts,
        *,
        urls: Mapping[ProviderName, str] | None = None,
        timeout_seconds: float = 5.0,
        cache_size: int = 1_000,
        environment: Mapping[str, str] = ENVIRONMENT,
        record: Callable[[Method, float], None] | None = None,
        timer: Timer = time.monotonic,
        clock: Clock = system_clock,
    ) -> None:
        self._counter = counter
        self._in_process = count_texts
        self._client = ProviderClient(
            urls or {}, timeout_seconds=timeout_seconds, environment=environment, timer=timer, clock=clock
        )
        self._answers = CountCache(cache_size)
        self._frames = CountCache(_FRAMES)
        self._record = record
        self._timer = timer

    async def aclose(self) -> None:
        """Close the connections. A later call opens them again."""
        await self._client.aclose()

    async def count_texts(self, texts: Sequence[str], model: str) -> BatchTokenCountResult:
        """The tokens of several texts, in their order, and the sums.

        A text is counted as a user's message, less the frame of such a message. That is measured once per model.

        Raises:
            InvalidInput: ``texts`` is one string, or the model's name cannot be one.
            UnknownEncoding: The name can only be an encoding's, and there is none of that name.
        """
        if isinstance(texts, str):
            raise InvalidInput("texts", "it is a single text; give a list of texts.")
        info = self._counter.catalog.resolve(model)
        asking = _Texts(texts)
        try:
            await self._ask_texts(info, asking)
        except NotCounted as error:
            asking.reason = str(error)
        left = [text for text in asking.texts if text not in asking.results]
        here = (await self._in_process(left, model)).results if left else ()
        return await run_sized(partial(asking.batch, left, here), texts, inline_characters=_INLINE_CHARACTERS)

    async def count_request(self, local: MessageCount, request: Request) -> MessageCount:
        """A whole request's count by its provider, from its count in process.

        The breakdown is the one in process, with the difference in ``overhead``, which can be below 0.
        """
        info = self._counter.catalog.resolve(local.model)
        try:
            endpoint, name = provider_model(info)
            prepare = partial(_request, endpoint, name, request)
            own, prepared = await run_sized(prepare)
            asked = await self._ask(self._answers, endpoint, name, prepared, self._client.deadline())
        except NotCounted as error:
            return replace(local, warnings=(*local.warnings, _warning(str(error))))
        items = len(request.messages) + len(request.tools)
        slack = 0 if own else _SLACK_OF_REQUEST + _SLACK_OF_ITEM * items
        overhead = local.breakdown.overhead + asked.tokens - local.tokens
        return replace(
            local,
            tokens=asked.tokens,
            lower=max(0, asked.tokens - slack),
            upper=asked.tokens + slack,
            exact=own,
            method="provider_api",
            breakdown=replace(local.breakdown, overhead=overhead),
            warnings=() if own else (f"Converted for {endpoint.label}'s counting API; the bounds allow for it.",),
        )

    async def _ask_texts(self, info: ModelInfo, asking: "_Texts") -> None:
        """Ask for every text that is not empty, a few at once. Raises NotCounted for all of them."""
        texts = [text for text in asking.texts if text]
        if not texts:
            return
        endpoint, name = provider_model(info)
        deadline = self._client.deadline()
        call = _Call(info, endpoint, name, deadline, await self._frame(endpoint, name, deadline))
        pending = iter(texts)
        async with anyio.create_task_group() as group:
            for _ in range(min(AT_ONCE, len(texts))):
                group.start_soon(self._ask_some, call, pending, asking)

    async def _ask_some(self, call: "_Call", pending: Iterator[str], asking: "_Texts") -> None:
        for text in pending:
            started = self._timer()
            try:
                prepared = await _text(call.endpoint, call.name, text)
                asked = await self._ask(self._answers, call.endpoint, call.name, prepared, call.deadline)
            except NotCounted as error:
                asking.reasons[text] = str(error)
            else:
                seconds = self._timer() - started
                if self._record is not None and not asked.cache_hit:
                    self._record("provider_api", seconds)
                asking.results[text] = _text_result(call, asked, seconds)

    async def _frame(self, endpoint: Endpoint, name: str, deadline: float) -> int:
        """The tokens that a message has besides its text. Raises NotCounted."""
        try:
            asked = await self._ask(self._frames, endpoint, name, await _text(endpoint, name, SINGLE), deadline)
        except RequestRefused as error:
            # What is refused for this text is refused for any.
            raise self._client.leave_alone(endpoint, str(error), model=name) from None
        return asked.tokens - 1

    async def _ask(
        self, answers: CountCache, endpoint: Endpoint, name: str, prepared: _Prepared, deadline: float
    ) -> _Asked:
        """The API's number for a body, or the one kept from the last time. Raises NotCounted."""
        kept = answers.get(prepared.key)
        if kept is not None:
            answers.record(prepared.key, kept, CACHE, 0.0)
            return _Asked(kept, cache_hit=True)
        if len(prepared.content) > MAX_BODY_BYTES:
            raise NotCounted(f"more than {MAX_BODY_BYTES >> 20} MiB are not sent to {endpoint.label}")
        tokens = await self._client.ask(endpoint, name, prepared.content, deadline)
        answers.record(prepared.key, tokens, "provider_api", 0.0)
        return _Asked(tokens, cache_hit=False)


@dataclass(frozen=True, slots=True)
class _Call:
    """What the questions about several texts have in common."""

    info: ModelInfo
    endpoint: Endpoint
    name: str
    deadline: float
    frame: int


class _Texts:
    """The texts of one call: what is known of each, and why of the others nothing is."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._given = texts
        self.texts = list(dict.fromkeys(texts))
        self.results: dict[str, TokenCountResult] = {}
        self.reasons: dict[str, str] = {}
        self.reason = ""

    def batch(self, left: Sequence[str], here: Sequence[TokenCountResult]) -> BatchTokenCountResult:
        """The results in the order of the texts, with those of ``left``, counted here; repetitions cost nothing."""
        for text, result in zip(left, here, strict=True):
            self.results[text] = _warned(result, self.reasons.get(text, self.reason))
        seen: set[str] = set()
        results: list[TokenCountResult] = []
        for text in self._given:
            result = self.results[text]
            results.append(result._replace(cache_hit=True, processing_time=0.0) if text in seen else result)
            seen.add(text)
        return BatchTokenCountResult.of(results)


def _text_result(call: _Call, asked: _Asked, seconds: float) -> TokenCountResult:
    tokens = max(1, asked.tokens - call.frame)
    return TokenCountResult(
        token_count=tokens,
        method="provider_api",
        model=call.info.requested,
        processing_time=seconds,
        cache_hit=asked.cache_hit,
        exact=False,
        lower=max(1, tokens - TEXT_SLACK),
        upper=tokens + TEXT_SLACK,
        encoding=call.info.encoding,
    )


async def _text(endpoint: Endpoint, name: str, text: str) -> _Prepared:
    """A text as a message; a large one is written in a worker thread."""
    prepare = partial(_prepared, endpoint, name, text_body(endpoint.name, name, text))
    return await run_sized(prepare, text, inline_characters=_INLINE_CHARACTERS)


def _request(endpoint: Endpoint, name: str, request: Request) -> tuple[bool, _Prepared]:
    """A whole request, and whether it is the very one that was given. Raises NotCounted."""
    question = request_body(endpoint, name, request)
    return question.own, _prepared(endpoint, name, question.body)


def _prepared(endpoint: Endpoint, name: str, body: JsonObject) -> _Prepared:
    try:
        text = replace_lone_surrogates(json.dumps(body, ensure_ascii=False, separators=(",", ":")))
    except (TypeError, ValueError, RecursionError):
        raise NotCounted("the request cannot be written as JSON") from None
    return _Prepared(CountCache.key(f"provider_api {endpoint.name} {name}", text), text.encode())


def _warned(result: TokenCountResult, reason: str) -> TokenCountResult:
    return result._replace(warnings=(*result.warnings, _warning(reason))) if reason else result


def _warning(reason: str) -> str:
    return f"Counted in process: {reason}."
