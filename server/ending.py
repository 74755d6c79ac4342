"""How a process that serves is ended while nothing is open yet, or nothing any more. Imported before all else."""

import atexit
import os
import signal
import sys
from collections.abc import Iterable

NUMBERS = (signal.SIGTERM, signal.SIGINT)
"""What tells a process to end."""


def ending_signals() -> tuple[signal.Signals, ...]:
    """What ends a server in good order: a hang-up too, unless it is to be ignored, as ``nohup`` has it."""
    if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return NUMBERS
    return (*NUMBERS, signal.SIGHUP)


def end_when_told(numbers: Iterable[signal.Signals] = NUMBERS) -> None:
    """From now on signals end the process with exit code 0, until a server takes them itself.

    Only for when there is nothing to close: it ends at once. What is raised instead can get lost in an import.
    On Windows they stay as they are, for there the server on standard input and output does not take them.
    """
    if sys.platform == "win32":
        return
    for number in numbers:
        signal.signal(number, _end)
    atexit.unregister(_end_anyway)
    atexit.register(_end_anyway, numbers)


def _end(*_: object) -> None:
    os._exit(0)


def _end_anyway(numbers: Iterable[signal.Signals]) -> None:
    """What is told now comes too late to be heard: the interpreter takes its handlers away, and is about to end."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
