"""Reports on every store: page by page they say what a sum over the raw events says."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from random import Random
from typing import get_args
from zoneinfo import ZoneInfo

import anyio
import pytest

from tests.conftest import CountingIds, FakeClock, events_of
from tokenward.engine.errors import InvalidInput
from tokenward.engine.reports.prediction import PredictionRequest
from tokenward.engine.reports.report import GroupBy, ReportRequest, UsageReport, UsageStats
from tokenward.engine.types import DAY_US, HOUR_US, MINUTE_US
from tokenward.engine.usage import TokenUsage, UsageEvent, UsageQuery, UsageSum
from tokenward.service import Tokenward
from tokenward.storage.base import Record
from tokenward.storage.reading import parts

pytestmark = pytest.mark.anyio

ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Chatham"]
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
START_US = int(datetime(2026, 10, 23, tzinfo=UTC).timestamp()) * 1_000_000
END_US = START_US + 4 * DAY_US
"""Around the change of the clocks in Berlin on 2026-10-25."""


@pytest.fixture
async def service(store_url: str, clock: FakeClock, new_id: CountingIds) -> AsyncIterator[Tokenward]:
    async with Tokenward.open(store_url, default_user="alice", clock=clock, new_id=new_id) as opened:
        yield opened


def some_record(random: Random) -> Record:
    """Any event; some exactly on a quarter of an hour."""
    at_us = random.randrange(START_US - DAY_US, END_US + DAY_US)
    cached, written, hour, fresh = (random.randrange(500) for _ in range(4))
    output = random.randrange(900)
    return Record(
        user=random.choice(["alice", "bob", "carol", "=1+1", "ä|b"]),
        model=random.choice(["gpt-4o", "o3", "claude-sonnet-4-5"]),
        group=random.choice(["", "team", "lab"]),
        session=random.choice(["", "s1", "s2", "s3"]),
        endpoint=random.choice(["", "chat", "responses"]),
        usage=TokenUsage(fresh + cached + written + hour, output, cached, written, hour, output // 2),
        cost_nano=random.choice([None, random.randrange(10**12)]),
        at_us=at_us // (15 * MINUTE_US) * 15 * MINUTE_US if random.random() < 0.2 else at_us,
        estimated=random.random() < 0.3,
    )


def some_request(random: Random, group_by: GroupBy) -> ReportRequest:
    """Any period, zone and filter; half of the periods cut quarters of an hour."""
    start_us = random.randrange(START_US - DAY_US, END_US)
    end_us = random.randrange(start_us + 1, END_US + DAY_US)
    if random.random() < 0.5:
        start_us, end_us = start_us // HOUR_US * HOUR_US, -(-end_us // HOUR_US) * HOUR_US
    zone, limit = random.choice(ZONES), random.choice([1, 3, 50])
    of = partial(ReportRequest, start_us, end_us, group_by, zone, limit=limit)
    return random.choice(
        [of(), of(), of(user="alice"), of(model="o3"), of(group=""), of(group="lab"), of(session="s1")]
    )


def name_of(event: UsageEvent, group_by: GroupBy, zone: str) -> str:
    local = datetime.fromtimestamp(event.timestamp_us // 1_000_000, ZoneInfo(zone))
    match group_by:
        case "day":
            return f"{local:%Y-%m-%d}"
        case "hour_of_day":
            return f"{local:%H}"
        case column:
            return str(getattr(event, column))


def brute_force(key: str, events: Sequence[UsageEvent]) -> UsageSum:
    used = [event.usage for event in events]
    return UsageSum(
        key=key,
        requests=len(events),
        input_tokens=sum(one.input_tokens for one in used),
        output_tokens=sum(one.output_tokens for one in used),
        cached_tokens=sum(one.cached_input_tokens for one in used),
        cache_write_tokens=sum(one.cache_write_tokens + one.cache_write_1h_tokens for one in used),
        reasoning_tokens=sum(one.reasoning_tokens for one in used),
        cost_nano=sum(event.cost_nano or 0 for event in events),
        unpriced_requests=sum(event.cost_nano is None for event in events),
        estimated_requests=sum(event.estimated for event in events),
        cache_write_1h_tokens=sum(one.cache_write_1h_tokens for one in used),
    )


def by_name(events: Sequence[UsageEvent], name: Callable[[UsageEvent], str]) -> dict[str, UsageSum]:
    names = {name(event) for event in events}
    return {key: brute_force(key, [event for event in events if name(event) == key]) for key in names}


def plain(row: UsageStats) -> UsageSum:
    return UsageSum(*(getattr(row, name) for name in UsageSum.__slots__))


async def pages(service: Tokenward, request: ReportRequest) -> list[UsageReport]:
    found = [await service.usage_report(request)]
    while (cursor := found[-1].next_cursor) is not None:
        found.append(await service.usage_report(request, cursor=cursor))
    return found


@pytest.mark.parametrize("group_by", GROUPS)
async def test_pages_say_what_the_raw_events_say(service: Tokenward, group_by: GroupBy) -> None:
    random = Random(f"events by {group_by}")
    ledger = await service.ledger()
    await ledger.record_many([some_record(random) for _ in range(300)])
    events = await events_of(ledger)
    for _ in range(12):
        request = some_request(random, group_by)
        check(await pages(service, request), request, [one for one in events if is_in(one, request)])


def check(found: Sequence[UsageReport], request: ReportRequest, inside: Sequence[UsageEvent]) -> None:
    """All pages of a report against the events of its period."""

    def expected(group_by: GroupBy) -> dict[str, UsageSum]:
        return by_name(inside, lambda one: name_of(one, group_by, request.timezone))

    rows = [row for page in found for row in page.rows]
    assert {row.key: plain(row) for row in rows if row.requests} == expected(request.group_by), request
    assert len({row.key for row in rows}) == len(rows) == found[0].total_rows, request
    by_key = request.group_by in ("day", "hour_of_day")
    places = [(0 if by_key else -row.total_tokens, row.key) for row in rows]
    assert all(one < two for one, two in pairwise(places)), request
    hours = {int(hour): one.total_tokens for hour, one in expected("hour_of_day").items()}
    for page in found:
        assert plain(page.totals) == brute_force("", inside), request
        assert page.by_hour_of_day == tuple(hours.get(hour, 0) for hour in range(24)), request
        assert {one.key: plain(one) for one in page.top_users} == expected("user"), request


def is_in(event: UsageEvent, request: ReportRequest) -> bool:
    filters = ((request.user, event.user), (request.model, event.model))
    named = ((request.group, event.group), (request.session, event.session))
    return request.start_us <= event.timestamp_us < request.end_us and all(
        wanted in (None, found) for wanted, found in (*filters, *named)
    )


async def test_no_row_comes_twice_while_usage_is_recorded(service: Tokenward) -> None:
    """Late events arrive between any two pages. Rows that they do not touch are all there."""
    random = Random(5)
    ledger = await service.ledger()
    await ledger.record_many(
        [replace(some_record(random), session=f"s{number}", at_us=START_US) for number in range(40)]
    )
    request = ReportRequest(START_US, END_US, "session", limit=3)
    page = await service.usage_report(request)
    keys = [row.key for row in page.rows]
    touched: set[str] = set()
    while page.next_cursor is not None:
        late = {f"s{random.randrange(45)}" for _ in range(2)}
        touched |= late
        await ledger.record_many([replace(some_record(random), session=one, at_us=START_US) for one in sorted(late)])
        page = await service.usage_report(request, cursor=page.next_cursor)
        keys += [row.key for row in page.rows]
    assert len(keys) == len(set(keys))
    assert {f"s{number}" for number in range(40)} - touched <= set(keys)


async def test_all_sums_are_of_one_moment(service: Tokenward) -> None:
    """While events come in, totals, users, models and rows agree in every report."""
    random = Random(6)
    ledger = await service.ledger()
    done = anyio.Event()

    async def record() -> None:
        for _ in range(60):
            await ledger.record(replace(some_record(random), at_us=START_US + random.randrange(DAY_US)))
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(record)
        request = ReportRequest(START_US, END_US, "model", top=100, limit=100)
        while not done.is_set():
            report = await service.usage_report(request)
            for several in (report.rows, report.top_users):
                assert sum(one.requests for one in several) == report.totals.requests
                assert sum(one.total_tokens for one in several) == report.totals.total_tokens
            assert sum(report.by_hour_of_day) == report.totals.total_tokens


async def test_a_cursor_holds_wherever_the_ledger_is_opened(
    service: Tokenward, store_url: str, clock: FakeClock, new_id: CountingIds
) -> None:
    ledger = await service.ledger()
    await ledger.record_many([replace(some_record(Random(7)), user=name, at_us=START_US) for name in "abcd"])
    request = ReportRequest(START_US, END_US, limit=2)
    cursor = (await service.usage_report(request)).next_cursor
    async with Tokenward.open(store_url, clock=clock, new_id=new_id) as other:
        if store_url == "memory://":
            with pytest.raises(InvalidInput, match="cursor: not a cursor of this ledger"):
                await other.usage_report(request, cursor=cursor)
        else:
            rows = (await other.usage_report(request, cursor=cursor)).rows
            assert [row.key for row in rows] == ["c", "d"]


@pytest.mark.parametrize("group_by", GROUPS)
async def test_a_report_reads_the_rollup_in_one_snapshot(
    service: Tokenward, group_by: GroupBy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many events there are: of events, only the two cut quarters of an hour are summed, and sessions."""
    ledger = await service.ledger()
    asked: list[Sequence[UsageQuery]] = []

    async def noted(queries: Sequence[UsageQuery]) -> list[list[UsageSum]]:
        asked.append(queries)
        return await usage_many(queries)

    usage_many = ledger.usage_many
    monkeypatch.setattr(ledger, "usage_many", noted)
    await service.usage_report(ReportRequest(START_US + 1, END_US - 1, group_by, forecast_days=7, user="alice"))
    sums, *anomalies = asked
    dimensions = {"quarter_hour", "user", "model"} | ({group_by} - {"day", "hour_of_day"})
    assert {query.dimension for query in sums} == dimensions
    assert {query.dimension for queries in anomalies for query in queries} <= {"quarter_hour"}
    from_events = [
        (query.dimension, part.values)
        for queries in asked
        for query in queries
        for part in parts(query, 0)
        if part.table == "token_usage" and _length_us(part.values) > 15 * MINUTE_US
    ]
    assert [dimension for dimension, _ in from_events] == (["session"] if group_by == "session" else [])


def _length_us(values: dict[str, object]) -> int:
    start, end = values["start"], values["end"]
    assert isinstance(start, int)
    assert isinstance(end, int)
    return end - start


async def test_a_prediction_reads_the_rollup(
    service: Tokenward, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await service.ledger()
    asked: list[UsageQuery] = []

    async def noted(queries: Sequence[UsageQuery]) -> list[list[UsageSum]]:
        asked.extend(queries)
        return await usage_many(queries)

    usage_many = ledger.usage_many
    monkeypatch.setattr(ledger, "usage_many", noted)
    clock.advance(0.5)
    await service.reports.predict_cost(PredictionRequest(user="alice", timezone="Asia/Kolkata"))
    lengths = [_length_us(part.values) for one in asked for part in parts(one, 0) if part.table == "token_usage"]
    assert [one.dimension for one in asked] == ["quarter_hour", "model"]
    assert lengths == [500_000, 500_000]
