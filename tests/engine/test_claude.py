"""Claude counted by segments: as ctok itself counts, for any text, only faster."""

# ruff: noqa: RUF001, SIM905 - texts that are hard to read are what this is about

import importlib.metadata
import json
import logging
import math
import random
import sys
import tracemalloc
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenward.engine.catalog import Catalog
from tokenward.engine.tokenizers import claude, claude_segments
from tokenward.engine.tokenizers.base import TokenizerOptions
from tokenward.engine.tokenizers.claude import (
    ENCODINGS,
    VERSIONS,
    ClaudeTokenizer,
    Ctok,
    checked_segments,
    claude_source,
)
from tokenward.engine.tokenizers.claude_ctok import CtokParts, PlainCtok, check_vocabulary
from tokenward.engine.tokenizers.claude_segments import SegmentCounter, cut_rules
from tokenward.engine.tokenizers.claude_tiling import RunCosts
from tokenward.engine.tokenizers.registry import tokenizer_for

pytest.importorskip("ctok")

SEED = 20261122
TEXTS = 100_000
"""Random texts over all families and kinds."""
COUNTS = Path(__file__).parents[1] / "data" / "claude_haiku45_counts.json"
CATALOG = Catalog()
OPTIONS = TokenizerOptions(plugins=False)
FAMILY = pytest.mark.parametrize("family", list(VERSIONS))

WORDS = [
    *"the cat Don't it's IT'S we'll THEY'RE x'S I'm rock'n'roll 'tis HELLO World iPhone snake_case foo() {} []".split(
        " "
    ),
    *"=> == // print('hello') \"quoted\" 123 1,234.56 0x1F 'single' ''double'' it’s ‘curly’ “dq” naïve Ünïcode".split(
        " "
    ),
    *"ЁЖИК Мир Σίσυφος 漢字 中文。 日本語、カタカナ ひらがな 한국어 한 สวัสดี नमस्ते में عربي كِتَاب שלום 👍 👩‍💻 ⚖️ 🇩🇪".split(
        " "
    ),
    *"½ ² ① ٣٤ 1٢ Ⅳ ẞ İ ϴ ﬁ — – … • ° €".split(" "),
]
SPACES = [" ", " ", " ", "  ", "\n", "\n\n", "\t", "\r\n", " \n", "\n ", "\xa0", "\u3000", "\u2003", "\0", "\u2028", ""]
ODD = [
    *"'’\".,!-07aAst=<>‘“”々（。？，〒⟨⟩각가か",
    *("ll", "'s", "'t", "'re", "'ll", "s'", "''", "⟨bow⟩"),
    *"\u0301\u0338\u0942\u094d\u0e4d\u0e32\u200d\ufe0f\u1100\u1161\u11a8\u3099\u0345\u0730\u0711\u0cc6\u0cc2\u3007\u00ad\u200b",
    *"\x01\x07\x0d\x1c\x7f\x85\ue000\uf8ff\ufdd0\ufdd1\ufdd3\uffff\ud800\udfff\u0378\ufeff\U000e0100\U0001d165\U000e0041",
]
PLANES = [(0, 0x80), (0, 0x80), (0x80, 0x3000), (0x3000, 0x10000), (0, 0x110000)]


def words(choose: random.Random) -> str:
    return "".join(choose.choice(WORDS) + choose.choice(SPACES) for _ in range(choose.randint(1, 3)))


def oddities(choose: random.Random) -> str:
    return "".join(choose.choice(choose.choice((ODD, ODD, SPACES, WORDS))) for _ in range(choose.randint(1, 6)))


def characters(choose: random.Random) -> str:
    return "".join(chr(choose.randrange(*choose.choice(PLANES))) for _ in range(choose.randint(1, 6)))


def borders(choose: random.Random) -> str:
    return "".join(choose.choices(" \n\t'’aAs01.-漢é,", k=choose.randint(1, 10)))


KINDS = (words, oddities, characters, borders)


@cache
def plain(family: str) -> PlainCtok:
    return PlainCtok(VERSIONS[family])


@cache
def parts(family: str) -> CtokParts:
    return CtokParts(VERSIONS[family])


def segments(family: str) -> SegmentCounter:
    return SegmentCounter(parts(family))


def differing(family: str, kind: Callable[[random.Random], str], texts: int) -> list[str]:
    """Those of many random texts, others for each family, that the segments count otherwise than ctok."""
    choose = random.Random(f"{SEED} {family} {kind.__name__}")
    fast, slow = segments(family), plain(family)
    return [text for text in (kind(choose) for _ in range(texts)) if fast.count(text) != slow.count(text)]


@FAMILY
@pytest.mark.parametrize("kind", KINDS)
def test_random_texts_count_as_by_ctok(family: str, kind: Callable[[random.Random], str]) -> None:
    assert differing(family, kind, math.ceil(TEXTS / len(KINDS) / len(VERSIONS))) == []


@FAMILY
@given(text=st.text(st.characters(), max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_text_counts_as_by_ctok(family: str, text: str) -> None:
    tokenizer = claude_source().load(family)
    assert tokenizer is not None
    assert tokenizer.count(text) == plain(family).count(text)


@FAMILY
@pytest.mark.parametrize("text", ["廉⺝W\n\u09427", "क\n\u0942 x", "a\t\u0903b", "\n\u093e"])
def test_a_vowel_sign_without_a_letter_counts_as_by_ctok(family: str, text: str) -> None:
    assert segments(family).count(text) == plain(family).count(text)


@FAMILY
def test_texts_in_chunks_count_as_by_ctok(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claude_segments, "CHUNK_CHARACTERS", 3)
    monkeypatch.setattr(claude_segments, "_SEARCH_CHARACTERS", 4)
    for kind in KINDS:
        assert differing(family, kind, 500) == []
    assert segments(family).count("- ' =\u0338 -") == plain(family).count("- ' =\u0338 -")


@FAMILY
@pytest.mark.parametrize("run", [" ", "\n", "\t", "a", "A", "7", "=", "-", "'", "é", "漢", "\u3000", "e\u0301", "- "])
def test_runs_of_any_length_count_as_by_ctok(family: str, run: str) -> None:
    fast, slow = segments(family), plain(family)
    for length in (1, 2, 3, 63, 64, 129, 1_024, 2_500):
        for text in (run * length, f"x{run * length}y", f" {run * length}.\n", f"{run * length}\r\n\n"):
            assert fast.count(text) == slow.count(text), (run, length)


@pytest.mark.parametrize("character", ["\n", "a", "="])
def test_long_runs_are_cut_down_without_a_difference(character: str) -> None:
    fast, slow = segments("claude-4.7"), plain("claude-4.7")
    for length in (9_001, 12_002):
        text = f"if {character * length}b{character * length}"
        assert fast.count(text) == slow.count(text)


def test_the_costs_of_runs_are_periodic_as_worked_out_one_by_one() -> None:
    lengths = frozenset({1, 2, 7, 12})
    costs = [0]
    for size in range(1, 500):
        costs.append(1 + min(costs[size - length] for length in lengths if length <= size))
    runs = RunCosts(lengths)
    assert [runs.cost(length) for length in range(499, -1, -1)] == costs[::-1]


@FAMILY
@pytest.mark.parametrize(
    ("character", "times"),
    [("a", 1_000_000), ("A", 1_000_000), ("\n", 1_000_000), (" ", 10_000_000), ("\0", 1_000_000)],
)
def test_huge_runs_are_counted(family: str, character: str, times: int) -> None:
    fast = segments(family)
    shorter = [fast.count(character * length) for length in (times // 1_000, times // 500)]
    assert fast.count(character * times) == pytest.approx(shorter[0] + 999 * (shorter[1] - shorter[0]), rel=0.05)


def test_long_texts_take_memory_for_a_chunk_only() -> None:
    text = "It was the best of times; it was the worst of 1,859 times.\n" * 30_000
    fast = segments("claude-4.8")
    fast.count(text[:100_000])
    tracemalloc.start()
    tokens = fast.count(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000
    line = "It was the best of times; it was the worst of 1,859 times."
    repeated = plain("claude-4.8").count(f"{line}\n{line}") - plain("claude-4.8").count(line)
    assert tokens == plain("claude-4.8").count(f"{line}\n") + repeated * 29_999


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claude_segments, "MEMO_ENTRIES", 50)
    fast = segments("claude-3")
    choose = random.Random(SEED)
    for _ in range(300):
        text = words(choose) + "x" * choose.randrange(60)
        assert fast.count(text) == plain("claude-3").count(text)
        kept = fast.memo
        assert len(kept) <= 50
        assert all(len(segment) <= claude_segments.SEGMENT_CHARACTERS for segment in kept)
        assert not any(digit in segment for segment in kept for digit in "123456789")


def test_eight_threads_count_alike() -> None:
    choose = random.Random(SEED)
    texts = ["".join(words(choose) for _ in range(20)) for _ in range(60)]
    expected = [plain("claude-4.8").count(text) for text in texts]
    fast = segments("claude-4.8")
    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(lambda: [fast.count(text) for text in texts]) for _ in range(8)]
    assert [counts.result() for counts in running] == [expected] * 8


def test_published_counts() -> None:
    samples = json.loads(COUNTS.read_text("utf-8"))["samples"]
    tokenizer = tokenizer_for(CATALOG.resolve("claude-haiku-4-5"), OPTIONS)
    assert [tokenizer.count(sample["text"]) for sample in samples] == [sample["expected"] for sample in samples]


@pytest.mark.parametrize(
    ("model", "encoding", "frame"),
    [
        ("claude-3-haiku", "claude-v3", 7),
        ("claude-opus-4-6", "claude-v3", 7),
        ("claude-opus-4-7", "claude-v4.7", 11),
        ("claude-opus-4-8", "claude-v4.8", 6),
        ("claude-sonnet-5", "claude-v4.8", 6),
    ],
)
def test_a_known_model_is_counted_exactly(model: str, encoding: str, frame: int) -> None:
    info = CATALOG.resolve(model)
    tokenizer = tokenizer_for(info, OPTIONS)
    assert (tokenizer.method, tokenizer.exact, tokenizer.encoding) == ("ctok", True, encoding)
    assert (tokenizer.count(""), tokenizer.bounds("", 0)) == (0, (0, 0))
    assert tokenizer.bounds("a", 1) == (1, 1)
    own = claude_source().tokenizer(info, OPTIONS)
    assert isinstance(own, ClaudeTokenizer)
    assert own.frame_tokens == frame


def test_an_assumed_model_is_an_estimate() -> None:
    tokenizer = tokenizer_for(CATALOG.resolve("claude-opus-99"), OPTIONS)
    text = "How much wood would a woodchuck chuck? " * 20
    tokens = tokenizer.count(text)
    lower, upper = tokenizer.bounds(text, tokens)
    assert (tokenizer.method, tokenizer.exact, tokenizer.encoding) == ("ctok", False, "claude-v4.8")
    assert tokens == plain("claude-4.8").count(text)
    assert lower < 0.85 * tokens < 1.25 * tokens < upper
    assert tokenizer.bounds("", 0) == (0, 0)


@pytest.mark.parametrize("model", ["gpt-4o", "claude-2", "claude-instant-v1", "mistral-large", "no-such-thing"])
def test_other_models_are_not_counted_by_ctok(model: str) -> None:
    assert claude_source().tokenizer(CATALOG.resolve(model), OPTIONS) is None


def test_the_letters_are_what_ctok_takes_for_letters() -> None:
    classify: Callable[[str], str] = import_module("ctok.normalize").classify
    rules = cut_rules()
    compositions = [
        unicodedata.normalize("NFD", unicodedata.normalize("NFC", chr(point)))
        for point in range(sys.maxunicode + 1)
        if unicodedata.decomposition(chr(point))[:1] not in ("", "<")
    ]
    seconds = {character for composed in compositions for character in composed[1:]}
    for point in range(0x10000):
        character = chr(point)
        if rules.letter.match(character):
            assert classify(character) == "wordy"
            assert not unicodedata.combining(character)
            assert character not in seconds
        elif rules.plain.match(character) and classify(character) == "wordy":
            assert not unicodedata.combining(character)  # a vowel sign
        if rules.sign.match(character):
            assert classify(character) in ("punct", "hard")
            assert unicodedata.category(character)[0] in "PS"
            assert character not in seconds
    for composed in compositions:
        first = unicodedata.normalize("NFC", composed)[0]
        if rules.letter.match(composed[0]):
            assert classify(first) == "wordy"
        elif rules.sign.match(composed[0]):
            assert unicodedata.category(first)[0] in "PS"


def test_the_version_and_the_internals_that_are_used() -> None:
    assert importlib.metadata.version("ctok").startswith("1.3.")
    for module, names in {
        "ctok": ("token_count", "tokenize"),
        "ctok.main": ("_family", "_model"),
        "ctok.normalize": ("nfc", "stream_norm", "raw_head_space"),
        "ctok.engine": ("char_cost",),
        "ctok.constants": ("BOW_G", "EOW_G", "SHIFT_G", "CAPS_G", "MARKER_GLYPHS"),
    }.items():
        assert all(hasattr(import_module(module), name) for name in names)


def _broken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take an attribute away from one of ctok's modules."""
    module, _, attribute = name.rpartition(".")
    monkeypatch.delattr(import_module(module), attribute)


@pytest.mark.parametrize("name", ["ctok.normalize.stream_norm", "ctok.normalize.nfc", "ctok.constants.BOW_G"])
def test_without_its_internals_ctok_counts_alone(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone = plain("claude-3")
    _broken(name, monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert checked_segments("3.0", alone) is None
    assert len(caplog.records) == 1
    assert "AttributeError" in caplog.text


def test_segments_that_count_otherwise_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def count(_self: SegmentCounter, text: str) -> int:
        return len(text)

    monkeypatch.setattr(SegmentCounter, "count", count)
    with caplog.at_level(logging.WARNING):
        assert checked_segments("3.0", plain("claude-3")) is None
    assert "Segments count" in caplog.text


@pytest.mark.parametrize("change", ["a\ufdd1b", "a ", "漢字", "1.", "\ufdd3a\ufdd0"])
def test_a_vocabulary_that_the_cuts_do_not_fit_is_refused(change: str) -> None:
    with pytest.raises(Exception, match="piece"):
        check_vocabulary(frozenset({*parts("claude-3").vocabulary, change}), parts("claude-3").markers)


def test_segments_that_fail_later_are_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = ClaudeTokenizer(ENCODINGS["claude-3"], segments("claude-3"), plain("claude-3"))

    def fail(_self: SegmentCounter, text: str) -> int:
        raise IndexError(text)

    monkeypatch.setattr(SegmentCounter, "count", fail)
    with caplog.at_level(logging.WARNING):
        assert (
            tokenizer.count("secret words")
            == tokenizer.count("secret words")
            == plain("claude-3").count("secret words")
        )
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


def test_a_broken_ctok_leaves_it_to_the_estimate(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = Ctok()

    def broken(_family: str) -> ClaudeTokenizer:
        raise ZeroDivisionError

    monkeypatch.setattr(claude, "_loaded", broken)
    info = CATALOG.resolve("claude-opus-5")
    with caplog.at_level(logging.WARNING):
        assert source.tokenizer(info, OPTIONS) is None
        assert source.tokenizer(info, OPTIONS) is None
    assert source.note(info) == "ctok raised ZeroDivisionError when loading."
    assert len(caplog.records) == 1


def test_where_it_is_not_installed_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(_name: str) -> ModuleType:
        raise ModuleNotFoundError(name="ctok")

    monkeypatch.setattr(claude, "_loaded", missing)
    source = Ctok()
    assert source.tokenizer(CATALOG.resolve("claude-opus-5"), OPTIONS) is None
    assert (source.problem, caplog.records) == (None, [])
