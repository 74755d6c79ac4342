"""LangChain's ``trim_messages``, run by the Python of an environment that has LangChain and nothing of ours.

A line of standard input is a JSON object with ``model``, ``messages``, ``max_tokens`` and ``way``, one of `WAYS` below;
the answer to it is a line with ``seconds``, the ``messages`` that are left, and the ``tokens`` that ``ChatOpenAI``
counts in them. The first line printed is the versions. Messages become LangChain's before the clock starts, and
OpenAI's again after it stopped.
"""

import json
import sys
import time
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Protocol

DOCUMENTED: dict[str, object] = {
    "strategy": "last",
    "start_on": "human",
    "end_on": ("human", "tool"),
    "include_system": True,
}
"""What LangChain's documentation recommends, so that models accept the result."""
WAYS: dict[str, tuple[dict[str, object], bool]] = {
    "defaults": ({}, True),
    "documented": (DOCUMENTED, True),
    "approximate": (DOCUMENTED, False),
}
"""Arguments, and whether ``ChatOpenAI`` counts; else ``approximate`` does, which is recommended for speed."""


class Chat(Protocol):
    """``ChatOpenAI``."""

    def get_num_tokens_from_messages(self, messages: object) -> int:
        """Count by tiktoken and OpenAI's cookbook."""
        ...


@cache
def chat(model: str) -> Chat:
    """The model; it is never called."""
    made: Chat = import_module("langchain_openai").ChatOpenAI(model=model, api_key="none")
    return made


def main() -> None:
    messages_module = import_module("langchain_core.messages")
    print(f"{version('langchain-core')} (langchain-openai {version('langchain-openai')})", flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        arguments, exact = WAYS[question["way"]]
        model = chat(question["model"])
        messages = messages_module.convert_to_messages(question["messages"])
        start = time.perf_counter()
        kept = messages_module.trim_messages(
            messages,
            max_tokens=question["max_tokens"],
            token_counter=model if exact else "approximate",
            **arguments,
        )
        seconds = time.perf_counter() - start
        answer = {
            "seconds": seconds,
            "messages": messages_module.convert_to_openai_messages(kept),
            "tokens": model.get_num_tokens_from_messages(kept),
        }
        print(json.dumps(answer), flush=True)


main()
