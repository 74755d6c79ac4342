"""Histories for the service: compression with a summarizer that may be asynchronous, and plans with files of the disk.

The work is done in threads, so that the event loop stays live.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import anyio.from_thread

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.history.assembly import ContextFile
from tokenward.engine.history.compress import CompressionResult, compress_messages
from tokenward.engine.history.context import ContextPlan, plan_context
from tokenward.engine.messages.view import Format
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.files import SkippedFile, read_files
from tokenward.workers import run_in_thread, run_sized

AnySummarizer: TypeAlias = Callable[[Sequence[str], int], str | Awaitable[str]]
"""A summarizer, asynchronous or not; one that is not runs in a worker thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextRequest:
    """What may go into a model's context; :func:`tokenward.plan_context` says what the fields mean.

    Attributes:
        model: Whose window, tokens and prices.
        output_tokens: Reserved for the answer, reasoning included.
        files: Names and texts, with a priority (0 if not given).
        paths: Files, folders or globs, with a priority where it is a mapping; they stand behind ``files``. What is
            skipped is said in the plan's warnings.
        roots: The folders that ``paths`` may lead into; without one nothing is read.
    """

    model: str
    output_tokens: int
    system: JsonValue = None
    tools: Sequence[JsonObject] | None = None
    files: Sequence[tuple[str, str] | tuple[str, str, int]] = ()
    paths: Mapping[str, int] | Sequence[str] = ()
    roots: Sequence[Path] = ()
    history: Sequence[JsonObject] = ()
    history_priority: int = 0
    keep_last: int = 1
    format: Format | Literal["auto"] = "auto"
    context_window: int | None = None


class Histories:
    """Compresses histories and plans contexts.

    Args:
        counter: Counts.
        calculator: Knows the prices.
    """

    def __init__(self, counter: TokenCounter, calculator: CostCalculator) -> None:
        self._counter = counter
        self._calculator = calculator

    async def compress_messages(
        self,
        messages: Sequence[JsonObject],
        model: str,
        *,
        target_reduction: float = 0.2,
        format: Format | Literal["auto"] = "auto",  # noqa: A002 - the contract's name
        summarizer: AnySummarizer | None = None,
    ) -> CompressionResult:
        """See :func:`tokenward.compress_messages`; the summarizer may also be asynchronous.

        Raises InvalidInput, InvalidMessages, AmbiguousFormat.
        """
        asked = None if summarizer is None else _Asked(summarizer)
        work = partial(
            compress_messages,
            messages,
            model,
            counter=self._counter,
            target_reduction=target_reduction,
            format=format,
            summarizer=asked,
        )
        try:
            return await run_sized(work, messages)
        finally:
            if asked is not None:
                asked.end()

    async def plan_context(self, request: ContextRequest) -> ContextPlan:
        """See :func:`tokenward.plan_context`, which the files behind the paths are read for.

        Raises:
            InvalidInput: A value is out of its range, a path leads outside the roots or matches nothing.
            InvalidMessages: There is neither a file nor a message, or the history is invalid as it is.
            AmbiguousFormat: The history mixes two formats.
        """
        paths = request.paths if isinstance(request.paths, Mapping) else dict.fromkeys(request.paths, 0)
        read, skipped = await run_in_thread(partial(_read, paths, request.roots)) if paths else ([], [])
        files = [*request.files, *read]
        work = partial(
            plan_context,
            request.model,
            counter=self._counter,
            output_tokens=request.output_tokens,
            system=request.system,
            tools=request.tools,
            files=files,
            history=request.history,
            history_priority=request.history_priority,
            keep_last=request.keep_last,
            format=request.format,
            context_window=request.context_window,
            calculator=self._calculator,
        )
        plan = await run_sized(work, request.history, request.tools, request.system, [file[1] for file in files])
        warnings = (f"{one.path} was skipped: {one.reason}" for one in skipped)
        return replace(plan, warnings=(*plan.warnings, *warnings))


class SummarizerCancelledError(Exception):
    """A summarizer was cancelled although the call that asked it was not."""


class _Asked:
    """Asks a summarizer from a worker thread, for as long as somebody waits for the compression."""

    def __init__(self, summarizer: AnySummarizer) -> None:
        self._summarizer = summarizer
        self._task: asyncio.Task[object] | None = None
        self._ended = False

    def __call__(self, texts: Sequence[str], target_tokens: int) -> str:
        """The summarizer's answer, awaited in the event loop where it has to be. Runs in the worker thread."""
        if self._ended:
            raise asyncio.CancelledError
        try:
            answer = self._summarizer(texts, target_tokens)
            if inspect.isawaitable(answer):
                return anyio.from_thread.run(self._awaited, answer)
        except asyncio.CancelledError:
            if self._ended:
                raise
            # Passed on, it would look as if the caller were cancelled.
            raise SummarizerCancelledError from None
        return answer

    def end(self) -> None:
        """Nobody waits any longer: a summarizer that still runs is cancelled, and none is asked any more."""
        self._ended = True
        if self._task is not None:
            self._task.cancel()

    async def _awaited(self, answer: Awaitable[str]) -> str:
        self._task = asyncio.current_task()
        if self._ended and self._task is not None:
            self._task.cancel()
        return await answer


def _read(priorities: Mapping[str, int], roots: Sequence[Path]) -> tuple[list[ContextFile], list[SkippedFile]]:
    """The files behind paths, each once, with the priority of the first path that names it."""
    found: dict[str, ContextFile] = {}
    skipped: dict[str, SkippedFile] = {}
    for path, priority in priorities.items():
        for row in read_files([path], roots):
            if isinstance(row, SkippedFile):
                skipped.setdefault(row.path, row)
            else:
                found.setdefault(row.path, ContextFile(row.path, row.text, priority))
    return list(found.values()), list(skipped.values())
