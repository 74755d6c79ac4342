"""toktok, the faster core: it counts as tiktoken does, or tiktoken counts and the log says why."""

import logging
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.datafiles import object_at, read_json
from tokenward.engine.tokenizers import fast
from tokenward.engine.tokenizers.base import TokenizerOptions
from tokenward.engine.tokenizers.encodings import load_encoding
from tokenward.engine.tokenizers.openai import TiktokenTokenizer
from tokenward.engine.tokenizers.text import count_text

STRINGS = 100_000
SECRET = "the secret of the text"
ENCODINGS = sorted(fast.CHECKED_RANKS)
CHECKS = len(list(fast.checks()))
RANKS = sorted(set(fast.CHECKED_RANKS.values()))

ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789.,-+eEx",
    " \t\n\r\x0b\x0c\x85\xa0\u2003\u2028\u3000",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "'stmdreveLL\u2019 aI",
    "\u00e9\u00fc\u00df\u0131\u0130\u01c5\u02b0\u0301\u0308\u0323\u20dd",
    "\u4e2d\u6587\u5b57\u3002\u306e\u30ab\uff8a\ud55c\uad6d\u0430\u0416\u03a9\u05d0\u0645\u0928\u0e01\u0967\u0663\u00bd",
    "\U0001f600\U0001f44d\U0001f3fd\u200d\ufe0f\U0001f1e9\U0001f1ea\U00020000\U0001d4d0",
    "\0\x01\x07\x1b\x7f\x9f\u200b\ufeff\ufffd\uffff\ue000\U0010ffff\u0378\u088f\U000331e3",
)
WORDS = (
    "the", " budget", "Counting", "'ll", "'S", "don't", "<|endoftext|>", "<|im_start|>", "<|", "|>", "http://", "\r\n",
    "    ", "\n\n", "1234", "HTTPServer", "x_y", "\u4f60\u597d", "\u00fcber", "\ud83d", "\udc00", "_P",
)  # fmt: skip


class PanicException(BaseException):
    """What a panic in Rust code looks like from here."""


def fuzzed(seed: int, strings: int) -> Iterator[str]:
    """Strings of 0 to 40 parts: of one alphabet, of all, of words, of any code point, or of long runs."""
    chance = random.Random(seed)
    everything = "".join(ALPHABETS)
    for _ in range(strings):
        parts = chance.randrange(40)
        match chance.randrange(10):
            case 0 | 1 | 2:
                yield "".join(chance.choices(chance.choice(ALPHABETS), k=parts))
            case 3 | 4:
                yield "".join(chance.choices(everything, k=parts))
            case 5 | 6:
                yield "".join(chance.choices(WORDS, k=parts // 2))
            case 7 | 8:
                pieces = chance.choices(WORDS + ALPHABETS, k=parts // 3)
                yield "".join(piece[: chance.randrange(1, 6)] for piece in pieces)
            case _:
                run = chance.choice(everything) * chance.randrange(60)
                yield run + "".join(chr(chance.randrange(0x110000)) for _ in range(parts // 4))


@pytest.fixture
def _afresh() -> Iterator[None]:
    """Nothing is loaded or checked yet, and what the test loads is forgotten."""
    for one in (fast.load_toktok, fast.checked_core):
        one.cache_clear()
    yield
    for one in (fast.load_toktok, fast.checked_core):
        one.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, truncate: Callable[[str, int, str], tuple[str, int]]) -> None:
    """A toktok of this function alone."""
    module = ModuleType("toktok")
    vars(module)["truncate"] = truncate
    monkeypatch.setitem(sys.modules, "toktok", module)


def right(text: str, max_tokens: int, encoding: str) -> tuple[str, int]:
    """What toktok would answer, by tiktoken. It refuses lone surrogates, as toktok does."""
    assert max_tokens == sys.maxsize
    text.encode()
    return text, len(load_encoding(encoding).encode_ordinary(text))


def test_the_expected_counts_are_tiktokens() -> None:
    texts = list(fast.checks())
    assert len(texts) > 60
    assert sum(len(text) for text, _ in texts) > 20_000
    for text, counts in texts:
        assert counts == {
            ranks: len(load_encoding(ranks).encode_ordinary(text)) for ranks in fast.CHECKED_RANKS.values()
        }


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_checked_ranks_are_the_encodings_own(encoding: str) -> None:
    definitions = object_at(read_json("vocabularies.json"), "encodings")
    ours, checked = (object_at(definitions, name) for name in (encoding, fast.CHECKED_RANKS[encoding]))
    assert (ours["ranks"], ours["pattern"]) == (checked["ranks"], checked["pattern"])


@pytest.mark.usefixtures("_afresh")
def test_a_core_that_counts_right_is_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    install(monkeypatch, right)
    for encoding in ENCODINGS:
        assert TiktokenTokenizer(encoding).core == "toktok"
    assert TiktokenTokenizer("gpt2").core == "tiktoken"
    assert TiktokenTokenizer("o200k_base", fast=False).core == "tiktoken"
    assert not caplog.records


@pytest.mark.usefixtures("_afresh")
@pytest.mark.parametrize("check", range(0, CHECKS, 6))
def test_a_core_that_counts_any_check_otherwise_is_not(
    check: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = list(fast.checks())[check][0]
    install(monkeypatch, lambda text, most, name: (text, right(text, most, name)[1] + (text == wrong)))
    for _ in range(2):
        tokenizer = TiktokenTokenizer("cl100k_base")
        assert (tokenizer.count(SECRET), tokenizer.core) == (5, "tiktoken")
    (record,) = caplog.records
    assert (record.levelno, record.getMessage().count("cl100k_base")) == (logging.WARNING, 1)


def failing(error: BaseException) -> Callable[[str, int, str], tuple[str, int]]:
    def truncate(text: str, most: int, encoding: str) -> tuple[str, int]:
        del text, most, encoding
        raise error

    return truncate


@pytest.mark.usefixtures("_afresh")
@pytest.mark.parametrize("error", [PanicException(SECRET), KeyError(SECRET), TypeError(SECRET)])
def test_a_core_that_fails_its_check_is_not_used(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch, failing(error))
    tokenizer = TiktokenTokenizer("o200k_base")
    assert (tokenizer.count("Hello world"), tokenizer.core) == (2, "tiktoken")
    assert len(caplog.records) == 1
    assert SECRET not in caplog.text


@pytest.mark.usefixtures("_afresh")
def test_a_core_that_cannot_be_imported_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "toktok", None)
    assert TiktokenTokenizer("cl100k_base").core == "tiktoken"
    assert not caplog.records, "an extra that is not installed is nothing to speak of"
    fast.load_toktok.cache_clear()
    fast.checked_core.cache_clear()
    monkeypatch.setitem(sys.modules, "toktok", ModuleType("toktok"))
    for encoding in ENCODINGS:
        assert TiktokenTokenizer(encoding).core == "tiktoken"
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("_afresh")
def test_a_text_that_the_core_fails_at_is_counted_by_tiktoken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def panicking(text: str, most: int, encoding: str) -> tuple[str, int]:
        if SECRET in text:
            raise PanicException(text)
        if text == "interrupted":
            raise KeyboardInterrupt
        return right(text, most, encoding)

    install(monkeypatch, panicking)
    tokenizer = TiktokenTokenizer("o200k_base")
    assert tokenizer.count("Hello world") == 2
    assert tokenizer.count(SECRET) == 5
    assert "PanicException" in caplog.text
    assert SECRET not in caplog.text
    with pytest.raises(KeyboardInterrupt):
        tokenizer.count("interrupted")


@pytest.mark.usefixtures("_afresh")
def test_what_cannot_be_cut_nor_passed_on_without_a_copy_is_counted_by_tiktoken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths: list[int] = []

    def noting(text: str, most: int, encoding: str) -> tuple[str, int]:
        lengths.append(len(text))
        return right(text, most, encoding)

    install(monkeypatch, noting)
    monkeypatch.setattr(fast, "DIRECT_CHARACTERS", 5_000)
    core = fast.toktok_core("cl100k_base")
    assert core is not None
    lengths.clear()
    text = "\u00e9\u0301" * 3_000
    assert core(text) == right(text, sys.maxsize, "cl100k_base")[1]
    assert lengths == []


# The real one -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=RANKS)
def encoding(request: pytest.FixtureRequest) -> str:
    pytest.importorskip("toktok")
    name = request.param
    assert isinstance(name, str)
    assert TiktokenTokenizer(name).core == "toktok"
    return name


@pytest.mark.parametrize("seed", range(4))
def test_it_counts_fuzzed_strings_as_tiktoken_does(seed: int, encoding: str) -> None:
    ours, bare = TiktokenTokenizer(encoding), load_encoding(encoding).encode_ordinary
    assert [text for text in fuzzed(seed, STRINGS // 4) if ours.count(text) != len(bare(text))] == []


def test_it_takes_every_settled_character_for_what_tiktoken_does(encoding: str) -> None:
    # What stands between "_" and "P" tells a letter, digit or mark from anything else.
    unsettled, core, bare = fast.unsettled_characters(), fast.load_toktok(), load_encoding(encoding).encode_ordinary
    assert core is not None
    # Nothing but private use and tags is above the third plane, so a few of those will do.
    codes = [*range(0x80, 0xD800), *range(0xE000, 0x34000), *range(0x34000, 0x110000, 97)]
    settled = [chr(code) for code in codes if not unsettled.match(chr(code))]
    assert len(codes) - len(settled) == 14_184
    lines = ["\n".join(f"{one}_P" for one in settled[start : start + 500]) for start in range(0, len(settled), 500)]
    assert [line for line in lines if core(line, sys.maxsize, encoding)[1] != len(bare(line))] == []


@pytest.mark.parametrize(
    "text",
    ["\U000331e3_P", "\u088f_P", "\u1adc_P", "a\U00016ea0_P\ud800", "\U000331e3_P" * 170_000],
    ids=["plane 3", "letter", "mark", "surrogate", "long"],
)
def test_characters_that_libraries_disagree_about_are_counted_by_tiktoken(text: str, encoding: str) -> None:
    assert TiktokenTokenizer(encoding).count(text) == count_text(load_encoding(encoding), text)


@pytest.mark.parametrize(
    "text",
    [
        " " * 10_000_000,
        "a" * 1_000_000,
        "\0" * 600_000,
        "\u0378\ud800 \U000e0080" * 130_000,
        "\u4e2d\u6587\u3002" * 200_000,
        "word \n\n" * 90_000 + "7" * 20_000,
        "\U0001f600" * 600_000,
    ],
    ids=["spaces", "letter", "nul", "unassigned", "han", "words", "emoji"],
)
def test_it_counts_any_long_text_as_tiktoken_does(text: str, encoding: str) -> None:
    assert TiktokenTokenizer(encoding).count(text) == count_text(load_encoding(encoding), text)


def test_it_counts_for_harmony_as_tiktoken_does() -> None:
    pytest.importorskip("toktok")
    ours, bare = TiktokenTokenizer("o200k_harmony"), load_encoding("o200k_harmony").encode_ordinary
    assert ours.core == "toktok"
    assert [text for text in fuzzed(0, 1_000) if ours.count(text) != len(bare(text))] == []


def test_eight_threads_get_the_same_counts(encoding: str) -> None:
    texts = list(fuzzed(8, 2_000))
    tokenizer = TiktokenTokenizer(encoding)

    def counts() -> list[int]:
        return [tokenizer.count(text) for text in texts]

    with ThreadPoolExecutor(8) as pool:
        together = [one.result() for one in [pool.submit(counts) for _ in range(8)]]
    assert together == [counts()] * 8


def test_the_metrics_tell_which_core_counted(encoding: str) -> None:
    counter = TokenCounter()
    assert [counter.count_tokens("Hello world", encoding).method for _ in range(2)] == ["tiktoken"] * 2
    counter.count_tokens("Hello world", "gpt2")
    metrics = counter.get_performance_metrics()
    assert (metrics["tiktoken_calls"], metrics["fast_calls"], metrics["cache_hits"]) == (2, 1, 1)
    slow = TokenCounter(options=TokenizerOptions(fast=False))
    slow.count_tokens("Hello world", encoding)
    assert slow.get_performance_metrics()["fast_calls"] == 0


def test_tiktoken_is_not_loaded_beside_it() -> None:
    pytest.importorskip("toktok")
    script = (
        "import sys; from tokenward.engine.counting.counter import TokenCounter;"
        "print(TokenCounter().count_tokens('Hello world', 'gpt-4o').token_count, 'tiktoken' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert printed.stdout.split() == ["2", "False"]
