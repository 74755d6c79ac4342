"""Progress of long counts: what a client is told meanwhile."""

import threading

import anyio
import anyio.lowlevel
import pytest

from tests.waiting import NET_SECONDS, until
from tokenward.engine.errors import InvalidInput
from tokenward.engine.steps import advance, finish
from tokenward.engine.types import JsonObject
from tokenward.tools.progress import text_characters, with_progress
from tokenward.workers import LARGE_CHARACTERS, run_in_thread

pytestmark = pytest.mark.anyio


class Told:
    """What a client was told."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float | None, str | None]] = []

    async def __call__(self, progress: float, total: float | None = None, message: str | None = None, /) -> None:
        self.steps.append((progress, total, message))


async def test_a_thread_is_followed_while_it_counts() -> None:
    told = Told()
    goes_on = [threading.Event(), threading.Event()]
    total = LARGE_CHARACTERS * 10

    def count() -> str:
        advance(100)
        assert goes_on[0].wait(NET_SECONDS)
        finish(LARGE_CHARACTERS * 101)
        assert goes_on[1].wait(NET_SECONDS)
        return "counted"

    async def watch() -> None:
        for number, event in enumerate(goes_on, 1):

            async def holds(wanted: int = number) -> bool:
                return len(told.steps) == wanted

            await until(holds)
            event.set()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        assert await with_progress(told, total, lambda: run_in_thread(count), every_seconds=0.001) == "counted"
    assert told.steps == [
        (100, total, f"100 of {total} characters"),
        (total, total, f"{total} of {total} characters"),
    ]


async def test_of_little_material_nothing_is_told() -> None:
    told = Told()

    async def count() -> int:
        finish(1_000)
        await anyio.lowlevel.checkpoint()
        return 1

    assert await with_progress(told, LARGE_CHARACTERS - 1, count, every_seconds=0) == 1
    assert told.steps == []


async def test_an_error_comes_as_it_is() -> None:
    async def count() -> int:
        raise InvalidInput("text", "not today.")

    with pytest.raises(InvalidInput, match="not today"):
        await with_progress(Told(), LARGE_CHARACTERS, count)


@pytest.mark.parametrize(
    ("messages", "characters"),
    [
        ([], 0),
        ([{"role": "user", "content": "four"}, {"role": "user", "content": "five5"}], 9),
        ([{"role": "user", "content": [{"type": "text", "text": "four"}, {"type": "image"}, "odd"]}], 4),
        ([{"role": "user", "parts": [{"text": "four"}]}], 4),
        ([{"role": "user", "content": None}, {"content": 5}, {"content": [{"text": 5}]}], 0),
    ],
)
def test_the_texts_of_messages_are_added_up(messages: list[JsonObject], characters: int) -> None:
    assert text_characters(messages) == characters
