"""The names of OpenTelemetry's conventions that are used here, and nowhere else is one written.

Source: semantic conventions 1.44.0 as packaged in ``opentelemetry-semantic-conventions`` 0.66b2; a test compares each
name with that package. Those for GenAI and MCP have since moved, under the same names, to a repository of their own,
https://github.com/open-telemetry/semantic-conventions-genai (read at 066d4a7f, 2026-11: ``docs/gen-ai/mcp.md``,
``gen-ai-spans.md``, ``gen-ai-token-metrics.md``), and are in development: they may change without notice.

Token metrics of the conventions (``gen_ai.client.…``) are for who calls a model. Tokenward is told of calls that
somebody else made and may measure too, so its sums have names of their own and only the attributes are GenAI's.
"""

from typing import Final

ERROR_TYPE: Final = "error.type"
HTTP_ROUTE: Final = "http.route"
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_STATUS_CODE: Final = "http.response.status_code"
HTTP_SERVER_REQUEST_DURATION: Final = "http.server.request.duration"
HTTP_SERVER_REQUEST_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds: the boundaries that the HTTP conventions (stable) ask for."""

OTHER_METHOD: Final = "_OTHER"
"""``http.request.method`` of a request whose method is none of HTTP's."""
URL_SCHEME: Final = "url.scheme"

SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE_ID: Final = "service.instance.id"

JSONRPC_REQUEST_ID: Final = "jsonrpc.request.id"
NETWORK_TRANSPORT: Final = "network.transport"

RPC_STATUS_CODE: Final = "rpc.response.status_code"

MCP_METHOD_NAME: Final = "mcp.method.name"
MCP_PROTOCOL_VERSION: Final = "mcp.protocol.version"
MCP_SERVER_OPERATION_DURATION: Final = "mcp.server.operation.duration"
MCP_SERVER_OPERATION_BOUNDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds: the boundaries that ``docs/gen-ai/mcp.md`` advises."""

OPERATION_NAME: Final = "gen_ai.operation.name"
EXECUTE_TOOL: Final = "execute_tool"
TOOL_NAME: Final = "gen_ai.tool.name"
PROMPT_NAME: Final = "gen_ai.prompt.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
KIND_OF_TOKENS: Final = "gen_ai.token.type"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"

TOOL_ERROR: Final = "tool_error"
"""``error.type`` of a tool's result that is an error."""

_PROVIDERS: Final = {"google": "gcp.gen_ai", "mistral": "mistral_ai", "x-ai": "x_ai", "moonshotai": "moonshot_ai"}

MCP_METHODS: Final = frozenset(
    {
        *("initialize", "ping", "completion/complete", "logging/setLevel", "prompts/get", "prompts/list"),
        *("resources/list", "resources/read", "resources/subscribe", "resources/templates/list"),
        *("resources/unsubscribe", "tools/call", "tools/list", "notifications/cancelled", "notifications/initialized"),
        *("notifications/progress", "notifications/roots/list_changed"),
        # Of the revision 2026-07-28, not in the conventions yet.
        *("server/discover", "subscriptions/listen"),
    }
)
"""What a client may send. Any other method is some text of a client's and is not shown."""


def provider_name(provider: str) -> str:
    """The catalog's name of a model's maker, as the conventions write it where they know it."""
    return _PROVIDERS.get(provider, provider)
