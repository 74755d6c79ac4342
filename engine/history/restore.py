"""The way back from a truncated history."""

from tokenward.engine.history.truncate import TruncationResult
from tokenward.engine.types import JsonObject


def restore(result: TruncationResult) -> list[JsonObject]:
    """The history as it was before a truncation: the very objects that were given, in their order.

    It undoes one truncation. If a truncated history was truncated again, restore the second result, then the first.

    Args:
        result: What `truncate_history` gave back.
    """
    dropped = frozenset(result.dropped)
    left = iter([message for index, message in enumerate(result.messages) if index != result.placeholder])
    restored: list[JsonObject] = []
    for index in range(len(result.dropped) + len(result.messages) - (result.placeholder is not None)):
        kept = None if index in dropped else next(left)
        restored.append(result.originals[index] if kept is None else result.originals.get(index, kept))
    return restored
