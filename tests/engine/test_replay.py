"""Quota replay against a slow model: a list of what was admitted, summed anew for every request and limit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenward.engine.limits import Amounts, Metric, TokenLimit
from tokenward.engine.quota import Binding, Decision, Policy, Priority, State, status
from tokenward.engine.reports.replay import EXAMPLES, Replay, ReplayReport, replay_start_us
from tokenward.engine.types import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tokenward.engine.usage import TokenUsage, UsageEvent

START_US = 1_795_262_400 * SECOND_US  # 2026-11-21 12:00 UTC
WIDTHS = {"minute": (10 * SECOND_US, 6), "hour": (5 * MINUTE_US, 12), "day": (HOUR_US, 24), "month": (DAY_US, 30)}


def event(
    at_us: int,
    tokens: int = 10,
    *,
    user: str = "alice",
    group: str = "",
    session: str = "",
    cost_nano: int | None = 0,
    priority: str = "normal",
    model: str = "m",
) -> UsageEvent:
    usage = TokenUsage(tokens, 0)
    return UsageEvent(
        f"e{at_us}-{tokens}",
        at_us,
        at_us,
        user,
        model,
        usage,
        cost_nano,
        group=group,
        session=session,
        priority=priority,
    )


def replayed(
    limits: Sequence[TokenLimit], events: Sequence[UsageEvent], start_us: int = START_US, policy: Policy | None = None
) -> ReplayReport:
    replay = Replay(limits, start_us=start_us, policy=policy)
    for one in events:
        replay.add(one)
    return replay.report()


# The slow model -----------------------------------------------------------------------------------------------------


def amount(one: UsageEvent, metric: Metric) -> int:
    return {"tokens": one.usage.total_tokens, "cost": one.cost_nano or 0, "requests": 1}[metric]


def subject_of(limit: TokenLimit, one: UsageEvent, limits: Sequence[TokenLimit]) -> str | None:
    """Whose counter a limit reads for an event; ``None`` if it does not bind it."""
    user = f"user:{one.user}"
    match limit.scope:
        case "global":
            return "global"
        case "default":
            own = {(each.metric, each.window) for each in limits if each.subject == user}
            return None if (limit.metric, limit.window) in own else user
        case _:
            return limit.subject if limit.subject in (user, f"group:{one.group}", f"session:{one.session}") else None


def counts_together(limit: TokenLimit, earlier_us: int, now_us: int) -> bool:
    """Whether what was used earlier is in the window that ends now."""
    if limit.mode == "calendar":
        zone = ZoneInfo(limit.timezone)
        one, two = (
            (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)).astimezone(zone)
            for moment in (earlier_us, now_us)
        )
        return (one.date() == two.date()) if limit.window == "day" else ((one.year, one.month) == (two.year, two.month))
    width, buckets = WIDTHS[limit.window]
    return earlier_us // width >= now_us // width - buckets


def slow(limits: Sequence[TokenLimit], events: Sequence[UsageEvent], start_us: int) -> list[UsageEvent]:
    """The refused events."""
    admitted: list[UsageEvent] = []
    refused: list[UsageEvent] = []
    for one in events:
        fits = True
        for limit in limits:
            subject = subject_of(limit, one, limits)
            if subject is None or one.timestamp_us < start_us:
                continue
            used = sum(
                amount(other, limit.metric)
                for other in admitted
                if (subject == "global" or _touches(other, subject))
                and counts_together(limit, other.timestamp_us, one.timestamp_us)
            )
            fits = fits and used + amount(one, limit.metric) <= limit.limit
        (admitted if fits else refused).append(one)
    return refused


def _touches(one: UsageEvent, subject: str) -> bool:
    return subject in (f"user:{one.user}", f"group:{one.group}", f"session:{one.session}")


SUBJECTS = ["user:alice", "user:bob", "group:team", "session:s1", "default", "global"]
LIMITS = st.lists(
    st.builds(
        TokenLimit,
        st.sampled_from(SUBJECTS),
        st.sampled_from(["tokens", "cost", "requests"]),
        st.sampled_from(["day", "month"]),
        st.integers(0, 400),
        st.just("calendar"),
        st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
    )
    | st.builds(
        TokenLimit,
        st.sampled_from(SUBJECTS),
        st.sampled_from(["tokens", "cost", "requests"]),
        st.sampled_from(["minute", "hour", "day", "month"]),
        st.integers(0, 400),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda one: (one.subject, one.metric, one.window),
)
EVENTS = st.lists(
    st.builds(
        event,
        st.integers(-40, 60).flatmap(
            lambda step: st.sampled_from([SECOND_US, 37 * SECOND_US, 11 * MINUTE_US, 5 * HOUR_US, DAY_US]).map(
                lambda unit: START_US + step * unit
            )
        ),
        st.integers(0, 120),
        user=st.sampled_from(["alice", "bob", "carol"]),
        group=st.sampled_from(["", "team"]),
        session=st.sampled_from(["", "s1"]),
        cost_nano=st.none() | st.integers(0, 120),
    ),
    max_size=40,
).map(lambda events: sorted(events, key=lambda one: one.timestamp_us))


@settings(max_examples=300, deadline=None)
@given(LIMITS, EVENTS)
def test_it_refuses_what_a_slow_model_refuses(limits: list[TokenLimit], events: list[UsageEvent]) -> None:
    first_us = replay_start_us(limits, START_US)
    # Nothing before the first moment that is asked for can matter.
    report = replayed(limits, [one for one in events if one.timestamp_us >= first_us])
    refused = slow(limits, events, START_US)
    assert report.requests == sum(one.timestamp_us >= START_US for one in events)
    assert report.refused == sum(one.refused for one in report.rows) == len(refused)
    assert report.refused_tokens == sum(one.usage.total_tokens for one in refused)
    assert report.refused_cost_nano == sum(one.cost_nano or 0 for one in refused)
    times = [one.timestamp_us for one in refused]
    assert (report.first_us, report.last_us) == ((min(times), max(times)) if times else (None, None))
    largest = sorted((one.usage.total_tokens for one in refused), reverse=True)[:EXAMPLES]
    assert [one.tokens for one in report.examples] == largest
    assert not Counter((one.at_us, one.user, one.tokens) for one in report.examples) - Counter(
        (one.timestamp_us, one.user, one.usage.total_tokens) for one in refused
    )
    for row in report.rows:
        assert row.peak <= max(row.limit.limit, sum(amount(one, row.limit.metric) for one in events))


# Examples -----------------------------------------------------------------------------------------------------------

DAILY = TokenLimit("user:alice", "tokens", "day", 100)


def test_what_is_refused_does_not_count_afterwards() -> None:
    events = [event(START_US, 90), event(START_US + 1, 20), event(START_US + 2, 10), event(START_US + 3, 1)]
    report = replayed([DAILY], events)
    assert (report.requests, report.refused, report.refused_tokens) == (4, 2, 21)
    (row,) = report.rows
    assert (row.subject, row.limit, row.requests, row.refused, row.peak) == ("user:alice", DAILY, 4, 2, 100)
    assert (row.first_us, row.last_us) == (START_US + 1, START_US + 3)


def test_usage_before_the_period_counts_and_is_not_decided_about() -> None:
    before = event(START_US - HOUR_US, 150)
    report = replayed([DAILY], [before, event(START_US, 1)])
    assert (report.requests, report.refused) == (1, 1)


def test_an_example_says_when_who_what_which_limit_and_how_long() -> None:
    (one,) = replayed([DAILY], [event(START_US, 100), event(START_US + SECOND_US, 30, cost_nano=7)]).examples
    assert (one.at_us, one.user, one.model, one.tokens, one.cost_nano) == (START_US + SECOND_US, "alice", "m", 30, 7)
    assert (one.subject, one.limit) == ("user:alice", DAILY)
    assert one.reason == "user:alice, tokens per day: 100 of 100 tokens used or reserved, 30 more asked for."
    assert one.retry_after_seconds == 25 * 3_600 - 1


def test_a_request_larger_than_the_limit_never_fits() -> None:
    (one,) = replayed([DAILY], [event(START_US, 101)]).examples
    assert one.retry_after_seconds is None
    assert "more than the limit" in one.reason


def test_a_default_limit_has_a_row_for_every_user() -> None:
    limit = TokenLimit("default", "requests", "hour", 1)
    events = [event(START_US + step, user=user) for step, user in enumerate("abcabcab")]
    report = replayed([limit], events)
    assert [(row.subject, row.refused) for row in report.rows] == [("user:a", 2), ("user:b", 2), ("user:c", 1)]
    assert report.total_rows == 3


def test_priorities_use_their_share() -> None:
    policy = Policy({"low": 50, "normal": 100, "high": 100})
    events = [event(START_US, 60, priority="low"), event(START_US, 60), event(START_US, 60, priority="unheard of")]
    assert replayed([DAILY], events, policy=policy).refused == 2


def test_an_unknown_cost_counts_nothing_and_is_told() -> None:
    limit = TokenLimit("global", "cost", "day", 5)
    report = replayed([limit], [event(START_US, cost_nano=None), event(START_US, cost_nano=5)])
    assert (report.refused, report.unpriced) == (0, 1)
    assert replayed([DAILY], [event(START_US, cost_nano=None)]).unpriced == 0


def test_without_limits_or_events_nothing_is_refused() -> None:
    assert replayed([], [event(START_US)]).requests == 1
    empty = replayed([DAILY], [])
    assert (empty.requests, empty.refused, empty.rows, empty.examples, empty.first_us) == (0, 0, (), (), None)
    assert replay_start_us([], START_US) == START_US
    assert replay_start_us([DAILY], 0) == 0


def test_only_the_largest_refusals_are_named_the_earlier_first() -> None:
    events = [event(START_US + step, 200 + step % 5) for step in range(50)]
    report = replayed([DAILY], events)
    assert [(one.tokens, one.at_us - START_US) for one in report.examples] == [
        (204, 5 * step + 4) for step in range(10)
    ]


def test_the_code_that_decides_in_life_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second algorithm would not notice that the first has changed."""
    asked: list[Amounts] = []

    def refuse(
        bindings: Sequence[Binding],
        states: Mapping[str, State],
        amounts: Amounts,
        now_us: int,
        *,
        priority: Priority,
        policy: Policy | None,
    ) -> Decision:
        assert (priority, policy) == ("normal", None)
        asked.append(amounts)
        return Decision(False, status(bindings, states, now_us), DAILY)

    monkeypatch.setattr("tokenward.engine.reports.replay.decide", refuse)
    assert replayed([DAILY], [event(START_US, 1)]).refused == 1
    assert asked == [Amounts(1)]
