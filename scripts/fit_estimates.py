"""Fit ``engine/data/estimates.json`` to true counts, and measure what the estimates are worth.

Usage, from the repository: ``python -m scripts.fit_estimates CORPUS --date DATE [--tokenizer FAMILY=FILE[=NAME] ...]
[--no-claude] [--per-source NUMBER] [--fixture FILE]``

- ``CORPUS`` is a folder with one folder of UTF-8 text files per source. Texts cut from them, ``--per-source`` of each,
  and texts made by ``estimate_texts.py`` are counted and then forgotten: only features and counts are used.
- Claude's counts come from ``ctok``, if it is installed. The other families need a tokenizer's file of a kind that
  ``engine/tokenizers/files.py`` reads: ``tokenizer.json``, a model of SentencePiece, or ``tekken.json``. NAME is what
  the data call it, else the file's name.
- A family whose tokenizer is not given, or Claude with ``--no-claude``, keeps its present entry.
- ``--fixture`` writes features and Claude's counts for the test suite, as JSON lines: of the texts in their order, the
  second and third of every three.

A family's accuracy is measured on folds of sources that were left out of the fit; the weights that are written are
fitted to all. The base encoding is the one of the two that errs less.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.estimate_fit import Fitted, Measured, fit
from scripts.estimate_texts import Sample, generated_texts, texts_from_folder
from tokenward.engine.tokenizers.claude import VERSIONS
from tokenward.engine.tokenizers.claude_ctok import PlainCtok
from tokenward.engine.tokenizers.encodings import load_encoding
from tokenward.engine.tokenizers.features import features
from tokenward.engine.tokenizers.files import FileTokenizer, installed
from tokenward.engine.tokenizers.text import count_text

ESTIMATES = Path(__file__).parent.parent / "engine" / "data" / "estimates.json"
BASES = ("cl100k_base", "o200k_base")
SEED = 1
CLAUDE = ("claude-3", "claude-4.7")
"""Claude's families with numbers of their own; those of later models are the same as the last one's."""


@dataclass(frozen=True, slots=True)
class Truth:
    """A tokenizer that counts truly, and what it is."""

    name: str
    count: Callable[[str], int]


def claude_truths() -> dict[str, Truth]:
    """Claude's families as ``ctok`` counts them, without the frame of a message; none where it is not installed."""
    release = installed("ctok")
    if release is None:
        return {}
    versions = {family: VERSIONS[family] for family in CLAUDE}
    return {
        family: Truth(f"ctok {release}, version {version}", PlainCtok(version).count)
        for family, version in versions.items()
    }


def file_truth(path: Path) -> Truth:
    """The tokenizer in a file."""
    return Truth(path.name, FileTokenizer(path.name, path.read_bytes()).count)


def measure(texts: Iterable[Sample], truths: dict[str, Truth]) -> list[Measured]:
    """Features and counts of texts."""
    encodings = {base: load_encoding(base) for base in BASES}
    return [
        Measured(
            text.source,
            {name: count for name, value in features(text.text).items() if (count := round(value))},
            {base: count_text(encoding, text.text) for base, encoding in encodings.items()},
            {family: truth.count(text.text) for family, truth in truths.items()},
        )
        for text in texts
        if text.text
    ]


def best_fit(samples: Sequence[Measured], family: str) -> Fitted:
    """A family's numbers on the base encoding that errs less."""
    return min((fit(samples, family, base) for base in BASES), key=lambda fitted: fitted.worth.mean_error)


def entry(fitted: Fitted, truth: str) -> dict[str, object]:
    """A family's entry in the data; ``truth`` names the tokenizer that counted truly."""
    worth = fitted.worth
    return {
        "base": fitted.base,
        "accuracy": {
            "truth": truth,
            "texts": worth.texts,
            "mean_error_percent": round(worth.mean_error * 100, 1),
            "coverage_percent": round(worth.coverage * 100, 1),
            "median_width_percent": round(worth.median_width * 100),
        },
        "ratios": fitted.estimator.ratios,
        "bounds": fitted.estimator.bounds,
        "weights": fitted.estimator.weights,
    }


def fixture_lines(samples: Sequence[Measured], families: Sequence[str]) -> list[str]:
    """A line with the names of the features, then per text its source, base and true counts, and features."""
    names = sorted({name for sample in samples for name in sample.features})
    numbers = {name: number for number, name in enumerate(names)}
    rows = [
        [
            sample.source,
            [sample.base_tokens[base] for base in BASES],
            [sample.tokens[family] for family in families],
            " ".join(f"{numbers[name]}:{count:.0f}" for name, count in sample.features.items()),
        ]
        for sample in samples
    ]
    header = {"features": names, "bases": BASES, "families": families}
    return [json.dumps(row, separators=(",", ":")) for row in (header, *rows)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, measure and write."""
    parser = argparse.ArgumentParser(description="Fit engine/data/estimates.json to true counts.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--tokenizer", action="append", default=[], metavar="FAMILY=FILE[=NAME]")
    parser.add_argument("--fixture", type=Path)
    parser.add_argument("--date", required=True)
    parser.add_argument("--no-claude", action="store_true")
    parser.add_argument("--per-source", type=int, default=4)
    options = parser.parse_args(arguments)
    truths = {} if options.no_claude else claude_truths()
    for given in options.tokenizer:
        family, file, *name = given.split("=", 2)
        truth = file_truth(Path(file))
        truths[family] = Truth(name[0], truth.count) if name else truth
    cuts = texts_from_folder(options.corpus, options.per_source, SEED)
    samples = measure([*cuts, *generated_texts(2 * options.per_source, SEED)], truths)
    document = json.loads(ESTIMATES.read_text("utf-8"))
    document["date"] = options.date
    for family, truth in truths.items():
        fitted = best_fit(samples, family)
        worth = fitted.worth
        said = f"error {worth.mean_error:.1%} coverage {worth.coverage:.1%} width {worth.median_width:.0%}"
        print(f"{family:12} {fitted.base} {said} ({truth.name})", flush=True)
        document["families"][family] = entry(fitted, truth.name)
    written = re.sub(r"\[\s+([\d.]+),\s+([\d.]+)\s+\]", r"[\1, \2]", json.dumps(document, indent=1, ensure_ascii=False))
    ESTIMATES.write_text(written + "\n", "utf-8")
    if options.fixture:
        families = [family for family in truths if family in CLAUDE]
        few = [sample for number, sample in enumerate(samples) if number % 3]
        options.fixture.write_text("\n".join(fixture_lines(few, families)) + "\n", "utf-8")


if __name__ == "__main__":
    main()
