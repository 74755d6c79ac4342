"""Estimates for models whose tokenizer is not published or not installed, with bounds for the truth.

An estimate is a sum: the count by a base encoding and the text's features (``features.py``), each times a weight. The
weights and bounds of every family are in ``engine/data/estimates.json``. ``scripts/fit_estimates.py`` fits them to true
counts, and measures them on texts that were not fitted on. The cost beyond the base encoding's is bounded, for a text's
features are counted in a sample of it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.datafiles import object_at, read_json, text_at
from tokenward.engine.errors import CorruptData
from tokenward.engine.tokenizers.assumed import unknown_widening
from tokenward.engine.tokenizers.base import Method
from tokenward.engine.tokenizers.features import characters, features, sampled
from tokenward.engine.tokenizers.mistral import published_vocabulary
from tokenward.engine.tokenizers.openai import TiktokenTokenizer
from tokenward.engine.types import JsonObject, JsonValue

BASE: Final = "base"
"""The name of the base encoding's count among the features."""

ANY: Final = "any"
"""The bounds of texts of a kind that has none of its own."""

SHORT_TOKENS: Final = 12
"""Bounds are wider for short texts: at this many tokens by the square root of two, as errors of words add up."""

_GROUPS: Final = {
    "digit": "number",
    "stop quote bracket operator underscore slash sign": "sign",
    "han kana cjk_sign wide wide_sign hangul": "cjk",
    "greek cyrillic arabic hebrew devanagari thai": "script",
    "latin1_sign punctuation technical math box geometric dingbat": "symbol",
    "emoji flag joiner": "emoji",
}
_KINDS: Final = {name: kind for names, kind in _GROUPS.items() for name in names.split()}
_LETTERS: Final = ("lower", "upper", "latin")
_SPACES: Final = ("space", "tab", "line")
_CHARACTER_TOKENS: Final = {
    "number": 0.6,
    "sign": 0.5,
    "cjk": 1.2,
    "script": 0.6,
    "symbol": 1.6,
    "emoji": 2.5,
    "rare": 1.2,
}
"""How much a character of each kind weighs in tokens, roughly, where a text has several; Latin letters weigh 0.25."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What a family's estimates are worth, as measured on texts that they were not fitted on.

    Attributes:
        mean_error_percent: The mean distance from the true count, in percent of it.
        coverage_percent: How many of the true counts lie between the bounds.
        texts: How many texts were measured.
        truth: The tokenizer that counted them.
        date: When, as ``YYYY-MM-DD``.
    """

    mean_error_percent: float
    coverage_percent: float
    texts: int
    truth: str
    date: str


@dataclass(frozen=True, slots=True)
class Estimator:
    """The weights and bounds of one family.

    Attributes:
        weights: Tokens per unit of each feature; ``base`` is the base encoding's count.
        ratios: The lowest and the highest estimate per token of the base encoding: the range that was seen in fitting.
        bounds: By kind of text, the lowest and the highest true count to expect per token of a long text's estimate.
    """

    weights: Mapping[str, float]
    ratios: tuple[float, float]
    bounds: Mapping[str, tuple[float, float]]

    def tokens(self, base_tokens: int, found: Mapping[str, float]) -> int:
        """The estimate for a text with these features; at least 1 unless there is no text."""
        if not base_tokens:
            return 0
        weights = self.weights
        total = base_tokens * weights[BASE] + sum(count * weights.get(name, 0.0) for name, count in found.items())
        lowest, highest = self.ratios
        return max(1, round(min(max(total, base_tokens * lowest), base_tokens * highest)))

    def between(self, tokens: int, kind: str, widening: tuple[float, float] = (1.0, 1.0)) -> tuple[int, int]:
        """Between which counts the truth is to be expected, for an estimate of a text of this kind."""
        if not tokens:
            return 0, 0
        low, high = self.bounds.get(kind) or self.bounds[ANY]
        spread = spread_of(tokens)
        lower = math.floor(tokens * low**spread * widening[0])
        upper = math.ceil(tokens * high**spread * widening[1])
        return max(1, min(lower, tokens)), max(upper, tokens)


class EstimateTokenizer:
    """An estimate by the count of a base encoding and the features of the text."""

    method: Method = "estimate"
    exact = False

    def __init__(self, info: ModelInfo, *, fast: bool = True) -> None:
        family = _family_of(info)
        self.encoding = _base_of(family) or info.encoding
        self._base = TiktokenTokenizer(self.encoding, fast=fast)
        self._estimator = family_estimator(family)
        self._widening = (1.0, 1.0) if info.known else unknown_widening()

    def count(self, text: str) -> int:
        """The estimate."""
        found = features(text) if len(self._estimator.weights) > 1 else {}
        return self._estimator.tokens(self._base.count(text), found)

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        """Between which counts the truth is to be expected."""
        kind = kind_of(characters(sampled(text))) if len(self._estimator.bounds) > 1 else ANY
        return self._estimator.between(tokens, kind, self._widening)


def family_estimator(family: str) -> Estimator:
    """The weights and bounds of a family, a key of ``families`` in ``estimates.json``."""
    entry = _entry(family)
    bounds = object_at(entry, "bounds")
    weights = {name: _number(weight) for name, weight in object_at(entry, "weights").items()}
    return Estimator(weights, _pair(entry, "ratios"), {kind: _pair(bounds, kind) for kind in bounds})


def family_accuracy(family: str) -> Accuracy | None:
    """What a family's estimates are worth; ``None`` where no true counts could be had."""
    entry = _entry(family)
    if "accuracy" not in entry:
        return None
    accuracy = object_at(entry, "accuracy")
    return Accuracy(
        mean_error_percent=_number(accuracy.get("mean_error_percent")),
        coverage_percent=_number(accuracy.get("coverage_percent")),
        texts=round(_number(accuracy.get("texts"))),
        truth=text_at(accuracy, "truth"),
        date=text_at(_document(), "date"),
    )


def spread_of(tokens: float) -> float:
    """How much wider bounds are at an estimate than for a long text, as an exponent."""
    return math.sqrt(1 + SHORT_TOKENS / max(1.0, tokens))


def kind_of(found: Mapping[str, float]) -> str:
    """The kind of a text by the features that are numbers of characters: by what most of its tokens are made of."""
    weights = {"repeated": 0.0}
    for name, count in found.items():
        if name.startswith("same "):
            weights["repeated"] += 0.0 if name.endswith("+") else count * (0.02 if name == "same space" else 0.2)
        elif name.isidentifier() and name not in _LETTERS and name not in _SPACES:
            kind = _KINDS.get(name, "rare")
            weights[kind] = weights.get(kind, 0.0) + count * _CHARACTER_TOKENS[kind]
    letters = sum(found.get(name, 0.0) for name in _LETTERS)
    signs = weights.pop("sign", 0.0)
    words = letters * 0.25
    kind = max(weights, key=weights.__getitem__)
    if weights[kind] > max(words, signs):
        return kind
    if signs > words:
        return "sign"
    if found.get("upper", 0.0) > letters * 0.3:
        return "capital"
    if found.get("latin", 0.0) > letters * 0.02:
        return "latin"
    return "code" if signs > words * 0.25 else "prose"


def _family_of(info: ModelInfo) -> str:
    """A model's key in ``estimates.json``: its family, but Mistral's models before Tekken go by their vocabulary."""
    families = object_at(_document(), "families")
    vocabulary = published_vocabulary(info.name) if info.family == "mistral" else None
    return vocabulary if vocabulary in families else info.family


def _base_of(family: str) -> str | None:
    entry = _entry(family)
    return text_at(entry, "base") if "base" in entry else None


@cache
def _document() -> JsonObject:
    return read_json("estimates.json")


def _entry(family: str) -> JsonObject:
    """A family's entry; one that only names another family stands for that family's."""
    families = object_at(_document(), "families")
    entry = object_at(families, family)
    return object_at(families, text_at(entry, "same_as")) if "same_as" in entry else entry


def _pair(document: JsonObject, key: str) -> tuple[float, float]:
    match document.get(key):
        case [low, high]:
            return _number(low), _number(high)
        case _:
            raise CorruptData("estimates.json")


def _number(value: JsonValue) -> float:
    if not isinstance(value, int | float):
        raise CorruptData("estimates.json")
    return float(value)


_NOT_PLAIN = re.compile(r"[^\x00-\x7f\u00a0\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u2013\u2014\u2018-\u201e\u2026]")
"""Neither ASCII nor what plain European prose has besides: accented letters, dashes, quotes and the ellipsis."""

_CODE_SIGN = re.compile(r"[{}()\[\];=<>\"|&+*/\\_$#@]")


def words_estimate(text: str) -> int:
    """An estimate without any vocabulary: of words and punctuation where there are spaces, else of UTF-8 bytes.

    About 4 characters of English, or 3 bytes of other scripts, are a token.
    """
    if not text:
        return 0
    sample = sampled(text)
    plain_characters = len(_NOT_PLAIN.sub("", sample))
    words = len(sample.split())
    signs = len(_CODE_SIGN.findall(sample))
    other_bytes = len(sample.encode("utf-8", "surrogatepass")) - plain_characters
    tokens = max(plain_characters / 4, words * 1.2) + signs * 0.4 + other_bytes / 3
    return max(1, round(tokens * len(text) / len(sample)))


def words_bounds(tokens: int) -> tuple[int, int]:
    """Between which counts the truth is to be expected for ``words_estimate``: wide, for it knows no vocabulary."""
    return (math.floor(tokens / 3) or 1, tokens * 3 + 2) if tokens else (0, 0)
