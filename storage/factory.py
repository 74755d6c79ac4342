"""The store behind a URL."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tokenward.engine.errors import ConfigurationError
from tokenward.engine.types import Clock, NewId, random_id, system_clock

if TYPE_CHECKING:
    from tokenward.storage.base import UsageStore
    from tokenward.storage.group_commit import CommitMeter

DEFAULT_URL = "sqlite:///"
"""A file in the user's data directory."""


def sqlite_path(url: str) -> Path | None:
    """The file that a ``memory://`` or ``sqlite:///`` URL names; ``None`` for memory.

    ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``sqlite:///`` (the user's data directory).

    Raises:
        ConfigurationError: Another scheme, or a host.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "memory" and rest in ("", "/"):
        return None
    if scheme != "sqlite":
        raise ConfigurationError(
            f"store: {scheme!r} is not a kind of store; give sqlite:///FILE, memory:// or postgresql://…."
        )
    if not rest.startswith("/"):
        raise ConfigurationError("store: a SQLite URL has three slashes before the file: sqlite:///FILE.")
    if "?" in rest:
        raise ConfigurationError("store: a SQLite URL takes no parameters; write a ? in a file's name as %3F.")
    name = unquote(rest[1:])
    if name == ":memory:":
        return None
    if not name:
        from platformdirs import user_data_path  # noqa: PLC0415 - heavy

        return user_data_path("tokenward") / "ledger.db"
    return Path(name).expanduser()


def is_postgres(url: str) -> bool:
    """Whether a URL names a Postgres database."""
    return url.startswith(("postgresql://", "postgres://"))


def check_url(url: str) -> None:
    """Raises ConfigurationError if ``url`` names no store."""
    if not is_postgres(url):
        sqlite_path(url)


def open_store(
    url: str, *, clock: Clock | None = None, new_id: NewId = random_id, meter: "CommitMeter | None" = None
) -> "UsageStore":
    """The store behind ``url``, not yet connected: use it as an async context manager.

    Args:
        url: ``sqlite:///FILE``, ``memory://`` or ``postgresql://…``.
        clock: Tells the time; by default the machine's or, on Postgres, the server's.
        new_id: Names reservations, events and batches.
        meter: Is told what the queue in front of the store does.

    Raises:
        ConfigurationError: The URL names no store.
    """
    if is_postgres(url):
        from tokenward.storage.postgres import PostgresStore  # noqa: PLC0415 - heavy

        return PostgresStore(url, clock=clock, new_id=new_id, meter=meter)
    path = sqlite_path(url)
    from tokenward.storage.sqlite import SqliteStore  # noqa: PLC0415 - heavy

    return SqliteStore(path, clock=clock or system_clock, new_id=new_id, meter=meter)
