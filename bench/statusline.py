"""How long an editor waits for its status line: the whole process of `tokenward statusline`, on a SQLite ledger.

The floor is Python itself: a process that imports nothing. The other command is `tokenward --version`, which loads the
command line but no settings and no ledger.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.timing import compare, print_table

OURS = [sys.executable, "-m", "tokenward"]
FLOOR = [sys.executable, "-c", "pass"]


def seconds_of(command: Sequence[str], environment: Mapping[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return time.perf_counter() - start


def ledger(folder: Path) -> dict[str, str]:
    """The environment of a ledger with a limit and some usage."""
    environment = os.environ | {"TOKENWARD_STORE": f"sqlite:///{folder / 'ledger.db'}", "TOKENWARD_USER": "alice"}
    for arguments in (
        ["quota", "set", "user:alice", "tokens/day", "1000000"],
        ["record", "--model", "gpt-4o", "--input", "700000", "--output", "1000"],
        ["statusline"],
    ):
        subprocess.run([*OURS, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
    return environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = ledger(Path(folder))

        def sample(command: Sequence[str]) -> Callable[[], float]:
            return lambda: seconds_of(command, environment)

        rows: list[tuple[str, ...]] = [("process", "median", "ratio", "quartiles")]
        for name in ("statusline", "--version"):
            result = compare(sample([*OURS, name]), sample(FLOOR), pairs=options.pairs)
            rows.append((f"tokenward {name}", f"{result.left * 1000:.0f} ms", *result.ratio_cells))
            floor = result.right
    print_table("The whole process", [rows[0], ("python, nothing", f"{floor * 1000:.0f} ms", "1.00", ""), *rows[1:]])


if __name__ == "__main__":
    main()
