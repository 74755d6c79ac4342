"""Where a tool's work is done: small inputs at once, large ones in a worker thread so that the server stays live."""

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

import anyio.to_thread

from tokenward.engine.types import JsonValue

SMALL_CHARACTERS = 50_000
"""Above this a thread's hop costs less than the others would wait."""

_Answer = TypeVar("_Answer")
_Material: TypeAlias = "Sequence[JsonValue] | JsonValue"


async def run_sized(work: Callable[[], _Answer], *material: _Material) -> _Answer:
    """Do ``work``, in a worker thread when its ``material`` is large. A cancelled call does not wait for its thread."""
    budget = SMALL_CHARACTERS
    for one in material:
        budget = _remaining(one, budget)
    if budget >= 0:
        return work()
    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


def _remaining(material: _Material, budget: int) -> int:
    """The budget less the characters of all texts; the walk ends as soon as it is below zero."""
    if isinstance(material, str):
        return budget - len(material)
    items = list(material.values()) if isinstance(material, dict) else material
    if not isinstance(items, Sequence):
        return budget - 1
    for item in items:
        if budget < 0:
            break
        budget = _remaining(item, budget)
    return budget
