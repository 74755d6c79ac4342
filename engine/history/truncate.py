"""Make a history fit into a number of tokens, so that its provider still accepts it.

Each message is counted once and the plan is made on those counts. The result is counted as a whole before it is given
back, so what it promises is what `count_messages` says of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import RequestCounter, count_messages
from tokenward.engine.counting.results import MessageCount
from tokenward.engine.errors import InvalidInput, nearest, shown
from tokenward.engine.history.plan import Plan, Planner
from tokenward.engine.history.strategies import STRATEGIES, Policy, Strategy
from tokenward.engine.history.validate import check_conversation
from tokenward.engine.messages import provider_format, read_messages
from tokenward.engine.messages.view import Format
from tokenward.engine.tokenizers.base import Method
from tokenward.engine.types import JsonObject, JsonValue

_ATTEMPTS: Final = 8


@dataclass(frozen=True, slots=True)
class TruncationResult:
    """A history that fits, or the original one that could not be made to.

    Attributes:
        messages: The caller's own objects in their order; new objects are the cleared ones and the placeholder.
        tokens_before: What the request counted before, system text and tools included.
        tokens_after: What it counts now.
        fits: Whether that is within ``max_tokens``. If not, nothing was changed.
        dropped: Indices, in the caller's list, of messages that were left out.
        cleared: Indices, in the caller's list, of messages whose tool results were replaced.
        placeholder: The index, in ``messages``, of the added message that says so, or ``None``.
        strategy: The strategy used.
        exact: Whether the counts are exact.
        method: How they were made.
    """

    messages: list[JsonObject]
    tokens_before: int
    tokens_after: int
    fits: bool
    dropped: tuple[int, ...]
    cleared: tuple[int, ...]
    placeholder: int | None
    strategy: Strategy
    exact: bool
    method: Method


def truncate_history(
    messages: Sequence[JsonObject],
    max_tokens: int,
    model: str,
    *,
    counter: TokenCounter,
    strategy: Strategy = "smart",
    format: Format | Literal["auto"] = "auto",  # noqa: A002 - the tool's argument has this name
    tools: Sequence[JsonObject] | None = None,
    system: JsonValue = None,
    keep_last: int = 1,
    pin: Sequence[int] = (),
    placeholder: bool = True,
) -> TruncationResult:
    """Truncate a history to at most ``max_tokens``.

    The result is valid by `validate_messages`, in the original order, and every kept message is the caller's own
    object, cleared tool results aside. Truncating it again to the same size changes nothing. Nothing of the caller's is
    changed. What each strategy gives up is described at `tokenward.engine.history.strategies.steps`.

    Args:
        messages: The provider's messages, items or contents.
        max_tokens: What the whole request may count, system text and tools included.
        model: Whose tokens are counted.
        counter: Counts them.
        strategy: ``smart``, ``fifo``, ``lifo``, ``middle`` or ``tool_results``.
        format: The list's format, or ``auto`` to find it.
        tools: The request's tool definitions.
        system: The request's top-level system text.
        keep_last: How many units (a message, or a call with its results) to keep at the end; for ``lifo`` at the
            beginning, for ``middle`` at both.
        pin: Indices of messages to keep as they are, with the calls and results they belong to.
        placeholder: Whether to add one message that says how much was left out, if it fits too.

    Raises:
        InvalidInput: An argument is out of its range.
        InvalidMessages: The provider would refuse the list as it is.
        AmbiguousFormat: The list mixes two formats.
    """
    policy = _policy(max_tokens, strategy, keep_last, pin, len(messages))
    info = counter.catalog.resolve(model)
    conversation = read_messages(messages, format, system, hint=provider_format(info.provider))
    check_conversation(conversation)

    def count(candidate: Sequence[JsonObject]) -> MessageCount:
        return count_messages(candidate, model, counter=counter, tools=tools, system=system, format=conversation.format)

    before = count(messages)
    if before.tokens <= max_tokens:
        return _unchanged(messages, before, strategy, fits=True)
    requests = RequestCounter(
        counter,
        model,
        conversation.format,
        tools=tools,
        system=conversation.system,
        context=conversation.messages,
    )
    planner = Planner(conversation, policy, before, requests, counter.text_counter(model))
    budget = max_tokens
    for _ in range(_ATTEMPTS):
        plan = planner.plan(budget, placeholder=placeholder)
        if plan is None:
            break
        after = count(plan.messages)
        if after.tokens <= max_tokens:
            return _planned(plan, before, after, strategy)
        # What a message counts can depend on its neighbours: aim lower by what it was too much.
        budget -= after.tokens - max_tokens
    return _unchanged(messages, before, strategy, fits=False)


def _policy(max_tokens: int, strategy: str, keep_last: int, pin: Sequence[int], count: int) -> Policy:
    if max_tokens <= 0:
        raise InvalidInput("max_tokens", f"must be at least 1, not {shown(max_tokens)}.")
    if keep_last < 0:
        raise InvalidInput("keep_last", f"must be 0 or more, not {shown(keep_last)}.")
    for index in pin:
        if not 0 <= index < count:
            raise InvalidInput(
                "pin", f"{shown(index)} is not the index of a message; the indices are 0 to {count - 1}."
            )
    for known in STRATEGIES:
        if strategy == known:
            return Policy(known, keep_last, frozenset(pin))
    advice = nearest(strategy, STRATEGIES)
    raise InvalidInput("strategy", f"{shown(strategy)} is not known.{advice} Accepted: {', '.join(STRATEGIES)}.")


def _unchanged(
    messages: Sequence[JsonObject], count: MessageCount, strategy: Strategy, *, fits: bool
) -> TruncationResult:
    return TruncationResult(
        list(messages), count.tokens, count.tokens, fits, (), (), None, strategy, count.exact, count.method
    )


def _planned(plan: Plan, before: MessageCount, after: MessageCount, strategy: Strategy) -> TruncationResult:
    return TruncationResult(
        messages=plan.messages,
        tokens_before=before.tokens,
        tokens_after=after.tokens,
        fits=True,
        dropped=plan.dropped,
        cleared=plan.cleared,
        placeholder=plan.placeholder,
        strategy=strategy,
        exact=after.exact,
        method=after.method,
    )
