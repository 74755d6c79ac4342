"""Claude's models: the exact count by the library ``ctok``, which rebuilds their tokenizers; made fast by segments.

There are three families: Claude 3 to 4.6, Claude 4.7, and Claude 4.8 with all later ones. ctok needs Python 3.12; where
it is not installed the estimate counts. Where it has changed inside, its own public count serves, which is slow; where
that does not work either, the estimate again.
"""

import logging
import threading
from functools import cache
from typing import Protocol

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.tokenizers.assumed import AssumedTokenizer
from tokenward.engine.tokenizers.base import ExactTokenizer, Method, Tokenizer, TokenizerOptions
from tokenward.engine.tokenizers.claude_ctok import CtokParts, PlainCtok
from tokenward.engine.tokenizers.claude_segments import SegmentCounter
from tokenward.engine.tokenizers.guarded import EXHAUSTED, Source, failure

_LOG = logging.getLogger(__name__)

VERSIONS = {"claude-3": "3.0", "claude-4.7": "4.7", "claude-4.8": "4.8"}
"""The version to ask ctok for, by the catalog's families."""

ENCODINGS = {"claude-3": "claude-v3", "claude-4.7": "claude-v4.7", "claude-4.8": "claude-v4.8"}

BEFORE_3 = ("claude-1", "claude-2", "claude-instant", "claude-v")
"""Models that ctok does not count, though their estimate is that of Claude 3."""

CHECKED_TEXTS = (
    "Hello, world!",
    " It's the cat's, isn't it? THEY'RE 'quoted' and ''doubly'' so.",
    "  def f(x: int = 1_000) -> str:\n\treturn {'a': [1, 2.50, -3e4]}  # => \"ok\"\r\n\r\n",
    "1 2  34 567 8,901 x1 = 2; y+=3 //////// ======== \t\t ...\n\n\n\n",
    "naïve café “it’s” — ‘dear’ … Привет, МИР! Ünder Σίσυφος ẞ İstanbul",  # noqa: RUF001 - what it is about
    "漢字，中文。日本語、カタカナ ひらがな 한국어 각 👍🏽 👩‍💻 ⚖️ e\u0301 か\u3099",  # noqa: RUF001 - what it is about
    "नमस्ते में كِتَاب، שלום สวัสดีครับ ½ ² ٣٤ Ⅳ",
    "\x00a\u00a0b\u2003c\u0085d\ue000e\ud800f\ufdd0g\u0378h\u200bi\u3000",
    "\n" * 70 + "x" * 300 + " " * 90 + "=" * 90 + "\t" * 70 + "Z" * 40 + "\n" * 33,
)
"""What the segments have to count as ctok itself does, before they are used."""

# `cache` alone lets two threads load the same vocabulary at once.
_LOADING = threading.RLock()


class _Counter(Protocol):
    def count(self, text: str) -> int: ...


class ClaudeTokenizer(ExactTokenizer):
    """The exact count of one family. Safe to share between threads.

    Args:
        encoding: The family's name for its vocabulary and frame.
        fast: What counts while it does not fail, if there is such a thing.
        plain: What counts else.
    """

    method: Method = "ctok"

    def __init__(self, encoding: str, fast: SegmentCounter | None, plain: PlainCtok) -> None:
        self.encoding = encoding
        self._counter: _Counter = fast or plain
        self._plain = plain

    @property
    def frame_tokens(self) -> int:
        """What a request of a single user message costs besides the message's text."""
        return self._plain.frame_tokens

    def count(self, text: str) -> int:
        """The true count, without the frame."""
        try:
            return self._counter.count(text)
        except Exception as error:
            # One text says nothing about the segments, and ctok itself needs more of both.
            if self._counter is self._plain or isinstance(error, EXHAUSTED):
                raise
            _LOG.warning("Counting by segments %s; ctok counts for %s alone, slowly.", failure(error), self.encoding)
            self._counter = self._plain
            return self._plain.count(text)


class Ctok(Source):
    """The library ctok, as far as it is installed."""

    def __init__(self) -> None:
        super().__init__("ctok")

    def tokenizer(self, info: ModelInfo, options: TokenizerOptions) -> Tokenizer | None:
        """The tokenizer of a Claude model from 3 on; an estimate by it where the model is only assumed."""
        del options
        if info.family not in VERSIONS or info.name.startswith(BEFORE_3) or self.problem is not None:
            return None
        tokenizer = self.load(info.family)
        return AssumedTokenizer(tokenizer) if tokenizer is not None and info.warnings else tokenizer

    def note(self, info: ModelInfo) -> str | None:
        """Says that the library failed, to whoever counts for Claude."""
        return f"{self.label} {self.problem}." if self.problem and info.family in VERSIONS else None

    def load(self, family: str) -> ClaudeTokenizer | None:
        """The tokenizer of one of the families in ``VERSIONS``, or ``None`` where ctok is missing or broken."""
        with _LOADING:
            try:
                return _loaded(family)
            except ModuleNotFoundError as error:
                if error.name != "ctok":
                    self.fail(failure(error, "when loading"))
            except Exception as error:  # noqa: BLE001 - whatever a changed library raises
                self.fail(failure(error, "when loading"))
            return None


def claude_source() -> Ctok:
    """The process's one."""
    with _LOADING:
        return _source()


@cache
def _source() -> Ctok:
    return Ctok()


@cache
def _loaded(family: str) -> ClaudeTokenizer:
    version = VERSIONS[family]
    plain = PlainCtok(version)
    return ClaudeTokenizer(ENCODINGS[family], checked_segments(version, plain), plain)


def checked_segments(version: str, plain: PlainCtok) -> SegmentCounter | None:
    """The count by segments, if it can be built and agrees with ctok's own on ``CHECKED_TEXTS``; else it is logged."""
    expected = [plain.count(text) for text in CHECKED_TEXTS]
    try:
        fast = SegmentCounter(CtokParts(version))
        differing = sum(fast.count(text) != tokens for text, tokens in zip(CHECKED_TEXTS, expected, strict=True))
    except Exception as error:  # noqa: BLE001 - whatever a changed library raises
        _LOG.warning("Counting by segments %s; ctok %s counts alone, slowly.", failure(error, "when loading"), version)
        return None
    if differing:
        _LOG.warning("Segments count %d texts otherwise; ctok %s counts alone, slowly.", differing, version)
        return None
    return fast
