"""Files that the command line writes whole or not at all, and streams that it reads."""

import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from tokenward.engine.errors import InvalidInput, shown
from tokenward.server.commands.session import Refused


@contextmanager
def output_stream(path: str) -> Generator[IO[str]]:
    """Standard output for ``-``, or a file that takes its name when the block ends well.

    Raises:
        Refused: It cannot be written; a file that was there before is as it was.
    """
    if path == "-":
        yield sys.stdout
        return
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():  # a pipe or a device keeps its place
            with target.open("w", encoding="utf-8", newline="\n") as there:
                yield there
        else:
            with _replacing(target) as fresh:
                yield fresh
    except OSError as error:
        raise Refused(f"FILE: {shown(path)} cannot be written ({error.strerror or 'error'}).") from None


@contextmanager
def _replacing(target: Path) -> Generator[IO[str]]:
    """A new file beside ``target``, readable by its owner only, that takes the target's place in the end."""
    number, name = tempfile.mkstemp(dir=target.parent, prefix=".tokenward-", suffix=".partial")
    try:
        with open(number, "w", encoding="utf-8", newline="\n") as fresh:  # noqa: PTH123 - opened already
            yield fresh
            fresh.flush()
            os.fsync(number)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def input_stream(path: str) -> Generator[BinaryIO]:
    """Standard input for ``-``, or a file.

    Raises:
        InvalidInput: It cannot be read.
    """
    try:
        if path == "-":
            yield sys.stdin.buffer
            return
        with Path(path).open("rb") as stream:
            yield stream
    except OSError as error:
        raise InvalidInput("FILE", f"{shown(path)} cannot be read ({error.strerror or 'error'}).") from None
