"""OpenTelemetry: traces and metrics by OTLP, behind the extra ``otel``.

The MCP SDK makes a span for every message as soon as a tracer provider is there; nothing here makes another. Its span
of a tool call gets the numbers that the conventions have attributes for, and one child, the time that the ledger took.
What a span could hold of a client's own text is taken out before it leaves (:mod:`tokenward.server.telemetry.spans`).

Sums (tokens, cost, checks) are read from :class:`~tokenward.performance.Performance` when they are sent; durations are
recorded as they happen. Everything else is OpenTelemetry's own to set: ``OTEL_EXPORTER_OTLP_ENDPOINT``,
``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_SERVICE_NAME``, ``OTEL_TRACES_SAMPLER``, ``OTEL_METRIC_EXPORT_INTERVAL`` …
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer
from pydantic import ValidationError

from tokenward.engine.quota import Decision
from tokenward.engine.types import NANO_PER_USD
from tokenward.engine.usage import TokenUsage
from tokenward.performance import OTHER, SECONDS, LedgerPerformance, Performance
from tokenward.server.telemetry import genai
from tokenward.server.telemetry.running import Telemetry
from tokenward.server.telemetry.spans import CleanSpans
from tokenward.server.version import package_version

if TYPE_CHECKING:
    from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext

    from tokenward.server.strict import LazyContext

CLOSE_SECONDS = 0.5
"""How long the end of the process waits for what is still to be sent: a collector that is down must not keep it."""

_SCOPE = "tokenward"
_NANOSECONDS = 1_000_000_000


def start_otel(*, transport: str) -> Telemetry:
    """Begin to send, as the environment says (``OTEL_…``).

    Args:
        transport: ``pipe`` or ``tcp``.
    """
    resource = Resource.create({genai.SERVICE_INSTANCE_ID: str(uuid4()), genai.SERVICE_VERSION: package_version()})
    if not os.environ.get("OTEL_SERVICE_NAME") and genai.SERVICE_NAME not in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        resource = resource.merge(Resource({genai.SERVICE_NAME: "tokenward"}))
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    meters = MeterProvider(
        [PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource, shutdown_on_exit=False
    )
    telemetry = instrumented(tracers, meters, transport=transport, close=partial(_close, tracers, meters))
    tracers.add_span_processor(BatchSpanProcessor(CleanSpans(OTLPSpanExporter(), telemetry.performance)))
    # The SDK's spans go to the process's own provider.
    trace.set_tracer_provider(tracers)
    return telemetry


def _close(tracers: TracerProvider, meters: MeterProvider) -> None:
    """Send what is left, but not for long. A second time there is nothing left to do."""
    threads = [threading.Thread(target=work, daemon=True) for work in (meters.shutdown, tracers.shutdown)]
    for one in threads:
        one.start()
    ends = time.monotonic() + CLOSE_SECONDS
    for one in threads:
        one.join(max(0.0, ends - time.monotonic()))


def instrumented(
    tracers: TracerProvider, meters: MeterProvider, *, transport: str, close: Callable[[], None]
) -> Telemetry:
    """Telemetry that tells these providers."""
    tracer, meter = tracers.get_tracer(_SCOPE, package_version()), meters.get_meter(_SCOPE, package_version())
    performance = TracedPerformance(tracer, meter)
    _observe(meter, performance)
    middleware: ServerMiddleware[LazyContext] = _Operations(meter, performance, transport)
    return Telemetry(performance, (middleware,), close)


class _TracedLedger(LedgerPerformance):
    """The queue in front of the store, told to OpenTelemetry too."""

    def __init__(self, timer: Callable[[], float], tracer: Tracer, meter: Meter) -> None:
        super().__init__(timer)
        self._tracer = tracer
        self._commits = _durations(meter, "tokenward.ledger.commit.duration", "Transactions.", SECONDS)

    def answered(self, seconds: float) -> None:
        """A child of the span under way, made now that it is known how long it took."""
        super().answered(seconds)
        ended_ns = time.time_ns()
        span = self._tracer.start_span("ledger", start_time=ended_ns - int(seconds * _NANOSECONDS))
        span.end(ended_ns)

    def committed(self, operations: int, seconds: float) -> None:
        """A transaction; it belongs to many calls, so it is no span."""
        super().committed(operations, seconds)
        self._commits.record(seconds)


class TracedPerformance(Performance):
    """What is counted, told to OpenTelemetry where it is no mere sum."""

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        super().__init__()
        self.ledger = _TracedLedger(self.timer, tracer, meter)
        name = genai.HTTP_SERVER_REQUEST_DURATION
        self._http = _durations(meter, name, "HTTP requests.", genai.HTTP_SERVER_REQUEST_BOUNDS)

    def checked(self, decision: Decision, *, held: bool) -> None:
        """The answer, as attributes of the tool's span."""
        super().checked(decision, held=held)
        span = trace.get_current_span()
        span.set_attribute("tokenward.quota.allowed", decision.allowed)
        span.set_attribute("tokenward.quota.held", held)

    def recorded(
        self, provider: str, model: str, usage: TokenUsage, cost_nano: int | None, *, settled: bool, overage: bool
    ) -> None:
        """The numbers, as attributes of the tool's span. Its operation stays ``execute_tool``: no inference is told."""
        super().recorded(provider, model, usage, cost_nano, settled=settled, overage=overage)
        span = trace.get_current_span()
        if span.is_recording():
            span.set_attributes(_usage_attributes(provider, model, usage))
            if cost_nano is not None:
                span.set_attribute("tokenward.usage.cost_usd", cost_nano / NANO_PER_USD)

    def requested(self, method: str, path: str, status: int, seconds: float) -> None:
        """A request, in the histogram of the HTTP conventions."""
        super().requested(method, path, status, seconds)
        method = genai.OTHER_METHOD if method == OTHER else method
        attributes: dict[str, str | int] = {genai.HTTP_REQUEST_METHOD: method, genai.HTTP_STATUS_CODE: status}
        if path != OTHER:
            attributes[genai.HTTP_ROUTE] = path
        self._http.record(seconds, {**attributes, genai.URL_SCHEME: "http"})


def _usage_attributes(provider: str, model: str, usage: TokenUsage) -> dict[str, str | int]:
    numbers = {
        genai.CACHE_READ_TOKENS: usage.cached_input_tokens,
        genai.CACHE_WRITE_TOKENS: usage.cache_write_tokens + usage.cache_write_1h_tokens,
        genai.REASONING_TOKENS: usage.reasoning_tokens,
    }
    return {
        genai.PROVIDER_NAME: genai.provider_name(provider),
        genai.REQUEST_MODEL: model,
        genai.INPUT_TOKENS: usage.input_tokens,
        genai.OUTPUT_TOKENS: usage.output_tokens,
        **{name: count for name, count in numbers.items() if count},
    }


class _Operations:
    """MCP middleware: the duration of every message, by the conventions."""

    def __init__(self, meter: Meter, performance: Performance, transport: str) -> None:
        name, bounds = genai.MCP_SERVER_OPERATION_DURATION, genai.MCP_SERVER_OPERATION_BOUNDS
        self._durations = _durations(meter, name, "MCP requests and notifications.", bounds)
        self._performance = performance
        self._transport = transport

    async def __call__(self, ctx: "ServerRequestContext[LazyContext, Any]", call_next: "CallNext") -> "HandlerResult":
        """Measure one message."""
        timer = self._performance.timer
        started, error = timer(), "cancelled"
        try:
            result = await call_next(ctx)
        except MCPError as raised:
            error = str(raised.error.code)
            raise
        except ValidationError:
            error = str(INVALID_PARAMS)
            raise
        except Exception as raised:
            error = type(raised).__qualname__
            raise
        else:
            error = _tool_error(result) if ctx.method == "tools/call" else ""
            return result
        finally:
            self._durations.record(timer() - started, self._attributes(ctx, error))

    def _attributes(self, ctx: "ServerRequestContext[LazyContext, Any]", error: str) -> dict[str, str]:
        method = ctx.method if ctx.method in genai.MCP_METHODS else OTHER
        attributes = {genai.MCP_METHOD_NAME: method, genai.NETWORK_TRANSPORT: self._transport}
        if method == "tools/call":
            attributes[genai.OPERATION_NAME] = genai.EXECUTE_TOOL
            named: object = ctx.params.get("name") if ctx.params else None
            attributes[genai.TOOL_NAME] = self._performance.tool_named(named)
        if error:
            attributes[genai.ERROR_TYPE] = error
        return attributes


def _tool_error(result: "HandlerResult") -> str:
    match result:
        case CallToolResult(is_error=True) | {"isError": True}:
            return genai.TOOL_ERROR
        case _:
            return ""


def _durations(meter: Meter, name: str, what: str, bounds: Iterable[float]) -> Histogram:
    return meter.create_histogram(name, unit="s", description=what, explicit_bucket_boundaries_advisory=list(bounds))


def _observe(meter: Meter, done: Performance) -> None:
    """Sums that are read when they are sent."""

    def usage(_: CallbackOptions) -> Iterable[Observation]:
        for (provider, model, kind), count in dict(done.tokens).items():
            yield Observation(count, {**_model(provider, model), genai.KIND_OF_TOKENS: kind})

    def costs(_: CallbackOptions) -> Iterable[Observation]:
        for (provider, model), nano in dict(done.cost_nano).items():
            yield Observation(nano / NANO_PER_USD, _model(provider, model))

    def denials(_: CallbackOptions) -> Iterable[Observation]:
        for (scope, metric, window), count in dict(done.denials).items():
            place = {"scope": scope, "metric": metric, "window": window}
            yield Observation(count, {f"tokenward.limit.{name}": value for name, value in place.items()})

    def lookups(_: CallbackOptions) -> Iterable[Observation]:
        counting = done.counting()
        for result, name in (("hit", "cache_hits"), ("miss", "cache_misses")):
            yield Observation(counting.get(name, 0), {"tokenward.cache.result": result})

    def depth(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(done.ledger.queued())

    counter = meter.create_observable_counter
    counter("tokenward.usage.tokens", [usage], "{token}", "Recorded tokens.")
    counter("tokenward.usage.cost", [costs], "USD", "Recorded cost.")
    counter("tokenward.usage.events", [_by("tokenward.event.kind", done.events)], "{event}", "Recorded events.")
    counter("tokenward.quota.checks", [_by("tokenward.quota.answer", done.checks)], "{check}", "Quota checks.")
    counter("tokenward.quota.denials", [denials], "{check}", "Denied checks, by limit.")
    counter(
        "tokenward.quota.reservations",
        [_by("tokenward.reservation.event", done.reservations)],
        "{reservation}",
        "Reservations held, settled and released.",
    )
    counter("tokenward.count.cache.lookups", [lookups], "{lookup}", "Texts counted, by what the cache knew.")
    meter.create_observable_gauge("tokenward.ledger.queue.depth", [depth], "{operation}", "Operations that wait.")


def _by(name: str, counts: Mapping[str, int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(count, {name: key}) for key, count in dict(counts).items()]


def _model(provider: str, model: str) -> dict[str, str]:
    return {genai.PROVIDER_NAME: genai.provider_name(provider), genai.REQUEST_MODEL: model}
