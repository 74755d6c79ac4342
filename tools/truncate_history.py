"""``truncate_history``: a history that fits."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, TypeAlias

from tokenward.engine.history import STRATEGIES, TruncationResult
from tokenward.engine.history.cached_prefix import KeptPrefix
from tokenward.engine.history.strategy_plugins import installed_strategies
from tokenward.engine.money import usd
from tokenward.engine.tokenizers.base import Method
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.tools.definition import TEXT, Advertised, Detail, FormatName, Result, System, Tool, ToolContext
from tokenward.workers import run_sized


def _strategies() -> dict[str, JsonValue]:
    """The built-in strategies by name. Where others are installed, any name: the footprint has no room for more."""
    return {"type": "string"} if installed_strategies() else {"type": "string", "enum": list(STRATEGIES)}


StrategyName: TypeAlias = Annotated[str, Advertised(_strategies)]


_TOO_LITTLE = (
    "Nothing that its provider accepts fits, so nothing was changed. The system text, the tools, pinned messages, open "
    "calls and what keep_last keeps always stay: give more max_tokens, or keep less."
)


class Prefix(Result):
    """The unchanged beginning: its messages and tokens; tokens behind it that are read again, and what that costs."""

    messages: int
    tokens: int
    lost_tokens: int
    lost_cost: str | None


class TruncatedHistory(Result):
    """The history, and what was done to it. ``fits`` false: nothing valid fits, nothing was changed; see ``reason``."""

    messages: Sequence[Mapping[str, object]]
    tokens_before: int
    tokens_after: int
    fits: bool
    dropped: list[int]
    cleared: list[int]
    placeholder: int | None
    strategy: str
    exact: bool
    method: Method
    prefix: Prefix
    kept: list[int] | None = None
    reason: str | None = None


async def truncate_history(
    context: ToolContext,
    *,
    messages: list[JsonObject],
    max_tokens: int,
    model: str,
    strategy: StrategyName = "smart",
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
        prefix=_prefix(result.prefix),
        kept=kept,
        reason=None if result.fits else _TOO_LITTLE,
    )


def _prefix(prefix: KeptPrefix) -> Prefix:
    cost = None if prefix.lost_nano is None else usd(prefix.lost_nano)
    return Prefix(messages=prefix.messages, tokens=prefix.tokens, lost_tokens=prefix.lost_tokens, lost_cost=cost)


TOOL = Tool(
    run=truncate_history,
    description="Cut messages to max_tokens.",
    result=TruncatedHistory,
    read_only=True,
    idempotent=True,
)
