"""Stores for processes that compete: how long a busy machine or a slow disk takes is not what is tested."""

from tests.waiting import NET_SECONDS
from tokenward.storage.factory import is_postgres, sqlite_path
from tokenward.storage.group_commit import Patience
from tokenward.storage.postgres import PostgresStore
from tokenward.storage.sqlite import SqliteStore
from tokenward.storage.store import LedgerStore


def patient_store(url: str) -> LedgerStore:
    """What ``open_store`` gives for a file or for Postgres, but it waits longer for the others."""
    patience = Patience(NET_SECONDS, NET_SECONDS)
    if is_postgres(url):
        return PostgresStore(url, patience=patience)
    return SqliteStore(sqlite_path(url), busy_seconds=NET_SECONDS, patience=patience)
