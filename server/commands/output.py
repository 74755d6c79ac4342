"""Standard output of the command line: what cannot be written is said, and a reader that leaves early is no error."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TextIO

from tokenward.server.commands.session import Refused


class Output(TextIOWrapper):
    """Standard output for click's and rich's writing alike.

    When the reader of a pipe has left, the rest is dropped and the command ends with the exit code that it would have
    had. Any other failure is :class:`~tokenward.server.commands.session.Refused`.
    """

    def write(self, text: str, /) -> int:
        """Write a text."""
        with self._guarded():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is still held back."""
        with self._guarded():
            super().flush()

    @contextmanager
    def _guarded(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            # What is still held back must not fail once more at the end of the process.
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path
                os.dup2(nowhere.fileno(), self.fileno())
            if not isinstance(error, BrokenPipeError):
                raise Refused(f"The output cannot be written ({error.strerror}).") from error


def guarded_output(stream: TextIO) -> Output:
    """Standard output, guarded."""
    return Output(stream.buffer, stream.encoding, errors=stream.errors, line_buffering=bool(stream.line_buffering))
