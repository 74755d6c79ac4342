"""A private Redis for the benchmarks, on a free loopback port, ended with the block."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager

from bench.places import MissingError
from tests.postgres import free_port

DEADLINE_SECONDS = 10


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


@contextmanager
def private_redis() -> Generator[str]:
    """The URL of a server that keeps nothing on disk.

    Raises:
        MissingError: There is no ``redis-server``, or it does not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise MissingError("limits on Redis: no redis-server on PATH")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="tokenward-bench-redis-") as folder:
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                deadline = time.monotonic() + DEADLINE_SECONDS
                while not answers(port):
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise MissingError("limits on Redis: redis-server does not answer")
                    time.sleep(0.05)
                yield f"async+redis://127.0.0.1:{port}"
            finally:
                process.terminate()
