"""What has been counted: a least-recently-used cache keyed by hash, so that it never holds a text, and a tally."""

import hashlib
import threading
from collections import OrderedDict, defaultdict

from tokenward.engine.steps import checkpoint

SLICE_CHARACTERS = 1 << 20
"""A longer text is hashed in slices of this many: it is not copied whole, and other threads need not wait for it."""

CACHE = "cache"
"""What a call is tallied under when the cache answered it."""


class CountCache:
    """Counts by the SHA-256 of what was counted and how, and the calls so far. Safe to share between threads.

    Args:
        size: The most entries to keep; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = max(0, size)
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._calls: defaultdict[str, int] = defaultdict(int)
        self._seconds = 0.0
        # One for both, because taking it is a good part of what a short text costs.
        self._lock = threading.Lock()

    @staticmethod
    def key(scope: str, text: str) -> bytes:
        """The key of a text's count; ``scope`` names the way of counting and holds no line end."""
        if len(text) <= SLICE_CHARACTERS:
            return hashlib.sha256(f"{scope}\n{text}".encode("utf-8", "surrogatepass")).digest()
        hashed = hashlib.sha256(f"{scope}\n".encode("utf-8", "surrogatepass"))
        for start in range(0, len(text), SLICE_CHARACTERS):
            checkpoint()
            hashed.update(text[start : start + SLICE_CHARACTERS].encode("utf-8", "surrogatepass"))
        return hashed.digest()

    def get(self, key: bytes) -> int | None:
        """The count under a key, or ``None``. It becomes the most recently used one when it is recorded again."""
        return self._counts.get(key)

    def record(self, key: bytes, count: int, answered_by: str, seconds: float) -> None:
        """Keep a count as the most recently used one, and tally the call. The least recently used one makes room.

        Args:
            key: What ``key`` gave.
            count: Its count, whether it was known or not.
            answered_by: ``CACHE``, or what counted it.
            seconds: How long it took.
        """
        with self._lock:
            self._counts[key] = count
            self._counts.move_to_end(key)
            if len(self._counts) > self._size:
                self._evict()
            self._calls[answered_by] += 1
            self._seconds += seconds

    def tally(self, answered_by: str, seconds: float) -> None:
        """Note a call whose count is not kept."""
        with self._lock:
            self._calls[answered_by] += 1
            self._seconds += seconds

    def calls(self) -> tuple[dict[str, int], float]:
        """The calls so far by what answered them, and their seconds together."""
        with self._lock:
            return dict(self._calls), self._seconds

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def size(self) -> int:
        """The most entries to keep. Making it smaller drops the least recently used ones at once."""
        return self._size

    @size.setter
    def size(self, size: int) -> None:
        with self._lock:
            self._size = max(0, size)
            self._evict()

    def _evict(self) -> None:
        while len(self._counts) > self._size:
            self._counts.popitem(last=False)
