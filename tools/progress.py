"""Telling a client how far a long count has come, while a thread is at it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from tokenward.engine.errors import TokenwardError
from tokenward.engine.steps import Progress, followed
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.tools.definition import ReportProgress
from tokenward.workers import LARGE_CHARACTERS

EVERY_SECONDS = 0.5

_Answer = TypeVar("_Answer")


async def with_progress(
    report: ReportProgress,
    characters: int,
    count: Callable[[], Awaitable[_Answer]],
    *,
    every_seconds: float = EVERY_SECONDS,
) -> _Answer:
    """Count, and tell how many of the material's characters are done; of little material nothing is told.

    Args:
        report: Tells the client.
        characters: How many there are.
        count: What is done. Threads that it starts are followed.
        every_seconds: How often it is told, if there is more to tell.

    Raises:
        TokenwardError: As ``count`` does.
    """
    if characters < LARGE_CHARACTERS:
        return await count()
    failure: TokenwardError | None = None
    answers: list[_Answer] = []
    with followed() as progress:
        async with anyio.create_task_group() as group:
            group.start_soon(_tell, report, characters, progress, every_seconds)
            try:
                answers.append(await count())
            except TokenwardError as error:
                failure = error  # out of the group as it is, not as one of several
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return answers[0]


async def _tell(report: ReportProgress, characters: int, progress: Progress, every_seconds: float) -> None:
    told = 0
    while True:
        await anyio.sleep(every_seconds)
        # Some texts are gone through twice.
        done = min(progress.characters, characters)
        if done > told:
            told = done
            await report(done, characters, f"{done} of {characters} characters")


def text_characters(messages: Sequence[JsonObject]) -> int:
    """How long the texts of messages are, those in blocks included: nearly all that is counted."""
    return sum(_characters(message.get("content") or message.get("parts")) for message in messages)


def _characters(content: JsonValue) -> int:
    if isinstance(content, str):
        return len(content)
    if not isinstance(content, list):
        return 0
    texts = (block.get("text") for block in content if isinstance(block, dict))
    return sum(len(text) for text in texts if isinstance(text, str))
