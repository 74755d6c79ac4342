"""Vocabulary files that the user gives: exact counts for models whose vocabularies may not be shipped.

Three kinds are told apart by what is in them: ``tokenizer.json`` of Hugging Face (needs the extra ``hf``), models of
SentencePiece such as Gemma's ``tokenizer.model`` (needs ``sentencepiece``), and Mistral's ``tekken.json``. The user
vouches for which models a file is right for.
"""

import hashlib
import importlib
import json
import re
import threading
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.tokenizers.base import ExactTokenizer, Method, Tokenizer, TokenizerOptions
from tokenward.engine.tokenizers.encodings import ENCODING_NAMES
from tokenward.engine.tokenizers.guarded import Source, failure
from tokenward.engine.tokenizers.parts import Encode, count_in_parts
from tokenward.engine.tokenizers.pieces import replace_lone_surrogates
from tokenward.engine.tokenizers.tekken import load_tekken

Kind: TypeAlias = Literal["huggingface", "sentencepiece", "tekken"]

MAX_FILE_BYTES = 256 * 1024 * 1024
"""More than any vocabulary has; a larger file is none."""

_READERS: dict[Kind, tuple[str, str]] = {
    "huggingface": ("tokenizers", "hf"),
    "sentencepiece": ("sentencepiece", "sentencepiece"),
    "tekken": ("tiktoken", ""),
}
"""The library that reads a kind of file, and the extra that installs it."""

METHODS: dict[Kind, Method] = {"huggingface": "huggingface", "sentencepiece": "huggingface", "tekken": "mistral-common"}
"""What a count by a kind of file is called. The methods are a fixed list without SentencePiece; its models are found in
the same repositories as ``tokenizer.json``, and the encoding names the file."""

_PROBE = "tokenward"
"""A text that every vocabulary gives a token for; one that does not would count any text as nothing."""

_KEPT_FILES = 64

# `lru_cache` alone lets two threads read the same file, each for itself.
_KEEPING = threading.Lock()

_RANKS = re.compile(rb"[A-Za-z0-9+/=]+ \d+\r?\n")


class EmptyVocabulary(ValueError):  # noqa: N818 - its name is the file's problem
    """A file that can be read and gives no tokens."""


class VocabularyFile(Source):
    """One file of the setting ``tokenizers``, read when it is first asked for.

    Args:
        key: The setting's key: the beginning of a model's bare name, or a family.
        path: The file.
    """

    def __init__(self, key: str, path: Path) -> None:
        super().__init__(f"The file of the setting tokenizers.{key}")
        self.key = key
        self.path = path
        self._loading = threading.Lock()
        self._tokenizer: FileTokenizer | None = None

    def serves(self, info: ModelInfo) -> bool:
        """Whether the key names the model or its family. An encoding's name is never served by a file."""
        if info.name in ENCODING_NAMES:
            return False
        key = self.key.lower()
        return info.family == key or info.name.startswith(key)

    def tokenizer(self, info: ModelInfo, options: TokenizerOptions) -> Tokenizer | None:
        """The file's tokenizer, or ``None`` where it serves another model or cannot be used."""
        del options
        if not self.serves(info):
            return None
        with self._loading:
            if self._tokenizer is None and self.problem is None:
                self._tokenizer = self._opened()
        return self._tokenizer

    def note(self, info: ModelInfo) -> str | None:
        """Says that the file cannot be used, to whoever counts for a model that it should serve."""
        if self.problem is None or not self.serves(info):
            return None
        return f"{self.label} {self.problem}; the model is counted without it."

    def examine(self) -> str:
        """The kind of the file, after it has counted a text. ``problem`` says what failed."""
        with self._loading:
            if self._tokenizer is None and self.problem is None:
                self._tokenizer = self._opened()
        if self._tokenizer is None or self.problem is not None:
            return ""
        try:
            self._tokenizer.count("tokenward \ud800")
        except BaseException as error:  # noqa: BLE001 - whatever it is, the examination goes on
            self.fail(failure(error, "when it was read"))
            return ""
        return f"{self._tokenizer.kind}, {self._tokenizer.encoding}"

    def _opened(self) -> "FileTokenizer | None":
        try:
            return FileTokenizer(self.path.name, _read(self.path))
        except _Unusable as unusable:
            self.fail(str(unusable))
        except OSError as error:
            self.fail(f"cannot be read ({error.strerror or type(error).__name__})")
        return None


class FileTokenizer(ExactTokenizer):
    """A tokenizer from a user's file. The vocabulary is built at the first count.

    Attributes:
        method: By the kind of file.
        exact: True: the user vouches that the model reads text by this file.
        encoding: The file's name and the beginning of its SHA-256, so that another file is another encoding.
    """

    warnings: tuple[str, ...] = ()

    def __init__(self, name: str, data: bytes) -> None:
        self.kind: Kind = kind_of(data)
        self.method: Method = METHODS[self.kind]
        self.encoding = f"{name}:{hashlib.sha256(data).hexdigest()[:8]}"
        self._data: bytes | None = data
        self._loading = threading.Lock()
        self._count: Callable[[str], int] | None = None

    def count(self, text: str) -> int:
        """The true count. Text that spells a special token counts as ordinary text."""
        return self._loaded()(text)

    def _loaded(self) -> Callable[[str], int]:
        with self._loading:
            if self._count is None:
                count = _LOADERS[self.kind](self._data or b"")
                if count(_PROBE) == 0:
                    raise EmptyVocabulary
                self._count, self._data = count, None
            return self._count


def file_for(info: ModelInfo, options: TokenizerOptions) -> VocabularyFile | None:
    """The file that serves a model: of several, the one with the longest key."""
    serving = [one for one in given_files(options) if one.serves(info)]
    return max(serving, key=lambda one: len(one.key), default=None)


def given_files(options: TokenizerOptions) -> tuple[VocabularyFile, ...]:
    """The files of the options, each kept for the process while it does not change."""
    with _KEEPING:
        return tuple(_kept(key, path, _stamp(path)) for key, path in options.files.items())


def kind_of(data: bytes) -> Kind:
    """What kind of vocabulary a file holds.

    Raises:
        _Unusable: None that is known, or the library that reads it is not installed.
    """
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    kind: Kind
    if not start:
        raise _Unusable("is empty")
    if start.startswith(b"{"):
        kind = "tekken" if b'"token_bytes"' in data else "huggingface"
    elif _RANKS.match(start):
        raise _Unusable("is a list of ranks without a pattern; give the model's tokenizer.json instead")
    else:
        kind = "sentencepiece"
    library, extra = _READERS[kind]
    if not installed(library):
        raise _Unusable(f"needs the library {library}: pip install 'tokenward[{extra}]'")
    return kind


def installed(library: str) -> str | None:
    """The version of an installed distribution, or ``None``."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


@lru_cache(_KEPT_FILES)
def _kept(key: str, path: Path, stamp: tuple[int, int]) -> VocabularyFile:
    del stamp
    return VocabularyFile(key, path)


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when the file does: a broken one that was replaced is tried again."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


class _Unusable(Exception):  # noqa: N818 - becomes the file's problem
    """A file that cannot be used; the text says why."""


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise _Unusable("does not exist" if not path.exists() else "is no file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise _Unusable(f"is larger than {MAX_FILE_BYTES // 1024 // 1024} MiB")
    return path.read_bytes()


# One loader per kind: the file's bytes to a function that counts a text -------------------------------------------


class _HuggingFaceEncoding(Protocol):
    @property
    def ids(self) -> list[int]: ...


class _HuggingFace(Protocol):
    """What is used of ``tokenizers.Tokenizer``."""

    encode_special_tokens: bool

    def no_truncation(self) -> None: ...
    def no_padding(self) -> None: ...
    def encode(self, sequence: str, *, add_special_tokens: bool) -> _HuggingFaceEncoding: ...


class _HuggingFaceClass(Protocol):
    def from_str(self, json: str) -> _HuggingFace: ...


class _SentencePiece(Protocol):
    """What is used of ``sentencepiece.SentencePieceProcessor``."""

    def encode(self, input: str) -> list[int]: ...  # noqa: A002 - the library's name


class _SentencePieceClass(Protocol):
    def __call__(self, *, model_proto: bytes) -> _SentencePiece: ...


def load_huggingface(data: bytes) -> Callable[[str], int]:
    """A ``tokenizer.json``. What the file says of truncation, padding and added special tokens is for models."""
    library: _HuggingFaceClass = importlib.import_module("tokenizers").Tokenizer
    tokenizer = library.from_str(data.decode("utf-8-sig"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return _counting(lambda text: tokenizer.encode(text, add_special_tokens=False).ids)


def load_sentencepiece(data: bytes) -> Callable[[str], int]:
    """A SentencePiece model, without the tokens for the beginning and the end of a text."""
    library: _SentencePieceClass = importlib.import_module("sentencepiece").SentencePieceProcessor
    model = library(model_proto=data)
    return _counting(model.encode)


def _load_tekken(data: bytes) -> Callable[[str], int]:
    return load_tekken(json.loads(data)).count


def _counting(encode: Encode) -> Callable[[str], int]:
    return lambda text: count_in_parts(encode, replace_lone_surrogates(text))


_LOADERS: dict[Kind, Callable[[bytes], Callable[[str], int]]] = {
    "huggingface": load_huggingface,
    "sentencepiece": load_sentencepiece,
    "tekken": _load_tekken,
}
