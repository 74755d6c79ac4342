"""The ledger on SQLite, in a file or in memory."""

from pathlib import Path

from tokenward.engine.types import Clock, NewId, random_id, system_clock
from tokenward.storage.group_commit import MAX_BATCH, MAX_WAITING, CommitMeter, Patience
from tokenward.storage.sqlite.database import BUSY_SECONDS, SqliteDatabase
from tokenward.storage.store import LedgerStore


class SqliteStore(LedgerStore):
    """A :class:`~tokenward.storage.base.UsageStore` in a SQLite file, or in memory when ``path`` is ``None``."""

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Clock = system_clock,
        new_id: NewId = random_id,
        busy_seconds: float = BUSY_SECONDS,
        patience: Patience | None = None,
        max_waiting: int = MAX_WAITING,
        max_batch: int = MAX_BATCH,
        meter: CommitMeter | None = None,
    ) -> None:
        database = SqliteDatabase(path, clock=clock, busy_seconds=busy_seconds)
        super().__init__(
            database, new_id=new_id, patience=patience, max_waiting=max_waiting, max_batch=max_batch, meter=meter
        )
