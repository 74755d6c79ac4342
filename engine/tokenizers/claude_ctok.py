"""The one place that touches the library ``ctok``: its public count, and the internals that make a fast one.

Internals used, all of ctok 1.3 and pinned by a test: ``main._family`` and ``main._model``; of a model ``trie.root``,
``vocab``, ``fold_quotes`` and ``allcaps_min``; ``normalize.nfc``, ``normalize.stream_norm`` and
``normalize.raw_head_space``; ``engine.char_cost``; the marker characters of ``constants``. What the shortcuts rely on
is checked when a vocabulary is loaded.
"""

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from typing import Protocol

from tokenward.engine.tokenizers.claude_tiling import Cover, RunCosts, TrieNode

FREE = "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\u3001-\u3003\u3008-\u3011\U0001f300-\U0001f64f\U0001f680-\U0001f6ff"
"""Han, Hangul, ideographic punctuation and emoji: characters that take no marker and share no piece, as the inside of
a character class. The vocabulary is checked for it."""

_FREE = re.compile(f"[{FREE}]")
_DIGIT = re.compile("[0-9]")
_SPACE = re.compile(r"\s")
_PAD = "⟨pad⟩"


class ChangedCtok(Exception):  # noqa: N818 - never leaves the tokenizers
    """This ctok is not built like the one that the shortcuts were proved for."""


class _TokenCount(Protocol):
    def __call__(self, text: str, version: str) -> int: ...


class _Trie(Protocol):
    root: TrieNode


class _Model(Protocol):
    trie: _Trie
    vocab: AbstractSet[str]
    fold_quotes: bool
    allcaps_min: int | None


@dataclass(frozen=True, slots=True)
class Markers:
    """The characters that stand for word borders and case in a marked stream."""

    bow: str
    eow: str
    shift: str
    caps: str


class _Nfc(Protocol):
    def __call__(self, text: str, *, fold_quotes: bool) -> str: ...


class _StreamNorm(Protocol):
    def __call__(self, norm: str, model: _Model, *, raw_head_space: bool) -> str: ...


class PlainCtok:
    """ctok through its public functions: exact, slow, and with memory for some hundred bytes per character.

    Args:
        version: A version of Claude, such as ``4.7``; any of a family will do.

    Raises:
        ImportError: ctok is not installed.
    """

    def __init__(self, version: str) -> None:
        library = import_module("ctok")
        self._version = version
        self._token_count: _TokenCount = library.token_count
        tokens: list[str] = library.tokenize("a", version)
        self.frame_tokens = tokens.count(_PAD)

    def count(self, text: str) -> int:
        """The tokens of a text as the content of a single user message, without the message's frame."""
        return self._token_count(text, self._version) - self.frame_tokens if text else 0


class CtokParts:
    """The parts of ctok: its normalisation, and its vocabulary under our own cover.

    Args:
        version: A version of Claude, such as ``4.7``; any of a family will do.

    Attributes:
        vocabulary: The pieces.
        markers: The characters that stand for word borders and case.
        cover: What covers a marked stream.
        runs: What runs of a whitespace character cost, by the character.

    Raises:
        ImportError: ctok or a module of it is not installed.
        AttributeError: It has no such internals.
        ChangedCtok: Its vocabulary does not allow what the shortcuts rely on.
    """

    def __init__(self, version: str) -> None:
        main, normalize, engine = (import_module(f"ctok.{name}") for name in ("main", "normalize", "engine"))
        self._model: _Model = main._model(main._family(version))  # noqa: SLF001
        self._nfc: _Nfc = normalize.nfc
        self._stream_norm: _StreamNorm = normalize.stream_norm
        self._raw_head_space: Callable[[str], bool] = normalize.raw_head_space
        char_cost: Callable[[_Model, str], int] = engine.char_cost
        constants = import_module("ctok.constants")
        self.markers = Markers(constants.BOW_G, constants.EOW_G, constants.SHIFT_G, constants.CAPS_G)
        alone: AbstractSet[str] = constants.MARKER_GLYPHS
        self.vocabulary = self._model.vocab
        self._fold_quotes = self._model.fold_quotes
        self._caps_from = self._model.allcaps_min
        check_vocabulary(self.vocabulary, self.markers)
        self.cover = Cover(
            self._model.trie.root,
            max(map(len, self.vocabulary)),
            lambda character: 1 if character in alone else char_cost(self._model, character),
        )
        self.runs = {
            character: RunCosts({len(piece) for piece in self.vocabulary if piece == character * len(piece)})
            for character in " \n\t"
        }

    def count(self, text: str) -> int:
        """The tokens of a text as the content of a single user message, without the message's frame."""
        normal = self._nfc(text, fold_quotes=self._fold_quotes)
        newlines = len(normal) - len(normal.rstrip("\n"))
        stream = self._stream_norm(normal, self._model, raw_head_space=self._raw_head_space(text))
        # The frame ends in two newlines, and a piece may reach into them; the last of the run is the frame's.
        tail = self.runs["\n"].cost(newlines + 2) - 1 if newlines else 0
        return self.cover.cost(stream) + tail

    def count_ascii_word(self, word: str) -> int:
        """The tokens of ASCII letters that are a whole word, and not behind a lone apostrophe.

        ctok's ``mark_case``, for ASCII: capitals throughout, a capital at the beginning, or as it is.
        """
        case, body = "", word
        if self._caps_from is not None and len(word) >= self._caps_from and word.isupper():
            case, body = self.markers.caps, word.lower()
        elif word[0].isupper() and (len(word) == 1 or word[1:].islower()):
            case, body = self.markers.shift, word.lower()
        return self.cover.cost(f"{case}{self.markers.bow}{body}{self.markers.eow}")


def check_vocabulary(vocabulary: AbstractSet[str], markers: Markers) -> None:
    """Make sure of what the rule of cuts and the shortcuts rely on.

    Raises:
        ChangedCtok: One of it does not hold.
    """
    case = f"{markers.shift}{markers.caps}"
    head = re.compile(f"[{case}]?{markers.bow}?[^{case}{markers.bow}{markers.eow}]*")
    digits = 0
    for piece in vocabulary:
        body = head.match(piece)
        if body is None or piece[body.end() :] not in ("", markers.eow):
            raise ChangedCtok("a piece has a marker in its middle")
        if len(piece) > 1 and _FREE.search(piece):
            raise ChangedCtok("a piece joins what stood alone")
        if _SPACE.search(piece) and len(set(piece)) > 1:
            raise ChangedCtok("a piece joins whitespace and something else")
        digits += _DIGIT.search(piece) is not None
    numbers = {"".join(number) for size in (1, 2, 3) for number in product("0123456789", repeat=size)}
    if digits != len(numbers) or not numbers <= vocabulary or not {" ", "\n", "\t"} <= vocabulary:
        raise ChangedCtok("the pieces of digits or whitespace are others")
