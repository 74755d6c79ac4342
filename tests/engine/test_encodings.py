"""The seven encodings are the published ones, and building them needs nothing but the package."""

import base64
import hashlib
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from unittest import mock

import pytest
import tiktoken
from pydantic import TypeAdapter
from tiktoken_ext import openai_public  # type: ignore[import-untyped]

from tokenward.engine.errors import CorruptData, UnknownEncoding
from tokenward.engine.tokenizers import encodings
from tokenward.engine.tokenizers.encodings import ENCODING_NAMES, load_encoding, piece_pattern, read_ranks

NAMES = sorted(ENCODING_NAMES)

PUBLISHED_RANKS = {"gpt2": "r50k_base", "p50k_edit": "p50k_base", "o200k_harmony": "o200k_base"}
GPT2_MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"


@dataclass(frozen=True)
class Published:
    """What tiktoken says of an encoding, without downloading its ranks."""

    pattern: str
    special_tokens: dict[str, int]
    raw_sha256: str
    n_vocab: int | None


def published(name: str) -> Published:
    hashes: list[str] = []

    def note(_url: str, expected_hash: str) -> dict[bytes, int]:
        hashes.append(expected_hash)
        return {}

    def note_gpt2(*, vocab_bpe_hash: str, **_: str) -> dict[bytes, int]:
        hashes.append(vocab_bpe_hash)
        return {}

    with (
        mock.patch.object(openai_public, "load_tiktoken_bpe", note),
        mock.patch.object(openai_public, "data_gym_to_mergeable_bpe_ranks", note_gpt2),
    ):
        definition: Mapping[str, object] = openai_public.ENCODING_CONSTRUCTORS[name]()
    pattern, n_vocab = definition["pat_str"], definition.get("explicit_n_vocab")
    assert isinstance(pattern, str)
    assert n_vocab is None or isinstance(n_vocab, int)
    special_tokens = TypeAdapter(dict[str, int]).validate_python(definition["special_tokens"])
    return Published(pattern, special_tokens, hashes[0], n_vocab)


def ranks_of(encoding: tiktoken.Encoding) -> dict[bytes, int]:
    specials = {encoding.encode_single_token(token) for token in encoding.special_tokens_set}
    tokens = {rank for rank in range(encoding.n_vocab) if rank not in specials}
    known: dict[bytes, int] = {}
    for rank in sorted(tokens):
        try:
            known[encoding.decode_single_token_bytes(rank)] = rank
        except KeyError:
            continue
    return known


def raw_file(ranks: dict[bytes, int]) -> bytes:
    """The ``.tiktoken`` file that holds these ranks."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(base64.b64encode(token) + b" " + str(rank).encode() + b"\n" for token, rank in ordered)


def merges_file(ranks: dict[bytes, int]) -> bytes:
    """The ``vocab.bpe`` file of GPT-2 that leads to these ranks."""
    ordered = sorted(ranks, key=ranks.__getitem__)
    spelling: dict[int, str] = {}
    for token in ordered[:256]:
        byte = token[0]
        printable = 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174
        hidden = sum(spelled >= "Ā" for spelled in spelling.values())
        spelling[byte] = chr(byte) if printable else chr(256 + hidden)
    lines = ["#version: 0.2"]
    for token in ordered[256:]:
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            joined = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
            best = joined.index(min(joined))
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        lines.append(" ".join("".join(spelling[byte] for byte in part) for part in parts))
    return "\n".join([*lines, ""]).encode()


def test_the_seven_encodings_are_all_that_tiktoken_publishes() -> None:
    assert set(openai_public.ENCODING_CONSTRUCTORS) == ENCODING_NAMES


@pytest.mark.parametrize("name", NAMES)
def test_pattern_and_special_tokens_are_the_published_ones(name: str) -> None:
    encoding = load_encoding(name)
    expected = published(name)
    assert encoding.name == name
    assert piece_pattern(name) == expected.pattern
    assert {token: encoding.encode_single_token(token) for token in encoding.special_tokens_set} == (
        expected.special_tokens
    )
    if expected.n_vocab:
        assert encoding.n_vocab == expected.n_vocab


@pytest.mark.parametrize("name", NAMES)
def test_ranks_give_back_the_very_file_that_tiktoken_would_download(name: str) -> None:
    ranks = read_ranks(PUBLISHED_RANKS.get(name, name))
    raw = merges_file(ranks) if name == "gpt2" else raw_file(ranks)
    assert hashlib.sha256(raw).hexdigest() == published(name).raw_sha256
    specials = set(published(name).special_tokens.values())
    assert ranks_of(load_encoding(name)) == {token: rank for token, rank in ranks.items() if rank not in specials}


def test_the_hash_of_gpt2_merges_is_the_well_known_one() -> None:
    assert published("gpt2").raw_sha256 == GPT2_MERGES_SHA256


def test_one_encoding_is_built_once_whatever_threads_ask() -> None:
    with ThreadPoolExecutor(8) as pool:
        built = set(map(id, pool.map(load_encoding, ["p50k_base"] * 32)))
    assert len(built) == 1


@pytest.mark.parametrize("name", ["", "cl100k", "cl200k_base", "CL100K_BASE", "../vocabularies"])
def test_an_unknown_encoding_is_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownEncoding, match="Known: cl100k_base, gpt2"):
        load_encoding(name)


def test_a_damaged_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def other_bytes(name: str) -> bytes:
        return name.encode()

    monkeypatch.setattr(encodings, "read_bytes", other_bytes)
    with pytest.raises(CorruptData, match=r"r50k_base\.bpe\.zz"):
        read_ranks("r50k_base")


def test_encodings_need_no_network_no_registration_and_are_not_loaded_at_import() -> None:
    program = """
import sys

def refuse(event, arguments):
    if event.startswith("socket."):
        raise RuntimeError(event)

sys.addaudithook(refuse)
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.tokenizers.encodings import ENCODING_NAMES, load_encoding
heavy = {"tiktoken", "regex", "requests", "genai_prices", "pydantic"} & set(sys.modules)
assert not heavy, heavy
for name in ENCODING_NAMES:
    assert load_encoding(name).encode_ordinary("hello world")
assert TokenCounter().count_tokens("hello world", "gpt-4o").token_count == 2
import tiktoken.registry
assert not tiktoken.registry.ENCODINGS
assert "requests" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
