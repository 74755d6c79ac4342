"""What fits into a model's context window, what goes first, and what it costs with and without the provider's cache.

The plan is made on upper bounds: where tokens are estimated, what the plan keeps fits even if the estimate is as low as
it can be. What it keeps is put together as one request, and the parts add up to what `count_messages` says of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.errors import InvalidInput, InvalidMessages, UnknownPrice, shown
from tokenward.engine.history.arguments import check_integer, read_files
from tokenward.engine.history.assembly import Assembly
from tokenward.engine.history.context_choice import Choice, Chooser, ContextPart
from tokenward.engine.history.truncate import TruncationResult, truncate_history
from tokenward.engine.history.validate import check_conversation
from tokenward.engine.messages import provider_format, read_messages
from tokenward.engine.messages.view import Format
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.engine.usage import TokenUsage


@dataclass(frozen=True, slots=True)
class ContextCost:
    """What one call costs, in nano-dollars, all of the wanted output included; ``None`` where no price is known.

    Attributes:
        cached_tokens: The stable prefix: system text, tools, files, and the history up to its first change.
        uncached_nano: Without caching.
        first_call_nano: When the prefix is written to the cache.
        following_call_nano: When it is read from the cache.
        price_source: Whose prices.
        price_date: The day of their state.
        problem: Why a price is not known.
    """

    cached_tokens: int
    uncached_nano: int | None = None
    first_call_nano: int | None = None
    following_call_nano: int | None = None
    price_source: str = ""
    price_date: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ContextPlan:
    """An allocation of a model's context window.

    Attributes:
        fits: Whether what must stay fits. If not, everything is kept as it was given, and ``problem`` says why.
        model: The model as asked for.
        context_window: Tokens of input and output together.
        output_tokens: Reserved for the answer.
        input_tokens: What the request counts, by `count_messages`: the sum of the parts.
        input_upper: The most that can truly be; this is what fits.
        exact: Whether ``input_tokens`` is exact.
        remaining_tokens: What is still free for input, by the upper bound; below 0 if it does not fit.
        parts: In the order of the request, the start of the reply last.
        cost: Of one call.
        messages: The request's messages: files as messages of the user, then what is kept of the history.
        system: What goes beside them as system text; ``None`` where it is a message.
        tools: The definitions.
        format: The messages' format.
        truncation: What was done to the history, or ``None`` where nothing was.
        problem: Why it does not fit.
        warnings: What counting had to assume.
    """

    fits: bool
    model: str
    context_window: int
    output_tokens: int
    input_tokens: int
    input_upper: int
    exact: bool
    remaining_tokens: int
    parts: tuple[ContextPart, ...]
    cost: ContextCost
    messages: list[JsonObject]
    system: JsonValue
    tools: Sequence[JsonObject] | None
    format: Format
    truncation: TruncationResult | None = None
    problem: str = ""
    warnings: tuple[str, ...] = ()


def plan_context(
    model: str,
    *,
    counter: TokenCounter,
    output_tokens: int,
    system: JsonValue = None,
    tools: Sequence[JsonObject] | None = None,
    files: Sequence[tuple[str, str] | tuple[str, str, int]] = (),
    history: Sequence[JsonObject] = (),
    history_priority: int = 0,
    keep_last: int = 1,
    format: Format | Literal["auto"] = "auto",  # noqa: A002 - the tool's argument has this name
    context_window: int | None = None,
    calculator: CostCalculator | None = None,
) -> ContextPlan:
    """Plan what goes into a model's context window.

    System text, tools and the wanted output always stay. When the rest does not fit, files of a priority below the
    history's go first, the lowest first and of equals the last given; then the history is truncated (``smart``); then
    further files go. A file that went comes back if there is still room for it. Nothing of the caller's is changed.

    Args:
        model: Whose window, tokens and prices.
        counter: Counts.
        output_tokens: Reserved for the answer, reasoning included.
        system: The request's system text.
        tools: Its tool definitions.
        files: Names and texts, with a priority (0 if not given).
        history: The provider's messages, items or contents.
        history_priority: Files of a lower one give way before the history, the others after it.
        keep_last: How many units at the history's end always stay.
        format: The history's format, or ``auto``.
        context_window: The window in tokens, where it is not known or another one applies.
        calculator: Knows the prices; a new one if not given.

    Raises:
        InvalidInput: An argument is out of its range, or the window is not known and not given.
        InvalidMessages: There is neither a file nor a message, or the provider would refuse the history as it is.
        AmbiguousFormat: The history mixes two formats.
    """
    info = counter.catalog.resolve(model)
    window = _window(info, output_tokens, context_window)
    check_integer("keep_last", keep_last, 0)
    check_integer("history_priority", history_priority)
    given = read_files(files)
    conversation = read_messages(history, format, system, hint=provider_format(info.provider))
    if not history and not given:
        raise InvalidMessages("give at least one message or one file.")
    if history:
        check_conversation(conversation)
    assembly = Assembly(counter, model, system, tools, conversation)
    sizes = [assembly.size(assembly.request([file], ()).messages[-1:]) for file in given]
    chooser = Chooser(assembly, given, sizes, history, history_priority)

    def truncate(max_tokens: int) -> TruncationResult:
        return truncate_history(
            history, max_tokens, model, counter=counter, format=conversation.format, keep_last=keep_last
        )

    room = window - output_tokens
    if info.max_input_tokens is not None and context_window is None:
        room = min(room, info.max_input_tokens)
    choice = chooser.choose(room, truncate)
    kept = choice or chooser.everything()
    request = assembly.request([file for place, file in enumerate(given) if place in kept.files], kept.history)
    count = count_messages(
        request.messages, model, counter=counter, tools=tools, system=request.system, format=request.format
    )
    fits = count.upper <= room
    parts = chooser.parts(kept, count)
    cached = _cached_tokens(assembly, parts, kept, history)
    return ContextPlan(
        fits=fits,
        model=model,
        context_window=window,
        output_tokens=output_tokens,
        input_tokens=count.tokens,
        input_upper=count.upper,
        exact=count.exact,
        remaining_tokens=room - count.upper,
        parts=parts,
        cost=_cost(calculator or CostCalculator(counter.catalog), model, count.tokens, output_tokens, cached),
        messages=request.messages,
        system=request.system,
        tools=tools,
        format=request.format,
        truncation=kept.truncation,
        problem="" if fits else chooser.problem(room),
        warnings=count.warnings,
    )


def _window(info: ModelInfo, output_tokens: int, given: int | None) -> int:
    if given is not None:
        check_integer("context_window", given, 1)
    check_integer("output_tokens", output_tokens, 0)
    window = info.context_window if given is None else given
    if window is None:
        raise InvalidInput("context_window", f"the window of {shown(info.requested)} is not known; give its tokens.")
    most = info.max_output_tokens
    if most is not None and output_tokens > most:
        raise InvalidInput("output_tokens", f"{output_tokens:,} is more than the model's {most:,} tokens of output.")
    if output_tokens >= window:
        raise InvalidInput("output_tokens", f"{output_tokens:,} leaves no room for input in {window:,} tokens.")
    return window


def _cached_tokens(
    assembly: Assembly, parts: Sequence[ContextPart], kept: Choice, history: Sequence[JsonObject]
) -> int:
    same = takewhile(lambda pair: pair[0] is pair[1], zip(kept.history, history, strict=False))
    stable = sum(part.tokens for part in parts if part.kind in {"system", "tools", "file"})
    return stable + assembly.size([message for message, _ in same]).tokens


def _cost(calculator: CostCalculator, model: str, input_tokens: int, output_tokens: int, cached: int) -> ContextCost:
    cached = max(0, min(cached, input_tokens))
    try:
        plain = calculator.calculate_cost(TokenUsage(input_tokens, output_tokens), model)
    except UnknownPrice as error:
        return ContextCost(cached, problem=str(error))
    first = following = None
    problem = "" if "cached_input" in plain.prices else "no price for reading from the cache is known."
    if not problem:
        # Where writing to the cache has no price of its own, it costs what input costs.
        writes = cached if "cache_write" in plain.prices else 0
        write = TokenUsage(input_tokens, output_tokens, cache_write_tokens=writes)
        read = TokenUsage(input_tokens, output_tokens, cached_input_tokens=cached)
        first = calculator.calculate_cost(write, model).total_nano
        following = calculator.calculate_cost(read, model).total_nano
    return ContextCost(cached, plain.total_nano, first, following, plain.price_source, plain.price_date, problem)
