"""Tools of every kind of content, of progress, logs and errors, as conformance suites look for them."""

from typing import Annotated, TypeAlias

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts import Prompt
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

from tokenward.engine.types import JsonObject
from tokenward.server.strict import LazyContext, StrictServer

Ctx: TypeAlias = Context[LazyContext, object]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
"""One red pixel, base64."""
WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA=="
"""One silent sample, base64."""

_STEP_SECONDS = 0.05
"""The suites ask for such a pause between notifications."""

_SCHEMA_NAME = "json_schema_2020_12_tool"
_SCHEMA: JsonObject = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def add_content_tools(server: StrictServer) -> None:
    """Add the tools to a server, in the SDK's own way."""
    for function in (
        simple_text,
        image_content,
        audio_content,
        embedded_resource,
        multiple_content_types,
        error_handling,
        tool_with_logging,
        logging_tool,
        tool_with_progress,
        reconnection,
        missing_capability,
        x_mcp_header,
        trigger_tool_change,
        trigger_prompt_change,
    ):
        server.add_tool(function, name=f"test_{function.__name__}")
    server.add_tool(json_schema, name=_SCHEMA_NAME)
    # The SDK offers no way to give a tool a schema of one's own.
    server._tool_manager._tools[_SCHEMA_NAME].parameters = _SCHEMA  # pyright: ignore[reportPrivateUsage]


def _resource(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


def image() -> ImageContent:
    """A picture."""
    return ImageContent(type="image", data=PNG, mime_type="image/png")


def simple_text() -> str:
    """Answers with a text."""
    return "This is a simple text response for testing."


def image_content() -> list[ImageContent]:
    """Answers with an image."""
    return [image()]


def audio_content() -> list[AudioContent]:
    """Answers with a sound."""
    return [AudioContent(type="audio", data=WAV, mime_type="audio/wav")]


def embedded_resource() -> list[EmbeddedResource]:
    """Answers with a resource."""
    return [_resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


def multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    """Answers with a text, an image and a resource."""
    return [
        TextContent(type="text", text="Multiple content types test:"),
        image(),
        _resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ]


def error_handling() -> str:
    """Fails."""
    raise ToolError("This tool intentionally returns an error for testing")


async def _log(context: Ctx, text: str) -> None:
    await context.info(text)  # pyright: ignore[reportDeprecated] # still served to clients that set a level


async def tool_with_logging(context: Ctx) -> str:
    """Logs three lines to the client."""
    await _log(context, "Tool execution started")
    await anyio.sleep(_STEP_SECONDS)
    await _log(context, "Tool processing data")
    await anyio.sleep(_STEP_SECONDS)
    await _log(context, "Tool execution completed")
    return "logged"


async def logging_tool(context: Ctx) -> str:
    """Logs one line, for clients that asked for logs."""
    await _log(context, "a line for those who asked")
    return "logged"


async def tool_with_progress(context: Ctx) -> str:
    """Reports progress in three steps."""
    for done in (0, 50, 100):
        await context.report_progress(done, 100, f"{done} of 100")
        await anyio.sleep(_STEP_SECONDS)
    return "done"


async def reconnection(context: Ctx) -> str:
    """Hangs up on its client, which comes back for the answer."""
    await _log(context, "about to hang up")
    await context.close_sse_stream()
    await anyio.sleep(4 * _STEP_SECONDS)
    await _log(context, "back again")
    return "reconnected"


async def missing_capability(context: Ctx) -> str:
    """Serves only clients that can sample."""
    able = context.client_capabilities
    if able is None or able.sampling is None:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY, "this tool samples", {"requiredCapabilities": {"sampling": {}}}
        )
    return "the client can sample"


def x_mcp_header(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "none") -> str:
    """Has an argument that clients repeat in a header."""
    return region


def json_schema() -> str:
    """Has an input schema of the 2020-12 vocabulary."""
    return "described"


def passing() -> str:
    """Comes and goes."""
    return "here"


async def trigger_tool_change(context: Ctx) -> str:
    """Adds a tool, takes it away, and says so."""
    server = context.mcp_server
    server.add_tool(passing, name="test_passing_tool")
    server.remove_tool("test_passing_tool")
    await context.notify_tools_changed()
    return "changed"


async def trigger_prompt_change(context: Ctx) -> str:
    """Adds a prompt, takes it away, and says so."""
    server = context.mcp_server
    server.add_prompt(Prompt.from_function(passing, name="test_passing_prompt"))
    server.remove_prompt("test_passing_prompt")
    await context.notify_prompts_changed()
    return "changed"
