"""Servers that run for the length of a block, each in a process of its own."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ADDRESS = re.compile(rb"http://\S+")
_START_SECONDS = 60.0
_END_SECONDS = 60.0


class ServerError(Exception):
    """A server did not start, or did not end in good order."""


def fixture_build(log: Path, *, as_shipped: bool = False) -> AbstractContextManager[str]:
    """The address of the fixture build.

    Raises:
        ServerError: At the start or at the end.
    """
    return _serving(log, "tests.conformance.server", "--port", "0", *(["--as-shipped"] if as_shipped else []))


def product(log: Path, transport: str, config: Path | None = None) -> AbstractContextManager[str]:
    """The address of ``tokenward serve``, with a settings file if one is given.

    Raises:
        ServerError: At the start or at the end.
    """
    given = ["--config", str(config)] if config else []
    return _serving(log, "tokenward", *given, "serve", "--port", "0", "--transport", transport)


def environment() -> dict[str, str]:
    """What servers and clients find around them: a ledger that leaves nothing behind."""
    return {**os.environ, "TOKENWARD_STORE": "memory://"}


@contextmanager
def _serving(log: Path, module: str, *options: str) -> Generator[str]:
    with log.open("wb") as output, _running([sys.executable, "-m", module, *options], output.fileno()) as process:
        yield _address(process, log)
        process.terminate()
        process.wait(_END_SECONDS)
    if process.returncode != 0:
        raise ServerError(f"{module} ended with {process.returncode}; see {log}")


@contextmanager
def _running(command: Sequence[str], output: int) -> Generator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
    ) as process:
        try:
            yield process
        except subprocess.TimeoutExpired:
            raise ServerError(f"{command[2]} did not end within {_END_SECONDS:.0f} s") from None
        finally:
            process.kill()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """What the server says of itself when it listens."""
    end = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        if found := _ADDRESS.search(log.read_bytes()):
            return found[0].decode()
        time.sleep(0.05)
    raise ServerError(f"no server came up; see {log}")
