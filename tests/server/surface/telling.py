"""The real server on standard input and output, which tells on standard error when long work begins and is stopped.

Its argument is the folder whose files may be read.
"""

import sys
import threading
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from tokenward import workers
from tokenward.engine import steps
from tokenward.server.application import serve_stdio
from tokenward.server.settings import load_settings

BEGUN, STOPPED = b"long work began\n", b"long work was stopped\n"
_LONG_STEPS = 10

_Answer = TypeVar("_Answer")


def main(folder: str) -> None:
    """Serve."""
    stoppable, checkpoint = steps.stoppable, steps.checkpoint
    calls = count(1)

    def tell(what: bytes) -> None:
        sys.stderr.buffer.write(what)
        sys.stderr.buffer.flush()

    def told_checkpoint() -> None:
        checkpoint()
        if next(calls) == _LONG_STEPS:
            tell(BEGUN)

    def told(work: Callable[[], _Answer], stop: threading.Event) -> _Answer:
        nonlocal calls
        calls = count(1)
        try:
            return stoppable(work, stop)
        except steps.Stopped:
            tell(STOPPED)
            raise

    steps.checkpoint = told_checkpoint
    setattr(workers, "stoppable", told)  # noqa: B010 - imported there, so a type checker would not have it set
    serve_stdio(load_settings(store="memory://", fast=False, roots=[folder]))


if __name__ == "__main__":
    main(sys.argv[1])
