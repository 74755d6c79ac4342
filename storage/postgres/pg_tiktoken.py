"""Counting in the database, by the functions of the Postgres extension pg_tiktoken.

The extension offers ``tiktoken_count(text, text)``: an encoding's name and a text to its number of tokens. Everything
that it cannot count, or not as the engine does, is counted in process, and each result's ``method`` and ``warnings``
say so. The texts travel to the database's server; nothing is written there.
"""

import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.results import BatchTokenCountResult, TokenCountResult
from tokenward.engine.errors import InvalidInput
from tokenward.engine.steps import stoppable
from tokenward.engine.tokenizers.base import Method, TokenizationModel
from tokenward.engine.tokenizers.pieces import replace_lone_surrogates
from tokenward.engine.tokenizers.text import DIRECT_CHARACTERS

if TYPE_CHECKING:
    import psycopg

OFFERED_ENCODINGS = frozenset({"cl100k_base", "p50k_base", "p50k_edit", "r50k_base"})
"""What the extension's README lists (https://github.com/kelvich/pg_tiktoken)."""

SPECIAL_TOKEN = re.compile(r"<\|\w+\|>")
"""The shape of every special token. The extension counts one as one token, the engine as the text that it is."""

STATEMENT_TEXTS = 1_000
STATEMENT_CHARACTERS = 4_000_000
"""The most that goes into one statement. A single text is shorter: at most ``DIRECT_CHARACTERS``."""

LEFT_ALONE_SECONDS = 30.0
"""How long a database is not asked again that could not be reached or has no such function."""

_LOOK = "SELECT set_config('statement_timeout', %s, false), to_regprocedure('tiktoken_count(text,text)') IS NOT NULL"
_COUNT = """
SELECT tiktoken_count(%s::text, given.body)
FROM unnest(%s::text[]) WITH ORDINALITY AS given (body, place)
ORDER BY given.place
"""
_UNREACHABLE = "the database cannot be reached"


class PgTiktoken:
    """Counts texts in a Postgres database that has the extension pg_tiktoken, and in process where that cannot.

    It has one connection of its own, so it never takes part in the ledger's transactions. For one event loop.

    Args:
        url: The database, ``postgresql://…``.
        counter: Resolves models, and counts what the database cannot.
        timeout_seconds: The most that one statement is waited for; half of it for a connection.
        record: Told of each text that the database counted: the method, and its share of the seconds.
        timer: Seconds that only go up.
    """

    def __init__(
        self,
        url: str,
        counter: TokenCounter,
        *,
        timeout_seconds: float = 5.0,
        record: Callable[[Method, float], None] | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._counter = counter
        self._record = record
        self._timer = timer
        self._database = _Database(url, timeout_seconds, timer)

    async def count_tokens_batch(
        self, texts: Sequence[str], model: str = TokenizationModel.CL100K_BASE
    ) -> BatchTokenCountResult:
        """The tokens of several texts, in their order, and the sums. Never fails for want of the database.

        Each result's ``method`` is ``pg_tiktoken``, or the in-process one with a warning that says why.

        Args:
            texts: What to count.
            model: A model's name in any spelling, or an encoding's.

        Raises:
            InvalidInput: ``texts`` is one string, or the model's name cannot be one.
            UnknownEncoding: The name can only be an encoding's, and there is none of that name.
        """
        if isinstance(texts, str):
            raise InvalidInput("texts", "it is a single text; give a list of texts.")
        info = self._counter.catalog.resolve(model)
        reasons = {index: reason for index, text in enumerate(texts) if (reason := _obstacle(info, text))}
        results: dict[int, TokenCountResult] = {}
        try:
            for portion in _portions(texts, without=frozenset(reasons)):
                results |= await self._in_database(portion, info, model)
        except _NotCounted as error:
            # What stopped this statement most likely stops the next ones too, and each may be waited for.
            reasons |= {index: str(error) for index in range(len(texts)) if index not in results | reasons}
        results |= await self._in_process(texts, model, reasons)
        return BatchTokenCountResult.of(results[index] for index in range(len(texts)))

    async def aclose(self) -> None:
        """Close the connection. A later call opens one again."""
        await self._database.aclose()

    async def _in_database(self, texts: Mapping[int, str], info: ModelInfo, model: str) -> dict[int, TokenCountResult]:
        started = self._timer()
        counts = await self._database.counts(info.encoding, list(texts.values()))
        seconds = (self._timer() - started) / len(counts)
        if self._record is not None:
            for _ in counts:
                self._record("pg_tiktoken", seconds)
        return {
            index: TokenCountResult(
                token_count=tokens,
                method="pg_tiktoken",
                model=str(model),
                processing_time=seconds,
                cache_hit=False,
                exact=True,
                lower=tokens,
                upper=tokens,
                encoding=info.encoding,
            )
            for index, tokens in zip(texts, counts, strict=True)
        }

    async def _in_process(
        self, texts: Sequence[str], model: str, reasons: Mapping[int, str]
    ) -> dict[int, TokenCountResult]:
        if not reasons:
            return {}
        work = partial(self._counter.count_tokens_batch, [texts[index] for index in reasons], model)
        stop = threading.Event()
        try:
            counted = await anyio.to_thread.run_sync(partial(stoppable, work, stop), abandon_on_cancel=True)
        finally:
            stop.set()
        return {
            index: result._replace(warnings=(*result.warnings, f"Counted in process: {reason}."))
            for (index, reason), result in zip(reasons.items(), counted.results, strict=True)
        }


def _obstacle(info: ModelInfo, text: str) -> str | None:
    """Why the database cannot count a text as the engine does, or ``None``."""
    if info.family != "openai" or info.warnings:
        return "pg_tiktoken has no tokenizer of this model"
    if info.encoding not in OFFERED_ENCODINGS:
        return f"pg_tiktoken does not offer {info.encoding}"
    if "\0" in text:
        return "Postgres takes no text with a NUL character"
    if SPECIAL_TOKEN.search(text):
        return "pg_tiktoken would count what looks like a special token as one token"
    if len(text) > DIRECT_CHARACTERS:
        return f"texts of more than {DIRECT_CHARACTERS} characters are not safe in pg_tiktoken"
    return None


def _portions(texts: Sequence[str], *, without: Set[int]) -> Iterator[dict[int, str]]:
    """The texts by their index, in portions for one statement each, as the database can take them."""
    portion: dict[int, str] = {}
    characters = 0
    for index, text in enumerate(texts):
        if index in without:
            continue
        if portion and (len(portion) == STATEMENT_TEXTS or characters + len(text) > STATEMENT_CHARACTERS):
            yield portion
            portion, characters = {}, 0
        portion[index] = replace_lone_surrogates(text)
        characters += len(text)
    if portion:
        yield portion


class _NotCounted(Exception):  # noqa: N818 - never seen outside
    """The database did not count. Says why in our words: the driver's and the server's can quote texts."""


class _Database:
    """The function behind one connection, which is made when it is needed, and again when it was lost."""

    def __init__(self, url: str, timeout_seconds: float, timer: Callable[[], float]) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._timer = timer
        self._turn = anyio.Lock()
        self._connection: psycopg.AsyncConnection | None = None
        self._left_alone: tuple[float, str] = (-math.inf, "")

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def counts(self, encoding: str, texts: list[str]) -> list[int]:
        """The tokens of each text. Raises _NotCounted."""
        try:
            with anyio.fail_after(self._timeout_seconds):
                async with self._turn:
                    counts = await self._counts(encoding, texts)
        except TimeoutError:
            raise self._too_slow() from None
        if len(counts) != len(texts):
            raise _NotCounted("the database did not give a count for each text")
        return counts

    async def _counts(self, encoding: str, texts: list[str]) -> list[int]:
        import psycopg  # noqa: PLC0415 - heavy

        try:
            if (kept := self._connection) is not None:
                try:
                    return await self._ask(kept, encoding, texts)
                except psycopg.OperationalError:
                    # A server that was started again since the last call deserves a second question.
                    if not kept.closed:
                        raise
            self._connection = await self._connect()
            return await self._ask(self._connection, encoding, texts)
        except psycopg.errors.QueryCanceled:
            raise self._too_slow() from None
        except psycopg.Error as error:
            raise _NotCounted(f"the database failed ({error.sqlstate or type(error).__name__})") from None

    async def _ask(self, connection: "psycopg.AsyncConnection", encoding: str, texts: list[str]) -> list[int]:
        """One statement. Forgets the connection if it cannot be used again."""
        try:
            cursor = await connection.execute(_COUNT, (encoding, texts))
            rows: list[tuple[object, ...]] = await cursor.fetchall()
        except BaseException:
            # Anything but 0, idle: it was lost, or is still busy with a statement that was given up.
            if connection.info.transaction_status:
                await self.aclose()
            raise
        return [row[0] for row in rows if isinstance(row[0], int)]

    async def _connect(self) -> "psycopg.AsyncConnection":
        """A connection to a database that has the function. Raises _NotCounted."""
        import psycopg  # noqa: PLC0415 - heavy

        until, reason = self._left_alone
        if self._timer() < until:
            raise _NotCounted(reason)
        milliseconds = str(max(1, round(1000 * self._timeout_seconds)))
        try:
            # No prepared statements: a pooler in between may hand the next one to another server process.
            with anyio.fail_after(self._timeout_seconds / 2):
                connection = await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True, prepare_threshold=None, client_encoding="UTF8"
                )
        except (psycopg.Error, TimeoutError):
            raise self._leave_alone(_UNREACHABLE) from None
        found = False
        try:
            row = await (await connection.execute(_LOOK, (milliseconds,))).fetchone()
            found = row is not None and row[1] is True
        finally:
            if not found:
                await connection.close()
        if not found:
            raise self._leave_alone("the database has no function tiktoken_count(text, text)")
        return connection

    def _leave_alone(self, reason: str) -> _NotCounted:
        self._left_alone = (self._timer() + LEFT_ALONE_SECONDS, reason)
        return _NotCounted(reason)

    def _too_slow(self) -> _NotCounted:
        return _NotCounted(f"the database took longer than {self._timeout_seconds:g} s")
