"""The decision: pure functions over a state."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenward.engine import quota
from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import NOTHING, Amounts, Metric, Subjects, TokenLimit
from tokenward.engine.quota import Binding, Counter, State
from tokenward.engine.types import DAY_US, MINUTE_US, SECOND_US
from tokenward.engine.windows import Span

NOW_US = 1_795_262_400 * SECOND_US
MINUTE = TokenLimit("user:alice", "tokens", "minute", 100)
ALICE = [Binding("user:alice", MINUTE)]


def state(*seconds_and_tokens: tuple[int, int]) -> State:
    """A state with tokens settled so many seconds ago."""
    result: State = {}
    for seconds, tokens in seconds_and_tokens:
        result = quota.add(result, [MINUTE], NOW_US - seconds * SECOND_US, NOW_US, settled=Amounts(tokens))
    return result or {MINUTE.counter: {}}


def test_retry_after_is_when_enough_has_left_for_this_request() -> None:
    states = {"user:alice": state((55, 30), (25, 50), (5, 20))}
    waits = [
        quota.decide(ALICE, states, Amounts(tokens), NOW_US).retry_after_seconds for tokens in (1, 30, 31, 80, 81, 100)
    ]
    assert waits == [10, 10, 40, 40, 60, 60]
    for one, wait in zip((1, 30, 31, 80, 81, 100), waits, strict=True):
        assert wait is not None
        assert quota.decide(ALICE, states, Amounts(one), NOW_US + wait * SECOND_US).allowed
        assert not quota.decide(ALICE, states, Amounts(one), NOW_US + (wait - 1) * SECOND_US).allowed


def test_what_can_never_fit_says_so() -> None:
    decision = quota.decide(ALICE, {"user:alice": {}}, Amounts(101), NOW_US)
    assert (decision.allowed, decision.retry_after_seconds) == (False, None)
    assert (
        decision.reason
        == "user:alice, tokens per minute: 101 tokens asked for, more than the limit of 100 ever allows."
    )


def test_the_limit_that_keeps_waiting_longest_is_named() -> None:
    day = TokenLimit("user:alice", "tokens", "day", 100)
    states = {"user:alice": quota.add({}, [MINUTE, day], NOW_US, NOW_US, settled=Amounts(100))}
    decision = quota.decide([*ALICE, Binding("user:alice", day)], states, Amounts(1), NOW_US)
    assert decision.denied_by == day
    assert decision.retry_after_seconds == 25 * 3_600
    assert decision.reason == ("user:alice, tokens per day: 100 of 100 tokens used or reserved, 1 more asked for.")


def test_a_question_without_work_asks_whether_anything_is_left() -> None:
    assert quota.decide(ALICE, {"user:alice": state((0, 99))}, NOTHING, NOW_US).allowed
    assert not quota.decide(ALICE, {"user:alice": state((0, 100))}, NOTHING, NOW_US).allowed


def test_work_of_nothing_fits_a_full_limit() -> None:
    assert quota.decide(ALICE, {"user:alice": state((0, 100))}, Amounts(0), NOW_US).allowed


@pytest.mark.parametrize(("used", "warned"), [(79, False), (80, True), (100, True)])
def test_a_warning_from_80_percent_on(used: int, warned: bool) -> None:
    decision = quota.decide(ALICE, {"user:alice": state((0, used))}, NOTHING, NOW_US)
    assert bool(decision.warnings) is warned


def test_a_limit_of_nothing_allows_nothing() -> None:
    none = [Binding("user:alice", TokenLimit("user:alice", "tokens", "day", 0))]
    assert not quota.decide(none, {"user:alice": {}}, Amounts(1), NOW_US).allowed


def test_money_reads_as_money() -> None:
    limit = TokenLimit("global", "cost", "day", 2_500_000_000)
    states = {"global": quota.add({}, [limit], NOW_US, NOW_US, settled=Amounts(0, 2_000_000_000))}
    decision = quota.decide([Binding("global", limit)], states, Amounts(1, 600_000_000), NOW_US)
    assert decision.reason == "global, cost per day: 2.00 of 2.50 USD used or reserved, 0.60 more asked for."


def test_an_unknown_cost_is_refused_where_it_matters() -> None:
    limit = TokenLimit("global", "cost", "day", 10)
    with pytest.raises(InvalidInput, match="name a model with a known price"):
        quota.decide([Binding("global", limit)], {"global": {}}, Amounts(1, None), NOW_US)
    assert quota.decide(ALICE, {"user:alice": {}}, Amounts(1, None), NOW_US).allowed


def test_defaults_bind_per_metric_and_window() -> None:
    limits = [
        TokenLimit("default", "tokens", "minute", 1),
        TokenLimit("default", "cost", "month", 2, "calendar"),
        TokenLimit("user:alice", "cost", "month", 3),
        TokenLimit("user:bob", "tokens", "day", 4),
        TokenLimit("global", "tokens", "day", 5),
        TokenLimit("group:g", "tokens", "day", 6),
    ]
    bound = [(one.subject, one.limit.limit) for one in quota.bind(Subjects("alice"), quota.by_subject(limits))]
    assert bound == [("global", 5), ("user:alice", 1), ("user:alice", 3)]


def test_subjects_are_sorted_so_that_locks_are_taken_in_one_order() -> None:
    assert Subjects("u", "g", "s").names == ("global", "group:g", "session:s", "user:u")


def test_a_state_holds_exactly_the_counters_of_its_limits() -> None:
    day = TokenLimit("user:alice", "requests", "day", 5)
    both = quota.add({}, [MINUTE, day], NOW_US, NOW_US, settled=Amounts(7))
    assert set(both) == {"tokens/minute", "requests/day"}
    assert set(quota.add(both, [day], NOW_US, NOW_US, settled=Amounts(7))) == {"requests/day"}
    assert quota.missing_counters(both, [Binding("user:alice", TokenLimit("global", "cost", "day", 1))])


def test_a_new_state_leaves_the_old_one_as_it_was() -> None:
    old = state((55, 30), (0, 5))
    copy = {name: dict(counter) for name, counter in old.items()}
    for now_us in (NOW_US, NOW_US + 30 * SECOND_US, NOW_US + 3_600 * SECOND_US):
        quota.add(old, [MINUTE], now_us, now_us, held=Amounts(1))
        quota.add(old, [MINUTE], NOW_US, now_us, settled=Amounts(-5))
        quota.add_all(ALICE, {"user:alice": old}, NOW_US, now_us, settled=Amounts(-5))
    assert old == copy


def test_buckets_that_left_are_pruned() -> None:
    later_us = NOW_US + 3_600 * SECOND_US
    counter: Counter = quota.add(state((0, 5)), [MINUTE], later_us, later_us, settled=Amounts(1))[MINUTE.counter]
    assert list(counter.values()) == [(1, 0)]


def test_one_counter_is_missing_once() -> None:
    twice = [*ALICE, Binding("user:alice", TokenLimit("default", "tokens", "minute", 7))]
    assert [one.counter for one in quota.missing_counters({}, twice)] == ["tokens/minute"]
    assert quota.missing_counters({"tokens/minute": {}}, twice) == []


@pytest.mark.parametrize(
    ("limit", "scope", "span", "counter", "label"),
    [
        (MINUTE, "user", Span("minute"), "tokens/minute", "user:alice, tokens per minute"),
        (
            TokenLimit("default", "cost", "month", 1, "calendar", "Europe/Berlin"),
            "default",
            Span("month", "calendar", "Europe/Berlin"),
            "cost/month@Europe/Berlin",
            "default, cost per month",
        ),
        (
            TokenLimit("global", "requests", "day", 1, "rolling", "Europe/Berlin"),
            "global",
            Span("day"),
            "requests/day",
            "global, requests per day",
        ),
    ],
)
def test_what_a_limit_says_of_itself(limit: TokenLimit, scope: str, span: Span, counter: str, label: str) -> None:
    assert (limit.scope, limit.span, limit.counter, limit.label) == (scope, span, counter, label)


def test_what_is_computed_once_follows_a_replacement() -> None:
    assert replace(MINUTE, window="day").counter == "tokens/day"
    assert replace(Subjects("alice", "g"), user="bob").names == ("global", "group:g", "user:bob")
    assert repr(MINUTE).endswith("timezone='UTC')")


def test_what_binds_can_be_kept_as_a_key() -> None:
    limits = quota.by_subject([MINUTE, TokenLimit("user:bob", "tokens", "day", 4)])
    bound = quota.bind(Subjects("alice"), limits)
    assert {bound: 1}[quota.bind(Subjects("alice"), limits)] == 1


@pytest.mark.parametrize(
    ("subject", "metric", "window", "limit", "mode", "field"),
    [
        ("alice", "tokens", "day", 1, "rolling", "subject"),
        ("user:", "tokens", "day", 1, "rolling", "subject"),
        ("user:a\nb", "tokens", "day", 1, "rolling", "subject"),
        ("defaults", "tokens", "day", 1, "rolling", "subject"),
        ("global", "token", "day", 1, "rolling", "metric"),
        ("global", "tokens", "week", 1, "rolling", "window"),
        ("global", "tokens", "day", -1, "rolling", "limit"),
        ("global", "tokens", "day", 2**53, "rolling", "limit"),
        ("global", "tokens", "hour", 1, "calendar", "mode"),
    ],
)
def test_bad_limits_are_refused(subject: str, metric: str, window: str, limit: int, mode: str, field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        TokenLimit(subject, metric, window, limit, mode)  # type: ignore[arg-type]
    assert error.value.field == field


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60)), max_size=60),
    st.sampled_from(["tokens", "cost", "requests"]),
)
def test_never_more_than_the_limit_in_any_minute(asks: list[tuple[int, int]], metric: Metric) -> None:
    limit = TokenLimit("global", metric, "minute", 100)
    current: State = {}
    admitted: list[tuple[int, int]] = []
    for second, size in sorted(asks):
        now_us = NOW_US + second * SECOND_US
        amounts = {"tokens": Amounts(size, 0, 1), "cost": Amounts(0, size, 1), "requests": Amounts(0, 0, size)}[metric]
        if quota.decide([Binding("global", limit)], {"global": current}, amounts, now_us).allowed:
            current = quota.add(current, [limit], now_us, now_us, held=amounts)
            admitted.append((second, size))
    for second, _ in admitted:
        assert sum(size for when, size in admitted if second <= when < second + 60) <= 100


DAY = TokenLimit("user:alice", "cost", "day", 200)
MONTH = TokenLimit("global", "requests", "month", 40, "calendar", "America/New_York")
BOUND = (Binding("global", MONTH), Binding("user:alice", MINUTE), Binding("user:alice", DAY))
AMOUNTS = st.builds(Amounts, st.integers(0, 30), st.integers(0, 30), st.integers(0, 3))
WORK = st.lists(
    st.tuples(st.integers(-40 * DAY_US, 40 * DAY_US) | st.integers(-MINUTE_US, MINUTE_US), AMOUNTS, AMOUNTS)
)


def states_of(work: list[tuple[int, Amounts, Amounts]]) -> dict[str, State]:
    """States that were written when each piece of work was admitted: some of what they hold counts no more."""
    states: dict[str, State] = {"global": {}, "user:alice": {}}
    for ago_us, settled, held in work:
        at_us = NOW_US - ago_us
        for subject, limit in BOUND:
            counter = states[subject].get(limit.counter, {})
            states[subject][limit.counter] = (
                counter
                | quota.add({limit.counter: counter}, [limit], at_us, at_us, settled=settled, held=held)[limit.counter]
            )
    return states


@given(WORK)
def test_a_status_sums_the_buckets_that_count(work: list[tuple[int, Amounts, Amounts]]) -> None:
    states = states_of(work)
    for (subject, limit), one in zip(BOUND, quota.status(BOUND, states, NOW_US), strict=True):
        span = limit.span
        live = {
            bucket: amounts
            for bucket, amounts in states[subject].get(limit.counter, {}).items()
            if span.counts(bucket, NOW_US)
        }
        assert (one.used, one.reserved) == (
            sum(used for used, _ in live.values()),
            sum(held for _, held in live.values()),
        )
        assert one.remaining == max(0, limit.limit - one.used - one.reserved)
        if limit.mode == "rolling":
            assert one.resets_us == max((span.leaves_us(bucket) for bucket in live), default=None)
        else:
            assert one.resets_us == span.period(NOW_US)[1]


@given(WORK, AMOUNTS, AMOUNTS, st.integers(-2 * DAY_US, 2 * DAY_US))
def test_all_subjects_at_once_are_each_alone(
    work: list[tuple[int, Amounts, Amounts]], settled: Amounts, held: Amounts, ago_us: int
) -> None:
    states = states_of(work)
    at_once = quota.add_all(BOUND, states, NOW_US - ago_us, NOW_US, settled=settled, held=held)
    for subject in states:
        limits = [one.limit for one in BOUND if one.subject == subject]
        alone = quota.add(states[subject], limits, NOW_US - ago_us, NOW_US, settled=settled, held=held)
        assert at_once[subject] == alone
        for limit in limits:
            # What lies ahead stays: the clock may be behind.
            first, _ = limit.span.counted(NOW_US)
            assert all(bucket >= first for bucket in alone[limit.counter])


@given(WORK, AMOUNTS)
def test_a_decision_with_its_hold_is_the_status_of_the_new_states(
    work: list[tuple[int, Amounts, Amounts]], amounts: Amounts
) -> None:
    states = states_of(work)
    decision = quota.decide(BOUND, states, amounts, NOW_US)
    if decision.allowed:
        after = quota.status(BOUND, quota.add_all(BOUND, states, NOW_US, NOW_US, held=amounts), NOW_US)
        held = quota.with_hold(decision, amounts, NOW_US)
        assert (held.allowed, held.limits, held.warnings) == (True, after, quota.warnings_of(after))
