"""Processes that compete, and their stores: how long a busy machine or a slow disk takes is not what is tested."""

import subprocess
import sys
from pathlib import Path

from tests.waiting import NET_SECONDS
from tokenward.storage.factory import is_postgres, sqlite_path
from tokenward.storage.group_commit import Patience
from tokenward.storage.postgres import PostgresStore
from tokenward.storage.sqlite import SqliteStore
from tokenward.storage.store import LedgerStore

_ROOT = Path(__file__).parents[2]


def started(program: str, *arguments: object, stdin: int | None = None) -> "subprocess.Popen[str]":
    """A program of this folder in a process of its own, whose output can be read."""
    command = [sys.executable, "-m", f"tests.storage.{program}", *map(str, arguments)]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True, cwd=_ROOT)


def patient_store(url: str) -> LedgerStore:
    """What ``open_store`` gives for a file or for Postgres, but it waits longer for the others."""
    patience = Patience(NET_SECONDS, NET_SECONDS)
    if is_postgres(url):
        return PostgresStore(url, patience=patience)
    return SqliteStore(sqlite_path(url), busy_seconds=NET_SECONDS, patience=patience)
