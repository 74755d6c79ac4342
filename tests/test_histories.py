"""The service compresses with any summarizer and plans with files of the disk, in the event loop and without one."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import pytest

from tests.waiting import NET_SECONDS
from tokenward import ContextRequest, InvalidInput, SyncTokenward, Tokenward
from tokenward.engine.types import JsonObject
from tokenward.histories import AnySummarizer

pytestmark = pytest.mark.anyio

TALK: Final[list[JsonObject]] = [
    {"role": "assistant", "content": " ".join(f"In step {step} the cart is checked again." for step in range(30))},
    {"role": "user", "content": "Go on."},
]
LABEL: Final = "[Summary by the caller's summarizer: All is checked.]"


def summarize(texts: Sequence[str], target_tokens: int) -> str:
    assert texts
    assert target_tokens > 0
    return "All is checked."


async def summarize_later(texts: Sequence[str], target_tokens: int) -> str:
    await anyio.lowlevel.checkpoint()
    return summarize(texts, target_tokens)


async def fail_later(texts: Sequence[str], target_tokens: int) -> str:
    await anyio.lowlevel.checkpoint()
    raise TimeoutError


async def test_a_summarizer_may_be_asynchronous_or_not() -> None:
    async with Tokenward.open("memory://") as service:
        one = await service.compress_messages(TALK, "gpt-4o", target_reduction=0.5, summarizer=summarize)
        two = await service.compress_messages(TALK, "gpt-4o", target_reduction=0.5, summarizer=summarize_later)
        failed = await service.compress_messages(TALK, "gpt-4o", target_reduction=0.5, summarizer=fail_later)
        plain = await service.compress_messages(TALK, "gpt-4o", target_reduction=0.5)
    assert LABEL in str(one.messages[0]["content"])
    assert one == two
    assert failed.messages == plain.messages
    assert "(TimeoutError)" in failed.warnings[0]


async def cancel_itself(texts: Sequence[str], target_tokens: int) -> str:
    await anyio.lowlevel.checkpoint()
    raise asyncio.CancelledError


def cancel_in_thread(texts: Sequence[str], target_tokens: int) -> str:
    raise asyncio.CancelledError


@pytest.mark.parametrize("summarizer", [cancel_itself, cancel_in_thread])
async def test_a_summarizer_that_is_cancelled_has_failed(summarizer: AnySummarizer) -> None:
    async with Tokenward.open("memory://") as service:
        failed = await service.compress_messages(TALK, "gpt-4o", target_reduction=0.5, summarizer=summarizer)
        plain = await service.compress_messages(TALK, "gpt-4o", target_reduction=0.5)
    assert failed.messages == plain.messages
    assert "(SummarizerCancelledError)" in failed.warnings[0]


async def test_a_cancelled_caller_is_cancelled() -> None:
    started = asyncio.Event()
    ended: list[type[BaseException]] = []

    async def wait(texts: Sequence[str], target_tokens: int) -> str:
        del texts, target_tokens
        started.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            ended.append(type(error))
            raise
        return ""

    async with Tokenward.open("memory://") as service:
        call = asyncio.create_task(service.compress_messages(TALK, "gpt-4o", target_reduction=0.5, summarizer=wait))
        with anyio.fail_after(NET_SECONDS):
            await started.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            while not ended:
                await anyio.lowlevel.checkpoint()
    assert call.cancelled()
    assert ended == [asyncio.CancelledError]


async def test_a_plan_reads_files_below_the_roots(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("a = 1\n", "utf-8")
    (tmp_path / "b.bin").write_bytes(b"\0\1\2")
    request = ContextRequest(
        model="gpt-4o",
        output_tokens=100,
        files=[("given.md", "# Notes")],
        paths={"a.py": 2, "*": -1},
        roots=[tmp_path],
        history=TALK,
    )
    async with Tokenward.open("memory://") as service:
        plan = await service.plan_context(request)
    files = [part for part in plan.parts if part.kind == "file"]
    assert [(part.name, part.gives_way) for part in files] == [("given.md", 2), ("a.py", 3)]
    assert plan.messages[1]["content"] == '<file name="a.py">\na = 1\n\n</file>'
    assert plan.warnings == ("b.bin was skipped: binary",)
    assert plan.fits


async def test_a_path_outside_the_roots_is_refused(tmp_path: Path) -> None:
    async with Tokenward.open("memory://") as service:
        for paths, roots in ((["../x"], [tmp_path]), (["x"], [tmp_path]), (["x"], [])):
            with pytest.raises(InvalidInput) as caught:
                await service.plan_context(ContextRequest(model="gpt-4o", output_tokens=1, paths=paths, roots=roots))
            assert caught.value.field == "paths"


def test_both_work_without_await() -> None:
    with SyncTokenward.open("memory://") as service:
        result = service.compress_messages(TALK, "gpt-4o", target_reduction=0.5, summarizer=summarize_later)
        plan = service.plan_context(ContextRequest(model="gpt-4o", output_tokens=100, history=TALK))
    assert LABEL in str(result.messages[0]["content"])
    assert plan.fits
