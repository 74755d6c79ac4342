"""Work in steps: it ends at the next one when it is stopped, and tells how far it has come."""

import threading
from collections.abc import Callable

import pytest

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.history import TokenOptimizer
from tokenward.engine.steps import Stopped, advance, checkpoint, finish, followed, stoppable
from tokenward.engine.tokenizers.base import TokenizerOptions
from tokenward.engine.types import JsonObject

CHARACTERS = 3_000_000
TEXTS = {
    "prose": "The quick brown fox jumps over the lazy dog. " * (CHARACTERS // 45),
    "spaces": " " * CHARACTERS,
    "letters": "ab" * (CHARACTERS // 2),
    "not ASCII": "ä漢😀" * (CHARACTERS // 3),
}
MODELS = ["gpt-4", "gpt-4o", "gemini-2.5-pro"]


class CountingEvent(threading.Event):
    """Counts how often it is looked at, and is set from a number of looks on."""

    def __init__(self, set_after: int | None = None) -> None:
        super().__init__()
        self.looks = 0
        self._set_after = set_after

    def is_set(self) -> bool:
        self.looks += 1
        return self._set_after is not None and self.looks > self._set_after


def messages(number: int) -> list[JsonObject]:
    texts = ("What is it that you do?", "I do this and that. Then I do it again. In the end it is done.")
    return [{"role": ("user", "assistant")[index % 2], "content": texts[index % 2]} for index in range(number)]


def test_nothing_is_stopped_where_nobody_asks() -> None:
    checkpoint()
    advance(1)
    finish(1)


def test_stopped_work_ends_at_its_next_step_and_no_handler_of_failures_sees_it() -> None:
    stop = threading.Event()
    done: list[int] = []

    def work() -> None:
        for number in range(10):
            checkpoint()
            done.append(number)
            if number == 2:
                stop.set()

    with pytest.raises(Stopped):
        stoppable(work, stop)
    assert done == [0, 1, 2]
    assert not issubclass(Stopped, Exception)
    checkpoint()  # what was stopped is over


def test_work_that_was_stopped_before_does_not_begin() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        stoppable(lambda: pytest.fail("it began"), stop)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_long_text_is_counted_in_small_steps(text: str, model: str) -> None:
    looks = CountingEvent()
    counter = TokenCounter(cache_size=0, options=TokenizerOptions(fast=False))
    stoppable(lambda: counter.count_tokens(text, model), looks)
    assert looks.looks >= CHARACTERS // 110_000


@pytest.mark.parametrize("model", [*MODELS, "claude-sonnet-4-5", "mistral-large-latest"])
@pytest.mark.parametrize("fast", [False, True])
def test_a_stopped_count_leaves_nothing_behind(model: str, fast: bool, caplog: pytest.LogCaptureFixture) -> None:
    counter = TokenCounter(options=TokenizerOptions(fast=fast))
    text = TEXTS["prose"]
    method = counter.count_tokens("first", model).method
    with pytest.raises(Stopped):
        stoppable(lambda: counter.count_tokens(text, model), CountingEvent(6))
    assert not caplog.records
    again = counter.count_tokens(text, model)
    assert not again.cache_hit
    assert again.method == method
    assert counter.count_tokens(text, model).cache_hit


def _count(counter: TokenCounter, number: int) -> object:
    return count_messages(messages(number), "gpt-4o", counter=counter)


def _truncate(counter: TokenCounter, number: int) -> object:
    return TokenOptimizer(counter).truncate_history(messages(number), 100, "gpt-4o")


def _compress(counter: TokenCounter, number: int) -> object:
    return TokenOptimizer(counter).compress_messages(messages(number), "gpt-4o", target_reduction=0.5)


@pytest.mark.parametrize("work", [_count, _truncate, _compress])
def test_histories_are_worked_on_in_steps(work: Callable[[TokenCounter, int], object]) -> None:
    counter = TokenCounter(cache_size=0)
    looks = CountingEvent()
    stoppable(lambda: work(counter, 600), looks)
    assert looks.looks > 2 * 600
    for after in range(1, looks.looks, looks.looks // 7):
        with pytest.raises(Stopped):
            stoppable(lambda: work(counter, 600), CountingEvent(after))


def test_what_is_counted_is_added_up_whoever_counts_it() -> None:
    counter = TokenCounter(cache_size=10)
    texts = ["some", "some", "x" * 700_000, TEXTS["prose"]]
    with followed() as progress:
        for model in MODELS:
            before = progress.characters
            counter.count_tokens_batch(texts, model)
            assert progress.characters - before == sum(map(len, texts))
    before = progress.characters
    counter.count_tokens("not followed any more", "gpt-4o")
    assert progress.characters == before


def test_a_long_text_counts_while_it_is_counted() -> None:
    seen: list[int] = []

    class Looking(CountingEvent):
        def is_set(self) -> bool:
            seen.append(progress.characters)
            return super().is_set()

    counter = TokenCounter(cache_size=0)
    with followed() as progress:
        stoppable(lambda: counter.count_tokens(TEXTS["prose"], "gpt-4o"), Looking())
    assert seen == sorted(seen)
    assert len({characters for characters in seen if 0 < characters < CHARACTERS}) > 10
    assert progress.characters == len(TEXTS["prose"])
