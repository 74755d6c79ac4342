"""The ledger on Postgres."""

from tokenward.engine.types import Clock, NewId, random_id
from tokenward.storage.group_commit import MAX_WAITING, CommitMeter, Patience
from tokenward.storage.postgres.database import POOL_SIZE, PostgresDatabase
from tokenward.storage.postgres.partitions import partition
from tokenward.storage.store import LedgerStore


class PostgresStore(LedgerStore):
    """A :class:`~tokenward.storage.base.UsageStore` in Postgres. Used in the event loop that opened it."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        new_id: NewId = random_id,
        pool_size: int = POOL_SIZE,
        patience: Patience | None = None,
        max_waiting: int = MAX_WAITING,
        meter: CommitMeter | None = None,
    ) -> None:
        database = PostgresDatabase(url, clock=clock, pool_size=pool_size)
        super().__init__(database, new_id=new_id, patience=patience, max_waiting=max_waiting, meter=meter)


__all__ = ["PostgresStore", "partition"]
