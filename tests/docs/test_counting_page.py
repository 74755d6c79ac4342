"""The page on counting has the ratios and numbers of samples that the data has."""

import json
import re
from pathlib import Path

from tokenward.engine.datafiles import list_at, object_at, read_json
from tokenward.engine.types import JsonObject

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "counting.md").read_text("utf-8")
FAMILIES = object_at(read_json("estimates.json"), "families")
CLAUDE = ("claude-3", "claude-4.7")
RATIO = r"([\d.]+) \*\*([\d.]+)\*\* ([\d.]+)"


def numbers(*written: str) -> list[float]:
    return [float(number) for number in written]


def test_the_ratios_of_claude_by_kind_of_text() -> None:
    rows = re.findall(rf"\| ([a-z]+) \| {RATIO} \| {RATIO} (?=\|)", PAGE)
    older, newer = (object_at(FAMILIES, name) for name in CLAUDE)
    assert {kind for kind, *_ in rows} == set(older) == set(newer)
    for kind, *written in rows:
        assert numbers(*written) == [*list_at(older, kind), *list_at(newer, kind)]


def test_the_ratios_of_the_other_families() -> None:
    table = PAGE.partition("Ratio for any text")[2].partition("\n\n")[0]
    rows = {family: numbers(*written) for family, *written in re.findall(rf"\| ([a-z]+)[^|]* \| {RATIO} (?=\|)", table)}
    assert rows == {name: list_at(object_at(FAMILIES, name), "any") for name in FAMILIES if name not in CLAUDE}


def test_the_numbers_of_samples() -> None:
    for name, key, sentence in (
        ("claude_haiku45_counts.json", "samples", "On the {} of them in the repository"),
        ("openai_message_vectors.json", "vectors", "{} counts that the API reported"),
    ):
        document: JsonObject = json.loads((REPOSITORY / "tests" / "data" / name).read_text("utf-8"))
        assert sentence.format(len(list_at(document, key))) in PAGE
