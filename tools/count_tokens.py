"""``count_tokens``: texts or files."""

from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.counting.results import BatchTokenCountResult
from tokenward.engine.errors import InvalidInput
from tokenward.engine.tokenizers.base import Method
from tokenward.engine.usage import MAX_TOKENS
from tokenward.files import FileText, SkippedFile, read_files
from tokenward.tools.counted import Counted, window_fit
from tokenward.tools.definition import Detail, Result, Tool, ToolContext
from tokenward.tools.progress import with_progress
from tokenward.workers import run_in_thread, run_sized

BRIEF_ITEMS = 20
_FILES_PER_STEP = 25
_INLINE_CHARACTERS = 50_000
_ELSEWHERE: frozenset[Method] = frozenset(("pg_tiktoken", "provider_api"))


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


@dataclass
class _Tally:
    """The sums over what is counted, and each part's index or path with its tokens."""

    tokens: int = 0
    lower: int = 0
    upper: int = 0
    parts: list[tuple[int | str, int]] = field(default_factory=list[tuple[int | str, int]])
    skipped: list[SkippedFile] = field(default_factory=list[SkippedFile])

    def add(self, name: int | str, tokens: int, lower: int, upper: int) -> None:
        self.tokens, self.lower, self.upper = self.tokens + tokens, self.lower + lower, self.upper + upper
        self.parts.append((name, tokens))


@dataclass(frozen=True)
class _Worth:
    """How the counts were made and what they are worth."""

    method: Method
    exact: bool
    encoding: str
    warnings: tuple[str, ...]


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
    given = texts if text is None else [text]
    if given is None:
        tally, worth = await _count_files(context, paths or [], model)
    else:
        count = partial(context.service.count_texts, given, model)
        batch = await with_progress(context.report_progress, sum(map(len, given)), count)
        tally, worth = await run_sized(partial(_tallied, batch), given, inline_characters=_INLINE_CHARACTERS)
    info = context.service.counter.catalog.resolve(model)
    shown = None if detail == "full" else BRIEF_ITEMS
    return _result(tally, worth, info, max_context, shown=shown, listed=text is None)


def _tallied(batch: BatchTokenCountResult) -> tuple[_Tally, _Worth]:
    """The texts that the service counted; what it says of several of them is said once."""
    tally = _Tally()
    for index, one in enumerate(batch.results):
        tally.add(index, one.token_count, one.lower, one.upper)
    methods: list[Method] = [one.method for one in batch.results]
    # Where only some were counted elsewhere, that is named; the warnings say what was counted here.
    elsewhere: list[Method] = [one for one in methods if one in _ELSEWHERE]
    method = (elsewhere or methods)[0]
    warnings = tuple(dict.fromkeys(warning for one in batch.results for warning in one.warnings))
    return tally, _Worth(method, all(one.exact for one in batch.results), batch.results[0].encoding, warnings)


async def _count_files(context: ToolContext, paths: list[str], model: str) -> tuple[_Tally, _Worth]:
    while True:
        tally, begun, ended = await _count_files_once(context, paths, model)
        # A tokenizer can fail halfway, once and for good; then its successor counts all of the files.
        if (begun.method, begun.exact, begun.encoding) == (ended.method, ended.exact, ended.encoding):
            return tally, ended


async def _count_files_once(context: ToolContext, paths: list[str], model: str) -> tuple[_Tally, _Worth, _Worth]:
    """The files' counts, and what was true of the counter before the first and after the last one."""
    files = await run_in_thread(partial(read_files, paths, context.roots))
    tally = _Tally()

    def worth() -> _Worth:
        counter = context.service.counter.text_counter(model)
        return _Worth(counter.method, counter.exact, counter.info.encoding, counter.info.warnings)

    def step() -> bool:
        """Count the next few files; false when there are none left."""
        counter = context.service.counter.text_counter(model)
        some = list(islice(files, _FILES_PER_STEP))
        for file in some:
            if isinstance(file, FileText):
                tokens = counter.count(file.text)
                tally.add(file.path, tokens, *counter.bounds(file.text, tokens))
            else:
                tally.skipped.append(file)
        return bool(some)

    begun = await run_in_thread(worth)
    while await run_in_thread(step):
        done = len(tally.parts) + len(tally.skipped)
        await context.report_progress(done, files.total, f"{done} files, {tally.tokens} tokens")
    return tally, begun, worth()


def _result(
    tally: _Tally, worth: _Worth, info: ModelInfo, max_context: int | None, *, shown: int | None, listed: bool
) -> TokenCount:
    fit = window_fit(tally.tokens, tally.upper, max_context or info.context_window)
    return TokenCount(
        **dict(fit),
        tokens=tally.tokens,
        lower=tally.lower,
        upper=tally.upper,
        exact=worth.exact,
        method=worth.method,
        model=info.requested,
        encoding=worth.encoding,
        items=[_item(name, tokens) for name, tokens in tally.parts[:shown]] if listed else None,
        items_omitted=_omitted(len(tally.parts), shown) if listed else None,
        skipped=[SkippedItem(path=one.path, reason=one.reason) for one in tally.skipped[:shown]] or None,
        skipped_omitted=_omitted(len(tally.skipped), shown),
        warnings=list(worth.warnings) or None,
    )


def _item(name: int | str, tokens: int) -> CountedItem:
    return CountedItem(path=name, tokens=tokens) if isinstance(name, str) else CountedItem(index=name, tokens=tokens)


def _omitted(rows: int, shown: int | None) -> int | None:
    return None if shown is None or rows <= shown else rows - shown


TOOL = Tool(
    run=count_tokens,
    description="Count tokens of one text, several texts, or files (paths, globs): the server reads them itself.",
    result=TokenCount,
    read_only=True,
    idempotent=True,
)
