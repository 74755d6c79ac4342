"""The choice of where work is done."""

import threading
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from tokenward.engine.types import JsonValue
from tokenward.workers import LARGE_AT_ONCE, LARGE_CHARACTERS, TEXT_CHARACTERS, run_sized

pytestmark = pytest.mark.anyio

INLINE = 50_000
LIMIT = INLINE - TEXT_CHARACTERS


def times(number: int, one: JsonValue) -> JsonValue:
    return [one] * number


MATERIAL: list[tuple[JsonValue, bool]] = [
    ("x" * (LIMIT - 1), False),
    ("x" * LIMIT, True),
    (times(1, {"role": "user", "content": "x" * 49_000}), False),
    (times(1, {"role": "user", "content": "x" * 51_000}), True),
    (times(900, 0), False),
    (times(1_000, 0), True),
    (times(1_000, ""), True),
    (times(1_000, []), True),
    (times(1_000, {}), True),
    (None, False),
]


@pytest.mark.parametrize(("material", "threaded"), MATERIAL)
async def test_large_work_is_done_in_a_thread(material: JsonValue, threaded: bool) -> None:
    thread = await run_sized(threading.get_ident, material, inline_characters=INLINE)
    assert (thread != threading.get_ident()) == threaded


async def test_all_material_is_added_up() -> None:
    half = "x" * (INLINE // 2)
    assert await run_sized(threading.get_ident, half, inline_characters=INLINE) == threading.get_ident()
    assert await run_sized(threading.get_ident, half, half, inline_characters=INLINE) != threading.get_ident()


@pytest.mark.parametrize("material", [(), ("",), (None,)])
async def test_work_of_which_nothing_is_known_is_done_in_a_thread(material: tuple[JsonValue, ...]) -> None:
    assert await run_sized(threading.get_ident, *material) != threading.get_ident()


class Visited(list[JsonValue]):
    """A list that notes how many of its items were looked at."""

    seen = 0

    def __iter__(self) -> Iterator[JsonValue]:
        for item in super().__iter__():
            self.seen += 1
            yield item


async def test_the_walk_ends_where_the_answer_is_known() -> None:
    texts = Visited([""] * 1_000_000)
    await run_sized(int, texts, inline_characters=INLINE)
    assert texts.seen <= LARGE_CHARACTERS // TEXT_CHARACTERS + 1


async def test_a_cancelled_call_does_not_wait_for_its_thread() -> None:
    begun, free = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        free.wait(60)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_sized, work)
        with anyio.fail_after(30):
            while not begun.is_set():
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert not free.is_set()
    free.set()


async def test_little_work_does_not_wait_for_large_work() -> None:
    free = threading.Event()
    begun = threading.Semaphore(0)
    running = most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        begun.release()
        free.wait(60)
        with lock:
            running -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(3 * LARGE_AT_ONCE):
            tasks.start_soon(run_sized, work, "x" * LARGE_CHARACTERS)
        with anyio.fail_after(30):
            for _ in range(LARGE_AT_ONCE):
                while not begun.acquire(blocking=False):
                    await anyio.lowlevel.checkpoint()
            await run_sized(int, "little")
        free.set()
    assert most == LARGE_AT_ONCE
