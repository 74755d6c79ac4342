"""Cursors: signed by a ledger for one query, and refused when anything about them is another."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenward.engine.errors import InvalidInput
from tokenward.engine.reports.cursor import Cursor, opened, signed
from tokenward.engine.types import JsonValue

SECRET = bytes(range(32))
PLACE = Cursor(1_795_000_000_000_000, 1_795_262_400_000_000, 120_000, 'team "ä"\n=1+1')
QUERY: list[JsonValue] = ["7d", None, "user", 10]
TEXT = signed(PLACE, QUERY, SECRET)


@given(start=st.integers(0, 2**62), end=st.integers(0, 2**62), tokens=st.integers(0, 10**20), key=st.text(max_size=200))
def test_a_cursor_comes_back_as_it_was(start: int, end: int, tokens: int, key: str) -> None:
    place = Cursor(start, end, tokens, key)
    text = signed(place, QUERY, SECRET)
    assert opened(text, QUERY, SECRET) == place
    assert text.isascii()
    assert "=" not in text


@pytest.mark.parametrize("query", [["24h", None, "user", 10], ["7d", "bob", "user", 10], ["7d", None, "user"], []])
def test_a_cursor_belongs_to_its_query(query: list[JsonValue]) -> None:
    with pytest.raises(InvalidInput, match=r"^cursor: not a cursor of this query; .* arguments unchanged"):
        opened(TEXT, query, SECRET)


def test_a_cursor_belongs_to_its_ledger() -> None:
    with pytest.raises(InvalidInput, match=r"^cursor: not a cursor of this ledger, or changed; give next_cursor as it"):
        opened(TEXT, QUERY, SECRET[::-1])


@pytest.mark.parametrize("index", range(len(TEXT)))
def test_no_character_can_be_changed(index: int) -> None:
    for other in "Az5_":
        changed = TEXT[:index] + other + TEXT[index + 1 :]
        if changed != TEXT:
            with pytest.raises(InvalidInput, match="not a cursor of this ledger"):
                opened(changed, QUERY, SECRET)


def test_what_is_signed_cannot_be_written_by_others() -> None:
    body = base64.urlsafe_b64decode(TEXT + "=" * (-len(TEXT) % 4))
    for forged in (
        body[:16] + body[16:].replace(b"120000", b"120001"),
        b"",
        body[:16],
        body[:15],
        bytes(16) + body[16:],
    ):
        with pytest.raises(InvalidInput, match="not a cursor of this ledger"):
            opened(base64.urlsafe_b64encode(forged).decode().rstrip("="), QUERY, SECRET)


@pytest.mark.parametrize(
    "text", [TEXT + "=", TEXT + "A", TEXT + "\n", " " + TEXT, TEXT[:-1], "", "e30=", "é", TEXT * 400]
)
def test_only_the_very_text_is_a_cursor(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a cursor of this ledger"):
        opened(text, QUERY, SECRET)


@given(st.text())
def test_other_texts_are_no_cursors(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a cursor of this ledger"):
        opened(text, QUERY, SECRET)
