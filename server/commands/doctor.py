"""``tokenward doctor``: what works here, what does not, and what to do about it."""

import os
import platform
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

from tokenward.engine.errors import TokenwardError
from tokenward.engine.types import JsonObject
from tokenward.server.commands.session import Session, emit_json, json_option, pass_session

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.engine.counting.results import TokenCountResult
    from tokenward.server.settings import Settings
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


# Settings -----------------------------------------------------------------------------------------------------------


def _settings(session: Session) -> Iterator[Finding]:
    """Every setting and where it comes from. The store's password is masked."""
    from tokenward.server.settings import config_file  # noqa: PLC0415 - heavy

    settings = session.settings()
    file = config_file(session.config)
    in_file = tomllib.loads(file.read_text("utf-8")) if file else {}
    yield Finding("settings file", "ok", str(file) if file else "none")
    for name in type(settings).model_fields:
        if name in ("store", "user", "log_level") and getattr(session, name) is not None:
            source = "option"
        elif os.environ.get(f"TOKENWARD_{name.upper()}"):
            source = f"TOKENWARD_{name.upper()}"
        else:
            source = "file" if name in in_file else "default"
        yield Finding(name, "ok", f"{_value(settings, name)} ({source})")
    yield from _missing_roots(settings.roots)
    yield from _alerts(settings)


def _missing_roots(roots: Sequence[Path]) -> Iterator[Finding]:
    """Folders to count files in that are not there; without any of them no file can be counted."""
    missing = [one for one in roots if not os.path.isdir(one)]  # noqa: PTH112 - answers also where it may not look
    for one in missing:
        yield Finding("roots", "broken" if len(missing) == len(roots) else "note", f"there is no folder {one}")


def _alerts(settings: "Settings") -> Iterator[Finding]:
    """Whether alert hooks could work here; none is run."""
    for hook in settings.alert_hooks:
        problem = hook.problem()
        yield Finding(f"alert {hook.label}", "broken" if problem else "ok", problem or "usable; not run here")


def _value(settings: "Settings", name: str) -> str:
    from tokenward.server.settings import masked  # noqa: PLC0415 - heavy

    if name == "store":
        return masked(settings.store)
    if name == "limits":
        return f"{len(settings.limits)} set" if settings.limits else "none"
    if name == "alerts":
        return f"{len(settings.alerts)} set" if settings.alerts else "none"
    if name == "tokenizers":
        return f"{len(settings.tokenizers)} files" if settings.tokenizers else "none"
    if name == "roots":
        return os.pathsep.join(str(one) for one in settings.roots) or "none"
    value: object = getattr(settings, name)
    return str(value) if value not in ({}, "") else "none"


def _prices(session: Session) -> Iterator[Finding]:
    """Which price list is in force, and an updated one that cannot be."""
    from tokenward.price_update import PriceFile  # noqa: PLC0415 - heavy

    found = PriceFile(session.settings().prices_file).status()
    yield Finding("prices", "note" if found.age_days is None else "ok", f"{found.source}, as of {found.date}")
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
    from rich.text import Text  # noqa: PLC0415 - heavy

    from tokenward.server.commands.render import line, table  # noqa: PLC0415 - heavy

    styles = {"ok": "green", "note": "yellow", "broken": "bold red"}
    rows = [(one.subject, Text(one.verdict, style=styles[one.verdict]), one.detail) for one in findings]
    console.print(table(["what", "state", "detail"], rows))
    broken = [one.subject for one in findings if one.verdict == "broken"]
    line(console, f"Broken: {', '.join(broken)}." if broken else "All is well.")
