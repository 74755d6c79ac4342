"""Logs: lines for people, objects for machines, and no message of an exception in either."""

import asyncio
import gc
import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from tokenward.server.crashes import log_crash
from tokenward.server.settings import Settings
from tokenward.server.telemetry.logs import JsonLines, TextLines, announce, set_up_logging

SECRET = "my secret words"

Logged = Callable[..., dict[str, Any]]


def record_of(message: str, *arguments: object, **given: Any) -> logging.LogRecord:
    return logging.getLogger("tokenward.test").makeRecord(
        "tokenward.test", logging.WARNING, "file.py", 1, message, arguments, **{"exc_info": None, **given}
    )


def fail_with(error: Exception) -> None:
    raise error


def raised() -> Any:
    """What is logged of an error with a cause, both with a user's words."""
    try:
        try:
            fail_with(KeyError(SECRET))
        except KeyError as error:
            raise RuntimeError(SECRET) from error
    except RuntimeError as error:
        return type(error), error, error.__traceback__


def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loggers as a new process has them; pytest hangs its own handlers there."""
    monkeypatch.setattr(logging, "root", logging.RootLogger(logging.WARNING))
    monkeypatch.setattr(logging.Logger, "root", logging.root)
    monkeypatch.setattr(logging.Logger, "manager", logging.Manager(logging.root))


def test_a_record_is_one_object_on_one_line() -> None:
    record = record_of("two\nlines %s", "\udc80é")
    record.created = 1_795_262_400.1239
    line = JsonLines().format(record)
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-11-21T12:00:00.123+00:00",
        "level": "WARNING",
        "logger": "tokenward.test",
        "message": "two\nlines \udc80é",
    }


def test_fields_stand_beside_the_message() -> None:
    fields = {"status": 200, "seconds": 0.5, "route": "/mcp", "odd": object()}
    line = json.loads(JsonLines().format(record_of("x", extra={"fields": fields})))
    assert (line["status"], line["seconds"], line["route"]) == (200, 0.5, "/mcp")
    assert "odd" not in line


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines("%(message)s")])
def test_an_exception_is_its_type_and_place(formatter: logging.Formatter) -> None:
    text = formatter.format(record_of("it failed", exc_info=raised()))
    assert "it failed" in text
    assert text.index("KeyError") < text.index("RuntimeError")
    assert "in raised" in text
    assert SECRET not in text


def test_a_task_that_fails_unseen_is_told_without_its_message() -> None:
    told = io.StringIO()
    handlers = [logging.StreamHandler(told), logging.StreamHandler(told)]
    handlers[0].setFormatter(TextLines("%(message)s"))
    handlers[1].setFormatter(JsonLines())

    async def fail() -> None:
        raise RuntimeError(SECRET)

    async def leave() -> None:
        await asyncio.wait([asyncio.create_task(fail())])
        gc.collect()

    logger = logging.getLogger("asyncio")
    for one in handlers:
        logger.addHandler(one)
    try:
        asyncio.run(leave())
    finally:
        for one in handlers:
            logger.removeHandler(one)
    assert told.getvalue().count("Task exception was never retrieved") == 2
    assert SECRET not in told.getvalue()


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines("%(message)s")])
def test_a_record_without_an_exception_under_way_can_be_written(formatter: logging.Formatter) -> None:
    assert "odd" in formatter.format(record_of("odd", exc_info=(None, None, None)))


def test_a_traced_request_is_named() -> None:
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("x") as span:
        line = json.loads(JsonLines().format(record_of("x")))
    assert line["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert line["span_id"] == f"{span.get_span_context().span_id:016x}"
    assert trace.get_current_span() is not span
    assert "trace_id" not in json.loads(JsonLines().format(record_of("x")))


@pytest.mark.parametrize("odd", ["\n", "\r\n", "\x1b[31m", "\x85", "\u2028", "\u202e", "\x00"])
def test_nobody_can_write_a_line_of_their_own(odd: str) -> None:
    text = TextLines("%(levelname)s %(name)s: %(message)s").format(record_of("told %s", f"x{odd}ERROR forged: é"))
    assert text.startswith("WARNING tokenward.test: told x\\")
    assert text.endswith("ERROR forged: é")
    assert text.isprintable()


@pytest.mark.parametrize(("level", "least"), [("DEBUG", "WARNING"), ("WARNING", "WARNING"), ("ERROR", "ERROR")])
@pytest.mark.parametrize(
    "name",
    ["mcp.server.sse", "mcp.server.mcpserver.server", "sse_starlette.sse", "aiosqlite", "httpx2", "httpcore2.http11"],
)
def test_who_would_log_what_clients_write_is_kept_quiet(
    monkeypatch: pytest.MonkeyPatch, name: str, level: str, least: str
) -> None:
    new_process(monkeypatch)
    stream = io.StringIO()
    set_up_logging(Settings.model_validate({"store": "memory://", "log_level": level}), stream)
    for each in ("DEBUG", "INFO", "WARNING", "ERROR"):
        logging.getLogger(name).log(getattr(logging, each), "said")
    assert stream.getvalue().startswith(f"{least} {name}: said")


@pytest.mark.parametrize(("logs", "starts"), [("json", '{"time": '), ("text", "INFO tokenward.test: hello")])
def test_the_settings_say_how_it_is_written(monkeypatch: pytest.MonkeyPatch, logs: str, starts: str) -> None:
    new_process(monkeypatch)
    stream = io.StringIO()
    settings = Settings.model_validate({"store": "memory://", "log_level": "INFO", "telemetry": {"logs": logs}})
    set_up_logging(settings, stream)
    logging.getLogger("tokenward.test").info("hello")
    logging.getLogger("tokenward.test").debug("unseen")
    assert stream.getvalue().startswith(starts)
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("level", ["DEBUG", "CRITICAL"])
@pytest.mark.parametrize("logs", ["json", "text"])
def test_an_announcement_is_made_at_any_level_in_the_way_of_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logs: str, level: str
) -> None:
    new_process(monkeypatch)
    settings = Settings.model_validate({"store": "memory://", "log_level": level, "telemetry": {"logs": logs}})
    set_up_logging(settings)
    announce(settings, "Listening on http://127.0.0.1:8484/mcp")
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line) if logs == "json" else {"level": "INFO", "message": line}
    assert (told["level"], told["message"]) == ("INFO", "Listening on http://127.0.0.1:8484/mcp")


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines("%(message)s")])
def test_a_crash_and_any_other_exception_are_told_alike(
    formatter: logging.Formatter, caplog: pytest.LogCaptureFixture
) -> None:
    _, error, _ = raised_now = raised()
    log_crash("a test", error)
    (record,) = caplog.records
    crashed, logged = formatter.format(record), formatter.format(record_of("x", exc_info=raised_now))
    if isinstance(formatter, JsonLines):
        assert json.loads(crashed)["exceptions"] == json.loads(logged)["exceptions"]
        assert json.loads(crashed)["message"] == "Internal error in a test (RuntimeError)"
    else:
        assert crashed.partition("\n")[2] == logged.partition("\n")[2]
    assert SECRET not in crashed + caplog.text
