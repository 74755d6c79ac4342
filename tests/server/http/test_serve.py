"""``tokenward serve`` as a process: its options, its signals, its workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner

from tests.server.conftest import Run
from tests.waiting import NET_SECONDS, until, wait_until
from tokenward.engine.errors import ConfigurationError
from tokenward.engine.types import JsonObject
from tokenward.server.cli import cli
from tokenward.server.commands.session import Session
from tokenward.server.http.serve import check_servable, listen
from tokenward.server.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")]

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
SERVE = (sys.executable, "-W", "error", "-m", "tokenward")

PATIENT = """
from tokenward.server.entry import main
from tokenward.server.http import serve
serve._LINGER_SECONDS = 3.0  # clients may be stopped for longer than theirs
main()
"""


@contextmanager
def started(store: str, *options: str, program: Sequence[str] = SERVE) -> Generator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address that it says."""
    command = [*program, "--store", store, "serve", "--transport", "http", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert line.startswith("Listening on http://127.0.0.1:"), line + process.stderr.read()
            yield process, line.split()[-1]
        finally:
            process.kill()


def message(tool: str, **arguments: object) -> JsonObject:
    params: JsonObject = {"name": tool, "arguments": json.loads(json.dumps(arguments))}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def ask(url: str, tool: str, **arguments: object) -> JsonObject:
    """What a tool answers. Raises OSError."""
    request = Request(url, json.dumps(message(tool, **arguments)).encode(), HEADERS)
    with urlopen(request, timeout=NET_SECONDS) as answer:
        content: JsonObject = json.loads(answer.read())["result"]["structuredContent"]
    return content


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and the rest of what was logged."""
    _, errors = process.communicate(timeout=NET_SECONDS)
    return process.returncode, errors


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Those that have begun to load, and have not ended."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found: list[int] = []
    for one in children:
        with suppress(OSError):  # it has just ended
            if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes():
                found.append(int(one))
    return found


async def two_workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Both of them. The server listens when the first does."""

    async def are_there() -> bool:
        return len(workers_of(process)) == 2

    await until(are_there)
    return workers_of(process)


def alive(process_id: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_ends_it_well(number: str) -> None:
    with started("memory://") as (process, url):
        assert ask(url, "count_tokens", text="hello there", model="gpt-4o")["tokens"] == 2
        process.send_signal(signal.Signals[number])
        assert ended(process) == (0, "")


def test_nothing_that_was_accepted_is_lost(tmp_path: Path) -> None:
    """Calls are made until the server takes none; each that was answered is in the ledger, and none was cut off."""
    store = f"sqlite:///{tmp_path}/ledger.db"
    recorded: list[int] = []
    lost: list[BaseException] = []

    def work(url: str) -> None:
        place = urlsplit(url)
        body = json.dumps(message("record_usage", model="gpt-4o", input_tokens=1, output_tokens=0))
        connection = HTTPConnection(place.hostname or "", place.port, timeout=NET_SECONDS)
        with closing(connection), suppress(ConnectionRefusedError):
            while True:
                connection.connect()
                try:
                    closes = False
                    while not closes:
                        connection.request("POST", place.path, body, HEADERS)
                        answer = connection.getresponse()
                        closes = answer.will_close
                        assert b'"isError":false' in answer.read()
                        recorded.append(1)
                except (OSError, HTTPException, AssertionError) as error:
                    lost.append(error)
                    return

    with started(store, program=(*SERVE[:3], "-c", PATIENT)) as (process, url):
        threads = [threading.Thread(target=work, args=(url,)) for _ in range(4)]
        for one in threads:
            one.start()
        wait_until(lambda: len(recorded) >= 100 or bool(lost))
        process.send_signal(signal.SIGTERM)
        for one in threads:
            one.join(NET_SECONDS)
        assert ended(process) == (0, "")
    assert lost == []
    with started(store) as (process, url):
        total = ask(url, "usage_report")["totals"]
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, "")
    assert isinstance(total, dict)
    assert total["requests"] == len(recorded)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc of Linux")
async def test_workers_share_the_port_and_are_replaced(tmp_path: Path) -> None:
    with started(f"sqlite:///{tmp_path}/ledger.db", "--workers", "2") as (process, url):
        assert ask(url, "count_tokens", text="hello there", model="gpt-4o")["tokens"] == 2
        first, second = await two_workers_of(process)
        os.kill(first, signal.SIGKILL)

        async def replaced() -> bool:
            now = workers_of(process)
            return len(now) == 2 and first not in now and second in now

        await until(replaced)
        for _ in range(10):
            ask(url, "record_usage", model="gpt-4o", input_tokens=1, output_tokens=0)
        total = ask(url, "usage_report")["totals"]
        assert isinstance(total, dict)
        assert total["requests"] == 10
        workers = workers_of(process)
        process.send_signal(signal.SIGTERM)
        code, errors = ended(process)
    assert code == 0
    assert "exit code -9; another one takes its place" in errors
    assert not any(map(alive, workers))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc of Linux")
async def test_workers_end_with_the_one_that_looks_after_them(tmp_path: Path) -> None:
    with started(f"sqlite:///{tmp_path}/ledger.db", "--workers", "2") as (process, url):
        ask(url, "count_tokens", text="x", model="gpt-4o")
        workers = await two_workers_of(process)
        process.kill()

        async def gone() -> bool:
            return not any(map(alive, workers))

        await until(gone)


def settings_of(**named: object) -> Settings:
    return Settings.model_validate({"store": "sqlite:////tmp/never-made.db", **named})


TOKENS = {"tokens": [{"hash": "sha256:" + "0" * 64, "subject": "alice"}]}


@pytest.mark.parametrize(
    "named",
    [
        {"http": {"host": "127.0.0.1"}},
        {"http": {"host": "::1"}},
        {"http": {"host": "localhost"}},
        {"http": {"host": "0.0.0.0", "insecure": True}},
        {"http": {"host": "0.0.0.0"}, "auth": TOKENS},
    ],
)
def test_what_may_be_served(named: dict[str, object]) -> None:
    check_servable(settings_of(**named))


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ({"http": {"host": "0.0.0.0"}}, "0.0.0.0 without authentication .* --insecure"),
        ({"http": {"host": "::"}}, "without authentication"),
        ({"http": {"host": "10.0.0.1"}}, "without authentication"),
        ({"http": {"host": "tokens.example"}}, "without authentication"),
        ({"http": {"workers": 2}, "store": "memory://"}, "memory://"),
        ({"http": {"workers": 2, "sse": True}}, "legacy SSE"),
    ],
)
def test_what_may_not_be_served(named: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        check_servable(settings_of(**named))


def test_a_port_that_is_taken_is_said(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("serve", "--transport", "http", "--port", port)
    assert result.exit_code == 1
    assert result.stderr == f"Error: 127.0.0.1:{port} cannot be listened on (Address already in use).\n"


def test_a_host_that_is_not_known_is_said() -> None:
    with pytest.raises(ConfigurationError, match="cannot be listened on"):
        listen(settings_of(http={"host": "name.invalid"}).http)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_addresses_of_both_kinds_are_listened_on(host: str) -> None:
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with listen(settings_of(http={"host": host, "port": 0}).http) as listener:
        assert listener.getsockname()[1] > 0


def test_beyond_loopback_is_refused_on_the_command_line(run: Run) -> None:
    result = run("serve", "--transport", "http", "--host", "0.0.0.0", "--port", "0")
    assert result.exit_code == 1
    assert "--insecure" in result.stderr


@pytest.mark.parametrize("option", [["--port", "1"], ["--host", "::1"], ["--workers", "2"], ["--sse"], ["--insecure"]])
def test_options_of_http_are_refused_for_stdio(run: Run, option: list[str]) -> None:
    result = run("serve", *option)
    assert result.exit_code == 2
    assert f"{option[0]}: is for HTTP" in result.stderr


@pytest.mark.parametrize(
    "option", [["--port", "65536"], ["--workers", "0"], ["--workers", "257"], ["--transport", "x"]]
)
def test_values_that_cannot_be_are_refused(option: list[str]) -> None:
    assert CliRunner().invoke(cli, ["serve", "--transport", "http", *option]).exit_code == 2


def test_flags_come_before_the_file(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").write_text("[http]\nport = 1\ndrain_seconds = 3\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOKENWARD_HTTP__MAX_CONCURRENCY", "7")
    http = Session().settings(http={"port": 2}).http
    assert (http.port, http.drain_seconds, http.max_concurrency) == (2, 3, 7)
