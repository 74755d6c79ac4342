"""A least-recently-used cache of counts, keyed by hash so that it never holds a text."""

import hashlib
import threading
from collections import OrderedDict


class CountCache:
    """Counts by the SHA-256 of what was counted and how. Safe to share between threads.

    Args:
        size: The most entries to keep; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = max(0, size)
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def key(scope: str, text: str) -> bytes:
        """The key of a text's count; ``scope`` names the way of counting and holds no line end."""
        return hashlib.sha256(f"{scope}\n{text}".encode("utf-8", "surrogatepass")).digest()

    def get(self, key: bytes) -> int | None:
        """The count under a key, made the most recently used, or ``None``."""
        with self._lock:
            count = self._counts.get(key)
            if count is not None:
                self._counts.move_to_end(key)
            return count

    def put(self, key: bytes, count: int) -> None:
        """Keep a count; the least recently used one goes when there is no room."""
        with self._lock:
            self._counts[key] = count
            self._counts.move_to_end(key)
            self._evict()

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
