"""The README's picture shows what the demo prints now."""

import re
from html import unescape
from pathlib import Path

import pytest

from scripts import draw_demo
from tokenward.engine.tokenizers.files import installed

REPOSITORY = Path(__file__).parents[2]
PICTURE = REPOSITORY / "docs" / "images" / "demo.svg"


def lines_of(svg: str) -> list[str]:
    """A picture's lines of text, from top to bottom, with one blank between words."""
    lines: dict[str, list[str]] = {}
    for top, text in re.findall(r'<text [^>]*\by="([\d.]+)"[^>]*>(.*?)</text>', svg, re.DOTALL):
        lines.setdefault(top, []).append(unescape(text))
    return [joined for one in lines.values() if (joined := " ".join(" ".join(one).split()))]


def lasting(lines: list[str]) -> list[str]:
    """The lines without what the clock decides, and without counts that ctok makes and this Python may not have."""
    lines = [re.sub(r"(?<=Try again in )\d+", "…", one) for one in lines]
    return [one for one in lines if installed("ctok") or not one.startswith("claude-")]


def test_the_picture_is_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "src"))
    shown, now = lines_of(PICTURE.read_text("utf-8")), lines_of(draw_demo.draw())
    assert len([one for one in shown if one.startswith(("gpt-4o ", "claude-", "tokens ", "messages "))]) == 5
    assert lasting(shown) == lasting(now), "draw it again: python scripts/draw_demo.py docs/images/demo.svg"


def test_the_picture_loads_nothing_and_keeps_its_blanks() -> None:
    svg = PICTURE.read_text("utf-8")
    assert 'xml:space="preserve"' in svg.partition(">")[0]
    assert not re.search(r"@font-face|url\((?!#)|href", svg)
