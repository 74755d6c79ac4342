"""``tokenward count``: texts, files and chat requests."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.types import JsonObject
from tokenward.server.cli_session import (
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

    from tokenward.tools.count_messages import MessagesCount
    from tokenward.tools.count_tokens import TokenCount
    from tokenward.tools.definition import ToolContext

    Count: TypeAlias = TokenCount | MessagesCount

_SKIPPED_SHOWN = 10


@click.command()
@click.argument("paths", nargs=-1)
@click.option("--model", "models", multiple=True, default=["gpt-4o"], show_default=True, help="May be repeated.")
@click.option("--text", help="Count this text.")
@click.option("--messages", metavar="FILE", help="Count a chat request: a JSON file with a request or its messages.")
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
    max_context: int | None,
    as_json: bool,
) -> None:
    """Count the tokens of files, a text or a chat request.

    PATHS are files, folders or globs; "-" is standard input.
    What .gitignore ignores, binaries and .git are skipped. Estimates are marked with ≈ and a range.

    \b
    Examples:
      tokenward count src '**/*.md' --model gpt-4o --model claude-sonnet-4-5
      git diff | tokenward count -
      tokenward count --messages request.json
    """  # noqa: D301 - click reads the character
    if not paths and text is None and messages is None and not sys.stdin.isatty():
        paths = ("-",)
    if sum((bool(paths), text is not None, messages is not None)) != 1:
        raise click.UsageError("Give exactly one of PATHS, --text, --messages, or pipe a text in.")
    if messages is not None and max_context is not None:
        raise click.UsageError(
            "--max-context goes with texts and files; messages are compared with the model's window."
        )
    counts: Sequence[Count]
    if messages is not None:
        counts = _count_request(session, read_request(messages), models)
    else:
        if "-" in paths:
            if len(paths) > 1:
                raise InvalidInput("paths", "'-' stands alone.")
            text, paths = read_text("-", "paths"), ()
        counts = _count_texts(session, text, paths, models, max_context)
    missed = _missed(counts[0], paths)
    if missed and not _parts(counts[0]):
        raise Refused(missed)
    if len(counts) == 1:
        emit(counts[0], as_json=as_json, show=lambda console: _show(console, counts))
    else:
        every: JsonObject = {"results": [one.model_dump(mode="json") for one in counts]}
        emit_json(every, as_json=as_json, show=lambda console: _show(console, counts))
    if missed:
        warn(missed)
        raise click.exceptions.Exit(1)


def _missed(count: "Count", paths: Sequence[str]) -> str:
    """What was named itself and not counted, with the reasons. Globs and folders may skip what lies in them."""
    from tokenward.tools.count_tokens import TokenCount  # noqa: PLC0415 - heavy

    skipped = count.skipped or [] if isinstance(count, TokenCount) else []
    reasons = {os.path.realpath(row.path): row.reason for row in skipped}
    named = {path: _readable(os.path.realpath(path)) for path in paths}
    missed = [f"{shown(path)} was not counted: {reasons[real]}" for path, real in named.items() if real in reasons]
    more = len(missed) - _SKIPPED_SHOWN
    said = "; ".join([*missed[:_SKIPPED_SHOWN], *([f"and {more} more"] if more > 0 else [])])
    return f"paths: {said}." if missed else ""


def _readable(path: str) -> str:
    """A path as results show it: bytes that are no text replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def _count_texts(
    session: Session, text: str | None, paths: Sequence[str], models: Sequence[str], max_context: int | None
) -> "list[TokenCount]":
    """A count per model, with a progress bar for files."""
    from tokenward.server.render import progress  # noqa: PLC0415 - heavy
    from tokenward.tools.count_tokens import count_tokens  # noqa: PLC0415 - heavy

    async def work(context: "ToolContext") -> "list[TokenCount]":
        if not paths:
            return [await count_tokens(context, model=model, text=text, max_context=max_context) for model in models]
        # Who runs a command may name any file that they may read; the allowed folders are for agents.
        here = Path.cwd()
        context = replace(context, roots=(here, Path(here.anchor)))
        found: list[TokenCount] = []
        for model in models:
            with progress(model) as report:
                watched = context if report is None else replace(context, report_progress=report)
                found.append(
                    await count_tokens(watched, model=model, paths=list(paths), max_context=max_context, detail="full")
                )
        return found

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


# For people ---------------------------------------------------------------------------------------------------------


def _show(console: "Console", counts: "Sequence[Count]") -> None:
    from tokenward.server.render import bounds, line, table  # noqa: PLC0415 - heavy

    _show_parts(console, counts)
    rows = [
        (
            one.model,
            one.tokens,
            bounds(one.lower, one.upper, exact=one.exact),
            f"{one.method}, {one.encoding}",
            one.context_window,
            None if one.context_used_percent is None else f"{one.context_used_percent} %",
            {True: "yes", False: "no", None: None}[one.fits],
        )
        for one in counts
    ]
    console.print(table(["model", ">tokens", "certainty", "method", ">window", ">used", "fits"], rows))
    for warning in dict.fromkeys(warning for one in counts for warning in one.warnings or ()):
        line(console, f"Note: {warning}", "yellow")


def _show_parts(console: "Console", counts: "Sequence[Count]") -> None:
    """Rows per file, or per part of a request; a column of tokens per model."""
    from tokenward.server.render import line, table, tokens  # noqa: PLC0415 - heavy
    from tokenward.tools.count_tokens import TokenCount  # noqa: PLC0415 - heavy

    parts = [_parts(one) for one in counts]
    names = list(dict.fromkeys(name for one in parts for name in one))
    if names:
        shown = [(one, part) for one, part in zip(counts, parts, strict=True)]
        rows = [(name, *(tokens(part.get(name, 0), exact=one.exact) for one, part in shown)) for name in names]
        total = ("total", *(tokens(one.tokens, exact=one.exact) for one in counts))
        console.print(table(["", *(f">{one.model}" for one in counts)], rows, footer=total))
    skipped = counts[0].skipped or [] if isinstance(counts[0], TokenCount) else []
    for row in skipped[:_SKIPPED_SHOWN]:
        line(console, f"Skipped {row.path}: {row.reason}", "dim")
    if len(skipped) > _SKIPPED_SHOWN:
        line(console, f"Skipped {len(skipped) - _SKIPPED_SHOWN} more (--json lists all).", "dim")


def _parts(count: "Count") -> dict[str, int]:
    """Tokens by file, or by what a request is made of."""
    from tokenward.tools.count_tokens import TokenCount  # noqa: PLC0415 - heavy

    if isinstance(count, TokenCount):
        return {str(one.path): one.tokens for one in count.items or ()}
    return {name.replace("_", " "): tokens for name, tokens in dict(count.breakdown).items() if tokens}
