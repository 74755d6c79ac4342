"""Forecasts: drawn from the user's own days, repeatable, and honest about how good they are."""

from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenward.engine.analytics import UsageAnalytics
from tokenward.engine.reports.forecast import DayUsage, Forecast, Quantiles, forecast, shared_out
from tokenward.engine.reports.report import ReportRequest
from tokenward.engine.usage import UsageSum

MONDAY = date(2026, 6, 1)
DAY_US = 86_400_000_000


def days(tokens: list[int], first: date = MONDAY) -> list[DayUsage]:
    return [DayUsage(first + timedelta(days=index), count, count * 2) for index, count in enumerate(tokens)]


def forecast_of(tokens: list[int], ahead: int = 7, *, seed: int = 0) -> Forecast:
    first = MONDAY + timedelta(days=len(tokens))
    return forecast(days(tokens), first=first, days=ahead, model_costs={"gpt-5": 1}, random=Random(seed))


@pytest.mark.parametrize("tokens", [[], [5], [5, 5], [5, 0, 0, 0, 5, 0, 0]])
def test_fewer_than_three_days_with_usage_are_not_enough(tokens: list[int]) -> None:
    assert forecast_of(tokens) == Forecast(7, None, None, {}, "not enough data", None)


def test_equal_days_give_a_certain_sum() -> None:
    result = forecast_of([100] * 20, 30)
    assert result.tokens == Quantiles(3000, 3000, 3000)
    assert result.cost_nano == Quantiles(6000, 6000, 6000)
    assert result.backtest_coverage == 1.0


def test_two_weeks_make_it_aware_of_weekdays() -> None:
    """Work on five days a week: a coming weekend is 0, and a week is exactly five days' worth."""
    week = [100] * 5 + [0] * 2
    assert forecast_of(week * 2, 7).tokens == Quantiles(500, 500, 500)
    assert forecast_of(week * 2, 7).method == "resampled weekdays"
    weekend = forecast(
        days(week * 3), first=MONDAY + timedelta(days=26), days=2, model_costs={"gpt-5": 1}, random=Random(0)
    )
    assert weekend.tokens == Quantiles(0, 0, 0)


def test_less_than_two_weeks_draw_from_all_days() -> None:
    result = forecast_of([100, 0, 100, 0, 100, 0, 100, 0, 100, 0, 100, 0, 100], 10)
    assert result.method == "resampled days"
    assert result.tokens is not None
    assert 0 < result.tokens.p10 < result.tokens.p50 < result.tokens.p90 < 1000


def test_the_same_seed_gives_the_same_forecast_and_another_seed_nearly() -> None:
    history = [Random(index).randrange(1000) for index in range(40)]
    first, again, other = forecast_of(history), forecast_of(history), forecast_of(history, seed=1)
    assert first == again
    assert first.tokens is not None
    assert other.tokens is not None
    assert abs(first.tokens.p50 - other.tokens.p50) < 0.1 * first.tokens.p50


def test_quantiles_cover_the_truth_of_a_known_distribution() -> None:
    """Days drawn uniformly from 0 to 1000: 30 of them sum to 15,000 with a deviation of 1,581."""
    random = Random(7)
    result = forecast(
        days([random.randrange(1001) for _ in range(365)]),
        first=MONDAY + timedelta(days=365),
        days=30,
        model_costs={},
        random=Random(0),
    )
    assert result.tokens is not None
    assert 14_000 < result.tokens.p50 < 16_000
    assert 1.1 * 1581 < result.tokens.p50 - result.tokens.p10 < 1.5 * 1581
    assert 1.1 * 1581 < result.tokens.p90 - result.tokens.p50 < 1.5 * 1581
    assert result.backtest_coverage is not None
    assert 0.7 < result.backtest_coverage < 0.9


@pytest.mark.parametrize(("length", "coverage"), [(11, None), (12, 1.0)])
def test_the_backtest_needs_a_week_before_it_and_five_days_to_test(length: int, coverage: float | None) -> None:
    assert forecast_of([50] * length).backtest_coverage == coverage


def test_a_past_that_never_repeats_has_no_coverage() -> None:
    assert forecast_of([2**index for index in range(30)]).backtest_coverage == 0.0


def test_the_cost_is_shared_out_as_the_models_cost_before() -> None:
    history = days([100] * 5)
    result = forecast(history, first=MONDAY, days=1, model_costs={"a": 1, "b": 3}, random=Random(0))
    assert result.cost_by_model == {"a": 50, "b": 150}


@given(st.integers(0, 10**15), st.dictionaries(st.text(max_size=3), st.integers(1, 10**12), min_size=1, max_size=8))
def test_shares_add_up_and_are_within_one_unit_of_exact(total: int, weights: dict[str, int]) -> None:
    shares = shared_out(total, weights)
    assert sum(shares.values()) == total
    for key, weight in weights.items():
        assert abs(shares[key] * sum(weights.values()) - total * weight) < sum(weights.values())


def test_no_known_costs_give_no_shares() -> None:
    assert shared_out(10, {}) == {}


def quarter_sums(start: datetime, tokens_by_day: list[int]) -> list[UsageSum]:
    """One request at noon of each day."""
    noon = int(start.timestamp()) // 900 + 48
    return [
        UsageSum(str(noon + 96 * day), requests=1, input_tokens=tokens, cost_nano=tokens)
        for day, tokens in enumerate(tokens_by_day)
        if tokens
    ]


def report_forecast(tokens: list[int], *, start_offset_us: int = 0, end_offset_us: int = 0) -> Forecast:
    start = datetime(2026, 6, 1, tzinfo=UTC)
    start_us = int(start.timestamp()) * 1_000_000
    request = ReportRequest(
        start_us + start_offset_us, start_us + len(tokens) * DAY_US + end_offset_us, forecast_days=1
    )
    quarters = quarter_sums(start, tokens)
    models = [UsageSum("gpt-5", cost_nano=sum(tokens))]
    result = UsageAnalytics().generate_report(request, {"quarter_hour": quarters, "user": [], "model": models})
    assert result.forecast is not None
    return result.forecast


def test_days_that_are_only_partly_in_the_period_are_left_out() -> None:
    """A day that has just begun would pull the forecast down, and so would a first day cut short."""
    whole = Quantiles(100, 100, 100)
    assert report_forecast([100, 100, 100, 100]).tokens == whole
    assert report_forecast([100, 100, 100, 3], end_offset_us=-1).tokens == whole
    assert report_forecast([3, 100, 100, 100], start_offset_us=1).tokens == whole


def test_the_time_before_the_first_usage_is_no_history() -> None:
    assert report_forecast([0] * 7 + [100] * 4).tokens == Quantiles(100, 100, 100)


def test_days_off_inside_the_history_count_as_zero() -> None:
    result = report_forecast([100, 0, 0, 0, 0, 100, 100])
    assert result.tokens is not None
    assert result.tokens.p10 == 0
    assert result.cost_by_model == {"gpt-5": 0}


def test_a_period_of_one_part_of_a_day_is_not_enough() -> None:
    assert report_forecast([100], start_offset_us=1, end_offset_us=-1).method == "not enough data"
