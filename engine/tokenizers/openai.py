"""OpenAI's models: the exact count, by their published encodings."""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Literal

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.tokenizers.base import ExactTokenizer, Method, Tokenizer, TokenizerOptions
from tokenward.engine.tokenizers.encodings import load_encoding
from tokenward.engine.tokenizers.fast import toktok_core
from tokenward.engine.tokenizers.text import count_text


class TiktokenTokenizer(ExactTokenizer):
    """The exact count, by a published OpenAI encoding, which is loaded at the first count.

    ``method`` is "tiktoken" whichever core counts, for their counts are the same; ``core`` tells which one it is.

    Args:
        encoding: The encoding's name.
        fast: Whether toktok may count where it is installed and agrees with tiktoken.
    """

    method: Method = "tiktoken"

    def __init__(self, encoding: str, *, fast: bool = True) -> None:
        self.encoding = encoding
        self._fast = fast

    @property
    def core(self) -> Literal["tiktoken", "toktok"]:
        """What counts. Finding out loads the encoding."""
        return "tiktoken" if self._toktok is None else "toktok"

    def count(self, text: str) -> int:
        """The true count."""
        return self._count(text)

    @cached_property
    def _toktok(self) -> Callable[[str], int] | None:
        return toktok_core(self.encoding) if self._fast else None

    @cached_property
    def _count(self) -> Callable[[str], int]:
        return self._toktok or partial(count_text, load_encoding(self.encoding))


def make_openai(info: ModelInfo, options: TokenizerOptions) -> Tokenizer | None:
    """The tokenizer of a model whose encoding OpenAI has published, and that is not only assumed."""
    published = info.family == "openai" and not info.warnings
    return TiktokenTokenizer(info.encoding, fast=options.fast) if published else None
