"""A real Postgres for tests: the server that ``TOKENWARD_TEST_POSTGRES`` names, or a private cluster made here.

A private cluster is made with the system's ``initdb`` and ``pg_ctl``, else with those of the package ``pgserver``. It
listens on a loopback port only, keeps ``fsync`` on, and goes with its folder when the session ends. Without any of
these, tests skip and the summary says so; ``TOKENWARD_REQUIRE_POSTGRES=1`` makes them fail instead.
"""

import os
import pwd
import random
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Composed, Identifier

from tests.waiting import NET_SECONDS

SERVER = "TOKENWARD_TEST_POSTGRES"
REQUIRE = "TOKENWARD_REQUIRE_POSTGRES"
SKIP = "No Postgres for the tests: "

# What differs from the defaults; none of it makes the server less durable. A short log is soon recovered from.
CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
timezone = 'UTC'
max_wal_size = '128MB'
"""

# Those that one process of the tests takes its own from.
PORTS = 1_000

# How long a start may take, the recovery from a crash included. Shorter than what a test may take.
START_SECONDS = 100


class PostgresError(Exception):
    """A command of the cluster failed; the message holds what it printed."""


def unavailable(reason: str) -> NoReturn:
    """Skip the test in a way that the summary shows, or fail it where Postgres is required."""
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE}=1, but: {SKIP}{reason}", pytrace=False)
    pytest.skip(f"{SKIP}{reason}")


class Cluster:
    """A server that is there already: it can be used, not started or stopped."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url

    def url(self, database: str | None = None, schema: str | None = None) -> str:
        """The URL of a database (default: the server URL's own), with names looked up in one schema only.

        With a schema it is for stores, which give a busy machine more than their few seconds for a connection.
        """
        parts = urlsplit(self._server_url)
        query = dict(parse_qsl(parts.query))
        if schema is not None:
            options = f"{query.pop('options', '')} -csearch_path={schema}".strip()
            query = {"connect_timeout": f"{NET_SECONDS:.0f}"} | query | {"options": options}
        path = parts.path if database is None else f"/{quote(database, safe='')}"
        return urlunsplit(parts._replace(path=path, query=urlencode(query, quote_via=quote)))

    def start(self) -> None:
        """Start the server and wait until it answers. It may be running already."""
        self._not_ours()

    def stop(self) -> None:
        """Stop the server in good order: its clients are disconnected, its data is written. It may be stopped."""
        self._not_ours()

    def kill(self) -> None:
        """Stop the server as a crash would: the next start recovers from the log. It may be stopped."""
        self._not_ours()

    @contextmanager
    def schema(self) -> Generator[str]:
        """The URL of a new, empty schema. It goes with all it holds, and a server that the block stopped runs again."""
        name = f"test_{uuid4().hex}"
        self._execute(SQL("CREATE SCHEMA {}").format(Identifier(name)))
        try:
            yield self.url(schema=name)
        finally:
            self._execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(name)))

    def _execute(self, statement: Composed) -> None:
        try:
            connection = self._connect()
        except psycopg.OperationalError:
            self.start()
            connection = self._connect()
        with connection:
            connection.execute(statement)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        # A transaction that a test left open must not stop the others for ever.
        return psycopg.connect(self._server_url, autocommit=True, options="-clock_timeout=20s")

    def _not_ours(self) -> None:
        unavailable(f"the test needs to start and stop the server; the one that {SERVER} names is not ours.")


@dataclass(frozen=True, slots=True)
class Account:
    """The account that the server runs under. Postgres refuses to run as root."""

    user: int
    group: int


def server_account() -> Account | None:
    """``None`` for our own account; when that is root, Debian's ``postgres``, else ``nobody``."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    return unavailable("we are root, and there is neither an account 'postgres' nor 'nobody' to run it.")


class PrivateCluster(Cluster):
    """A cluster of our own in a folder of its own.

    Args:
        binaries: The folder of ``initdb`` and ``pg_ctl``.
        folder: An empty folder that the server's account can reach and own.
    """

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.folder = folder
        self.binaries = binaries
        self._account = server_account()
        self._data = folder / "data"
        self._log = folder / "log"
        port = free_port()
        super().__init__(f"postgresql://postgres@127.0.0.1:{port}/postgres")
        self._initialize(port)

    def start(self) -> None:
        if not self._running():
            self._pg_ctl("start", "--log", str(self._log))

    def stop(self) -> None:
        if self._running():
            self._pg_ctl("stop", "--mode", "fast")

    def kill(self) -> None:
        if self._running():
            self._pg_ctl("stop", "--mode", "immediate")

    def log(self) -> str:
        """What the server has said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def give(self, path: Path) -> None:
        """Make the server's account the owner of a file or folder, with all that is in it."""
        if self._account is not None:
            for each in (path, *path.rglob("*")):
                os.chown(each, self._account.user, self._account.group)

    def can_read(self, path: Path) -> bool:
        """Whether the server's account can reach and read a file or folder."""
        return self._run(["test", "-r", str(path)]).returncode == 0

    def _initialize(self, port: int) -> None:
        self.give(self.folder)
        # Without --no-sync a few thousand files are synced that no test depends on.
        self._must(
            str(self.binaries / "initdb"),
            f"--pgdata={self._data}",
            "--username=postgres",
            "--auth-host=trust",
            "--auth-local=reject",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"{CONFIGURATION}port = {port}\n")

    def _running(self) -> bool:
        return self._run([str(self.binaries / "pg_ctl"), "status", "--pgdata", str(self._data)]).returncode == 0

    def _pg_ctl(self, action: str, *options: str) -> None:
        command = [str(self.binaries / "pg_ctl"), action, "--pgdata", str(self._data), "--silent"]
        self._must(*command, "--wait", f"--timeout={START_SECONDS}", *options)

    def _must(self, *command: str) -> None:
        done = self._run(command)
        if done.returncode != 0:
            raise PostgresError(f"{Path(command[0]).name} failed: {done.stderr.strip()}\n{self.log()[-2000:]}")

    def _run(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        account = self._account
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            # Nothing of our environment: variables named PG… would speak to the programs.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            user=account.user if account else None,
            group=account.group if account else None,
            extra_groups=[] if account else None,
        )


def free_port() -> int:
    """A loopback port nobody listens on, outside the range from which outgoing connections take theirs.

    So it is still free when the server starts again after a crash. Processes that run tests side by side take theirs
    from ranges of their own, and none is soon given again, so that no other one binds it before the server does.
    """
    for port in islice(_ports(), PORTS):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise PostgresError("no free loopback port was found")


@cache
def _ports() -> Iterator[int]:
    """The ports of this process, in an order of chance, over and over."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
    first = 15_000 + PORTS * worker
    return cycle(random.SystemRandom().sample(range(first, first + PORTS), PORTS))


def binary_folders() -> Iterator[Path]:
    """Where the server's programs may be, best first: PATH, Debian's folders (newest first), the package pgserver."""
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    spec = find_spec("pgserver")
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / "pginstall" / "bin"


def _version(folder: Path) -> int:
    number = re.match(r"\d+", folder.parent.name)
    return int(number.group()) if number else 0


def find_binaries() -> Path:
    """The first folder that has both programs; skips when there is none."""
    for folder in binary_folders():
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    return unavailable(
        "neither initdb and pg_ctl nor the package pgserver were found. "
        f"Install postgresql, or name a server in {SERVER}."
    )


@contextmanager
def running_cluster() -> Generator[Cluster]:
    """The server for a session of tests; skips when there can be none."""
    if server_url := os.environ.get(SERVER):
        yield Cluster(server_url)
        return
    binaries = find_binaries()
    folder = Path(tempfile.mkdtemp(prefix="tokenward-postgres-"))
    try:
        cluster = _started(binaries, folder)
        try:
            yield cluster
        finally:
            cluster.kill()
    finally:
        shutil.rmtree(folder)


def _started(binaries: Path, folder: Path) -> PrivateCluster:
    try:
        cluster = PrivateCluster(binaries, folder)
        cluster.start()
    except PostgresError as error:
        unavailable(f"{binaries}: {error}")
    return cluster
