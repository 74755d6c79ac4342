"""Time to the first count, and the memory it takes, each in a process of its own.

`first count` is from having imported the counter to its first answer; `import` is what importing it takes before.
Memory is what the process holds after the count, and of that what it did not hold before the import.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.timing import print_table

ENCODINGS = ("gpt2", "r50k_base", "p50k_base", "p50k_edit", "cl100k_base", "o200k_base", "o200k_harmony")
MODELS = ("claude-opus-5", "claude-sonnet-4-5", "gemini-2.5-pro", "grok-4", "mistral-large", "llama-3", "who-knows")
TEXT = "How long does the first one take?"


def resident_bytes() -> int:
    """What this process holds in memory, as Linux says it; 0 elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def count_once(model: str, *, fast: bool) -> dict[str, object]:
    """Count once, in this process."""
    before, started = resident_bytes(), time.perf_counter()
    from tokenward.engine.counting.counter import TokenCounter  # noqa: PLC0415 - measured
    from tokenward.engine.tokenizers.base import TokenizerOptions  # noqa: PLC0415 - measured

    imported = time.perf_counter()
    counter = TokenCounter(options=TokenizerOptions(fast=fast))
    result = counter.count_tokens(TEXT, model)
    counted = time.perf_counter()
    by_fast = counter.get_performance_metrics()["fast_calls"]
    return {
        "method": "toktok" if by_fast else result.method,
        "import": imported - started,
        "first": counted - imported,
        "resident": resident_bytes(),
        "added": resident_bytes() - before,
    }


def measured(model: str, *, fast: bool, times: int) -> tuple[str, ...]:
    """A row of the table: the medians of several processes."""
    command = [sys.executable, "-m", "bench.first_count", model, "fast" if fast else "slow"]
    found = [
        json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
        for _ in range(times)
    ]
    middle = {key: statistics.median(float(one[key]) for one in found) for key in ("import", "first", "added")}
    resident = statistics.median(int(one["resident"]) for one in found)
    return (
        model,
        str(found[0]["method"]),
        f"{middle['import'] * 1e3:.0f} ms",
        f"{middle['first'] * 1e3:.0f} ms",
        f"{middle['added'] / 2**20:.0f} MiB",
        f"{resident / 2**20:.0f} MiB",
    )


def measure(*, quick: bool) -> None:
    """Print the table."""
    times = 2 if quick else 5
    rows: list[tuple[str, ...]] = [("name", "counted by", "import", "first count", "added", "process")]
    for name in (*ENCODINGS, *MODELS):
        slow = measured(name, fast=False, times=times)
        rows.append(slow)
        fast = measured(name, fast=True, times=times)
        if fast[1] != slow[1]:
            rows.append(fast)
    print_table("Time to the first count and memory, each in a new process", rows)


if __name__ == "__main__":
    json.dump(count_once(sys.argv[1], fast=sys.argv[2] == "fast"), sys.stdout)
