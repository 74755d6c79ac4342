"""Sentences end where they do in many languages, and hostile texts take no time."""

# ruff: noqa: RUF001 - other languages

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenward.engine.history import sentences
from tokenward.engine.history.prose import join_pieces, read_pieces
from tokenward.engine.history.sentences import sentence_ends


def split(text: str) -> list[str]:
    cuts = [0, *sentence_ends(text), len(text)]
    return [text[start:end].strip() for start, end in pairwise(cuts)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See e.g. Fig. 3 by Dr. Smith of the U.S. Army. Then go.",
         ["See e.g. Fig. 3 by Dr. Smith of the U.S. Army.", "Then go."]),
        ("It is approx. 5 km, i.e. not far. Go.", ["It is approx. 5 km, i.e. not far.", "Go."]),
        ("Version 1.2.3 costs $3.50 per unit. Use it!", ["Version 1.2.3 costs $3.50 per unit.", "Use it!"]),
        ("Run it with node.js in src/. Then call foo.bar() twice.",
         ["Run it with node.js in src/.", "Then call foo.bar() twice."]),
        ("It works... Or not?! Yes!", ["It works...", "Or not?!", "Yes!"]),
        ("**Done.** Next one. *It is.* Then.", ["**Done.**", "Next one.", "*It is.*", "Then."]),
        ("We need 1) speed 2) size. Then go.", ["We need 1) speed 2) size.", "Then go."]),
        ("One\nline. Two\nlines.", ["One\nline.", "Two\nlines."]),
        ("Das ist z.B. am 3. Oktober 2024 passiert. Nr. 5 kam. Ende.",
         ["Das ist z.B. am 3. Oktober 2024 passiert.", "Nr. 5 kam.", "Ende."]),
        ("El Sr. García llegó. ¿Cómo está? ¡Bien!", ["El Sr. García llegó.", "¿Cómo está?", "¡Bien!"]),
        ("Это тест, т.е. проба. В 2020 г. было так. Да.", ["Это тест, т.е.", "проба.", "В 2020 г. было так.", "Да."]),
        ("它坏了。请修好!我们明天见？好的。", ["它坏了。", "请修好!", "我们明天见？", "好的。"]),
        ("これはペンです。あれは何ですか？知りません。", ["これはペンです。", "あれは何ですか？", "知りません。"]),
        ("Import the parser from ../../src/utils again. Then go.",
         ["Import the parser from ../../src/utils again.", "Then go."]),
        ("Run git diff main..HEAD for it. Then go.", ["Run git diff main..HEAD for it.", "Then go."]),
        ("The parser runs on ASP.NET for now. Then go.", ["The parser runs on ASP.NET for now.", "Then go."]),
        ("यह एक परीक्षण है। क्या आप ठीक हैं? हाँ।", ["यह एक परीक्षण है।", "क्या आप ठीक हैं?", "हाँ।"]),
        ("هذا اختبار. كيف حالك؟ أنا بخير.", ["هذا اختبار.", "كيف حالك؟", "أنا بخير."]),
    ],
)  # fmt: skip
def test_sentences_of_many_languages(text: str, expected: list[str]) -> None:
    assert split(text) == expected


@given(st.text(alphabet="aB.!?… \n\"()[]1。é🙂\ud7ff“”«»-*\ud800\u0000\t\r'`", max_size=60))
def test_ends_lie_inside_the_text_in_order(text: str) -> None:
    ends = sentence_ends(text)
    assert ends == sorted(set(ends))
    assert all(0 < end < len(text) for end in ends)


@given(st.text(alphabet="aB.!?… \n\"()[]1。é“”«»-*\t'`#|>", max_size=80))
def test_what_loses_nothing_is_done_once(text: str) -> None:
    once = join_pieces(read_pieces(text))
    assert join_pieces(read_pieces(once)) == once


def test_text_longer_than_a_window_is_split_as_well() -> None:
    text = "It goes on for a bit here. " * 2_000
    found = split(text)
    assert len(found) > 1_980
    assert set(found[:-1]) <= {"It goes on for a bit here.", "It goes on for a bit here. It goes on for a bit here."}


def test_what_the_library_fails_at_has_no_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    def fail(_language: str, _text: str, /) -> list[str]:
        raise PanicException

    monkeypatch.setattr(sentences, "_segment", lambda: fail)
    assert sentence_ends("One. Two.") == []


@pytest.mark.parametrize(
    "unit",
    ["a", ".", "«", "“", "‘", "„", "'", '"', "`", "(. ", "A. ", "[", "(", "in it. Then ", "\n", "。", "?!", ".*"],
)
def test_a_megabyte_of_anything_takes_no_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    start = time.thread_time()
    sentence_ends(text)
    # Quadratic rules take minutes. Time in which the machine does something else does not count.
    assert time.thread_time() - start < 25
