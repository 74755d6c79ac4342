"""Which alerts are due, in which window, and what is told."""

import pytest

from tokenward.engine.alerting import Alert, alert_json, alert_variables, alerts_of, window_start_us
from tokenward.engine.limits import NOTHING, Amounts, TokenLimit
from tokenward.engine.quota import LimitStatus
from tokenward.engine.types import DAY_US, HOUR_US, MINUTE_US, SECOND_US

NOW_US = 1_795_262_400 * SECOND_US + 90 * SECOND_US  # 2026-11-21 12:01:30 UTC
NOON_US = 1_795_262_400 * SECOND_US
DAILY = TokenLimit("user:alice", "tokens", "day", 1_000)


def due(limit: TokenLimit, used: int, reserved: int = 0, *, refused: Amounts = NOTHING) -> list[Alert]:
    status = LimitStatus(limit, used, reserved, max(0, limit.limit - used - reserved), NOW_US + HOUR_US)
    return list(alerts_of("alice", [status], NOW_US, refused=refused))


@pytest.mark.parametrize(
    ("used", "reserved", "thresholds"),
    [
        (0, 0, []),
        (799, 0, []),
        (800, 0, [80]),
        (0, 800, [80]),
        (500, 499, [80]),
        (500, 500, [80, 100]),
        (5_000, 0, [80, 100]),
    ],
)
def test_80_and_100_percent_of_what_is_used_and_held(used: int, reserved: int, thresholds: list[int]) -> None:
    assert [one.threshold for one in due(DAILY, used, reserved)] == thresholds


@pytest.mark.parametrize(
    ("asked", "thresholds"),
    [
        (Amounts(200), [80]),  # it fits
        (Amounts(201), [80, 100]),
        (Amounts(1_100), [80, 100]),
        (Amounts(1_101), [80]),  # it would never fit
        (Amounts(0, 10**12), [80]),  # another metric was refused
    ],
)
def test_work_that_is_refused_for_want_of_room_means_100_percent(asked: Amounts, thresholds: list[int]) -> None:
    limit = TokenLimit("user:alice", "tokens", "day", 1_100)
    assert [one.threshold for one in due(limit, 900, refused=asked)] == thresholds


def test_the_alerts_of_an_empty_limit() -> None:
    """A limit of 0 allows nothing; it is not used up by anybody."""
    assert due(TokenLimit("global", "tokens", "day", 0), 0, refused=Amounts(5)) == []


def test_a_default_limit_is_the_users_own() -> None:
    assert [one.subject for one in due(TokenLimit("default", "tokens", "day", 10), 9)] == ["user:alice"]
    assert [one.subject for one in due(TokenLimit("group:team", "tokens", "day", 10), 9)] == ["group:team"]


@pytest.mark.parametrize(
    ("limit", "start_us"),
    [
        (TokenLimit("global", "tokens", "minute", 1), NOON_US + MINUTE_US),
        (TokenLimit("global", "tokens", "hour", 1), NOON_US),
        (TokenLimit("global", "tokens", "day", 1), NOON_US - 12 * HOUR_US),
        (TokenLimit("global", "tokens", "month", 1), 692 * 30 * DAY_US),
        (TokenLimit("global", "tokens", "day", 1, "calendar", "Europe/Berlin"), NOON_US - 13 * HOUR_US),
        (TokenLimit("global", "tokens", "month", 1, "calendar"), NOON_US - 20 * DAY_US - 12 * HOUR_US),
    ],
)
def test_the_window_that_an_alert_is_told_in(limit: TokenLimit, start_us: int) -> None:
    assert window_start_us(limit, NOW_US) == start_us


def test_limits_that_count_otherwise_or_more_are_other_windows() -> None:
    limits = [
        DAILY,
        TokenLimit("user:alice", "tokens", "day", 2_000),
        TokenLimit("user:alice", "tokens", "day", 1_000, "calendar"),
        TokenLimit("user:alice", "tokens", "hour", 1_000),
    ]
    assert len({due(limit, 10**6)[0].window for limit in limits}) == len(limits)


def test_what_is_told() -> None:
    alert = due(TokenLimit("user:alice", "cost", "month", 2_000_000_000, "calendar"), 1_500_000_000, 250_000_000)[0]
    told = alert_json(alert, NOW_US)
    assert told == {
        "alert": "80%",
        "subject": "user:alice",
        "metric": "cost",
        "window": "month",
        "mode": "calendar",
        "limit": "2.00",
        "used": "1.50",
        "reserved": "0.25",
        "percent": 87,
        "threshold": 80,
        "resets_at": "2026-11-21T13:01:30+00:00",
        "time": "2026-11-21T12:01:30+00:00",
    }
    assert alert_variables(told) == {
        "TOKENWARD_ALERT_SUBJECT": "user:alice",
        "TOKENWARD_ALERT_METRIC": "cost",
        "TOKENWARD_ALERT_WINDOW": "month",
        "TOKENWARD_ALERT_LIMIT": "2.00",
        "TOKENWARD_ALERT_USED": "1.50",
        "TOKENWARD_ALERT_PERCENT": "87",
        "TOKENWARD_ALERT_THRESHOLD": "80",
        "TOKENWARD_ALERT_RESETS_AT": "2026-11-21T13:01:30+00:00",
    }


def test_tokens_are_told_as_numbers_and_never_as_never() -> None:
    status = LimitStatus(DAILY, 1_000, 0, 0, None)
    told = alert_json(next(alerts_of("alice", [status], NOW_US)), NOW_US)
    assert (told["limit"], told["used"], told["percent"], told["resets_at"]) == (1_000, 1_000, 100, None)
    assert alert_variables(told)["TOKENWARD_ALERT_RESETS_AT"] == ""
