"""``count_messages``: a whole chat request."""

from functools import partial
from typing import Annotated

from tokenward.engine.counting.results import MessageCount
from tokenward.engine.errors import InvalidInput
from tokenward.engine.messages.view import Format
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.engine.usage import MAX_TOKENS
from tokenward.tools.counted import Counted, window_fit
from tokenward.tools.definition import Advertised, Detail, FormatName, Result, System, Tool, ToolContext
from tokenward.tools.progress import text_characters, with_progress


class Breakdown(Result):
    """Where the tokens are; the fields sum to the total."""

    system: int
    user: int
    assistant: int
    tool_calls: int
    tool_results: int
    tool_definitions: int
    images: int
    overhead: int


class MessageRow(Result):
    """One message's share."""

    index: int
    role: str
    tokens: int


class MessagesCount(Counted):
    """The count of the request and of its parts."""

    format: Format
    breakdown: Breakdown
    total_with_output: int | None = None
    messages: list[MessageRow] | None = None
    warnings: list[str] | None = None


async def count_messages(
    context: ToolContext,
    *,
    messages: list[JsonObject],
    model: str,
    tools: list[JsonObject] | None = None,
    tool_choice: Annotated[JsonValue, Advertised({"type": ["string", "object"]})] = None,
    system: System = None,
    format: FormatName = "auto",  # noqa: A002 - the contract's name
    max_output_tokens: int | None = None,
    detail: Detail = "brief",
) -> MessagesCount:
    """Count roles, texts, tool calls and definitions, images and the overheads of the model's family."""
    if max_output_tokens is not None and not 0 <= max_output_tokens <= MAX_TOKENS:
        raise InvalidInput("max_output_tokens", f"expected an integer from 0 to {MAX_TOKENS}.")
    work = partial(
        context.service.count_request,
        messages,
        model,
        tools=tools,
        tool_choice=tool_choice,
        system=system,
        format=format,
    )
    count = await with_progress(context.report_progress, text_characters(messages), work)
    window = context.service.counter.catalog.resolve(model).context_window
    return _result(count, window, max_output_tokens, detail)


def _result(count: MessageCount, window: int | None, output: int | None, detail: Detail) -> MessagesCount:
    rows = [MessageRow(index=one.index, role=one.role, tokens=one.tokens) for one in count.messages]
    parts = count.breakdown
    fit = window_fit(count.tokens + (output or 0), count.upper + (output or 0), window)
    return MessagesCount(
        **dict(fit),
        tokens=count.tokens,
        lower=count.lower,
        upper=count.upper,
        exact=count.exact,
        method=count.method,
        model=count.model,
        encoding=count.encoding,
        format=count.format,
        breakdown=Breakdown(
            system=parts.system,
            user=parts.user,
            assistant=parts.assistant,
            tool_calls=parts.tool_calls,
            tool_results=parts.tool_results,
            tool_definitions=parts.tool_definitions,
            images=parts.images,
            overhead=parts.overhead,
        ),
        total_with_output=None if output is None else count.tokens + output,
        messages=rows if detail == "full" else None,
        warnings=list(count.warnings) or None,
    )


TOOL = Tool(
    run=count_messages,
    description="Count a whole chat request as its provider does: messages, tools, images, overheads.",
    result=MessagesCount,
    read_only=True,
    idempotent=True,
)
