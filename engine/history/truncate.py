"""Make a history fit into a number of tokens, so that its provider still accepts it.

Each message is counted once and everything is planned on those counts, which add up to what `count_messages` says of
the result. The result is checked by its provider's rules before it is given back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import RequestCounter, count_messages
from tokenward.engine.counting.remembered import MOST_MESSAGES
from tokenward.engine.counting.results import MessageCount
from tokenward.engine.errors import InvalidMessages
from tokenward.engine.history.arguments import check_integer, read_indices
from tokenward.engine.history.cached_prefix import KeptPrefix, kept_prefix, lost_cache_nano
from tokenward.engine.history.plan import Plan, Planner, repeats_call_ids
from tokenward.engine.history.strategies import Policy
from tokenward.engine.history.strategy_plugins import check_strategy
from tokenward.engine.history.validate import check_conversation
from tokenward.engine.messages import provider_format, read_messages
from tokenward.engine.messages.view import Conversation, Format
from tokenward.engine.pricing import CostCalculator
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
        exact: Whether both counts are exact.
        method: How they were made.
        prefix: The unchanged beginning, and what losing the prompt cache behind it costs.
        originals: The caller's objects at the indices in ``dropped`` and ``cleared``; see `restore`.
    """

    messages: list[JsonObject]
    tokens_before: int
    tokens_after: int
    fits: bool
    dropped: tuple[int, ...]
    cleared: tuple[int, ...]
    placeholder: int | None
    strategy: str
    exact: bool
    method: Method
    prefix: KeptPrefix
    originals: Mapping[int, JsonObject] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Request:
    """What is to be truncated: the arguments, read and checked."""

    messages: Sequence[JsonObject]
    conversation: Conversation
    policy: Policy
    model: str
    counter: TokenCounter
    tools: Sequence[JsonObject] | None
    system: JsonValue
    placeholder: bool
    keep_prefix: bool

    def count(self, messages: Sequence[JsonObject]) -> MessageCount:
        """What a request with these messages counts."""
        return count_messages(
            messages,
            self.model,
            counter=self.counter,
            tools=self.tools,
            system=self.system,
            format=self.conversation.format,
        )

    def request_counter(self) -> RequestCounter:
        """What counts single messages of the history."""
        return RequestCounter(
            self.counter,
            self.model,
            self.conversation.format,
            tools=self.tools,
            system=self.conversation.system,
            context=self.conversation.messages,
        )


def truncate_history(
    messages: Sequence[JsonObject],
    max_tokens: int,
    model: str,
    *,
    counter: TokenCounter,
    strategy: str = "smart",
    format: Format | Literal["auto"] = "auto",  # noqa: A002 - the tool's argument has this name
    tools: Sequence[JsonObject] | None = None,
    system: JsonValue = None,
    keep_last: int = 1,
    pin: Sequence[int] = (),
    placeholder: bool = True,
    keep_prefix: bool = False,
    calculator: CostCalculator | None = None,
    plugins: bool = True,
) -> TruncationResult:
    """Truncate a history to at most ``max_tokens``.

    The result is valid by `validate_messages`, in the original order, and every kept message is the caller's own
    object, cleared tool results aside. Truncating it again to the same size changes nothing. Nothing of the caller's is
    changed. `tokenward.engine.history.strategies.BUILT_IN` describes what each strategy gives up, and `free_units`
    beside it what none of them does.

    Args:
        messages: The provider's messages, items or contents.
        max_tokens: What the whole request may count, system text and tools included.
        model: Whose tokens are counted.
        counter: Counts them.
        strategy: ``smart``, ``fifo``, ``lifo``, ``middle`` or ``tool_results``, or the name of an installed package's
            (see `tokenward.engine.history.strategy_plugins`).
        format: The list's format, or ``auto`` to find it.
        tools: The request's tool definitions.
        system: The request's top-level system text.
        keep_last: How many units (a message, or a call with its results) to keep at the end; for ``lifo`` at the
            beginning, for ``middle`` at both.
        pin: Indices of messages to keep as they are, with the calls and results they belong to.
        placeholder: Whether to add one message that says how much was left out, if it fits too.
        keep_prefix: Keep the provider's prompt cache alive from one truncation to the next. A truncation that just fits
            is followed by another at the next turn, and each moves the cut, so that all behind it is read anew. With
            this, whole chunks of a quarter of ``max_tokens`` are given up: while a conversation grows by that much, its
            truncations give up the same messages, and the result begins with the same prefix. Up to one chunk more
            is given up than must be; nothing is dropped only to fill a chunk where clearing results was enough.
        calculator: Prices what losing the prompt cache costs; without one that is ``None``.
        plugins: Whether strategies of other packages may be used.

    Raises:
        InvalidInput: An argument is out of its range, or the strategy is another package's, and broken.
        InvalidMessages: The provider would refuse the list as it is.
        AmbiguousFormat: The list mixes two formats.
    """
    policy = _policy(max_tokens, strategy, keep_last, pin, len(messages))
    check_strategy(strategy, plugins=plugins)
    info = counter.catalog.resolve(model)
    conversation = read_messages(messages, format, system, hint=provider_format(info.provider))
    check_conversation(conversation)
    request = _Request(messages, conversation, policy, model, counter, tools, system, placeholder, keep_prefix)
    text = counter.text_counter(model)
    while True:
        made_by = (text.method, text.exact, text.info.encoding)
        result = _truncated(request)
        # A tokenizer can fail halfway, once and for good; then its successor counts all of it.
        if made_by == (text.method, text.exact, text.info.encoding):
            return result if calculator is None else _priced(result, model, calculator)


def _policy(max_tokens: int, strategy: str, keep_last: int, pin: Sequence[int], count: int) -> Policy:
    check_integer("max_tokens", max_tokens, 1)
    check_integer("keep_last", keep_last, 0)
    return Policy(strategy, keep_last, read_indices("pin", pin, count), max_tokens)


def _truncated(request: _Request) -> TruncationResult:
    requests = request.request_counter()
    # A short history may have been counted before, and be remembered; a long one need not be read a second time.
    is_short = len(request.messages) <= MOST_MESSAGES
    before = request.count(request.messages) if is_short else requests.count(request.conversation.messages)
    budget = most = request.policy.max_tokens
    if before.tokens <= most:
        return _unchanged(request, before, fits=True)
    texts = request.counter.text_counter(request.model)
    planner = Planner(request.conversation, request.policy, before, requests, texts)
    by_neighbours = repeats_call_ids(planner.units)
    placeholder = request.placeholder
    for _ in range(_ATTEMPTS):
        plan = planner.plan(budget, placeholder=placeholder, keep_prefix=request.keep_prefix)
        if plan is None:
            break
        after = request.count(plan.messages).tokens if by_neighbours else plan.tokens
        if after > most:
            # What a message counts can depend on its neighbours: aim lower by what it was too much.
            budget -= after - most
        elif _is_valid(plan.messages, request.conversation.format):
            return _planned(request, plan, before, after, planner)
        elif placeholder:
            placeholder = False
        else:
            break
    return _unchanged(request, before, fits=False)


def _is_valid(messages: Sequence[JsonObject], format: Format) -> bool:  # noqa: A002 - the tool's argument has this name
    """The last check: whether the provider would accept what is about to be given back."""
    try:
        check_conversation(read_messages(messages, format))
    except InvalidMessages:
        return False
    return True


def _unchanged(request: _Request, count: MessageCount, *, fits: bool) -> TruncationResult:
    return TruncationResult(
        messages=list(request.messages),
        tokens_before=count.tokens,
        tokens_after=count.tokens,
        fits=fits,
        dropped=(),
        cleared=(),
        placeholder=None,
        strategy=request.policy.strategy,
        exact=count.exact,
        method=count.method,
        prefix=KeptPrefix(len(request.messages), count.tokens, 0, 0),
        originals=MappingProxyType({}),
    )


def _planned(request: _Request, plan: Plan, before: MessageCount, after: int, planner: Planner) -> TruncationResult:
    return TruncationResult(
        messages=plan.messages,
        tokens_before=before.tokens,
        tokens_after=after,
        fits=True,
        dropped=plan.dropped,
        cleared=plan.cleared,
        placeholder=plan.placeholder,
        strategy=request.policy.strategy,
        exact=before.exact,
        method=before.method,
        prefix=kept_prefix(planner.sizes, planner.fixed, plan.dropped, plan.cleared, plan.placeholder),
        originals=MappingProxyType({index: request.messages[index] for index in (*plan.dropped, *plan.cleared)}),
    )


def _priced(result: TruncationResult, model: str, calculator: CostCalculator) -> TruncationResult:
    lost = result.prefix.lost_tokens
    if not lost:
        return result
    nano = lost_cache_nano(calculator, model, result.tokens_after, lost)
    return replace(result, prefix=replace(result.prefix, lost_nano=nano))
