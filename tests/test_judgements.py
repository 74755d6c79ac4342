"""What-if, replay and anomalies over a ledger: from its events and sums, through the service."""

from collections.abc import AsyncGenerator

import pytest

from tests.conftest import CountingIds, FakeClock
from tests.waiting import until
from tokenward import (
    InvalidInput,
    QuotaRequest,
    RecordRequest,
    ReportRequest,
    SyncTokenward,
    TokenLimit,
    TokenUsage,
    Tokenward,
)
from tokenward.engine.quota import Policy
from tokenward.engine.reports.what_if import Scenario
from tokenward.engine.types import DAY_US, HOUR_US, SECOND_US
from tokenward.engine.usage import UsageEvent
from tokenward.judgements import MOST_ANOMALIES, ReplayRequest, WhatIfRequest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service(clock: FakeClock, new_id: CountingIds) -> AsyncGenerator[Tokenward]:
    opening = Tokenward.open(
        "memory://",
        default_user="alice",
        aliases={"house": "gpt-4o"},
        policy=Policy({"low": 50, "normal": 100, "high": 100}),
        clock=clock,
        new_id=new_id,
    )
    async with opening as opened:
        yield opened


async def record(service: Tokenward, tokens: int, at_us: int, *, user: str = "alice", model: str = "gpt-4o") -> None:
    request = RecordRequest(model=model, usage=TokenUsage(tokens, 0), user=user, at_us=at_us)
    await service.record_usage(request)


# What-if ------------------------------------------------------------------------------------------------------------


async def test_what_if_reads_the_period_and_the_user(service: Tokenward, clock: FakeClock) -> None:
    now_us = clock()
    usage = TokenUsage(1_000, 0)
    ages = range(2_500)  # several pages and batches
    await service.record_many(
        [
            RecordRequest(
                model="gpt-4o", usage=usage, user="alice" if age % 2 else "bob", at_us=now_us - age * SECOND_US
            )
            for age in ages
        ]
    )
    scenario = Scenario(model="gpt-4o-mini")
    request = WhatIfRequest(start_us=now_us - 1_999 * SECOND_US, end_us=now_us + 1, scenario=scenario)
    report = await service.reports.what_if(request)
    assert (report.totals.requests, report.totals.compared) == (2_000, 2_000)
    assert (report.totals.actual_nano, report.totals.what_if_nano) == (2_000 * 2_500_000, 2_000 * 150_000)
    mine = await service.reports.what_if(WhatIfRequest(start_us=0, end_us=now_us + 1, scenario=scenario, user="bob"))
    assert mine.totals.requests == 1_250


async def test_what_if_knows_the_settings_aliases(service: Tokenward, clock: FakeClock) -> None:
    await record(service, 1_000, clock(), model="gpt-4o-mini")
    scenario = Scenario(model="house")
    report = await service.reports.what_if(WhatIfRequest(start_us=0, end_us=clock() + 1, scenario=scenario))
    assert report.totals.what_if_nano == 1_000 * 2_500
    assert [row.same_tokenizer for row in report.rows] == [True]


async def test_a_model_that_cannot_be_one_is_refused(service: Tokenward, clock: FakeClock) -> None:
    with pytest.raises(InvalidInput, match="model"):
        await service.reports.what_if(WhatIfRequest(start_us=0, end_us=clock(), scenario=Scenario(model=" ")))


async def test_an_unknown_model_has_no_price_and_that_is_said(service: Tokenward, clock: FakeClock) -> None:
    await record(service, 1_000, clock())
    scenario = Scenario(model="no-such-model")
    report = await service.reports.what_if(WhatIfRequest(start_us=0, end_us=clock() + 1, scenario=scenario))
    assert (report.totals.not_priceable, report.totals.what_if_nano) == (1, 0)
    assert any("no-such-model" in note for note in report.notes)


@pytest.mark.parametrize(("start_us", "end_us"), [(5, 5), (6, 5), (-1, 5)])
def test_an_empty_period_is_refused(start_us: int, end_us: int) -> None:
    with pytest.raises(InvalidInput, match="period is empty"):
        WhatIfRequest(start_us=start_us, end_us=end_us, scenario=Scenario(tier="batch"))
    with pytest.raises(InvalidInput, match="period is empty"):
        ReplayRequest(start_us=start_us, end_us=end_us)


async def test_pruned_events_are_told(service: Tokenward, clock: FakeClock) -> None:
    await record(service, 1_000, clock() - 2 * DAY_US)
    await (await service.ledger()).prune(clock() - DAY_US)
    request = WhatIfRequest(start_us=clock() - 3 * DAY_US, end_us=clock(), scenario=Scenario(tier="batch"))
    assert "pruned" in (await service.reports.what_if(request)).notes[-1]
    replayed = await service.reports.replay(ReplayRequest(start_us=clock() - 3 * DAY_US, end_us=clock(), limits=()))
    assert "pruned" in replayed.notes[-1]
    later = WhatIfRequest(start_us=clock() - DAY_US + 1, end_us=clock(), scenario=Scenario(tier="batch"))
    assert not any("pruned" in note for note in (await service.reports.what_if(later)).notes)


# Replay -------------------------------------------------------------------------------------------------------------


async def test_replay_tries_the_given_limits_and_changes_none(service: Tokenward, clock: FakeClock) -> None:
    standing = TokenLimit("user:alice", "tokens", "day", 10**9)
    await service.set_limit(standing)
    for hour in range(6):
        await record(service, 30, clock() - (6 - hour) * HOUR_US)
    tried = TokenLimit("user:alice", "tokens", "day", 100)
    period = (clock() - 3 * HOUR_US, clock())
    report = await service.reports.replay(ReplayRequest(start_us=period[0], end_us=period[1], limits=[tried]))
    # Three requests before the period count: 90 of 100 are used when it begins.
    assert (report.requests, report.refused, report.refused_tokens) == (3, 3, 90)
    assert await service.limits() == [standing]
    current = await service.reports.replay(ReplayRequest(start_us=period[0], end_us=period[1]))
    assert (current.limits, current.requests, current.refused) == ((standing,), 3, 0)


async def test_replay_keeps_to_the_priorities_shares(service: Tokenward, clock: FakeClock) -> None:
    request = RecordRequest(model="gpt-4o", usage=TokenUsage(60, 0), priority="low", at_us=clock())
    await service.record_usage(request)
    limit = TokenLimit("user:alice", "tokens", "day", 100)
    report = await service.reports.replay(ReplayRequest(start_us=0, end_us=clock() + 1, limits=[limit]))
    assert report.refused == 1


async def test_replay_without_limits_says_so(service: Tokenward, clock: FakeClock) -> None:
    report = await service.reports.replay(ReplayRequest(start_us=0, end_us=clock()))
    assert report.notes == ("There are no limits to try.",)


def test_one_limit_twice_is_refused() -> None:
    limits = [TokenLimit("global", "tokens", "day", amount) for amount in (1, 2)]
    with pytest.raises(InvalidInput, match="given twice"):
        ReplayRequest(start_us=0, end_us=1, limits=limits)


def test_both_work_without_await(clock: FakeClock) -> None:
    with SyncTokenward.open("memory://", clock=clock) as service:
        scenario = Scenario(tier="batch")
        report = service.reports.what_if(WhatIfRequest(start_us=0, end_us=1, scenario=scenario))
        assert report.totals.requests == 0
        assert service.reports.replay(ReplayRequest(start_us=0, end_us=1)).requests == 0


# Anomalies ----------------------------------------------------------------------------------------------------------


async def history(service: Tokenward, now_us: int, user: str = "alice", days: int = 28) -> None:
    """A thousand tokens in each of four hours of every day before."""
    store = await service.ledger()
    midnight_us = now_us - now_us % DAY_US
    times = [midnight_us - day * DAY_US + hour * HOUR_US for day in range(1, days + 1) for hour in range(8, 12)]
    await store.add_events(
        [
            UsageEvent(f"{user}-{at_us}", at_us, at_us, user, "gpt-4o", TokenUsage(1_000, 0), 2_500_000)
            for at_us in times
        ]
    )


async def test_a_report_names_what_was_unusual(service: Tokenward, clock: FakeClock) -> None:
    await history(service, clock())
    await history(service, clock(), "bob")
    await record(service, 50_000, clock() - HOUR_US)
    report = await service.usage_report(ReportRequest(clock() - 7 * DAY_US, clock() + 1))
    found = [(one.user, one.span, one.used_tokens, one.usual_tokens) for one in report.anomalies]
    assert found == [("alice", "day", 50_000, 4_000), ("alice", "hour", 50_000, 1_000)]
    bob = await service.usage_report(ReportRequest(clock() - 7 * DAY_US, clock() + 1, user="bob"))
    assert bob.anomalies == ()
    filtered = await service.usage_report(ReportRequest(clock() - 7 * DAY_US, clock() + 1, model="gpt-4o"))
    assert filtered.anomalies == ()


async def test_a_report_names_at_most_so_many(service: Tokenward, clock: FakeClock) -> None:
    await history(service, clock() - 60 * DAY_US)
    for day in range(60):
        await record(service, (day + 2) * 10 ** (3 + min(day, 4)), clock() - (60 - day) * DAY_US)
    report = await service.usage_report(ReportRequest(clock() - 61 * DAY_US, clock()))
    assert 1 < len(report.anomalies) <= MOST_ANOMALIES


async def test_a_check_warns_of_an_unusual_burn_rate_once_it_is_known(service: Tokenward, clock: FakeClock) -> None:
    await history(service, clock())
    ask = QuotaRequest(tokens=1)

    async def warnings() -> tuple[str, ...]:
        return (await service.check_quota(ask)).warnings

    # The first check starts to read and answers at once.
    assert await warnings() == ()
    await record(service, 50_000, clock())
    clock.advance(301)

    async def warned() -> bool:
        return bool(await warnings())

    await until(warned)
    assert (await warnings())[0] == "Unusual: alice: 50,000 tokens within an hour, 50 times the usual 1,000."
    # Within five minutes nothing is read anew; after that the next check learns that the hour is over.
    clock.advance(HOUR_US / SECOND_US + 301)

    async def hour_over() -> bool:
        return not any("within an hour" in one for one in await warnings())

    await until(hour_over)


async def test_burn_rates_can_be_turned_off(clock: FakeClock, new_id: CountingIds) -> None:
    async with Tokenward.open("memory://", clock=clock, new_id=new_id, anomalies=False) as service:
        await history(service, clock(), "default")
        await record(service, 50_000, clock(), user="default")
        for _ in range(3):
            assert (await service.check_quota(QuotaRequest(tokens=1))).warnings == ()
            clock.advance(301)
