"""A family of one's own, as a plug-in: exact counts for the models whose names begin with "acme-"."""

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.tokenizers.base import Method, Tokenizer, TokenizerOptions


class Words:
    """Every word is a token."""

    method: Method = "huggingface"
    exact = True
    encoding = "acme-words"

    def count(self, text: str) -> int:
        """The tokens of a text."""
        return len(text.split())

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        """The lowest and the highest true count to expect."""
        return tokens, tokens


def make(info: ModelInfo, options: TokenizerOptions) -> Tokenizer | None:
    return Words() if info.name.startswith("acme-") else None
