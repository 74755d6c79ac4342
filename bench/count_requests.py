"""Counting whole requests, against LiteLLM's ``token_counter`` on the same messages and tools.

A request has a system text of 2,000 characters, ten turns of a user's 300 and an assistant's 600, and three tools.
`new`: no text of it was counted before. `grown`: a conversation that gets longer by one turn each time, as an agent's
does, so that all but the last turn was counted before. `same`: the very requests were counted before, as when a request
is counted, checked against a quota and priced. LiteLLM runs in a process of its own, in turns with ours.
"""

import time

from bench.count_speed import has_fast
from bench.peers import LITELLM, Peer, started
from bench.places import MissingError
from bench.texts import Texts
from bench.timing import compare, print_table
from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.tokenizers.base import TokenizerOptions
from tokenward.engine.types import JsonObject

MODEL = "gpt-4o"
REQUESTS = 20
TURNS = 10


def tool(name: str, description: str, **properties: str) -> JsonObject:
    """A function's definition, with string parameters."""
    parameters: JsonObject = {key: {"type": "string", "description": value} for key, value in properties.items()}
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": parameters, "required": [*properties]},
        },
    }


TOOLS = [
    tool("search", "Find documents that answer a question.", query="What to look for.", language="Two letters."),
    tool("read_file", "Read a file of the project.", path="Relative to its root."),
    tool("run_tests", "Run the tests of one folder.", folder="The folder.", pattern="Which of them.", mark="A mark."),
]


def turn(texts: Texts) -> list[JsonObject]:
    """A question and its answer."""
    return [{"role": "user", "content": texts.new(300)}, {"role": "assistant", "content": texts.new(600)}]


def new_request(texts: Texts) -> list[JsonObject]:
    """The messages of a request with texts of its own."""
    return [{"role": "system", "content": texts.new(2_000)}, *(each for _ in range(TURNS) for each in turn(texts))]


def grown_requests(texts: Texts) -> list[list[JsonObject]]:
    """A conversation after each of its turns."""
    messages = new_request(texts)
    requests: list[list[JsonObject]] = []
    for _ in range(REQUESTS):
        messages = [*messages, *turn(texts)]
        requests.append(messages)
    return requests


def measure(*, quick: bool) -> None:
    """Print the table, or why there is none."""
    try:
        with started(LITELLM, "litellm_counter.py") as theirs:
            _measure(theirs, rounds=5 if quick else 21)
    except MissingError as error:
        print(f"\nNot measured: {error}")


def _measure(theirs: Peer, rounds: int) -> None:
    rows: list[tuple[str, ...]] = [("requests", "LiteLLM", "tokenward", "speed", "quartiles", "tokens", "theirs")]
    cores = [("tiktoken", False), *([("toktok", True)] if has_fast("o200k_base") else [])]
    for core, fast in cores:
        kinds = ("new", "grown", "same")
        rows += [(f"{name}, {core}", *_row(theirs, rounds, fast=fast, kind=name)) for name in kinds]
    print_table(f"count_messages for {MODEL} against token_counter of LiteLLM {theirs.version}, per request", rows)


def _row(theirs: Peer, rounds: int, *, fast: bool, kind: str) -> tuple[str, ...]:
    grown = kind == "grown"
    texts = Texts()
    counter = TokenCounter(cache_size=10_000, options=TokenizerOptions(fast=fast))
    given: list[list[JsonObject]] = []
    counts: dict[str, int] = {}

    def by_litellm() -> float:
        # Both count the same requests: whoever comes first in a pair makes them, and the other takes them.
        requests = _taken(given, texts, grown=grown)
        answer = theirs.ask([{"model": MODEL, "messages": messages, "tools": TOOLS} for messages in requests])
        counts["theirs"] = int(str(answer["tokens"]))
        return float(str(answer["seconds"])) / REQUESTS

    def by_us() -> float:
        requests = _taken(given, texts, grown=grown)
        before = {"new": [], "grown": [requests[0][:-2]], "same": requests}[kind]
        for messages in before:
            count_messages(messages, MODEL, counter=counter, tools=TOOLS)
        start = time.perf_counter()
        for messages in requests:
            counts["ours"] = count_messages(messages, MODEL, counter=counter, tools=TOOLS).tokens
        return (time.perf_counter() - start) / len(requests)

    found = compare(by_litellm, by_us, pairs=rounds)
    return (
        f"{found.left * 1e3:.2f} ms",
        f"{found.right * 1e3:.3f} ms",
        *found.ratio_cells,
        f"{counts['ours']:,}",
        f"{counts['theirs']:,}",
    )


def _taken(given: list[list[JsonObject]], texts: Texts, *, grown: bool) -> list[list[JsonObject]]:
    if given:
        taken = list(given)
        given.clear()
        return taken
    given[:] = grown_requests(texts) if grown else [new_request(texts) for _ in range(REQUESTS)]
    return list(given)
