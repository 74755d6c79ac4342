"""What ``tokenward doctor`` says about speed and telemetry: extras, and how fast a count and a check are here."""

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tokenward.server.commands.doctor import Finding, Verdict

if TYPE_CHECKING:
    from tokenward.performance import Performance
    from tokenward.server.commands.session import Session
    from tokenward.server.settings import Settings
    from tokenward.tools.definition import ToolContext

EXTRAS = (
    ("http", ("httptools",) if sys.platform == "win32" else ("uvloop", "httptools")),
    ("prometheus", ("prometheus-client",)),
    ("otel", ("opentelemetry-sdk",)),
)
"""Extras of serving, and the libraries that each is there for. What is missing of ``http`` only makes it slower."""

_TEXT = "How long does it take to count a text of eighty characters, more or less?"

_CHECKS = 20
_SLOW_SECONDS = 0.1
"""A median check that takes longer is worth a note: agents ask before each request."""


def telemetry(settings: "Settings") -> Iterator[Finding]:
    """What could tell others how the server does, and whether what is switched on can be."""
    from tokenward.engine.tokenizers.files import installed  # noqa: PLC0415 - heavy

    for extra, libraries in EXTRAS:
        found = {one: installed(one) for one in libraries}
        there = ", ".join(f"{one} {version}" for one, version in found.items() if version)
        lacking = ", ".join(one for one, version in found.items() if not version)
        missing = f"{lacking} not installed: pip install 'tokenward[{extra}]'" if lacking else ""
        broken = bool(lacking) and extra == "otel" and settings.telemetry.otel
        detail = "; ".join(one for one in (there, missing) if one)
        yield Finding(f"extra {extra}", "broken" if broken else "ok", detail)


def speed(session: "Session") -> Iterator[Finding]:
    """How long counting and checking take, tried out: the first count, one from memory, and checks of no work."""

    async def work(context: "ToolContext") -> "tuple[list[float], Performance, int]":
        service, counted = context.service, list[float]()
        for _ in range(2):
            started = time.perf_counter()
            await service.count_texts([_TEXT], "gpt-4o")
            counted.append(time.perf_counter() - started)
        for _ in range(_CHECKS):
            await service.quota_status()
        return counted, service.performance, await (await service.ledger()).holds()

    (first, again), done, holds = session.run(work)
    yield Finding("counting speed", "ok", f"first count {_milliseconds(first)}, the same again {_milliseconds(again)}")
    median, most = (done.ledger.waits.quantile(share) for share in (0.5, 0.95))
    verdict: Verdict = "note" if median > _SLOW_SECONDS else "ok"
    detail = f"a check about {_milliseconds(median)}, 95 of 100 within {_milliseconds(most)}, of which the commit "
    yield Finding("store speed", verdict, detail + _milliseconds(done.ledger.commits.quantile(0.5)))
    yield Finding("reservations", "ok", f"{holds:,} pending")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1_000:,.2g} ms" if seconds < 0.1 else f"{seconds * 1_000:,.0f} ms"
