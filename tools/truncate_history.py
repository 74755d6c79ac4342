"""``truncate_history``: a history that fits."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

from tokenward.engine.history import Strategy, TruncationResult
from tokenward.engine.tokenizers.base import Method
from tokenward.engine.types import JsonObject
from tokenward.tools.definition import TEXT, Detail, FormatName, Result, System, Tool, ToolContext
from tokenward.workers import run_sized


class TruncatedHistory(Result):
    """The history, and what was done to it. ``fits`` false: nothing valid fits, and nothing was changed."""

    messages: Sequence[Mapping[str, object]]
    tokens_before: int
    tokens_after: int
    fits: bool
    dropped: list[int]
    cleared: list[int]
    placeholder: int | None
    strategy: Strategy
    exact: bool
    method: Method
    kept: list[int] | None = None


async def truncate_history(
    context: ToolContext,
    *,
    messages: list[JsonObject],
    max_tokens: int,
    model: str,
    strategy: Strategy = "smart",
    format: FormatName = "auto",  # noqa: A002 - the contract's name
    tools: list[JsonObject] | None = None,
    system: System = None,
    keep_last: int = 1,
    pin: list[int] | None = None,
    placeholder: bool = True,
    detail: Annotated[Detail, TEXT] = "brief",
) -> TruncatedHistory:
    """Shorten a history to ``max_tokens`` so that its provider still accepts it."""
    truncate = partial(
        context.service.optimizer.truncate_history,
        messages,
        max_tokens,
        model,
        strategy=strategy,
        format=format,
        tools=tools,
        system=system,
        keep_last=keep_last,
        pin=pin or (),
        placeholder=placeholder,
    )

    def work() -> TruncatedHistory:
        result = truncate()
        dropped = set(result.dropped)
        kept = [index for index in range(len(messages)) if index not in dropped]
        return _answer(result, kept if detail == "full" else None)

    return await run_sized(work, messages, tools, system)


def _answer(result: TruncationResult, kept: list[int] | None) -> TruncatedHistory:
    return TruncatedHistory(
        messages=result.messages,
        tokens_before=result.tokens_before,
        tokens_after=result.tokens_after,
        fits=result.fits,
        dropped=list(result.dropped),
        cleared=list(result.cleared),
        placeholder=result.placeholder,
        strategy=result.strategy,
        exact=result.exact,
        method=result.method,
        kept=kept,
    )


TOOL = Tool(
    run=truncate_history,
    description="Cut messages to max_tokens.",
    result=TruncatedHistory,
    read_only=True,
    idempotent=True,
)
