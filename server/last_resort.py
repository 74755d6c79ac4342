"""How a process that was told to end does so in any case."""

import _thread
import os
import signal
import time
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager


@contextmanager
def last_resort(numbers: Collection[int], seconds: float, wake: Callable[[], object]) -> Generator[None]:
    """Until the end of the block, the first of these signals ends the process, with exit code 0.

    By a thread of its own: the main one, which runs the handlers, may be kept by what blocks. It says nothing of it:
    what blocks may be a log that nobody reads.

    Args:
        numbers: The signals. They have handlers: what has none is not told here.
        seconds: How long after the signal; until then the process may end in good order.
        wake: Wakes the main thread, if it waits for events; called in the other one.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def wait() -> None:
        while told := os.read(reader, 1):
            if told[0] in numbers:
                wake()
                time.sleep(seconds)
                os._exit(0)
        os.close(reader)

    _thread.start_new_thread(wait, ())
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)
