"""OpenTelemetry for real: a server in a process of its own, and a collector on loopback that gets what it sends."""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from typing import Any

import pytest

from tests.waiting import NET_SECONDS
from tokenward.engine.errors import ConfigurationError
from tokenward.server.telemetry.running import start_telemetry
from tokenward.server.telemetry.settings import TelemetrySettings

SECRET = "my secret words"

MESSAGES: list[dict[str, Any]] = [
    {
        "method": "initialize",
        "id": 1,
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
    },
    {"method": "notifications/initialized"},
    {
        "method": "tools/call",
        "id": 2,
        "params": {
            "name": "record_usage",
            "arguments": {"model": "gpt-4o", "input_tokens": 100, "output_tokens": 20, "user": SECRET},
            "_meta": {"traceparent": f"00-{7:032x}-{8:016x}-01", "tracestate": f"v={SECRET}"},
        },
    },
    {
        "method": "tools/call",
        "id": 3,
        "params": {"name": "count_tokens", "arguments": {"text": SECRET, "model": "gpt-4o"}},
    },
]


@dataclass
class Collector:
    """What came in, by path."""

    bodies: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])
    port: int = 0

    @property
    def content(self) -> bytes:
        return b"".join(b"".join(some) for some in self.bodies.values())


@pytest.fixture
def collector() -> Iterator[Collector]:
    """An OTLP/HTTP receiver."""
    got = Collector()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.bodies.setdefault(self.path, []).append(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has
            """Be quiet."""

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        got.port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield got
        server.shutdown()
        thread.join()


PATIENT = """
from tokenward.server.entry import main
from tokenward.server.telemetry import otel
otel.CLOSE_SECONDS = 600.0  # longer than a test may take
main()
"""


def served(port: int, *, patient: bool = False) -> subprocess.CompletedProcess[bytes]:
    """A server that gets the messages, answers, and ends; a patient one when all it has to send was taken."""
    given = {
        "TOKENWARD_STORE": "memory://",
        "TOKENWARD_TELEMETRY": json.dumps({"otel": True, "logs": "json"}),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "600",  # longer than a test may take
    }
    with subprocess.Popen(
        [sys.executable, *(("-c", PATIENT) if patient else ("-m", "tokenward")), "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **given},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for message in MESSAGES:
                process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            process.stdin.flush()
            answers = [process.stdout.readline() for message in MESSAGES if "id" in message]
            _, errors = process.communicate(timeout=NET_SECONDS)
        finally:
            process.kill()
    return subprocess.CompletedProcess([], process.returncode, b"".join(answers), errors)


def decoded(signal: str, body: bytes) -> Any:
    """A request of OTLP as JSON has it. The generated modules have no types."""
    messages: Any = import_module(f"opentelemetry.proto.collector.{signal}.v1.{signal}_service_pb2")
    request: Any = getattr(messages, f"Export{signal.capitalize()}ServiceRequest")
    json_format: Any = import_module("google.protobuf.json_format")
    return json_format.MessageToDict(request.FromString(body))


def test_traces_and_metrics_arrive_and_hold_no_text_of_a_clients(collector: Collector) -> None:
    done = served(collector.port, patient=True)
    assert done.returncode == 0
    assert done.stderr == b""
    assert set(collector.bodies) == {"/v1/traces", "/v1/metrics"}
    spans, resources = dict[str, Any](), list[dict[str, Any]]()
    for body in collector.bodies["/v1/traces"]:
        for one in decoded("trace", body)["resourceSpans"]:
            resources.append({given["key"]: given["value"] for given in one["resource"]["attributes"]})
            spans.update({span["name"]: span for scope in one["scopeSpans"] for span in scope["spans"]})
    assert {"initialize", "tools/call record_usage", "tools/call count_tokens", "ledger"} <= set(spans)
    assert spans["ledger"]["parentSpanId"] == spans["tools/call record_usage"]["spanId"]
    assert base64.b64decode(spans["tools/call record_usage"]["traceId"]) == (7).to_bytes(16)
    attributes = {one["key"]: one["value"] for one in spans["tools/call record_usage"]["attributes"]}
    assert attributes["gen_ai.usage.input_tokens"] == {"intValue": "100"}
    assert [one["service.name"] for one in resources] == [{"stringValue": "tokenward"}] * len(resources)
    assert all(one["service.instance.id"]["stringValue"] for one in resources)
    metrics = {
        metric["name"]
        for body in collector.bodies["/v1/metrics"]
        for one in decoded("metrics", body)["resourceMetrics"]
        for scope in one["scopeMetrics"]
        for metric in scope["metrics"]
    }
    assert {"mcp.server.operation.duration", "tokenward.usage.tokens", "tokenward.ledger.commit.duration"} <= metrics
    assert SECRET.encode() not in collector.content


@pytest.mark.parametrize("listens", [False, True])
def test_a_collector_that_does_not_answer_keeps_nobody(listens: bool) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if listens:
            listener.listen()
        done = served(listener.getsockname()[1])
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 3
    assert SECRET.encode() not in done.stderr


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenward.server.telemetry.otel", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'tokenward\[otel\]'"):
        start_telemetry(TelemetrySettings(otel=True), transport="pipe")


def test_by_default_nothing_of_it_is_even_loaded() -> None:
    code = (
        "import sys; from tokenward.server.application import build_server;"
        "from tokenward.server.settings import load_settings;"
        "from tokenward.server.telemetry.running import start_telemetry;"
        "settings = load_settings(store='memory://');"
        "build_server(settings, telemetry=start_telemetry(settings.telemetry, transport='pipe')).tools;"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'prometheus_client'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
