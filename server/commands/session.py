"""What the commands share: the options given before the command, the service, and how results are printed."""

import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from tokenward.engine.errors import InvalidInput, TokenwardError, shown
from tokenward.engine.types import JsonObject, JsonValue

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.server.settings import Settings
    from tokenward.tools.definition import Result, ToolContext

_Answer = TypeVar("_Answer")

json_option = click.option("--json", "as_json", is_flag=True, help="Print compact JSON instead of tables.")
since_option = click.option("--since", metavar="DATE", help="From 2026-11-21, or RFC 3339.")
until_option = click.option("--until", metavar="DATE", help="To, not included; now by default.")


@dataclass(frozen=True, slots=True)
class Session:
    """The options that come before every command; ``None`` leaves the choice to the environment or the file."""

    config: Path | None = None
    store: str | None = None
    user: str | None = None
    log_level: str | None = None

    def settings(self, **flags: object) -> "Settings":
        """The settings in force.

        Args:
            flags: What a command's own options say, by the settings' names; ``None`` says nothing.

        Raises:
            ConfigurationError: One that cannot be used.
        """
        from tokenward.server.settings import load_settings  # noqa: PLC0415 - heavy
        from tokenward.server.telemetry.logs import set_up_logging  # noqa: PLC0415 - heavy

        settings = load_settings(
            config=self.config, store=self.store, user=self.user, log_level=self.log_level, **flags
        )
        set_up_logging(settings)
        return settings

    def run(self, work: "Callable[[ToolContext], Awaitable[_Answer]]") -> _Answer:
        """Do a command's work with what the tools work with, and close it again."""
        import anyio  # noqa: PLC0415 - heavy

        from tokenward.server.application import open_context  # noqa: PLC0415 - heavy

        settings = self.settings()

        async def worked() -> _Answer:
            # A command is over at once: an alert that it claimed would else be lost with its hook.
            async with open_context(settings, see_alerts_through=True) as context:
                return await work(context)

        try:
            return anyio.run(worked)
        except BaseException as error:  # noqa: BLE001 - raised again, taken out of its group
            raise _innermost(error) from None


pass_session = click.make_pass_decorator(Session)


def _innermost(error: BaseException) -> BaseException:
    """The error itself, or the first of a group of them."""
    match error:
        case BaseExceptionGroup(exceptions=(BaseException() as first, *_)):
            return _innermost(first)
        case _:
            return error


class Refused(click.ClickException):
    """An error as the command line shows it: one line, no traceback."""

    exit_code = 1


class WrongValue(Refused):
    """A value that the caller can correct."""

    exit_code = 2


def refusal(error: TokenwardError) -> Refused:
    """An error of ours as the command line shows it."""
    message = plain(str(error))
    return WrongValue(message) if isinstance(error, InvalidInput) else Refused(message)


# Printing -----------------------------------------------------------------------------------------------------------


def emit(result: "Result", *, as_json: bool, show: "Callable[[Console], None]") -> None:
    """Print a tool's result: as JSON with the tool's own field names, or for people."""
    emit_json(result.model_dump(mode="json"), as_json=as_json, show=show)


def emit_json(result: JsonValue, *, as_json: bool, show: "Callable[[Console], None]") -> None:
    """Print what no tool returns, likewise."""
    if as_json:
        # ASCII only, so that any terminal, pipe and code page carries it.
        click.echo(json.dumps(result, separators=(",", ":")))
        return
    from tokenward.server.commands.render import stdout_console  # noqa: PLC0415 - heavy

    show(stdout_console())


def warn(message: str) -> None:
    """A line on standard error."""
    click.echo(f"Warning: {plain(message)}", err=True)


def plain(text: str) -> str:
    """Text without characters that a terminal would obey; line ends stay."""
    return "".join(one if one.isprintable() or one == "\n" else f"\\x{ord(one):02x}" for one in text)


# Reading ------------------------------------------------------------------------------------------------------------


def read_text(path: str, field: str) -> str:
    """A file, or standard input for ``-``.

    Raises:
        InvalidInput: It cannot be read or is not UTF-8.
    """
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return content.decode("utf-8-sig" if path != "-" else "utf-8")
    except OSError as error:
        raise InvalidInput(field, f"{shown(path)} cannot be read ({error.strerror or 'error'}).") from None
    except UnicodeDecodeError:
        raise InvalidInput(field, f"{shown(path)} is not UTF-8 text.") from None
    except ValueError:
        raise InvalidInput(field, f"{shown(path)} is not a path.") from None


def read_json(path: str, field: str) -> JsonValue:
    """A JSON document from a file, or from standard input for ``-``.

    Raises:
        InvalidInput: It cannot be read or is not JSON.
    """
    try:
        document: JsonValue = json.loads(read_text(path, field))
    except (json.JSONDecodeError, RecursionError):
        raise InvalidInput(field, f"{shown(path)} is not JSON.") from None
    return document


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat request as a provider's API takes it, in the parts that are counted."""

    messages: list[JsonObject]
    tools: list[JsonObject] | None = None
    tool_choice: JsonValue = None
    system: JsonValue = None


def read_request(path: str) -> ChatRequest:
    """A request body (OpenAI, Anthropic, Gemini or Responses), or just its list of messages, from a JSON file.

    Raises:
        InvalidInput: The file holds neither.
    """
    document = read_json(path, "messages")
    body: JsonObject = document if isinstance(document, dict) else {"messages": document}
    messages = _first(body, "messages", "contents", "input")
    if isinstance(messages, str) and messages is body.get("input"):
        message: JsonObject = {"role": "user", "content": messages}
        messages = list[JsonValue]([message])
    tools = body.get("tools")
    neither = f"{shown(path)} holds neither a list of messages nor a request with one."
    return ChatRequest(
        messages=list(_objects(messages, "messages", neither)),
        tools=None if tools is None else list(_objects(tools, "tools", f"those of {shown(path)} are not all objects.")),
        tool_choice=body.get("tool_choice"),
        system=_first(body, "system", "instructions", "systemInstruction", "system_instruction"),
    )


def _first(body: JsonObject, *keys: str) -> JsonValue:
    return next((body[key] for key in keys if body.get(key) is not None), None)


def _objects(value: JsonValue, field: str, problem: str) -> Iterator[JsonObject]:
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict):
            raise InvalidInput(field, problem)
        yield item
