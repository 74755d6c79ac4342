"""LiteLLM's ``token_counter``, run by the Python of an environment that has LiteLLM and nothing of ours.

A line of standard input is a JSON list of requests, each an object with ``model``, ``messages`` and ``tools``; the
answer to it is a line with a JSON object: ``seconds`` for all of them, and the ``tokens`` of the last. The first line
printed is LiteLLM's version.
"""

import json
import sys
import time
from importlib import import_module
from importlib.metadata import version


def main() -> None:
    count = import_module("litellm").token_counter
    print(version("litellm"), flush=True)
    for line in sys.stdin:
        requests = json.loads(line)
        tokens = 0
        start = time.perf_counter()
        for request in requests:
            tokens = count(**request)
        print(json.dumps({"seconds": time.perf_counter() - start, "tokens": tokens}), flush=True)


main()
