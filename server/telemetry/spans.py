"""Spans without what a client wrote.

The MCP SDK's spans hold names and error messages as they came: a tool's name that no tool has, a request's id, the
message of an exception, a client's ``tracestate``. None of these may carry a prompt or a secret out of the process.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, Status

from tokenward.performance import OTHER, Performance
from tokenward.server.surface.prompts import PLAN
from tokenward.server.telemetry import genai

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

PROMPTS: Final = frozenset({PLAN})
"""The prompts that there are."""

_PLAIN_ID = re.compile(r"[0-9]{1,20}|[0-9a-fA-F-]{36}")
"""Numbers and UUIDs; an id may be any text, and only these surely say nothing."""
_REVISION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_SURE = frozenset(
    {
        *(genai.ERROR_TYPE, genai.OPERATION_NAME, genai.PROVIDER_NAME, genai.REQUEST_MODEL, genai.RPC_STATUS_CODE),
        *(genai.INPUT_TOKENS, genai.OUTPUT_TOKENS, genai.REASONING_TOKENS),
        *(genai.CACHE_READ_TOKENS, genai.CACHE_WRITE_TOKENS),
    }
)
"""Attributes that hold nothing of a client's. Beside them pass ours, and those that are looked into below."""
_OURS = "tokenward."


class CleanSpans(SpanExporter):
    """Hands spans on without clients' own text.

    Args:
        exporter: Sends them.
        performance: Knows the tools there are.
    """

    def __init__(self, exporter: SpanExporter, performance: Performance) -> None:
        self._exporter = exporter
        self._performance = performance

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans, cleaned."""
        return self._exporter.export([self._clean(one) for one in spans])

    def shutdown(self) -> None:
        """End the exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have the exporter send what it holds."""
        return self._exporter.force_flush(timeout_millis)

    def _clean(self, span: ReadableSpan) -> ReadableSpan:
        attributes = self._attributes(span.attributes or {})
        return ReadableSpan(
            name=_name(span.name, attributes),
            context=_stateless(span.get_span_context()),
            parent=_stateless(span.parent),
            resource=span.resource,
            attributes=attributes,
            # An exception's message and trace may quote anything; its type stays in error.type.
            events=[Event(one.name, None, one.timestamp) for one in span.events],
            links=[Link(_bare(one.context), self._attributes(one.attributes or {})) for one in span.links],
            kind=span.kind,
            status=Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    def _attributes(self, given: "Mapping[str, AttributeValue]") -> "dict[str, AttributeValue]":
        kept = {name: value for name, value in given.items() if name in _SURE or name.startswith(_OURS)}
        if (method := given.get(genai.MCP_METHOD_NAME)) is not None:
            kept[genai.MCP_METHOD_NAME] = method if method in genai.MCP_METHODS else OTHER
        if (tool := given.get(genai.TOOL_NAME)) is not None:
            kept[genai.TOOL_NAME] = self._performance.tool_named(tool)
        if (prompt := given.get(genai.PROMPT_NAME)) is not None:
            kept[genai.PROMPT_NAME] = prompt if prompt in PROMPTS else OTHER
        for name, plain in ((genai.JSONRPC_REQUEST_ID, _PLAIN_ID), (genai.MCP_PROTOCOL_VERSION, _REVISION)):
            text = given.get(name)
            if isinstance(text, str) and plain.fullmatch(text):
                kept[name] = text
        return kept


def _stateless(context: SpanContext | None) -> SpanContext | None:
    return None if context is None else _bare(context)


def _bare(context: SpanContext) -> SpanContext:
    """A span's identity alone. Its trace state is any text that a client sends, and is for other systems."""
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)


def _name(name: str, attributes: "Mapping[str, AttributeValue]") -> str:
    """A span's name as the conventions have it, from cleaned attributes; that of a span of ours stays."""
    method = attributes.get(genai.MCP_METHOD_NAME)
    if method is None:
        return name
    target = attributes.get(genai.TOOL_NAME) or attributes.get(genai.PROMPT_NAME)
    return f"{method} {target}" if target else str(method)
