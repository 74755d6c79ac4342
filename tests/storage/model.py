"""The slow, obviously right ledger: a list of what was admitted when. It knows no buckets, no states, no SQL."""

from dataclasses import dataclass, field

from tokenward.engine.windows import Span


@dataclass
class Admitted:
    """One piece of admitted work: a hold, then what was used in its place."""

    at_us: int
    held: int = 0
    used: int = 0
    expires_us: int | None = None

    def end(self, used: int = 0) -> None:
        self.held, self.used, self.expires_us = 0, used, None


@dataclass
class ModelLedger:
    """Admitted work of one subject. ``taken`` sums it the long way."""

    work: list[Admitted] = field(default_factory=list[Admitted])

    def expire(self, now_us: int) -> None:
        for one in self.work:
            if one.expires_us is not None and one.expires_us <= now_us:
                one.end()

    def taken(self, span: Span, now_us: int) -> tuple[int, int]:
        """(used, held) of everything admitted in the buckets that count now."""
        counted = [one for one in self.work if span.counts(span.bucket(one.at_us), now_us)]
        return sum(one.used for one in counted), sum(one.held for one in counted)

    def taken_if_unused(self, span: Span, later_us: int) -> int:
        """What will be taken later if every hold whose time is over by then was left to expire."""
        counted = [one for one in self.work if span.counts(span.bucket(one.at_us), later_us)]
        return sum(one.used + (one.held if (one.expires_us or 0) > later_us else 0) for one in counted)

    def most_in(self, length_us: int) -> int:
        """The most that was admitted in any half-open span of ``length_us``."""
        return max(
            (
                sum(two.used + two.held for two in self.work if one.at_us <= two.at_us < one.at_us + length_us)
                for one in self.work
            ),
            default=0,
        )
