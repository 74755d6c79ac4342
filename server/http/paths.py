"""Where the HTTP door serves what."""

MCP_PATH = "/mcp"
SSE_PATH = "/sse"
MESSAGES_PATH = "/messages/"

ALIVE_PATH = "/healthz"
READY_PATH = "/readyz"
METRICS_PATH = "/metrics"

LIMITS_PATH = "/admin/limits"
QUOTA_PATH = "/admin/quota"
USAGE_PATH = "/admin/usage"
DOCUMENT_PATH = "/admin/openapi.json"

RESOURCE_METADATA_PATH = "/.well-known/oauth-protected-resource"
"""By RFC 9728; the SDK appends the resource's own path."""
