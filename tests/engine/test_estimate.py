"""Estimates are near the truth, and the truth lies between their bounds, also for texts they were not fitted on."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenward.engine.tokenizers.encodings import load_encoding
from tokenward.engine.tokenizers.estimate import (
    SAMPLE_CHARACTERS,
    FamilyEstimate,
    Ratio,
    kinds_of_text,
    words_bounds,
    words_estimate,
)

COUNTS = Path(__file__).parent.parent / "data" / "claude_haiku45_counts.json"
FAMILIES = ["openai", "claude-3", "claude-4.7", "gemini", "grok", "mistral", "llama", "deepseek", "qwen", "unknown"]
CLAUDE = FamilyEstimate("claude-3")


@dataclass(frozen=True)
class Sample:
    category: str
    name: str
    text: str
    tokens: int
    base_tokens: int


def read_samples() -> list[Sample]:
    encoding = load_encoding("cl100k_base")
    return [
        Sample(row["category"], row["name"], row["text"], row["expected"], len(encoding.encode_ordinary(row["text"])))
        for row in json.loads(COUNTS.read_text(encoding="utf-8"))["samples"]
    ]


SAMPLES = read_samples()


def main_kind(text: str) -> str:
    shares = kinds_of_text(text)
    return max(shares, key=shares.__getitem__)


def score(samples: list[Sample], ratios: dict[str, Ratio] | None = None) -> tuple[float, float]:
    """Mean relative error, and the share of samples whose truth lies between the bounds."""
    errors: list[float] = []
    inside: list[bool] = []
    for sample in samples:
        shipped = CLAUDE.ratio(sample.text)
        ratio = ratios.get(main_kind(sample.text), shipped) if ratios else shipped
        tokens = ratio.tokens(sample.base_tokens)
        lower, upper = ratio.bounds(tokens, CLAUDE.slack_tokens)
        errors.append(abs(tokens - sample.tokens) / sample.tokens)
        inside.append(lower <= sample.tokens <= upper)
    return mean(errors), mean(inside)


def fitted(training: list[Sample]) -> dict[str, Ratio]:
    """Each kind's median ratio in the training half, and the wider bounds the fewer samples it rests on."""
    by_kind: dict[str, list[float]] = {main_kind(sample.text): [] for sample in SAMPLES}
    for sample in training:
        by_kind[main_kind(sample.text)].append(sample.tokens / sample.base_tokens)
    overall = median(sample.tokens / sample.base_tokens for sample in training)
    ratios: dict[str, Ratio] = {}
    for kind, seen in by_kind.items():
        estimate = median(seen) if seen else overall
        spread = 1.25 + 0.5 / max(1, len(seen))
        ratios[kind] = Ratio(estimate / spread, estimate, estimate * spread)
    return ratios


@pytest.mark.parametrize("held_out", [0, 1])
def test_ratios_fitted_on_half_the_counts_hold_for_the_other_half(held_out: int) -> None:
    testing = SAMPLES[held_out::2]
    training = SAMPLES[1 - held_out :: 2]
    error, coverage = score(testing, fitted(training))
    assert error <= 0.12
    assert coverage >= 0.9


def test_shipped_ratios_are_within_twelve_percent_on_average_and_bounds_hold() -> None:
    error, coverage = score(SAMPLES)
    assert error <= 0.12
    assert coverage >= 0.9


def test_the_base_encoding_alone_would_be_worse() -> None:
    raw = mean(abs(sample.base_tokens - sample.tokens) / sample.tokens for sample in SAMPLES)
    assert score(SAMPLES)[0] < raw


def test_estimates_without_a_vocabulary_hold_within_their_bounds() -> None:
    inside: list[bool] = []
    for sample in SAMPLES:
        lower, upper = words_bounds(words_estimate(sample.text))
        inside += [lower <= truth <= upper for truth in (sample.tokens, sample.base_tokens)]
    assert mean(inside) >= 0.95


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("The weather was fine, and so she went for a walk along the river.", "english"),
        ("Über den Dächern von Köln läuten die Glocken — „schön“, sagte er …", "english"),
        ("def area(self, r):\n    return math.pi * r ** 2\n", "python"),
        ("import os\nimport sys\nimport json\nfrom pathlib import Path\n", "python"),
        ("const f = (a, b) => { return a[0] + b[1]; };", "code"),
        ('{"model": "x", "messages": [{"role": "user"}]}', "markup"),
        ("<div class='a'><p>Hello</p></div>", "markup"),
        ("SELECT id, COUNT(*) FROM t WHERE (a = 'b') GROUP BY id;", "markup"),
        ("https://example.org/a/b?c=d", "url"),
        ("3.14159 2.71828 1.41421 0.57721", "number"),
        ("0xDEADBEEF 0x0BADF00D 0xCAFEBABE", "hex"),
        ("!!! ??? --- *** ###", "punctuation"),
        ("第一章内容介绍", "han"),
        ("ありがとうございます", "kana"),
        ("안녕하세요 여러분", "hangul"),
        ("السلام عليكم", "arabic"),
        ("Привет, как дела?", "other"),
        ("😂🔥💯", "emoji"),
        ("← → ↑ ↓ ⇒ ∑ ∞", "symbol"),
        (" \n\t ", "punctuation"),
    ],
)
def test_the_kind_of_a_text(text: str, kind: str) -> None:
    assert main_kind(text) == kind


def test_a_mixed_text_has_a_mixed_ratio() -> None:
    mixed = CLAUDE.ratio("The word for cat is 猫猫猫猫猫猫 in Chinese.").estimate
    assert CLAUDE.ratio("猫猫猫猫").estimate < mixed < CLAUDE.ratio("The word for cat").estimate


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("known", [True, False])
@given(text=st.text(max_size=200), base_tokens=st.integers(0, 10_000))
def test_bounds_hold_the_estimate(family: str, known: bool, text: str, base_tokens: int) -> None:
    estimate = FamilyEstimate(family, known=known)
    ratio = estimate.ratio(text)
    tokens = ratio.tokens(base_tokens)
    lower, upper = ratio.bounds(tokens, estimate.slack_tokens)
    assert 0 <= lower <= tokens <= upper
    assert (tokens == 0) == (base_tokens == 0) == (upper == 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unknown_model_has_wider_bounds(family: str) -> None:
    text = "Some plain words."
    known, unknown = (FamilyEstimate(family, known=known).ratio(text) for known in (True, False))
    assert unknown.lowest < known.lowest <= known.estimate == unknown.estimate <= known.highest < unknown.highest


@given(st.text(max_size=400))
def test_shares_add_up(text: str) -> None:
    shares = kinds_of_text(text)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share > 0 for share in shares.values())


@given(st.text(max_size=400))
def test_the_estimate_without_a_vocabulary_counts_any_string(text: str) -> None:
    tokens = words_estimate(text)
    lower, upper = words_bounds(tokens)
    assert 0 <= lower <= tokens <= upper
    assert (tokens > 0) == bool(text)


def test_a_long_text_is_told_by_its_beginning_middle_and_end() -> None:
    prose = "The weather was fine. " * SAMPLE_CHARACTERS
    assert main_kind(prose) == "english"
    assert words_estimate(prose * 2) == pytest.approx(2 * words_estimate(prose), rel=0.05)
