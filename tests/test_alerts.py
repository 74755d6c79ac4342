"""Alert hooks with real processes and real sockets: told once per window, never in anybody's way."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest

from tests.conftest import FakeClock
from tests.postgres import free_port
from tests.waiting import NET_SECONDS, pass_seconds, until
from tokenward import InvalidInput, QuotaRequest, RecordRequest, TokenLimit, TokenUsage, Tokenward
from tokenward.alerts import GRACE_SECONDS
from tokenward.background import Background
from tokenward.engine.limits import Subjects
from tokenward.engine.types import JsonObject
from tokenward.hooks import AlertHook
from tokenward.watch import Watch

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="the hooks of these tests are shell commands"),
]

DAILY = TokenLimit("user:alice", "tokens", "day", 1_000)


def shell(script: str, *arguments: object, timeout_seconds: float = NET_SECONDS) -> AlertHook:
    """A command of the shell; its arguments are ``$0`` and so on."""
    command = ("/bin/sh", "-c", script, *(str(one) for one in arguments))
    return AlertHook(command=command, timeout_seconds=timeout_seconds)


def appending(file: Path) -> AlertHook:
    return shell('cat >> "$0"', file)


def told(file: Path) -> list[JsonObject]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


def thresholds(file: Path) -> list[str]:
    return sorted(str(one["alert"]) for one in told(file))


@asynccontextmanager
async def opened(
    clock: FakeClock,
    *hooks: AlertHook,
    url: str = "memory://",
    limit: TokenLimit = DAILY,
    grace_seconds: float = NET_SECONDS,
) -> AsyncGenerator[Tokenward]:
    """A service whose end waits until its hooks are through, also on a busy machine."""
    async with Tokenward.open(
        url,
        default_user="alice",
        limits=[limit],
        alerts=hooks,
        alert_grace_seconds=grace_seconds,
        clock=clock,
        anomalies=False,
    ) as service:
        yield service


async def record(service: Tokenward, tokens: int, group: str | None = None) -> None:
    await service.record_usage(RecordRequest(model="gpt-4o", usage=TokenUsage(tokens, 0), group=group))


# Commands -----------------------------------------------------------------------------------------------------------


async def test_a_command_gets_the_alert_on_its_input_and_in_its_environment(clock: FakeClock, tmp_path: Path) -> None:
    file, variables = tmp_path / "told", tmp_path / "variables"
    async with opened(clock, shell('cat >> "$0"; env | grep ^TOKENWARD_ALERT_ > "$1"', file, variables)) as service:
        await record(service, 850)
    (alert,) = told(file)
    assert (alert["alert"], alert["subject"], alert["metric"], alert["window"]) == (
        "80%",
        "user:alice",
        "tokens",
        "day",
    )
    assert (alert["limit"], alert["used"], alert["reserved"], alert["percent"]) == (1_000, 850, 0, 85)
    assert "TOKENWARD_ALERT_PERCENT=85" in variables.read_text("utf-8").splitlines()


async def test_once_per_window_and_again_in_the_next(clock: FakeClock, tmp_path: Path) -> None:
    file = tmp_path / "told"
    async with opened(clock, appending(file)) as service:
        for _ in range(12):
            await record(service, 100)
            await service.check_quota(QuotaRequest(tokens=1))

        async def both() -> bool:
            return thresholds(file) == ["100%", "80%"]

        await until(both)
        clock.advance(2 * 86_400)
        await record(service, 850)
    assert thresholds(file) == ["100%", "80%", "80%"]


async def test_the_ledger_remembers_over_restarts(clock: FakeClock, tmp_path: Path) -> None:
    file, url = tmp_path / "told", f"sqlite:///{tmp_path / 'ledger.db'}"
    for _ in range(3):
        async with opened(clock, appending(file), url=url) as service:
            await record(service, 850)
    assert thresholds(file) == ["100%", "80%"]
    clock.advance(2 * 86_400)
    async with opened(clock, appending(file), url=url) as service:
        await record(service, 850)
    assert thresholds(file) == ["100%", "80%", "80%"]


async def test_holds_and_refusals_are_seen(clock: FakeClock, tmp_path: Path) -> None:
    file = tmp_path / "told"
    async with opened(clock, appending(file)) as service:
        held = await service.check_quota(QuotaRequest(tokens=900, reserve=True))
        assert held.allowed

        async def warned() -> bool:
            return thresholds(file) == ["80%"]

        await until(warned)
        refused = await service.check_quota(QuotaRequest(tokens=200))
        assert not refused.allowed
    assert thresholds(file) == ["100%", "80%"]
    assert [one["reserved"] for one in told(file)] == [900, 900]


async def test_many_events_at_once_are_looked_at_once(clock: FakeClock, tmp_path: Path) -> None:
    file = tmp_path / "told"
    async with opened(clock, appending(file)) as service:
        requests = [RecordRequest(model="gpt-4o", usage=TokenUsage(1, 0)) for _ in range(1_000)]
        await service.record_many(requests)
    assert thresholds(file) == ["100%", "80%"]


async def test_a_group_that_is_recorded_for_is_looked_at(clock: FakeClock, tmp_path: Path) -> None:
    file = tmp_path / "told"
    async with opened(clock, appending(file), limit=TokenLimit("group:team", "tokens", "hour", 100)) as service:
        await record(service, 85, group="team")
    assert [one["subject"] for one in told(file)] == ["group:team"]


async def test_every_hook_is_told(clock: FakeClock, tmp_path: Path) -> None:
    files = [tmp_path / "one", tmp_path / "two"]
    async with opened(clock, shell("exit 1"), *(appending(file) for file in files)) as service:
        await record(service, 850)
    assert [thresholds(file) for file in files] == [["80%"], ["80%"]]


async def test_a_command_that_reads_nothing_is_welcome(
    clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ran"
    async with opened(clock, shell('echo much; echo more >&2; touch "$0"', file)) as service:
        await record(service, 850)
    assert file.exists()
    assert not caplog.records


# In nobody's way ----------------------------------------------------------------------------------------------------


async def test_a_failing_hook_fails_nobody_and_is_logged_without_its_arguments(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(clock, shell("exit 3", "s3cret"), AlertHook(command=("no-such-program", "s3cret"))) as service:
        await record(service, 1_200)
        assert not (await service.check_quota(QuotaRequest(tokens=1))).allowed
    messages = [one.getMessage() for one in caplog.records]
    assert messages.count("Alert hook (command 'sh'): ended with 3.") == 2
    assert messages.count("Alert hook (command 'no-such-program'): there is no such program.") == 2
    assert all(one.levelno == logging.WARNING for one in caplog.records)
    assert "s3cret" not in caplog.text


def alive(file: Path) -> bool:
    """Whether the process whose number is in a file still runs."""
    process = int(file.read_text("utf-8"))
    try:
        state = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


ENDED = "Alert at 80% of user:alice, tokens per day: ended with the service; it is not told again."
HANGING = 'sleep 1000 & echo $! > "$0.new"; mv "$0.new" "$0"; wait'


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
async def test_a_hanging_hook_delays_nobody_and_is_killed_with_its_children_at_the_end(
    clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "child"

    async def started() -> bool:
        return file.exists()

    async with opened(clock, shell(HANGING, file), grace_seconds=GRACE_SECONDS) as service:
        await record(service, 850)
        await until(started)
        for _ in range(20):
            await service.check_quota(QuotaRequest(tokens=1))
        assert alive(file)
    assert [one.getMessage() for one in caplog.records] == [ENDED]

    async def dead() -> bool:
        return not alive(file)

    await until(dead)


async def test_an_alert_that_the_end_meets_while_it_is_claimed_is_logged(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim may stand, and then no other process tells it."""
    begun = anyio.Event()

    async def claim(*_: object) -> None:
        begun.set()
        await anyio.sleep_forever()

    async with opened(clock, shell("true"), grace_seconds=0) as service:
        monkeypatch.setattr(await service.ledger(), "claim_alert", claim)
        await record(service, 850)
        await begun.wait()
    (said,) = caplog.messages
    assert said.startswith("Alert at 80% of user:alice, tokens per day: the service ended while it was claimed")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
async def test_a_hook_that_takes_too_long_is_killed_with_its_children(
    clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "child"

    async def started() -> bool:
        return file.exists()

    async def dead() -> bool:
        return not alive(file)

    async with opened(clock, shell(HANGING, file, timeout_seconds=50)) as service:
        await record(service, 850)
        await until(started)
        pass_seconds(50, monkeypatch)
        await until(dead)
    assert "Alert hook (command 'sh'): took longer than 50 s." in caplog.text


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
async def test_hooks_end_in_a_cancelled_block_too(clock: FakeClock, tmp_path: Path) -> None:
    file = tmp_path / "child"

    async def started() -> bool:
        return file.exists()

    async def dead() -> bool:
        return not alive(file)

    async with opened(clock) as service:
        await record(service, 850)
        watch = Watch(service.ledger, clock, hooks=[shell(HANGING, file)], anomalies=False)
        with anyio.CancelScope() as scope:
            try:
                watch.recorded([Subjects("alice")])
                await until(started)
                scope.cancel()
                await anyio.sleep_forever()
            finally:
                await watch.aclose()
        await until(dead)


async def test_an_alert_that_ends_with_the_service_is_logged(
    clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "child"

    async def started() -> bool:
        return file.exists()

    async with opened(clock, shell(HANGING, file), grace_seconds=0.0) as service:
        await record(service, 850)
        await until(started)
    assert [one.getMessage() for one in caplog.records] == [ENDED]


async def test_an_error_in_the_block_comes_out_as_it_is(clock: FakeClock, tmp_path: Path) -> None:
    async def wrong() -> None:
        async with opened(clock, appending(tmp_path / "told")) as service:
            await record(service, 850)
            await service.check_quota(QuotaRequest(tokens=-1))

    with pytest.raises(InvalidInput):
        await wrong()
    assert thresholds(tmp_path / "told") == ["80%"]


async def test_what_waits_is_bounded_and_what_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    gate = anyio.Event()

    async def work(number: int) -> None:
        await gate.wait()
        if number == 1:
            raise ValueError("s3cret")
        done.append(number)

    background = Background("Test", work, most=3)
    background.submit(0)
    await anyio.wait_all_tasks_blocked()
    for number in (1, 1, 2, 3, 4, 5):
        background.submit(number)
    gate.set()
    await background.aclose(NET_SECONDS)
    background.submit(9)
    assert done == [0, 2, 3]
    assert [one.getMessage() for one in caplog.records] == [
        "Test: too much is waiting; some is left undone.",
        "Test: failed (ValueError).",
    ]


# HTTP ---------------------------------------------------------------------------------------------------------------


@dataclass
class Receiver:
    """What was posted to a server on the loopback, which answers with ``status``."""

    url: str = ""
    status: int = 204
    bodies: list[JsonObject] = field(default_factory=list[JsonObject])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])


@contextmanager
def receiver() -> Generator[Receiver]:
    received = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            received.bodies.append(json.loads(content))
            received.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(received.status)
            self.send_header("content-length", "0")
            self.send_header("location", received.url)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    received.url = f"http://127.0.0.1:{server.server_port}/hooks/s3cret"
    try:
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def posting(url: str, header: str = "Authorization", secret_variable: str = "") -> AlertHook:
    return AlertHook(url=url, header=header, secret_variable=secret_variable, timeout_seconds=NET_SECONDS)


async def test_an_address_is_posted_to_with_the_secret_of_the_environment(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "Bearer s3cret")
    with receiver() as received:
        hook = posting(received.url, "X-Hook", "HOOK_SECRET")
        async with opened(clock, hook) as service:
            await record(service, 850)

            async def arrived() -> bool:
                return bool(received.bodies)

            await until(arrived)
    assert [one["alert"] for one in received.bodies] == ["80%"]
    assert received.headers[0]["x-hook"] == "Bearer s3cret"
    assert received.headers[0]["content-type"] == "application/json"


@pytest.mark.parametrize("status", [500, 404, 301])
async def test_an_address_that_refuses_or_redirects_is_logged_without_itself(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    with receiver() as received:
        received.status = status
        async with opened(clock, posting(received.url)) as service:
            await record(service, 850)

            async def logged() -> bool:
                return bool(caplog.records)

            await until(logged)
    assert [one.getMessage() for one in caplog.records] == [f"Alert hook (url): answered HTTP {status}."]
    assert len(received.bodies) == 1
    assert "s3cret" not in caplog.text


async def test_an_address_that_cannot_be_reached_and_a_secret_that_is_not_there(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    url = f"http://127.0.0.1:{free_port()}/hooks/s3cret"
    async with opened(clock, posting(url), posting(url, secret_variable="HOOK_SECRET")) as service:
        await record(service, 850)

        async def logged() -> bool:
            return len(caplog.records) == 2

        await until(logged)
    assert {one.getMessage() for one in caplog.records} == {
        "Alert hook (url): cannot be reached.",
        "Alert hook (url): HOOK_SECRET is not set.",
    }


# Several services ---------------------------------------------------------------------------------------------------


async def test_two_services_on_one_file_tell_once(clock: FakeClock, tmp_path: Path) -> None:
    file, url = tmp_path / "told", f"sqlite:///{tmp_path / 'ledger.db'}"
    async with (
        opened(clock, appending(file), url=url) as one,
        opened(clock, appending(file), url=url) as two,
        anyio.create_task_group() as tasks,
    ):
        for service in (one, two):
            for _ in range(12):
                tasks.start_soon(record, service, 50)
                tasks.start_soon(service.check_quota, QuotaRequest(tokens=1))
    assert thresholds(file) == ["100%", "80%"]


@pytest.mark.slow
def test_processes_on_one_file_tell_once(tmp_path: Path) -> None:
    file, program = tmp_path / "told", Path(__file__).with_name("alerting_process.py")
    command = [sys.executable, str(program), f"sqlite:///{tmp_path / 'ledger.db'}", str(file)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [one.wait(NET_SECONDS) for one in processes] == [0, 0, 0]
    assert thresholds(file) == ["100%", "80%"]


# What cannot be a hook ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "command: give either"),
        ({"command": ("true",), "url": "https://example.com"}, "command: give either"),
        ({"command": ("",)}, "command: expected a list"),
        ({"command": ("true", "a\0b")}, "command: expected a list"),
        ({"url": "http://example.com/s3cret"}, "url: expected https"),
        ({"url": "https://user:s3cret@example.com"}, "url: it holds a name or password"),
        ({"url": "file:///etc/s3cret"}, "url: expected"),
        ({"url": "https://example.com", "header": "X:\r\n"}, "header: "),
        ({"url": "https://example.com", "header": ""}, "header: "),
        ({"url": "https://example.com", "secret_variable": "A=B"}, "secret_variable: "),
        ({"command": ("true",), "secret_variable": "A"}, "secret_variable: "),
        ({"command": ("true",), "timeout_seconds": 0}, "timeout_seconds: "),
        ({"command": ("true",), "timeout_seconds": float("nan")}, "timeout_seconds: "),
        ({"command": ("true",), "timeout_seconds": 61}, "timeout_seconds: "),
    ],
)
def test_what_cannot_be_a_hook_is_refused(values: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as refused:
        AlertHook(**values)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert "s3cret" not in str(refused.value)


def test_a_hook_shows_nothing_of_itself() -> None:
    assert "s3cret" not in repr(AlertHook(url="https://example.com/s3cret")) + repr(AlertHook(command=("x", "s3cret")))


def test_whether_a_hook_is_usable_is_found_out_without_running_it(tmp_path: Path) -> None:
    file = tmp_path / "ran"
    assert shell('touch "$0"', file).problem() == ""
    assert not file.exists()
    assert AlertHook(command=("no-such-program",)).problem() == "there is no program 'no-such-program'"
    hook = AlertHook(url="https://example.com", secret_variable="HOOK_SECRET")
    assert hook.problem({}) == "HOOK_SECRET is not set"
    assert hook.problem({"HOOK_SECRET": "x"}) == ""
