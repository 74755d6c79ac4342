"""OpenAI's models: the exact count, by their published encodings."""

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.tokenizers.base import Method, Tokenizer, TokenizerOptions
from tokenward.engine.tokenizers.encodings import load_encoding
from tokenward.engine.tokenizers.text import count_text


class TiktokenTokenizer:
    """The exact count, by a published OpenAI encoding."""

    method: Method = "tiktoken"
    exact = True

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._encoding = load_encoding(encoding)

    def count(self, text: str) -> int:
        """The true count."""
        return count_text(self._encoding, text)

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        """The count itself, twice."""
        del text
        return tokens, tokens


def make_openai(info: ModelInfo, options: TokenizerOptions) -> Tokenizer | None:
    """The tokenizer of a model whose encoding OpenAI has published, and that is not only assumed."""
    del options
    return TiktokenTokenizer(info.encoding) if info.family == "openai" and not info.warnings else None
