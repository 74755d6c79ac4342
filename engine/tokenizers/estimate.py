"""Estimates for models whose tokenizer is not published or not installed: a base encoding's count times a ratio.

The ratios, with the lowest and highest to expect, are in ``engine/data/estimates.json``. For Claude they depend on the
kind of text, because its tokenizer differs from the base encoding most in symbols and least in numbers. A text's kinds
are told from at most ``SAMPLE_CHARACTERS`` of it, so the cost of an estimate is the base encoding's.
"""

import math
import re
from dataclasses import dataclass
from functools import cache

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.datafiles import list_at, object_at, read_json
from tokenward.engine.errors import CorruptData
from tokenward.engine.tokenizers.base import Method
from tokenward.engine.tokenizers.encodings import load_encoding
from tokenward.engine.tokenizers.text import count_text
from tokenward.engine.types import JsonObject, JsonValue

SAMPLE_CHARACTERS = 3_000
"""How much of a text is looked at: its beginning, its middle and its end, a third each."""

ANY = "any"
"""The key of a family's ratio when it does not depend on the kind of text."""

_TOKENS_PER_CHARACTER = {
    "han": 1.1,
    "kana": 1.05,
    "hangul": 0.9,
    "arabic": 0.7,
    "other": 0.6,
    "emoji": 2.0,
    "symbol": 1.4,
}
"""How much a character of each class besides plain text weighs in cl100k_base tokens, roughly, for mixed texts."""

_PLAIN_TOKENS_PER_CHARACTER = {
    "english": 0.23,
    "python": 0.28,
    "code": 0.28,
    "markup": 0.33,
    "url": 0.3,
    "number": 0.6,
    "hex": 0.55,
    "punctuation": 0.35,
}

_CLASSES = {
    "han": re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"),
    "kana": re.compile(r"[\u3001\u3002\u3040-\u30ff\uff66-\uff9f]"),
    "hangul": re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]"),
    "arabic": re.compile(r"[\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufeff]"),
    "emoji": re.compile("[\U0001f000-\U0001faff\u200d\u2600-\u27bf\ufe0f\u20e3]"),
    "symbol": re.compile(
        r"[\u00a1-\u00bf\u00d7\u00f7\u2010-\u2012\u2015-\u2017\u201f-\u2025\u2027-\u20e2\u2100-\u25ff\u27c0-\u2bff]"
    ),
}
_NOT_PLAIN = re.compile(r"[^\x00-\x7f\u00a0\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u2013\u2014\u2018-\u201e\u2026]")
"""Neither ASCII nor what plain European prose has besides: accented letters, dashes, quotes and the ellipsis."""

_SPACE = re.compile(r"\s")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://\S+|\bwww\.\S+")
_HEX = re.compile(r"\b0[xXbBoO][0-9a-fA-F_]+|#[0-9a-fA-F]{3,8}\b|\b(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}\b")
_DIGIT = re.compile(r"[0-9]")
_LETTER = re.compile(r"[A-Za-z\u00c0-\u024f]")
_CODE_SIGN = re.compile(r"[{}()\[\];=<>\"|&+*/\\_$#@]")
_MARKUP = re.compile(r"\s*(?:<[!?a-zA-Z/]|\{\s*\"|\[\s*[\[{\"]|(?:SELECT|INSERT|UPDATE|DELETE|CREATE|WITH|ALTER)\s)")
_PYTHON = re.compile(
    r"^[ \t]*(?:def|class|import|from|elif|except|async def)\s|\bself\b|\blambda\b|\bfor \w+ in\b", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """True tokens per token of the base encoding: the lowest to expect, the estimate and the highest to expect."""

    lowest: float
    estimate: float
    highest: float

    def tokens(self, base_tokens: int) -> int:
        """The estimate for a base encoding's count; at least 1 unless there is no text."""
        return max(1, round(base_tokens * self.estimate)) if base_tokens else 0

    def bounds(self, tokens: int, slack_tokens: int) -> tuple[int, int]:
        """Between which counts the truth lies, for an estimate of ``tokens``."""
        if not tokens:
            return 0, 0
        lower = math.floor(tokens * self.lowest / self.estimate) - slack_tokens
        upper = math.ceil(tokens * self.highest / self.estimate) + slack_tokens
        return max(1, min(lower, tokens)), max(upper, tokens)


class FamilyEstimate:
    """The ratios of one family.

    Args:
        family: A key of ``families`` in ``estimates.json``.
        known: Whether the model itself is known; if it is not, the bounds are widened.
    """

    def __init__(self, family: str, *, known: bool = True) -> None:
        document = _document()
        widening = object_at(document, "unknown_model")
        low, high = (1.0, 1.0) if known else (_number(widening["lowest"]), _number(widening["highest"]))
        ratios = object_at(object_at(document, "families"), family)
        self._ratios = {kind: _ratio(list_at(ratios, kind), low, high) for kind in ratios}
        self.slack_tokens = round(_number(document["slack_tokens"]))

    def ratio(self, text: str) -> Ratio:
        """The ratio for a text: its kinds' ratios, weighted by their share of the text."""
        single = self._ratios.get(ANY)
        if single is not None:
            return single
        shares = kinds_of_text(text)
        mixed = [(self._ratios[kind], share) for kind, share in shares.items()]
        return Ratio(
            sum(ratio.lowest * share for ratio, share in mixed),
            sum(ratio.estimate * share for ratio, share in mixed),
            sum(ratio.highest * share for ratio, share in mixed),
        )


class EstimateTokenizer:
    """An estimate: the count by a base encoding, times the family's ratio for such a text."""

    method: Method = "estimate"
    exact = False

    def __init__(self, info: ModelInfo) -> None:
        self.encoding = info.encoding
        self._encoding = load_encoding(info.encoding)
        self._family = FamilyEstimate(info.family, known=info.known)

    def count(self, text: str) -> int:
        """The estimate."""
        return self._family.ratio(text).tokens(count_text(self._encoding, text))

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        """Between which counts the truth is to be expected."""
        return self._family.ratio(text).bounds(tokens, self._family.slack_tokens)


def kinds_of_text(text: str) -> dict[str, float]:
    """The kinds of text in a text, with their shares of its tokens, roughly. The shares add up to 1."""
    sample = _sample(text)
    weights: dict[str, float] = {}
    rest = _NOT_PLAIN.sub("", sample)
    if len(rest) < len(sample):
        unclassified = len(sample) - len(rest)
        for kind, characters in _CLASSES.items():
            count = len(characters.findall(sample))
            if count:
                weights[kind] = count * _TOKENS_PER_CHARACTER[kind]
                unclassified -= count
        if unclassified > 0:
            weights["other"] = unclassified * _TOKENS_PER_CHARACTER["other"]
    solid = _SPACE.sub("", rest)
    if solid or not weights:
        kind = kind_of_plain(rest, solid)
        weights[kind] = max(1, len(rest)) * _PLAIN_TOKENS_PER_CHARACTER[kind]
    total = sum(weights.values())
    return {kind: weight / total for kind, weight in weights.items()}


def kind_of_plain(text: str, solid: str) -> str:
    """What a text in Latin script is, told by its signs; ``solid`` is the same text without whitespace."""
    size = max(1, len(solid))
    if _length(_URL, text) > size * 0.5:
        return "url"
    if _length(_HEX, text) > size * 0.4:
        return "hex"
    letters = len(_LETTER.findall(solid))
    digits = len(_DIGIT.findall(solid))
    if digits > max(letters, size * 0.4):
        return "number"
    if letters + digits < size * 0.4:
        return "punctuation"
    return _prose_or_code(text, signs=len(_CODE_SIGN.findall(solid)) / size)


def words_estimate(text: str) -> int:
    """An estimate without any vocabulary: of words and punctuation where there are spaces, else of UTF-8 bytes.

    About 4 characters of English, or 3 bytes of other scripts, are a token.
    """
    if not text:
        return 0
    sample = _sample(text)
    plain_characters = len(_NOT_PLAIN.sub("", sample))
    words = len(sample.split())
    signs = len(_CODE_SIGN.findall(sample))
    other_bytes = len(sample.encode("utf-8", "surrogatepass")) - plain_characters
    tokens = max(plain_characters / 4, words * 1.2) + signs * 0.4 + other_bytes / 3
    return max(1, round(tokens * len(text) / len(sample)))


def words_bounds(tokens: int) -> tuple[int, int]:
    """Between which counts the truth is to be expected for ``words_estimate``: wide, for it knows no vocabulary."""
    return (math.floor(tokens / 3) or 1, tokens * 3 + 2) if tokens else (0, 0)


def _prose_or_code(text: str, signs: float) -> str:
    """Told by the share of ``signs`` that code has and prose has not; imports and the like may have none."""
    python = _PYTHON.search(text) is not None
    if signs < 0.07:
        return "python" if python and text.count("\n") > 2 else "english"
    if _MARKUP.match(text):
        return "markup"
    return "python" if python else "code"


@cache
def _document() -> JsonObject:
    return read_json("estimates.json")


def _sample(text: str) -> str:
    if len(text) <= SAMPLE_CHARACTERS:
        return text
    part = SAMPLE_CHARACTERS // 3
    middle = (len(text) - part) // 2
    return f"{text[:part]}{text[middle : middle + part]}{text[-part:]}"


def _length(pattern: re.Pattern[str], text: str) -> int:
    return sum(match.end() - match.start() for match in pattern.finditer(text))


def _ratio(values: list[JsonValue], low: float, high: float) -> Ratio:
    lowest, estimate, highest = (_number(value) for value in values)
    return Ratio(lowest * low, estimate, highest * high)


def _number(value: JsonValue) -> float:
    if not isinstance(value, int | float):
        raise CorruptData("estimates.json")
    return float(value)
