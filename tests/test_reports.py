"""The service's reports and predictions, asynchronous and synchronous."""

import inspect
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.conftest import CountingIds, FakeClock
from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import TokenLimit
from tokenward.engine.reports.forecast import Quantiles
from tokenward.engine.reports.prediction import PredictionRequest
from tokenward.engine.reports.report import ReportRequest
from tokenward.engine.times import rfc3339
from tokenward.engine.types import DAY_US
from tokenward.engine.usage import TokenUsage
from tokenward.reports import Reports
from tokenward.requests import RecordRequest
from tokenward.service import Tokenward
from tokenward.sync import SyncReports, SyncTokenward

pytestmark = pytest.mark.anyio

DAILY = TokenUsage(900, 100)


def daily(clock: FakeClock, user: str, days: int = 28) -> list[RecordRequest]:
    """One request at noon of each of the days before today."""
    return [
        RecordRequest(model="gpt-4o", usage=DAILY, user=user, at_us=clock() - day * DAY_US)
        for day in range(1, days + 1)
    ]


@pytest.fixture
async def service(clock: FakeClock, new_id: CountingIds) -> AsyncIterator[Tokenward]:
    async with Tokenward.open("memory://", default_user="alice", clock=clock, new_id=new_id) as opened:
        yield opened


async def test_a_prediction_of_a_users_own_days(service: Tokenward, clock: FakeClock) -> None:
    await service.record_many([*daily(clock, "alice"), *daily(clock, "bob", 40)])
    a_day = service.calculator.calculate_cost(DAILY, "gpt-4o").total_nano
    one = await service.reports.predict_cost(PredictionRequest(days=10, user="alice", models=["gpt-4o-mini"]))
    assert one.forecast.tokens == Quantiles(10_000, 10_000, 10_000)
    assert one.forecast.cost_nano == Quantiles(10 * a_day, 10 * a_day, 10 * a_day)
    mini = service.calculator.calculate_cost(DAILY, "gpt-4o-mini").total_nano
    assert one.other_models[0].cost_nano == Quantiles(10 * mini, 10 * mini, 10 * mini)
    everybody = await service.reports.predict_cost(PredictionRequest(days=10, history_days=28))
    assert everybody.forecast.tokens == Quantiles(20_000, 20_000, 20_000)


async def test_a_users_limits_run_out(service: Tokenward, clock: FakeClock) -> None:
    """It is noon of 2026-11-21: half of today is left, then one day after the other."""
    await service.set_limit(TokenLimit("user:alice", "tokens", "month", 35_500, "calendar"))
    await service.set_limit(TokenLimit("default", "requests", "day", 1, "calendar"))
    await service.set_limit(TokenLimit("global", "tokens", "month", 24_500, "calendar"))
    await service.record_many(daily(clock, "alice"))
    alice = await service.reports.predict_cost(PredictionRequest(user="alice"))
    assert [(one.budget, one.metric, one.remaining) for one in alice.run_outs] == [
        ("user:alice, tokens per month", "tokens", 15_500),
        ("default, requests per day", "requests", 1),
    ]
    assert [one.p50 and one.p50.isoformat() for one in alice.run_outs] == [None, "2026-11-22"]
    everybody = await service.reports.predict_cost(PredictionRequest())
    assert [(one.budget, one.p50 and one.p50.isoformat()) for one in everybody.run_outs] == [
        ("global, tokens per month", "2026-11-25")
    ]


async def test_a_prediction_for_nobody_known_says_so(service: Tokenward) -> None:
    made = await service.reports.predict_cost(PredictionRequest(user="nobody", tokens_left=5))
    assert made.forecast.method == "not enough data"
    assert [one.problem for one in made.run_outs] == ["not enough data"]


async def test_a_cursor_is_for_the_same_request(service: Tokenward, clock: FakeClock) -> None:
    await service.record_many([RecordRequest(model="gpt-4o", usage=DAILY, user=name) for name in "abc"])
    request = ReportRequest(clock() - DAY_US, clock() + 1, limit=2)
    first = await service.usage_report(request)
    cursor = first.next_cursor
    assert cursor is not None
    assert [row.key for row in (await service.usage_report(request, cursor=cursor)).rows] == ["c"]
    for other in (
        ReportRequest(clock() - DAY_US, clock() + 2, limit=2),
        ReportRequest(clock() - DAY_US, clock() + 1, limit=3),
        ReportRequest(clock() - DAY_US, clock() + 1, "model", limit=2),
        ReportRequest(clock() - DAY_US, clock() + 1, limit=2, group=""),
        ReportRequest(clock() - DAY_US, clock() + 1, timezone="Europe/Berlin", limit=2),
    ):
        with pytest.raises(InvalidInput, match="cursor: not a cursor of this query"):
            await service.usage_report(other, cursor=cursor)
    for changed in (cursor[:-1], cursor + "A", "", cursor.swapcase()):
        with pytest.raises(InvalidInput, match="cursor: not a cursor of this ledger, or changed"):
            await service.usage_report(request, cursor=changed)


async def test_a_period_that_ends_now_is_the_same_on_every_page(service: Tokenward, clock: FakeClock) -> None:
    await service.record_many([RecordRequest(model="gpt-4o", usage=DAILY, user=name) for name in "abc"])
    asked = ["24h"]
    first = await service.reports.usage_report(ReportRequest(clock() - DAY_US, clock() + 1, limit=2), asked=asked)
    clock.advance(3_600)
    await service.record_many([RecordRequest(model="gpt-4o", usage=DAILY, user=name) for name in "abcd"])
    later = ReportRequest(clock() - DAY_US, clock() + 1, limit=2)
    second = await service.reports.usage_report(later, cursor=first.next_cursor, asked=asked)
    assert [row.key for row in (*first.rows, *second.rows)] == ["a", "b", "c"]
    assert second.totals == first.totals
    assert (second.request.start_us, second.request.end_us) == (first.request.start_us, first.request.end_us)
    with pytest.raises(InvalidInput, match="cursor: not a cursor of this query"):
        await service.reports.usage_report(later, cursor=first.next_cursor, asked=["7d"])


def test_reports_without_await(clock: FakeClock, new_id: CountingIds) -> None:
    with SyncTokenward.open("memory://", default_user="alice", clock=clock, new_id=new_id) as service:
        service.record_many(daily(clock, "alice"))
        made = service.reports.predict_cost(PredictionRequest(user="alice", days=2))
        assert made.forecast.tokens == Quantiles(2_000, 2_000, 2_000)
        request = ReportRequest(clock() - 30 * DAY_US, clock(), "day", limit=20)
        first = service.reports.usage_report(request)
        second = service.usage_report(request, cursor=first.next_cursor)
        assert (len(first.rows), len(second.rows), second.next_cursor) == (20, 11, None)
    with pytest.raises(RuntimeError, match="closed"):
        service.reports.predict_cost(PredictionRequest())


def test_nothing_of_the_reports_is_missing_without_await() -> None:
    def methods(of: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(of, inspect.isfunction) if not name.startswith("_")}

    assert methods(SyncReports) == methods(Reports)
    for name in methods(Reports):
        assert inspect.signature(getattr(SyncReports, name)) == inspect.signature(getattr(Reports, name))
        assert inspect.getdoc(getattr(SyncReports, name)) == inspect.getdoc(getattr(Reports, name))


async def test_a_session_report_says_what_was_pruned(service: Tokenward, clock: FakeClock) -> None:
    """Sums by session come from events; all others are as before."""
    old, new = (
        RecordRequest(model="gpt-4o", usage=DAILY, session="s", at_us=clock() - day * DAY_US) for day in (100, 1)
    )
    await service.record_many([old, new])
    pruned_us = clock() - 90 * DAY_US
    await (await service.ledger()).prune(pruned_us)
    start_us = clock() - 200 * DAY_US
    for request in (
        ReportRequest(start_us, clock(), "session"),
        ReportRequest(start_us, clock(), "day", session="s"),
        ReportRequest(start_us, clock(), session=""),
    ):
        (warning,) = (await service.usage_report(request)).warnings
        assert warning.startswith(f"Events before {rfc3339(pruned_us)} were pruned; what sessions used before")
    by_session = await service.usage_report(ReportRequest(start_us, clock(), "session"))
    assert (by_session.rows[0].total_tokens, by_session.totals.total_tokens) == (1_000, 2_000)
    assert (await service.usage_report(ReportRequest(start_us, clock()))).warnings == ()
    assert (await service.usage_report(ReportRequest(pruned_us, clock(), "session"))).warnings == ()


async def test_work_without_a_price_has_no_forecast_of_cost(service: Tokenward, clock: FakeClock) -> None:
    unknown = [replace(one, model="no-such-model") for one in daily(clock, "alice", 10)]
    await service.record_many([*unknown, *unknown[:5], *daily(clock, "bob", 10), *[replace(unknown[0], user="bob")]])
    request = ReportRequest(clock() - 14 * DAY_US, clock(), user="alice", forecast_days=2)
    alice = (await service.usage_report(request)).forecast
    assert alice is not None
    assert alice.tokens is not None
    assert (alice.cost_nano, alice.cost_by_model, alice.unpriced_requests) == (None, {}, 15)
    bob = (await service.usage_report(replace(request, user="bob"))).forecast
    assert bob is not None
    assert bob.cost_nano is not None
    assert bob.unpriced_requests == 1
    predicted = await service.reports.predict_cost(PredictionRequest(user="alice", history_days=14))
    assert (predicted.forecast.cost_nano, predicted.cost_backtest_coverage) == (None, None)
