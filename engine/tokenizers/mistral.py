"""Mistral's models: counted by the vocabularies that the library mistral-common ships (the extra ``mistral``).

Only the files of its package are used, so nothing is downloaded and the library itself, which is slow to start, is not
imported: Tekken is counted by tiktoken and SentencePiece by its own library, as mistral-common does. Which model has
which vocabulary is in ``engine/data/mistral.json``; a model that it does not name is assumed to have the newest.
"""

import importlib.util
import json
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.datafiles import object_at, read_json, text_at
from tokenward.engine.errors import shown
from tokenward.engine.tokenizers.assumed import AssumedTokenizer
from tokenward.engine.tokenizers.base import ExactTokenizer, Method, Tokenizer, TokenizerOptions
from tokenward.engine.tokenizers.files import load_sentencepiece
from tokenward.engine.tokenizers.guarded import Source
from tokenward.engine.tokenizers.tekken import load_tekken
from tokenward.engine.types import JsonObject

FAMILY = "mistral"

INSTALL = "pip install 'tokenward[mistral]'"

# `cache` alone lets two threads load the same vocabulary at once.
_LOADING = threading.Lock()

_PACKAGE = "mistral_common"
_SENTENCEPIECE = "sentencepiece"


class MistralTokenizer(ExactTokenizer):
    """The count by one of Mistral's vocabularies, which is loaded at the first count.

    A SentencePiece vocabulary puts a space before every text, and so counts it.

    Args:
        encoding: A key of ``vocabularies`` in ``mistral.json``.
    """

    method: Method = "mistral-common"
    warnings: tuple[str, ...] = ()

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding

    def count(self, text: str) -> int:
        """The tokens of a text, without any for its beginning and end. Control tokens count as ordinary text."""
        return count_function(self.encoding)(text)


class AssumedMistralTokenizer(AssumedTokenizer):
    """The count for a model that is only assumed to have the newest vocabulary."""

    def __init__(self, encoding: str, model: str) -> None:
        super().__init__(MistralTokenizer(encoding))
        self.warnings = (f"The vocabulary of {shown(model)} is not published; Mistral's {encoding} is assumed.",)


class MistralCommon(Source):
    """The library mistral-common, as far as it is installed."""

    def __init__(self) -> None:
        super().__init__("mistral-common")

    def tokenizer(self, info: ModelInfo, options: TokenizerOptions) -> Tokenizer | None:
        """The tokenizer of one of Mistral's models; ``None`` for others, and where its vocabulary is not installed."""
        del options
        if info.family != FAMILY or self.problem is not None:
            return None
        published = published_vocabulary(info.name)
        encoding = published or text_at(_document(), "assumed")
        if _file(encoding) is None:
            return None
        return MistralTokenizer(encoding) if published else AssumedMistralTokenizer(encoding, info.name)

    def note(self, info: ModelInfo) -> str | None:
        """Says that the library failed, to whoever counts for one of Mistral's models."""
        return f"{self.label} {self.problem}." if self.problem and info.family == FAMILY else None


def mistral_source() -> MistralCommon:
    """The process's one."""
    with _LOADING:
        return _source()


def published_vocabulary(name: str) -> str | None:
    """The vocabulary of a model by its bare name, or ``None`` where it is not published."""
    models = object_at(_document(), "published")
    prefixes = [prefix for prefix in models if name.startswith(prefix)]
    return text_at(models, max(prefixes, key=len)) if prefixes else None


def count_function(encoding: str) -> Callable[[str], int]:
    """What counts a text by one of Mistral's vocabularies, loaded at the first call and kept.

    Raises:
        FileNotFoundError: The file is not there, or the library that reads it.
    """
    with _LOADING:
        return _count_function(encoding)


@cache
def _source() -> MistralCommon:
    return MistralCommon()


@cache
def _count_function(encoding: str) -> Callable[[str], int]:
    file = _file(encoding)
    if file is None:
        raise FileNotFoundError(encoding)
    if text_at(_vocabulary(encoding), "kind") == _SENTENCEPIECE:
        return load_sentencepiece(file.read_bytes())
    return load_tekken(json.loads(file.read_bytes())).count


def _file(encoding: str) -> Path | None:
    """The vocabulary's file where it and what reads it are installed. Nothing is imported to find out."""
    entry = _vocabulary(encoding)
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    if text_at(entry, "kind") == _SENTENCEPIECE and importlib.util.find_spec(_SENTENCEPIECE) is None:
        return None
    file = Path(spec.origin).parent / "data" / text_at(entry, "file")
    return file if file.is_file() else None


def _vocabulary(encoding: str) -> JsonObject:
    return object_at(object_at(_document(), "vocabularies"), encoding)


@cache
def _document() -> JsonObject:
    return read_json("mistral.json")
