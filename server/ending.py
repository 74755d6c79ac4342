"""How a process that serves is ended while nothing is open yet, or nothing any more. Imported before all else."""

import os
import signal
import sys


def end_when_told() -> None:
    """From now on SIGTERM and SIGINT end the process with exit code 0, until a server takes these signals itself.

    Only for when there is nothing to close: it ends at once. What is raised instead can get lost in an import.
    On Windows they stay as they are, for there the server on standard input and output does not take them.
    """
    if sys.platform == "win32":
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(*_: object) -> None:
    os._exit(0)
