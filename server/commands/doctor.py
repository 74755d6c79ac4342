"""``tokenward doctor``: what works here, what does not, and what to do about it."""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

from tokenward.engine.errors import TokenwardError
from tokenward.engine.types import JsonObject
from tokenward.server.commands.session import Session, emit_json, json_option, pass_session

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tokenward.engine.counting.results import TokenCountResult
    from tokenward.tools.definition import ToolContext

Verdict: TypeAlias = Literal["ok", "note", "broken"]

_PACKAGES = ("mcp", "pydantic", "tiktoken", "genai-prices", "aiosqlite", "psycopg")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination."""

    subject: str
    verdict: Verdict
    detail: str


@click.command()
@json_option
@pass_session
def doctor(session: Session, *, as_json: bool) -> None:
    """Check the installation, the settings, the ways of counting and the store. Exits with 1 if something is broken."""
    findings = [*_installation(), *_guarded("vocabularies", _vocabularies)]
    findings += _guarded("settings", lambda: _settings(session))
    if not any(one.subject == "settings" and one.verdict == "broken" for one in findings):
        findings += _guarded("prices", lambda: _prices(session))
        findings += _guarded("counting", lambda: _counting(session))
        findings += _guarded("telemetry", lambda: _telemetry(session))
        findings += _guarded("store", lambda: _store(session))
    broken = any(one.verdict == "broken" for one in findings)
    listed: JsonObject = {"ok": not broken, "findings": [asdict(one) for one in findings]}
    emit_json(listed, as_json=as_json, show=lambda console: _show(console, findings))
    if broken:
        raise click.exceptions.Exit(1)


def _guarded(subject: str, examine: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What an examination finds; an error is a finding too."""
    found: list[Finding] = []
    try:
        found.extend(examine())
    except TokenwardError as error:
        found.append(Finding(subject, "broken", str(error)))
    except Exception as error:  # noqa: BLE001 - whatever is broken, the examination goes on
        found.append(Finding(subject, "broken", f"unexpected {type(error).__name__}"))
    return found


def _installation() -> Iterator[Finding]:
    from tokenward.server.version import package_version  # noqa: PLC0415 - heavy

    yield Finding("tokenward", "ok", package_version())
    supported = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if supported else "broken", f"{platform.python_version()} on {platform.system()}")
    for name in _PACKAGES:
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "broken", "not installed; reinstall tokenward")


def _vocabularies() -> Iterator[Finding]:
    """Every encoding is built, which checks its file's SHA-256, and counts a known text."""
    from tokenward.engine.tokenizers.encodings import ENCODING_NAMES, load_encoding  # noqa: PLC0415 - heavy

    names = sorted(ENCODING_NAMES)
    for name in names:
        load_encoding(name).encode_ordinary("tokenward")
    yield Finding("vocabularies", "ok", f"checksums right: {', '.join(names)}")


def _settings(session: Session) -> Iterator[Finding]:
    from tokenward.server.commands.doctor_settings import settings_in_force  # noqa: PLC0415 - heavy

    yield from settings_in_force(session)


def _prices(session: Session) -> Iterator[Finding]:
    """Which price list is in force, and an updated one that cannot be."""
    from tokenward.price_update import PriceFile  # noqa: PLC0415 - heavy

    found = PriceFile(session.settings().prices_file).status()
    yield Finding("price list", "note" if found.age_days is None else "ok", f"{found.source}, as of {found.date}")
    if found.warning:
        yield Finding("price file", "broken", found.warning)


def _counting(session: Session) -> Iterator[Finding]:
    from tokenward.server.commands.doctor_counting import counting  # noqa: PLC0415 - heavy

    yield from counting(session.settings())


def _telemetry(session: Session) -> Iterator[Finding]:
    from tokenward.server.commands.doctor_telemetry import telemetry  # noqa: PLC0415 - heavy

    yield from telemetry(session.settings())


# Store --------------------------------------------------------------------------------------------------------------


def _store(session: Session) -> Iterator[Finding]:
    """Connect, which also brings the schema up to date, read the limits, and see how fast it is."""
    from tokenward.server.commands.doctor_telemetry import speed  # noqa: PLC0415 - heavy

    async def work(context: "ToolContext") -> int:
        return len(await context.service.limits())

    limits = session.run(work)
    yield Finding("store", "ok", f"reachable, schema up to date, limits set: {limits}")
    yield from _store_file(session.settings().store)
    yield from _pg_tiktoken(session)
    yield from speed(session)


def _store_file(url: str) -> Iterator[Finding]:
    from tokenward.storage.factory import sqlite_path  # noqa: PLC0415 - heavy

    if not url.startswith(("sqlite:", "memory:")):
        return
    path = sqlite_path(url)
    if path is None:
        yield Finding("store file", "note", "none: what is recorded is lost at the end of the process")
        return
    detail = f"{path.absolute()}, {path.stat().st_size:,} bytes"
    exposed = os.name == "posix" and path.stat().st_mode & 0o077
    yield Finding("store file", "note" if exposed else "ok", detail + (", readable by others" if exposed else ""))


def _pg_tiktoken(session: Session) -> Iterator[Finding]:
    """Whether a Postgres store counts texts, found out by counting one."""
    from tokenward.storage.factory import is_postgres  # noqa: PLC0415 - heavy

    settings = session.settings()
    if not is_postgres(settings.store):
        return
    from tokenward.storage.postgres.pg_tiktoken import PgTiktoken  # noqa: PLC0415 - heavy

    async def work(context: "ToolContext") -> "TokenCountResult":
        counter = PgTiktoken(settings.store, context.service.counter)
        try:
            return (await counter.count_tokens_batch(["tokenward"])).results[0]
        finally:
            await counter.aclose()

    counted, used = session.run(work), settings.backend == "pg_tiktoken"
    if counted.method == "pg_tiktoken":
        yield Finding("pg_tiktoken", "ok", f"offered by the database, {'used' if used else 'not used'}")
    else:
        yield Finding("pg_tiktoken", "note" if used else "ok", counted.warnings[-1].removesuffix("."))


def _show(console: "Console", findings: list[Finding]) -> None:
    """What is worth a look comes last, where a terminal shows it."""
    from rich.text import Text  # noqa: PLC0415 - heavy

    from tokenward.server.commands.render import line, table  # noqa: PLC0415 - heavy

    styles = {"ok": "green", "note": "yellow", "broken": "bold red"}
    ordered = sorted(findings, key=lambda one: list(styles).index(one.verdict))
    rows = [(one.subject, Text(one.verdict, style=styles[one.verdict]), one.detail) for one in ordered]
    _print(console, table(["what", "state", "detail"], rows))
    broken, noted = (
        ", ".join(dict.fromkeys(one.subject for one in findings if one.verdict == verdict))
        for verdict in ("broken", "note")
    )
    if noted:
        line(console, f"Worth a look: {noted}.")
    line(console, f"Broken: {broken}." if broken else "Nothing is broken." if noted else "All is well.")


def _print(console: "Console", made: "Table") -> None:
    """A table; without a terminal, no line is filled up with blanks."""
    from tokenward.server.commands.render import line  # noqa: PLC0415 - heavy

    if console.is_terminal:
        console.print(made)
        return
    with console.capture() as captured:
        console.print(made)
    for one in captured.get().splitlines():
        line(console, one.rstrip())
