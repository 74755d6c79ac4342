"""What became of a trimmed conversation, by OpenAI's rules for chat completions.

This is written apart from tokenward's own validator and shares no code with it, so that each can show the other wrong.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tokenward.engine.types import JsonObject, JsonValue


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a result.

    Attributes:
        orphans: Tool messages without their call directly before them.
        unanswered: Calls without a result directly behind them, although the original has it.
        empty: No message is left.
        disordered: Messages changed places, or are there twice.
        added: Messages that come from no message of the original.
        changed: Messages with another text or other calls than in the original.
        system_lost: The first instructions are not in it any more.
        task_lost: Nor is the user's first message.
        end_lost: Nor is the last message.
        only_system: Nothing is left beside instructions.
    """

    orphans: int
    unanswered: int
    empty: bool
    disordered: bool
    added: int
    changed: int
    system_lost: bool
    task_lost: bool
    end_lost: bool
    only_system: bool

    @property
    def refused(self) -> bool:
        """Whether OpenAI answers it with an error."""
        return bool(self.orphans or self.unanswered or self.empty)


def judge(original: Sequence[JsonObject], result: Sequence[JsonObject]) -> Verdict:
    """Compare a result with the conversation it was made from."""
    places = {_key(message): place for place, message in enumerate(original)}
    found = [places.get(_key(message)) for message in result]
    known = [place for place in found if place is not None]
    orphans, open_calls = _broken_calls(result)
    changed = [
        message
        for message, place in zip(result, found, strict=True)
        if place is not None and _substance(message) != _substance(original[place])
    ]
    return Verdict(
        orphans=orphans,
        unanswered=len(open_calls - _broken_calls(original)[1]),
        empty=not result,
        disordered=any(later <= earlier for earlier, later in pairwise(known)),
        added=found.count(None),
        changed=len(changed),
        system_lost=_is_system(original[0]) and not _has_text(result, _text(original[0])),
        task_lost=next(place for place, message in enumerate(original) if message["role"] == "user") not in known,
        end_lost=len(original) - 1 not in known,
        only_system=all(_is_system(message) for message in result),
    )


def _broken_calls(messages: Sequence[JsonObject]) -> tuple[int, set[str]]:
    """How many tool messages are orphans, and which calls have no answer directly behind them."""
    orphans = 0
    unanswered: set[str] = set()
    waiting: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            call = str(message.get("tool_call_id"))
            orphans += call not in waiting
            waiting.discard(call)
        else:
            unanswered |= waiting
            waiting = set(_call_ids(message))
    return orphans, unanswered | waiting


def _calls(message: JsonObject) -> list[dict[str, JsonValue]]:
    calls = message.get("tool_calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _call_ids(message: JsonObject) -> list[str]:
    return [str(call["id"]) for call in _calls(message)]


def _text(message: JsonObject) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _key(message: JsonObject) -> str:
    """What a message is known by though its text is cut: the call it answers or makes, or how its text begins."""
    if message["role"] == "tool":
        return f"result of {message.get('tool_call_id')}"
    calls = _call_ids(message)
    return f"call of {calls[0]}" if calls else _text(message)[:8]


def _substance(message: JsonObject) -> tuple[object, ...]:
    """All that counts, whichever way it is written."""
    calls: list[tuple[object, ...]] = []
    for call in _calls(message):
        function = call["function"]
        if isinstance(function, dict):
            calls.append((call["id"], function["name"], json.loads(str(function["arguments"]))))
    return _is_system(message) or message["role"], _text(message), calls


def _is_system(message: JsonObject) -> bool:
    return message["role"] in ("system", "developer")


def _has_text(messages: Sequence[JsonObject], text: str) -> bool:
    return any(_is_system(message) and text in _text(message) for message in messages)
