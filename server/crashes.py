"""Unexpected errors in the log: their types and where they came from, never their messages.

A message may quote what a user wrote.
"""

import logging
import traceback
from typing import TypeAlias

_LOG = logging.getLogger(__name__)

_MOST_FRAMES, _MOST_CAUSES = 20, 5

Chain: TypeAlias = list[tuple[str, list[str]]]
"""Types of exceptions and their frames, the first cause first."""


def log_crash(what: str, error: BaseException) -> None:
    """Log where an unexpected error came from; the record's ``exceptions`` is for the formatters of ``logs.py``."""
    kind = type(error).__qualname__
    _LOG.error("Internal error in %s (%s)", what, kind, extra={"exceptions": exception_chain(error)})


def exception_chain(error: BaseException | None) -> Chain:
    """The types and frames of an exception and of what caused it."""
    chain: Chain = []
    while error is not None and len(chain) < _MOST_CAUSES:
        frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
        at = [f'  File "{one.filename}", line {one.lineno}, in {one.name}' for one in frames]
        chain.insert(0, (type(error).__qualname__, at))
        error = error.__cause__ or error.__context__
    return chain
