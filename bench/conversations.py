"""Conversations in the format of OpenAI's chat completions, which all that trim histories take.

They are made from a seed, every text of them is new to every cache, and OpenAI would accept each.
"""

import json
import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from bench.texts import Texts
from tokenward.engine.types import JsonObject

_TOOLS: Final = ("search", "read_file", "run_tests", "list_folder")


class Writer:
    """Writes messages.

    Args:
        seed: Of all that is left to chance.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._texts = Texts(seed)
        self._calls = 0

    def text(self, shortest: int, longest: int) -> str:
        """A new text; short ones are more frequent, as in real conversations."""
        length = round(shortest * (longest / shortest) ** self.chance.random())
        # LangChain's counter refuses texts with the names of special tokens.
        return self._texts.new(length).replace("<|", "< ")

    def system(self, role: str = "system") -> JsonObject:
        """Instructions."""
        return {"role": role, "content": self.text(300, 3_000)}

    def user(self) -> JsonObject:
        """A question."""
        return {"role": "user", "content": self.text(40, 1_500)}

    def user_in_parts(self) -> JsonObject:
        """A question with a quotation: two text parts."""
        parts = [self.text(40, 400), self.text(200, 1_500)]
        return {"role": "user", "content": [{"type": "text", "text": part} for part in parts]}

    def assistant(self) -> JsonObject:
        """An answer."""
        return {"role": "assistant", "content": self.text(100, 2_500)}

    def calls(
        self, number: int, longest: int, *, answered: int | None = None, silent: bool | None = None
    ) -> list[JsonObject]:
        """An assistant message that calls tools in parallel, and their results.

        Args:
            number: Of calls.
            longest: Characters of a result.
            answered: How many calls have their result already; all of them by default.
            silent: Whether the message has no text; by chance by default.
        """
        ids = [f"call_{self._calls + each:06d}" for each in range(number)]
        self._calls += number
        says_nothing = self.chance.random() < 0.5 if silent is None else silent
        asking: JsonObject = {
            "role": "assistant",
            "content": None if says_nothing else self.text(30, 300),
            "tool_calls": [
                {
                    "id": each,
                    "type": "function",
                    "function": {
                        "name": self.chance.choice(_TOOLS),
                        "arguments": json.dumps({"query": self.text(20, 200)}),
                    },
                }
                for each in ids
            ],
        }
        results: list[JsonObject] = [
            {"role": "tool", "tool_call_id": each, "content": self.text(100, longest)} for each in ids[:answered]
        ]
        return [asking, *results]

    def some_calls(self, longest: int) -> list[JsonObject]:
        """One to four calls with their results."""
        return self.calls(self.chance.choice((1, 1, 2, 3, 4)), longest)


def chat(writer: Writer, size: int) -> list[JsonObject]:
    """Instructions, then questions and answers; the last question is open."""
    return [writer.system(), *_turns(writer, size - 2), writer.user()]


def chat_without_system(writer: Writer, size: int) -> list[JsonObject]:
    """Questions and answers alone."""
    return [*_turns(writer, size - 1), writer.user()]


def chat_in_parts(writer: Writer, size: int) -> list[JsonObject]:
    """The user's messages have text parts."""
    found = [writer.system()]
    while len(found) < size - 1:
        found += [writer.user_in_parts(), writer.assistant()]
    return [*found, writer.user_in_parts()]


def instructed(writer: Writer, size: int) -> list[JsonObject]:
    """A developer message first, and further instructions between the turns."""
    found = [writer.system("developer")]
    while len(found) < size - 1:
        found += _turns(writer, 8)
        found.append(writer.system(writer.chance.choice(("system", "developer"))))
    return [*found, writer.user()]


def assistant_with_tools(writer: Writer, size: int) -> list[JsonObject]:
    """Most questions are answered after parallel calls; the last question is open."""
    found = [writer.system()]
    while len(found) < size - 1:
        found.append(writer.user())
        if writer.chance.random() < 0.75:
            found += writer.some_calls(3_000)
        found.append(writer.assistant())
    return [*found, writer.user()]


def agent(writer: Writer, size: int) -> list[JsonObject]:
    """One task, then call after call with long results; the last results are just in."""
    found = [writer.system(), writer.user()]
    while len(found) < size:
        found += writer.some_calls(12_000)
    return found


def agent_in_flight(writer: Writer, size: int) -> list[JsonObject]:
    """The same, but some or all results of the last calls are still to come."""
    return [*agent(writer, size - 3), *writer.calls(3, 3_000, answered=writer.chance.choice((0, 1, 2)))]


def sessions(writer: Writer, size: int) -> list[JsonObject]:
    """Several tasks one after the other, each with calls, a report, and a short exchange."""
    found = [writer.system()]
    while len(found) < size - 1:
        found.append(writer.user())
        for _ in range(writer.chance.randint(2, 8)):
            found += writer.some_calls(8_000)
        found += [writer.assistant(), *_turns(writer, 2)]
    return [*found, writer.user(), *writer.some_calls(8_000)]


def talking_agent(writer: Writer, size: int) -> list[JsonObject]:
    """Calls one by one, and every message has a text: what LiteLLM can trim."""
    found = [writer.system(), writer.user()]
    while len(found) < size:
        found += writer.calls(1, 3_000, silent=False)
    return found


def _turns(writer: Writer, size: int) -> list[JsonObject]:
    found: list[JsonObject] = []
    while len(found) < size:
        found += [writer.user(), writer.assistant()]
    return found


Shape = Callable[[Writer, int], list[JsonObject]]
"""Writes a conversation of about so many messages."""

SHAPES: Final[Mapping[str, Shape]] = MappingProxyType(
    {
        "chat": chat,
        "chat without a system message": chat_without_system,
        "chat in parts": chat_in_parts,
        "instructions in between": instructed,
        "assistant with tools": assistant_with_tools,
        "agent": agent,
        "agent, calls in flight": agent_in_flight,
        "agent that comments each call": talking_agent,
        "several tasks": sessions,
    }
)
