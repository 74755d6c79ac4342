"""``compress_messages``: the same history in fewer tokens."""

from collections.abc import Mapping, Sequence

from tokenward.engine.history.compress import CompressionResult, How
from tokenward.engine.types import JsonObject
from tokenward.tools.definition import FormatName, Result, Tool, ToolContext
from tokenward.workers import run_sized


class Saving(Result):
    """What one changed message counted and counts, and what made it shorter."""

    index: int
    tokens_before: int
    tokens_after: int
    how: How


class CompressedMessages(Result):
    """The messages, which of them were changed, and how. ``reduction`` is a share, 0 to 1."""

    messages: Sequence[Mapping[str, object]]
    tokens_before: int
    tokens_after: int
    reduction: float
    changed: list[int]
    savings: list[Saving]


async def compress_messages(
    context: ToolContext,
    *,
    messages: list[JsonObject],
    model: str,
    target_reduction: float = 0.2,
    format: FormatName = "auto",  # noqa: A002 - the contract's name
) -> CompressedMessages:
    """Shorten the prose of messages, losing nothing at first and little after that."""
    compress = context.service.optimizer.compress_messages

    def work() -> CompressedMessages:
        return _answer(compress(messages, model, target_reduction=target_reduction, format=format))

    return await run_sized(work, messages)


def _answer(result: CompressionResult) -> CompressedMessages:
    return CompressedMessages(
        messages=result.messages,
        tokens_before=result.tokens_before,
        tokens_after=result.tokens_after,
        reduction=round(result.reduction, 4),
        changed=list(result.changed),
        savings=[
            Saving(
                index=saving.index,
                tokens_before=saving.tokens_before,
                tokens_after=saving.tokens_after,
                how=saving.how,
            )
            for saving in result.savings
            if saving.how != "unchanged"
        ],
    )


TOOL = Tool(
    run=compress_messages,
    description="Shorten the prose of messages, losslessly first. Code, JSON, URLs, tool calls and quotes stay.",
    result=CompressedMessages,
    read_only=True,
    idempotent=True,
)
