"""What a count is worth: results that say how they were made and between which bounds the truth lies."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

from tokenward.engine.messages.view import Format
from tokenward.engine.tokenizers.base import Method


class TokenCountResult(NamedTuple):
    """The count of one text. A named tuple, because a frozen dataclass takes as long to make as a short text to count.

    Attributes:
        token_count: The count, or the best estimate of it.
        method: How it was made.
        model: The model or encoding as asked for.
        processing_time: Seconds spent, on the counter's injected timer.
        cache_hit: Whether it came from the cache.
        exact: Whether ``token_count`` is the true count.
        lower: The truth is at least this (equal to ``token_count`` when exact).
        upper: The truth is at most this (equal to ``token_count`` when exact).
        encoding: The encoding used, or the one an estimate is based on.
        warnings: What was assumed, for an unknown model.
    """

    token_count: int
    method: Method
    model: str
    processing_time: float
    cache_hit: bool
    exact: bool
    lower: int
    upper: int
    encoding: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchTokenCountResult:
    """The counts of several texts, in their order, and their sums."""

    results: tuple[TokenCountResult, ...]
    total_tokens: int
    total_processing_time: float
    cache_hits: int

    @classmethod
    def of(cls, results: Iterable[TokenCountResult]) -> Self:
        """Results with their sums."""
        listed = tuple(results)
        return cls(
            results=listed,
            total_tokens=sum(result.token_count for result in listed),
            total_processing_time=sum(result.processing_time for result in listed),
            cache_hits=sum(result.cache_hit for result in listed),
        )


@dataclass(frozen=True, slots=True)
class MessageBreakdown:
    """Where the tokens of a request are. The fields sum to the request's total."""

    system: int = 0
    user: int = 0
    assistant: int = 0
    tool_calls: int = 0
    tool_results: int = 0
    tool_definitions: int = 0
    images: int = 0
    overhead: int = 0


@dataclass(frozen=True, slots=True)
class MessageCountRow:
    """One message's share: its content and its own overhead, without the request's fixed part."""

    index: int
    role: str
    tokens: int


@dataclass(frozen=True, slots=True)
class MessageCount:
    """The count of a whole request. ``tokens`` = sum of ``breakdown`` = sum of ``messages`` + the fixed part."""

    tokens: int
    lower: int
    upper: int
    exact: bool
    method: Method
    model: str
    encoding: str
    format: Format
    breakdown: MessageBreakdown
    messages: tuple[MessageCountRow, ...]
    warnings: tuple[str, ...] = ()
