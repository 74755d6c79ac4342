"""How long a client waits for the first answer: from starting the process to the answer to `initialize`.

The floor is a bare server on the same SDK, so the ratio is what tokenward adds of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.timing import compare, print_table

REQUEST = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "0"},
    },
}
OURS = [sys.executable, "-m", "tokenward", "serve"]
FLOOR = [sys.executable, str(Path(__file__).with_name("bare_server.py"))]


def seconds_to_initialize(command: Sequence[str], cwd: str) -> float:
    line = (json.dumps(REQUEST) + "\n").encode()
    start = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=cwd) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a pipe is missing")
        process.stdin.write(line)
        process.stdin.flush()
        answer = process.stdout.readline()
        elapsed = time.perf_counter() - start
        process.stdin.close()
        process.stdout.read()
    if b'"serverInfo"' not in answer:
        raise RuntimeError(f"{' '.join(command)} answered {answer!r}")
    return elapsed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--check", type=float, metavar="RATIO", help="fail if the median ratio is above RATIO")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cwd:
        result = compare(
            lambda: seconds_to_initialize(OURS, cwd),
            lambda: seconds_to_initialize(FLOOR, cwd),
            pairs=options.pairs,
        )
    low, high = result.ratio_quartiles
    print_table(
        "Start of the process to the answer to `initialize`, over stdio",
        [
            ("server", "median", "ratio", "quartiles"),
            ("bare SDK", f"{result.right * 1000:.0f} ms", "1.00", ""),
            ("tokenward", f"{result.left * 1000:.0f} ms", f"{result.ratio:.2f}", f"{low:.2f} to {high:.2f}"),
        ],
    )
    if options.check is not None and result.ratio > options.check:
        print(f"\nThe ratio {result.ratio:.2f} is above {options.check:.2f}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
