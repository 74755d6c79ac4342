"""What-if: the sums are those of the calculator asked for every event alone, and what is left out is said."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenward.engine.catalog import Catalog
from tokenward.engine.errors import InvalidInput, UnknownPrice
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.reports.what_if import Scenario, WhatIf, WhatIfReport, WhatIfRow
from tokenward.engine.tariffs import Prices
from tokenward.engine.types import DAY_US, SECOND_US
from tokenward.engine.usage import Tier, TokenUsage, UsageEvent

NOW_US = 1_795_262_400 * SECOND_US
CATALOG = Catalog()
CALCULATOR = CostCalculator(CATALOG, clock=lambda: NOW_US)


def price(usage: TokenUsage, model: str, tier: Tier, at_us: int) -> tuple[int | None, str]:
    try:
        return CALCULATOR.calculate_cost(usage, model, tier=tier, at_us=at_us).total_nano, ""
    except UnknownPrice as error:
        return None, str(error)


def event(model: str, usage: TokenUsage, *, tier: Tier = "standard", at_us: int = NOW_US) -> UsageEvent:
    return UsageEvent("e", at_us, at_us, "alice", model, usage, price(usage, model, tier, at_us)[0], tier=tier)


def what_if(scenario: Scenario, *events: UsageEvent) -> WhatIfReport:
    judged = WhatIf(
        scenario,
        Prices(CALCULATOR),
        window=lambda model: CATALOG.resolve(model).context_window,
        same_tokenizer=lambda one, two: CATALOG.resolve(one).encoding == CATALOG.resolve(two).encoding,
    )
    for one in events:
        judged.add(one)
    return judged.report()


# Against the calculator ---------------------------------------------------------------------------------------------

MODELS = ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro", "gpt-5.4", "no-such-model"]


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    size = draw(st.sampled_from([0, 1, 1_000, 199_999, 200_000, 200_001, 271_999, 272_000, 272_001, 400_000]))
    read = draw(st.integers(0, size))
    written = draw(st.integers(0, size - read))
    hour = draw(st.integers(0, size - read - written))
    output = draw(st.integers(0, 5_000))
    return TokenUsage(size, output, read, written, hour, draw(st.integers(0, output)))


def slow_cost(usage: TokenUsage, model: str, tier: Tier, at_us: int) -> int | None:
    """As recorded; else with the writes of an hour as those of 5 minutes; else with all writes as input."""
    writes = usage.cache_write_tokens + usage.cache_write_1h_tokens
    for way in (
        usage,
        replace(usage, cache_write_tokens=writes, cache_write_1h_tokens=0),
        replace(usage, cache_write_tokens=0, cache_write_1h_tokens=0),
    ):
        cost, _ = price(way, model, tier, at_us)
        if cost is not None:
            return cost
    return None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            event,
            st.sampled_from(MODELS),
            usages(),
            tier=st.sampled_from(get_args(Tier)),
            at_us=st.sampled_from([NOW_US, NOW_US - 100 * DAY_US]),
        ),
        max_size=8,
    ),
    st.none() | st.sampled_from(MODELS),
    st.none() | st.sampled_from(get_args(Tier)),
    st.none() | st.sampled_from([0, 33, 100]),
)
def test_the_sums_are_those_of_every_event_alone(
    events: list[UsageEvent], model: str | None, tier: Tier | None, percent: int | None
) -> None:
    if model is None and tier is None and percent is None:
        return
    report = what_if(Scenario(model=model, tier=tier, cached_percent=percent), *events)
    actual = other = compared = left_out = 0
    for one in events:
        usage = one.usage
        if percent is not None:
            read = usage.input_tokens * percent // 100
            usage = TokenUsage(
                usage.input_tokens,
                usage.output_tokens,
                read,
                usage.input_tokens - read,
                reasoning_tokens=usage.reasoning_tokens,
            )
        cost = slow_cost(usage, model or one.model, tier or one.tier, one.timestamp_us)
        left_out += cost is None
        if cost is not None and one.cost_nano is not None:
            compared += 1
            actual += one.cost_nano
            other += cost
    totals = report.totals
    assert (totals.requests, totals.compared, totals.not_priceable) == (len(events), compared, left_out)
    assert (totals.actual_nano, totals.what_if_nano, totals.difference_nano) == (actual, other, other - actual)
    assert totals.requests == totals.compared + totals.not_priceable + totals.unpriced
    again = WhatIfRow("", uncached_nano=None if percent is None else 0)
    for row in report.rows:
        again.take(row)
    assert again == totals
    assert [row.model for row in report.rows] != [] or not events


# Examples -----------------------------------------------------------------------------------------------------------


def test_another_model_at_its_own_prices_and_its_own_long_context_tier() -> None:
    """Above 200,000 tokens of input Gemini 2.5 Pro costs twice as much."""
    one, two = (event("gpt-4o", TokenUsage(size, 0)) for size in (200_000, 200_001))
    scenario = Scenario(model="gemini-2.5-pro")
    assert what_if(scenario, one).totals.what_if_nano == 200_000 * 1_250
    assert what_if(scenario, two).totals.what_if_nano == 200_001 * 2_500


def test_each_event_is_priced_at_its_own_date() -> None:
    """The price of o3 fell on 2025-06-10 to a fifth."""
    early, late = (1_748_736_000 * SECOND_US, 1_751_328_000 * SECOND_US)  # 2025-06-01 and 2025-07-01
    usage = TokenUsage(1_000, 0)
    costs = [
        what_if(Scenario(model="o3"), event("gpt-4o", usage, at_us=at)).totals.what_if_nano for at in (early, late)
    ]
    assert costs == [price(usage, "o3", "standard", at)[0] for at in (early, late)]
    assert costs[0] == 5 * costs[1]


def test_batch_only_where_there_is_a_batch_price() -> None:
    usage = TokenUsage(1_000, 1_000)
    report = what_if(
        Scenario(tier="batch"), event("gpt-4o", usage), event("o3-pro", usage), event("mistral-tiny", usage)
    )
    rows = {row.model: row for row in report.rows}
    assert rows["gpt-4o"].what_if_nano * 2 == rows["gpt-4o"].actual_nano
    assert rows["mistral-tiny"].not_priceable == 1
    assert rows["mistral-tiny"].not_priceable_nano > 0
    assert rows["mistral-tiny"].actual_nano == rows["mistral-tiny"].what_if_nano == 0
    assert "no price in this scenario and are left out. " in " ".join(report.notes)
    assert rows["mistral-tiny"].problem in " ".join(report.notes)


def test_caching_reads_a_share_writes_the_rest_and_names_the_bound_without() -> None:
    report = what_if(Scenario(cached_percent=80), event("claude-sonnet-4-5", TokenUsage(1_001, 0)))
    # 0.30 USD per million read, 3.75 written, 3.00 fresh.
    assert report.totals.what_if_nano == 800 * 300 + 201 * 3_750
    assert report.totals.uncached_nano == 1_001 * 3_000
    assert "Assumed: 80 % of every input is read from the cache" in report.notes[-1]
    assert what_if(Scenario(model="gpt-4o"), event("gpt-4o", TokenUsage(1, 1))).totals.uncached_nano is None


def test_writes_are_ordinary_input_where_the_model_does_not_bill_them() -> None:
    usage = TokenUsage(1_000, 0, cache_write_tokens=400, cache_write_1h_tokens=100)
    report = what_if(Scenario(model="gpt-4o"), *[event("claude-sonnet-4-5", usage)] * 3)
    assert report.totals.what_if_nano == 3 * 1_000 * 2_500
    assert report.totals.writes_as_input == 3
    assert "Cache writes of 3 requests are priced as ordinary input" in " ".join(report.notes)


def test_another_tokenizer_is_named_without_a_ratio() -> None:
    report = what_if(Scenario(model="claude-sonnet-4-5"), event("gpt-4o", TokenUsage(1, 1)))
    assert [row.same_tokenizer for row in report.rows] == [False]
    (note,) = report.notes
    assert note == (
        "Tokens are taken as they were recorded. claude-sonnet-4-5 has another tokenizer than gpt-4o: it may count the "
        "same texts differently; by how much is unknown here."
    )
    assert what_if(Scenario(model="gpt-4o-mini"), event("gpt-4o", TokenUsage(1, 1))).notes == ()


def test_requests_without_a_recorded_cost_and_those_too_large_are_told() -> None:
    unpriced = event("no-such-model", TokenUsage(1_000, 0))
    large = event("gpt-5.4", TokenUsage(300_000, 0))
    report = what_if(Scenario(model="gpt-4o"), unpriced, large)
    assert (report.totals.compared, report.totals.unpriced, report.totals.too_large) == (1, 1, 1)
    notes = " ".join(report.notes)
    assert "1 requests were recorded without a cost and are left out." in notes
    assert "1 requests are larger than the context window of gpt-4o." in notes


def test_nothing_recorded_is_said() -> None:
    report = what_if(Scenario(tier="batch"))
    assert (report.totals.requests, report.rows) == (0, ())
    assert report.notes == ("Nothing was recorded in this time.",)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "say what would be different"),
        ({"tier": "bulk"}, "'bulk' is not one of standard, batch, flex, priority"),
        ({"cached_percent": 101}, "101 is not a whole number from 0 to 100"),
        ({"cached_percent": -1}, "-1 is not a whole number"),
        ({"cached_percent": 0.5}, "0.5 is not a whole number"),
        ({"cached_percent": True}, "is not a whole number"),
    ],
)
def test_a_scenario_that_is_none_is_refused(values: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        Scenario(**values)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
