"""``tokenward db``: the ledger's upkeep. What works on every store is in ``tokenward.archive`` and ``.reprice``."""

import re
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import click

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.money import usd
from tokenward.engine.times import rfc3339
from tokenward.engine.types import DAY_US, QUARTER_HOUR_US, JsonObject, JsonValue
from tokenward.server.commands.files import input_stream, output_stream
from tokenward.server.commands.session import Session, emit_json, json_option, pass_session, warn
from tokenward.storage.factory import is_postgres

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.archive import Imported, Progress
    from tokenward.reprice import Repriced
    from tokenward.storage.base import UsageStore
    from tokenward.storage.status import StoreStatus
    from tokenward.tools.definition import ReportProgress, ToolContext

_Answer = TypeVar("_Answer")

MIN_KEPT_DAYS = 62
"""Events are kept at least so long: limits of a month are rebuilt from them, also by a clock that went back a month."""

_AGE = re.compile(r"([1-9][0-9]{0,4})([dw])", re.ASCII)
_AGE_DAYS = {"d": 1, "w": 7}

_from_option = click.option("--from", "since", metavar="DATE", help="From 2026-11-21, or RFC 3339.")
_to_option = click.option("--to", "until", metavar="DATE", help="To, not included.")


@click.group()
def db() -> None:
    """Look after the ledger: its schema, old events, archives, prices."""


@db.command("upgrade")
@click.option("--partitions", is_flag=True, help="Postgres only: also keep the events in a partition per month.")
@json_option
@pass_session
def db_upgrade(session: Session, *, partitions: bool, as_json: bool) -> None:
    """Bring the schema up to date. Every command does so; this one says it."""
    url = session.settings().store

    async def work(store: "UsageStore", _context: "ToolContext") -> "StoreStatus":
        if partitions:
            await _partition(url)
        return await store.describe()

    if partitions and not is_postgres(url):
        raise click.UsageError("--partitions is for Postgres; other stores have no partitions.")
    status = _with_store(session, work)
    before, after = status.found_version, status.schema_version
    said = f"The schema is up to date: version {after}." if before == after else _upgraded(before, after)
    emit_json(
        {"before": before, "after": after, "partitioned": status.partitioned},
        as_json=as_json,
        show=lambda console: _say(console, said + (" Events are partitioned by month." if status.partitioned else "")),
    )


async def _partition(url: str) -> None:
    """Partition the events by month, once."""
    from tokenward.storage.postgres import partition  # noqa: PLC0415 - heavy

    await partition(url)


def _upgraded(before: int, after: int) -> str:
    return f"Upgraded the schema from version {before} to {after}." if before else f"Made the schema, version {after}."


@db.command("status")
@json_option
@pass_session
def db_status(session: Session, *, as_json: bool) -> None:
    """Show what the ledger holds."""

    async def work(store: "UsageStore", _context: "ToolContext") -> "StoreStatus":
        return await store.describe()

    from tokenward.server.settings import masked  # noqa: PLC0415 - heavy

    status = _with_store(session, work)
    document = _status_json(masked(session.settings().store), status)

    def show(console: "Console") -> None:
        from tokenward.server.commands.render import table  # noqa: PLC0415 - heavy

        rows = [(name.replace("_", " "), _cell(value)) for name, value in document.items()]
        console.print(table(["what", "value"], rows))

    emit_json(document, as_json=as_json, show=show)


def _cell(value: JsonValue) -> JsonValue:
    return ("yes" if value else "no") if isinstance(value, bool) else value


def _status_json(store: str, status: "StoreStatus") -> JsonObject:
    return {
        "store": store,
        "kind": status.kind,
        "schema_version": status.schema_version,
        "latest_version": status.latest_version,
        "events": status.events,
        "oldest_event": _time(status.oldest_us),
        "pending_holds": status.holds,
        "open_budgets": status.budgets,
        "limits": status.limits,
        "pruned_before": _time(status.pruned_before_us or None),
        "partitioned": status.partitioned,
        "bytes": status.bytes,
    }


@db.command("prune")
@click.option("--older-than", "age", required=True, metavar="AGE", help="In days or weeks, at least 62d: 90d, 26w.")
@click.option("--dry-run", is_flag=True, help="Only say how many events there are.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_session
def db_prune(session: Session, *, age: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete old events for good. Reports keep their sums; `db export` before keeps the events too.

    \b
    Examples:
      tokenward db prune --older-than 90d --dry-run
      tokenward db prune --older-than 26w --yes
    """  # noqa: D301 - click reads the character
    days = _days(age)
    if not (dry_run or yes or _asks()):
        raise click.UsageError("Nobody is there to ask: give --yes, or --dry-run to see what would be deleted.")

    async def look(store: "UsageStore", context: "ToolContext") -> tuple[int, int]:
        from tokenward.engine.usage import UsageQuery  # noqa: PLC0415 - heavy

        before_us = max(0, (context.service.clock() - days * DAY_US) // QUARTER_HOUR_US * QUARTER_HOUR_US)
        if not before_us:
            return before_us, 0
        # By session, because only that is summed from the events themselves: an earlier prune may have been cut short.
        return before_us, sum(one.requests for one in await store.usage(UsageQuery(0, before_us, "session")))

    before_us, found = _with_store(session, look)
    deleted = 0
    if found and not dry_run:
        if not yes:
            click.confirm(f"Delete {found:,} events from before {_time(before_us)}?", abort=True, err=True)

        async def prune(store: "UsageStore", _context: "ToolContext") -> int:
            return await store.prune(before_us)

        deleted = _with_store(session, prune)
    said = f"There are {found:,}" if dry_run else f"Deleted {deleted:,}"
    emit_json(
        {"before": _time(before_us), "found": found, "deleted": deleted},
        as_json=as_json,
        show=lambda console: _say(console, f"{said} events from before {_time(before_us)}."),
    )


def _days(age: str) -> int:
    """The days of ``90d`` or ``26w``. Raises InvalidInput."""
    match = _AGE.fullmatch(age)
    if not match:
        raise InvalidInput("--older-than", f"{shown(age)} is not an age; give days or weeks, such as 90d or 26w.")
    days = int(match[1]) * _AGE_DAYS[match[2]]
    if days < MIN_KEPT_DAYS:
        raise InvalidInput(
            "--older-than",
            f"{shown(age)} is too young: limits of a month need the events of {MIN_KEPT_DAYS} days; give at least "
            f"{MIN_KEPT_DAYS}d.",
        )
    return days


def _asks() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty()


@db.command("export")
@click.argument("file", default="-")
@_from_option
@_to_option
@pass_session
def db_export(session: Session, *, file: str, since: str | None, until: str | None) -> None:
    """Write limits and events to FILE, or to standard output for -, as JSON lines.

    Of pruned time, the sums that reports use are written. Not written: pending holds, open budgets, answers to
    idempotency keys. A FILE appears when it is whole.

    \b
    Examples:
      tokenward db export ledger.jsonl
      tokenward db export --from 2026-11-01 --to 2026-12-01 | gzip > november.jsonl.gz
    """  # noqa: D301 - click reads the character
    from tokenward.archive import Exported, export_ledger  # noqa: PLC0415 - heavy
    from tokenward.server.version import package_version  # noqa: PLC0415 - heavy

    async def work(store: "UsageStore", context: "ToolContext") -> Exported:
        start_us, end_us = _span(context, since, until)
        with output_stream(file) as output, _progress("Exporting") as progress:
            return await export_ledger(
                store,
                output.write,
                clock=context.service.clock,
                version=package_version(),
                start_us=start_us,
                end_us=end_us,
                progress=progress,
            )

    done = _with_store(session, work)
    if file != "-":
        sums = f" and {done.hourly:,} sums of pruned time" if done.hourly else ""
        click.echo(f"Exported {done.events:,} events, {done.limits:,} limits{sums} to {file}.", err=True)


@db.command("import")
@click.argument("file", default="-")
@click.option("--replace-limits", is_flag=True, help="Set limits of the archive also where the ledger has its own.")
@json_option
@pass_session
def db_import(session: Session, *, file: str, replace_limits: bool, as_json: bool) -> None:
    """Read what `db export` wrote from FILE, or from standard input for -, into the ledger.

    Events keep their ids and costs; what is there already stays, so importing twice adds nothing.

    \b
    Examples:
      tokenward --store postgresql://localhost/tokenward db import ledger.jsonl
      gunzip < november.jsonl.gz | tokenward db import
    """  # noqa: D301 - click reads the character
    from tokenward.archive import Imported, import_ledger  # noqa: PLC0415 - heavy

    async def work(store: "UsageStore", context: "ToolContext") -> Imported:
        with input_stream(file) as stream, _progress("Importing") as progress:
            return await import_ledger(
                store, stream, clock=context.service.clock, replace_limits=replace_limits, progress=progress
            )

    done = _with_store(session, work)
    emit_json(asdict(done), as_json=as_json, show=lambda console: _show_imported(console, done))
    if done.differing_events:
        warn(f"{done.differing_events:,} events stand in the ledger with other numbers; they stay as they are.")
    if done.pruned_events:
        warn(f"{done.pruned_events:,} events are from a time that this ledger has pruned; they were left out.")


@db.command("reprice")
@_from_option
@_to_option
@click.option("--model", metavar="NAME", help="Only events of this model, as it was recorded.")
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would be.")
@json_option
@pass_session
def db_reprice(
    session: Session, *, since: str | None, until: str | None, model: str | None, dry_run: bool, as_json: bool
) -> None:
    """Price events again, by today's price data for their time. What has no price now keeps the cost it has.

    \b
    Examples:
      tokenward db reprice --dry-run
      tokenward db reprice --from 2026-11-01 --model gpt-4o
    """  # noqa: D301 - click reads the character
    from tokenward.reprice import Repriced, reprice  # noqa: PLC0415 - heavy

    async def work(store: "UsageStore", context: "ToolContext") -> list[Repriced]:
        start_us, end_us = _span(context, since, until)
        with _progress("Pricing") as progress:
            return await reprice(
                store,
                context.service.calculator,
                start_us=start_us,
                end_us=end_us,
                model=model,
                dry_run=dry_run,
                progress=progress,
            )

    models = _with_store(session, work)
    document: JsonObject = {"dry_run": dry_run, "models": [_repriced_json(one) for one in models]}
    emit_json(document, as_json=as_json, show=lambda console: _show_repriced(console, models, dry_run=dry_run))


# The store, times and progress -------------------------------------------------------------------------------------


def _with_store(session: Session, work: "Callable[[UsageStore, ToolContext], Awaitable[_Answer]]") -> _Answer:
    """Do a command's work on the store itself. The settings' limits are not written to it."""

    async def worked(context: "ToolContext") -> _Answer:
        from tokenward.storage.factory import open_store  # noqa: PLC0415 - heavy

        async with open_store(session.settings().store) as store:
            return await work(store, context)

    return session.run(worked)


def _time(moment_us: int | None) -> str | None:
    return None if moment_us is None else rfc3339(moment_us)


def _span(context: "ToolContext", since: str | None, until: str | None) -> tuple[int, int]:
    """Start and end of a time as it was written; all of it where nothing was. Raises InvalidInput."""
    from tokenward.archive_lines import END_US  # noqa: PLC0415 - heavy
    from tokenward.tools.times import moment_us  # noqa: PLC0415 - heavy

    start_us = 0 if since is None else moment_us("--from", since, context.timezone)
    end_us = END_US if until is None else moment_us("--to", until, context.timezone)
    if end_us <= start_us:
        raise InvalidInput("--to", "is not after --from.")
    return max(0, start_us), end_us


@contextmanager
def _progress(description: str) -> "Generator[Progress]":
    from tokenward.server.commands import render  # noqa: PLC0415 - heavy

    with render.progress(description) as report:
        yield _counting(report)


def _counting(report: "ReportProgress | None") -> "Progress":
    async def progress(done: int, /) -> None:
        if report is not None:
            await report(done, None, f"{done:,} events")

    return progress


# For people ---------------------------------------------------------------------------------------------------------


def _say(console: "Console", text: str) -> None:
    from tokenward.server.commands.render import line  # noqa: PLC0415 - heavy

    line(console, text)


def _show_imported(console: "Console", done: "Imported") -> None:
    _say(console, f"Events: {done.events:,} new, {done.known_events:,} already there.")
    if done.hourly or done.known_hourly:
        _say(console, f"Sums of pruned time: {done.hourly:,} new, {done.known_hourly:,} already there.")
    if done.limits or done.kept_limits:
        _say(console, f"Limits: {done.limits:,} set, {done.kept_limits:,} left as they are.")


def _repriced_json(one: "Repriced") -> JsonObject:
    return {
        "model": one.model,
        "events": one.events,
        "changed": one.changed,
        "unknown": one.unknown,
        "old_cost": usd(one.old_cost_nano),
        "new_cost": usd(one.new_cost_nano),
    }


def _show_repriced(console: "Console", models: "list[Repriced]", *, dry_run: bool) -> None:
    from tokenward.server.commands.render import table  # noqa: PLC0415 - heavy

    if not models:
        _say(console, "There are no such events.")
        return
    rows = [
        (
            one.model,
            one.events,
            one.changed,
            one.unknown,
            f"${usd(one.old_cost_nano)}",
            f"${usd(one.new_cost_nano)}",
        )
        for one in models
    ]
    console.print(table(["model", ">events", ">changed", ">no price", ">old cost", ">new cost"], rows))
    if dry_run:
        _say(console, "Nothing was changed.")
