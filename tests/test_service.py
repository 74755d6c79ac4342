"""The service: what a library user asks, end to end on a store in memory."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from tests.conftest import CountingIds, FakeClock
from tokenward import (
    BudgetAmounts,
    BudgetRequest,
    EstimateRequest,
    InvalidInput,
    QuotaRequest,
    RecordRequest,
    ReportRequest,
    StoreError,
    TokenLimit,
    TokenUsage,
    Tokenward,
    UnknownPrice,
)
from tokenward.engine.errors import ConfigurationError, StoreUnavailable, UnknownBudget
from tokenward.engine.types import DAY_US, SECOND_US, JsonObject
from tokenward.storage.sqlite import SqliteStore
from tokenward.storage.store import LedgerStore
from tokenward.tools.definition import ToolContext
from tokenward.tools.record_usage import record_usage

pytestmark = pytest.mark.anyio

MESSAGES: list[JsonObject] = [{"role": "user", "content": "Is there a dress code?"}]


@pytest.fixture
async def service(clock: FakeClock, new_id: CountingIds) -> AsyncGenerator[Tokenward]:
    async with Tokenward.open("memory://", default_user="alice", clock=clock, new_id=new_id) as opened:
        yield opened


async def test_the_whole_life_of_a_request(service: Tokenward, clock: FakeClock) -> None:
    await service.set_limit(TokenLimit("user:alice", "tokens", "day", 2_000))
    ask = QuotaRequest(model="gpt-4o", messages=MESSAGES, max_output_tokens=500, reserve=True)
    held = await service.check_quota(ask)
    assert held.allowed
    assert held.requested.tokens == 13 + 500
    assert held.requested.cost_nano == 13 * 2_500 + 500 * 10_000
    assert held.expires_us == clock() + 600 * SECOND_US
    usage = TokenUsage(13, 120)
    receipt = await service.record_usage(RecordRequest(model="gpt-4o", usage=usage, reservation_id=held.reservation_id))
    assert (receipt.recorded, receipt.duplicate, receipt.overage, receipt.user) == (True, False, False, "alice")
    assert receipt.cost_nano == 13 * 2_500 + 120 * 10_000
    status = await service.quota_status()
    assert [(one.used, one.reserved, one.remaining) for one in status.limits] == [(133, 0, 1_867)]
    report = await service.usage_report(ReportRequest(clock() - DAY_US, clock() + 1))
    assert (report.totals.requests, report.totals.total_tokens) == (1, 133)
    assert report.totals.cost_nano == receipt.cost_nano


async def test_an_answer_not_bounded_is_assumed_not_the_whole_budget(service: Tokenward) -> None:
    await service.set_limit(TokenLimit("user:alice", "tokens", "day", 10_000))
    held = await service.check_quota(QuotaRequest(model="gpt-4o", input_tokens=100, reserve=True))
    assert held.requested.tokens == 1_124
    assert any("1024 output tokens are assumed" in one for one in held.warnings)


async def test_the_output_is_clamped_to_what_the_model_can_say(service: Tokenward) -> None:
    held = await service.check_quota(QuotaRequest(model="gpt-4o", input_tokens=0, max_output_tokens=10**9))
    assert held.requested.tokens == service.counter.catalog.resolve("gpt-4o").max_output_tokens


async def test_a_total_is_priced_at_its_dearer_side(service: Tokenward) -> None:
    asked = await service.check_quota(QuotaRequest(model="gpt-4o", tokens=1_000))
    assert asked.requested.cost_nano == 1_000 * 10_000


async def test_an_unpriced_model_is_refused_where_a_cost_limit_applies(service: Tokenward) -> None:
    ask = QuotaRequest(model="my-own-model", tokens=10)
    assert (await service.check_quota(ask)).requested.cost_nano is None
    await service.set_limit(TokenLimit("user:alice", "cost", "day", 10**9))
    with pytest.raises(InvalidInput, match="cost limit applies"):
        await service.check_quota(ask)


async def test_usage_of_an_unpriced_model_is_not_lost(service: Tokenward) -> None:
    receipt = await service.record_usage(RecordRequest(model="my-own-model", usage=TokenUsage(5, 5)))
    assert receipt.cost_nano is None
    assert any("Recorded without a cost" in one for one in receipt.warnings)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (QuotaRequest(reserve=True), "tokens"),
        (QuotaRequest(tokens=1, input_tokens=1), "input_tokens"),
        (QuotaRequest(tokens=1, max_output_tokens=1), "max_output_tokens"),
        (QuotaRequest(messages=MESSAGES), "model"),
        (QuotaRequest(tokens=-1), "tokens"),
        (QuotaRequest(tokens=10**11), "tokens"),
        (QuotaRequest(input_tokens=-1), "input_tokens"),
        (QuotaRequest(input_tokens=1, max_output_tokens=-1), "max_output_tokens"),
        (QuotaRequest(tokens=1, reserve=True, ttl_seconds=0), "ttl_seconds"),
        (QuotaRequest(tokens=1, reserve=True, ttl_seconds=90_000), "ttl_seconds"),
        (QuotaRequest(tokens=1, user=""), "user"),
        (QuotaRequest(tokens=1, group="a\nb"), "group"),
        (QuotaRequest(tokens=1, idempotency_key=""), "idempotency_key"),
    ],
)
async def test_bad_quota_requests_name_the_field(service: Tokenward, request_: QuotaRequest, field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        await service.check_quota(request_)
    assert error.value.field == field


async def test_a_tier_is_priced_and_kept_with_the_event(service: Tokenward, clock: FakeClock) -> None:
    usage = TokenUsage(1_000, 100)
    receipt = await service.record_usage(RecordRequest(model="gpt-4o", usage=usage, tier="batch"))
    assert receipt.cost_nano == (1_000 * 2_500 + 100 * 10_000) // 2
    events = (await service.ledger()).events(0, clock() + 1)
    assert [(one.event_id, one.tier, one.cost_nano) async for one in events] == [
        (receipt.event_id, "batch", receipt.cost_nano)
    ]


async def test_the_tool_takes_the_tier_from_the_response(service: Tokenward, clock: FakeClock) -> None:
    usage: JsonObject = {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}
    context = ToolContext(service=service)
    flex = await record_usage(context, model="gpt-5", response={"service_tier": "flex", "usage": usage})
    plain = await record_usage(context, model="gpt-5", response={"service_tier": "default", "usage": usage})
    assert Decimal(str(flex.cost)) == Decimal(str(plain.cost)) / 2
    odd = await record_usage(context, model="gpt-5", response={"service_tier": "ultrafast", "usage": usage})
    assert (odd.cost, plain.warnings) == (plain.cost, None)
    assert any("'ultrafast'" in one for one in odd.warnings or [])
    events = (await service.ledger()).events(0, clock() + 1)
    assert sorted([one.tier async for one in events]) == ["flex", "standard", "standard"]


async def test_many_events_are_recorded_counted_and_known_again(service: Tokenward, clock: FakeClock) -> None:
    await service.set_limit(TokenLimit("user:alice", "tokens", "day", 10_000))
    requests = [
        RecordRequest(model="gpt-4o", usage=TokenUsage(10, number), idempotency_key=f"key-{number}")
        for number in range(300)
    ]
    first = await service.record_many(requests)
    assert all(one.recorded for one in first)
    again = await service.record_many(requests)
    assert all(one.duplicate and not one.warnings for one in again)
    assert [one.event_id for one in again] == [one.event_id for one in first]
    tokens = sum(one.usage.total_tokens for one in requests)
    assert (await service.quota_status()).limits[0].used == tokens
    report = await service.usage_report(ReportRequest(clock() - DAY_US, clock() + 1))
    assert (report.totals.requests, report.totals.total_tokens) == (300, tokens)


async def test_a_key_with_other_content_is_answered_with_the_event_that_stands(service: Tokenward) -> None:
    request = RecordRequest(model="gpt-4o", usage=TokenUsage(10), idempotency_key="k")
    first = await service.record_usage(request)
    other = await service.record_usage(RecordRequest(model="gpt-4o", usage=TokenUsage(11), idempotency_key="k"))
    assert (other.recorded, other.event_id, other.cost_nano) == (False, first.event_id, first.cost_nano)
    assert any("reused with other content" in one and first.event_id in one for one in other.warnings)


async def test_an_old_event_counts_in_reports_only(service: Tokenward, clock: FakeClock) -> None:
    await service.set_limit(TokenLimit("user:alice", "tokens", "month", 100, "calendar"))
    at_us = clock() - 40 * DAY_US
    receipt = await service.record_usage(RecordRequest(model="gpt-4o", usage=TokenUsage(50), at_us=at_us))
    assert any("under no current limit" in one for one in receipt.warnings)
    assert (await service.quota_status()).limits[0].used == 0
    assert (await service.usage_report(ReportRequest(at_us, clock()))).totals.total_tokens == 50


async def test_a_childs_budget_is_a_share_of_its_parents(service: Tokenward) -> None:
    await service.set_limit(TokenLimit("user:alice", "tokens", "day", 10_000))
    main = await service.open_budget(BudgetRequest(session="main", tokens=5_000, cost="1.50"))
    assert (main.allowed, main.remaining) == (True, BudgetAmounts(5_000, "1.50", None))
    child = await service.open_budget(BudgetRequest(session="child", parent="main", tokens=2_000))
    assert (child.allowed, child.parent, child.remaining.tokens) == (True, "main", 2_000)
    assert (await service.budget("main")).remaining.tokens == 3_000
    refused = await service.open_budget(BudgetRequest(session="other", parent="main", tokens=4_000))
    assert (refused.allowed, refused.denied_by) == (False, "session:main, budget")
    await service.record_usage(RecordRequest(model="gpt-4o", usage=TokenUsage(500), session="child"))
    over = await service.check_quota(QuotaRequest(tokens=1_501, model="gpt-4o", session="child"))
    assert (over.allowed, over.denied_by) == (False, "session:child, budget")
    closed = await service.close_budget("child")
    assert (closed.used.tokens, closed.remaining.tokens) == (500, 1_500)
    main = await service.budget("main")
    assert (main.used.tokens, main.remaining.tokens) == (500, 4_500)
    await service.close_budget("main")
    status = (await service.quota_status()).limits[0]
    assert (status.used, status.reserved) == (500, 0)
    with pytest.raises(UnknownBudget, match="main"):
        await service.budget("main")


async def test_a_budget_that_the_limits_have_no_room_for_is_denied(service: Tokenward) -> None:
    await service.set_limit(TokenLimit("user:alice", "requests", "day", 5))
    answer = await service.open_budget(BudgetRequest(session="main", requests=6))
    assert (answer.allowed, answer.denied_by) == (False, "user:alice, requests per day")


async def test_a_budget_can_live_longer(service: Tokenward, clock: FakeClock) -> None:
    opened = await service.open_budget(BudgetRequest(session="main", tokens=10, ttl_seconds=60))
    assert opened.expires_us == clock() + 60 * SECOND_US
    await service.extend_quota(str(opened.budget_id), 120)
    assert (await service.budget("main")).expires_us == clock() + 120 * SECOND_US
    clock.advance(120)
    with pytest.raises(UnknownBudget):
        await service.budget("main")


async def test_a_time_in_the_future_is_refused(service: Tokenward, clock: FakeClock) -> None:
    late = RecordRequest(model="gpt-4o", usage=TokenUsage(1), at_us=clock() + DAY_US)
    with pytest.raises(InvalidInput, match="not in the future"):
        await service.record_usage(late)


async def test_release_gives_back_once_and_explains_why_not(service: Tokenward, clock: FakeClock) -> None:
    ask = QuotaRequest(model="gpt-4o", tokens=10, reserve=True)
    held = await service.check_quota(ask)
    given = await service.release_quota(str(held.reservation_id))
    assert (given.released, given.tokens, given.cost_nano) == (True, 10, 100_000)
    assert await service.release_quota(str(held.reservation_id)) == given
    held = await service.check_quota(ask)
    clock.advance(600)
    over = await service.release_quota(str(held.reservation_id))
    assert (over.released, over.tokens) == (False, 0)
    assert "its time was over" in str(over.reason)


async def test_a_hold_can_be_extended(service: Tokenward, clock: FakeClock) -> None:
    held = await service.check_quota(QuotaRequest(model="gpt-4o", tokens=10, reserve=True))
    clock.advance(500)
    assert await service.extend_quota(str(held.reservation_id)) == clock() + 600 * SECOND_US
    with pytest.raises(InvalidInput, match="ttl_seconds"):
        await service.extend_quota(str(held.reservation_id), 0)


async def test_estimates_compare_each_model_with_its_own_tokenizer(service: Tokenward) -> None:
    text = "Naïve café owners frequently reorganise their spreadsheets. " * 20
    estimate = service.estimate_cost(EstimateRequest(model="gpt-4o", text=text, compare=["gpt-4", "claude-sonnet-4-5"]))
    tokens = [one.cost.usage.input_tokens for one in (estimate, *estimate.comparisons)]
    assert tokens[0] == service.counter.count_tokens(text, "gpt-4o").token_count
    assert tokens[1] == service.counter.count_tokens(text, "gpt-4").token_count
    assert (estimate.exact, estimate.comparisons[0].exact) == (True, True)
    assert estimate.cost.total_nano == tokens[0] * 2_500


@pytest.mark.parametrize(("other", "exact"), [("gpt-4o-mini", True), ("gpt-4", False), ("claude-sonnet-4-5", False)])
async def test_numbers_are_exact_for_their_own_tokenizer_only(service: Tokenward, other: str, exact: bool) -> None:
    request = EstimateRequest(model="gpt-4o", usage=TokenUsage(1_000, 100), compare=[other])
    estimate = service.estimate_cost(request)
    assert (estimate.exact, estimate.comparisons[0].exact) == (True, exact)


async def test_messages_are_counted_for_an_estimate(service: Tokenward) -> None:
    estimate = service.estimate_cost(EstimateRequest(model="gpt-4o", messages=MESSAGES, output_tokens=10))
    assert estimate.cost.total_nano == 13 * 2_500 + 10 * 10_000


async def test_an_estimate_needs_one_source_and_a_price(service: Tokenward) -> None:
    with pytest.raises(InvalidInput, match="exactly one"):
        service.estimate_cost(EstimateRequest(model="gpt-4o"))
    with pytest.raises(UnknownPrice):
        service.estimate_cost(EstimateRequest(model="my-own-model", text="x"))


async def test_limits_of_the_settings_are_written_on_connecting(tmp_path: Path) -> None:
    limit = TokenLimit("default", "tokens", "day", 5)
    url = f"sqlite:///{tmp_path / 'new' / 'ledger.db'}"
    async with Tokenward.open(url, limits=[limit]) as service:
        assert not (tmp_path / "new").exists()
        assert await service.limits() == [limit]
        assert await service.delete_limit("default", "tokens", "day")
    async with Tokenward.open(url) as service:
        assert await service.limits() == []


async def test_texts_and_requests_are_counted_in_process_unless_something_else_is_asked_for(service: Tokenward) -> None:
    texts = ["Hello world", "", "x = 1\n" * 20_000]
    batch = await service.count_texts(texts, "gpt-4o")
    expected = service.counter.count_tokens_batch(texts, "gpt-4o")
    assert [one.token_count for one in batch.results] == [one.token_count for one in expected.results]
    assert {one.method for one in batch.results} == {"tiktoken"}
    with pytest.raises(InvalidInput, match="give a list of texts"):
        await service.count_texts("Hello world", "gpt-4o")
    messages: list[JsonObject] = [{"role": "user", "content": "Hello"}]
    assert await service.count_request(messages, "gpt-4o") == service.count_messages(messages, "gpt-4o")


async def test_counting_in_the_database_is_asked_for_and_needs_postgres() -> None:
    async with Tokenward.open("memory://") as service:
        batch = await service.count_texts(["x"], "gpt-4")
        assert batch.results[0].method == "tiktoken"
        assert service.default_user == "default"
    with pytest.raises(ConfigurationError, match="backend: pg_tiktoken counts in a Postgres store"):
        async with Tokenward.open("memory://", backend="pg_tiktoken"):
            pass


async def test_a_store_that_is_down_closes_or_opens_the_gate(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("this is no database, but it is long enough to be looked at" * 100)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ask = QuotaRequest(tokens=1)
    async with Tokenward.open(url) as service:
        with pytest.raises(StoreError, match="not a SQLite database"):
            await service.check_quota(ask)
    async with Tokenward.open(url, fail_open=True) as service:
        checked = await service.check_quota(ask)
        assert checked.allowed
        assert any(one.startswith("Not checked:") for one in checked.warnings)
        with pytest.raises(StoreError):
            await service.check_quota(QuotaRequest(tokens=1, reserve=True))
        with pytest.raises(StoreError):
            await service.record_usage(RecordRequest(model="gpt-4o", usage=TokenUsage(1)))


async def test_a_limit_that_cannot_be_written_leaves_no_connection_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([StoreUnavailable("once")])
    set_limit = SqliteStore.set_limit

    async def fails_once(self: SqliteStore, limit: TokenLimit) -> None:
        for failure in failures:
            raise failure
        await set_limit(self, limit)

    monkeypatch.setattr(SqliteStore, "set_limit", fails_once)
    limit = TokenLimit("default", "tokens", "day", 5)
    async with Tokenward.open(f"sqlite:///{tmp_path / 'ledger.db'}", limits=[limit]) as service:
        with pytest.raises(StoreUnavailable):
            await service.quota_status()
        assert await service.limits() == [limit]


async def test_a_limit_that_stands_is_not_set_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = TokenLimit("default", "tokens", "day", 5)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with Tokenward.open(url, limits=[limit]) as service:
        await service.quota_status()
    monkeypatch.delattr(LedgerStore, "set_limit")
    async with Tokenward.open(url, limits=[limit]) as service:
        assert await service.limits() == [limit]


async def test_a_store_that_comes_back_is_used(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"no database" * 1_000)
    async with Tokenward.open(f"sqlite:///{path}") as service:
        with pytest.raises(StoreError):
            await service.quota_status()
        path.unlink()
        assert (await service.quota_status()).allowed
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM token_usage").fetchone() == (0,)


@pytest.mark.parametrize("url", ["redis://host", "sqlite://ledger.db", "ledger.db", "mysql://u:secret@h/db"])
async def test_a_url_that_names_no_store_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^store: ") as error:
        async with Tokenward.open(url):
            pass
    assert "secret" not in str(error.value)
