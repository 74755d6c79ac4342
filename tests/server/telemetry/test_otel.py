"""OpenTelemetry in the process: which spans and metrics there are, and that no text of a client's is in them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from tests.server.odd_server import SECRET, TOOLS, open_context
from tests.waiting import until
from tokenward.server.application import build_server
from tokenward.server.application import open_context as open_settings
from tokenward.server.settings import load_settings
from tokenward.server.strict import StrictServer
from tokenward.server.telemetry import genai
from tokenward.server.telemetry.otel import instrumented
from tokenward.server.telemetry.running import Telemetry
from tokenward.server.telemetry.spans import CleanSpans

pytestmark = pytest.mark.anyio


@dataclass
class Seen:
    """What was exported."""

    telemetry: Telemetry
    spans: InMemorySpanExporter
    reader: InMemoryMetricReader

    def named(self, name: str) -> ReadableSpan:
        (span,) = [one for one in self.spans.get_finished_spans() if one.name == name]
        return span

    def metrics(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> dict[tuple[tuple[str, object], ...], Any]:
        return {tuple(sorted(dict(one.attributes).items())): one for one in self.metrics()[name]}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """Telemetry that is kept in memory, the SDK's spans included."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([reader], shutdown_on_exit=False)
    telemetry = instrumented(tracers, meters, transport="pipe", close=lambda: None)
    tracers.add_span_processor(SimpleSpanProcessor(CleanSpans(spans, telemetry.performance)))
    # What the SDK gets from the process's provider, which can be set only once.
    monkeypatch.setattr("mcp.shared._otel._tracer", tracers.get_tracer("mcp-python-sdk"))
    yield Seen(telemetry, spans, reader)
    tracers.shutdown()
    meters.shutdown()


def server_of(seen: Seen) -> StrictServer:
    settings = load_settings(store="memory://", user="alice")
    opener = partial(open_settings, settings, performance=seen.telemetry.performance)
    return build_server(settings, opener, telemetry=seen.telemetry)


def odd_server_of(seen: Seen) -> StrictServer:
    return StrictServer(
        "odd",
        version="1",
        instructions="",
        load_tools=lambda: TOOLS,
        open_context=open_context,
        telemetry=seen.telemetry,
    )


async def test_a_tools_span_is_the_sdks_with_the_usage_and_the_ledger_below_it(seen: Seen) -> None:
    usage = {"input_tokens": 100, "output_tokens": 20, "cached_input_tokens": 40, "reasoning_tokens": 5}
    async with Client(server_of(seen), mode="legacy") as client:
        await client.call_tool("record_usage", {"model": "gemini-2.5-pro", **usage})
    span = seen.named("tools/call record_usage")
    assert span.kind is SpanKind.SERVER
    attributes = dict(span.attributes or {})
    assert attributes.pop("tokenward.usage.cost_usd") == pytest.approx(0.000280)
    assert str(attributes.pop("jsonrpc.request.id")).isdigit()
    assert attributes.pop("mcp.protocol.version")
    assert attributes == {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "record_usage",
        "gen_ai.provider.name": "gcp.gen_ai",
        "gen_ai.request.model": "gemini-2.5-pro",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.reasoning.output_tokens": 5,
    }
    ledger = seen.named("ledger")
    assert ledger.parent == span.get_span_context()
    times = [span.start_time or 0, ledger.start_time or 0, ledger.end_time or 0, span.end_time or 0]
    assert times == sorted(times)
    assert times[0] < times[-1]


async def test_the_answer_of_a_check_is_in_its_span(seen: Seen) -> None:
    async with Client(server_of(seen), mode="2026-07-28") as client:
        await client.call_tool("check_quota", {"tokens": 10, "reserve": True})
    attributes = seen.named("tools/call check_quota").attributes or {}
    assert (attributes["tokenward.quota.allowed"], attributes["tokenward.quota.held"]) == (True, True)


async def test_a_clients_trace_goes_on_here_without_its_state(seen: Seen) -> None:
    async with Client(server_of(seen), mode="2026-07-28") as client:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        meta: Any = {"traceparent": trace, "tracestate": f"v={SECRET}"}
        await client.call_tool("check_quota", {"tokens": 10}, meta=meta)
    context = seen.named("tools/call check_quota").get_span_context()
    assert context is not None
    assert f"{context.trace_id:032x}" == "4bf92f3577b34da6a3ce929d0e0e4736"
    exported = seen.spans.get_finished_spans()
    assert not any(one.trace_state for span in exported for one in (span.get_span_context(), span.parent) if one)
    assert SECRET not in "".join(one.to_json() for one in exported)


async def test_an_error_is_told_by_its_kind_alone(seen: Seen) -> None:
    async with Client(odd_server_of(seen), mode="legacy") as client:
        await client.call_tool("crash", {"text": SECRET})
        await client.call_tool("refuse", {})
    for name in ("crash", "refuse"):
        span = seen.named(f"tools/call {name}")
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
        assert (span.attributes or {})["error.type"] == "tool_error"
    calls = [
        dict(key) for key in seen.points("mcp.server.operation.duration") if ("mcp.method.name", "tools/call") in key
    ]
    assert [one["error.type"] for one in calls] == ["tool_error", "tool_error"]


async def test_no_text_of_a_clients_leaves(seen: Seen) -> None:
    async with Client(odd_server_of(seen), mode="legacy") as client:
        await client.call_tool("echo", {"text": SECRET})
        await client.call_tool("crash", {"text": SECRET})
        await client.call_tool(SECRET, {SECRET: SECRET})
        for ask in (partial(client.get_prompt, SECRET), partial(client.read_resource, f"tokenward://{SECRET}")):
            with pytest.raises(MCPError):
                await ask()
    exported = "".join(span.to_json() for span in seen.spans.get_finished_spans())
    assert "tools/call other" in exported
    assert "prompts/get other" in exported
    assert SECRET not in exported
    assert SECRET not in json.dumps([[dict(one.attributes) for one in some] for some in seen.metrics().values()])


def test_links_and_parents_lose_what_may_hold_a_text(seen: Seen) -> None:
    flags, spans = TraceFlags(1), InMemorySpanExporter()
    given = SpanContext(7, 8, is_remote=True, trace_flags=flags, trace_state=TraceState([("v", SECRET)]))
    links = [Link(given, {"x": SECRET, "tokenward.x": 1})]
    CleanSpans(spans, seen.telemetry.performance).export([ReadableSpan("ledger", given, parent=given, links=links)])
    (span,) = spans.get_finished_spans()
    (link,) = span.links
    assert [span.context, span.parent, link.context] == [SpanContext(7, 8, is_remote=True, trace_flags=flags)] * 3
    assert dict(link.attributes or {}) == {"tokenward.x": 1}


@pytest.mark.parametrize(
    ("request_id", "shown"),
    [("12", True), ("4bf92f35-77b3-4da6-a3ce-929d0e0e4736", True), (SECRET, False), ("1" * 30, False)],
)
def test_a_requests_id_is_shown_where_it_surely_says_nothing(seen: Seen, request_id: str, *, shown: bool) -> None:
    spans = InMemorySpanExporter()
    attributes = {genai.MCP_METHOD_NAME: SECRET, genai.JSONRPC_REQUEST_ID: request_id}
    CleanSpans(spans, seen.telemetry.performance).export([ReadableSpan(SECRET, attributes=attributes)])
    (span,) = spans.get_finished_spans()
    assert span.name == "other"
    assert ((span.attributes or {}).get(genai.JSONRPC_REQUEST_ID) == request_id) is shown


def test_an_attribute_that_nobody_looked_into_stays_here(seen: Seen) -> None:
    spans = InMemorySpanExporter()
    sure: dict[str, str | bool] = {genai.ERROR_TYPE: "x", "tokenward.quota.held": True}
    attributes = {"mcp.new": SECRET, genai.MCP_PROTOCOL_VERSION: SECRET, **sure}
    CleanSpans(spans, seen.telemetry.performance).export([ReadableSpan("ledger", attributes=attributes)])
    (span,) = spans.get_finished_spans()
    assert dict(span.attributes or {}) == sure


def test_the_protocols_revision_is_told(seen: Seen) -> None:
    spans = InMemorySpanExporter()
    attributes = {genai.MCP_PROTOCOL_VERSION: "2026-07-28"}
    CleanSpans(spans, seen.telemetry.performance).export([ReadableSpan("x", attributes=attributes)])
    assert dict(spans.get_finished_spans()[0].attributes or {}) == attributes


async def test_every_message_has_a_duration(seen: Seen) -> None:
    async with Client(odd_server_of(seen), mode="legacy") as client:
        await client.list_tools()
        await client.call_tool("echo", {"text": "x"})
        with pytest.raises(MCPError):
            await client.get_prompt("none")
    points = seen.points("mcp.server.operation.duration")
    by_method = {dict(key)["mcp.method.name"]: (dict(key), point) for key, point in points.items()}
    attributes, point = by_method["tools/call"]
    assert attributes == {
        "mcp.method.name": "tools/call",
        "network.transport": "pipe",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "echo",
    }
    assert (point.count, tuple(point.explicit_bounds)) == (1, genai.MCP_SERVER_OPERATION_BOUNDS)
    assert by_method["initialize"][1].count == 1
    assert by_method["tools/list"][1].count >= 1
    assert by_method["prompts/get"][0]["error.type"]


async def test_a_call_that_is_given_up_is_told(seen: Seen) -> None:
    async with Client(odd_server_of(seen), mode="legacy") as client, anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "nap", {"seconds": 60})
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    calls = seen.telemetry.performance.calls

    async def told() -> bool:
        return ("nap", "cancelled") in calls

    await until(told)
    assert calls["nap", "cancelled"].count == 1
    kinds = {dict(key).get("error.type") for key in seen.points("mcp.server.operation.duration")}
    assert "cancelled" in kinds


async def test_sums_are_read_when_they_are_sent(seen: Seen) -> None:
    async with Client(server_of(seen), mode="legacy") as client:
        await client.call_tool("count_tokens", {"text": "hello", "model": "gpt-4o"})
        await client.call_tool("check_quota", {"tokens": 10, "reserve": True})
        await client.call_tool("record_usage", {"model": "gpt-4o", "input_tokens": 1_000_000, "output_tokens": 3})

        def values(name: str) -> dict[tuple[object, ...], float]:
            return {tuple(value for _, value in key): point.value for key, point in seen.points(name).items()}

        assert values("tokenward.usage.tokens") == {
            ("openai", "gpt-4o", "input"): 1_000_000,
            ("openai", "gpt-4o", "output"): 3,
        }
        assert values("tokenward.usage.cost") == {("openai", "gpt-4o"): pytest.approx(2.50003)}
        assert values("tokenward.usage.events") == {("new",): 1}
        assert values("tokenward.quota.checks") == {("allowed",): 1}
        assert values("tokenward.quota.reservations") == {("held",): 1}
        assert values("tokenward.count.cache.lookups") == {("hit",): 0, ("miss",): 1}
        assert values("tokenward.ledger.queue.depth") == {(): 0}
        (commits,) = seen.metrics()["tokenward.ledger.commit.duration"]
        assert commits.count == 2


async def test_denials_are_told_by_their_limits(seen: Seen) -> None:
    seen.telemetry.performance.denials["user", "tokens", "day"] = 2
    (point,) = seen.metrics()["tokenward.quota.denials"]
    assert point.value == 2
    assert set(dict(point.attributes).values()) == {"user", "tokens", "day"}


async def test_http_requests_have_the_histogram_of_the_conventions(seen: Seen) -> None:
    seen.telemetry.performance.requested("GET", "/healthz", 200, 0.02)
    seen.telemetry.performance.requested("other", "other", 404, 0.02)
    assert set(seen.points("http.server.request.duration")) == {
        (
            ("http.request.method", "GET"),
            ("http.response.status_code", 200),
            ("http.route", "/healthz"),
            ("url.scheme", "http"),
        ),
        (("http.request.method", "_OTHER"), ("http.response.status_code", 404), ("url.scheme", "http")),
    }


CONVENTIONS = (
    *(f"_incubating.attributes.{name}_attributes" for name in ("gen_ai", "mcp", "jsonrpc", "rpc")),
    *(f"attributes.{name}_attributes" for name in ("error", "http", "network", "service", "url")),
    *("_incubating.metrics.mcp_metrics", "metrics.http_metrics"),
)


def constants(module: object) -> set[str]:
    """The names that a module of constants gives."""
    values: list[object] = [getattr(module, name) for name in dir(module) if name.isupper()]
    return {value for value in values if isinstance(value, str)}


def test_every_name_is_one_of_the_packaged_conventions() -> None:
    modules: list[Any] = [import_module(f"opentelemetry.semconv.{name}") for name in CONVENTIONS]
    values = {genai.EXECUTE_TOOL, genai.TOOL_ERROR, genai.OTHER_METHOD}
    assert constants(genai) - values <= set[str]().union(*map(constants, modules))
    assert genai.EXECUTE_TOOL in {one.value for one in modules[0].GenAiOperationNameValues}
    made = {genai.provider_name(one) for one in ("openai", "anthropic", "google", "mistral", "deepseek", "x-ai")}
    assert made <= {one.value for one in modules[0].GenAiProviderNameValues}
