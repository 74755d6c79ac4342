"""Anomalies on simulated users: a tenfold burn is found within the hour, ordinary weeks raise hardly an alarm."""

from collections.abc import Callable, Iterator, Mapping
from math import exp
from random import Random

import pytest

from tokenward.engine.reports.anomalies import (
    HISTORY_DAYS,
    LEAST_DAYS,
    Anomaly,
    history_start_us,
    past_anomalies,
    quarters_of,
    running_anomalies,
)
from tokenward.engine.types import DAY_US, HOUR_US, MINUTE_US
from tokenward.engine.usage import UsageSum

MONDAY = 20_780  # days since the epoch; 2026-11-23
DAYS = 56
QUARTER_US = 15 * MINUTE_US

Pattern = Callable[[Random, int, int], float]
"""A random source, a day of the week (0 is Monday) and an hour to the expected tokens of that hour."""


def office(_random: Random, weekday: int, hour: int) -> float:
    """Weekdays from 8 to 18, a lunch break, and nothing at the weekend."""
    if weekday > 4 or not 8 <= hour < 18:
        return 0
    return 20_000 if hour == 12 else 60_000


def office_and_weekends(_random: Random, weekday: int, hour: int) -> float:
    """A tenth at the weekend."""
    return 50_000 * (0.1 if weekday > 4 else 1) if 8 <= hour < 20 else 0


def hobbyist(_random: Random, weekday: int, hour: int) -> float:
    """Evenings, and ten times as much at the weekend."""
    return 40_000 * (10 if weekday > 4 else 1) if 18 <= hour < 23 else 0


def service(_random: Random, _weekday: int, hour: int) -> float:
    """Round the clock, with a wave over the day."""
    return 30_000 + 20_000 * abs(12 - hour) / 12


def sometimes(random: Random, _weekday: int, hour: int) -> float:
    """Works on every second day or so, at any hour of the afternoon."""
    return 80_000 if 12 <= hour < 20 and random.random() < 0.5 else 0


PATTERNS: list[Pattern] = [office, office_and_weekends, hobbyist, service, sometimes]


def simulated(pattern: Pattern, seed: int, *, scatter: float = 0.5, days: int = DAYS) -> dict[int, int]:
    """Tokens by quarter hour; every hour scatters log-normally around its expectation."""
    random = Random(seed)
    quarters: dict[int, int] = {}
    for day in range(MONDAY, MONDAY + days):
        for hour in range(24):
            expected = pattern(random, (day - MONDAY) % 7, hour)
            amount = expected * exp(random.gauss(0, scatter))
            for quarter in range(4):
                if tokens := round(amount * random.uniform(0.1, 0.4)):
                    quarters[(day * 24 + hour) * 4 + quarter] = tokens
    return quarters


def test_ordinary_weeks_raise_hardly_an_alarm() -> None:
    """Sixty users of five kinds, four weeks each: less than one hour in a thousand, and one day in two hundred."""
    start_us, end_us = (MONDAY + 28) * DAY_US, (MONDAY + DAYS) * DAY_US
    hours = days = false_hours = false_days = 0
    for pattern in PATTERNS:
        for seed in range(12):
            quarters = simulated(pattern, seed)
            judged = [one for one in quarters if one * QUARTER_US >= start_us]
            hours += len({one // 4 for one in judged})
            days += len({one // 96 for one in judged})
            found = past_anomalies("alice", quarters, start_us, end_us)
            false_hours += sum(one.span == "hour" for one in found)
            false_days += sum(one.span == "day" for one in found)
    assert (hours, days) > (15_000, 1_200)
    assert false_hours < hours / 1_000
    assert false_days < days / 200


@pytest.mark.parametrize("pattern", [office, office_and_weekends, service])
def test_a_tenfold_burn_is_found_within_the_hour(pattern: Pattern) -> None:
    """A runaway agent at ten times the usual of its hour, from 10:00 on; the check looks every five minutes."""
    missed = 0
    for seed in range(20):
        quarters = simulated(pattern, seed, days=29)
        begin = ((MONDAY + 28) * 24 + 10) * 4
        usual = pattern(Random(seed), 0, 10)
        quarters = {one: tokens for one, tokens in quarters.items() if one < begin}
        for quarter in range(4):
            quarters[begin + quarter] = round(10 * usual / 4)
        now_us = begin * QUARTER_US + HOUR_US - 1
        missed += not any(one.span == "hour" for one in running_anomalies("alice", quarters, now_us))
    assert missed == 0


def steady(days: int, tokens: int = 1_000, *, hours: int = 8) -> dict[int, int]:
    """The same in each of so many hours of every day."""
    return {(day * 24 + 9 + hour) * 4: tokens for day in range(MONDAY, MONDAY + days) for hour in range(hours)}


NOW_DAY = MONDAY + 28
NOW_US = NOW_DAY * DAY_US + 12 * HOUR_US


def burnt(quarters: dict[int, int], tokens: int) -> dict[int, int]:
    return {**quarters, NOW_US // QUARTER_US: tokens}


def test_an_anomaly_says_who_when_how_much_and_what_is_usual() -> None:
    (found,) = running_anomalies("alice", burnt(steady(28), 12_000), NOW_US)
    assert found == Anomaly("alice", "hour", NOW_US - 45 * MINUTE_US, NOW_US, 12_000, 1_000)
    assert found.ratio == 12
    assert found.warning == "alice: 12,000 tokens within an hour, 12 times the usual 1,000"


def test_a_steady_user_may_use_four_times_the_usual_and_no_more() -> None:
    assert running_anomalies("alice", burnt(steady(28), 4_000), NOW_US) == ()
    assert len(running_anomalies("alice", burnt(steady(28), 4_001), NOW_US)) == 1


def test_a_day_is_judged_by_days() -> None:
    found = running_anomalies("alice", burnt(steady(28), 40_000), NOW_US)
    assert [(one.span, one.used_tokens, one.usual_tokens) for one in found] == [
        ("hour", 40_000, 1_000),
        ("day", 44_000, 8_000),
    ]


@pytest.mark.parametrize("days", [0, 1, LEAST_DAYS - 1])
def test_little_history_says_nothing(days: int) -> None:
    history = {one: tokens for one, tokens in steady(28).items() if one // 96 >= NOW_DAY - days}
    assert running_anomalies("alice", burnt(history, 10**9), NOW_US) == ()
    assert past_anomalies("alice", burnt(history, 10**9), NOW_US - HOUR_US, NOW_US + HOUR_US) == ()


def test_days_with_one_active_hour_say_something_about_days_only() -> None:
    assert [one.span for one in running_anomalies("alice", burnt(steady(28, hours=1) | {}, 10**6), NOW_US)] == [
        "hour",
        "day",
    ]
    few = {one: tokens for one, tokens in steady(28, hours=1).items() if one // 96 >= NOW_DAY - 10}
    assert [one.span for one in running_anomalies("alice", burnt(few, 10**6), NOW_US)] == ["day"]


def test_what_is_older_than_the_history_counts_for_nothing() -> None:
    old = {one - (HISTORY_DAYS + 2) * 96: tokens for one, tokens in steady(28).items()}
    assert running_anomalies("alice", burnt(old, 10**9), NOW_US) == ()
    assert min(old) * QUARTER_US < history_start_us(NOW_US)


def test_a_weekly_batch_is_known_after_three_weeks_and_an_earlier_anomaly_hides_none() -> None:
    weekly = steady(28) | {(NOW_DAY - 7 * week) * 96 + 4: 50_000 for week in (1, 2, 3)}
    assert not [one for one in running_anomalies("alice", burnt(weekly, 60_000), NOW_US) if one.span == "hour"]
    once = steady(28) | {(NOW_DAY - 7) * 96 + 4: 50_000}
    assert [one for one in running_anomalies("alice", burnt(once, 60_000), NOW_US) if one.span == "hour"]


def test_past_anomalies_lie_in_the_period_and_in_order() -> None:
    quarters = steady(40) | {(NOW_DAY + 3) * 96 + 5: 90_000, (NOW_DAY + 5) * 96 + 5: 90_000}
    start_us, end_us = (NOW_DAY + 1) * DAY_US, (NOW_DAY + 5) * DAY_US
    found = past_anomalies("alice", quarters, start_us, end_us)
    assert [(one.span, one.start_us, one.end_us - one.start_us, one.used_tokens) for one in found] == [
        ("day", (NOW_DAY + 3) * DAY_US, DAY_US, 98_000),
        ("hour", (NOW_DAY + 3) * DAY_US + HOUR_US, HOUR_US, 90_000),
    ]


def test_quarters_are_read_from_sums() -> None:
    sums = [UsageSum("7", 1, 10, 5), UsageSum("8", 1, 0, 0)]
    assert quarters_of(sums) == {7: 15}
    assert running_anomalies("alice", {}, 0) == ()


class Watched(Mapping[int, int]):
    """Quarters that count how often one of them is read."""

    def __init__(self, quarters: dict[int, int]) -> None:
        self.quarters = quarters
        self.reads = 0

    def __getitem__(self, quarter: int) -> int:
        self.reads += 1
        return self.quarters[quarter]

    def __iter__(self) -> Iterator[int]:
        return iter(self.quarters)

    def __len__(self) -> int:
        return len(self.quarters)


@pytest.mark.parametrize("days", [60, 400])
def test_a_long_period_reads_each_quarter_a_few_times(days: int) -> None:
    """Not once for each day whose history it belongs to."""
    quarters = Watched(simulated(service, 1, days=days))
    past_anomalies("alice", quarters, (MONDAY + 28) * DAY_US, (MONDAY + days) * DAY_US)
    assert 0 < quarters.reads <= 3 * len(quarters)
