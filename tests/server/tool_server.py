"""A server of tools that behaves as its first argument says, for tests. It speaks JSON-RPC by hand, to misbehave."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TypeAlias

STUBBORN_CHILD = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(flush=True)
time.sleep(600)
"""

Json: TypeAlias = dict[str, object]

SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string", "description": "Where to look."}}}
WEATHER: Json = {"name": "weather", "description": "The weather of a city.", "inputSchema": SCHEMA}
CLOCK: Json = {"name": "clock", "inputSchema": {"type": "object", "properties": {}}}
EVIL: Json = {"name": "e\x1b[31mvil\n fake 1", "description": "\x1b]0;owned\x07", "inputSchema": {"type": "object"}}


def main(mode: str) -> None:
    match mode:
        case "exits":
            print("Traceback (most recent call last):\nModuleNotFoundError: \x1b[31mno", file=sys.stderr)
            sys.exit(3)
        case "garbage":
            print("Welcome to my server!\n{bad", flush=True)
        case _:
            pass
    for number, line in enumerate(sys.stdin):
        if mode == "silent":
            continue
        if mode == "stubborn" and number == 0:  # whoever speaks to this process knows that it runs
            child = subprocess.Popen([sys.executable, "-c", STUBBORN_CHILD], stdout=subprocess.PIPE)
            assert child.stdout is not None
            child.stdout.readline()
            Path(sys.argv[2]).write_text(f"{os.getpid()} {child.pid}", encoding="utf-8")
        message = json.loads(line)
        if "id" in message:
            params: Json = message.get("params") or {}
            told = answer(mode, message["method"], str(params.get("cursor", "")))
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **told}), flush=True)
    if mode == "stubborn" and len(sys.argv) > 3:
        time.sleep(600)


def answer(mode: str, method: str, cursor: str) -> Json:
    if method == "initialize":
        hello: Json = {
            "protocolVersion": "2025-06-18",
            "capabilities": {} if mode == "none" else {"tools": {}},
            "serverInfo": {"name": "Weather\x1b[31m", "version": "1.2"},
        }
        return {"result": hello | ({"instructions": "Ask for the weather first."} if mode == "good" else {})}
    if method != "tools/list" or mode == "none":
        return {"error": {"code": -32601, "message": "Method not found"}}
    if mode == "refuses":
        return {"error": {"code": -32000, "message": "not \x1b[31mtoday"}}
    return {"result": page(mode, cursor)}


def page(mode: str, cursor: str) -> Json:
    pages: dict[str, Json] = {
        "evil": {"tools": [EVIL, CLOCK]},
        "circle": {"tools": [CLOCK], "nextCursor": "again"},
        "endless": {"tools": [], "nextCursor": f"{cursor}x"},
        "many": {"tools": [CLOCK] * 1_000, "nextCursor": f"{cursor}x"},
        "wrong": {"tools": [{"name": 5}]},
        "nameless": {"tools": [CLOCK | {"name": "", "description": "It has none."}]},
    }
    return pages.get(mode, {"tools": [CLOCK]} if cursor else {"tools": [WEATHER], "nextCursor": "2"})


if __name__ == "__main__":
    main(sys.argv[1])
