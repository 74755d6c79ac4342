"""Which tokenizer a model gets: its own where there is one, an estimate with bounds where not."""

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.tokenizers.base import MakeTokenizer, Tokenizer, TokenizerOptions
from tokenward.engine.tokenizers.estimate import EstimateTokenizer
from tokenward.engine.tokenizers.openai import make_openai

FAMILIES: tuple[MakeTokenizer, ...] = (make_openai,)
"""The families with a tokenizer of their own, asked in this order."""


def tokenizer_for(info: ModelInfo, options: TokenizerOptions) -> Tokenizer:
    """The best way there is to count for a model. What is only assumed of a model makes it an estimate."""
    for make in FAMILIES:
        tokenizer = make(info, options)
        if tokenizer is not None:
            return tokenizer
    return EstimateTokenizer(info)
