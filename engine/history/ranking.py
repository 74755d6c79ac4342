"""Which sentences of a conversation say the least."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tokenward.engine.history.prose import Piece
from tokenward.engine.steps import checkpoint

_UNSPACED: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
# Japanese and Chinese have no spaces between words: two characters are about one.
_WORD: Final = re.compile(rf"(?=([{_UNSPACED}]{{2}}))|([^\W{_UNSPACED}]{{4,}}+)")
_WEIGHTY: Final = re.compile(
    r"\d|[A-Z]{2,}|\b(?:not|never|must|only|cannot|error|fail\w*|should|except|please|important)\b|n't\b"
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that could be left out.

    Attributes:
        text: Which of the texts it stands in.
        position: Its position among that text's pieces.
        score: How much it says; the lowest goes first.
    """

    text: int
    position: int
    score: float


def rank_sentences(texts: Sequence[Sequence[Piece]], spared: Collection[int] = ()) -> list[Candidate]:
    """The sentences that could go, the least telling first.

    A sentence says much when its words are what the conversation is about, when it stands early in its text, when its
    text is recent, and when it holds figures, negations or obligations. The first and the last of a text never go.

    Args:
        texts: The pieces of each text, oldest text first.
        spared: Positions of texts whose sentences only go when no other text has any left.
    """
    frequencies = Counter(word for pieces in texts for piece in pieces for word in _words(piece))
    candidates = [
        Candidate(text, position, _score(piece, frequencies) * _recency(text, len(texts)) / (1 + position / 20))
        for text, pieces in enumerate(texts)
        for position, piece in droppable(pieces)
    ]
    return sorted(candidates, key=lambda candidate: (candidate.text in spared, candidate.score))


def droppable(pieces: Sequence[Piece]) -> Iterator[tuple[int, Piece]]:
    """The pieces of a text that may go, with their positions: not the first, not the last, and none that is locked."""
    said = [position for position, piece in enumerate(pieces) if piece.text]
    for position in said[1:-1]:
        if not pieces[position].locked:
            yield position, pieces[position]


def _words(piece: Piece) -> set[str]:
    checkpoint()
    return {match[1] or match[2] for match in _WORD.finditer(piece.text.lower())}


def _score(piece: Piece, frequencies: Counter[str]) -> float:
    words = _words(piece)
    about = sum(math.log1p(frequencies[word]) for word in words) / len(words) if words else 0.1
    return about * (1.5 if _WEIGHTY.search(piece.text) else 1.0)


def _recency(text: int, count: int) -> float:
    return 0.5 + 0.5 * (text + 1) / count
