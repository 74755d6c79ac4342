"""Estimates are near the truth, and the truth lies between their bounds, also for texts they were not fitted on."""

import json
from functools import cache
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.estimate_fit import FOLDS, Fitted, Measured, Score, fit, fold_of, score
from scripts.fit_estimates import entry
from tokenward.engine.catalog import Catalog
from tokenward.engine.datafiles import object_at, read_json
from tokenward.engine.tokenizers.encodings import load_encoding
from tokenward.engine.tokenizers.estimate import (
    EstimateTokenizer,
    family_accuracy,
    family_estimator,
    kind_of,
    words_bounds,
    words_estimate,
)
from tokenward.engine.tokenizers.features import SAMPLE_CHARACTERS, features, sampled

DATA = Path(__file__).parent.parent / "data"
FAMILIES = sorted(object_at(read_json("estimates.json"), "families"))
MEASURED = sorted(set(FAMILIES) - {"openai", "grok", "unknown"})
CLAUDE = ("claude-3", "claude-4.7")
BASE = "cl100k_base"


@cache
def published() -> list[tuple[str, Measured]]:
    """The texts whose counts by Claude Haiku 4.5 were published, and what they measure."""
    encoding = load_encoding(BASE)
    rows = json.loads((DATA / "claude_haiku45_counts.json").read_text("utf-8"))["samples"]
    return [
        (
            row["text"],
            Measured(
                row["category"],
                features(row["text"]),
                {BASE: len(encoding.encode_ordinary(row["text"]))},
                {"claude-3": row["expected"]},
            ),
        )
        for row in rows
    ]


@cache
def counts() -> list[Measured]:
    """Features and true counts of texts from many sources."""
    header, *rows = map(json.loads, (DATA / "estimate_counts.jsonl").read_text("utf-8").splitlines())
    samples: list[Measured] = []
    for source, bases, tokens, counted in rows:
        pairs = (pair.split(":") for pair in counted.split())
        found = {header["features"][int(number)]: float(count) for number, count in pairs}
        base_tokens = dict(zip(header["bases"], bases, strict=True))
        samples.append(Measured(source, found, base_tokens, dict(zip(header["families"], tokens, strict=True))))
    return samples


@cache
def fitted_to_counts(family: str) -> Fitted:
    """What would be shipped, were it fitted to these counts alone."""
    return fit(counts(), family, BASE)


def hold(measured: Score) -> bool:
    return measured.mean_error <= 0.09 and measured.coverage >= 0.9


def test_shipped_numbers_hold_for_published_counts_that_nothing_was_fitted_on() -> None:
    assert hold(score(family_estimator("claude-3"), [sample for _, sample in published()], "claude-3", BASE))


@pytest.mark.parametrize("family", CLAUDE)
def test_shipped_numbers_hold_for_counts_by_ctok(family: str) -> None:
    assert hold(score(family_estimator(family), counts(), family, BASE))


@pytest.mark.parametrize("family", CLAUDE)
def test_numbers_fitted_on_some_sources_hold_for_the_others(family: str) -> None:
    """Each of five parts of the sources is left out in turn: weights and bounds come from the other four."""
    assert hold(fitted_to_counts(family).worth)


def test_numbers_fitted_on_a_part_hold_for_published_counts() -> None:
    part = [sample for sample in counts() if fold_of(sample.source)]
    assert hold(score(fit(part, "claude-3", BASE).estimator, [sample for _, sample in published()], "claude-3", BASE))


def test_an_entry_has_what_the_shipped_ones_have() -> None:
    shipped = object_at(object_at(read_json("estimates.json"), "families"), "claude-3")
    written = json.loads(json.dumps(entry(fitted_to_counts("claude-3"), "a tokenizer")))
    assert [*written] == [*shipped]
    assert [*written["accuracy"]] == [*object_at(shipped, "accuracy")]
    assert written["accuracy"]["texts"] == len(counts())
    assert [*written["weights"]] == sorted(written["weights"])


def test_a_source_is_in_one_fold_only_and_every_fold_has_texts() -> None:
    folds = {sample.source: fold_of(sample.source) for sample in counts()}
    assert set(folds.values()) == set(range(FOLDS))
    assert len(folds) > 500


def test_features_make_estimates_much_better_than_a_ratio_alone() -> None:
    plain = [Measured(one.source, {}, one.base_tokens, one.tokens) for one in counts()]
    ratio = score(fit(plain, "claude-3", BASE).estimator, plain, "claude-3", BASE)
    assert score(family_estimator("claude-3"), counts(), "claude-3", BASE).mean_error < ratio.mean_error * 0.7


def test_bounds_are_no_wider_than_they_need_to_be() -> None:
    for family in CLAUDE:
        assert score(family_estimator(family), counts(), family, BASE).median_width < 0.6


def test_the_stored_features_are_those_of_today() -> None:
    """Another way of counting features would need new weights and counts."""
    header = json.loads((DATA / "estimate_counts.jsonl").read_text("utf-8").partition("\n")[0])
    for text, _ in published():
        assert set(features(text)) <= set(header["features"])
    weights = {name for family in MEASURED for name in family_estimator(family).weights}
    assert weights - {"base"} <= set(header["features"])


@pytest.mark.parametrize("family", MEASURED)
def test_what_a_family_is_worth_is_known_and_good_enough(family: str) -> None:
    accuracy = family_accuracy(family)
    assert accuracy is not None
    assert accuracy.mean_error_percent <= 9
    assert accuracy.coverage_percent >= 90
    assert accuracy.texts >= 1_000
    assert accuracy.truth


@pytest.mark.parametrize("family", ["openai", "grok", "unknown"])
def test_what_was_not_measured_has_no_accuracy(family: str) -> None:
    assert family_accuracy(family) is None


def test_the_newest_claude_shares_the_numbers_of_the_one_before() -> None:
    assert family_estimator("claude-4.8") == family_estimator("claude-4.7")


@pytest.mark.parametrize(
    ("model", "family"),
    [("mistral-7b-instruct", "mistral-v7"), ("mistral-large-2411", "mistral-v7"), ("mistral-new", "mistral")],
)
def test_mistrals_models_are_estimated_by_their_vocabulary(model: str, family: str) -> None:
    text = "Ein Satz, der in jeder Sprache anders gezählt wird: 12.345 Wörter."
    entry = object_at(object_at(read_json("estimates.json"), "families"), family)
    tokenizer = EstimateTokenizer(Catalog().resolve(model))
    base_tokens = len(load_encoding(str(entry["base"])).encode_ordinary(text))
    assert tokenizer.encoding == entry["base"]
    assert tokenizer.count(text) == family_estimator(family).tokens(base_tokens, features(text))


def test_the_catalog_names_the_encoding_that_a_family_was_fitted_with() -> None:
    families = object_at(read_json("estimates.json"), "families")
    entries = object_at(read_json("models.json"), "families")
    for name in entries:
        entry = object_at(entries, name)
        fitted = object_at(families, str(entry["family"]))
        fitted = object_at(families, str(fitted["same_as"])) if "same_as" in fitted else fitted
        assert fitted.get("base", entry["encoding"]) == entry["encoding"], name


def test_estimates_without_a_vocabulary_hold_within_their_bounds() -> None:
    inside: list[bool] = []
    for text, sample in published():
        lower, upper = words_bounds(words_estimate(text))
        inside += [lower <= truth <= upper for truth in (sample.tokens["claude-3"], sample.base_tokens[BASE])]
    assert mean(inside) >= 0.95


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("The weather was fine, and so she went for a walk along the river.", "prose"),
        ("Über den Dächern von Köln läuten die Glocken — „schön“, sagte er …", "latin"),
        ("THE WEATHER WAS FINE AND SO SHE WENT", "capital"),
        ("def area(self, r):\n    return math.pi * r ** 2\n", "code"),
        ('{"model": "x", "messages": [{"role": "user"}]}', "sign"),
        ("https://example.org/a/b?c=d", "code"),
        ("3.14159 2.71828 1.41421 0.57721", "number"),
        ("!! ?? -- ** ##", "sign"),
        ("第一章内容介绍", "cjk"),
        ("ありがとうございます", "cjk"),
        ("안녕하세요 여러분", "cjk"),
        ("السلام عليكم", "script"),
        ("Привет, как дела?", "script"),
        ("გამარჯობა", "rare"),
        ("\U00020000\U00020001\U0001d400", "rare"),
        ("😂🔥💯", "emoji"),
        ("← → ↑ ↓ ⇒ ∑ ∞", "symbol"),
        ("a" * 50, "repeated"),
        (" \n\t ", "prose"),
    ],
)
def test_the_kind_of_a_text(text: str, kind: str) -> None:
    assert kind_of(features(text)) == kind


@pytest.mark.parametrize("model", ["claude-opus-4-1", "claude-opus-5", "gemini-2.5-pro", "mistral-large", "xyz"])
@settings(deadline=None)
@given(text=st.text(max_size=200))
def test_bounds_hold_the_estimate_of_any_string(model: str, text: str) -> None:
    tokenizer = EstimateTokenizer(Catalog().resolve(model))
    tokens = tokenizer.count(text)
    lower, upper = tokenizer.bounds(text, tokens)
    assert 0 <= lower <= tokens <= upper
    assert (tokens == 0) == (text == "") == (upper == 0)


@pytest.mark.parametrize("family", FAMILIES)
@given(tokens=st.integers(0, 10**9), kind=st.sampled_from(["prose", "code", "cjk", "emoji", "repeated", "none such"]))
def test_an_unknown_model_has_wider_bounds(family: str, tokens: int, kind: str) -> None:
    estimator = family_estimator(family)
    lower, upper = estimator.between(tokens, kind)
    unknown_lower, unknown_upper = estimator.between(tokens, kind, (0.8, 1.3))
    assert 0 <= unknown_lower <= lower <= tokens <= upper <= unknown_upper
    if tokens > 1_000:
        assert unknown_lower < lower
        assert upper < unknown_upper


def test_a_model_of_no_known_family_is_estimated_with_wider_bounds_than_the_family() -> None:
    tokenizer = EstimateTokenizer(Catalog().resolve("no-such-model"))
    lower, upper = tokenizer.bounds("Some plain words.", 100)
    known_lower, known_upper = family_estimator("unknown").between(100, "prose")
    assert lower < known_lower
    assert upper > known_upper


@pytest.mark.parametrize("text", ["a" * 10_000_000, " " * 10_000_000, "\ud800" * 100_000, "\x00" * 100_000])
def test_of_a_long_text_only_a_sample_is_looked_at(text: str) -> None:
    assert len(sampled(text)) <= SAMPLE_CHARACTERS
    found = features(text)
    assert sum(count for name, count in found.items() if name.startswith("same ")) == pytest.approx(len(text), rel=0.01)


def test_features_of_a_long_text_are_scaled_up() -> None:
    prose = "The weather was fine on Monday, 3 May 2021. " * SAMPLE_CHARACTERS
    once = features(prose)
    twice = features(prose * 2)
    assert all(twice[name] == pytest.approx(2 * once[name], rel=0.15) for name in once if once[name] > len(prose) / 100)


@given(st.text(max_size=400))
def test_every_character_is_of_one_class(text: str) -> None:
    found = features(text)
    counted = sum(count for name, count in found.items() if name.isidentifier())
    same = sum(count for name, count in found.items() if name.startswith("same ") and not name.endswith("+"))
    assert counted + same == len(text)


@given(st.text(max_size=400))
def test_the_estimate_without_a_vocabulary_counts_any_string(text: str) -> None:
    tokens = words_estimate(text)
    lower, upper = words_bounds(tokens)
    assert 0 <= lower <= tokens <= upper
    assert (tokens > 0) == bool(text)


def test_a_long_text_is_estimated_by_a_sample_without_a_vocabulary() -> None:
    prose = "The weather was fine. " * SAMPLE_CHARACTERS
    assert words_estimate(prose * 2) == pytest.approx(2 * words_estimate(prose), rel=0.05)
