"""Patterns over long texts: found is the same as without steps, and there are steps."""

import re
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.history import TokenOptimizer
from tokenward.engine.history.prose import read_pieces
from tokenward.engine.history.regions import INLINE, split_regions
from tokenward.engine.history.steady import LONG_CHARACTERS, SteadyPattern
from tokenward.engine.steps import stoppable
from tokenward.engine.types import JsonObject

BITS = [
    *(" ", "  ", "\t", "\n", "word", "is", "x.", "...!!", "`", "``", '"', "'", "http://a.b/c", "www.x", "a.de/x"),
    *("<b>", "1http://x", "\u201c", "\u201d", "def f(x) = 1;", "{", "-v", "it's", "\u2018", "\u2019"),
]
WORDS = " ".join(f"word{number} is here and there." for number in range(40_000))


class Looks(Event):
    """Counts how often it is looked at."""

    number = 0

    def is_set(self) -> bool:
        self.number += 1
        return False


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text is long."""
    monkeypatch.setattr("tokenward.engine.history.steady.LONG_CHARACTERS", 0)


@given(bits=st.lists(st.sampled_from(BITS), max_size=40))
def test_steps_change_nothing(bits: list[str]) -> None:
    text = "".join(bits)
    whole = read_pieces(text), split_regions(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tokenward.engine.history.steady.LONG_CHARACTERS", 0)
        assert (read_pieces(text), split_regions(text)) == whole


@pytest.mark.usefixtures("always")
def test_what_is_found_is_changed_and_the_rest_stays() -> None:
    pattern = SteadyPattern(INLINE)
    assert pattern.sub(lambda match: match.group().upper(), 'a "b  c" d http://e f') == 'a "B  C" d HTTP://E f'
    assert pattern.found_in("see www.example")
    assert not pattern.found_in("see  nothing of it ")


@pytest.mark.usefixtures("always")
def test_flags_are_kept() -> None:
    assert SteadyPattern("^ b", re.MULTILINE).found_in("a\nb")
    assert not SteadyPattern("^ b").found_in("a\nb")


def test_one_long_line_is_compressed_in_small_steps() -> None:
    assert len(WORDS) > 50 * LONG_CHARACTERS
    counter, looks = TokenCounter(), Looks()
    messages: list[JsonObject] = [{"role": "user", "content": WORDS}]
    stoppable(lambda: TokenOptimizer(counter).compress_messages(messages, "gpt-4o"), looks)
    # Each space is a step of each of the four patterns that look through all of it.
    assert looks.number > 3 * WORDS.count(" ")
