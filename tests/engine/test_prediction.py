"""Predictions: other models by the real split, and the day on which a budget is used up."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tokenward.engine.analytics import UsageAnalytics
from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import Metric, TokenLimit
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.quota import LimitStatus
from tokenward.engine.reports.forecast import Quantiles
from tokenward.engine.reports.prediction import CostPrediction, PredictionRequest
from tokenward.engine.reports.run_out import RunOut
from tokenward.engine.usage import TokenUsage, UsageSum
from tokenward.engine.windows import Mode, Window

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
TODAY = NOON.date()
CALCULATOR = CostCalculator(clock=lambda: us(NOON))
SEVEN = [100] * 28
"""Four weeks of the same."""


def us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def sums_of(tokens: Sequence[int], today: int = 0, *, unpriced: int = 0) -> list[UsageSum]:
    """One sum at 10 o'clock UTC of each day up to yesterday, and of today."""
    first = NOON.replace(hour=10) - timedelta(days=len(tokens))
    quarters = [us(first + timedelta(days=index)) // 900_000_000 for index in range(len(tokens) + 1)]
    return [
        UsageSum(str(quarter), 2, used, cost_nano=3 * used, unpriced_requests=unpriced)
        for quarter, used in zip(quarters, [*tokens, today], strict=True)
        if used
    ]


def predicted(
    quarters: Sequence[UsageSum], request: PredictionRequest, limits: Sequence[LimitStatus] = (), now: datetime = NOON
) -> CostPrediction:
    models = [UsageSum("gpt-4o", cost_nano=1), UsageSum("o3", cost_nano=3)]
    return UsageAnalytics(CALCULATOR).predict_cost(
        request, {"quarter_hour": quarters, "model": models}, now_us=us(now), limits=limits
    )


def test_equal_days_give_a_certain_prediction() -> None:
    result = predicted(sums_of(SEVEN), PredictionRequest(days=30))
    assert result.forecast.tokens == Quantiles(3_000, 3_000, 3_000)
    assert result.forecast.cost_nano == Quantiles(9_000, 9_000, 9_000)
    assert result.forecast.cost_by_model == {"gpt-4o": 2_250, "o3": 6_750}
    assert result.forecast.method == "resampled weekdays"
    assert (result.forecast.backtest_coverage, result.cost_backtest_coverage) == (1.0, 1.0)
    assert result.notes == ("Drawn from 28 whole days of the past; neither growth nor a trend is assumed.",)


def test_the_coverage_of_cost_is_its_own() -> None:
    """Tokens never change, prices doubled every day: no day's cost lies within what the days before said."""
    quarters = [UsageSum(one.key, 1, 100, cost_nano=2**index) for index, one in enumerate(sums_of(SEVEN))]
    result = predicted(quarters, PredictionRequest())
    assert (result.forecast.backtest_coverage, result.cost_backtest_coverage) == (1.0, 0.0)


def test_today_is_no_whole_day_of_the_past() -> None:
    result = predicted(sums_of([100, 100, 100], today=999), PredictionRequest(days=1))
    assert result.forecast.tokens == Quantiles(100, 100, 100)


@pytest.mark.parametrize("days", [0, 1, 2])
def test_under_three_days_there_is_not_enough_data(days: int) -> None:
    request = PredictionRequest(tokens_left=100, models=["gpt-4o"])
    result = predicted(sums_of([100] * days), request, [standing("day", 100)])
    assert (result.forecast.method, result.forecast.tokens) == ("not enough data", None)
    assert result.cost_backtest_coverage is None
    assert [one.cost_nano for one in result.other_models] == [None]
    assert {one.problem for one in result.run_outs} == {"not enough data"}
    assert {one.p50 for one in result.run_outs} == {None}


def test_three_days_are_enough() -> None:
    assert predicted(sums_of([100] * 3), PredictionRequest()).forecast.method == "resampled days"


def test_other_models_are_priced_by_the_real_split() -> None:
    """Nine tenths of the input come from the cache: a mean of two prices would be far off."""
    usage = TokenUsage(10_000, 1_000, 9_000, reasoning_tokens=500)
    quarters = [
        UsageSum(one.key, 1, usage.input_tokens, usage.output_tokens, 9_000, reasoning_tokens=500, cost_nano=1)
        for one in sums_of(SEVEN)
    ]
    names = ["gpt-4o", "claude-sonnet-4-5", "my-own-model"]
    result = predicted(quarters, PredictionRequest(days=10, models=names))
    for other in result.other_models[:2]:
        a_day = CALCULATOR.calculate_cost(usage, other.model).total_nano
        assert other.cost_nano == Quantiles(10 * a_day, 10 * a_day, 10 * a_day)
        assert other.history_nano == 28 * a_day
        assert other.problem == ""
    unknown = result.other_models[2]
    assert (unknown.cost_nano, unknown.history_nano) == (None, None)
    assert unknown.problem.startswith("model: no price is known for 'my-own-model'")
    assert any("how many tokens their own tokenizers would make" in note for note in result.notes)


def test_unpriced_requests_are_told() -> None:
    result = predicted(sums_of([100] * 3, unpriced=1), PredictionRequest())
    assert "3 requests of these days have no known price; their cost is in no sum." in result.notes


# The day on which a budget is used up --------------------------------------------------------------------------------


def the_run_out(quarters: Sequence[UsageSum], request: PredictionRequest, *limits: LimitStatus) -> RunOut:
    (found,) = predicted(quarters, request, limits).run_outs
    return found


def in_days(count: int) -> date:
    return TODAY + timedelta(days=count)


@pytest.mark.parametrize(
    ("left", "day"),
    [
        (0, in_days(0)),
        (50, in_days(0)),  # half of today is left, which takes half of a day's 100
        (51, in_days(1)),
        (150, in_days(1)),
        (151, in_days(2)),
        (3_050, in_days(30)),
        (3_051, None),
    ],
)
def test_a_budget_of_tokens_lasts_until_as_much_is_used(left: int, day: date | None) -> None:
    found = the_run_out(sums_of(SEVEN), PredictionRequest(days=30, tokens_left=left))
    assert (found.budget, found.remaining, found.within_days) == ("tokens", left, 30)
    assert (found.p10, found.p50, found.p90) == (day, day, day)


def test_a_budget_of_cost_counts_cost() -> None:
    found = the_run_out(sums_of(SEVEN), PredictionRequest(cost_left_nano=3 * 151))
    assert (found.budget, found.metric, found.p50) == ("cost", "cost", in_days(2))


def test_unequal_days_give_a_range() -> None:
    found = the_run_out(sums_of([0, 50, 100, 150, 200] * 2), PredictionRequest(days=60, tokens_left=2_000))
    assert found.p10 is not None
    assert found.p50 is not None
    assert found.p90 is not None
    assert found.p10 < found.p50 < found.p90
    assert abs((found.p50 - TODAY).days - 20) <= 2


def test_a_late_end_can_be_out_of_sight() -> None:
    found = the_run_out(sums_of([0, 100] * 5), PredictionRequest(days=10, tokens_left=500))
    assert found.p10 is not None
    assert found.p90 is None


def test_weekends_use_nothing() -> None:
    """2026-06-10 is a Wednesday: half of it, two days of work, then two without."""
    working = [100 if (TODAY - timedelta(days=28 - index)).weekday() < 5 else 0 for index in range(28)]
    assert the_run_out(sums_of(working), PredictionRequest(tokens_left=300)).p50 == date(2026, 6, 15)


def standing(
    window: Window,
    remaining: int,
    limit: int = 1_000,
    mode: Mode = "rolling",
    metric: Metric = "tokens",
) -> LimitStatus:
    return LimitStatus(TokenLimit("user:alice", metric, window, limit, mode), limit - remaining, 0, remaining, None)


@pytest.mark.parametrize(
    ("status", "day"),
    [
        (standing("day", 50), in_days(0)),
        (standing("day", 51, 100), in_days(1)),
        (standing("day", 51, 101), None),
        (standing("day", 51, 101, "calendar"), None),
        (standing("month", 150, mode="calendar"), in_days(1)),
        (standing("month", 2_050, 3_000, "calendar"), in_days(20)),  # the last of the month's 20 days to come
        (standing("month", 2_051, 3_000, "calendar"), in_days(50)),  # July's 30th day
        (standing("month", 2_051, 3_101, "calendar"), None),  # no month of 31 days uses as much
        (standing("month", 50, 3_000), in_days(0)),
        (standing("month", 5, 60, metric="requests"), in_days(2)),
    ],
)
def test_limits_by_their_windows(status: LimitStatus, day: date | None) -> None:
    found = the_run_out(sums_of(SEVEN), PredictionRequest(days=90), status)
    assert found.budget == f"user:alice, {status.limit.metric} per {status.limit.window}"
    assert found.problem == ""
    assert found.p50 == day


def test_a_month_that_has_begun_does_not_begin_anew() -> None:
    quarters = [UsageSum(str(int(one.key) + 21 * 96), 1, one.input_tokens) for one in sums_of(SEVEN)]
    limit = standing("month", 50, 9_000, "calendar")
    first = NOON.replace(month=7, day=1)
    assert predicted(quarters, PredictionRequest(), [limit], now=first).run_outs[0].p50 == first.date()


@pytest.mark.parametrize(("remaining", "day"), [(1_050, in_days(10)), (1_051, None)])
def test_what_leaves_a_rolling_month_can_be_used_again(remaining: int, day: date | None) -> None:
    """100 a day since 20 days ago: from the 11th day on, as much leaves the window as is used."""
    quarters = sums_of([100] * 20, today=50)
    found = the_run_out(quarters, PredictionRequest(days=90), standing("month", remaining, 3_101))
    assert (found.p10, found.p90) == (day, day)


@pytest.mark.parametrize(
    ("days", "problem", "text"),
    [
        ((1, 2, 4), "", "2026-06-12 (2026-06-11 to 2026-06-14)"),
        ((1, 2, None), "", "2026-06-12 (2026-06-11 to after 30 days)"),
        ((1, None, None), "", "after 30 days (2026-06-11 to after 30 days)"),
        ((None, None, None), "", "not within 30 days"),
        ((None, None, None), "not enough data", "not told: not enough data"),
    ],
)
def test_a_run_out_in_words(days: tuple[int | None, ...], problem: str, text: str) -> None:
    low, middle, high = (None if one is None else in_days(one) for one in days)
    assert RunOut("tokens", "tokens", 5, 30, low, middle, high, problem).text == text


@pytest.mark.parametrize("window", ["minute", "hour"])
def test_windows_shorter_than_a_day_are_not_told(window: Window) -> None:
    found = the_run_out(sums_of(SEVEN), PredictionRequest(), standing(window, 10))
    assert found.problem == f"a window of one {window} is shorter than the days that are forecast"
    assert found.p50 is None


@pytest.mark.parametrize(
    ("zone", "today", "left"),
    [
        ("Europe/Berlin", date(2026, 10, 25), 48),
        ("Europe/Berlin", date(2026, 3, 29), 52),
        ("America/Havana", date(2026, 3, 8), 52),  # its midnight does not exist
        ("America/Havana", date(2026, 11, 1), 48),
    ],
)
def test_the_rest_of_a_day_counts_by_the_days_length(zone: str, today: date, left: int) -> None:
    """At noon, 12 hours are left of 25, or of 23, and take so many of a day's 100 tokens."""
    now = datetime(today.year, today.month, today.day, 12, tzinfo=ZoneInfo(zone))
    later = (today - TODAY).days * 96
    quarters = [UsageSum(str(int(one.key) + later + 24), 1, one.input_tokens) for one in sums_of(SEVEN)]
    for tokens, day in ((left, today), (left + 1, today + timedelta(days=1))):
        request = PredictionRequest(timezone=zone, tokens_left=tokens)
        assert predicted(quarters, request, now=now).run_outs[0].p50 == day


def test_the_history_is_whole_days_in_the_zone() -> None:
    request = PredictionRequest(history_days=7, timezone="Europe/Berlin")
    start_us, end_us = request.period_us(us(NOON))
    assert datetime.fromtimestamp(start_us / 1e6, ZoneInfo("Europe/Berlin")).isoformat() == "2026-06-03T00:00:00+02:00"
    assert end_us == us(NOON)
    assert PredictionRequest(history_days=400).period_us(0) == (0, 0)


@pytest.mark.parametrize(
    ("field", "request_of"),
    [
        ("days", lambda: PredictionRequest(days=0)),
        ("days", lambda: PredictionRequest(days=367)),
        ("history_days", lambda: PredictionRequest(history_days=2)),
        ("history_days", lambda: PredictionRequest(history_days=401)),
        ("tokens_left", lambda: PredictionRequest(tokens_left=-1)),
        ("cost_left_nano", lambda: PredictionRequest(cost_left_nano=2**60)),
        ("models", lambda: PredictionRequest(models="gpt-4o")),
        ("models", lambda: PredictionRequest(models=["gpt-4o"] * 21)),
        ("timezone", lambda: PredictionRequest(timezone="Berlin")),
        ("user", lambda: PredictionRequest(user="")),
    ],
)
def test_impossible_requests_are_refused(field: str, request_of: Callable[[], PredictionRequest]) -> None:
    with pytest.raises(InvalidInput) as caught:
        request_of()
    assert caught.value.field == field
