"""The day on which a budget is used up, over many possible futures.

Time goes in steps of whole local days. Of today's draw only the share counts that is left of the day. A budget is used
up on the first day on which as much is used as there was: with a window of a day on the first day that alone takes it
all; with a calendar month before the month's end, for the next month begins anew; with a rolling month (30 days) what
the window still counts, past days leaving it one by one. A past day that the history does not show is taken to stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, TypeAlias

from tokenward.engine.limits import Metric
from tokenward.engine.quota import LimitStatus
from tokenward.engine.reports.forecast import DayUsage, Futures, ranked

Renewal: TypeAlias = Literal["never", "daily", "monthly", "rolling month"]

_ROLLING_MONTH_DAYS = 30


@dataclass(frozen=True, slots=True)
class Budget:
    """What can be used up.

    Attributes:
        name: ``tokens`` or ``cost``, or a limit's label.
        metric: The unit.
        remaining: What is left now.
        limit: What there is again after a renewal.
        renewal: When that is.
        problem: Why no day can be told.
    """

    name: str
    metric: Metric
    remaining: int
    limit: int = 0
    renewal: Renewal = "never"
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DayClock:
    """Where in time one stands.

    Attributes:
        today: The local date.
        days: How many days after today are looked at.
        left_us: What is left of today, in microseconds.
        length_us: How long today is: 23, 24 or 25 hours, rarely something else.
        so_far: What was used today.
    """

    today: date
    days: int
    left_us: int
    length_us: int
    so_far: DayUsage


@dataclass(frozen=True, slots=True)
class RunOut:
    """When a budget is used up: with one chance in ten by ``p10``, even chances by ``p50``, nine in ten by ``p90``.

    Attributes:
        budget: ``tokens`` or ``cost`` for a budget that was given; a limit's label for a limit.
        metric: The unit.
        remaining: What is left now.
        within_days: So many days after today were looked at; a date that is ``None`` is not within them.
        p10: The early end of the range.
        p50: The middle.
        p90: The late end.
        problem: Why nothing can be told.
    """

    budget: str
    metric: Metric
    remaining: int
    within_days: int
    p10: date | None = None
    p50: date | None = None
    p90: date | None = None
    problem: str = ""

    @property
    def text(self) -> str:
        """For people: ``2026-11-28 (2026-11-26 to 2026-12-01)``, ``not within 30 days``, or why nothing is told."""
        if self.problem:
            return f"not told: {self.problem}"
        if self.p10 is None:
            return f"not within {self.within_days} days"
        middle, last = (f"after {self.within_days} days" if one is None else str(one) for one in (self.p50, self.p90))
        return f"{middle} ({self.p10} to {last})"


def budget_of(status: LimitStatus) -> Budget:
    """A limit as a budget."""
    limit = status.limit
    name, problem = limit.label, ""
    renewal: Renewal = "daily"
    if limit.window == "month":
        renewal = "monthly" if limit.mode == "calendar" else "rolling month"
    elif limit.window != "day":
        problem = f"a window of one {limit.window} is shorter than the days that are forecast"
    return Budget(name, limit.metric, status.remaining, limit.limit, renewal, problem)


def run_out(budget: Budget, history: Sequence[DayUsage], coming: Futures | None, clock: DayClock) -> RunOut:
    """When a budget is used up.

    Args:
        budget: What there is.
        history: The past days, into which the futures are indices.
        coming: Futures from today on, ``clock.days`` longer than that; ``None`` without enough data.
        clock: Now.
    """
    problem = budget.problem or ("not enough data" if coming is None else "")
    if problem or coming is None:
        return RunOut(budget.name, budget.metric, budget.remaining, clock.days, problem=problem)
    series = [day.of(budget.metric) for day in history]
    past = {day.day: used for day, used in zip(history, series, strict=True)}
    past[clock.today] = clock.so_far.of(budget.metric)
    window = _window(budget, [clock.today + timedelta(days=offset) for offset in range(clock.days + 1)], past)
    found = [window.used_up(_path(draw, series, clock)) for draw in coming.draws]
    first, middle, last = (None if one > clock.days else clock.today + timedelta(days=one) for one in ranked(found))
    return RunOut(budget.name, budget.metric, budget.remaining, clock.days, first, middle, last)


def _path(draw: Sequence[int], series: Sequence[int], clock: DayClock) -> list[int]:
    """What each day uses in one future, the rest of today first."""
    path = [series[index] for index in draw]
    path[0] = path[0] * clock.left_us // clock.length_us
    return path


@dataclass(frozen=True, slots=True)
class _Window:
    """What a budget counts, day by day.

    Attributes:
        begins: Whether a day begins anew with the whole limit.
        leaves: What was used in the past and leaves the window when a day begins.
        days: After how many days what is used leaves the window, if it does.
    """

    budget: Budget
    begins: Sequence[bool]
    leaves: Sequence[int]
    days: int | None

    def used_up(self, path: Sequence[int]) -> int:
        """The day of a future on which the budget is used up; one after the last if it is not."""
        left, days = self.budget.remaining, self.days
        for offset, used in enumerate(path):
            if self.begins[offset]:
                left = self.budget.limit
            left += self.leaves[offset] - used
            if days is not None and offset >= days:
                left += path[offset - days]
            if left <= 0:
                return offset
        return len(path)


def _window(budget: Budget, days: Sequence[date], past: Mapping[date, int]) -> _Window:
    """The window of a budget over the days from today on."""
    nothing = [0] * len(days)
    if budget.renewal == "daily":
        return _Window(budget, [day != days[0] for day in days], nothing, None)
    if budget.renewal == "monthly":
        return _Window(budget, [day.day == 1 and day != days[0] for day in days], nothing, None)
    never = [False] * len(days)
    if budget.renewal == "rolling month":
        # The window counts the day that runs and the 30 before it.
        back = timedelta(days=_ROLLING_MONTH_DAYS + 1)
        left = [past.get(day - back, 0) if day != days[0] else 0 for day in days]
        return _Window(budget, never, left, back.days)
    return _Window(budget, never, nothing, None)
