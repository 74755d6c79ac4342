"""``tokenward count``: texts, files, diffs, chat requests and the tools of MCP servers."""

import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.types import JsonObject
from tokenward.server.commands.session import (
    ChatRequest,
    Refused,
    Session,
    emit,
    emit_json,
    json_option,
    pass_session,
    read_request,
    read_text,
    warn,
)

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.server.commands.count_show import Count
    from tokenward.server.commands.mcp_tools import Target
    from tokenward.server.commands.model_tally import DiffCount, FileTally
    from tokenward.server.commands.tool_tax import ToolTax
    from tokenward.tools.count_messages import MessagesCount
    from tokenward.tools.count_tokens import TokenCount
    from tokenward.tools.definition import ToolContext

_MISSED_SHOWN = 10
_TIMEOUT_SECONDS = 30.0


def _number(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    """Click's ranges let pass what is no number."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("expected a number of seconds.")
    return value


@click.command()
@click.argument("paths", nargs=-1)
@click.option("--model", "models", multiple=True, default=["gpt-4o"], show_default=True, help="May be repeated.")
@click.option("--text", help="Count this text.")
@click.option("--messages", metavar="FILE", help="Count a chat request: a JSON file with a request or its messages.")
@click.option("--diff", metavar="REV", help="Count what 'git diff REV' prints, of PATHS if given.")
@click.option("--mcp", metavar="CMD|URL", help="Count what the tools of an MCP server add to every request.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent to the --mcp URL; repeatable.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    callback=_number,
    metavar="SECONDS",
    help=f"How long the --mcp server may take.  [default: {_TIMEOUT_SECONDS:g}]",
)
@click.option("--max-context", type=click.IntRange(min=1), metavar="N", help="Compare with a window of N tokens.")
@json_option
@pass_session
def count(
    session: Session,
    *,
    paths: tuple[str, ...],
    models: tuple[str, ...],
    text: str | None,
    messages: str | None,
    diff: str | None,
    mcp: str | None,
    headers: tuple[str, ...],
    timeout: float | None,
    max_context: int | None,
    as_json: bool,
) -> None:
    """Count the tokens of files, a text, a diff, a chat request or an MCP server's tools.

    PATHS are files, folders or globs; "-" is standard input.
    What .gitignore ignores, binaries and .git are skipped. Estimates are marked with ≈ and a range.

    \b
    Examples:
      tokenward count src '**/*.md' --model gpt-4o --model claude-sonnet-4-5
      tokenward count --diff main...HEAD
      tokenward count --mcp 'npx -y @modelcontextprotocol/server-everything'
      tokenward count --messages request.json
    """  # noqa: D301 - click reads the character
    if not paths and text is messages is diff is mcp is None and _is_piped():
        paths = ("-",)
    if sum((bool(paths) or diff is not None, text is not None, messages is not None, mcp is not None)) != 1:
        raise click.UsageError(
            "Give exactly one of PATHS, --text, --messages, --diff (alone or with PATHS) and --mcp, or pipe a text in."
        )
    if max_context is not None and (messages is not None or mcp is not None):
        raise click.UsageError(
            "--max-context goes with texts, files and diffs; other counts are compared with the model's window."
        )
    if mcp is None and (headers or timeout is not None):
        raise click.UsageError("--header and --timeout go with --mcp.")
    if mcp is not None:
        _print(_count_tools(session, _target(mcp, headers), models, timeout or _TIMEOUT_SECONDS), as_json=as_json)
    elif messages is not None:
        _check_stdin(messages)
        _print(_count_request(session, read_request(messages), models), as_json=as_json)
    elif diff is not None:
        _print(_count_diff(session, diff, paths, models, max_context), as_json=as_json)
    elif text is not None or "-" in paths:
        if len(paths) > 1:
            raise InvalidInput("paths", "'-' stands alone.")
        _check_stdin(*paths)
        given = read_text("-", "paths") if text is None else text
        _print(_count_text(session, given, models, max_context), as_json=as_json)
    else:
        _print_files(_count_files(session, paths, models, max_context), paths, as_json=as_json)


def _is_piped() -> bool:
    stdin: TextIO | None = sys.stdin
    return stdin is not None and not stdin.isatty()


def _check_stdin(*paths: str) -> None:
    """Refuse ``-`` where standard input is closed."""
    stdin: TextIO | None = sys.stdin
    if stdin is None and "-" in paths:
        raise click.UsageError("Standard input is closed: nothing can be read from '-'.")


def _print_files(counts: "Sequence[TokenCount]", paths: Sequence[str], *, as_json: bool) -> None:
    """Print the counts; what was named itself and not counted is an error."""
    missed = _missed(counts[0], paths)
    if missed and not counts[0].items:
        raise Refused(missed)
    _print(counts, as_json=as_json)
    if missed:
        warn(missed)
        raise click.exceptions.Exit(1)


def _missed(count: "TokenCount", paths: Sequence[str]) -> str:
    """What was named itself and not counted, with the reasons. Globs and folders may skip what lies in them."""
    reasons = {os.path.realpath(row.path): row.reason for row in count.skipped or ()}
    named = {path: _readable(os.path.realpath(path)) for path in paths}
    missed = [f"{shown(path)} was not counted: {reasons[real]}" for path, real in named.items() if real in reasons]
    more = len(missed) - _MISSED_SHOWN
    said = "; ".join([*missed[:_MISSED_SHOWN], *([f"and {more} more"] if more > 0 else [])])
    return f"paths: {said}." if missed else ""


def _readable(path: str) -> str:
    """A path as results show it: bytes that are no text replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def _print(counts: "Sequence[Count]", *, as_json: bool) -> None:
    """One model's count as it is; those of several as a list."""

    def show(console: "Console") -> None:
        from tokenward.server.commands.count_show import show_counts  # noqa: PLC0415 - heavy

        show_counts(console, counts)

    if len(counts) == 1:
        emit(counts[0], as_json=as_json, show=show)
        return
    every: JsonObject = {"results": [one.model_dump(mode="json") for one in counts]}
    emit_json(every, as_json=as_json, show=show)


# Counting -----------------------------------------------------------------------------------------------------------


def _count_text(session: Session, text: str, models: Sequence[str], max_context: int | None) -> "list[TokenCount]":
    from tokenward.tools.count_tokens import count_tokens  # noqa: PLC0415 - heavy

    async def work(context: "ToolContext") -> "list[TokenCount]":
        return [await count_tokens(context, model=model, text=text, max_context=max_context) for model in models]

    return session.run(work)


def _count_files(
    session: Session, paths: Sequence[str], models: Sequence[str], max_context: int | None
) -> "list[TokenCount]":
    """A count per model over one reading of the files."""
    from tokenward.files import FileReader, read_files  # noqa: PLC0415 - not for texts
    from tokenward.server.commands.model_tally import FileTally  # noqa: PLC0415 - heavy

    async def work(context: "ToolContext") -> "list[TokenCount]":
        # Who runs a command may name any file that they may read; the allowed folders are for agents.
        here = Path.cwd()

        def read() -> FileReader:
            return read_files(paths, (here, Path(here.anchor)))

        files = read()
        tally = FileTally([context.service.counter.text_counter(model) for model in models], files, read)
        await _follow(tally, lambda: files.total)
        return tally.results(max_context)

    return session.run(work)


async def _follow(tally: "FileTally", total: Callable[[], int | None]) -> None:
    """Count to the end, with a progress bar where somebody watches."""
    from anyio.to_thread import run_sync  # noqa: PLC0415 - heavy

    from tokenward.server.commands.render import progress  # noqa: PLC0415 - heavy

    more = True
    with progress("Counting") as report:
        while more:
            more = await run_sync(tally.step, abandon_on_cancel=True)
            if report is not None:
                await report(tally.done, total(), tally.summary)


def _count_diff(
    session: Session, revision: str, paths: Sequence[str], models: Sequence[str], max_context: int | None
) -> "list[DiffCount]":
    """A count per model of the whole diff, and of each file's part of it."""
    from anyio.to_thread import run_sync  # noqa: PLC0415 - heavy

    from tokenward.server.commands.git_diff import read_diff  # noqa: PLC0415 - not for files
    from tokenward.server.commands.model_tally import FileTally, diff_counts  # noqa: PLC0415 - heavy

    diff = read_diff(revision, paths)

    async def work(context: "ToolContext") -> "list[DiffCount]":
        counters = [context.service.counter.text_counter(model) for model in models]
        tally = FileTally(counters, diff.files(), diff.files)
        await _follow(tally, lambda: len(diff.sections))
        return await run_sync(partial(diff_counts, diff, revision, tally, max_context), abandon_on_cancel=True)

    return session.run(work)


def _count_request(session: Session, request: ChatRequest, models: Sequence[str]) -> "list[MessagesCount]":
    from tokenward.tools.count_messages import count_messages  # noqa: PLC0415 - heavy

    async def work(context: "ToolContext") -> "list[MessagesCount]":
        return [
            await count_messages(
                context,
                messages=request.messages,
                model=model,
                tools=request.tools,
                tool_choice=request.tool_choice,
                system=request.system,
                detail="full",
            )
            for model in models
        ]

    return session.run(work)


def _target(mcp: str, headers: Sequence[str]) -> "Target":
    from tokenward.server.commands.mcp_tools import read_target  # noqa: PLC0415 - heavy

    return read_target(mcp, headers)


def _count_tools(session: Session, target: "Target", models: Sequence[str], timeout: float) -> "list[ToolTax]":
    """What the server's tools cost each model."""
    from anyio.to_thread import run_sync  # noqa: PLC0415 - heavy

    from tokenward.server.commands.mcp_tools import list_tools  # noqa: PLC0415 - heavy
    from tokenward.server.commands.render import progress  # noqa: PLC0415 - heavy
    from tokenward.server.commands.tool_tax import tool_tax  # noqa: PLC0415 - heavy

    async def work(context: "ToolContext") -> "list[ToolTax]":
        for model in models:
            context.service.counter.text_counter(model)  # a wrong name is said before anything is started
        with progress("Asking the server for its tools"):
            listed = await list_tools(target, timeout)
        return [
            await run_sync(partial(tool_tax, context.service, listed, model), abandon_on_cancel=True)
            for model in models
        ]

    return session.run(work)
