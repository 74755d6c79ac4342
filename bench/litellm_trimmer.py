"""LiteLLM's ``trim_messages``, run by the Python of an environment that has LiteLLM and nothing of ours.

A line of standard input is a JSON object with ``model``, ``messages`` and ``max_tokens``; the answer to it is a line
with ``seconds``, the ``messages`` that are left, and the ``tokens`` that LiteLLM itself counts in them. The first line
printed is LiteLLM's version.
"""

import json
import sys
import time
from importlib import import_module
from importlib.metadata import version


def main() -> None:
    litellm = import_module("litellm")
    trim_messages = import_module("litellm.utils").trim_messages
    print(version("litellm"), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        start = time.perf_counter()
        kept = trim_messages(question["messages"], model=question["model"], max_tokens=question["max_tokens"])
        seconds = time.perf_counter() - start
        tokens = litellm.token_counter(model=question["model"], messages=kept)
        print(json.dumps({"seconds": seconds, "messages": kept, "tokens": tokens}), flush=True)


main()
