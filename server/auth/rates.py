"""How many requests each subject has: a bucket that fills evenly, and from which every request takes one."""

import math
from dataclasses import dataclass

from tokenward.engine.types import MINUTE_US, Clock

SWEEP_AT = 1_024
"""From so many buckets on, the full ones are forgotten before a new one is made: they say nothing."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at_us: int


class Rates:
    """The subjects' buckets, in this process.

    Args:
        per_minute: What a bucket holds, and gets back in a minute; 0 is no bound.
        clock: Now, microseconds.
    """

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._sweep_at = SWEEP_AT

    def take(self, subject: str) -> int:
        """Take one request; 0 if there was one, else after how many seconds there is."""
        if not self._per_minute:
            return 0
        now_us = self._clock()
        bucket = self._buckets.get(subject)
        if bucket is None:
            bucket = self._new(subject, now_us)
        bucket.left = self._filled(bucket, now_us)
        bucket.at_us = now_us
        if bucket.left < 1:
            return math.ceil((1 - bucket.left) * 60 / self._per_minute)
        bucket.left -= 1
        return 0

    def _filled(self, bucket: _Bucket, now_us: int) -> float:
        gone_us = max(now_us - bucket.at_us, 0)
        return min(bucket.left + gone_us * self._per_minute / MINUTE_US, float(self._per_minute))

    def _new(self, subject: str, now_us: int) -> _Bucket:
        if len(self._buckets) >= self._sweep_at:
            full = float(self._per_minute)
            self._buckets = {name: one for name, one in self._buckets.items() if self._filled(one, now_us) < full}
            # A sweep that finds little to forget is not done again at once.
            self._sweep_at = max(SWEEP_AT, 2 * len(self._buckets))
        bucket = self._buckets[subject] = _Bucket(float(self._per_minute), now_us)
        return bucket
