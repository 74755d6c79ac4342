"""Requests that were counted before, by a hash of all that their count depends on; no text is kept.

The same messages are often counted several times on their way: for a window, for a quota, for a price.
"""

import hashlib
import marshal
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokenward.engine.counting.results import MessageCount
from tokenward.engine.types import JsonObject, JsonValue

if TYPE_CHECKING:
    from tokenward.engine.counting.counter import TextCounter

_VERSION = 2
"""Of the bytes that are hashed: from 3 on they depend on which objects are shared."""


MOST_MESSAGES = 500
MOST_CHARACTERS = 1_000_000
"""Hashing more would hold other threads up, and gain little."""


def request_key(
    text: "TextCounter", format_: str, messages: Sequence[JsonObject], tools: Sequence[JsonObject], *others: JsonValue
) -> bytes | None:
    """What a request's exact count is kept under; ``None`` where it is not kept.

    That is the case where the count of a text is not exact, as calibration can change it, and for values that are no
    plain JSON.
    """
    if not text.exact or _is_large(messages):
        return None
    info = text.info
    made_by = f"{text.method} {info.encoding} {info.family} {info.requested} {format_} {len(messages)} {len(tools)}"
    hashed = hashlib.sha256(made_by.encode("utf-8", "surrogatepass"))
    try:
        # One by one, so that a large request is never copied whole.
        for each in (*messages, *tools, *others):
            hashed.update(marshal.dumps(each, _VERSION))
    except ValueError:
        return None
    return hashed.digest()


def _is_large(messages: Sequence[JsonValue]) -> bool:
    """Whether a request is too large to be hashed, and its rows to be kept: many messages, or a long text in one."""
    if len(messages) > MOST_MESSAGES:
        return True
    left: list[JsonValue] = [*messages]
    characters = 0
    while left and characters < MOST_CHARACTERS:
        each = left.pop()
        if isinstance(each, str):
            characters += len(each)
        elif isinstance(each, dict):
            left += each.values()
        elif isinstance(each, list):
            left += each
    return characters >= MOST_CHARACTERS


class RememberedRequests:
    """The latest counts of requests. Safe to share between threads.

    Args:
        size: The most to keep; 0 keeps none. It can be changed.
    """

    def __init__(self, size: int) -> None:
        self.size = max(0, size)
        self._counts: OrderedDict[bytes, MessageCount] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes | None) -> MessageCount | None:
        """The count under a key, made the most recently used one, or ``None``."""
        if key is None:
            return None
        with self._lock:
            count = self._counts.get(key)
            if count is not None:
                self._counts.move_to_end(key)
            return count

    def put(self, key: bytes | None, count: MessageCount) -> None:
        """Keep a count; without a key nothing is kept. The least recently used one makes room."""
        if key is None:
            return
        with self._lock:
            self._counts[key] = count
            while self._counts and len(self._counts) > self.size:
                self._counts.popitem(last=False)
