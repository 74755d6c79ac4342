"""What the count of a model is worth, in words: exact, or how far off, and how to make it exact."""

import sys
from typing import TYPE_CHECKING

from tokenward.engine.types import JsonObject, JsonValue

if TYPE_CHECKING:
    from tokenward.engine.catalog import ModelInfo
    from tokenward.engine.counting.counter import TextCounter

_FILES = {
    "deepseek": ("hf", "the model's tokenizer.json"),
    "gemini": ("sentencepiece", "Gemma's tokenizer.model"),
    "llama": ("hf", "the model's tokenizer.json"),
    "qwen": ("hf", "the model's tokenizer.json"),
}
"""Families whose vocabulary a user can have: the extra that reads it, and the file."""


def worth(counter: "TextCounter") -> JsonObject:
    """The fields of ``tokenward models`` that say what a model's counts are worth."""
    from tokenward.engine.tokenizers.estimate import family_accuracy  # noqa: PLC0415 - heavy

    info = counter.info
    measured = family_accuracy(info.family) if counter.method == "estimate" else None
    return {
        "exact": counter.exact,
        "method": counter.method,
        "mean_error_percent": measured.mean_error_percent if measured else None,
        "coverage_percent": measured.coverage_percent if measured else None,
        "make_exact": None if counter.exact else make_exact(info),
        "warnings": [*info.warnings],
    }


def make_exact(info: "ModelInfo") -> str | None:
    """What to do for exact counts of a model, or ``None`` where nothing is known to help but asking the provider."""
    if info.family.startswith("claude"):
        return _claude(info)
    if info.family == "mistral":
        return _mistral(info)
    family = info.family.partition("-")[0]
    if family in _FILES:
        extra, file = _FILES[family]
        return f"pip install 'tokenward[{extra}]' and set tokenizers.{info.family} to {file}"
    return None


def _claude(info: "ModelInfo") -> str | None:
    """Ctok comes with tokenward where Python is new enough; what it does not count there, nothing does."""
    from tokenward.engine.tokenizers.claude import BEFORE_3  # noqa: PLC0415 - heavy

    counted = info.known and not info.name.startswith(BEFORE_3)
    return "Python 3.12 or later, for ctok" if counted and sys.version_info < (3, 12) else None


def _mistral(info: "ModelInfo") -> str | None:
    from tokenward.engine.tokenizers.mistral import INSTALL, published_vocabulary  # noqa: PLC0415 - heavy

    published = published_vocabulary(info.name) is not None
    return INSTALL if published else "set tokenizers.<model> to its tekken.json, where it is published"


def in_words(row: JsonObject) -> str:
    """A model's worth in one cell.

    ``exact``; ``learned 1.17 (1.02 to 1.31), 37`` where recorded usage adjusts the estimate: real tokens per counted
    one, their range and the number of requests; ``± 7 %``, the mean error that was measured; ``assumed``, a real
    tokenizer that need not be the model's; ``estimate``, where nothing was measured.
    """
    if row["exact"]:
        return "exact"
    learned = _learned(row["learned"])
    if learned is not None:
        return learned
    error = row["mean_error_percent"]
    if isinstance(error, float | int):
        return f"± {error:.0f} %"
    return "estimate" if row["method"] == "estimate" else "assumed"


def _learned(learned: JsonValue) -> str | None:
    """A ``Learned`` as it stands in a row; ``None`` where it is too little to adjust anything."""
    from tokenward.engine.counting.calibration import MIN_SAMPLES  # noqa: PLC0415 - heavy

    if not isinstance(learned, dict):
        return None
    samples, *ratios = (learned.get(name) for name in ("samples", "ratio", "low", "high"))
    if isinstance(samples, int) and samples < MIN_SAMPLES:
        return None
    ratio, low, high = (f"{one:.2f}" if isinstance(one, float) else "" for one in ratios)
    return f"learned {ratio} ({low} to {high}), {samples}" if ratio and low and high else "learned"
