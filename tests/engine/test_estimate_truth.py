"""Where Claude's counts can be had, the shipped estimates are held against them on texts made here."""

import pytest

from scripts.estimate_fit import score
from scripts.estimate_texts import generated_texts
from scripts.fit_estimates import CLAUDE, claude_truths, measure
from tokenward.engine.tokenizers.claude import VERSIONS
from tokenward.engine.tokenizers.claude_ctok import PlainCtok
from tokenward.engine.tokenizers.estimate import family_estimator

pytest.importorskip("ctok", exc_type=ImportError)

SEED = 20_261_122
"""Not the seed of the fit, so these are other texts."""


@pytest.mark.parametrize("family", CLAUDE)
def test_estimates_hold_for_made_texts(family: str) -> None:
    truths = {family: claude_truths()[family]}
    samples = measure(generated_texts(3, SEED), truths)
    measured = score(family_estimator(family), samples, family, "cl100k_base")
    assert measured.texts > 300
    assert measured.mean_error <= 0.12
    assert measured.coverage >= 0.9


def test_the_newest_claude_counts_as_the_one_before() -> None:
    before, after = (PlainCtok(VERSIONS[family]) for family in ("claude-4.7", "claude-4.8"))
    for made in generated_texts(1, SEED):
        assert abs(after.count(made.text) - before.count(made.text)) <= 2
