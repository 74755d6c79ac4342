"""Which tokenizer a model gets: its own where there is one, an estimate with bounds where not."""

from collections.abc import Sequence
from functools import partial

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.tokenizers.base import Tokenizer, TokenizerOptions
from tokenward.engine.tokenizers.claude import claude_source
from tokenward.engine.tokenizers.estimate import EstimateTokenizer
from tokenward.engine.tokenizers.files import file_for
from tokenward.engine.tokenizers.guarded import GuardedTokenizer, NotedTokenizer, Source, notes_of
from tokenward.engine.tokenizers.mistral import mistral_source
from tokenward.engine.tokenizers.openai import make_openai
from tokenward.engine.tokenizers.plugins import installed_plugins


def tokenizer_for(info: ModelInfo, options: TokenizerOptions) -> Tokenizer:
    """The best way there is to count for a model. What is only assumed of a model makes it an estimate.

    Plug-ins are asked first, in the order of their names, then the user's files, then the libraries mistral-common and
    ctok. All of these are other people's: at their first failure the next way counts. OpenAI's encodings and the
    estimates are this package's.
    """
    sources = _sources(info, options)
    tokenizer = _from_sources(info, options, sources, 0)
    # This package's own tokenizers never give way, so what there is to note about them is known by now.
    if isinstance(tokenizer, GuardedTokenizer) or notes_of(sources, info):
        return NotedTokenizer(tokenizer, sources, info)
    return tokenizer


def _sources(info: ModelInfo, options: TokenizerOptions) -> Sequence[Source]:
    plugins = installed_plugins() if options.plugins else ()
    file = file_for(info, options)
    return (*plugins, *((file,) if file else ()), mistral_source(), claude_source())


def _from_sources(info: ModelInfo, options: TokenizerOptions, sources: Sequence[Source], first: int) -> Tokenizer:
    """The tokenizer of the first source from ``first`` on that has one, else of this package."""
    for index in range(first, len(sources)):
        tokenizer = sources[index].tokenizer(info, options)
        if tokenizer is not None:
            following = partial(_from_sources, info, options, sources, index + 1)
            return GuardedTokenizer(sources[index], tokenizer, info, following)
    return make_openai(info, options) or EstimateTokenizer(info, fast=options.fast)
