"""Plug-ins: found by their entry points, asked first, and never able to break a count."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest

from tests.plugin_packages import BROKEN, GOOD, write_package
from tests.waiting import NET_SECONDS
from tokenward.engine.catalog import Catalog, ModelInfo
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.errors import InvalidInput
from tokenward.engine.tokenizers.base import Method, TokenizerOptions
from tokenward.engine.tokenizers.claude import ClaudeTokenizer
from tokenward.engine.tokenizers.guarded import GuardedTokenizer, Source
from tokenward.engine.tokenizers.plugins import MAX_NAME_CHARACTERS, Plugin, found_plugins, installed_plugins
from tokenward.engine.tokenizers.registry import tokenizer_for

Install: TypeAlias = Callable[..., None]

COUNT = "return len(text.split())"
"""How the good plug-in counts, to be replaced."""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Real distributions in a folder on the path; gone after the test, and with them what was found."""
    site = tmp_path / "site"
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    made: set[str] = set()

    def installs(name: str = "acme", source: str | None = GOOD, module: str = "acme_tokens") -> None:
        write_package(site, name, source, module)
        made.add(module)
        found_plugins.cache_clear()

    yield installs
    found_plugins.cache_clear()
    for module in made:
        sys.modules.pop(module, None)


def only_plugin() -> Plugin:
    (plugin,) = installed_plugins()
    return plugin


def test_a_plugin_counts_its_models(install: Install) -> None:
    install()
    counter = TokenCounter()
    result = counter.count_tokens("three words here", "acme-1")
    assert (result.token_count, result.lower, result.upper) == (3, 3, 3)
    assert (result.method, result.exact, result.encoding) == ("huggingface", True, "acme:acme-words")
    assert result.warnings == (), "what the catalog assumes of an unknown model no longer holds"
    assert counter.count_tokens("three words here", "gpt-4o").method == "tiktoken"
    assert counter.count_tokens("three words here", "other-1").warnings


def test_nothing_is_imported_before_the_first_count(install: Install) -> None:
    install()
    counter = TokenCounter()
    assert "acme_tokens" not in sys.modules
    counter.count_tokens("x")
    assert "acme_tokens" in sys.modules


def test_plugins_can_be_switched_off(install: Install) -> None:
    install()
    counter = TokenCounter(options=TokenizerOptions(plugins=False))
    assert counter.count_tokens("x", "acme-1").method == "estimate"
    assert "acme_tokens" not in sys.modules


def test_plugins_are_asked_before_the_built_in_families_in_the_order_of_their_names(install: Install) -> None:
    everything = GOOD.replace('if info.name.startswith("acme-") else None', "")
    install("second", everything.replace("acme-words", "second"), "a_second")
    install("first", everything.replace("acme-words", "first"), "b_first")
    for model in ("gpt-4o", "cl100k_base", "claude-opus-4-6", "mistral-7b"):
        assert TokenCounter().count_tokens("one two", model).encoding == "first:first"


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_never_breaks_a_count(kind: str, install: Install, caplog: pytest.LogCaptureFixture) -> None:
    source, said = BROKEN[kind]
    install(source=source)
    counter = TokenCounter()
    truth = TokenCounter(options=TokenizerOptions(plugins=False)).count_tokens("a secret text", "acme-1")
    with caplog.at_level(logging.WARNING):
        results = [counter.count_tokens("a secret text", "acme-1") for _ in range(3)]
        results += [TokenCounter().count_tokens("a secret text", "acme-1")]
    for result in results:
        assert (result.token_count, result.lower, result.upper) == (truth.token_count, truth.lower, truth.upper)
        assert (result.method, result.exact, result.encoding) == ("estimate", False, "o200k_base")
        assert result.warnings == truth.warnings
    (record,) = caplog.records
    assert said in record.getMessage()
    assert "acme_tokens 1.0" in record.getMessage()
    assert "secret" not in caplog.text
    assert said in (only_plugin().problem or "")


def test_a_module_that_is_not_there_is_a_broken_plugin(install: Install) -> None:
    install(source=None)
    assert TokenCounter().count_tokens("x", "acme-1").method == "estimate"
    assert only_plugin().problem == "raised ModuleNotFoundError when it was imported"


INTERRUPTED = GOOD.replace(COUNT, "if text == 'stop': raise KeyboardInterrupt\n        return 7")


def test_an_interrupt_of_the_main_thread_passes_through_and_is_no_failure(install: Install) -> None:
    install(source=INTERRUPTED)
    counter = TokenCounter()
    with pytest.raises(KeyboardInterrupt):
        counter.count_tokens("stop", "acme-1")
    assert counter.count_tokens("go on", "acme-1").token_count == 7
    assert only_plugin().problem is None


def test_in_another_thread_nobody_interrupts(install: Install) -> None:
    install(source=INTERRUPTED)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(TokenCounter().count_tokens, "stop", "acme-1").result().method == "estimate"
    assert only_plugin().problem == "raised KeyboardInterrupt when counting"


@pytest.mark.parametrize("error", ["MemoryError", "RecursionError"])
def test_a_text_that_is_too_much_is_counted_the_next_way_and_the_plugin_stays(
    error: str, install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(source=GOOD.replace(COUNT, f"if 'secret' in text: raise {error}(text)\n        return 7"))
    counter = TokenCounter()
    truth = TokenCounter(options=TokenizerOptions(plugins=False)).count_tokens("a secret text", "acme-1")
    assert counter.count_tokens("before", "acme-1").exact
    for _ in range(2):
        result = counter.count_tokens("a secret text", "acme-1")
        assert (result.token_count, result.lower, result.upper) == (truth.token_count, truth.lower, truth.upper)
        assert (result.method, result.exact, result.encoding) == ("estimate", False, "o200k_base")
        after = counter.count_tokens("after", "acme-1")
        assert (after.token_count, after.lower, after.upper) == (7, 7, 7)
        assert (after.method, after.exact) == ("huggingface", True)
    assert only_plugin().problem is None
    (record,) = caplog.records
    assert f"raised {error} for a text" in record.getMessage()
    assert "secret" not in caplog.text


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_segments_stay_after_a_text_that_is_too_much(error: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    def count(text: str) -> int:
        if text == "much":
            raise error
        return 7

    segments: Any = SimpleNamespace(count=count)
    plain: Any = SimpleNamespace(count=len)
    tokenizer = ClaudeTokenizer("claude-v3", segments, plain)
    with pytest.raises(error):
        tokenizer.count("much")
    assert tokenizer.count("little") == 7
    assert caplog.records == []


def test_what_was_too_much_for_one_thread_leaves_the_others_alone(install: Install) -> None:
    install(source=GOOD.replace(COUNT, "if text == 'much': raise MemoryError\n        return 7"))
    counter = TokenCounter().text_counter("acme-1")
    assert counter.count("little") == 7
    counter.count("much")
    assert not counter.exact
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: counter.exact).result()
        assert pool.submit(counter.count, "less").result() == 7
    assert not counter.exact


def test_a_wrong_argument_of_the_caller_ends_no_plugin(install: Install) -> None:
    install(source=GOOD.replace("exact = True", "exact = False").replace("tokens, tokens", "len(text.split()), tokens"))
    tokenizer: Any = tokenizer_for(Catalog().resolve("acme-1"), TokenizerOptions())
    wrong: Any
    for wrong in (b"bytes", ["a list"], None, 5):
        with pytest.raises(InvalidInput):
            TokenCounter().count_tokens(wrong, "acme-1")
        with pytest.raises(InvalidInput):
            tokenizer.count(wrong)
        with pytest.raises(InvalidInput):
            tokenizer.bounds(wrong, 1)
    with pytest.raises(InvalidInput):
        tokenizer.bounds("text", "1")
    assert only_plugin().problem is None
    assert TokenCounter().count_tokens("two words", "acme-1").method == "huggingface"


@pytest.mark.parametrize("held", ["count", "bounds"])
def test_a_count_that_ends_after_its_source_is_made_again(held: str) -> None:
    source, began, go_on = FixedSource("held"), threading.Event(), threading.Event()

    def wait(doing: str) -> None:
        if doing == held:
            began.set()
            assert go_on.wait(NET_SECONDS)

    source_tokenizer = FixedTokenizer(7, (5, 9), wait)
    guarded = GuardedTokenizer(
        source, source_tokenizer, Catalog().resolve("acme-1"), lambda: FixedTokenizer(3, (2, 4), lambda _doing: None)
    )
    with ThreadPoolExecutor(1) as pool:
        counted = pool.submit(guarded.count, "x") if held == "count" else pool.submit(guarded.bounds, "x", 7)
        assert began.wait(NET_SECONDS)
        source.fail("was ended by another thread")
        go_on.set()
        assert counted.result(NET_SECONDS) == (3 if held == "count" else (2, 7))


class FixedSource(Source):
    """A source that is asked for nothing."""

    def tokenizer(self, info: ModelInfo, options: TokenizerOptions) -> None:
        del info, options

    def note(self, info: ModelInfo) -> None:
        del info


class FixedTokenizer:
    """Gives the same for every text, and tells before what it is about to give."""

    method: Method = "estimate"
    exact = False
    encoding = "fixed"

    def __init__(self, tokens: int, limits: tuple[int, int], before: Callable[[str], None]) -> None:
        self._tokens = tokens
        self._limits = limits
        self._before = before

    def count(self, text: str) -> int:
        del text
        self._before("count")
        return self._tokens

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        del text, tokens
        self._before("bounds")
        return self._limits


def test_a_plugin_that_fails_late_gives_way_for_good(install: Install) -> None:
    install(source=GOOD.replace("return len(text.split())", "return 1 // (text != 'bad') * 5"))
    counter = TokenCounter()
    text_counter = counter.text_counter("acme-1")
    assert counter.count_tokens("good", "acme-1").token_count == 5
    assert text_counter.exact
    late = counter.count_tokens("bad", "acme-1")
    assert (late.method, late.exact, late.token_count) == ("estimate", False, 1)
    assert late.lower <= 1 <= late.upper
    again = counter.count_tokens("good", "acme-1")
    assert (again.token_count, again.method, again.cache_hit) == (1, "estimate", False), (
        "the plug-in's count is not used"
    )
    assert not text_counter.exact
    assert text_counter.info.encoding == "o200k_base"
    assert text_counter.info.warnings


def test_bounds_that_fail_for_a_cached_count_still_hold(install: Install) -> None:
    failing = "self.asked = getattr(self, 'asked', 0) + 1\n        return tokens // (self.asked < 4), tokens"
    install(source=GOOD.replace("return tokens, tokens", failing).replace("exact = True", "exact = False"))
    counter = TokenCounter()
    results = [counter.count_tokens("w " * 50, "acme-1") for _ in range(4)]
    assert all(result.lower <= 50 <= result.upper for result in results)
    assert not any(result.exact for result in results)
    assert only_plugin().problem == "raised ZeroDivisionError when counting"
    assert results[-1].method == "estimate"


def test_a_plugin_may_estimate(install: Install) -> None:
    source = GOOD.replace('"huggingface"', '"estimate"').replace("exact = True", "exact = False")
    install(source=source.replace("tokens, tokens", "tokens // 2, tokens * 2").replace("acme-words", "o200k_base"))
    result = TokenCounter().count_tokens("one two three", "acme-1")
    assert (result.lower, result.token_count, result.upper) == (1, 3, 6)
    assert (result.method, result.encoding) == ("estimate", "acme:o200k_base")


def test_a_failure_in_many_threads_is_noted_once(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install(source=GOOD.replace("return len(text.split())", "return 1000 // (len(text) % 7)"))
    counter = TokenCounter(cache_size=0)
    own = TokenCounter(options=TokenizerOptions(plugins=False))

    def count(text: str) -> int:
        return counter.count_tokens(text, "acme-1").token_count

    texts = ["x" * length for length in range(64)]
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(count, texts))
    assert len(caplog.records) == 1
    for text, tokens in zip(texts, counts, strict=True):
        by_plugin = 1000 // (len(text) % 7 or 2000)
        assert tokens in (by_plugin, own.count_tokens(text, "acme-1").token_count)
    assert counter.count_tokens("xx", "acme-1").method == "estimate"


def test_an_examination_finds_what_counting_would(install: Install) -> None:
    infos = [*Catalog().models(), Catalog().resolve("acme-1")]
    install()
    assert only_plugin().examine(infos, TokenizerOptions()) == 1
    assert only_plugin().problem is None
    assert only_plugin().distribution == "acme_tokens 1.0"


@pytest.mark.parametrize("kind", [*BROKEN, "empty text", "surrogates", "recursion"])
def test_an_examination_finds_what_is_broken(kind: str, install: Install) -> None:
    sources = BROKEN | {
        "empty text": (GOOD.replace("len(text.split())", "1"), "tokens for the empty text"),
        "recursion": (GOOD.replace(COUNT, "return self.count(text)"), "raised RecursionError when counting"),
        "surrogates": (GOOD.replace("text.split()", "text.encode()"), "raised UnicodeEncodeError"),
    }
    source, said = sources[kind]
    install(source=source)
    only_plugin().examine([Catalog().resolve("acme-1")], TokenizerOptions())
    assert said in (only_plugin().problem or "")


def test_unreadable_metadata_of_others_is_passed_over(install: Install, tmp_path: Path) -> None:
    install()
    other = tmp_path / "site" / "other-1.0.dist-info"
    other.mkdir()
    (other / "entry_points.txt").write_text("[tokenward.tokenizers\nno = sense", encoding="utf-8")
    (tmp_path / "site" / "nameless-1.0.dist-info").mkdir()
    found_plugins.cache_clear()
    assert [plugin.name for plugin in installed_plugins()] == ["acme"]


def test_a_name_that_is_too_long_is_cut_in_messages(install: Install) -> None:
    install(name="x" * 500, source="")
    assert TokenCounter().count_tokens("x", "acme-1").token_count
    assert len(only_plugin().label) < MAX_NAME_CHARACTERS + 100
