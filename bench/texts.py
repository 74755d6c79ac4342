"""What the counting benchmarks count: slices of this repository's own prose and code, no two of them alike."""

import random
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


class Texts:
    """An endless supply of texts that nobody has counted before.

    Each begins with a number of its own, and consists of slices of the documents and sources here, taken at random from
    a seed, so every run counts the same.
    """

    def __init__(self, seed: int = 1) -> None:
        files = sorted([*_ROOT.glob("*.md"), *_ROOT.glob("docs/*.md"), *_ROOT.glob("engine/**/*.py")])
        self._source = "\n".join(file.read_text(encoding="utf-8") for file in files)
        self._chance = random.Random(seed)
        self._made = 0

    def new(self, characters: int) -> str:
        """A text of so many characters."""
        self._made += 1
        parts = [f"{self._made:08d} "]
        missing = characters - len(parts[0])
        while missing > 0:
            start = self._chance.randrange(len(self._source) - 10)
            part = self._source[start : start + min(missing, 50_000)]
            parts.append(part)
            missing -= len(part)
        return "".join(parts)[:characters]

    def several(self, number: int, characters: int) -> list[str]:
        """So many texts of so many characters."""
        return [self.new(characters) for _ in range(number)]
