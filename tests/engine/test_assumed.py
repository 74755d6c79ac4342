"""What is only assumed of a model makes its count an estimate, whoever counts."""

from tokenward.engine.tokenizers.assumed import AssumedTokenizer
from tokenward.engine.tokenizers.openai import TiktokenTokenizer

EXACT = TiktokenTokenizer("cl100k_base")
ASSUMED = AssumedTokenizer(EXACT)


def test_it_counts_alike_and_does_not_say_that_it_is_exact() -> None:
    assert (EXACT.exact, ASSUMED.exact) == (True, False)
    assert (ASSUMED.method, ASSUMED.encoding) == (EXACT.method, EXACT.encoding)
    assert ASSUMED.count("one two three") == EXACT.count("one two three")


def test_its_bounds_are_wider_and_never_below_one_token() -> None:
    assert ASSUMED.bounds("x", 1_000) == (800, 1_300)
    assert ASSUMED.bounds("x", 1) == (1, 2)
    assert ASSUMED.bounds("", 0) == (0, 0)
