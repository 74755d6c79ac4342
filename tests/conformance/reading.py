"""Resources and prompts as conformance suites look for them, and requests that the application has no use for."""

import base64
import json

from mcp.server import ServerRequestContext
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp_types import (
    EmbeddedResource,
    EmptyResult,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)

from tests.conformance.content import PNG, image
from tokenward.server.strict import LazyContext, StrictServer


def add_resources(server: StrictServer) -> None:
    """Add the resources."""
    server.resource("test://static-text")(static_text)
    server.resource("test://static-binary", mime_type="image/png")(static_binary)
    server.resource("test://watched-resource")(watched)
    server.resource("test://template/{id}/data", mime_type="application/json")(templated)


def static_text() -> str:
    """A text."""
    return "This is the content of the static text resource."


def static_binary() -> bytes:
    """An image."""
    return base64.b64decode(PNG)


def watched() -> str:
    """A text that may be subscribed to."""
    return "nothing new"


def templated(id: str) -> str:  # noqa: A002 - the name in the address
    """A document per name."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def add_prompts(server: StrictServer) -> None:
    """Add the prompts."""
    server.prompt(name="test_simple_prompt")(simple)
    server.prompt(name="test_prompt_with_arguments")(with_arguments)
    server.prompt(name="test_prompt_with_embedded_resource")(with_resource)
    server.prompt(name="test_prompt_with_image")(with_image)


def simple() -> str:
    """A sentence."""
    return "This is a simple prompt for testing."


def with_arguments(arg1: str, arg2: str) -> str:
    """A sentence with two blanks."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


def with_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803 - as the suites spell it
    """A sentence about a resource."""
    contents = TextResourceContents(
        uri=resourceUri, mime_type="text/plain", text="Embedded resource content for testing."
    )
    return [
        UserMessage(EmbeddedResource(type="resource", resource=contents)),
        UserMessage("Please process the embedded resource above."),
    ]


def with_image() -> list[UserMessage]:
    """A sentence about an image."""
    return [UserMessage(image()), UserMessage(TextContent(type="text", text="Please analyze the image above."))]


def add_handlers(server: StrictServer) -> None:
    """Accept log levels and subscriptions of the older revisions, which the SDK has no public way to serve."""
    core = server._lowlevel_server  # pyright: ignore[reportPrivateUsage]
    core.add_request_handler("logging/setLevel", SetLevelRequestParams, _set_level)
    core.add_request_handler("resources/subscribe", SubscribeRequestParams, _subscribe)
    core.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, _unsubscribe)


async def _set_level(_context: ServerRequestContext[LazyContext], _params: SetLevelRequestParams) -> EmptyResult:
    return EmptyResult()


async def _subscribe(_context: ServerRequestContext[LazyContext], _params: SubscribeRequestParams) -> EmptyResult:
    return EmptyResult()


async def _unsubscribe(_context: ServerRequestContext[LazyContext], _params: UnsubscribeRequestParams) -> EmptyResult:
    return EmptyResult()
