"""Archives: what is written can be read into any store, what is wrong is named, and nothing counts twice."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.conftest import CountingIds, FakeClock
from tokenward import archive
from tokenward.archive import Exported, Imported, export_ledger, import_ledger
from tokenward.archive_lines import END_US
from tokenward.engine.errors import InvalidInput, StoreError
from tokenward.engine.limits import TokenLimit
from tokenward.engine.types import DAY_US, HOUR_US, MINUTE_US, JsonObject
from tokenward.engine.usage import Dimension, TokenUsage, UsageEvent, UsageQuery, UsageSum
from tokenward.storage.base import HourlyUsage, Record, Repricing, UsageStore
from tokenward.storage.factory import open_store

pytestmark = pytest.mark.anyio

DIMENSIONS: tuple[Dimension, ...] = ("user", "model", "group", "endpoint", "quarter_hour")
LIMITS = [
    TokenLimit("default", "cost", "month", 2_500_000_001, "calendar", "Europe/Berlin"),
    TokenLimit("user:alice", "tokens", "day", 1_000_000),
    TokenLimit("global", "requests", "minute", 60),
]
Line: TypeAlias = JsonObject


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    if request.param == "postgres":
        named: str = request.getfixturevalue("postgres_url")
        return named
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'other.db'}"


@pytest.fixture
async def store(sqlite_url: str, clock: FakeClock, new_id: CountingIds) -> AsyncIterator[UsageStore]:
    """Where archives come from."""
    async with open_store(sqlite_url, clock=clock, new_id=new_id) as opened:
        yield opened


@pytest.fixture
async def other(url: str, clock: FakeClock) -> AsyncIterator[UsageStore]:
    """Where archives go to, on each kind of store."""
    async with open_store(url, clock=clock, new_id=CountingIds("other-")) as opened:
        yield opened


def records(now_us: int, days: int = 5) -> list[Record]:
    """Events with everything that an event can have, some of them without a price."""
    made: list[Record] = []
    for number in range(4 * days):
        usage = TokenUsage(1_000 + number, 300, 100, 50, 25, 200)
        one = Record(
            user="alice" if number % 3 else "böb",
            group="team" if number % 2 else "",
            session=f"s{number % 4}",
            model="gpt-4o" if number % 5 else "own-model",
            usage=usage,
            cost_nano=123_456_789 + number if number % 5 else None,
            price_source="prices 1.0" if number % 5 else "",
            tier="batch" if number % 7 == 0 else "standard",
            endpoint="chat" if number % 2 else "",
            priority="high" if number % 4 == 0 else "normal",
            at_us=now_us - number * DAY_US // 4 - 7,
            event_id=f"event-{number}",
        )
        made.append(one)
    return made


async def fill(store: UsageStore, clock: FakeClock, days: int = 5) -> None:
    await store.record_many(records(clock(), days))
    for limit in LIMITS:
        await store.set_limit(limit)


async def reports(store: UsageStore, end_us: int) -> dict[Dimension, list[UsageSum]]:
    found: dict[Dimension, list[UsageSum]] = {}
    for dimension in DIMENSIONS:
        found[dimension] = sorted(await store.usage(UsageQuery(0, end_us, dimension)), key=lambda one: one.key)
    return found


async def events_of(store: UsageStore) -> list[UsageEvent]:
    return [one async for one in store.events(0, END_US)]


async def exported(store: UsageStore, clock: FakeClock, start_us: int = 0, end_us: int = END_US) -> bytes:
    lines: list[str] = []
    await export_ledger(store, lines.append, clock=clock, version="1.2.3", start_us=start_us, end_us=end_us)
    return "".join(lines).encode("ascii")


async def imported(store: UsageStore, content: bytes, clock: FakeClock, *, replace_limits: bool = False) -> Imported:
    return await import_ledger(store, io.BytesIO(content), clock=clock, replace_limits=replace_limits)


def parts(content: bytes) -> list[Line]:
    return [json.loads(line) for line in content.splitlines()]


def joined(lines: list[Line]) -> bytes:
    return "".join(f"{json.dumps(one)}\n" for one in lines).encode()


async def test_a_ledger_moves_to_any_store_and_back(
    store: UsageStore, other: UsageStore, clock: FakeClock, tmp_path: Path
) -> None:
    await fill(store, clock)
    content = await exported(store, clock)
    done = await imported(other, content, clock)
    assert (done.events, done.known_events, done.limits, done.kept_limits) == (20, 0, 3, 0)
    assert await reports(other, clock()) == await reports(store, clock())
    assert await events_of(other) == await events_of(store)
    assert sorted(await other.limits(), key=str) == sorted(LIMITS, key=str)
    again = await exported(other, clock)
    assert sorted(again.splitlines()) == sorted(content.splitlines())
    async with open_store(f"sqlite:///{tmp_path / 'back.db'}", clock=clock) as third:
        await imported(third, again, clock)
        assert await events_of(third) == await events_of(store)
        assert await reports(third, clock()) == await reports(store, clock())


async def test_importing_twice_adds_nothing(store: UsageStore, other: UsageStore, clock: FakeClock) -> None:
    await fill(store, clock)
    content = await exported(store, clock)
    await imported(other, content, clock)
    before = await reports(other, clock())
    assert await imported(other, content, clock) == Imported(known_events=20, kept_limits=3)
    assert await imported(store, content, clock) == Imported(known_events=20, kept_limits=3)
    assert await reports(other, clock()) == before == await reports(store, clock())


async def test_an_event_that_differs_stays_as_it_is(store: UsageStore, other: UsageStore, clock: FakeClock) -> None:
    await fill(store, clock)
    await imported(other, await exported(store, clock), clock)
    lines = parts(await exported(store, clock))
    changed = [one | {"input_tokens": 5_000} if one.get("event_id") == "event-3" else one for one in lines]
    done = await imported(other, joined(changed), clock)
    assert (done.known_events, done.differing_events) == (20, 1)
    assert await events_of(other) == await events_of(store)


async def test_the_form_of_the_lines(store: UsageStore, clock: FakeClock) -> None:
    await fill(store, clock)
    content = await exported(store, clock)
    header, *lines, end = parts(content)
    assert header == {
        "kind": "header",
        "format": 1,
        "tokenward": "1.2.3",
        "exported": "2026-11-21T12:00:00.000000+00:00",
        "from": None,
        "to": None,
        "pruned_before": None,
    }
    assert end == {"kind": "end", "limits": 3, "hourly": 0, "events": 20}
    assert {
        "kind": "limit",
        "subject": "default",
        "metric": "cost",
        "window": "month",
        "limit": "2.500000001",
        "mode": "calendar",
        "timezone": "Europe/Berlin",
    } in lines
    newest = next(one for one in lines if one.get("event_id") == "event-1")
    assert newest == {
        "kind": "event",
        "event_id": "event-1",
        "timestamp": "2026-11-21T05:59:59.999993+00:00",
        "admitted": "2026-11-21T05:59:59.999993+00:00",
        "user": "alice",
        "group": "team",
        "session": "s1",
        "ancestors": [],
        "model": "gpt-4o",
        "tier": "standard",
        "input_tokens": 1_001,
        "output_tokens": 300,
        "cached_input_tokens": 100,
        "cache_write_tokens": 50,
        "cache_write_1h_tokens": 25,
        "reasoning_tokens": 200,
        "cost": "0.12345679",
        "price_source": "prices 1.0",
        "endpoint": "chat",
        "priority": "normal",
        "reservation_id": "",
        "overage": False,
    }
    times = [str(one["timestamp"]) for one in lines if one["kind"] == "event"]
    assert times == sorted(times)


async def test_a_span_of_time(store: UsageStore, clock: FakeClock) -> None:
    await fill(store, clock)
    start_us, end_us = clock() - 2 * DAY_US, clock() - DAY_US
    content = await exported(store, clock, start_us, end_us)
    assert parts(content)[0]["from"] == "2026-11-19T12:00:00.000000+00:00"
    assert parts(content)[0]["to"] == "2026-11-20T12:00:00.000000+00:00"
    assert parts(content)[-1]["events"] == 4
    async with open_store("memory://", clock=clock) as third:
        await imported(third, content, clock)
        expected = [one for one in await events_of(store) if start_us <= one.timestamp_us < end_us]
        assert await events_of(third) == expected


async def test_sums_of_pruned_time_move_and_nothing_is_doubled(
    store: UsageStore, other: UsageStore, clock: FakeClock
) -> None:
    await fill(store, clock, days=100)
    whole, before = await exported(store, clock), await reports(store, clock())
    pruned = await store.prune(clock() - 70 * DAY_US)
    assert pruned > 100
    rest = await exported(store, clock)
    end = parts(rest)[-1]
    assert end["events"] == 400 - pruned
    done = await imported(other, rest, clock)
    assert (done.events, done.hourly) == (400 - pruned, end["hourly"])
    assert await reports(other, clock()) == before
    # The same again, and what was written before the pruning: all of it is known in one way or the other.
    again = await imported(other, rest, clock)
    assert (again.events, again.hourly, again.known_hourly) == (0, 0, end["hourly"])
    older = await imported(other, whole, clock)
    assert (older.events, older.known_events, older.pruned_events) == (0, 400 - pruned, pruned)
    assert await reports(other, clock()) == before
    back = await exported(other, clock)
    assert sorted(back.splitlines()) == sorted(rest.splitlines())


async def test_an_archive_from_before_the_pruning_then_one_from_after(
    store: UsageStore, other: UsageStore, clock: FakeClock
) -> None:
    await fill(store, clock, days=100)
    before = await reports(store, clock())
    await imported(other, await exported(store, clock), clock)
    await store.prune(clock() - 70 * DAY_US)
    done = await imported(other, await exported(store, clock), clock)
    assert (done.events, done.hourly) == (0, 0)
    assert await reports(other, clock()) == before


async def test_an_event_of_pruned_time_that_came_late_is_in_the_sums(
    store: UsageStore, other: UsageStore, clock: FakeClock
) -> None:
    await fill(store, clock, days=100)
    await store.prune(clock() - 70 * DAY_US)
    late = replace(records(clock())[1], at_us=clock() - 80 * DAY_US, event_id="late")
    await store.record(late)
    await imported(other, await exported(store, clock), clock)
    assert await reports(other, clock()) == await reports(store, clock())


async def test_a_span_of_pruned_time(store: UsageStore, clock: FakeClock) -> None:
    await fill(store, clock, days=100)
    await store.prune(clock() - 70 * DAY_US)
    # Six hours apart; each is in the last quarter before, and counts where that starts.
    start_us, end_us = clock() - 80 * DAY_US, clock() - 79 * DAY_US
    lines = parts(await exported(store, clock, start_us, end_us))
    assert [str(one["start"])[:16] for one in lines if one["kind"] == "hourly"] == [
        "2026-09-02T17:45",
        "2026-09-02T23:45",
        "2026-09-03T05:45",
        "2026-09-03T11:45",
    ]
    lines = parts(await exported(store, clock, start_us, end_us - 10 * MINUTE_US))
    assert lines[-1] == {"kind": "end", "limits": 3, "hourly": 4, "events": 0}


async def test_pruning_meanwhile_is_noticed(
    store: UsageStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, clock, days=100)
    written: list[str] = []

    async def prune(_done: int) -> None:
        await store.prune(clock() - 70 * DAY_US)

    monkeypatch.setattr(archive, "_PROGRESS_EVERY", 399)
    with pytest.raises(StoreError, match="pruned while the ledger was exported"):
        await export_ledger(store, written.append, clock=clock, version="1", progress=prune)
    assert '"end"' not in written[-1]


async def test_limits_are_kept_or_replaced(store: UsageStore, other: UsageStore, clock: FakeClock) -> None:
    await fill(store, clock)
    own = replace(LIMITS[1], limit=7)
    await other.set_limit(own)
    content = await exported(store, clock)
    done = await imported(other, content, clock)
    assert (done.limits, done.kept_limits) == (2, 1)
    assert await other.limits("user:alice") == [own]
    done = await imported(other, content, clock, replace_limits=True)
    assert (done.limits, done.kept_limits) == (1, 2)
    assert await other.limits("user:alice") == [LIMITS[1]]


async def test_memory_stays_flat(store: UsageStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(store, clock, days=25)
    content = await exported(store, clock)
    sizes: list[int] = []
    async with open_store("memory://", clock=clock) as third:
        original = third.add_events

        async def watched(events: list[UsageEvent]) -> object:
            sizes.append(len(events))
            return await original(events)

        monkeypatch.setattr(archive, "BATCH", 8)
        monkeypatch.setattr(third, "add_events", watched)
        assert (await imported(third, content, clock)).events == 100
    assert sizes == [8] * 12 + [4]


async def test_of_the_batch_with_a_wrong_line_nothing_is_written(
    store: UsageStore, other: UsageStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "BATCH", 4)
    await fill(store, clock)
    lines = parts(await exported(store, clock))
    wrong = next(index for index, one in enumerate(lines) if one["kind"] == "event") + 6
    good = lines[wrong]
    lines[wrong] = good | {"cost": "1e3"}
    with pytest.raises(InvalidInput, match=rf"^line {wrong + 1}: cost: '1e3' is not an amount in USD"):
        await imported(other, joined(lines), clock)
    assert len(await events_of(other)) == 4
    assert await other.limits() == []
    lines[wrong] = good
    done = await imported(other, joined(lines), clock)
    assert (done.events, done.known_events, done.limits) == (16, 4, 3)
    assert await reports(other, clock()) == await reports(store, clock())


HEADER: Line = {"kind": "header", "format": 1, "tokenward": "1", "exported": "2026-11-21T12:00:00Z"}
EVENT: Line = {
    "kind": "event",
    "event_id": "e1",
    "timestamp": "2026-11-20T12:00:00+01:00",
    "user": "alice",
    "model": "gpt-4o",
    "input_tokens": 10,
    "output_tokens": 5,
    "cost": None,
}
LIMIT: Line = {"kind": "limit", "subject": "global", "metric": "tokens", "window": "day", "limit": 5}
HOURLY: Line = {
    "kind": "hourly",
    "start": "2026-01-01T10:15:00+00:00",
    "user": "alice",
    "group": "",
    "model": "gpt-4o",
    "endpoint": "",
    "requests": 1,
    "input_tokens": 2,
    "output_tokens": 3,
    "cached_tokens": 0,
    "cache_write_tokens": 0,
    "reasoning_tokens": 0,
    "cost": "0.5",
    "unpriced_requests": 0,
}


def end(limits: int = 0, hourly: int = 0, events: int = 0) -> Line:
    return {"kind": "end", "limits": limits, "hourly": hourly, "events": events}


async def test_an_archive_may_be_written_by_hand(store: UsageStore, clock: FakeClock) -> None:
    content = joined([HEADER, LIMIT, EVENT, end(1, 0, 1)]).replace(b"\n", b"\r\n\r\n")
    assert await imported(store, content, clock) == Imported(events=1, limits=1)
    assert await events_of(store) == [
        UsageEvent("e1", clock() - DAY_US - HOUR_US, clock() - DAY_US - HOUR_US, "alice", "gpt-4o", TokenUsage(10, 5))
    ]


async def test_clocks_may_differ_a_little(store: UsageStore, clock: FakeClock) -> None:
    ahead = EVENT | {"timestamp": "2026-11-21T12:04:59Z"}
    assert (await imported(store, joined([HEADER, ahead, end(0, 0, 1)]), clock)).events == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (EVENT | {"timestamp": "2026-11-20"}, "timestamp: '2026-11-20' is not a time since 1970 in ISO 8601"),
        (EVENT | {"timestamp": 3}, "timestamp: 3 is not a time since 1970"),
        (EVENT | {"timestamp": "1960-01-01T00:00:00Z"}, "timestamp: '1960-01-01T00:00:00Z' is not a time since 1970"),
        (
            EVENT | {"timestamp": "2026-11-21T12:06:00Z"},
            "timestamp: 2026-11-21T12:06:00.000000+00:00 lies in the future",
        ),
        (EVENT | {"cost": 0.5}, "cost: 0.5 is not an amount in USD as text"),
        (EVENT | {"cost": "-1"}, "cost: '-1' is not an amount in USD"),
        (EVENT | {"cost": "9999999999"}, "cost: Input should be less than or equal to 9223372036854775807."),
        (EVENT | {"input_tokens": -1}, "input_tokens: -1 is no token count"),
        (EVENT | {"input_tokens": 10**30}, "input_tokens: 1"),
        (EVENT | {"input_tokens": 1.5}, "input_tokens: Input should be a valid integer"),
        (EVENT | {"input_tokens": True}, "input_tokens: Input should be a valid integer"),
        (EVENT | {"input_tokens": float("nan")}, "input_tokens: Input should be"),
        (EVENT | {"cached_input_tokens": 11}, "input_tokens: 10 is less than its cached"),
        (EVENT | {"user": ""}, "user: '' is not a name"),
        (EVENT | {"user": "a\nb"}, "user: 'a\\\\nb' is not a name"),
        (EVENT | {"tier": "free"}, "tier: Input should be 'standard', 'batch',"),
        (EVENT | {"priority": 1}, "priority: Input should be 'low', 'normal'"),
        (EVENT | {"ancestors": ["x"] * 9}, "ancestors: Tuple should have at most 8"),
        (EVENT | {"price": "1"}, "'price': there is no such field."),
        ({key: value for key, value in EVENT.items() if key != "cost"}, "cost: is missing."),
        (LIMIT | {"subject": "alice"}, "subject: 'alice' is not user:NAME"),
        (LIMIT | {"limit": "5"}, "limit: expected an integer for tokens"),
        (LIMIT | {"limit": -1}, "limit: -1 is not a number from 0"),
        (LIMIT | {"metric": "cost", "limit": "x"}, "'x' is not an amount in USD"),
        (LIMIT | {"mode": "calendar"} | {"window": "hour"}, "mode: a hour is always rolling"),
        (LIMIT | {"mode": "calendar", "timezone": "Berlin"}, "timezone: 'Berlin' is not a time zone"),
        (HOURLY | {"start": "2026-01-01T10:16:00+00:00"}, "start: is not the start of a quarter hour."),
        (HOURLY | {"requests": -1}, "requests: Input should be greater than or equal to 0."),
        ({"kind": "secret"}, "kind: expected a JSON object on one line, its kind header, limit,"),
        ({}, "kind: expected a JSON object"),
        (HEADER, "kind: an archive is one header"),
        (end(1, 0, 0), "limits: 1 were written and 0 are there; the archive is not whole."),
        (end(0, 0, 3), "events: 3 were written and 0 are there"),
    ],
)
async def test_wrong_lines_are_named(store: UsageStore, clock: FakeClock, line: Line, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await imported(store, joined([HEADER, line, end()]), clock)
    assert str(caught.value).startswith("line 2: ")
    assert problem.replace("\\\\", "\\") in str(caught.value)
    assert str(caught.value).endswith("importing again adds nothing twice.")
    assert await events_of(store) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "line 1: the last line of an archive is missing"),
        (joined([HEADER, EVENT]), "line 3: the last line of an archive is missing: it was cut off."),
        (joined([HEADER]) + b'{"kind": "eve', "line 2: kind: expected a JSON object on one line"),
        (joined([EVENT, end(0, 0, 1)]), "line 1: kind: an archive is one header, its lines and one end"),
        (joined([HEADER, end(), EVENT]), "line 3: kind: an archive is one header, its lines and one end"),
        (joined([HEADER, end(), HEADER, end()]), "line 3: kind: an archive is one header, its lines and one end"),
        (joined([HEADER | {"format": 2}]), "line 1: format: 2 is not 1, which this tokenward reads; upgrade it."),
        (b"[1, 2]", "line 1: kind: expected a JSON object on one line"),
        (b"\xff\xfe", "line 1: kind: expected a JSON object on one line"),
        (b"[" * 60_000, "line 1: kind: expected a JSON object on one line"),
        (b"x" * 100_000, "line 1: it is longer than 65536 bytes; this is no archive."),
    ],
)
async def test_what_is_no_archive_is_said(store: UsageStore, clock: FakeClock, content: bytes, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await imported(store, content, clock)
    assert str(caught.value).startswith(problem)
    assert await events_of(store) == []


async def test_a_repriced_ledger_is_exported_with_its_new_price(store: UsageStore, clock: FakeClock) -> None:
    await fill(store, clock)
    first = (await events_of(store))[-1]
    await store.reprice([Repricing(first, 42, "prices 2.0")])
    line = next(one for one in parts(await exported(store, clock)) if one.get("event_id") == first.event_id)
    assert (line["cost"], line["price_source"]) == ("0.000000042", "prices 2.0")


async def test_the_counts_are_told(store: UsageStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(store, clock)
    monkeypatch.setattr(archive, "_PROGRESS_EVERY", 10)
    told: list[int] = []

    async def tell(done: int) -> None:
        told.append(done)

    lines: list[str] = []
    done = await export_ledger(store, lines.append, clock=clock, version="1", progress=tell)
    assert (done, told) == (Exported(limits=3, hourly=0, events=20), [10, 20])


async def test_hourly_sums_come_back_as_they_were(other: UsageStore, clock: FakeClock) -> None:
    assert (await imported(other, joined([HEADER, HOURLY, end(0, 1, 0)]), clock)).hourly == 1
    expected = UsageSum("alice", 1, 2, 3, 0, 0, 0, 500_000_000, 0)
    assert await other.usage(UsageQuery(0, clock(), "user")) == [expected]
    lines: list[HourlyUsage] = [one async for one in other.hourly(clock())]
    assert [(one.user, one.model, one.sums.requests, one.sums.cost_nano) for one in lines] == [
        ("alice", "gpt-4o", 1, 500_000_000)
    ]
    async with AsyncExitStack() as stack:
        third = await stack.enter_async_context(open_store("memory://", clock=clock))
        again = await imported(third, await exported(other, clock), clock)
    assert again.hourly == 1


async def test_sums_may_be_larger_than_what_one_event_can_cost(other: UsageStore, clock: FakeClock) -> None:
    large = HOURLY | {"cost": "36893488147.419103228"}
    assert (await imported(other, joined([HEADER, large, end(0, 1, 0)]), clock)).hourly == 1
    (total,) = await other.usage(UsageQuery(0, clock(), "user"))
    assert total.cost_nano == 4 * 2**63 - 4
    lines = parts(await exported(other, clock))
    assert [one["cost"] for one in lines if one["kind"] == "hourly"] == ["36893488147.419103228"]
