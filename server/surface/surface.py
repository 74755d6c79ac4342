"""Resources, completions and the prompt, as the protocol asks for them. What they hold is imported when it is asked."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeAlias

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CompleteRequestParams,
    Completion,
    GetPromptResult,
    Prompt,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from tokenward.engine.errors import StoreError, TokenwardError
from tokenward.server.surface.uris import MODEL, MODELS, QUOTA, REPORT, Kind, place_of
from tokenward.tools.definition import ToolContext

JSON = "application/json"

FRESH_MS: dict[Kind, int] = {"models": 600_000, "model": 600_000, "quota": 0, "report": 0}
"""How long what was read may be kept. The ledger changes with every request."""


OpenedFor: TypeAlias = Callable[[], Awaitable[ToolContext]]
"""Opens what the tools work with, for whoever asks."""


class Surface:
    """What a server offers besides tools.

    Args:
        tools: The names of the tools that are served.
    """

    def __init__(self, tools: Collection[str]) -> None:
        self._tools = tools

    def resources(self) -> list[Resource]:
        """Those without a name in them."""
        return [
            Resource(
                uri=MODELS,
                name="models",
                title="Known models",
                description="Models with a price: how they are counted, context window, prices.",
                mime_type=JSON,
            )
        ]

    def templates(self) -> list[ResourceTemplate]:
        """Those with a name in them."""
        described = {
            MODEL: ("model", "One model", "What is known of a model, in any spelling: counting, limits, prices."),
            QUOTA: ("quota", "A user's quota", "How the limits of a user stand: used, reserved, remaining, reset."),
            REPORT: ("report", "Usage report", "Tokens and cost of a period: 24h, 7d, 12w, today, month."),
        }
        return [
            ResourceTemplate(uri_template=uri, name=name, title=title, description=description, mime_type=JSON)
            for uri, (name, title, description) in described.items()
        ]

    def prompts(self) -> list[Prompt]:
        """The prompt, where the tools that it teaches are served."""
        from tokenward.server.surface.prompts import NEEDED_TOOLS, PROMPT  # noqa: PLC0415 - not before it is asked for

        return [PROMPT] if NEEDED_TOOLS.issubset(self._tools) else []

    def prompt(self, name: str, arguments: Mapping[str, str] | None) -> GetPromptResult | None:
        """The prompt of a name, or ``None`` if there is none. Raises MCPError."""
        if name not in [prompt.name for prompt in self.prompts()]:
            return None
        from tokenward.server.surface.prompts import plan_within_budget  # noqa: PLC0415 - not before it is asked for

        try:
            return plan_within_budget(arguments or {}, self._tools)
        except TokenwardError as error:
            raise MCPError(INVALID_PARAMS, str(error)) from None

    async def read(self, uri: str, open_context: OpenedFor) -> ReadResourceResult | None:
        """A resource's content, or ``None`` if it is none of these. Raises MCPError."""
        place = place_of(uri)
        if place is None:
            return None
        from tokenward.server.surface.resources import read  # noqa: PLC0415 - heavy

        try:
            text = await read(place, await open_context())
        except TokenwardError as error:
            raise _protocol_error(error, uri) from None
        contents = TextResourceContents(uri=uri, mime_type=JSON, text=text)
        return ReadResourceResult(contents=[contents], ttl_ms=FRESH_MS[place.kind], cache_scope="private")

    async def complete(self, params: CompleteRequestParams, open_context: OpenedFor) -> Completion:
        """What an argument may go on with. Raises MCPError."""
        from tokenward.server.surface.completions import complete  # noqa: PLC0415 - heavy

        try:
            return await complete(params, await open_context())
        except TokenwardError as error:
            raise _protocol_error(error) from None


def _protocol_error(error: TokenwardError, uri: str | None = None) -> MCPError:
    """What is wrong, in the protocol's form: by default the caller's to correct."""
    code = INTERNAL_ERROR if isinstance(error, StoreError) else INVALID_PARAMS
    return MCPError(code, str(error), None if uri is None else {"uri": uri})
