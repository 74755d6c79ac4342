"""The real server on standard input and output, which tells on standard error when long work begins and is stopped.

Long work that has begun waits until it is stopped, so that it is not done before anybody could. Its argument is the
folder whose files may be read.
"""

import sys
import threading
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from tokenward import workers
from tokenward.engine import steps
from tokenward.server.application import build_server
from tokenward.server.settings import load_settings
from tokenward.server.stdio import serve_stdio

BEGUN, STOPPED = b"long work began\n", b"long work was stopped\n"
_LONG_STEPS = 10
_WAIT_SECONDS = 60.0

_Answer = TypeVar("_Answer")


def main(folder: str) -> None:
    """Serve."""
    stoppable, checkpoint = steps.stoppable, steps.checkpoint
    calls, stopped = count(1), threading.Event()

    def tell(what: bytes) -> None:
        sys.stderr.buffer.write(what)
        sys.stderr.buffer.flush()

    def told_checkpoint() -> None:
        checkpoint()
        if next(calls) == _LONG_STEPS:
            tell(BEGUN)
            stopped.wait(_WAIT_SECONDS)

    def told(work: Callable[[], _Answer], stop: threading.Event) -> _Answer:
        nonlocal calls, stopped
        calls, stopped = count(1), stop
        try:
            return stoppable(work, stop)
        except steps.Stopped:
            tell(STOPPED)
            raise

    steps.checkpoint = told_checkpoint
    setattr(workers, "stoppable", told)  # noqa: B010 - imported there, so a type checker would not have it set
    settings = load_settings(store="memory://", fast=False, roots=[folder])
    # It tells, however busy the machine is.
    serve_stdio(build_server(settings), last_resort_seconds=_WAIT_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
