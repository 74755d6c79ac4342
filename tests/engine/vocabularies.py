"""Small vocabularies of every kind that users give, trained on the spot: nothing is downloaded, nothing is shipped."""

import base64
import importlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
PATTERN = rf"{_WORDS}|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How recent byte-level vocabularies split text before they merge."""


def sample() -> str:
    """Prose, code and Chinese to train on and to count, from a file so that no document changes it."""
    written = (ROOT / "tests" / "data" / "prose_and_code.txt").read_text(encoding="utf-8")
    return f"{written}\n{'春眠不覚暁、処処聞啼鳥。夜来風雨声,花落知多少。' * 20}\n"


def lines() -> Iterator[str]:
    return iter(sample().splitlines())


def huggingface(kind: str) -> bytes:
    """A ``tokenizer.json``: ``bytes`` as Llama 3 has it, ``spaces`` as Llama 2, ``unigram`` T5, ``words`` BERT."""
    library: Any = pytest.importorskip("tokenizers")
    parts = ("models", "normalizers", "pre_tokenizers", "trainers")
    models, normalizers, before, trainers = (importlib.import_module(f"tokenizers.{name}") for name in parts)
    special = {"special_tokens": ["<unk>", "<|end|>"], "show_progress": False}
    if kind == "bytes":
        made = library.Tokenizer(models.BPE())
        split = before.Split(library.Regex(PATTERN), "isolated")
        made.pre_tokenizer = before.Sequence([split, before.ByteLevel(add_prefix_space=False, use_regex=False)])
        alphabet = before.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, **special)
    elif kind == "spaces":
        made = library.Tokenizer(models.BPE(unk_token="<unk>"))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.pre_tokenizer = before.Metaspace(prepend_scheme="never")
        trainer = trainers.BpeTrainer(vocab_size=1000, **special)
    elif kind == "unigram":
        made = library.Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = before.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=800, unk_token="<unk>", **special)
    else:
        made = library.Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = before.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=800, **special)
    made.train_from_iterator(lines(), trainer)
    if kind == "spaces":
        made.pre_tokenizer = None
    written: str = made.to_str()
    return written.encode()


def sentencepiece(*, model_type: str = "bpe", prefix: bool = True, normalization: str = "identity") -> bytes:
    """A SentencePiece model: with a prefix as Mistral's and Llama 2's, without as Gemma's."""
    library: Any = pytest.importorskip("sentencepiece")
    written = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=lines(),
        model_writer=written,
        vocab_size=1200,
        model_type=model_type,
        add_dummy_prefix=prefix,
        normalization_rule_name=normalization,
        remove_extra_whitespaces=normalization != "identity",
        byte_fallback=True,
        num_threads=1,
        minloglevel=2,
    )
    return written.getvalue()


def tekken(pattern: str) -> bytes:
    """A ``tekken.json`` of single bytes and some words."""
    words = ["he", "ll", "lo", "wo", "rl", "hell", "hello", " wo", " worl", " world", "  ", "    "]
    tokens = [bytes([byte]) for byte in range(256)] + [word.encode() for word in words] + [b"beyond"]
    vocabulary = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for rank, token in enumerate(tokens)
    ]
    config = {
        "pattern": pattern,
        "num_vocab_tokens": len(tokens),
        "default_vocab_size": len(tokens) - 1 + 20,
        "default_num_special_tokens": 20,
        "version": "v3",
    }
    return json.dumps({"config": config, "vocab": vocabulary, "version": 1, "type": "Tekken"}).encode()
