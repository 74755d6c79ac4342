"""TokenCounter: counts of texts for any model, cached, measured and labelled with what they are worth."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Protocol

from tokenward.engine.catalog import Catalog, ModelInfo
from tokenward.engine.counting.cache import CountCache
from tokenward.engine.counting.results import BatchTokenCountResult, TokenCountResult
from tokenward.engine.errors import InvalidInput
from tokenward.engine.tokenizers.base import Method, TokenizationModel, Tokenizer, TokenizerOptions
from tokenward.engine.tokenizers.estimate import words_bounds, words_estimate
from tokenward.engine.tokenizers.registry import tokenizer_for

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

    def count(self, text: str) -> int:
        """The tokens of a text, without any message overhead. Never raises on a string; the empty one has none."""
        ...

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        """The lowest and the highest true count to expect for a text that ``count`` gave ``tokens`` for."""
        ...


_REMEMBERED_MODELS = 256
"""How many spellings of models' names are kept resolved; callers choose the names, so it has a limit."""


class TokenCounter:
    """Counts tokens for any model. Safe to share between threads; one per process is enough.

    Args:
        cache_size: The most counts to keep; 0 keeps none.
        catalog: The models that are known, with the configured aliases.
        options: What the user has set about tokenizers.
        timer: Seconds that only go up, for ``processing_time``.
    """

    def __init__(
        self,
        *,
        cache_size: int = 1000,
        catalog: Catalog | None = None,
        options: TokenizerOptions | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.catalog = catalog if catalog is not None else Catalog()
        self._cache = CountCache(cache_size)
        self._metrics = _Metrics()
        self._timer = timer
        self._options = options if options is not None else TokenizerOptions()
        self._counter_for = lru_cache(_REMEMBERED_MODELS)(self._new_counter)

    @property
    def cache_size(self) -> int:
        """The most counts to keep. Making it smaller drops the least recently used ones at once."""
        return self._cache.size

    @cache_size.setter
    def cache_size(self, size: int) -> None:
        self._cache.size = size

    def text_counter(self, model: str) -> TextCounter:
        """What counts texts for one model, through this counter's cache.

        Args:
            model: A model's name in any spelling, or an encoding's.

        Raises:
            InvalidInput: The name is empty, too long or holds control characters.
            UnknownEncoding: The name can only be an encoding's, and there is none of that name.
        """
        return self._counter_for(model)

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
        counter = self._counter_for(model)
        measured = counter.measure(text)
        lower, upper = counter.bounds(text, measured.tokens)
        info = counter.info
        return TokenCountResult(
            token_count=measured.tokens,
            method=counter.method,
            model=str(model),
            processing_time=measured.seconds,
            cache_hit=measured.cache_hit,
            exact=counter.exact,
            lower=lower,
            upper=upper,
            encoding=info.encoding,
            warnings=info.warnings,
        )

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
        results = tuple(self.count_tokens(text, model) for text in texts)
        return BatchTokenCountResult(
            results=results,
            total_tokens=sum(result.token_count for result in results),
            total_processing_time=sum(result.processing_time for result in results),
            cache_hits=sum(result.cache_hit for result in results),
        )

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
        self._metrics.record("estimate", seconds)
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
        self._metrics.record(method, seconds)

    def get_performance_metrics(self) -> dict[str, int | float]:
        """What this counter has done so far.

        Returns:
            ``total_calls``, ``cache_hits``, ``cache_misses``, ``cache_hit_rate`` (percent),
            ``average_processing_time`` (seconds), calls that were not answered from the cache by method
            (``tiktoken_calls``, ``pg_tiktoken_calls``, ``fallback_calls`` for estimates), ``cache_entries`` and
            ``cache_size``.
        """
        return {**self._metrics.summary(), "cache_entries": len(self._cache), "cache_size": self._cache.size}

    def _new_counter(self, model: str) -> "_MeasuredCounter":
        info = self.catalog.resolve(model)
        return _MeasuredCounter(info, tokenizer_for(info, self._options), self._cache, self._metrics, self._timer)


@cache
def get_token_counter() -> TokenCounter:
    """The process's default counter, made at its first use."""
    return TokenCounter()


@dataclass(frozen=True, slots=True)
class _Measured:
    tokens: int
    cache_hit: bool
    seconds: float


class _MeasuredCounter:
    """A model's tokenizer behind the cache, with its work recorded."""

    def __init__(
        self,
        info: ModelInfo,
        tokenizer: Tokenizer,
        counts: CountCache,
        metrics: "_Metrics",
        timer: Callable[[], float],
    ) -> None:
        self.info = replace(info, encoding=tokenizer.encoding)
        self.method: Method = tokenizer.method
        self.exact: bool = tokenizer.exact
        self.bounds = tokenizer.bounds
        self._count = tokenizer.count
        self._counts = counts
        self._metrics = metrics
        self._timer = timer
        # Models that share a way of counting share their counts.
        self._scope = f"{tokenizer.method} {info.family} {tokenizer.encoding}"

    def count(self, text: str) -> int:
        """The tokens of a text."""
        return self.measure(text).tokens

    def measure(self, text: str) -> _Measured:
        """The tokens of a text, where they came from and how long it took."""
        started = self._timer()
        key = CountCache.key(self._scope, text)
        known = self._counts.get(key)
        if known is None:
            tokens = self._count(text)
            self._counts.put(key, tokens)
        else:
            tokens = known
        seconds = self._timer() - started
        self._metrics.record(None if known is not None else self.method, seconds)
        return _Measured(tokens, known is not None, seconds)


class _Metrics:
    """Calls so far, by how they were answered. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[Method | None] = Counter()
        self._seconds = 0.0

    def record(self, method: Method | None, seconds: float) -> None:
        """Note one call; the method is ``None`` for one answered from the cache."""
        with self._lock:
            self._calls[method] += 1
            self._seconds += seconds

    def summary(self) -> dict[str, int | float]:
        with self._lock:
            calls, seconds = self._calls.copy(), self._seconds
        total = calls.total()
        return {
            "total_calls": total,
            "cache_hits": calls[None],
            "cache_misses": total - calls[None],
            "cache_hit_rate": 100 * calls[None] / total if total else 0.0,
            "average_processing_time": seconds / total if total else 0.0,
            "tiktoken_calls": calls["tiktoken"],
            "pg_tiktoken_calls": calls["pg_tiktoken"],
            "fallback_calls": calls["estimate"],
        }
