"""``count_tokens``: texts or files."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

import anyio.to_thread

from tokenward.engine.counting.counter import TextCounter
from tokenward.engine.counting.results import BatchTokenCountResult
from tokenward.engine.errors import InvalidInput
from tokenward.engine.tokenizers.base import Method
from tokenward.engine.usage import MAX_TOKENS
from tokenward.files import FileText, SkippedFile, read_files
from tokenward.tools.counted import Counted, window_fit
from tokenward.tools.definition import Detail, Result, Tool, ToolContext
from tokenward.tools.work import run_sized

BRIEF_ITEMS = 20
_FILES_PER_STEP = 25


class CountedItem(Result):
    """One text (by its index) or one file (by its path)."""

    index: int | None = None
    path: str | None = None
    tokens: int


class SkippedItem(Result):
    """A file that was not counted."""

    path: str
    reason: str


class TokenCount(Counted):
    """The sum over all texts or files, and each of them."""

    items: list[CountedItem] | None = None
    items_omitted: int | None = None
    skipped: list[SkippedItem] | None = None
    skipped_omitted: int | None = None
    warnings: list[str] | None = None


class _Tally:
    """Counts texts with one model's counter and keeps the sums."""

    def __init__(self, counter: TextCounter) -> None:
        self.counter = counter
        self.method: Method = counter.method
        self.warnings = counter.info.warnings
        self.tokens = self.lower = self.upper = 0
        self.items: list[CountedItem] = []
        self.skipped: list[SkippedItem] = []

    def add(self, text: str, *, index: int | None = None, path: str | None = None) -> None:
        tokens = self.counter.count(text)
        lower, upper = self.counter.bounds(text, tokens)
        self.tokens, self.lower, self.upper = self.tokens + tokens, self.lower + lower, self.upper + upper
        self.items.append(CountedItem(index=index, path=path, tokens=tokens))

    def add_texts(self, texts: Iterable[str]) -> None:
        for index, text in enumerate(texts):
            self.add(text, index=index)

    def add_counted(self, batch: BatchTokenCountResult) -> None:
        """What the database counted, or said that it could not; what it says of several texts is said once."""
        for index, one in enumerate(batch.results):
            self.tokens += one.token_count
            self.lower += one.lower
            self.upper += one.upper
            self.items.append(CountedItem(index=index, tokens=one.token_count))
        methods: set[Method] = {one.method for one in batch.results}
        self.method = methods.pop() if len(methods) == 1 else "pg_tiktoken"
        self.warnings = tuple(dict.fromkeys(warning for one in batch.results for warning in one.warnings))

    def add_files(self, files: Iterator[FileText | SkippedFile]) -> bool:
        """Count the next few files; false when there are none left."""
        step = list(islice(files, _FILES_PER_STEP))
        for file in step:
            if isinstance(file, FileText):
                self.add(file.text, path=file.path)
            else:
                self.skipped.append(SkippedItem(path=file.path, reason=file.reason))
        return bool(step)


async def count_tokens(
    context: ToolContext,
    *,
    model: str,
    text: str | None = None,
    texts: list[str] | None = None,
    paths: list[str] | None = None,
    max_context: int | None = None,
    detail: Detail = "brief",
) -> TokenCount:
    """Count exactly one of a text, several texts, or the files that paths and globs name."""
    if [text, texts, paths].count(None) != 2:
        raise InvalidInput("text", "give exactly one of text, texts or paths.")
    if texts == []:
        raise InvalidInput("texts", "the list is empty; give at least one text.")
    if max_context is not None and not 1 <= max_context <= MAX_TOKENS:
        raise InvalidInput("max_context", f"expected an integer from 1 to {MAX_TOKENS}.")
    tally = _Tally(context.service.counter.text_counter(model))
    given = texts if text is None else [text]
    counted = None if given is None else await context.service.count_in_database(given, model)
    if counted is not None:
        tally.add_counted(counted)
    elif text is not None:
        await run_sized(partial(tally.add, text), text)
    elif texts is not None:
        await run_sized(partial(tally.add_texts, texts), texts)
    else:
        await _count_files(context, tally, paths or [])
    return _result(tally, max_context, detail, listed=text is None)


async def _count_files(context: ToolContext, tally: _Tally, paths: list[str]) -> None:
    files = read_files(paths, context.roots)
    while await anyio.to_thread.run_sync(tally.add_files, files, abandon_on_cancel=True):
        done = len(tally.items) + len(tally.skipped)
        await context.report_progress(done, None, f"{done} files, {tally.tokens} tokens")


def _result(tally: _Tally, max_context: int | None, detail: Detail, *, listed: bool) -> TokenCount:
    counter = tally.counter
    shown = None if detail == "full" else BRIEF_ITEMS
    fit = window_fit(tally.tokens, tally.upper, max_context or counter.info.context_window)
    return TokenCount(
        **dict(fit),
        tokens=tally.tokens,
        lower=tally.lower,
        upper=tally.upper,
        exact=counter.exact,
        method=tally.method,
        model=counter.info.requested,
        encoding=counter.info.encoding,
        items=tally.items[:shown] if listed else None,
        items_omitted=_omitted(tally.items, shown) if listed else None,
        skipped=tally.skipped[:shown] or None,
        skipped_omitted=_omitted(tally.skipped, shown),
        warnings=list(tally.warnings) or None,
    )


def _omitted(rows: list[CountedItem] | list[SkippedItem], shown: int | None) -> int | None:
    return None if shown is None or len(rows) <= shown else len(rows) - shown


TOOL = Tool(
    run=count_tokens,
    description="Count tokens of one text, several texts, or files (paths, globs): the server reads them itself.",
    result=TokenCount,
    read_only=True,
    idempotent=True,
)
