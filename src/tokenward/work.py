"""What work takes at most: the amounts that a quota is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import Amounts
from tokenward.engine.tariffs import Prices
from tokenward.engine.types import Clock
from tokenward.engine.usage import MAX_TOKENS, TokenUsage
from tokenward.requests import QuotaRequest

DEFAULT_OUTPUT_TOKENS = 1_024
"""Output assumed for a request that names no ``max_output_tokens``: enough for a usual answer, and it leaves the rest
of the budget to others."""


@dataclass(frozen=True, slots=True)
class Work:
    """A request's amounts at their upper bound, and what was assumed for them."""

    amounts: Amounts
    warnings: tuple[str, ...] = ()


class WorkEstimator:
    """Turns a :class:`QuotaRequest` into amounts.

    Args:
        counter: Counts messages.
        prices: Prices the work.
        clock: Now, microseconds UTC: prices depend on it.
    """

    def __init__(self, counter: TokenCounter, prices: Prices, clock: Clock) -> None:
        self._counter = counter
        self._prices = prices
        self._clock = clock

    def estimate(self, request: QuotaRequest) -> Work:
        """The amounts of a request. Counting messages may take long.

        Raises:
            InvalidInput: A value outside what is accepted, or several ways to say how much.
        """
        given = [name for name in ("tokens", "input_tokens", "messages") if getattr(request, name) is not None]
        if len(given) > 1:
            raise InvalidInput(
                given[1], f"give only one of tokens, input_tokens and messages (not {given[0]} as well)."
            )
        if not given and request.max_output_tokens is None:
            if request.reserve:
                raise InvalidInput("tokens", "say how much to reserve: tokens, input_tokens or messages.")
            return Work(Amounts(0, 0, 0))
        if request.tokens is not None:
            if request.max_output_tokens is not None:
                raise InvalidInput("max_output_tokens", "is part of tokens; give input_tokens instead of tokens.")
            if not 0 <= request.tokens <= MAX_TOKENS:
                raise InvalidInput("tokens", f"give an integer from 0 to {MAX_TOKENS}.")
            # Which part will be output is not known, so the dearer side bounds the cost.
            return self._priced(request, [TokenUsage(request.tokens, 0), TokenUsage(0, request.tokens)], ())
        input_tokens = request.input_tokens or 0
        if request.messages is not None:
            if request.model is None:
                raise InvalidInput("model", "name the model whose tokenizer counts the messages.")
            input_tokens = count_messages(request.messages, request.model, counter=self._counter).upper
        output_tokens, assumed = self._output(request)
        return self._priced(request, [TokenUsage(input_tokens, output_tokens)], assumed)

    def _output(self, request: QuotaRequest) -> tuple[int, tuple[str, ...]]:
        ceiling = self._counter.catalog.resolve(request.model).max_output_tokens if request.model else None
        wanted = request.max_output_tokens
        if wanted is not None and not 0 <= wanted <= MAX_TOKENS:
            raise InvalidInput("max_output_tokens", f"give an integer from 0 to {MAX_TOKENS}.")
        tokens = min(DEFAULT_OUTPUT_TOKENS if wanted is None else wanted, ceiling or MAX_TOKENS)
        if wanted is None:
            return tokens, (f"max_output_tokens is not given: {tokens} output tokens are assumed.",)
        return tokens, ()

    def _priced(self, request: QuotaRequest, usages: Sequence[TokenUsage], assumed: tuple[str, ...]) -> Work:
        tokens = usages[0].total_tokens
        if request.model is None:
            return Work(Amounts(tokens, None), assumed)
        now_us = self._clock()
        prices = [self._prices.of(usage, request.model, "standard", now_us) for usage in usages]
        known = [one.cost_nano for one in prices if one.cost_nano is not None]
        if known:
            return Work(Amounts(tokens, max(known)), assumed)
        return Work(Amounts(tokens, None), (*assumed, f"The cost is not known. {prices[-1].problem}"))
