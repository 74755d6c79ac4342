"""Which way of counting a model gets: its own tokenizer where there is one, an estimate with bounds where not."""

from typing import Protocol

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.counting.encodings import load_encoding
from tokenward.engine.counting.estimate import FamilyEstimate
from tokenward.engine.counting.results import Method
from tokenward.engine.counting.text import count_text


class TextCounter(Protocol):
    """Counts texts for one model."""

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


class TiktokenCounter:
    """The exact count, by a published OpenAI encoding."""

    method: Method = "tiktoken"
    exact = True

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        self._encoding = load_encoding(info.encoding)

    def count(self, text: str) -> int:
        """The true count."""
        return count_text(self._encoding, text)

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        """The count itself, twice."""
        del text
        return tokens, tokens


class EstimateCounter:
    """An estimate: the count by a base encoding, times the family's ratio for such a text."""

    method: Method = "estimate"
    exact = False

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        self._encoding = load_encoding(info.encoding)
        self._family = FamilyEstimate(info.family, known=info.known)

    def count(self, text: str) -> int:
        """The estimate."""
        return self._family.ratio(text).tokens(count_text(self._encoding, text))

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        """Between which counts the truth is to be expected."""
        return self._family.ratio(text).bounds(tokens, self._family.slack_tokens)


def counter_for(info: ModelInfo) -> TextCounter:
    """The best way there is to count for a model. What is only assumed of a model makes it an estimate."""
    if info.family == "openai" and not info.warnings:
        return TiktokenCounter(info)
    return EstimateCounter(info)
