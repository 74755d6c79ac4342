"""TokenCounter: counts of texts for any model, cached, measured and labelled with what they are worth."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tokenward.engine.catalog import Catalog, ModelInfo
from tokenward.engine.counting.cache import CACHE, CountCache
from tokenward.engine.counting.remembered import RememberedRequests
from tokenward.engine.counting.results import BatchTokenCountResult, TokenCountResult
from tokenward.engine.errors import InvalidInput
from tokenward.engine.steps import checkpoint, finish
from tokenward.engine.tokenizers.base import Method, TokenizationModel, Tokenizer, TokenizerOptions, warnings_of
from tokenward.engine.tokenizers.estimate import EstimateTokenizer, words_bounds, words_estimate
from tokenward.engine.tokenizers.openai import TiktokenTokenizer
from tokenward.engine.tokenizers.registry import tokenizer_for

if TYPE_CHECKING:
    from tokenward.engine.counting.calibration import Calibration, Correction

__all__ = ["TextCounter", "TokenCounter", "get_token_counter"]


class TextCounter(Protocol):
    """Counts texts for one model: its tokenizer, with what is known of the model."""

    @property
    def info(self) -> ModelInfo:
        """The model it counts for."""
        ...

    @property
    def method(self) -> Method:
        """How it counts."""
        ...

    @property
    def exact(self) -> bool:
        """Whether its counts are the true ones."""
        ...

    @property
    def inline_characters(self) -> int:
        """How many characters take about 5 ms, so that an event loop may count them itself.

        0 before the first count, for that may have to load a vocabulary.
        """
        ...

    def count(self, text: str) -> int:
        """The tokens of a text, without any message overhead. Never raises on a string; the empty one has none."""
        ...

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        """The lowest and the highest true count to expect for a text that ``count`` gave ``tokens`` for."""
        ...


_REMEMBERED_MODELS = 256
"""How many spellings of models' names are kept resolved; callers choose the names, so it has a limit."""

_REMEMBERED_REQUESTS = 256
"""How many whole requests' counts are kept: each has a row per message."""

_INLINE_CHARACTERS: dict[type[Tokenizer], int] = {TiktokenTokenizer: 50_000, EstimateTokenizer: 30_000}
"""What is counted in about 5 ms. Other people's tokenizers are slower, or of unknown speed, and may hang."""


class TokenCounter:
    """Counts tokens for any model. Safe to share between threads; one per process is enough.

    Args:
        cache_size: The most counts to keep; 0 keeps none.
        catalog: The models that are known, with the configured aliases.
        options: What the user has set about tokenizers.
        calibration: What recorded usage teaches about estimates; without one they stay as they are.
        timer: Seconds that only go up, for ``processing_time``.

    Attributes:
        catalog: The models that are known.
        requests: The latest counts of whole requests.
    """

    def __init__(
        self,
        *,
        cache_size: int = 1000,
        catalog: Catalog | None = None,
        options: TokenizerOptions | None = None,
        calibration: "Calibration | None" = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.catalog = catalog if catalog is not None else Catalog()
        self.requests = RememberedRequests(min(cache_size, _REMEMBERED_REQUESTS))
        self._cache = CountCache(cache_size)
        self._calibration = calibration
        self._timer = timer
        self._options = options if options is not None else TokenizerOptions()
        self._counter_for = lru_cache(_REMEMBERED_MODELS)(self._new_counter)
        self._made: set[str] = set()

    @property
    def cache_size(self) -> int:
        """The most counts to keep. Making it smaller drops the least recently used ones at once."""
        return self._cache.size

    @cache_size.setter
    def cache_size(self, size: int) -> None:
        self._cache.size = size
        self.requests.size = min(size, _REMEMBERED_REQUESTS)

    def text_counter(self, model: str) -> TextCounter:
        """What counts texts for one model, through this counter's cache.

        OpenAI's vocabularies are loaded at the first count, those of others here, which can take a second.

        Args:
            model: A model's name in any spelling, or an encoding's.

        Raises:
            InvalidInput: The name is empty, too long or holds control characters.
            UnknownEncoding: The name can only be an encoding's, and there is none of that name.
        """
        counter = self._counter_for(str(model))
        return counter if self._calibration is None else self._calibration.applied(counter)

    def inline_characters(self, model: str) -> int:
        """How many characters an event loop may count itself for a model: 0 while its tokenizer is not loaded.

        Asking loads nothing. Raises InvalidInput, UnknownEncoding.
        """
        name = str(model)
        if name in self._made:
            return self._counter_for(name).inline_characters
        self.catalog.resolve(name)
        return 0

    def count_tokens(self, text: str, model: str = TokenizationModel.CL100K_BASE) -> TokenCountResult:
        """The tokens of one text, without any message overhead.

        Text that spells a special token counts as ordinary text. Any string can be counted.

        Args:
            text: What to count.
            model: A model's name in any spelling, or an encoding's.

        Raises:
            InvalidInput: The model's name cannot be one.
            UnknownEncoding: The name can only be an encoding's, and there is none of that name.
        """
        name = str(model)
        counter = self._counter_for(name)
        return self._counted(counter, self._correction(counter), text, name)

    def count_tokens_batch(
        self, texts: Sequence[str], model: str = TokenizationModel.CL100K_BASE
    ) -> BatchTokenCountResult:
        """The tokens of several texts, in their order, and the sums.

        Raises:
            InvalidInput: ``texts`` is one string, or the model's name cannot be one.
            UnknownEncoding: The name can only be an encoding's, and there is none of that name.
        """
        if isinstance(texts, str):
            raise InvalidInput("texts", "it is a single text; give a list of texts.")
        name = str(model)
        counter = self._counter_for(name)
        correction = self._correction(counter)
        return BatchTokenCountResult.of([self._counted(counter, correction, text, name) for text in texts])

    def get_token_count_for_context(
        self, text: str, max_context: int, model: str = TokenizationModel.CL100K_BASE
    ) -> dict[str, int | float | bool]:
        """How much of a context window a text takes.

        Returns:
            ``token_count``, ``max_context``, ``context_usage_percentage`` (over 100 when it does not fit),
            ``remaining_tokens`` (at least 0) and ``context_fit``.

        Raises:
            InvalidInput: ``max_context`` is not positive, or the model's name cannot be one.
        """
        if max_context <= 0:
            raise InvalidInput("max_context", f"{max_context} is not a window; give a positive number of tokens.")
        tokens = self.count_tokens(text, model).token_count
        return {
            "token_count": tokens,
            "max_context": max_context,
            "context_usage_percentage": 100 * tokens / max_context,
            "remaining_tokens": max(0, max_context - tokens),
            "context_fit": tokens <= max_context,
        }

    def estimate_tokens_fallback(self, text: str, model: str = TokenizationModel.CL100K_BASE) -> TokenCountResult:
        """An estimate from words and characters alone, without any vocabulary, with wide bounds. Never cached.

        Raises:
            InvalidInput: The model's name cannot be one.
        """
        info = self.catalog.resolve(model)
        started = self._timer()
        tokens = words_estimate(text)
        seconds = self._timer() - started
        self._cache.tally("estimate", seconds)
        lower, upper = words_bounds(tokens)
        return TokenCountResult(
            token_count=tokens,
            method="estimate",
            model=str(model),
            processing_time=seconds,
            cache_hit=False,
            exact=False,
            lower=lower,
            upper=upper,
            encoding=info.encoding,
            warnings=info.warnings,
        )

    def record_call(self, method: Method, seconds: float) -> None:
        """Note one text that another counter counted for this one's callers, for the metrics."""
        self._cache.tally(method, seconds)

    def get_performance_metrics(self) -> dict[str, int | float]:
        """What this counter has done so far.

        Returns:
            ``total_calls``, ``cache_hits``, ``cache_misses``, ``cache_hit_rate`` (percent),
            ``average_processing_time`` (seconds), calls that were not answered from the cache by method
            (``tiktoken_calls``, ``pg_tiktoken_calls``, ``fallback_calls`` for estimates), those of ``tiktoken_calls``
            that the faster core answered (``fast_calls``), ``cache_entries`` and ``cache_size``.
        """
        calls, seconds = self._cache.calls()
        total, hits = sum(calls.values()), calls.get(CACHE, 0)
        return {
            "total_calls": total,
            "cache_hits": hits,
            "cache_misses": total - hits,
            "cache_hit_rate": 100 * hits / total if total else 0.0,
            "average_processing_time": seconds / total if total else 0.0,
            "tiktoken_calls": calls.get("tiktoken", 0) + calls.get("toktok", 0),
            "fast_calls": calls.get("toktok", 0),
            "pg_tiktoken_calls": calls.get("pg_tiktoken", 0),
            "fallback_calls": calls.get("estimate", 0),
            "cache_entries": len(self._cache),
            "cache_size": self._cache.size,
        }

    def _new_counter(self, model: str) -> "_MeasuredCounter":
        info = self.catalog.resolve(model)
        made = _MeasuredCounter(info, tokenizer_for(info, self._options), self._cache, self._timer)
        if len(self._made) >= _REMEMBERED_MODELS:
            self._made.clear()
        self._made.add(model)
        return made

    def _correction(self, counter: "_MeasuredCounter") -> "Correction | None":
        return self._calibration.correction(counter) if self._calibration is not None else None

    def _counted(
        self, counter: "_MeasuredCounter", correction: "Correction | None", text: str, model: str
    ) -> TokenCountResult:
        tokens, cache_hit, seconds, made = counter.measure(text)
        info, exact = made.info, made.exact
        warnings = info.warnings
        lower, upper = (tokens, tokens) if exact else counter.bounds(text, tokens)
        if correction is not None and not exact:
            tokens, lower, upper = correction.adjusted(tokens, lower, upper)
            warnings = (*warnings, correction.warning)
        # By position, as naming ten values takes as long as hashing a short text.
        return TokenCountResult(
            tokens, made.method, model, seconds, cache_hit, exact, lower, upper, info.encoding, warnings
        )


@cache
def get_token_counter() -> TokenCounter:
    """The process's default counter, made at its first use."""
    return TokenCounter()


class _Made(NamedTuple):
    """How a tokenizer counts at a time: one that fails has a successor."""

    info: ModelInfo
    method: Method
    exact: bool
    scope: str


class _MeasuredCounter:
    """A model's tokenizer behind the cache, with its work recorded."""

    def __init__(self, model: ModelInfo, tokenizer: Tokenizer, counts: CountCache, timer: Callable[[], float]) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._counts = counts
        self._timer = timer
        self.bounds = tokenizer.bounds
        self._steady = isinstance(tokenizer, TiktokenTokenizer)
        self._core: str | None = None
        self._made = self._described()

    @property
    def info(self) -> ModelInfo:
        """The model, with what its tokenizer says now."""
        return self._now().info

    @property
    def method(self) -> Method:
        """How its tokenizer counts now."""
        return self._now().method

    @property
    def exact(self) -> bool:
        """Whether its counts are the true ones now."""
        return self._now().exact

    @property
    def inline_characters(self) -> int:
        """How many characters take about 5 ms; 0 before the first count, and for other people's tokenizers."""
        return 0 if self._core is None else _INLINE_CHARACTERS.get(type(self._tokenizer), 0)

    def count(self, text: str) -> int:
        """The tokens of a text."""
        return self.measure(text)[0]

    def measure(self, text: str) -> tuple[int, bool, float, _Made]:
        """The tokens of a text, whether they came from the cache, the seconds it took, and how they were counted.

        Raises:
            InvalidInput: The text is no string.
        """
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - what types promise, callers break
            raise InvalidInput("text", f"expected a string, not {type(text).__name__}.")
        checkpoint()
        started = self._timer()
        made = self._now()
        while True:
            key = CountCache.key(made.scope, text)
            tokens = self._counts.get(key)
            if tokens is not None:
                seconds = self._timer() - started
                self._counts.record(key, tokens, CACHE, seconds)
                finish(len(text))
                return tokens, True, seconds, made
            tokens = self._tokenizer.count(text)
            counted_by, made = made, self._now()
            # If the tokenizer failed meanwhile, in whichever thread, its successor counts.
            if made.scope == counted_by.scope:
                break
        core = self._core or self._counted_by()
        seconds = self._timer() - started
        self._counts.record(key, tokens, core, seconds)
        finish(len(text))
        return tokens, False, seconds, made

    def _now(self) -> _Made:
        return self._made if self._steady else self._described(self._made)

    def _described(self, known: _Made | None = None) -> _Made:
        """What the tokenizer is now: what is known already, if that is still so."""
        tokenizer = self._tokenizer
        # Models that share a way of counting share their counts.
        scope = f"{tokenizer.method} {self._model.family} {tokenizer.encoding}"
        if known is not None and known.scope == scope:
            return known
        info = replace(self._model, encoding=tokenizer.encoding, warnings=warnings_of(tokenizer, self._model))
        made = _Made(info, tokenizer.method, tokenizer.exact, scope)
        self._made, self._core = made, None
        return made

    def _counted_by(self) -> str:
        tokenizer = self._tokenizer
        self._core = tokenizer.core if isinstance(tokenizer, TiktokenTokenizer) else self.method
        return self._core
