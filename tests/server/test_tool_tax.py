"""``tokenward count --mcp``: what tools cost, and servers that do not do as they should."""

import gzip
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import uvicorn
from mcp.server import MCPServer
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.server.conftest import Json, Run
from tests.server.tool_server import CLOCK, WEATHER
from tests.waiting import NET_SECONDS, wait_until
from tokenward.engine.errors import InvalidInput
from tokenward.server.commands import mcp_process, mcp_tools
from tokenward.server.commands.mcp_tools import read_target

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes of Unix")

REPOSITORY = Path(__file__).resolve().parents[2]
SERVER = REPOSITORY / "tests" / "server" / "tool_server.py"


def command(*arguments: str) -> str:
    return shlex.join((sys.executable, str(SERVER), *arguments))


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are started with this process's environment, and may take their time."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "src"))
    monkeypatch.setattr("tokenward.server.commands.count._TIMEOUT_SECONDS", NET_SECONDS)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent to notice does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return True


# What is counted


def test_each_tool_the_sum_and_the_whole_list(answer: Json) -> None:
    found = answer("count", "--mcp", command("good"), "--model", "gpt-4o")
    assert found["server"] == "Weather\x1b[31m 1.2"
    assert [one["name"] for one in found["tools"]] == ["weather", "clock"]
    assert found["sum_of_tools"] == sum(one["tokens"] for one in found["tools"])
    # OpenAI's frame of a list is paid once, however many tools there are.
    assert 0 < found["tokens"] < found["sum_of_tools"]
    assert (found["model"], found["method"], found["encoding"]) == ("gpt-4o", "tiktoken", "o200k_base")
    assert found["exact"]
    assert found["lower"] == found["tokens"] == found["upper"]


@pytest.mark.parametrize("model", ["gpt-4o", "claude-opus-4-5", "gemini-2.5-pro"])
def test_a_tool_costs_what_a_request_with_it_costs_more(answer: Json, model: str) -> None:
    found = answer("count", "--mcp", command("good"), "--model", model)

    def request(tools: list[object], system: str | None = None) -> int:
        body = {"messages": [{"role": "user", "content": "x"}], "tools": tools, "system": system}
        Path("request").write_text(json.dumps(body), encoding="utf-8")
        return int(answer("count", "--messages", "request", "--model", model)["tokens"])

    bare = request([])
    assert [one["tokens"] for one in found["tools"]] == [request([WEATHER]) - bare, request([CLOCK]) - bare]
    assert found["tokens"] == request([WEATHER, CLOCK]) - bare
    assert found["instructions"]["tokens"] == request([], "Ask for the weather first.") - bare
    for one in (found, found["instructions"], *found["tools"]):
        assert one["lower"] <= one["tokens"] <= one["upper"]


def test_for_people_a_column_per_model(run: Run) -> None:
    result = run("count", "--mcp", command("good"), "--model", "gpt-4o", "--model", "claude-opus-4-5")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Tools of Weather\\x1b[31m 1.2: 2" in result.stdout
    lines = result.stdout.splitlines()
    (weather,) = [one for one in lines if one.startswith(" weather ")]
    assert weather.count("≈") == 1
    for row in (" sum of each tool alone ", " the whole list "):
        assert any(one.startswith(row) for one in lines)
    assert "The server's instructions add 10 to gpt-4o (exact)." in result.stdout
    assert "to claude-opus-4-5 (estimate, " in result.stdout


@pytest.mark.parametrize("model", ["gpt-4o", "claude-opus-4-5", "gemini-2.5-pro"])
def test_why_the_rows_sum_to_more_than_the_list_is_said(run: Run, answer: Json, model: str) -> None:
    found = answer("count", "--mcp", command("good"), "--model", model)
    assert found["sum_of_tools"] > found["tokens"]
    said = "pays once is in every row, and once in the whole list."
    assert run("count", "--mcp", command("good"), "--model", model).stdout.count(said) == 1
    assert said not in run("count", "--mcp", command("none"), "--model", model).stdout


def test_several_models_as_json(answer: Json) -> None:
    found = answer("count", "--mcp", command("good"), "--model", "gpt-4o", "--model", "claude-opus-4-5")
    assert [one["model"] for one in found["results"]] == ["gpt-4o", "claude-opus-4-5"]


def test_our_own_server(answer: Json, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = answer("count", "--mcp", shlex.join((sys.executable, "-m", "tokenward", "serve")))
    assert found["server"].startswith("tokenward ")
    assert "count_tokens" in [one["name"] for one in found["tools"]]
    assert found["instructions"]["tokens"] > 50
    assert 0 < found["tokens"] < found["sum_of_tools"]


def test_a_server_without_tools(answer: Json, run: Run) -> None:
    found = answer("count", "--mcp", command("none"))
    assert (found["tokens"], found["tools"], found["sum_of_tools"]) == (0, [], 0)
    assert run("count", "--mcp", command("none")).exit_code == 0


def test_a_servers_words_do_not_reach_the_terminal_as_they_are(run: Run, answer: Json) -> None:
    shown = run("count", "--mcp", command("evil")).stdout
    assert "\x1b" not in shown
    assert " e\\x1b[31mvil\\x0a fake 1 " in shown
    assert answer("count", "--mcp", command("evil"))["tools"][0]["name"] == "e\x1b[31mvil\n fake 1"


def test_lines_that_are_no_messages_are_passed_over(answer: Json) -> None:
    assert [one["name"] for one in answer("count", "--mcp", command("garbage"))["tools"]] == ["weather", "clock"]


# Servers that fail


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("exits", "ended (exit code 3) before it had listed its tools. It said: ModuleNotFoundError: \\x1b[31mno"),
        ("circle", "never ends: it gives the same cursor twice"),
        ("endless", "more than 5,000 tools or 200 pages"),
        ("many", "more than 5,000 tools or 200 pages"),
        ("refuses", "refused: not \\x1b[31mtoday (error -32000)."),
        ("wrong", "does not answer as an MCP server does."),
        ("nameless", "the server's list cannot be counted: tools[0]: has no name"),
    ],
)
def test_a_server_that_fails_is_an_error_of_one_line(
    run: Run, mode: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_process, "_GRACE_SECONDS", NET_SECONDS)  # until it has ended, so that its exit code is told
    result = run("count", "--mcp", command(mode))
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert result.stderr.startswith("Error: --mcp: the server")
    assert result.stderr.count("\n") == 1
    assert "\x1b" not in result.stderr


def test_a_silent_server_times_out(run: Run) -> None:
    result = run("count", "--mcp", command("silent"), "--timeout", "0.5")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: --mcp: the server did not list its tools within 0.5 s (--timeout).\n"


@pytest.mark.parametrize("leader", ["leaves", "stays"])
def test_a_servers_children_end_with_it(run: Run, tmp_path: Path, leader: str) -> None:
    pids = tmp_path / "pids"
    arguments = ["stubborn", str(pids), *(["stay"] if leader == "stays" else [])]
    assert run("count", "--mcp", command(*arguments)).exit_code == 0
    for pid in pids.read_text(encoding="utf-8").split():
        wait_until(lambda pid=int(pid): not is_alive(pid))  # type: ignore[misc]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_server_too(tmp_path: Path, number: signal.Signals) -> None:
    pids = tmp_path / "pids"
    unheard = shlex.join(("sh", "-c", f"{command('stubborn', str(pids))} > /dev/null"))
    environment = os.environ | {"TOKENWARD_STORE": "memory://"}
    arguments = [sys.executable, "-m", "tokenward", "count", "--timeout", str(NET_SECONDS), "--mcp", unheard]
    with subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            wait_until(lambda: pids.exists() and len(pids.read_text(encoding="utf-8").split()) == 2)
            process.send_signal(number)
            _, errors = process.communicate(timeout=NET_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 130
    assert b"Traceback" not in errors
    for pid in pids.read_text(encoding="utf-8").split():
        wait_until(lambda pid=int(pid): not is_alive(pid))  # type: ignore[misc]


# What may be asked for


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["--mcp", "no-such-program-anywhere --x"], 1, "no program 'no-such-program-anywhere' is there to be run"),
        (["--mcp", "a 'b"], 2, 'mcp: "a \'b" is not a command (No closing quotation)'),
        (["--mcp", " "], 2, "mcp: expected a command or a URL"),
        (["--mcp", "http://"], 2, "mcp: it is not a URL"),
        (["--mcp", "https://["], 2, "mcp: it is not a URL"),
        (["--mcp", "x", "--header", "A: s3cret"], 2, "header: goes with a URL"),
        (["--mcp", "http://h", "--header", "s3cret"], 2, "header: expected 'Name: value'"),
        (["--mcp", "http://h", "--header", "A: s3cret\nB: c"], 2, "header: expected 'Name: value'"),
        (["--mcp", "x", "--timeout", "0"], 2, "--timeout"),
        (["--mcp", "x", "--text", "y"], 2, "exactly one"),
        (["--mcp", "x", "y"], 2, "exactly one"),
        (["--mcp", "x", "--diff", "y"], 2, "exactly one"),
        (["--mcp", "x", "--max-context", "5"], 2, "--max-context"),
        (["--text", "x", "--timeout", "5"], 2, "go with --mcp"),
        (["--text", "x", "--header", "A: s3cret"], 2, "go with --mcp"),
        (["--mcp", "no-such-program", "--model", "nothing_base"], 2, "no encoding is called"),
    ],
)
def test_wrong_values(run: Run, arguments: list[str], exit_code: int, said: str) -> None:
    result = run("count", *arguments)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert said in result.stderr
    assert "s3cret" not in result.stderr


def test_targets_show_no_secrets() -> None:
    target = read_target("https://host/mcp", ["Authorization: Bearer s3cret"])
    assert target.headers == (("Authorization", "Bearer s3cret"),)
    assert "s3cret" not in repr(target)
    with pytest.raises(InvalidInput, match="command or a URL"):
        read_target("")


# Over HTTP


@contextmanager
def served(application: ASGIApp) -> Generator[str]:
    """An application on a port of the loopback; yields its origin."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(application, log_level="critical", lifespan="on", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(NET_SECONDS)


def sdk_server() -> MCPServer:
    server = MCPServer("Sums", version="7", instructions="Add with care.", log_level="CRITICAL")

    @server.tool()
    def add(first: int, second: int) -> int:
        """Add two numbers."""
        return first + second

    return server


@pytest.mark.parametrize("json_response", [True, False])
def test_by_streamable_http(answer: Json, json_response: bool) -> None:
    with served(sdk_server().streamable_http_app(json_response=json_response)) as origin:
        found = answer("count", "--mcp", f"{origin}/mcp")
    assert (found["server"], [one["name"] for one in found["tools"]]) == ("Sums 7", ["add"])
    assert found["instructions"]["tokens"] > 0


def test_by_the_older_sse(answer: Json) -> None:
    with served(sdk_server().sse_app()) as origin:
        found = answer("count", "--mcp", f"{origin}/sse")
    assert [one["name"] for one in found["tools"]] == ["add"]


def test_a_header_is_sent_and_its_lack_is_told(answer: Json, run: Run) -> None:
    inner = sdk_server().streamable_http_app(json_response=True)

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (b"authorization", b"Bearer s3cret") in scope["headers"]:
            await inner(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"s3cret is the password"})

    with served(guarded) as origin:
        refused = run("count", "--mcp", f"{origin}/mcp", "--header", "Authorization: Bearer s3cre")
        found = answer("count", "--mcp", f"{origin}/mcp", "--header", "Authorization: Bearer s3cret")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "wants authentication (HTTP 401)" in refused.stderr
    assert "s3cre" not in refused.stderr
    assert [one["name"] for one in found["tools"]] == ["add"]


@contextmanager
def answering(
    status: int, body: bytes = b"", content_type: str = "text/html", headers: dict[str, str] | None = None
) -> Generator[str]:
    """A web server that is none of MCP."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            del format, args

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/mcp"
        finally:
            server.shutdown()
            thread.join(NET_SECONDS)


@pytest.mark.parametrize(
    ("status", "body", "content_type", "said"),
    [
        (404, b"", "text/html", "answered HTTP 404."),
        (500, b"<html>", "text/html", "answered HTTP 500."),
        (403, b"", "text/html", "wants authentication (HTTP 403)"),
        (200, b"<html>", "text/html", "refused: Unexpected content type"),
        (200, b"{bad", "application/json", "refused: Failed to parse JSON response"),
    ],
)
def test_what_is_no_mcp_server(run: Run, status: int, body: bytes, content_type: str, said: str) -> None:
    with answering(status, body, content_type) as url:
        result = run("count", "--mcp", url, "--timeout", str(NET_SECONDS))
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_sdk_logs_nothing_beside_the_error() -> None:
    arguments = [sys.executable, "-m", "tokenward", "--store", "memory://", "count", "--mcp"]
    with answering(200, b"{bad", "application/json") as url:
        done = subprocess.run([*arguments, url], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: --mcp: the server refused: Failed to parse JSON response")
    assert done.stderr.count("\n") == 1


def test_an_answer_without_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_tools, "MAX_LIST_BYTES", 1_000)
    with answering(200, b'"' + b"x" * 2_000 + b'"', "application/json") as url:
        result = run("count", "--mcp", url, "--timeout", str(NET_SECONDS))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "list of tools is longer than 16 MiB" in result.stderr


def test_a_compressed_answer(run: Run) -> None:
    packed = {"content-encoding": "gzip"}
    with answering(200, gzip.compress(b"x" * 2**20), "application/json", packed) as url:
        result = run("count", "--mcp", url, "--timeout", str(NET_SECONDS))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "compressed form that was not asked for" in result.stderr


def test_a_list_that_is_too_long(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_tools, "MAX_LIST_BYTES", 100)
    result = run("count", "--mcp", command("good"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "list of tools is longer than 16 MiB" in result.stderr


def test_nobody_there(run: Run) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        result = run("count", "--mcp", f"http://127.0.0.1:{port}/mcp?key=s3cret")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: --mcp: the server cannot be reached (ConnectError).\n"
