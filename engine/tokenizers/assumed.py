"""A tokenizer for a model that is only assumed to have it: the same count, as an estimate with bounds."""

import math
from functools import cache

from tokenward.engine.datafiles import list_at, read_json
from tokenward.engine.errors import CorruptData
from tokenward.engine.tokenizers.base import Method, Tokenizer


class AssumedTokenizer:
    """Counts like another tokenizer and does not say that it is exact.

    Its bounds are the other's, widened by ``unknown_model`` of ``estimates.json``.

    Args:
        tokenizer: What counts.
    """

    exact = False

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.count = tokenizer.count

    @property
    def method(self) -> Method:
        """The other's."""
        return self._tokenizer.method

    @property
    def encoding(self) -> str:
        """The other's."""
        return self._tokenizer.encoding

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        """Between which counts the truth is to be expected."""
        lower, upper = self._tokenizer.bounds(text, tokens)
        if not tokens:
            return lower, upper
        lowest, highest = unknown_widening()
        return max(1, math.floor(lower * lowest)), math.ceil(upper * highest)


@cache
def unknown_widening() -> tuple[float, float]:
    """By what the lowest and the highest count of a model are multiplied of which only its family is assumed.

    Raises:
        CorruptData: ``unknown_model`` of ``estimates.json`` is not two numbers.
    """
    match list_at(read_json("estimates.json"), "unknown_model"):
        case [float(lowest), float(highest)]:
            return lowest, highest
        case _:
            raise CorruptData("estimates.json")
