"""Any string can be counted: exactly, in bounded memory, and without killing the process."""

import base64
import re
import string
import tracemalloc
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import cast

import pytest
import regex  # type: ignore[import-untyped]
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenward.engine.tokenizers import pieces as pieces_module
from tokenward.engine.tokenizers import tekken
from tokenward.engine.tokenizers import text as text_module
from tokenward.engine.tokenizers.encodings import load_encoding, piece_pattern
from tokenward.engine.tokenizers.pieces import count_by_pieces, count_piece, replace_lone_surrogates
from tokenward.engine.tokenizers.text import SAFE_CUT, count_text, segments
from tokenward.engine.types import JsonValue

DIFFERENT = ["r50k_base", "p50k_base", "cl100k_base", "o200k_base"]
"""The four vocabularies; the other encodings differ in special tokens only."""

TRICKY = " \t\n\r'’\"/sStTlLvVrReEdDmM09aZ.,;:!?()[]{}=+-_—ſK的あ한、。，é\u0301\ufe0f😀\u200d\u00a0\u3000\x1c\x85"  # noqa: RUF001
ODD = "\ud83d\ud800\ude00\U0003fc3d"

WORDS = (
    *("the", " fox", "'ll", "'RE", "'\u017f", "42", "!/\n/", "\ud83d\ude00", "\u3000", "aB"),
    *("あ的", "\r\n", "  ", "fn(x)", "中文", "é", "a_b"),
)

texts = st.one_of(
    st.text(st.sampled_from(TRICKY + ODD), max_size=120),
    st.text(max_size=80),
    st.lists(st.sampled_from(WORDS)).map("".join),
)


def members(pattern: str, characters: Sequence[str]) -> set[str]:
    """The characters of a class, as tiktoken's own regular expressions know it."""
    single_bytes = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding("class", pat_str=pattern, mergeable_ranks=single_bytes, special_tokens={})
    steps = ("".join(characters[start : start + 100_000]) for start in range(0, len(characters), 100_000))
    return {one for step in steps for one in bytes(encoding.encode_ordinary(step)).decode()}


@cache
def made_tekken() -> tekken.TekkenVocabulary:
    """A Tekken vocabulary whose tokens show where a text was split: half of a character joins what is beside it."""
    ends = [bytes([byte]) for byte in (*range(0x80, 0xC0), *b"aB")]
    starts = [bytes([byte]) for byte in (*range(0xC2, 0xF5), *b"aB1 \n")]
    tokens = [*(bytes([byte]) for byte in range(256)), *(end + start for end in ends for start in starts)]
    entries: list[JsonValue] = [{"token_bytes": base64.b64encode(token).decode()} for token in tokens]
    config: JsonValue = {
        "pattern": tekken.PATTERN,
        "default_vocab_size": len(tokens),
        "default_num_special_tokens": 0,
    }
    return tekken.load_tekken({"config": config, "vocab": entries})


def whole(encoding: tiktoken.Encoding, text: str) -> int:
    return len(encoding.encode_ordinary(text))


@pytest.mark.parametrize("name", DIFFERENT)
@given(
    text=texts,
    direct=st.integers(0, 20),
    cut=st.integers(0, 8),
    search=st.integers(1, 8),
    step=st.integers(1, 8),
)
@settings(max_examples=400, deadline=None)
def test_cut_texts_add_up_to_the_whole(name: str, text: str, direct: int, cut: int, search: int, step: int) -> None:
    encoding = load_encoding(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "DIRECT_CHARACTERS", direct)
        patch.setattr(text_module, "CUT_CHARACTERS", cut)
        patch.setattr(text_module, "SEARCH_CHARACTERS", search)
        patch.setattr(pieces_module, "STEP_CHARACTERS", step)
        counted = count_text(encoding, text)
        parts = list(segments(text))
        replaced = replace_lone_surrogates(text)
    assert counted == whole(encoding, text)
    assert sum(whole(encoding, part) for part in parts) == counted
    assert "".join(parts) == replaced == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.mark.parametrize("name", DIFFERENT)
@given(text=texts, step=st.integers(1, 8))
@settings(max_examples=250, deadline=None)
def test_pieces_add_up_to_the_whole(name: str, text: str, step: int) -> None:
    encoding = load_encoding(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces_module, "STEP_CHARACTERS", step)
        assert count_by_pieces(encoding, text, 0, len(text)) == whole(encoding, text)


@pytest.mark.parametrize("name", DIFFERENT)
@given(before=texts, text=texts, after=texts)
@settings(max_examples=60, deadline=None)
def test_a_part_is_counted_as_a_text_of_its_own(name: str, before: str, text: str, after: str) -> None:
    encoding = load_encoding(name)
    around = f"{before} {text} {after}"
    start = len(before) + 1
    assert count_by_pieces(encoding, around, start, start + len(text)) == whole(encoding, text)


@cache
def doubtful() -> list[str]:
    """Characters that the library ``regex`` and tiktoken's engine put into different classes."""
    characters = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x40000))]
    return [
        character
        for pattern in (r"\p{L}", r"\p{Ll}", r"\p{M}", r"\p{N}")
        for character in sorted(set(regex.findall(pattern, "".join(characters))) ^ members(pattern, characters))
    ]


@pytest.mark.parametrize("name", DIFFERENT)
def test_characters_that_only_one_engine_knows_are_counted_as_tiktoken_counts_them(name: str) -> None:
    encoding = load_encoding(name)
    random = Random(7)
    for _ in range(300):
        text = "".join(random.choices([*random.sample(doubtful(), 5), *"aB1 !\n\u0301的"], k=40))
        assert count_by_pieces(encoding, text, 0, len(text)) == whole(encoding, text), ascii(text)


def test_tekken_counts_an_uncut_stretch_as_tiktoken_does_though_one_engine_does_not_know_its_characters() -> None:
    vocabulary, random = made_tekken(), Random(7)
    for _ in range(300):
        text = "".join(random.choices([*random.sample(doubtful(), 5), *"aBé\u0301的"], k=40))
        expected = vocabulary.count(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(text_module, "DIRECT_CHARACTERS", 10)
            patch.setattr(pieces_module, "STEP_CHARACTERS", random.randint(1, 8))
            assert vocabulary.count(text) == expected, ascii(text)


@given(text=texts, direct=st.integers(0, 20), cut=st.integers(0, 8), step=st.integers(1, 8))
@settings(max_examples=400, deadline=None)
def test_a_text_for_tekken_adds_up_to_the_whole(text: str, direct: int, cut: int, step: int) -> None:
    vocabulary = made_tekken()
    expected = vocabulary.count(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "DIRECT_CHARACTERS", direct)
        patch.setattr(text_module, "CUT_CHARACTERS", cut)
        patch.setattr(pieces_module, "STEP_CHARACTERS", step)
        assert vocabulary.count(text) == expected


@pytest.mark.parametrize("name", DIFFERENT)
@given(unit=st.text(st.sampled_from("ab \t\n=的1"), min_size=1, max_size=6), size=st.integers(300, 3_000))
@settings(max_examples=60, deadline=None)
def test_windows_add_up_to_the_whole_piece(name: str, unit: str, size: int) -> None:
    encoding = load_encoding(name)
    piece = (unit * size)[:size].encode()
    parts = [piece[start : start + 100] for start in range(0, len(piece), 100)]
    assert count_piece(encoding, parts, window_bytes=256) == count_piece(encoding, [piece], window_bytes=len(piece))


def test_a_place_to_cut_is_looked_for_in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    class Spy:
        def search(self, text: str, start: int, end: int) -> re.Match[str] | None:
            searched.append(end - start)
            return SAFE_CUT.search(text, start, end)

    monkeypatch.setattr(text_module, "SAFE_CUT", Spy())
    text = "a" * 700_000 + " b"
    assert [len(part) for part in segments(text)] == [700_000, 2]
    assert max(searched) <= text_module.SEARCH_CHARACTERS + 1
    assert sum(searched) < len(text) + 100


@pytest.mark.parametrize(
    "unit",
    ["Words, and more words.\n", "a", " ", "\n", "é", "start" + " " * 2_999_990 + "x"],
    ids=["prose", "letter", "spaces", "lines", "latin", "spaces within"],
)
def test_a_long_text_is_not_copied(unit: str) -> None:
    encoding = load_encoding("o200k_base")
    text = unit * (6_000_000 // len(unit))
    count_text(encoding, "é" * 600_000)
    tracemalloc.start()
    try:
        count_text(encoding, text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


class PanicException(BaseException):
    pass


class Failing:
    """An encoding that ends with an exception when it has to split by itself."""

    name = "cl100k_base"

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self._encoding = load_encoding(self.name)
        self._encode_single_piece = self._encoding._encode_single_piece  # pyright: ignore[reportPrivateUsage]
        self.decode_bytes = self._encoding.decode_bytes

    def encode_ordinary(self, _text: str) -> list[int]:
        raise self._error


@pytest.mark.parametrize("text", ["Hello,  world! \ud800 ", " " * 9_000 + "x", "word " * 150_000, "a" * 600_000])
def test_a_panic_never_gets_out(text: str) -> None:
    failing = cast("tiktoken.Encoding", Failing(PanicException()))
    assert count_text(failing, text) == count_text(load_encoding("cl100k_base"), text)


def test_other_exceptions_do_get_out() -> None:
    failing = cast("tiktoken.Encoding", Failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        count_text(failing, "Hello")


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize(
    ("run", "after"),
    [(" ", ""), (" ", "x"), ("\n", "x"), (" \n", "x"), ("\t", "\n x"), ("\u3000", "x")],
    ids=["spaces", "spaces-x", "lines-x", "mixed-x", "tabs-line-x", "wide-x"],
)
def test_a_run_of_whitespace_beyond_tiktokens_limit_is_counted_exactly(name: str, run: str, after: str) -> None:
    encoding = load_encoding(name)
    text = f"start{run * (1_010_000 // len(run))}{after}"
    reference = encoding._encode_only_native_bpe(text)  # pyright: ignore[reportPrivateUsage] # splits in Python
    assert count_text(encoding, text) == len(reference)


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_long_text_is_counted_as_tiktoken_counts_it(name: str) -> None:
    encoding = load_encoding(name)
    line = "def f(x): return {'a': x**2, \"ß\": '中文字符'}  # it's 3.14159 — don't\r\n\tHello, world! 😀\n\n"
    text = line * 8_000
    assert len(text) > text_module.DIRECT_CHARACTERS
    assert count_text(encoding, text) == whole(encoding, text)


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("character", ["a", "A", "1", "=", "的", "é"])
def test_a_long_run_of_one_character_is_counted_as_tiktoken_counts_it(name: str, character: str) -> None:
    encoding = load_encoding(name)
    text = character * 510_000
    assert len(text) > text_module.DIRECT_CHARACTERS
    assert count_text(encoding, text) == whole(encoding, text)


@pytest.mark.parametrize(
    ("text", "clean"),
    [("a\ud800b", "a\ufffdb"), ("\udc00", "\ufffd"), ("\ud83d\ude00", "😀"), ("plain é", "plain é"), ("", "")],
)
def test_lone_surrogates_count_as_the_replacement_character(text: str, clean: str) -> None:
    encoding = load_encoding("cl100k_base")
    assert replace_lone_surrogates(text) == clean
    assert count_text(encoding, text) == whole(encoding, clean)


def test_lone_surrogates_in_a_long_text_count_as_in_a_short_one() -> None:
    encoding = load_encoding("o200k_base")
    text = "word \ud800 " * 100_000
    assert count_text(encoding, text) == whole(encoding, "word \ufffd " * 100_000)


def test_the_text_of_a_special_token_is_ordinary_text() -> None:
    assert count_text(load_encoding("cl100k_base"), "<|endoftext|>") == 7


LETTERS = "azAZéÉßſǅаЖאعहกあア的㐀가𠀀"  # noqa: RUF001
SYMBOLS = "!-&/:@[`{~¡÷‐’←─、〈！：･\ue000😀\U000f0000"  # noqa: RUF001
SPACES = " \t\x0b\x0c\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000"
OTHERS = "'\r\n\x1c\u0301\ufe0f\u200dʰ²Ⅷ٣"
AROUND = ["", "x", "X", " ", "\n", "'", "'l", "!", "1", "\u0301", "s ", "的", "/", "\r\n", "  ", "re"]


@pytest.mark.parametrize("name", ["r50k_base", "cl100k_base", "o200k_base"])  # p50k splits as r50k does
def test_every_pair_that_may_be_cut_is_two_pieces(name: str) -> None:
    pattern = regex.compile(piece_pattern(name))
    characters = sorted({*string.printable, *LETTERS, *SYMBOLS, *SPACES, *OTHERS})
    pairs = [(a, b) for a in characters for b in characters if SAFE_CUT.fullmatch(a + b)]
    assert len(pairs) > 6_500
    for a, b in pairs:
        for before, after in zip(AROUND, reversed(AROUND), strict=True):
            left, right = f"{before}{a}", f"{b}{after}"
            assert pattern.findall(left + right) == pattern.findall(left) + pattern.findall(right), (left, right)


def test_nothing_is_cut_where_a_piece_may_reach_across() -> None:
    together = [f"{letter}{other}" for letter in LETTERS for other in "'\u0301\ufe0f" + LETTERS]
    for pair in [
        *together,
        "12",
        "٣٣",
        "!\n",
        "!/",
        "''",
        "'s",
        "!!",
        "\n\n",
        "  ",
        " x",
        "\nx",
        "\ud83d\ude00",
        "a\udc00",
    ]:
        assert not SAFE_CUT.search(pair), ascii(pair)


def test_the_classes_of_a_cut_are_what_tiktoken_takes_them_for() -> None:
    # Planes 4 to 13 are empty.
    everything = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0x110000))]
    letters = {one for one in everything if SAFE_CUT.fullmatch(f"{one}!")} - set("0123456789")
    symbols = {one for one in everything if SAFE_CUT.fullmatch(f"a{one}")} - set("0123456789\r\n")
    spaces = {one for one in symbols if SAFE_CUT.fullmatch(f"!{one}")}
    not_spaces = {one for one in everything if SAFE_CUT.fullmatch(f"{one} ")}
    assert len(letters) > 60_000
    assert letters <= members(r"\p{L}", everything)
    assert spaces == members(r"[\s--[\r\n]]", everything)
    assert symbols - spaces <= members(r"[^\s\p{L}\p{N}\p{M}']", everything)
    assert not_spaces <= members(r"\S", everything)
