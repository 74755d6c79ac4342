"""Patterns over long texts, in steps: one search of a megabyte would let no other thread work until it ends."""

import re
from collections.abc import Callable
from typing import Final

from tokenward.engine.steps import checkpoint

LONG_CHARACTERS: Final = 20_000
"""From here on a text is looked through in steps. A shorter one takes some milliseconds."""


class SteadyPattern:
    """A pattern that stops at spaces, if a text is long, and so lets others work and can itself be stopped.

    What it finds is the same: a space is taken alone, and only where the pattern does not begin to match.

    Args:
        pattern: Written for :data:`re.VERBOSE`, with names for its groups; ``step`` is taken.
        flags: Further flags of :func:`re.compile`.
    """

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self._whole = re.compile(pattern, re.VERBOSE | flags)
        self._in_steps = re.compile(f"(?:{pattern}\n) | (?P<step>[ ])", re.VERBOSE | flags)

    def sub(self, change: Callable[[re.Match[str]], str], text: str) -> str:
        """As :func:`re.sub`. Raises Stopped."""
        if len(text) < LONG_CHARACTERS:
            return self._whole.sub(change, text)

        def changed(match: re.Match[str]) -> str:
            checkpoint()
            return " " if match.lastgroup == "step" else change(match)

        return self._in_steps.sub(changed, text)

    def found_in(self, text: str) -> bool:
        """Whether it matches somewhere. Raises Stopped."""
        if len(text) < LONG_CHARACTERS:
            return self._whole.search(text) is not None
        for match in self._in_steps.finditer(text):
            checkpoint()
            if match.lastgroup != "step":
                return True
        return False
