"""The suites: what is run, and how many scenarios each has."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.verdict import Outcome, read_outcomes

NODE_MODULES = Path(__file__).with_name("node_modules")
NODE = NODE_MODULES / ".bin" / "node"
_TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Suite:
    """A release of the conformance suite, and what of it is run.

    Attributes:
        run: The name in reports and in ``expected.toml``.
        package: Its folder below ``node_modules``.
        arguments: What is asked of it.
        scenarios: How many it has.
        as_shipped: Whether the server is to serve as ``tokenward serve`` does, or with sessions.
    """

    run: str
    package: str
    arguments: Sequence[str]
    scenarios: int
    as_shipped: bool = False

    def outcomes(self, url: str, folder: Path) -> list[Outcome]:
        """Run it against a server; everything that it says is kept in the folder."""
        program = NODE_MODULES / self.package / "dist" / "index.js"
        options = ["server", "--url", url, "--output-dir", str(folder), "--suite", "all", *self.arguments]
        with (folder / "output.txt").open("wb") as output:
            # Its exit code tells the same as its checks, which are read instead.
            subprocess.run(
                [NODE, program, *options], stdout=output, stderr=output, check=False, timeout=_TIMEOUT_SECONDS
            )
        return read_outcomes(folder)


_OLDER = ("--spec-version", "2025-11-25")
_NEWER = ("--spec-version", "2026-07-28")

SUITES = (
    Suite("0.1.16", "conformance", (), 32),
    Suite("0.2.0-alpha.11, 2025-11-25", "conformance-alpha", _OLDER, 33),
    Suite("0.2.0-alpha.11, 2026-07-28", "conformance-alpha", _NEWER, 40),
    Suite("0.2.0-alpha.11, all", "conformance-alpha", (), 62),
    Suite("as shipped, 2025-11-25", "conformance-alpha", _OLDER, 33, as_shipped=True),
    Suite("as shipped, 2026-07-28", "conformance-alpha", _NEWER, 40, as_shipped=True),
)
