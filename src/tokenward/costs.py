"""What work costs on a model and on others: its tokens are known, or counted with each model's own tokenizer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.errors import InvalidInput, UnknownPrice
from tokenward.engine.pricing import Cost, CostCalculator
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.engine.usage import Tier, TokenUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateRequest:
    """Work to price: known usage, or a text or messages to be counted, with the output they may lead to.

    Attributes:
        model: Whose price is asked for.
        usage: Numbers of tokens that are known.
        text: A text that is the whole input.
        messages: Messages that are the input, with ``tools``, ``tool_choice`` and ``system``.
        output_tokens: The output, where a text or messages are counted.
        tier: How the work is served.
        compare: Other models, to be priced on the same work.
        at_us: The moment whose prices count, microseconds UTC; now if not given.
    """

    model: str
    usage: TokenUsage | None = None
    text: str | None = None
    messages: Sequence[JsonObject] | None = None
    tools: Sequence[JsonObject] | None = None
    tool_choice: JsonValue = None
    system: JsonValue = None
    output_tokens: int = 0
    tier: Tier = "standard"
    compare: Sequence[str] = ()
    at_us: int | None = None


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """A price.

    Attributes:
        cost: The price of the work.
        exact: The tokens were known or counted exactly, for this model.
        comparisons: The same work on other models.
        recounted: In a comparison: the input was counted with this model's own tokenizer. Numbers cannot be counted
            anew; they are taken as they are.
        token_ratio: In a comparison that was recounted: its input tokens by the first model's, to three decimals.
    """

    cost: Cost
    exact: bool
    comparisons: tuple["CostEstimate", ...] = ()
    recounted: bool = True
    token_ratio: str | None = None

    def compared(self, others: Iterable["CostEstimate"]) -> "CostEstimate":
        """This estimate with others beside it, and how many times its tokens theirs are."""
        first = self.cost.usage.input_tokens
        comparisons = (
            replace(one, token_ratio=_ratio(one.cost.usage.input_tokens, first) if one.recounted else None)
            for one in others
        )
        return replace(self, comparisons=tuple(comparisons))


class CostEstimator:
    """Prices work that may have to be counted first.

    Args:
        counter: Counts texts and messages.
        calculator: Prices tokens.
    """

    def __init__(self, counter: TokenCounter, calculator: CostCalculator) -> None:
        self._counter = counter
        self._calculator = calculator

    def estimate(self, request: EstimateRequest) -> CostEstimate:
        """What work costs on a model, and on others, each counted with its own tokenizer.

        Raises:
            InvalidInput: Not exactly one of usage, text and messages.
            UnknownPrice: No price is known; it is never taken for 0.
        """
        if sum(one is not None for one in (request.usage, request.text, request.messages)) != 1:
            raise InvalidInput("input_tokens", "give exactly one of input_tokens, text and messages.")
        comparisons = [self._compared(request, model) for model in request.compare]
        usage, exact = request.usage, True
        if usage is None:
            input_tokens, exact = self._input(request)
            usage = TokenUsage(input_tokens, request.output_tokens)
        cost = self._calculator.calculate_cost(usage, request.model, tier=request.tier, at_us=request.at_us)
        return CostEstimate(cost, exact).compared(comparisons)

    def _compared(self, request: EstimateRequest, model: str) -> CostEstimate:
        """The same work on another model. Numbers cannot be counted anew, so they are exact for their encoding only."""
        try:
            other = self.estimate(replace(request, model=model, compare=()))
        except UnknownPrice as error:
            raise InvalidInput("compare", str(error).partition(": ")[2]) from None
        resolve = self._counter.catalog.resolve
        if request.usage is None:
            return other
        one, two = resolve(request.model), resolve(model)
        same = (one.family, one.encoding) == (two.family, two.encoding) and two.known
        return replace(other, exact=same, recounted=False)

    def _input(self, request: EstimateRequest) -> tuple[int, bool]:
        if request.text is not None:
            counted = self._counter.count_tokens(request.text, request.model)
            return counted.token_count, counted.exact
        whole = count_messages(
            request.messages or [],
            request.model,
            counter=self._counter,
            tools=request.tools,
            tool_choice=request.tool_choice,
            system=request.system,
        )
        return whole.tokens, whole.exact


def _ratio(tokens: int, first: int) -> str | None:
    """To three decimals, rounded half up; ``None`` where there is nothing to compare with."""
    if not first:
        return None
    whole, thousandths = divmod((2_000 * tokens + first) // (2 * first), 1_000)
    return f"{whole}.{thousandths:03d}"
