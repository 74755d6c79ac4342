"""``tokenward prices``: which price list is in force, and the opt-in update of it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.types import JsonObject
from tokenward.server.commands.session import Session, emit_json, json_option, pass_session

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.engine.prices.check import PriceChange
    from tokenward.price_update import PriceFile, PriceFileStatus, PriceUpdate

_SHOWN = 10
"""Lines of each kind of change; JSON has them all."""


@click.group()
def prices() -> None:
    """See how old the price list is, update it, or go back to the one before.

    The list ships with tokenward. Nothing is ever downloaded but by 'tokenward prices update'.
    """


@prices.command()
@json_option
@pass_session
def status(session: Session, *, as_json: bool) -> None:
    """Show which price list is in force, and how old it is."""
    found = _price_file(session).status()
    emit_json(_status(found), as_json=as_json, show=lambda console: _show_status(console, found))


@prices.command()
@click.option("--from", "source", metavar="URL|FILE", help="By default where genai-prices publishes its data.")
@click.option("--date", "day", metavar="DAY", help="The day of a FILE's state; by default the day of its last change.")
@click.option("--force", is_flag=True, help="Take well-known models' prices that change by more than a factor of 10.")
@json_option
@pass_session
def update(session: Session, *, source: str | None, day: str | None, force: bool, as_json: bool) -> None:
    """Fetch the newest price list, check it, and use it from now on. The old one is kept.

    A server that is running uses it when it is started again.

    \b
    Examples:
      tokenward prices update
      tokenward prices update --from data.json --date 2026-11-22
    """  # noqa: D301 - click reads the character
    from tokenward.price_update import update_url  # noqa: PLC0415 - heavy

    file = _price_file(session)
    origin = source or update_url()
    if "://" in origin:
        if day:
            raise InvalidInput("date", "is for a file; what is fetched now is today's.")
        done = file.update(_fetched(origin), origin.partition("?")[0].partition("#")[0], force=force)
    else:
        content, changed = _file(origin)
        done = file.update(content, Path(origin).name, day=day or changed, force=force)
    emit_json(_update(done), as_json=as_json, show=lambda console: _show_update(console, done))


@prices.command()
@json_option
@pass_session
def revert(session: Session, *, as_json: bool) -> None:
    """Go back to the price list before the last update, or to the one that ships with tokenward."""
    found = _price_file(session).revert()
    emit_json(_status(found), as_json=as_json, show=lambda console: _show_status(console, found))


def _price_file(session: Session) -> "PriceFile":
    from tokenward.price_update import PriceFile  # noqa: PLC0415 - heavy

    return PriceFile(session.settings().prices_file)


def _fetched(url: str) -> bytes:
    import anyio  # noqa: PLC0415 - heavy

    from tokenward.price_download import download  # noqa: PLC0415 - heavy

    return anyio.run(download, url)


def _file(name: str) -> tuple[bytes, str]:
    """A file's content, and the day on which it was changed."""
    from datetime import UTC, datetime  # noqa: PLC0415 - kept beside its only use

    from tokenward.engine.prices.data import MAX_PRICE_FILE_BYTES  # noqa: PLC0415 - heavy

    try:
        with Path(name).open("rb") as opened:
            content = opened.read(MAX_PRICE_FILE_BYTES + 1)
        changed = datetime.fromtimestamp(Path(name).stat().st_mtime, UTC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise InvalidInput("from", f"{shown(name)} cannot be read ({reason}).") from None
    return content, changed.date().isoformat()


# Printing -------------------------------------------------------------------------------------------------------------


def _status(found: "PriceFileStatus") -> JsonObject:
    return {
        "source": found.source,
        "date": found.date,
        "age_days": found.age_days,
        "fetched_from": found.fetched_from or None,
        "file": str(found.file),
        "file_date": found.file_date or None,
        "previous_date": found.previous_date or None,
        "warning": found.warning or None,
    }


def _update(done: "PriceUpdate") -> JsonObject:
    changes = done.changes
    return {
        **_status(done.status),
        "new": [*changes.new],
        "gone": [*changes.gone],
        "changed": [
            {"provider": one.provider, "model": one.model, "price": one.price, "before": one.before, "after": one.after}
            for one in changes.changed
        ],
    }


def _show_status(console: "Console", found: "PriceFileStatus") -> None:
    from tokenward.server.commands.render import line  # noqa: PLC0415 - heavy

    age = "" if found.age_days is None else f" ({_many(found.age_days, 'day')} old)"
    line(console, f"Prices: {found.source}, as of {found.date}{age}.")
    if found.fetched_from:
        line(console, f"Fetched from {found.fetched_from}, kept in {found.file}.")
    elif found.file_date:
        line(console, f"The list in {found.file} is older ({found.file_date}) and not used.")
    if found.previous_date:
        line(console, f"'tokenward prices revert' brings back the list of {found.previous_date}.")
    if found.warning:
        line(console, found.warning, "yellow")


def _show_update(console: "Console", done: "PriceUpdate") -> None:
    from tokenward.server.commands.render import line, table  # noqa: PLC0415 - heavy

    changes = done.changes
    if changes.changed:
        console.print(table(["provider", "model", "price", ">before", ">after"], map(_row, _first(changes.changed))))
    for what, names in (("New", changes.new), ("Gone", changes.gone)):
        if names:
            line(console, f"{what}: {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}")
    models = len({(one.provider, one.model) for one in changes.changed})
    said = (
        f"{_many(len(changes.new), 'new model')}, {len(changes.gone)} gone, {_many(models, 'model')} with other prices"
    )
    line(console, f"{said} ({_many(len(changes.changed), 'price')}).")
    _show_status(console, done.status)


def _first(changes: "tuple[PriceChange, ...]") -> "tuple[PriceChange, ...]":
    """Some changes, those of well-known providers before others."""
    from tokenward.engine.prices.check import well_known  # noqa: PLC0415 - heavy

    return tuple(sorted(changes, key=lambda one: one.provider not in well_known()))[:_SHOWN]


def _row(change: "PriceChange") -> list[object]:
    return [change.provider, change.model, change.price, change.before or None, change.after or None]


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
