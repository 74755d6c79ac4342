"""Any string can be counted: exactly, in bounded memory, and without killing the process."""

import re
import string

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenward.engine.tokenizers import text as text_module
from tokenward.engine.tokenizers.encodings import load_encoding
from tokenward.engine.tokenizers.text import count_by_pieces, count_piece, count_text, replace_lone_surrogates

DIFFERENT = ["r50k_base", "p50k_base", "cl100k_base", "o200k_base"]
"""The four vocabularies; the other encodings differ in special tokens only."""

TRICKY = " \t\n\r'’\"/sStTlLvVrReEdDmM09aZ.,;:!?()[]{}=+-_—ſK的あ한、。，é\u0301\ufe0f😀\u200d\u00a0\u3000\x1c\x85"  # noqa: RUF001

texts = st.one_of(
    st.text(st.sampled_from(TRICKY), max_size=120),
    st.text(max_size=80),
    st.lists(st.sampled_from(["the", " fox", "'ll", "42", "\r\n", "  ", "fn(x)", "中文", "é", "a_b"])).map("".join),
)


def whole(encoding: tiktoken.Encoding, text: str) -> int:
    return len(encoding.encode_ordinary(text))


@pytest.mark.parametrize("name", DIFFERENT)
@given(text=texts)
@settings(max_examples=250, deadline=None)
def test_cut_texts_add_up_to_the_whole(name: str, text: str) -> None:
    encoding = load_encoding(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "DIRECT_CHARACTERS", 0)
        patch.setattr(text_module, "CUT_CHARACTERS", 0)
        by_pieces = count_text(encoding, text)
        patch.setattr(text_module, "DIRECT_CHARACTERS", 12)
        patch.setattr(text_module, "CUT_CHARACTERS", 3)
        in_segments = count_text(encoding, text)
    assert by_pieces == in_segments == whole(encoding, text)


@pytest.mark.parametrize("name", DIFFERENT)
@given(text=texts.filter(lambda text: not re.search("[\ud800-\udfff]", text)))
@settings(max_examples=250, deadline=None)
def test_pieces_add_up_to_the_whole(name: str, text: str) -> None:
    encoding = load_encoding(name)
    assert count_by_pieces(encoding, text) == whole(encoding, text)


@pytest.mark.parametrize("name", DIFFERENT)
@given(unit=st.text(st.sampled_from("ab \t\n=的1"), min_size=1, max_size=6), size=st.integers(300, 3_000))
@settings(max_examples=60, deadline=None)
def test_windows_add_up_to_the_whole_piece(name: str, unit: str, size: int) -> None:
    encoding = load_encoding(name)
    piece = (unit * size)[:size].encode()
    assert count_piece(encoding, piece, window_bytes=256) == count_piece(encoding, piece, window_bytes=len(piece))


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize(
    ("run", "after"),
    [(" ", ""), (" ", "x"), ("\n", "x"), (" \n", "x"), ("\t", "\n x"), ("\u3000", "x")],
    ids=["spaces", "spaces-x", "lines-x", "mixed-x", "tabs-line-x", "wide-x"],
)
def test_a_run_of_whitespace_beyond_tiktokens_limit_is_counted_exactly(name: str, run: str, after: str) -> None:
    encoding = load_encoding(name)
    text = f"start{run * (1_200_000 // len(run))}{after}"
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
    text = character * 600_000
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


@pytest.mark.parametrize("name", DIFFERENT)
def test_every_ascii_pair_that_may_be_cut_is_two_pieces(name: str) -> None:
    encoding = load_encoding(name)
    safe = re.compile(text_module.SAFE_CUT.pattern)
    pairs = [a + b for a in string.printable for b in string.printable if safe.fullmatch(a + b)]
    assert len(pairs) > 2_000
    for pair in pairs:
        for text in (f"x{pair}x", f" {pair}\n", f"'{pair}ll"):
            cut = text.index(pair) + 1
            assert whole(encoding, text) == whole(encoding, text[:cut]) + whole(encoding, text[cut:]), text
