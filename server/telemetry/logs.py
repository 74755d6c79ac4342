"""Logging: to standard error, as lines for people or as JSON for machines."""

import json
import logging
import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, TextIO, TypeAlias

import click

from tokenward.engine.types import JsonValue
from tokenward.server.crashes import Chain, exception_chain, log_crash

if TYPE_CHECKING:
    from tokenward.server.settings import Settings

_TEXT = "%(levelname)s %(name)s: %(message)s"

_TALKATIVE = ("mcp", "sse_starlette", "aiosqlite", "httpx2", "httpcore2")
"""Loggers that write out, at ``INFO`` and ``DEBUG``, what is said as it is: messages, the parameters of statements, and
addresses with their queries."""

_ExceptionInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def set_up_logging(settings: "Settings", stream: TextIO | None = None) -> None:
    """Log to ``stream``, standard error by default, as the settings say. A root logger with a handler keeps it.

    Of the loggers that would log what clients write, or keys, nothing below a warning is logged, whatever the settings
    say.
    """
    formatter = JsonLines() if settings.telemetry.logs == "json" else TextLines(_TEXT)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def announce(settings: "Settings", text: str) -> None:
    """Say what whoever started this waits for, on standard error: at any level, and as a record where logs are JSON."""
    if settings.telemetry.logs == "text":
        click.echo(text, err=True)
        return
    told = {"name": __package__, "levelname": "INFO", "levelno": logging.INFO, "msg": text}
    # The logger hands on a record that it is given, whatever its level.
    logging.getLogger(__package__).handle(logging.makeLogRecord(told))


class TextLines(logging.Formatter):
    """Lines for people. Of an exception its type and where it came from are told, never its message.

    That may quote what a user wrote, and some of what is logged here is other people's code. For the same reason a
    message is one line, in which nothing steers a terminal.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name it has
        """The line, with escapes for what cannot be printed."""
        record.message = _message(record)
        line = super().formatMessage(record)
        return line if line.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in line)

    def format(self, record: logging.LogRecord) -> str:
        """The record, and below it the exceptions that it brings."""
        chain = _brought(record)
        return "\n".join([super().format(record), *([_written(chain)] if chain else [])])

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802 - the name it has
        """The exception's frames and types, its causes first."""
        return _written(exception_chain(ei[1]))


class JsonLines(logging.Formatter):
    """One object per record: ``time``, ``level``, ``logger``, ``message``, and what the record brings with it.

    A record's ``fields`` (``extra={"fields": {…}}``) stand beside these; inside a traced request ``trace_id`` and
    ``span_id`` do. Exceptions are told as in :class:`TextLines`, under ``exceptions``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, JsonValue] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        line.update(_fields(record))
        line.update(_trace())
        chain = exception_chain(record.exc_info[1]) if record.exc_info else _brought(record)
        if chain:
            line["exceptions"] = [{"type": kind, "frames": [*frames]} for kind, frames in chain]
        # ASCII: whatever a message holds, the line can be written, and holds no line end.
        return json.dumps(line)


def _message(record: logging.LogRecord) -> str:
    """What a record says. Of asyncio's the first line: below it stands what it tells of, errors' messages among it."""
    said = record.getMessage()
    return said.partition("\n")[0] if record.name == "asyncio" else said


def _fields(record: logging.LogRecord) -> dict[str, JsonValue]:
    """What a record of ours brings; whoever else uses the name may mean something else by it."""
    fields: object = getattr(record, "fields", None)
    if not isinstance(fields, dict):
        return {}
    given: dict[object, object] = {**fields}
    return {str(name): value for name, value in given.items() if isinstance(value, str | int | float)}


def _trace() -> dict[str, JsonValue]:
    """The span that is under way, if there is one: by OpenTelemetry's interface, which the MCP SDK brings."""
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry import trace  # noqa: PLC0415 - heavy where no server runs

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _brought(record: logging.LogRecord) -> Chain:
    """What :func:`~tokenward.server.crashes.log_crash` puts into a record."""
    chain: Chain = getattr(record, "exceptions", []) if record.name == log_crash.__module__ else []
    return chain


def _written(chain: Chain) -> str:
    return "\nwhich led to\n".join("\n".join([*frames, kind]) for kind, frames in chain)
