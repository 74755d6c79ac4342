"""Messages that are no JSON-RPC, or nearly: made from good ones by a seed, for both protocol eras."""

import json
import random
from collections.abc import Callable
from typing import Literal, TypeAlias

from tokenward.engine.types import JsonObject, JsonValue

Era: TypeAlias = Literal["2025-11-25", "2026-07-28"]

ODD_VALUES: tuple[JsonValue, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    2**70,
    1e308,
    "",
    "\x00",
    "\ud800",
    "é" * 300,
    [],
    [[]],
    {},
    {"": {}},
    [None, 1, "a"],
)
METHODS = ("ping", "initialize", "tools/list", "tools/call", "resources/read", "prompts/get", "no/such", "")
NOTICES = ("notifications/initialized", "notifications/progress", "notifications/cancelled", "notifications/none")
TOOLS: tuple[tuple[str, JsonObject], ...] = (
    ("count_tokens", {"text": "some words", "model": "gpt-4o"}),
    ("check_quota", {"tokens": 5}),
    ("release_quota", {"reservation_id": "none"}),
    ("estimate_cost", {"model": "gpt-4o", "input_tokens": 7}),
)
ENVELOPE: JsonObject = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "fuzz", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Malformed:
    """Makes messages. Ids are never used twice, so that no cancellation meets a request."""

    def __init__(self, seed: int, era: Era) -> None:
        self._random = random.Random(seed)
        self._era = era
        self._id = 1_000_000
        self._ways: tuple[Callable[[JsonObject], bytes], ...] = (
            self._cut,
            self._flipped,
            self._doubled,
            self._odd_field,
            self._odd_field,
            self._odd_argument,
            self._missing,
            self._batch,
            self._noise,
            self._deep,
            self._answer,
            _as_it_is,
        )

    def next(self) -> bytes:
        """The next message; it holds no line break."""
        made = self._random.choice(self._ways)(self._message())
        return made.replace(b"\n", b" ").replace(b"\r", b" ")

    def _message(self) -> JsonObject:
        """A good message."""
        if self._random.random() < 0.15:
            return {"jsonrpc": "2.0", "method": self._random.choice(NOTICES), "params": {}}
        self._id += 1
        method = self._random.choice(METHODS)
        params: JsonObject = {}
        if method == "tools/call":
            name, arguments = self._random.choice(TOOLS)
            params = {"name": name, "arguments": dict(arguments)}
        if self._era == "2026-07-28":
            params["_meta"] = dict(ENVELOPE)
        return {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}

    def _cut(self, message: JsonObject) -> bytes:
        data = _as_it_is(message)
        return data[: self._random.randrange(len(data))]

    def _flipped(self, message: JsonObject) -> bytes:
        data = bytearray(_as_it_is(message))
        for _ in range(self._random.randint(1, 4)):
            data[self._random.randrange(len(data))] = self._random.randrange(256)
        return bytes(data)

    def _doubled(self, message: JsonObject) -> bytes:
        data = _as_it_is(message)
        start = self._random.randrange(len(data))
        return data[:start] + data[start : start + self._random.randint(1, 30)] + data[start:]

    def _odd_field(self, message: JsonObject) -> bytes:
        return _as_it_is({**message, self._random.choice(list(message)): self._random.choice(ODD_VALUES)})

    def _odd_argument(self, message: JsonObject) -> bytes:
        params = message["params"]
        assert isinstance(params, dict)
        inner = params.get("arguments")
        where = inner if isinstance(inner, dict) and self._random.random() < 0.7 else params
        where[self._random.choice([*where, "other"])] = self._random.choice(ODD_VALUES)
        return _as_it_is(message)

    def _missing(self, message: JsonObject) -> bytes:
        message.pop(self._random.choice(list(message)))
        return _as_it_is(message)

    def _batch(self, message: JsonObject) -> bytes:
        return json.dumps([message] * self._random.randint(0, 3)).encode()

    def _noise(self, _: JsonObject) -> bytes:
        return self._random.randbytes(self._random.randint(1, 200))

    def _deep(self, message: JsonObject) -> bytes:
        levels = self._random.choice((50, 190, 260, 2_000, 50_000))
        data = _as_it_is({**message, "params": {"name": "count_tokens", "arguments": {"text": "HERE"}}})
        return data.replace(b'"HERE"', b"[" * levels + b"]" * levels)

    def _answer(self, message: JsonObject) -> bytes:
        """An answer to what nobody asked."""
        kind = self._random.choice(("result", "error"))
        return _as_it_is({"jsonrpc": "2.0", "id": message.get("id", 1), kind: self._random.choice(ODD_VALUES)})


def _as_it_is(message: JsonObject) -> bytes:
    return json.dumps(message).encode()
