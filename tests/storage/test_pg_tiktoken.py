"""Counting in the database: equal to the engine where the database counts, named and equal where it does not."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import psycopg
import pytest
from anyio.abc import SocketStream
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.sql import SQL, Composed, Literal

from tests.postgres import REQUIRE, Cluster, free_port
from tests.storage.plpython import PATH, create_functions, functions_folder, packages_for
from tests.waiting import NET_SECONDS, pass_seconds, until
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.results import BatchTokenCountResult
from tokenward.engine.errors import InvalidInput, UnknownEncoding
from tokenward.engine.tokenizers.base import Method, TokenizationModel
from tokenward.engine.tokenizers.encodings import load_encoding
from tokenward.engine.tokenizers.text import DIRECT_CHARACTERS
from tokenward.engine.types import random_id
from tokenward.storage.postgres.pg_tiktoken import (
    LEFT_ALONE_SECONDS,
    OFFERED_ENCODINGS,
    SPECIAL_TOKEN,
    STATEMENT_TEXTS,
    PgTiktoken,
)

pytestmark = pytest.mark.anyio

ENCODINGS = sorted(OFFERED_ENCODINGS)
TEXTS = [
    "",
    "A long time ago in a galaxy far, far away",
    "def f(x):\n\treturn  x ** 2\r\n\r\n",
    "Grüße aus Köln – 12 345,67 € 👩‍👩‍👧‍👦 नमस्ते 你好，世界",  # noqa: RUF001
    "don't  'quote' \"this\" \\ {,} NULL",
    " " * 3_000,
    "a" * 3_000,
    "almost <|special| >, < |endoftext|>",
    "\ud800 alone",
    "\x01\x7f\u2028",
]


@pytest.fixture(scope="module")
def functions(postgres_cluster: Cluster) -> Iterator[Path]:
    with functions_folder(postgres_cluster) as folder:
        yield folder


@pytest.fixture(scope="module")
def counting_url(postgres_cluster: Cluster, functions: Path) -> Iterator[str]:
    """A database that counts as one with the extension does."""
    with postgres_cluster.schema() as url:
        create_functions(url, functions)
        yield url


@asynccontextmanager
async def counting(
    url: str,
    counter: TokenCounter | None = None,
    timeout_seconds: float = NET_SECONDS,
    timer: Callable[[], float] = time.perf_counter,
) -> AsyncGenerator[PgTiktoken]:
    opened = PgTiktoken(url, counter or TokenCounter(), timeout_seconds=timeout_seconds, timer=timer)
    try:
        yield opened
    finally:
        await opened.aclose()


def define(url: str, body: str) -> None:
    """Make a ``tiktoken_count`` that does something else than counting."""
    statement = "CREATE OR REPLACE FUNCTION tiktoken_count(a text, b text) RETURNS bigint LANGUAGE plpgsql AS {}"
    execute(url, SQL(statement).format(Literal(f"BEGIN {body}; END")))


def execute(url: str, statement: Composed) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement)


async def assert_in_process(counter: PgTiktoken, reason: str, text: str = "Hello world", model: str = "gpt-4") -> None:
    """The text is counted as the engine does, and one warning says why the engine did it."""
    (result,) = (await counter.count_tokens_batch([text], model)).results
    expected = TokenCounter().count_tokens(text, model)
    assert (result.token_count, result.method, result.lower, result.upper, result.exact) == (
        expected.token_count,
        expected.method,
        expected.lower,
        expected.upper,
        expected.exact,
    )
    assert result.warnings == (*expected.warnings, f"Counted in process: {reason}.")


@pytest.mark.parametrize("model", [*ENCODINGS, "gpt-4", "text-davinci-003"])
async def test_counts_as_the_engine(counting_url: str, model: str) -> None:
    async with counting(counting_url) as counter:
        batch = await counter.count_tokens_batch(TEXTS, model)
    expected = TokenCounter().count_tokens_batch(TEXTS, model)
    assert [one.token_count for one in batch.results] == [one.token_count for one in expected.results]
    for one, engine in zip(batch.results, expected.results, strict=True):
        assert (one.method, one.exact, one.warnings) == ("pg_tiktoken", True, ())
        assert (one.lower, one.upper, one.model, one.encoding) == (
            one.token_count,
            one.token_count,
            model,
            engine.encoding,
        )
    assert batch.total_tokens == expected.total_tokens
    assert batch.cache_hits == 0


SENDABLE = st.text(st.characters(exclude_characters="\0")).filter(lambda text: not SPECIAL_TOKEN.search(text))


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(SENDABLE, max_size=40), encoding=st.sampled_from(ENCODINGS))
async def test_any_texts_count_as_in_the_engine(counting_url: str, texts: list[str], encoding: str) -> None:
    async with counting(counting_url) as counter:
        batch = await counter.count_tokens_batch(texts, encoding)
    assert {one.method for one in batch.results} <= {"pg_tiktoken"}
    engine = load_encoding(encoding)
    assert [one.token_count for one in batch.results] == [len(engine.encode_ordinary(text)) for text in texts]


@pytest.mark.parametrize(("texts", "statements"), [(500, 1), (STATEMENT_TEXTS, 1), (STATEMENT_TEXTS + 1, 2)])
async def test_many_texts_go_in_one_statement(postgres_url: str, texts: int, statements: int) -> None:
    # statement_timestamp() is one value within a statement.
    define(postgres_url, "RETURN 1000000 * extract(epoch FROM statement_timestamp())")
    async with counting(postgres_url) as counter:
        batch = await counter.count_tokens_batch([f"text {number}" for number in range(texts)])
    assert {one.method for one in batch.results} == {"pg_tiktoken"}
    assert len({one.token_count for one in batch.results}) == statements


async def test_long_texts_are_spread_over_statements(postgres_url: str) -> None:
    define(postgres_url, "RETURN 1000000 * extract(epoch FROM statement_timestamp())")
    async with counting(postgres_url) as counter:
        batch = await counter.count_tokens_batch(["a" * DIRECT_CHARACTERS] * 9)
    assert len({one.token_count for one in batch.results}) == 2


async def test_counts_keep_their_order(postgres_url: str) -> None:
    define(postgres_url, "RETURN length(b)")
    lengths = [(7 * number) % 500 for number in range(500)]
    async with counting(postgres_url) as counter:
        batch = await counter.count_tokens_batch(["x" * length for length in lengths])
    assert [one.token_count for one in batch.results] == lengths


LONG = "word " * (DIRECT_CHARACTERS // 5 + 1)
OBSTACLES = {
    "o200k": ("Hello world", "gpt-4o", "pg_tiktoken does not offer o200k_base"),
    "claude": ("Hello world", "claude-sonnet-4-5", "pg_tiktoken has no tokenizer of this model"),
    "unknown": ("Hello world", "some-model", "pg_tiktoken has no tokenizer of this model"),
    "nul": ("a\0b", "gpt-4", "Postgres takes no text with a NUL character"),
    "special": (
        "the end<|endoftext|>",
        "gpt-4",
        "pg_tiktoken would count what looks like a special token as one token",
    ),
    "long": (LONG, "gpt-4", "texts of more than 500000 characters are not safe in pg_tiktoken"),
}


@pytest.mark.parametrize(("text", "model", "reason"), OBSTACLES.values(), ids=list(OBSTACLES))
async def test_what_the_database_cannot_count(postgres_url: str, text: str, model: str, reason: str) -> None:
    define(postgres_url, "RETURN 0")
    async with counting(postgres_url) as counter:
        await assert_in_process(counter, reason, text, model)


async def test_one_text_does_not_keep_the_others_from_the_database(counting_url: str) -> None:
    texts = ["one", "a\0b", "<|endoftext|>", "four words are here"]
    async with counting(counting_url) as counter:
        batch = await counter.count_tokens_batch(texts)
    assert [one.method for one in batch.results] == ["pg_tiktoken", "tiktoken", "tiktoken", "pg_tiktoken"]
    expected = TokenCounter().count_tokens_batch(texts)
    assert [one.token_count for one in batch.results] == [one.token_count for one in expected.results]


def test_every_special_token_has_the_shape() -> None:
    for name in TokenizationModel:
        assert [one for one in load_encoding(name).special_tokens_set if not SPECIAL_TOKEN.fullmatch(one)] == []


async def test_only_exact_models_go_to_the_database(postgres_url: str) -> None:
    define(postgres_url, "RETURN 7")
    engine = TokenCounter()
    names = [
        "gpt-4",
        "gpt-3.5-turbo",
        "gpt-4o",
        "gpt-5",
        "davinci",
        "gpt-4-some-day",
        "gemini-2.5-pro",
        "llama-3",
        "gpt2",
    ]
    async with counting(postgres_url, engine) as counter:
        for model in [*names, *TokenizationModel]:
            (result,) = (await counter.count_tokens_batch(["x"], model)).results
            known = engine.text_counter(model)
            offered = known.method == "tiktoken" and known.info.encoding in OFFERED_ENCODINGS
            assert (model, result.method) == (model, "pg_tiktoken" if offered else known.method)


async def test_a_missing_function(postgres_url: str) -> None:
    async with counting(postgres_url) as counter:
        await assert_in_process(counter, "the database has no function tiktoken_count(text, text)")


async def test_the_function_is_looked_for_again_after_a_while(postgres_url: str) -> None:
    now = [0.0]
    async with counting(postgres_url, timer=lambda: now[0]) as counter:
        await assert_in_process(counter, "the database has no function tiktoken_count(text, text)")
        define(postgres_url, "RETURN 7")
        now[0] = LEFT_ALONE_SECONDS - 1
        await assert_in_process(counter, "the database has no function tiktoken_count(text, text)")
        now[0] = LEFT_ALONE_SECONDS + 1
        assert (await counter.count_tokens_batch(["x"])).results[0].method == "pg_tiktoken"


async def test_no_server() -> None:
    async with counting(f"postgresql://someone:SECRET@127.0.0.1:{free_port()}/db") as counter:
        await assert_in_process(counter, "the database cannot be reached")


async def test_an_address_that_is_none() -> None:
    async with counting("postgresql://[") as counter:
        await assert_in_process(counter, "the database cannot be reached")


async def test_a_server_that_takes_connections_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[SocketStream] = []

    async def silent(stream: SocketStream) -> None:
        taken.append(stream)
        async with stream:
            await anyio.sleep_forever()

    async def asked() -> bool:
        return bool(taken)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, silent)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        url = f"postgresql://u@127.0.0.1:{port}/db?sslmode=disable"
        async with counting(url, timer=lambda: 0.0) as counter:
            async with anyio.create_task_group() as asking:
                asking.start_soon(assert_in_process, counter, "the database cannot be reached")
                await until(asked)
                # A connection is waited for half as long as its answer.
                pass_seconds(NET_SECONDS / 2, monkeypatch)
            # Left alone: the second call does not ask.
            await assert_in_process(counter, "the database cannot be reached")
        assert len(taken) == 1
        tasks.cancel_scope.cancel()


async def test_a_server_that_crashed_and_came_back(postgres_cluster: Cluster, postgres_url: str) -> None:
    define(postgres_url, "RETURN 7")
    async with counting(postgres_url) as counter:
        assert (await counter.count_tokens_batch(["x"])).results[0].method == "pg_tiktoken"
        postgres_cluster.kill()
        postgres_cluster.start()
        assert (await counter.count_tokens_batch(["x"])).results[0].method == "pg_tiktoken"
        postgres_cluster.kill()
        await assert_in_process(counter, "the database cannot be reached")


async def test_an_sql_error_quotes_no_text(postgres_url: str) -> None:
    define(postgres_url, "RAISE EXCEPTION 'cannot count %', b")
    async with counting(postgres_url) as counter:
        await assert_in_process(counter, "the database failed (P0001)")
        define(postgres_url, "RETURN 7")
        assert (await counter.count_tokens_batch(["x"])).results[0].method == "pg_tiktoken"


async def test_no_count_for_a_text(postgres_url: str) -> None:
    define(postgres_url, "RETURN NULL")
    async with counting(postgres_url) as counter:
        await assert_in_process(counter, "the database did not give a count for each text")


@dataclass(frozen=True)
class Sleeper:
    """A database whose function falls asleep over some texts."""

    url: str
    name: str

    async def sleeps(self) -> None:
        """Returns once it is asleep."""
        query = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event = 'PgSleep'"
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:

            async def asleep() -> bool:
                return (await connection.execute(query, [self.name])).rowcount == 1

            await until(asleep)


@pytest.fixture
def sleeper(postgres_url: str) -> Sleeper:
    define(postgres_url, "IF b LIKE 'slow%' THEN PERFORM pg_sleep(1000); END IF; RETURN 7")
    name = random_id()
    return Sleeper(f"{postgres_url}&application_name={name}", name)


async def test_a_slow_function(sleeper: Sleeper, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with counting(sleeper.url) as counter:
        async with anyio.create_task_group() as asking:
            asking.start_soon(assert_in_process, counter, "the database took longer than 60 s", "slow")
            await sleeper.sleeps()
            pass_seconds(NET_SECONDS, monkeypatch)
        define(postgres_url, "RETURN 7")
        assert (await counter.count_tokens_batch(["x"])).results[0].method == "pg_tiktoken"


async def test_a_statement_that_the_server_cancels(postgres_url: str) -> None:
    define(postgres_url, "RETURN 7")
    async with counting(postgres_url) as counter:
        assert (await counter.count_tokens_batch(["x"])).results[0].method == "pg_tiktoken"
        define(postgres_url, "RAISE EXCEPTION 'canceled' USING ERRCODE = '57014'")
        await assert_in_process(counter, "the database took longer than 60 s")


async def test_the_rest_of_a_batch_does_not_wait_again(sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{'slow' if number == 1500 else 'text'} {number}" for number in range(4 * STATEMENT_TEXTS)]
    batches: list[BatchTokenCountResult] = []
    async with counting(sleeper.url) as counter:

        async def count() -> None:
            batches.append(await counter.count_tokens_batch(texts))

        async with anyio.create_task_group() as asking:
            asking.start_soon(count)
            await sleeper.sleeps()
            pass_seconds(NET_SECONDS, monkeypatch)
    methods = [one.method for one in batches[0].results]
    assert methods == ["pg_tiktoken"] * STATEMENT_TEXTS + ["tiktoken"] * 3 * STATEMENT_TEXTS


async def test_a_call_that_is_cancelled_leaves_the_next_ones_alone(sleeper: Sleeper) -> None:
    async with counting(sleeper.url) as counter:
        await counter.count_tokens_batch(["x"])
        async with anyio.create_task_group() as asking:
            asking.start_soon(counter.count_tokens_batch, ["slow"])
            await sleeper.sleeps()
            asking.cancel_scope.cancel()
        assert (await counter.count_tokens_batch(["x"])).results[0].method == "pg_tiktoken"


async def test_calls_at_once_share_the_connection(postgres_url: str) -> None:
    define(postgres_url, "RETURN pg_backend_pid()")
    counts: list[int] = []

    async def count(counter: PgTiktoken) -> None:
        counts.append((await counter.count_tokens_batch(["x"])).total_tokens)

    async with counting(postgres_url) as counter, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(count, counter)
    assert len(counts) == 20
    assert len(set(counts)) == 1


async def test_what_the_database_counts_is_recorded(postgres_url: str) -> None:
    define(postgres_url, "RETURN 7")
    recorded: list[Method] = []
    counter = PgTiktoken(postgres_url, TokenCounter(), record=lambda method, seconds: recorded.append(method))
    batch = await counter.count_tokens_batch(["a", "b", "a\0b"])
    await counter.aclose()
    assert recorded == ["pg_tiktoken", "pg_tiktoken"]
    assert batch.total_processing_time == pytest.approx(sum(one.processing_time for one in batch.results))


async def test_bad_arguments(postgres_url: str) -> None:
    async with counting(postgres_url) as counter:
        with pytest.raises(InvalidInput, match="single text"):
            await counter.count_tokens_batch("text")
        with pytest.raises(UnknownEncoding):
            await counter.count_tokens_batch(["text"], "cl100k_bass")
        empty = await counter.count_tokens_batch([])
    assert (empty.results, empty.total_tokens) == ((), 0)


def test_the_stand_in_answers_as_the_extension(counting_url: str) -> None:
    """What the extension's own tests and README say of it."""
    galaxy = "A long time ago in a galaxy far, far away"
    spaces = "This is a test         with a lot of spaces<|endoftext|>"
    with psycopg.connect(counting_url) as connection:
        for encoding in ENCODINGS:
            row = connection.execute("SELECT tiktoken_count(%s, %s)", (encoding, galaxy)).fetchone()
            assert row == (11,)
        row = connection.execute("SELECT tiktoken_encode('cl100k_base', %s)", (spaces,)).fetchone()
        assert row == ([2028, 374, 264, 1296, 260, 449, 264, 2763, 315, 12908, 100257],)
        with pytest.raises(psycopg.Error, match="'o200k_base': unknown model or encoder"):
            connection.execute("SELECT tiktoken_count('o200k_base', 'x')")


def test_a_python_without_tiktoken_is_loud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(REQUIRE, raising=False)
    monkeypatch.delenv(PATH, raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"its Python is 3.1, ours is not; .* in {PATH}"):
        packages_for("3.1")
    monkeypatch.setenv(PATH, str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="tiktoken, tiktoken_ext, regex not found"):
        packages_for("3.1")
    monkeypatch.setenv(REQUIRE, "1")
    with pytest.raises(pytest.fail.Exception, match=f"{REQUIRE}=1"):
        packages_for("3.1")
