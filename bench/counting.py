"""What counting costs: texts against tiktoken alone, requests against LiteLLM, Claude against ctok, and more.

``python -m bench.counting [--quick] [part …]``, where the parts are ``texts``, ``requests``, ``claude``, ``first`` (the
first count of a process, and its memory) and ``loop`` (how long the event loop is kept waiting).
"""

import argparse
import sys
from typing import Protocol

from bench import claude, count_requests, count_speed, first_count, loop


class Measure(Protocol):
    """Measures one part."""

    def __call__(self, *, quick: bool) -> None:
        """Print its tables; from fewer rounds and smaller texts for a short run."""


PARTS: dict[str, Measure] = {
    "texts": count_speed.measure,
    "requests": count_requests.measure,
    "claude": claude.measure,
    "first": first_count.measure,
    "loop": loop.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="all of them when none is named")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller texts")
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}")
    for part in options.parts or PARTS:
        PARTS[part](quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
