"""A server on the loopback that speaks the providers' counting APIs as they are documented, over real sockets.

A "token" is a word here; every message has a frame, so that what is subtracted shows.
"""

import json
import re
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeAlias

from tokenward.engine.types import JsonObject, JsonValue

KEYS = {"anthropic": "sk-ant-secret-key", "gemini": "AIza-secret-key", "openai": "sk-openai-secret-key"}
VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY", "openai": "OPENAI_API_KEY"}
FRAME = 7
PER_TOOL = 10


@dataclass(frozen=True)
class Asked:
    """A request as it came in; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: JsonObject


@dataclass(frozen=True)
class Reply:
    """An answer to give."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])


Answer: TypeAlias = Callable[[Asked], Reply]


def words(value: JsonValue) -> int:
    """The words of every text in a value."""
    if isinstance(value, str):
        return len(value.split()) or 1
    if isinstance(value, list):
        return sum(map(words, value))
    if isinstance(value, dict):
        texts = ("text", "content", "parts", "input", "arguments", "output", "thinking")
        return sum(words(one) for key, one in value.items() if key in texts)
    return 0


def documented(asked: Asked) -> Reply:
    """What the provider whose path it is answers."""
    if asked.path == "/v1/messages/count_tokens":
        return _anthropic(asked)
    if match := re.fullmatch(r"/v1beta/models/([\w.-]+):countTokens", asked.path):
        return _gemini(asked, match[1])
    if asked.path == "/v1/responses/input_tokens":
        return _openai(asked)
    return Reply(404, b"Not Found")


def _anthropic(asked: Asked) -> Reply:
    if asked.headers.get("x-api-key") != KEYS["anthropic"]:
        return _error(401, {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}})
    body, messages = asked.body, asked.body.get("messages")
    known = {"model", "messages", "system", "tools", "tool_choice", "thinking"}
    if asked.headers.get("anthropic-version") != "2023-06-01" or not messages or not body.keys() <= known:
        return _error(400, {"type": "error", "error": {"type": "invalid_request_error", "message": repr(body)}})
    tokens = FRAME + words(messages) + words(body.get("system")) + PER_TOOL * _length(body.get("tools"))
    return _json({"input_tokens": tokens})


def _gemini(asked: Asked, model: str) -> Reply:
    if asked.headers.get("x-goog-api-key") != KEYS["gemini"]:
        details: JsonValue = [{"reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
        error: JsonObject = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}
        return _error(400, {"error": error | {"details": details}})
    body = asked.body
    inner = body.get("generateContentRequest")
    if isinstance(inner, dict) and "contents" not in body and inner.get("model") == f"models/{model}":
        body = inner
    if not body.get("contents") or not body.keys() <= {"model", "contents", "systemInstruction", "tools", "toolConfig"}:
        return _error(400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": repr(body)}})
    tokens = FRAME + words(body["contents"]) + words(body.get("systemInstruction"))
    tokens += PER_TOOL * _length(body.get("tools"))
    modalities: JsonValue = [{"modality": "TEXT", "tokenCount": tokens}]
    return _json({"totalTokens": tokens, "promptTokensDetails": modalities})


def _openai(asked: Asked) -> Reply:
    if asked.headers.get("authorization") != f"Bearer {KEYS['openai']}":
        return _error(401, {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error"}})
    body = asked.body
    if not body.get("input") or not body.keys() <= {"model", "input", "instructions", "tools", "tool_choice"}:
        return _error(400, {"error": {"message": repr(body), "type": "invalid_request_error"}})
    tokens = FRAME + words(body["input"]) + words(body.get("instructions")) + PER_TOOL * _length(body.get("tools"))
    return _json({"object": "response.input_tokens", "input_tokens": tokens})


def _length(value: JsonValue) -> int:
    return len(value) if isinstance(value, list) else 0


def _json(body: JsonObject) -> Reply:
    return Reply(200, json.dumps(body).encode(), {"content-type": "application/json"})


def _error(status: int, body: JsonObject) -> Reply:
    return Reply(status, json.dumps(body).encode(), {"content-type": "application/json"})


class ProviderDouble:
    """All three APIs on one port.

    Args:
        certificate: Speak TLS with this certificate and key.

    Attributes:
        asked: The requests so far.
        answer: What answers the next ones.
        most_at_once: The most requests that were ever under way together.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.asked: list[Asked] = []
        self.answer: Answer = documented
        self.most_at_once = 0
        self._under_way = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = double.handle(Asked(self.path, headers, json.loads(content)))
                try:
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(reply.body)))
                    self.end_headers()
                    self.wfile.write(reply.body)
                except OSError:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")

    def handle(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            return self.answer(asked)
        finally:
            with self._lock:
                self._under_way -= 1

    def never(self, _asked: Asked) -> Reply:
        """Answer when the test is over."""
        self._closing.wait()
        return Reply(500)

    @contextmanager
    def running(self) -> Generator["ProviderDouble"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._closing.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join(10)


def always(status: int, body: bytes = b"", **headers: str) -> Answer:
    """The same answer to everything; ``retry_after`` is the header ``retry-after``."""
    reply = Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})
    return lambda _asked: reply
