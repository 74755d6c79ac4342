"""Tekken: Mistral's byte-pair vocabularies, read from ``tekken.json`` and counted by tiktoken, as their maker does."""

import base64
from typing import TYPE_CHECKING

from tokenward.engine.tokenizers.pieces import count_piece, replace_lone_surrogates
from tokenward.engine.tokenizers.text import DIRECT_CHARACTERS, count_text
from tokenward.engine.types import JsonValue

if TYPE_CHECKING:
    import tiktoken

PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The expression of the files that mistral-common ships. ``SAFE_CUT`` holds for it: it is o200k_base's, with single
digits and without contractions."""


class TekkenVocabulary:
    """A Tekken vocabulary.

    Args:
        encoding: Its ranks and its expression.
        pattern: The expression once more.
    """

    def __init__(self, encoding: "tiktoken.Encoding", pattern: str) -> None:
        self._encoding = encoding
        self._pattern = pattern

    def count(self, text: str) -> int:
        """The exact number of tokens of any string, control tokens being ordinary text."""
        if self._pattern == PATTERN:
            return count_text(self._encoding, text, self._pattern)
        if len(text) <= DIRECT_CHARACTERS:
            return len(self._encoding.encode_ordinary(text))
        return self._count_uncut(replace_lone_surrogates(text))

    def _count_uncut(self, text: str) -> int:
        # Of another expression it is not known where a text may be cut, nor what it looks ahead for.
        import regex  # type: ignore[import-untyped]  # noqa: PLC0415 - heavy

        found = regex.finditer(self._pattern, text)
        return sum(count_piece(self._encoding, (piece.group().encode(),)) for piece in found)


def load_tekken(document: JsonValue) -> TekkenVocabulary:
    """The vocabulary of a ``tekken.json``.

    Raises:
        ValueError: The document is no Tekken vocabulary.
    """
    import tiktoken  # noqa: PLC0415 - heavy

    config = document.get("config") if isinstance(document, dict) else None
    vocabulary = document.get("vocab") if isinstance(document, dict) else None
    if not isinstance(config, dict) or not isinstance(vocabulary, list):
        raise ValueError("no Tekken vocabulary")  # noqa: TRY004 - a document of the wrong shape
    pattern = config.get("pattern")
    size, specials = config.get("default_vocab_size"), config.get("default_num_special_tokens")
    if not isinstance(pattern, str) or not isinstance(size, int) or not isinstance(specials, int):
        raise ValueError("no Tekken vocabulary")  # noqa: TRY004 - a document of the wrong shape
    # The file holds more than the models use; ids of control tokens come first and are none of the ranks.
    ranks = {_token(entry): rank for rank, entry in enumerate(vocabulary[: size - specials])}
    encoding = tiktoken.Encoding("tekken", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return TekkenVocabulary(encoding, pattern)


def _token(entry: JsonValue) -> bytes:
    token = entry.get("token_bytes") if isinstance(entry, dict) else None
    if not isinstance(token, str):
        raise ValueError("no Tekken vocabulary")  # noqa: TRY004 - a document of the wrong shape
    return base64.b64decode(token)
