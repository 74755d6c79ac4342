"""The page on counting has the accuracy and numbers of samples that the data has."""

import json
import re
from pathlib import Path

import pytest

from tokenward.engine.datafiles import list_at, object_at, read_json
from tokenward.engine.tokenizers import fast
from tokenward.engine.tokenizers.estimate import family_accuracy
from tokenward.engine.types import JsonObject

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "counting.md").read_text("utf-8")
FAMILIES = object_at(read_json("estimates.json"), "families")


@pytest.mark.parametrize("family", [name for name in FAMILIES if family_accuracy(name)])
def test_the_accuracy_of_a_family(family: str) -> None:
    accuracy = family_accuracy(family)
    assert accuracy is not None
    row = next(line for line in PAGE.splitlines() if line.startswith("|") and f"`{family}`" in line and " % |" in line)
    written = [float(number) for number in re.findall(r"([\d.]+) % \|", row)]
    assert written[:2] == [accuracy.mean_error_percent, accuracy.coverage_percent]
    assert f"{accuracy.texts:,} texts" in PAGE


def test_the_numbers_of_samples() -> None:
    for name, key, sentence in (
        ("claude_haiku45_counts.json", "samples", "On the {} counts of Claude Haiku 4.5"),
        ("openai_message_vectors.json", "vectors", "{} counts that the API reported"),
    ):
        document: JsonObject = json.loads((REPOSITORY / "tests" / "data" / name).read_text("utf-8"))
        assert sentence.format(len(list_at(document, key))) in PAGE


def test_the_number_of_texts_that_the_faster_core_is_checked_with() -> None:
    (written,) = re.findall(r"(\d+) known texts", PAGE)
    assert int(written) == len(list(fast.checks()))
