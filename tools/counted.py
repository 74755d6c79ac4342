"""What every count answers: the number, how far it can be trusted, and how it stands to the context window."""

from tokenward.engine.tokenizers.base import Method
from tokenward.tools.definition import Result


class Counted(Result):
    """The truth lies between ``lower`` and ``upper``. The window's fields are null when no window is known."""

    tokens: int
    lower: int
    upper: int
    exact: bool
    method: Method
    model: str
    encoding: str
    context_window: int | None
    context_used_percent: float | None
    remaining_tokens: int | None
    fits: bool | None


class WindowFit(Result):
    """The window's fields."""

    context_window: int | None = None
    context_used_percent: float | None = None
    remaining_tokens: int | None = None
    fits: bool | None = None


def window_fit(tokens: int, upper: int, window: int | None) -> WindowFit:
    """How tokens stand to a window. They fit only if their upper bound fits."""
    if window is None:
        return WindowFit()
    return WindowFit(
        context_window=window,
        context_used_percent=round(tokens * 100 / window, 2),
        remaining_tokens=max(0, window - tokens),
        fits=upper <= window,
    )
