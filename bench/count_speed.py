"""The speed of ``count_tokens`` against tiktoken's ``encode_ordinary`` alone, with and without the ``fast`` extra.

Samples of both alternate on texts of the same kind, so every ratio is of rates in one run: 2 is twice tiktoken's speed.
`new` texts are seen for the first time; `again` is answered from the cache.
"""

import time
from collections.abc import Callable, Sequence

from bench.texts import Texts
from bench.timing import Comparison, compare, print_table
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.tokenizers.base import TokenizerOptions
from tokenward.engine.tokenizers.encodings import load_encoding
from tokenward.engine.tokenizers.openai import TiktokenTokenizer

MODELS = {"gpt-4o": "o200k_base", "gpt-4": "cl100k_base"}
SIZES = (120, 1_000, 10_000, 10_000_000)
BATCH = 1_000
CACHE = 10_000


def has_fast(encoding: str) -> bool:
    """Whether the ``fast`` extra is installed and counts."""
    return TiktokenTokenizer(encoding).core == "toktok"


def seconds(counts: Callable[[str], object], texts: Sequence[str]) -> float:
    """What counting these texts takes, for each of them."""
    start = time.perf_counter()
    for text in texts:
        counts(text)
    return (time.perf_counter() - start) / len(texts)


def loaded_counter(model: str, *, fast: bool) -> TokenCounter:
    """A counter that has counted before."""
    counter = TokenCounter(cache_size=CACHE, options=TokenizerOptions(fast=fast))
    counter.count_tokens("first", model)
    return counter


def against_tiktoken(model: str, size: int, texts: Texts, rounds: int, *, fast: bool, again: bool) -> Comparison:
    """Tiktoken's seconds to ours."""
    encode = load_encoding(MODELS[model]).encode_ordinary
    counter = loaded_counter(model, fast=fast)
    number = max(1, min(500, 400_000 // size))
    given: list[list[str]] = []

    def ours() -> float:
        if not given or not again:
            given[:] = [texts.several(number, size)]
        return seconds(lambda text: counter.count_tokens(text, model), given[0])

    # tiktoken keeps nothing of a text, so new ones will do for it each time.
    return compare(lambda: seconds(encode, texts.several(number, size)), ours, pairs=rounds)


def batches(model: str, size: int, texts: Texts, rounds: int, *, fast: bool) -> Comparison:
    """The seconds of a loop over tiktoken to those of ``count_tokens_batch``."""
    encode = load_encoding(MODELS[model]).encode_ordinary
    counter = loaded_counter(model, fast=fast)

    def ours() -> float:
        given = texts.several(BATCH, size)
        start = time.perf_counter()
        counter.count_tokens_batch(given, model)
        return (time.perf_counter() - start) / BATCH

    return compare(lambda: seconds(encode, texts.several(BATCH, size)), ours, pairs=rounds)


def row(name: str, found: Comparison) -> tuple[str, ...]:
    """A comparison of tiktoken's seconds to ours."""
    return (name, _duration(found.left), _duration(found.right), *found.ratio_cells)


def measure(*, quick: bool) -> None:
    """Print a table for each encoding."""
    texts = Texts()
    sizes = SIZES[:-1] if quick else SIZES
    for model, encoding in MODELS.items():
        cores = [("tiktoken", False), *([("toktok", True)] if has_fast(encoding) else [])]
        rows: list[tuple[str, ...]] = [("text", "tiktoken", "tokenward", "speed", "quartiles")]
        for size in sizes:
            rounds = 7 if quick or size > 1_000_000 else 31
            for core, fast in cores:
                found = against_tiktoken(model, size, texts, rounds, fast=fast, again=False)
                rows.append(row(f"{size:,} characters, new, {core}", found))
            found = against_tiktoken(model, size, texts, rounds, fast=False, again=True)
            rows.append(row(f"{size:,} characters, again", found))
        for core, fast in cores:
            found = batches(model, 120, texts, 7 if quick else 31, fast=fast)
            rows.append(row(f"batch of {BATCH:,} of 120, new, {core}", found))
        print_table(f"count_tokens for {model} ({encoding}) against tiktoken alone, per text", rows)


def _duration(each: float) -> str:
    return f"{each * 1e3:.1f} ms" if each >= 0.001 else f"{each * 1e6:.2f} µs"
