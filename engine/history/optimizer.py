"""`TokenOptimizer`: truncation and compression with one counter."""

from collections.abc import Sequence
from typing import Literal

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.history.compress import CompressionResult, compress_messages
from tokenward.engine.history.summaries import Summarizer
from tokenward.engine.history.truncate import TruncationResult, truncate_history
from tokenward.engine.messages.view import Format
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.types import JsonObject, JsonValue


class TokenOptimizer:
    """Makes histories smaller; the functions of this package, bound to a counter.

    Args:
        counter: Counts the tokens.
        calculator: Prices what a truncation loses of the prompt cache; without one that is not known.
        plugins: Whether strategies of other packages may be used.
    """

    def __init__(
        self, counter: TokenCounter, calculator: CostCalculator | None = None, *, plugins: bool = True
    ) -> None:
        self._counter = counter
        self._calculator = calculator
        self._plugins = plugins

    def truncate_history(
        self,
        messages: Sequence[JsonObject],
        max_tokens: int,
        model: str,
        *,
        strategy: str = "smart",
        format: Format | Literal["auto"] = "auto",  # noqa: A002 - the tool's argument has this name
        tools: Sequence[JsonObject] | None = None,
        system: JsonValue = None,
        keep_last: int = 1,
        pin: Sequence[int] = (),
        placeholder: bool = True,
        keep_prefix: bool = False,
    ) -> TruncationResult:
        """See `tokenward.engine.history.truncate_history`."""
        return truncate_history(
            messages,
            max_tokens,
            model,
            counter=self._counter,
            strategy=strategy,
            format=format,
            tools=tools,
            system=system,
            keep_last=keep_last,
            pin=pin,
            placeholder=placeholder,
            keep_prefix=keep_prefix,
            calculator=self._calculator,
            plugins=self._plugins,
        )

    def compress_messages(
        self,
        messages: Sequence[JsonObject],
        model: str,
        *,
        target_reduction: float = 0.2,
        format: Format | Literal["auto"] = "auto",  # noqa: A002 - the tool's argument has this name
        summarizer: Summarizer | None = None,
    ) -> CompressionResult:
        """See `tokenward.engine.history.compress_messages`."""
        return compress_messages(
            messages,
            model,
            counter=self._counter,
            target_reduction=target_reduction,
            format=format,
            summarizer=summarizer,
        )
