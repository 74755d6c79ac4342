"""TokenCounter: labelled counts, a cache that may be resized and holds no text, and honest metrics."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from tokenward.engine.catalog import Catalog, ModelInfo
from tokenward.engine.counting.cache import CountCache
from tokenward.engine.counting.calibration import MIN_SAMPLES, Calibration, Sample, counted_as
from tokenward.engine.counting.counter import TextCounter, TokenCounter, get_token_counter
from tokenward.engine.errors import InvalidInput, UnknownEncoding
from tokenward.engine.tokenizers.base import Method, TokenizationModel, Tokenizer, TokenizerOptions
from tokenward.engine.tokenizers.encodings import load_encoding

TEXT = "Hello, world! This is a test."


def ticking() -> Callable[[], float]:
    """A timer that goes on by one second at each look."""
    seconds = count()
    return lambda: float(next(seconds))


@pytest.mark.parametrize("model", list(TokenizationModel))
def test_an_encodings_count_is_exact(model: TokenizationModel) -> None:
    result = TokenCounter(timer=ticking()).count_tokens(TEXT, model)
    truth = len(load_encoding(model).encode_ordinary(TEXT))
    assert (result.token_count, result.lower, result.upper) == (truth, truth, truth)
    assert (result.exact, result.method, result.encoding, result.model) == (True, "tiktoken", model, model)
    assert (result.processing_time, result.cache_hit, result.warnings) == (1.0, False, ())


@pytest.mark.parametrize(("model", "encoding"), [("gpt-4o", "o200k_base"), ("openai/gpt-4", "cl100k_base")])
def test_an_openai_models_count_is_exact(model: str, encoding: str) -> None:
    result = TokenCounter().count_tokens(TEXT, model)
    assert (result.exact, result.encoding, result.model) == (True, encoding, model)
    assert result.token_count == len(load_encoding(encoding).encode_ordinary(TEXT))


@pytest.mark.parametrize("model", ["grok-4", "gemini-2.5-pro", "gpt-6-sol", "who-knows"])
def test_other_models_counts_are_labelled_estimates_with_bounds(model: str) -> None:
    result = TokenCounter().count_tokens(TEXT, model)
    assert (result.exact, result.method) == (False, "estimate")
    assert 0 < result.lower < result.token_count < result.upper
    assert bool(result.warnings) == (model in ("gpt-6-sol", "who-knows"))


def test_the_newer_claude_takes_more_tokens_than_the_older() -> None:
    counter = TokenCounter()
    older, newer = (counter.count_tokens(TEXT * 10, model) for model in ("claude-opus-4-6", "claude-opus-4-7"))
    assert 1.2 < newer.token_count / older.token_count < 1.5


@pytest.mark.parametrize("model", ["cl100k_base", "claude-sonnet-4-5", "no-such-model"])
def test_an_empty_text_has_no_tokens(model: str) -> None:
    result = TokenCounter().count_tokens("", model)
    assert (result.token_count, result.lower, result.upper) == (0, 0, 0)
    assert TokenCounter().estimate_tokens_fallback("", model).upper == 0


def test_an_unknown_encoding_and_an_empty_name_are_errors() -> None:
    counter = TokenCounter()
    with pytest.raises(UnknownEncoding, match="cl100k_base"):
        counter.count_tokens(TEXT, "cl101k_base")
    with pytest.raises(InvalidInput, match="empty"):
        counter.text_counter("")


def test_a_second_count_comes_from_the_cache() -> None:
    counter = TokenCounter(timer=ticking())
    first, second = (counter.count_tokens(TEXT, model) for model in ("gpt-4o", "gpt-5"))
    assert (first.cache_hit, second.cache_hit) == (False, True)
    assert first.token_count == second.token_count
    assert not counter.count_tokens(TEXT, "gpt-4").cache_hit, "another encoding, another count"
    assert not counter.count_tokens(TEXT, "claude-opus-5").cache_hit
    assert counter.count_tokens(TEXT, "claude-sonnet-5").cache_hit
    assert not counter.count_tokens(TEXT, "claude-sonnet-4").cache_hit


def test_metrics() -> None:
    counter = TokenCounter(cache_size=10, options=TokenizerOptions(fast=False), timer=ticking())
    assert counter.get_performance_metrics()["cache_hit_rate"] == 0
    for text in ("a", "b", "a", "a"):
        counter.count_tokens(text)
    counter.count_tokens("a", "grok-4")
    counter.text_counter("cl100k_base").count("b")
    counter.estimate_tokens_fallback("a")
    assert counter.get_performance_metrics() == {
        "total_calls": 7,
        "cache_hits": 3,
        "cache_misses": 4,
        "cache_hit_rate": pytest.approx(300 / 7),
        "average_processing_time": 1.0,
        "tiktoken_calls": 2,
        "fast_calls": 0,
        "pg_tiktoken_calls": 0,
        "fallback_calls": 2,
        "cache_entries": 3,
        "cache_size": 10,
    }


def test_the_cache_can_be_resized() -> None:
    counter = TokenCounter(cache_size=3)
    for text in "abc":
        counter.count_tokens(text)
    counter.count_tokens("a")
    counter.cache_size = 1
    assert counter.cache_size == 1
    assert counter.get_performance_metrics()["cache_entries"] == 1
    assert counter.count_tokens("a").cache_hit, "the most recently used one stays"
    counter.cache_size = 0
    assert not counter.count_tokens("a").cache_hit
    assert not counter.count_tokens("a").cache_hit
    assert counter.get_performance_metrics()["cache_entries"] == 0


@given(st.lists(st.integers(0, 20)), st.integers(0, 6))
def test_the_cache_keeps_the_most_recently_used(numbers: list[int], size: int) -> None:
    kept = CountCache(size)
    for number in numbers:
        key = CountCache.key("scope", str(number))
        known = kept.get(key)
        assert known is None or known == number
        kept.record(key, number, "tiktoken", 0.0)
    recent = list(dict.fromkeys(reversed(numbers)))[:size]
    assert len(kept) == len(recent)
    assert [kept.get(CountCache.key("scope", str(number))) for number in recent] == recent


@given(st.text(), st.text(), st.sampled_from(["a b", "a c"]), st.sampled_from(["a b", "a c"]))
def test_keys_differ_when_texts_or_scopes_differ(text: str, other: str, scope: str, another: str) -> None:
    same = CountCache.key(scope, text) == CountCache.key(another, other)
    assert same == ((scope, text) == (another, other))


def test_lone_surrogates_have_keys() -> None:
    assert len(CountCache.key("scope", "a\ud800")) == 32


@pytest.mark.parametrize("filling", ["a", "\U0001f600", "\ud83d\ude00"])
def test_a_text_hashed_in_slices_has_the_key_of_the_whole(monkeypatch: pytest.MonkeyPatch, filling: str) -> None:
    texts = [filling * times + end for times in (4, 5, 6, 50) for end in ("", "b")]
    keys = [CountCache.key("scope", text) for text in texts]
    assert len(set(keys)) == len(texts)
    monkeypatch.setattr("tokenward.engine.counting.cache.SLICE_CHARACTERS", 5)
    assert [CountCache.key("scope", text) for text in texts] == keys


def test_results_cannot_be_changed_and_are_equal_when_their_values_are() -> None:
    result = TokenCounter(timer=ticking()).count_tokens(TEXT)
    assert result == TokenCounter(timer=ticking()).count_tokens(TEXT)
    with pytest.raises(AttributeError):
        result.token_count = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def test_batch() -> None:
    counter = TokenCounter(timer=ticking())
    batch = counter.count_tokens_batch(["Hello", "Hello", ""], "gpt-4o")
    assert [result.token_count for result in batch.results] == [1, 1, 0]
    assert (batch.total_tokens, batch.cache_hits, batch.total_processing_time) == (2, 1, 3.0)
    assert counter.count_tokens_batch([]).results == ()
    with pytest.raises(InvalidInput, match="single text"):
        counter.count_tokens_batch("Hello")


def test_context() -> None:
    counter = TokenCounter()
    assert counter.get_token_count_for_context("Hello world", 8) == {
        "token_count": 2,
        "max_context": 8,
        "context_usage_percentage": 25.0,
        "remaining_tokens": 6,
        "context_fit": True,
    }
    tight = counter.get_token_count_for_context("Hello world", 1)
    assert (tight["context_fit"], tight["remaining_tokens"], tight["context_usage_percentage"]) == (False, 0, 200.0)
    with pytest.raises(InvalidInput, match="positive"):
        counter.get_token_count_for_context("Hello", 0)


@pytest.mark.parametrize("model", ["gpt-4o", "claude-sonnet-4-5"])
def test_the_fallback_needs_no_vocabulary_and_says_that_it_is_an_estimate(model: str) -> None:
    result = TokenCounter().estimate_tokens_fallback(TEXT, model)
    truth = TokenCounter().count_tokens(TEXT, model).token_count
    assert (result.exact, result.method, result.model) == (False, "estimate", model)
    assert result.lower <= truth <= result.upper


def test_a_text_counter_is_bound_to_its_model_and_remembered() -> None:
    counter = TokenCounter(catalog=Catalog({"ours": "gpt-4o"}))
    texts: TextCounter = counter.text_counter("ours")
    assert counter.text_counter("ours") is texts
    assert (texts.info.name, texts.method, texts.exact) == ("gpt-4o", "tiktoken", True)
    assert texts.count("Hello world") == 2
    assert texts.bounds("Hello world", 2) == (2, 2)
    estimated = counter.text_counter("grok-4")
    tokens = estimated.count(TEXT)
    lower, upper = estimated.bounds(TEXT, tokens)
    assert lower < tokens < upper


def test_a_vocabulary_is_loaded_at_the_first_count(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def noted(name: str) -> tiktoken.Encoding:
        loaded.append(name)
        return load_encoding(name)

    monkeypatch.setattr("tokenward.engine.tokenizers.openai.load_encoding", noted)
    counter = TokenCounter(options=TokenizerOptions(fast=False))
    assert counter.inline_characters("gpt-4o") == 0
    texts = counter.text_counter("gpt-4o")
    assert (loaded, texts.inline_characters, counter.inline_characters("gpt-4o")) == ([], 0, 0)
    texts.count(TEXT)
    texts.count("another")
    assert (loaded, texts.inline_characters, counter.inline_characters("gpt-4o")) == (["o200k_base"], 50_000, 50_000)
    with pytest.raises(UnknownEncoding):
        counter.inline_characters("cl900k_base")


class Replaced:
    """A tokenizer that another one takes the place of at the first count, as after a failure."""

    def __init__(self) -> None:
        self.failed = False

    @property
    def method(self) -> Method:
        return "estimate" if self.failed else "huggingface"

    @property
    def exact(self) -> bool:
        return not self.failed

    @property
    def encoding(self) -> str:
        return "base" if self.failed else "file"

    def count(self, text: str) -> int:
        self.failed = True
        return len(text)

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        del text
        return (tokens - 1, tokens + 1) if self.failed else (tokens, tokens)


def test_a_count_is_labelled_and_kept_as_what_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Replaced] = []

    def make(info: ModelInfo, options: TokenizerOptions) -> Tokenizer:
        del info, options
        made.append(Replaced())
        return made[-1]

    monkeypatch.setattr("tokenward.engine.counting.counter.tokenizer_for", make)
    counter = TokenCounter()
    result = counter.count_tokens("four", "gpt-4o")
    assert (result.method, result.exact, result.encoding) == ("estimate", False, "base")
    assert (result.lower, result.upper) == (3, 5)
    assert counter.count_tokens("four", "gpt-4o").cache_hit
    assert counter.text_counter("gpt-4o").inline_characters == 0, "its speed is not known"
    other = counter.count_tokens("other", "gpt-5")
    assert (other.token_count, other.method, other.exact, other.cache_hit) == (5, "estimate", False, False)
    assert len(made) == 2


def test_what_fails_in_another_thread_meanwhile_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source's number that comes after the source has failed is another's: it must not be kept as its successor's."""

    class Late(Replaced):
        def count(self, text: str) -> int:
            first, self.failed = not self.failed, True
            return 99 if first else len(text)

    def make(info: ModelInfo, options: TokenizerOptions) -> Tokenizer:
        del info, options
        return Late()

    monkeypatch.setattr("tokenward.engine.counting.counter.tokenizer_for", make)
    counter = TokenCounter()
    assert counter.count_tokens("four", "gpt-4o").token_count == 4
    assert counter.count_tokens("four", "gpt-4o").token_count == 4


@pytest.mark.parametrize("text", [None, b"bytes", 5, ["list"]])
@pytest.mark.parametrize("model", ["gpt-4o", "claude-opus-4-8", "gemini-2.5-pro"])
def test_what_is_no_string_is_refused(text: object, model: str) -> None:
    counter = TokenCounter()
    with pytest.raises(InvalidInput, match="text: expected a string, not"):
        counter.count_tokens(text, model)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert counter.count_tokens("text", model).token_count > 0


def test_what_was_learned_adjusts_estimates_and_nothing_else() -> None:
    calibration = Calibration()
    plain, counter = TokenCounter(timer=ticking()), TokenCounter(calibration=calibration, timer=ticking())
    before = counter.count_tokens(TEXT * 10, "grok-4")
    assert before == plain.count_tokens(TEXT * 10, "grok-4")
    name = counted_as(counter.text_counter("grok-4"))
    calibration.add([Sample(name, 1_000, 1_050)] * MIN_SAMPLES)
    after = counter.count_tokens(TEXT * 10, "grok-4")
    assert after.cache_hit, "the cache keeps what the tokenizer said"
    assert after.token_count == round(before.token_count * 1.05)
    assert before.lower <= after.lower <= after.token_count <= after.upper <= before.upper
    assert any("calibrated" in warning for warning in after.warnings)
    texts = counter.text_counter("grok-4")
    assert texts.count(TEXT * 10) == after.token_count
    assert texts.bounds(TEXT * 10, after.token_count) == (after.lower, after.upper)
    assert texts.info.warnings == after.warnings
    assert counter.count_tokens(TEXT, "gpt-4o") == plain.count_tokens(TEXT, "gpt-4o")


def test_threads_share_a_counter() -> None:
    counter = TokenCounter(cache_size=50)
    texts = [f"text number {number % 80}" for number in range(2_000)]
    with ThreadPoolExecutor(8) as pool:
        counts = [result.token_count for result in pool.map(counter.count_tokens, texts)]
    encoding = load_encoding("cl100k_base")
    assert counts == [len(encoding.encode_ordinary(text)) for text in texts]
    metrics = counter.get_performance_metrics()
    assert metrics["total_calls"] == 2_000
    assert metrics["cache_entries"] <= 50


@given(st.text(st.characters()), st.sampled_from(["cl100k_base", "claude-opus-5", "gemini-2.5-pro", "who-knows"]))
def test_any_string_is_counted(text: str, model: str) -> None:
    result = get_token_counter().count_tokens(text, model)
    assert 0 <= result.lower <= result.token_count <= result.upper


def test_the_process_has_one_default_counter() -> None:
    assert get_token_counter() is get_token_counter()
