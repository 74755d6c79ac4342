"""What counting 120 characters costs through TokenCounter, against the tokenizer alone.

`new`: every text is seen for the first time. `again`: the same text, answered from the cache.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from bench.timing import compare, print_table
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.tokenizers.encodings import load_encoding

MODEL = "gpt-4o"
ENCODING = "o200k_base"
CALLS = 2_000
ROUNDS = 15
PROSE = (
    "Counting comes before every budget, so it has to be so cheap that nobody is tempted to leave it out of any call."
)


def fresh_texts(numbers: Iterator[int]) -> list[str]:
    """Texts of 120 characters that nobody has counted before."""
    return [f"{next(numbers):08d} {PROSE}"[:120] for _ in range(CALLS)]


def seconds_per_call(counts: Callable[[str], object], texts: Sequence[str]) -> float:
    start = time.perf_counter()
    for text in texts:
        counts(text)
    return (time.perf_counter() - start) / len(texts)


def main() -> int:
    counter = TokenCounter(cache_size=CALLS)
    encode = load_encoding(ENCODING).encode_ordinary
    numbers = count()
    same = fresh_texts(numbers)[:1] * CALLS

    def counted(text: str) -> object:
        return counter.count_tokens(text, MODEL)

    new = compare(
        lambda: seconds_per_call(counted, fresh_texts(numbers)),
        lambda: seconds_per_call(encode, fresh_texts(numbers)),
        pairs=ROUNDS,
    )
    again = compare(
        lambda: seconds_per_call(counted, same),
        lambda: seconds_per_call(encode, same),
        pairs=ROUNDS,
    )
    print_table(
        f"Counting 120 characters for {MODEL}, per call",
        [
            ("text", "tiktoken alone", "TokenCounter", "ratio"),
            *(
                (name, f"{side.floor * 1e6:.1f} µs", f"{side.ours * 1e6:.1f} µs", f"{side.ratio:.2f}")
                for name, side in (("new", new), ("again", again))
            ),
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
