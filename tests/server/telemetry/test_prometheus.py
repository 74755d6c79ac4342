"""``/metrics``: what a scrape reads, checked by Prometheus' own reader, and who may read it."""

import hashlib
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text
from prometheus_client.samples import Sample

from tests.server.http.serving import Served, call, serving, settings_for
from tests.waiting import NET_SECONDS
from tokenward.performance import Performance
from tokenward.server.http import metrics
from tokenward.server.settings import Settings
from tokenward.server.telemetry.prometheus import exposition
from tokenward.service import Tokenward

pytestmark = pytest.mark.anyio

SECRET = "my secret words"
TOKEN = "tw_example"


def samples_of(text: str) -> list[Sample]:
    return [sample for family in read_text(text) for sample in family.samples]


def value_of(samples: Iterable[Sample], name: str, **labels: str) -> float:
    found = [one.value for one in samples if one.name == f"tokenward_{name}" and one.labels == labels]
    assert len(found) == 1, f"{name} {labels}: {found}"
    return float(found[0])


def protected(**telemetry: object) -> Settings:
    """Settings of a server beyond loopback, with one token for use and one that may do all."""
    hashes = {scope: f"sha256:{hashlib.sha256(f'{TOKEN}-{scope}'.encode()).hexdigest()}" for scope in ("use", "admin")}
    tokens = [{"hash": hashed, "subject": "alice", "scopes": [scope]} for scope, hashed in hashes.items()]
    http = {"port": 0, "host": "0.0.0.0", "allowed_hosts": ["127.0.0.1"]}
    given = {"store": "memory://", "http": http, "auth": {"tokens": tokens}, "telemetry": telemetry}
    return Settings.model_validate(given)


async def scraped(served: Served, **headers: str) -> list[Sample]:
    answer = await served.client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    return samples_of(answer.text)


async def test_a_servers_work_is_in_its_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "STORE_SECONDS", NET_SECONDS)
    async with serving(settings_for(), real=True) as served:
        for _ in range(3):
            await served.post(call("count_tokens", text="hello", model="gpt-4o"))
        await served.post(call("count_tokens", tex="hello"))
        await served.post(call(SECRET))
        hold: dict[str, Any] = {"model": "gpt-4o", "input_tokens": 100, "max_output_tokens": 10, "reserve": True}
        answer = (await served.post(call("check_quota", **hold))).json()
        reservation_id = answer["result"]["structuredContent"]["reservation_id"]
        await served.post(call("check_quota", **hold))
        usage: dict[str, Any] = {"model": "gpt-4o", "input_tokens": 1_000_000, "output_tokens": 10, "user": SECRET}
        await served.post(call("record_usage", **usage))
        del usage["user"]
        await served.post(call("record_usage", **usage, reservation_id=reservation_id))
        await served.client.get(f"/{SECRET}")
        answer = await served.client.get("/metrics")
        samples = samples_of(answer.text)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.headers["cache-control"] == "no-store"
    assert SECRET not in answer.text
    calls = "tool_call_duration_seconds_count"
    assert value_of(samples, calls, tool="count_tokens", outcome="ok") == 3
    assert value_of(samples, calls, tool="count_tokens", outcome="refused") == 1
    assert value_of(samples, calls, tool="other", outcome="refused") == 1
    requests = "http_request_duration_seconds_count"
    assert value_of(samples, requests, method="POST", path="/mcp", status="200") == 9
    assert value_of(samples, requests, method="GET", path="other", status="404") == 1
    assert value_of(samples, "http_requests_in_flight") == 1
    model = {"provider": "openai", "model": "gpt-4o"}
    assert value_of(samples, "tokens_total", **model, type="input") == 2_000_000
    assert value_of(samples, "tokens_total", **model, type="output") == 20
    assert value_of(samples, "cost_usd_total", **model) == pytest.approx(5.0002)
    assert value_of(samples, "events_total", kind="new") == 2
    assert value_of(samples, "quota_checks_total", answer="allowed") == 2
    assert value_of(samples, "reservations_total", event="held") == 2
    assert value_of(samples, "reservations_total", event="settled") == 1
    assert value_of(samples, "reservations_pending") == 1
    assert value_of(samples, "store_up") == 1
    assert value_of(samples, "count_cache_lookups_total", result="hit") == 2
    assert value_of(samples, "count_cache_lookups_total", result="miss") == 1
    assert value_of(samples, "count_cache_entries") == 1
    assert value_of(samples, "ledger_queue_depth") == 0
    assert value_of(samples, "ledger_commit_duration_seconds_count") == 4
    assert value_of(samples, "ledger_commit_operations_sum") == 4
    assert value_of(samples, "ledger_commit_failures_total") == 0
    assert value_of(samples, "ledger_refusals_total") == 0


async def test_a_denial_is_counted_by_the_kind_of_its_limit() -> None:
    limit = {"subject": f"user:{SECRET}", "metric": "tokens", "window": "day", "limit": 10}
    settings = Settings.model_validate({"store": "memory://", "http": {"port": 0}, "limits": [limit], "user": SECRET})
    async with serving(settings, real=True) as served:
        await served.post(call("check_quota", tokens=100))
        samples = await scraped(served)
    assert value_of(samples, "quota_denials_total", scope="user", metric="tokens", window="day") == 1


def test_buckets_are_cumulative_and_end_with_all() -> None:
    performance = Performance()
    for seconds in (0.0001, 0.0002, 100.0):
        performance.called("echo", seconds, "ok")
    samples = samples_of(exposition(performance, version="1", holds=0)[0].decode())
    buckets = [one for one in samples if one.name == "tokenward_tool_call_duration_seconds_bucket"]
    assert [one.labels["le"] for one in buckets][-1] == "+Inf"
    values = [one.value for one in buckets]
    assert values == sorted(values)
    assert (values[0], values[1], values[-2], values[-1]) == (1, 2, 2, 3)


def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    performance = Performance()
    performance.called("echo", 0.1, "ok")
    body, content_type = exposition(
        performance, version="1", holds=0, accept="application/openmetrics-text; version=1.0.0"
    )
    assert content_type.startswith("application/openmetrics-text")
    openmetrics: Any = import_module("prometheus_client.openmetrics.parser")  # it has no types
    families = openmetrics.text_string_to_metric_families(body.decode())
    assert "tokenward_tool_call_duration_seconds" in {one.name for one in families}


def test_a_worker_among_several_says_which_it_is_in_every_sample() -> None:
    body, _ = exposition(Performance(), version="1", holds=0, worker="4711")
    samples = samples_of(body.decode())
    assert "process_resident_memory_bytes" in {one.name for one in samples}
    assert {one.labels["worker"] for one in samples} == {"4711"}


async def test_workers_are_told_apart_only_where_there_are_several() -> None:
    async with serving(settings_for(workers=2), real=True) as served:
        assert all("worker" in one.labels for one in await scraped(served))
    async with serving(settings_for(), real=True) as served:
        assert not any("worker" in one.labels for one in await scraped(served))


async def test_a_store_that_is_away_is_told_and_fails_no_scrape() -> None:
    settings = Settings.model_validate({"store": "postgresql://nobody@127.0.0.1:1/none", "http": {"port": 0}})
    async with serving(settings, real=True) as served:
        samples = await scraped(served)
    assert value_of(samples, "store_up") == 0
    assert not [one for one in samples if one.name == "tokenward_reservations_pending"]


async def test_a_store_that_is_slow_fails_no_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "STORE_SECONDS", 0.01)
    async with Tokenward.open("memory://") as service:
        monkeypatch.setattr(service, "ledger", anyio.sleep_forever)
        answer = await metrics.metrics_response(service, accept="", worker="")
    assert b"tokenward_store_up 0.0" in answer.body


async def test_metrics_can_be_switched_off() -> None:
    settings = Settings.model_validate({"store": "memory://", "http": {"port": 0}, "telemetry": {"prometheus": False}})
    async with serving(settings, real=True) as served:
        assert (await served.client.get("/metrics")).status_code == 404


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenward.server.telemetry.prometheus", None)
    async with serving(settings_for(), real=True) as served:
        answer = await served.client.get("/metrics")
    assert answer.status_code == 501
    assert "pip install 'tokenward[prometheus]'" in answer.text


async def test_beyond_loopback_only_an_admin_reads_the_sums_of_all() -> None:
    async with serving(protected(), real=True) as served:
        codes = [
            (await served.client.get("/metrics", headers=headers)).status_code
            for headers in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": f"Bearer {TOKEN}-use"},
                {"Authorization": f"Bearer {TOKEN}-admin"},
            )
        ]
    assert codes == [401, 401, 403, 200]


async def test_metrics_can_be_opened_and_still_check_the_host() -> None:
    async with serving(protected(metrics_open=True), real=True) as served:
        assert (await served.client.get("/metrics")).status_code == 200
        assert (await served.client.get("/metrics", headers={"Host": "evil.example"})).status_code == 421


async def test_on_loopback_no_token_is_needed() -> None:
    settings = protected()
    settings = settings.model_copy(update={"http": settings.http.model_copy(update={"host": "127.0.0.1"})})
    async with serving(settings, real=True) as served:
        assert (await served.client.get("/metrics")).status_code == 200
