"""Summaries that a caller's own function makes: asked for, checked, and marked as what they are."""

import inspect
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final, TypeAlias

from tokenward.engine.errors import InvalidInput
from tokenward.engine.history.prose import SUMMARY_LABEL, Piece, join_pieces

Summarizer: TypeAlias = Callable[[Sequence[str], int], str]
"""From stretches of prose, in their order, and a number of tokens to one text that says the same in about as many."""

_LEAST_TOKENS: Final = 40
"""Prose of fewer tokens is not worth a summary: the line that holds one takes about ten."""
_LEAST_SHARE: Final = 4
"""A summary is never asked to be shorter than this part of what it replaces."""
_LEAST_SAVED: Final = 0.5
"""One that saves less than this part of what it was asked to only stands in the way of better ways."""


class Summaries:
    """Asks the summarizer, and keeps what it did wrong.

    Args:
        summarizer: The caller's function.
        count: The tokens of a text.

    Attributes:
        warnings: What could not be used, and why.
        failed: Whether it raised an error; then it is not asked again.
    """

    def __init__(self, summarizer: Summarizer, count: Callable[[str], int]) -> None:
        self._summarizer = summarizer
        self._count = count
        self.warnings: list[str] = []
        self.failed = False

    def make(
        self, message: int, written: str, pieces: Sequence[Piece], places: Sequence[int], tokens: int
    ) -> list[Piece] | None:
        """The pieces with a line that stands for those at these places, or ``None`` where there is no use in one.

        Args:
            message: Whose text it is.
            written: The text as it is written now.
            pieces: The text.
            places: Which of the pieces the summary may replace.
            tokens: How many tokens are still to be saved.

        Raises:
            InvalidInput: The summarizer's answer is not a string.
        """
        replaced = sum(self._count(pieces[place].text + pieces[place].tail) for place in places)
        if replaced < _LEAST_TOKENS:
            return None
        label = self._count(_line(""))
        target = max(replaced - tokens - label, replaced // _LEAST_SHARE)
        answer = self._ask(message, _stretches(pieces, places), target)
        if answer is None:
            return None
        if not answer.strip():
            self._refuse(message, "is empty")
            return None
        shortened = with_summary(pieces, places, _line(answer))
        saved = self._count(written) - self._count(join_pieces(shortened))
        asked = replaced - label - target
        if saved <= 0:
            self._refuse(message, f"is as long as the {replaced} tokens it was to replace")
        elif saved < asked * _LEAST_SAVED:
            self._refuse(message, f"is too long, it saves only {saved} tokens of {asked}")
        else:
            return shortened
        return None

    def _ask(self, message: int, texts: list[str], target: int) -> str | None:
        try:
            answer = _unchecked(self._summarizer)(texts, target)
        except Exception as error:  # noqa: BLE001 - the caller's code; whatever it is, nothing may be lost
            self.failed = True
            name = type(error).__name__
            self.warnings.append(
                f"the summarizer failed at messages[{message}] ({name}) and was not asked again; "
                "sentences were left out instead."
            )
            return None
        if isinstance(answer, str):
            return answer
        if inspect.iscoroutine(answer):
            answer.close()
            raise InvalidInput("summarizer", "it is asynchronous; Tokenward.compress_messages awaits it.")
        raise InvalidInput("summarizer", f"must return a string, not {type(answer).__name__}.")

    def _refuse(self, message: int, fault: str) -> None:
        self.warnings.append(f"the summary of messages[{message}] {fault}; it was not used.")


def with_summary(pieces: Sequence[Piece], places: Sequence[int], summary: str) -> list[Piece]:
    """The pieces with a summary, a line of its own, where the first of the places was; the others are gone."""
    gone = set(places)
    written: list[Piece] = []
    for place, piece in enumerate(pieces):
        if place == places[0]:
            if written and "\n" not in written[-1].tail:
                written[-1] = Piece(written[-1].text, "\n", written[-1].locked)
            written.append(Piece(summary, "\n", locked=True))
        elif place not in gone:
            written.append(piece)
        if place in gone and piece.tail.count("\n") > written[-1].tail.count("\n"):
            # Paragraphs stay apart.
            written[-1] = Piece(written[-1].text, piece.tail, written[-1].locked)
    return written


def _line(answer: str) -> str:
    return f"{SUMMARY_LABEL}{' '.join(answer.split())}]"


def _unchecked(summarizer: Summarizer) -> Callable[[Sequence[str], int], object]:
    """The caller's function, without the belief that it gives what its type promises."""
    return summarizer


def _stretches(pieces: Sequence[Piece], places: Sequence[int]) -> list[str]:
    """The pieces at these places, neighbours together."""
    runs = groupby(enumerate(places), key=lambda place: place[1] - place[0])
    return ["".join(pieces[place].text + pieces[place].tail for _, place in run).strip() for _, run in runs]
