"""What a caller writes and what must stay secret is nowhere but where it belongs: a server is looked through."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from threading import Thread

import httpx2
import pytest

from tests.server.auth.doors import ADMIN, ALICE, BOB, auth_table
from tests.server.auth.issuer import AUDIENCE, ISSUER, OTHER_RSA_KEY, RSA_KEY, Issuer, key_set, public, serving
from tests.waiting import NET_SECONDS
from tokenward.engine.types import JsonObject, JsonValue, system_clock

PROMPT = "zebra-prompt-51c1"
KEY = "sk-zebra-key-77aa"
PASSWORD = "zebra-password-0b1d"
WRONG = "tw_zebra-wrong-token"
ADDRESS_KEY = "zebra-address-9d33"

MESSAGES: JsonValue = [
    {"role": "system", "content": f"{PROMPT} system"},
    {"role": "user", "content": [{"type": "text", "text": f"{PROMPT} part"}, {"type": "unknown", "x": PROMPT}]},
]
PLAIN: JsonValue = [{"role": "user", "content": f"{PROMPT} asks"}, {"role": "assistant", "content": f"{PROMPT} says"}]
TOOLS: JsonValue = [{"type": "function", "function": {"name": "f", "description": PROMPT, "parameters": {}}}]
RESPONSE: JsonObject = {
    "model": "gpt-4o",
    "choices": [{"message": {"content": PROMPT}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}

TEXTS: JsonValue = [PROMPT for _ in range(30)]

CALLS: list[tuple[str, JsonObject]] = [
    ("count_tokens", {"text": PROMPT, "model": "gpt-4o"}),
    ("count_tokens", {"texts": TEXTS, "model": "claude-sonnet-4-5", "detail": "full"}),
    ("count_tokens", {"text": PROMPT, "texts": [PROMPT], "model": "gpt-4o"}),
    ("count_tokens", {"text": {"a": PROMPT}, "model": "gpt-4o"}),
    ("count_tokens", {"text": PROMPT, "model": "gpt-4o", "max_context": -1}),
    ("count_messages", {"messages": PLAIN, "model": "gpt-4o", "tools": TOOLS}),
    ("count_messages", {"messages": MESSAGES, "model": "gpt-4o"}),
    ("count_messages", {"messages": [{"role": "user", "content": {"deep": [PROMPT]}}], "model": "gpt-4o"}),
    ("count_messages", {"messages": PROMPT, "model": "gpt-4o"}),
    ("count_messages", {"messages": [PROMPT], "model": "gemini-2.5-pro", "format": "gemini"}),
    ("estimate_cost", {"text": PROMPT, "model": "gpt-4o", "compare": ["claude-sonnet-4-5"]}),
    ("check_quota", {"messages": PLAIN, "model": "gpt-4o", "reserve": True, "idempotency_key": "k"}),
    ("check_quota", {"messages": MESSAGES, "model": "gpt-4o", "user": "bob"}),
    ("record_usage", {"model": "gpt-4o", "response": RESPONSE}),
    ("record_usage", {"model": "gpt-4o", "response": {"usage": PROMPT}}),
    ("record_usage", {"model": "gpt-4o", "response": {"usage": {"prompt_tokens": PROMPT}}}),
    ("truncate_history", {"messages": MESSAGES, "max_tokens": 1, "model": "gpt-4o", "strategy": "nonsense"}),
    ("compress_messages", {"messages": [{"role": "critic", "content": PROMPT}], "model": "gpt-4o"}),
    ("usage_report", {"period": "7d", "group_by": "session"}),
    ("usage_report", {"period": "7d", "cursor": PROMPT}),
]
"""Good and bad calls. What a tool gives back of a history is the caller's own, so none of those is here."""

BODIES = [
    json.dumps({"jsonrpc": "2.0", "id": 1, "method": "nonsense", "params": {"text": PROMPT}}),
    json.dumps({"jsonrpc": "2.0", "id": {PROMPT: 1}, "method": "tools/call"}),
    json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x", "arguments": PROMPT}}),
    f'{{"jsonrpc": "2.0", "id": 1, "method": "{PROMPT}',
    f"{PROMPT}",
]


PATHS = (f"/admin/limits?x={PROMPT}", f"/{PROMPT}", "/admin/usage", "/healthz", "/readyz", "/metrics")


class Server:
    """The real server in a process of its own, with all that it writes."""

    def __init__(self, folder: Path, jwks_url: str) -> None:
        jwt = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": f"{jwks_url}?key={ADDRESS_KEY}"}
        tokens = [
            {"hash": one.hash, "subject": one.subject, "scopes": list(one.scopes), "groups": list(one.groups)}
            for one in auth_table().tokens
        ]
        environment = {
            **os.environ,
            "TOKENWARD_AUTH": json.dumps({"tokens": tokens, "jwt": jwt}),
            "TOKENWARD_STORE": f"sqlite:///{folder / 'ledger.db'}",
            "TOKENWARD_CONFIG": "",
            "TOKENWARD_PROVIDER_URLS": json.dumps({"openai": f"{jwks_url.rpartition('/')[0]}/v1"}),
            "TOKENWARD_LIMITS": json.dumps([{"subject": "default", "window": "day", "limit": 100_000}]),
            "OPENAI_API_KEY": KEY,
            "ANTHROPIC_API_KEY": KEY,
            "PGPASSWORD": PASSWORD,
        }
        command = [
            sys.executable,
            "-m",
            "tokenward",
            "--log-level",
            "debug",
            "serve",
            "--transport",
            "sse",
            "--port",
            "0",
        ]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.written: list[str] = []
        assert self.process.stderr is not None
        while "Listening on " not in (line := self.process.stderr.readline()):
            assert line, "".join(self.written)
            self.written.append(line)
        self.url = line.split("Listening on ")[1].strip()
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.written += self.process.stderr

    def end(self) -> str:
        """What it wrote."""
        self.process.send_signal(signal.SIGTERM)
        output = self.process.stdout.read() if self.process.stdout else ""
        code = self.process.wait(NET_SECONDS)
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        assert code == 0
        return output + "".join(self.written)


FOLLOWED: list[tuple[str, JsonObject]] = [
    ("count_tokens", {"text": PROMPT, "model": "gpt-4o"}),
    ("truncate_history", {"messages": PLAIN, "max_tokens": 1_000, "model": "gpt-4o"}),
    ("compress_messages", {"messages": PLAIN, "model": "gpt-4o"}),
]
"""Calls whose progress is followed; the last two answer with what they were given, which is the caller's own."""


def tool_call(request_id: int, name: str, arguments: JsonObject) -> JsonObject:
    meta: JsonObject = {"progressToken": f"{PROMPT} token"}
    params: JsonObject = {"name": name, "arguments": arguments, "_meta": meta}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


def follow(client: httpx2.Client, url: str, answers: list[str]) -> None:
    """Calls whose answers are events."""
    for name, arguments in FOLLOWED:
        headers = {"Authorization": f"Bearer {ALICE}"}
        response = client.post(url, content=json.dumps(tool_call(1, name, arguments)), headers=headers)
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "structuredContent" in response.text
        answers.append(f"{response.headers}")


def over_sse(client: httpx2.Client, url: str, answers: list[str]) -> None:
    """The same, and what has no answer, over the legacy transport."""
    base = url.removesuffix("/mcp")
    headers = {"Authorization": f"Bearer {ALICE}"}
    client_info: JsonObject = {"name": PROMPT, "version": PROMPT}
    hello: JsonObject = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": client_info}
    said: list[JsonObject] = [
        {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        *(tool_call(number, *one) for number, one in enumerate(FOLLOWED, 1)),
        {"jsonrpc": "2.0", "id": 11, "method": "resources/read", "params": {"uri": f"other://{PROMPT}"}},
        {"jsonrpc": "2.0", "id": 12, "method": "prompts/get", "params": {"name": PROMPT}},
        {"jsonrpc": "2.0", "id": 13, "method": PROMPT, "params": {"text": PROMPT}},
        {"jsonrpc": "2.0", "method": PROMPT, "params": {"text": PROMPT}},
        {"jsonrpc": "2.0", "id": 14, "result": {"text": PROMPT}},
        {"jsonrpc": "2.0", "id": 15, "error": {"code": 1, "message": PROMPT}},
    ]
    with client.stream("GET", f"{base}/sse", headers=headers) as stream:
        lines = (line.removeprefix("data: ") for line in stream.iter_lines() if line.startswith("data: "))
        path = next(lines)
        for one in said:
            response = client.post(f"{base}{path}", content=json.dumps(one), headers=headers)
            assert response.status_code == 202, response.text
            answers.append(f"{response.headers} {response.text}")
        asked = {str(one["id"]) for one in said if "id" in one and "method" in one}
        while asked:
            asked.discard(str(json.loads(next(lines)).get("id")))
    forged = client.post(f"{base}/messages/?session_id=x%0aERROR+{PROMPT}", content="{}", headers=headers)
    answers.append(f"{forged.headers} {forged.text}")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_nothing_of_a_caller_or_a_secret_is_left_anywhere(tmp_path: Path) -> None:
    issuer = Issuer(system_clock() // 1_000_000)
    good, forged = issuer.token(sub="ann"), issuer.token(key=OTHER_RSA_KEY, kid="other")
    headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    with serving(key_set(public(RSA_KEY, "one"))) as (jwks_url, _):
        server = Server(tmp_path, jwks_url)
        answers: list[str] = []
        try:
            with httpx2.Client(headers=headers, timeout=NET_SECONDS) as client:

                def post(token: str, body: str) -> None:
                    response = client.post(server.url, content=body, headers={"Authorization": f"Bearer {token}"})
                    answers.append(f"{response.headers} {response.text}")

                follow(client, server.url, answers)
                over_sse(client, server.url, answers)
                for token in (ALICE, good, forged, WRONG):
                    for name, arguments in CALLS if token != good else CALLS[:2]:
                        params: JsonObject = {"name": name, "arguments": arguments}
                        post(token, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))
                    for body in BODIES:
                        post(token, body)
                base = server.url.removesuffix("/mcp")
                for path in (
                    f"/admin/limits?x={PROMPT}",
                    f"/{PROMPT}",
                    "/admin/usage",
                    "/healthz",
                    "/readyz",
                    "/metrics",
                ):
                    for token in (BOB, ADMIN, WRONG):
                        response = client.get(f"{base}{path}", headers={"Authorization": f"Bearer {token}"})
                        answers.append(f"{response.headers} {response.text}")
        finally:
            written = server.end()
    assert any("tokens" in one for one in answers)
    ledger = b"".join(one.read_bytes() for one in sorted(tmp_path.iterdir()) if one.is_file())
    assert b"alice" in ledger
    secrets = {"a token": ALICE, "a wrong token": WRONG, "a JWT": good, "a forged JWT": forged}
    secrets |= {"the provider's key": KEY, "a password": PASSWORD, "a prompt": PROMPT, "an address": ADDRESS_KEY}
    signatures = {
        f"{name}'s signature": text.rpartition(".")[2] for name, text in (("a JWT", good), ("a forged", forged))
    }
    for name, secret in {**secrets, **signatures}.items():
        assert secret not in written, name
        assert secret.encode() not in ledger, name
        assert secret not in "\n".join(answers), name
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        keys = [str(value) for (value,) in database.execute("SELECT value FROM ledger_secret")]
    assert keys
    for own in (*keys, "alice"):
        assert own not in written
