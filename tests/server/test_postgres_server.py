"""The server as a process on a real store: only its URL is set, limits are shared, and killing it loses nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Thread
from typing import TypeAlias

import anyio
import psycopg
import pytest

from tests.conftest import events_of
from tests.postgres import PrivateCluster, find_binaries
from tests.server.test_stdio import ENVIRONMENT, HANDSHAKE, ROOT, call, content
from tests.waiting import NET_SECONDS, wait_until
from tokenward.engine.types import JsonObject
from tokenward.engine.usage import UsageEvent
from tokenward.storage.factory import open_store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")

COMMAND = (sys.executable, "-W", "error", "-m", "tokenward")
KEYS = [f"key-{number}" for number in range(1_500)]
"""Their answers are more than a pipe holds, so a server has much left to do when a hundred were read."""
SECRET = "correct-horse-battery"

Answers: TypeAlias = dict[int, JsonObject]


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store that outlives its processes."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def environment(store: str, home: Path) -> dict[str, str]:
    """Of all that can be set, only the store."""
    kept = {name: value for name, value in ENVIRONMENT.items() if not name.startswith(("TOKENWARD_", "PG"))}
    return kept | {"TOKENWARD_STORE": store, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}


class Server:
    """A server process, and what it has answered."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self._said, self._heard = process, process.stdin, process.stdout
        self._log = log
        self._ids = count(1)
        self._said.write(HANDSHAKE)
        self._said.flush()
        assert json.loads(self._heard.readline())["id"] == 0

    def ask(self, tool: str, **arguments: object) -> JsonObject:
        """The result of one call."""
        self._said.write(call(next(self._ids), tool, **arguments))
        self._said.flush()
        return content(json.loads(self._heard.readline()))

    def refusal(self, tool: str, **arguments: object) -> str:
        """The text of one call that is refused."""
        self._said.write(call(next(self._ids), tool, **arguments))
        self._said.flush()
        result = json.loads(self._heard.readline())["result"]
        assert result["isError"]
        return str(result["content"][0]["text"])

    def record(self, keys: list[str]) -> None:
        """Send an event for each key, as fast as the server takes them, until it is gone."""
        with suppress(OSError):
            for number, key in enumerate(keys):
                event = {"session": key, "idempotency_key": key, "input_tokens": 10, "output_tokens": 1}
                self._said.write(call(number, "record_usage", model="gpt-4o", **event))
                self._said.flush()

    def answers(self, at_most: int) -> Answers:
        """The next answers by id, whole ones only; fewer if the server ends."""
        answers: Answers = {}
        while len(answers) < at_most and (line := self._heard.readline()).endswith(b"\n"):
            answer = json.loads(line)
            answers[answer["id"]] = answer
        return answers

    def leave(self) -> int:
        """Close its input and wait for its end."""
        with suppress(OSError):
            self._said.close()
        return self.process.wait(timeout=NET_SECONDS)

    def log(self) -> str:
        return self._log.read_text("utf-8")


@contextmanager
def serving(store: str, home: Path) -> Generator[Server]:
    descriptor, log = tempfile.mkstemp(dir=home, suffix=".log")
    command = [*COMMAND, "serve"]
    pipe = subprocess.PIPE
    with (
        os.fdopen(descriptor, "wb") as errors,
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=errors, env=environment(store, home), cwd=ROOT
        ) as process,
    ):
        try:
            yield Server(process, Path(log))
        finally:
            process.kill()
            if process.stdin is not None:
                with suppress(OSError):  # what could not be sent any more
                    process.stdin.close()


@contextmanager
def recording(server: Server, keys: list[str]) -> Generator[None]:
    """Events are sent as long as the block runs, or until all are."""
    writer = Thread(target=server.record, args=(keys,), daemon=True)
    writer.start()
    try:
        yield
    finally:
        writer.join(timeout=NET_SECONDS)
        assert not writer.is_alive()


def tokenward(store: str, home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(store, home),
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=NET_SECONDS,
    )


def events(store: str) -> list[UsageEvent]:
    async def read() -> list[UsageEvent]:
        async with open_store(store) as opened:
            return await events_of(opened)

    return anyio.run(read)


def wait_for_its_connections(name: str, store: str) -> None:
    """Until the database has ended what a process that was killed had told it."""
    if store.startswith("postgresql:"):
        ask = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        with psycopg.connect(store, autocommit=True) as connection:
            wait_until(lambda: connection.execute(ask, [name]).fetchone() == (0,))


def acknowledged(answers: Answers) -> dict[str, str]:
    """Key → event id, of the events that the server said it recorded."""
    receipts = {KEYS[number]: content(answer) for number, answer in answers.items() if "result" in answer}
    assert all(one["recorded"] != one["duplicate"] for one in receipts.values())
    return {key: str(one["event_id"]) for key, one in receipts.items()}


def test_the_url_is_all_that_a_server_needs(store: str, tmp_path: Path) -> None:
    assert tokenward(store, tmp_path, "quota", "set", "default", "tokens/day", "1000").returncode == 0
    with serving(store, tmp_path) as server:
        held = server.ask("check_quota", model="gpt-4o", input_tokens=300, max_output_tokens=100, reserve=True)
        used = server.ask(
            "record_usage", model="gpt-4o", input_tokens=300, output_tokens=50, reservation_id=held["reservation_id"]
        )
        report = server.ask("usage_report", period="24h", group_by="model")
        other = server.ask("check_quota", tokens=650, reserve=True)
        denied = server.ask("check_quota", tokens=1)
        released = server.ask("release_quota", reservation_id=other["reservation_id"])
        again = server.ask("check_quota", tokens=1)
        assert server.leave() == 0
        assert server.log() == ""
    assert (used["recorded"], used["overage"], used["cost"]) == (True, False, "0.00125")
    assert report["rows"] == [
        {
            "key": "gpt-4o",
            "requests": 1,
            "input_tokens": 300,
            "output_tokens": 50,
            "cached_tokens": 0,
            "cache_write_tokens": None,
            "reasoning_tokens": 0,
            "total_tokens": 350,
            "cost": "0.00125",
            "unpriced_requests": None,
            "estimated_requests": None,
            "average_tokens_per_request": 350.0,
            "average_cost_per_request": "0.00125",
        }
    ]
    assert (denied["allowed"], denied["denied_by"]) == (False, "default, tokens per day")
    assert (released["released"], again["allowed"]) == (True, True)


def test_two_servers_on_one_store_share_its_limits(store: str, tmp_path: Path) -> None:
    with serving(store, tmp_path) as one, serving(store, tmp_path) as two:
        assert one.ask("check_quota", tokens=600)["limits"] == []
        # A limit that is set while they run binds both at once.
        assert tokenward(store, tmp_path, "quota", "set", "global", "tokens/day", "1000").returncode == 0
        held = one.ask("check_quota", tokens=600, reserve=True)
        denied = two.ask("check_quota", tokens=600, reserve=True)
        two.ask("record_usage", model="gpt-4o", input_tokens=1, output_tokens=1, reservation_id=held["reservation_id"])
        retried = two.ask("check_quota", tokens=998, reserve=True)
        full = one.ask("check_quota", tokens=1)
        assert (one.leave(), two.leave()) == (0, 0)
    assert (held["allowed"], denied["allowed"], denied["denied_by"]) == (True, False, "global, tokens per day")
    assert (retried["allowed"], full["allowed"]) == (True, False)


def test_a_server_that_is_killed_has_lost_nothing_that_it_acknowledged(store: str, tmp_path: Path) -> None:
    name = f"killed-{os.getpid()}"
    named = f"{store}&application_name={name}" if store.startswith("postgresql:") else store
    with serving(named, tmp_path) as server, recording(server, KEYS):
        answers = server.answers(100)
        server.process.send_signal(signal.SIGKILL)
        answers |= server.answers(len(KEYS))
    wait_for_its_connections(name, store)
    before = acknowledged(answers)
    assert 100 <= len(before) < len(KEYS)
    stands = events(store)
    assert max(Counter(one.session for one in stands).values()) == 1
    assert before.items() <= {one.session: one.event_id for one in stands}.items()

    with serving(store, tmp_path) as server, recording(server, KEYS):
        answers = server.answers(len(KEYS))
        assert server.leave() == 0
    after = acknowledged(answers)
    assert before.items() <= after.items()
    duplicates = {KEYS[number] for number, answer in answers.items() if content(answer)["duplicate"]}
    assert duplicates == {one.session for one in stands}
    assert Counter(one.session for one in events(store)) == dict.fromkeys(KEYS, 1)


def test_a_server_that_is_told_to_end_has_written_what_it_acknowledged(store: str, tmp_path: Path) -> None:
    with serving(store, tmp_path) as server, recording(server, KEYS):
        answers = server.answers(100)
        server.process.send_signal(signal.SIGTERM)
        answers |= server.answers(len(KEYS))
        assert server.process.wait(timeout=NET_SECONDS) == 0
        assert server.log() == ""
    before = acknowledged(answers)
    assert len(before) >= 100  # what was nearly done is still answered: perhaps all
    stands = events(store)
    assert max(Counter(one.session for one in stands).values()) == 1
    assert before.items() <= {one.session: one.event_id for one in stands}.items()


@pytest.fixture(scope="module")
def locked_url() -> Iterator[str]:
    """The URL of a server that lets nobody in without a password, and has none that would do."""
    binaries = find_binaries()
    with tempfile.TemporaryDirectory(prefix="tokenward-postgres-") as folder:
        cluster = PrivateCluster(binaries, Path(folder))
        rules = Path(folder) / "data" / "pg_hba.conf"
        rules.write_text("host all all 127.0.0.1/32 scram-sha-256\n", "utf-8")
        cluster.start()
        try:
            yield cluster.url()
        finally:
            cluster.kill()


def assert_says_nothing_secret(said: str, reason: str) -> None:
    assert reason in said
    assert SECRET not in said
    assert "Traceback" not in said
    assert len(said) < 300
    assert said.count("\n") <= 1


def assert_refused(store: str, home: Path, reason: str) -> None:
    with serving(store, home) as server:
        assert_says_nothing_secret(server.refusal("check_quota", tokens=1), reason)
        assert_says_nothing_secret(
            server.refusal("record_usage", model="gpt-4o", input_tokens=1, output_tokens=1), reason
        )
        assert server.ask("count_tokens", text="hello world", model="gpt-4o")["tokens"] == 2
        assert server.leave() == 0
        assert SECRET not in server.log()
    shown = tokenward(store, home, "quota", "show")
    assert (shown.returncode, shown.stdout) == (1, "")
    assert_says_nothing_secret(shown.stderr, reason)
    examined = tokenward(store, home, "doctor", "--json")
    assert examined.returncode == 1
    assert SECRET not in examined.stdout + examined.stderr
    (broken,) = [one for one in json.loads(examined.stdout)["findings"] if one["verdict"] == "broken"]
    assert broken["subject"] == "store"
    assert reason in broken["detail"]


def test_a_wrong_password_is_told_without_it(locked_url: str, tmp_path: Path) -> None:
    store = locked_url.replace("postgres@", f"postgres:{SECRET}@")
    assert SECRET in store
    assert_refused(store, tmp_path, "login is refused")


def test_a_database_that_does_not_exist_is_told(postgres_url: str, tmp_path: Path) -> None:
    address = postgres_url.partition("@")[2].partition("/")[0]
    assert_refused(f"postgresql://postgres:{SECRET}@{address}/nowhere", tmp_path, "database does not exist")


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        store = f"postgresql://alice:{SECRET}@127.0.0.1:{unheard.getsockname()[1]}/db"
        assert_refused(store, tmp_path, "cannot be made")
