"""What Claude's count costs by segments, against bare ctok: texts seen for the first time, and kinds seen before.

`first`: nothing is remembered of any text. `similar`: the segments of other texts of the kind are remembered.
`again`: those of the text itself are.
"""

import random
import string
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from bench.timing import compare, print_table
from tokenward.engine.tokenizers.claude import VERSIONS
from tokenward.engine.tokenizers.claude_ctok import CtokParts, PlainCtok
from tokenward.engine.tokenizers.claude_segments import SegmentCounter

CHARACTERS = 30_000
REMEMBERED_CHARACTERS = 200_000
REPOSITORY = Path(__file__).parents[1]


def halves(text: str) -> tuple[str, str]:
    """What is remembered, and what is counted: texts of one kind, and not the same."""
    middle = len(text) // 2
    return text[max(0, middle - REMEMBERED_CHARACTERS) : middle], text[middle : middle + CHARACTERS]


def texts() -> dict[str, tuple[str, str]]:
    choose = random.Random(1)
    prose = "".join(page.read_text("utf-8") for page in sorted((REPOSITORY / "docs").glob("*.md")))
    code = "".join(file.read_text("utf-8") for file in sorted((REPOSITORY / "engine").rglob("*.py")))
    json = (REPOSITORY / "engine" / "data" / "models.json").read_text("utf-8")
    letters = "".join(choose.choices(string.ascii_letters + "     ", k=4 * CHARACTERS))
    any_character = "".join(chr(choose.randrange(0x20, 0xD800)) for _ in range(CHARACTERS))
    return {
        "prose": halves(prose),
        "code": halves(code),
        "JSON": halves(json),
        "random letters": halves(letters),
        "random characters": halves(any_character),
    }


def seconds(count: Callable[[str], int], text: str) -> float:
    start = time.perf_counter()
    count(text)
    return time.perf_counter() - start


def measured(version: str, before: str, text: str, rounds: int) -> tuple[str, ...]:
    """The cells of a row."""
    bare, parts = PlainCtok(version), CtokParts(version)

    def segments(*remembered: str) -> float:
        counter = SegmentCounter(parts)
        for other in remembered:
            counter.count(other)
        return seconds(counter.count, text)

    remembered: tuple[tuple[str, ...], ...] = ((), (before,), (text,))
    sides = [
        compare(partial(segments, *texts), partial(seconds, bare.count, text), pairs=rounds) for texts in remembered
    ]
    megabytes = len(text.encode()) / 1e6
    cells = [(f"{megabytes / side.left:.2f}", f"{1 / side.ratio:.1f}") for side in sides]
    return f"{megabytes / sides[0].right:.2f}", *(cell for pair in cells for cell in pair)


def measure(*, quick: bool) -> None:
    """Print the table, or why there is none."""
    if find_spec("ctok") is None:
        print("\nNot measured: ctok is not installed; it needs Python 3.12")
        return
    heading = ("MB/s", "ctok alone", "first", "ratio", "similar", "ratio", "again", "ratio")
    rows = [
        (f"{family}: {kind}", *measured(version, before, text, rounds=3 if quick else 5))
        for family, version in VERSIONS.items()
        for kind, (before, text) in texts().items()
    ]
    print_table(
        f"Counting {CHARACTERS:,} characters for Claude; ratios are speeds against ctok alone", [heading, *rows]
    )
