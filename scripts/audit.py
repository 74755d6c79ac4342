"""Ask whether weaknesses are known of the versions in constraints.txt, with pip-audit.

A weakness ends with exit code 1. What could not be asked (no network, or an index that knows of none) is said loudly
and is no error, so that the checks can be run anywhere; with ``TOKENWARD_REQUIRE_AUDIT=1`` it is one, for a machine
that is known to have the network.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from tokenward.engine.types import JsonObject, JsonValue

TIMEOUT_SECONDS = 180


def asked(constraints: Path) -> JsonValue:
    """pip-audit's answer; ``None`` if there is none."""
    options = ["--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json", "--timeout=10"]
    command = [sys.executable, "-m", "pip_audit", *options, "--requirement", str(constraints)]
    try:
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS
        )
        answer: JsonValue = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return answer


def verdict(answer: JsonValue, *, required: bool) -> tuple[int, list[str]]:
    """The exit code, and what is to be said."""
    listed = answer.get("dependencies") if isinstance(answer, dict) else None
    found = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    said = [line for one in found for line in weaknesses(one)]
    if said:
        return 1, said
    missed = [str(one.get("name")) for one in found if "skip_reason" in one]
    if found and not missed:
        return 0, [f"No weakness is known of the {len(found)} packages in constraints.txt."]
    what = f"{len(missed)} of {len(found)} packages are unknown there" if found else "it did not answer"
    return int(required), [
        f"!!! NOT AUDITED: no vulnerability service can be asked from here ({what}).",
        "!!! Run 'make lint' once where the Python Package Index can be reached.",
    ]


def weaknesses(package: JsonObject) -> list[str]:
    """A line for each weakness of a package."""
    known = package.get("vulns")
    return [
        f"{package.get('name')} {package.get('version')}: {one.get('id')}, fixed in {one.get('fix_versions') or 'none'}"
        for one in (known if isinstance(known, list) else [])
        if isinstance(one, dict)
    ]


def main() -> int:
    required = os.environ.get("TOKENWARD_REQUIRE_AUDIT") == "1"
    code, said = verdict(asked(Path(__file__).resolve().parent.parent / "constraints.txt"), required=required)
    for line in said:
        print(line, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
