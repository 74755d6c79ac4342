"""OpenAI's encodings, built from the vocabularies in the package: no download, no registration with tiktoken.

tiktoken fetches its vocabularies over the network at first use and keeps them in a temporary folder. Here they come
from ``engine/data``, one encoding at a time, when it is first needed, and only if their SHA-256 is the recorded one.
"""

import hashlib
import threading
import zlib
from functools import cache
from typing import TYPE_CHECKING

from tokenward.engine.datafiles import integers, object_at, read_bytes, read_json, text_at
from tokenward.engine.errors import CorruptData, UnknownEncoding
from tokenward.engine.tokenizers.base import TokenizationModel
from tokenward.engine.types import JsonObject

if TYPE_CHECKING:
    import tiktoken

ENCODING_NAMES = frozenset(name.value for name in TokenizationModel)

# `cache` alone lets two threads build the same encoding at once, at 80 MB each.
_BUILDING = threading.RLock()


def load_encoding(name: str) -> "tiktoken.Encoding":
    """One of the seven encodings, built at its first use and kept.

    Args:
        name: An encoding's name, one of ``ENCODING_NAMES``.

    Raises:
        UnknownEncoding: No encoding has this name.
        CorruptData: Its file is missing or is not the one that was shipped.
    """
    with _BUILDING:
        return _encoding(name)


def piece_pattern(name: str) -> str:
    """The regular expression by which an encoding splits text into pieces before it merges bytes."""
    with _BUILDING:
        return text_at(_definition(name), "pattern")


def read_ranks(name: str) -> dict[bytes, int]:
    """Token bytes to rank, from one of the four packed files that ``scripts/pack_vocabularies.py`` writes.

    Raises:
        CorruptData: The file is missing or its SHA-256 is not the recorded one.
    """
    entry = object_at(object_at(_document(), "ranks"), name)
    file = text_at(entry, "file")
    packed = read_bytes(file)
    if hashlib.sha256(packed).hexdigest() != text_at(entry, "packed_sha256"):
        raise CorruptData(file)
    data = zlib.decompress(packed)
    ranks: dict[bytes, int] = {}
    position = rank = 0
    while position < len(data):
        start = position + 1
        position = start + data[position]
        if position > start:
            ranks[data[start:position]] = rank
        rank += 1
    return ranks


@cache
def _document() -> JsonObject:
    return read_json("vocabularies.json")


def _definition(name: str) -> JsonObject:
    if name not in ENCODING_NAMES:
        raise UnknownEncoding(name, ENCODING_NAMES)
    return object_at(object_at(_document(), "encodings"), name)


@cache
def _encoding(name: str) -> "tiktoken.Encoding":
    import tiktoken  # noqa: PLC0415 - heavy

    definition = _definition(name)
    return tiktoken.Encoding(
        name,
        pat_str=text_at(definition, "pattern"),
        mergeable_ranks=_ranks(text_at(definition, "ranks")),
        special_tokens=integers(object_at(definition, "special_tokens")),
    )


@cache
def _ranks(name: str) -> dict[bytes, int]:
    # tiktoken keeps a reference to this very dictionary, so sharing it between encodings costs nothing.
    return read_ranks(name)
