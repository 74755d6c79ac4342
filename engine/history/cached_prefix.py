"""What a truncation leaves of a provider's prompt cache: everything up to the first message that changed."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenward.engine.errors import InvalidInput, UnknownPrice
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.usage import TokenUsage


@dataclass(frozen=True, slots=True)
class KeptPrefix:
    """The beginning of a request that a truncation did not change, and what the end of the cache behind it costs.

    Attributes:
        messages: How many messages it has; all of them when nothing was changed.
        tokens: What it counts, with tools and system text.
        lost_tokens: Tokens of kept messages behind it. If the whole request was cached before, these are read again.
        lost_nano: What that costs, in nano-dollars: the price of input less that of cached input. ``None`` where a
            price is not known, or no calculator was given; 0 when nothing is lost.
    """

    messages: int
    tokens: int
    lost_tokens: int
    lost_nano: int | None


def kept_prefix(
    sizes: Sequence[int], fixed: int, gone: Sequence[int], cleared: Sequence[int], placeholder: int | None
) -> KeptPrefix:
    """The prefix of a truncated history, not priced.

    Args:
        sizes: The tokens of each message before, by index.
        fixed: What the request itself takes.
        gone: Indices of the dropped messages.
        cleared: Indices of the cleared ones.
        placeholder: The index of the notice in the result.
    """
    changed = {*gone, *cleared}
    first = min((*changed, len(sizes) if placeholder is None else placeholder))
    lost = sum(size for index, size in enumerate(sizes) if index >= first and index not in changed)
    return KeptPrefix(first, fixed + sum(sizes[:first]), lost, None if lost else 0)


def lost_cache_nano(calculator: CostCalculator, model: str, input_tokens: int, lost_tokens: int) -> int | None:
    """What it costs to read tokens as new input that could have come from the cache, or ``None`` where nobody knows.

    Args:
        calculator: Knows the prices.
        model: Whose prices.
        input_tokens: The whole request's, because prices can depend on it.
        lost_tokens: Those that are read again.
    """
    lost = min(lost_tokens, input_tokens)
    try:
        fresh = calculator.calculate_cost(TokenUsage(input_tokens), model)
        cached = calculator.calculate_cost(TokenUsage(input_tokens, cached_input_tokens=lost), model)
    except (UnknownPrice, InvalidInput):
        return None
    return fresh.total_nano - cached.total_nano if "cached_input" in cached.prices else None
