"""Checks and completes the limits in engine/data/models.json with those of engine/data/second_prices.json.

What models.json states stays. What it does not know is taken from the list, by the rules below; where the two state
different things, the list's figure is printed, unless a decision is written down here.

    python -m scripts.make_models            # say what differs
    python -m scripts.make_models --write    # complete the file
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from tokenward.engine.datafiles import object_at, read_json, text_at
from tokenward.engine.types import JsonObject

FILE = Path(__file__).parents[1] / "engine" / "data" / "models.json"
Limits: TypeAlias = dict[str, int | None]

ALL_BUT = "context_window", "max_output_tokens"

RULES = (
    "a limit of output that the list gives as large as the input says nothing and is left out; the window of a model "
    "without one is that of its maker's models with the same input, else the list's input; an input below a known "
    "window is max_input_tokens where input and output fill the window, or the input is at least 95 % of it"
)

# Where the list and models.json contradict each other, or the list itself: what holds, and why.
DECIDED: dict[str, tuple[Limits, str]] = {
    "claude-2": ({"context_window": 100_000}, "litellm 1.60.2; the name also stands for 2.0, whose window it is"),
    "codestral-embed-2505": ({"context_window": 8_192}, "the list; 8000 was rounded"),
    "deepseek-chat": ({"context_window": 131_072, "max_output_tokens": 8_192}, "the list; 64000 was of V3's time"),
    "deepseek-reasoner": ({"context_window": 131_072, "max_output_tokens": 65_536}, "the list; 64000 was of R1's time"),
    "gpt-3.5-turbo-0613": ({"context_window": 4_096}, "litellm 1.60.2 (4097); 16385 is its 16k sister's"),
    "grok-2-1212": ({"context_window": 131_072}, "litellm 1.60.2; 32768 is the vision model's"),
    **{
        name: (
            {"context_window": 1_048_576, "max_output_tokens": 65_536},
            "the list; 1000000 was rounded",
        )
        for name in (
            "gemini-3-flash-preview",
            "gemini-3.1-flash-lite",
            "gemini-3.5-flash",
            "gemini-3.5-flash-lite",
            "gemini-3.6-flash",
            "gemini-3.7-flash",
            "gemini-3.8-flash",
        )
    },
}
KEPT = {
    "babbage-002": "max_output_tokens: OpenAI's model page",
    "codestral-2508": "genai-prices says 256000, the list 128000; not settled",
    "codestral-latest": "as codestral-2508",
    "davinci-002": "max_output_tokens: OpenAI's model page",
    "deepseek-r1": "the list's are the maker's API of 2025; the name mostly stands for open weights elsewhere",
    "deepseek-v3": "as deepseek-r1",
    "deepseek-v3.2": "the list's is the weights' position limit, the maker's API has 128000",
    "gpt-3.5-turbo-instruct": "OpenAI's model page",
    "gpt-4": "max_output_tokens: OpenAI's model page",
    "gpt-4-0613": "max_output_tokens: OpenAI's model page",
    "llama-3.3-70b-instruct": "the list's is one host's",
    "mistral-tiny": "the list repeats a default of its own as the limit of output",
    "qwen-max": "the list's is of the oldest release",
    "qwen-plus": "the list's are of the oldest release, and differ by release",
    "qwen-turbo": "the list's differ by release",
    "text-embedding-3-large": "OpenAI's model page; the list has one token less",
    "text-embedding-3-small": "as text-embedding-3-large",
    "text-embedding-ada-002": "as text-embedding-3-large",
}


def listed() -> dict[str, Limits]:
    """The list's limits by the catalog's names. Moving names (``-latest``) do not stand for what they move to."""
    found: dict[str, Limits] = {}
    for written, entry in object_at(read_json("second_prices.json"), "models").items():
        if not isinstance(entry, dict):
            continue
        name = text_at(entry, "name") if "name" in entry else written
        if name == written or (not written.endswith("-latest") and name not in found):
            largest, longest = entry.get("max_input_tokens"), entry.get("max_output_tokens")
            found[name] = {
                "input": largest if isinstance(largest, int) else None,
                "output": longest if isinstance(longest, int) and longest != largest else None,
            }
    return found


def completed(name: str, ours: Mapping[str, int | None], theirs: Limits, windows: Mapping[int, int]) -> Limits:
    """A model's limits, with what the list adds."""
    decided = DECIDED[name][0] if name in DECIDED else {}
    window, longest = ours["context_window"], ours["max_output_tokens"]
    known_window, known_output = decided.get("context_window", window), decided.get("max_output_tokens", longest)
    if name in KEPT or not theirs:
        return {"context_window": known_window, "max_output_tokens": known_output}
    largest = theirs["input"]
    limits: Limits = {
        "context_window": known_window or (windows.get(largest, largest) if largest else None),
        "max_output_tokens": known_output or theirs["output"],
    }
    window, longest = limits["context_window"], limits["max_output_tokens"]
    if window and largest and largest < window and (largest + (longest or 0) == window or largest >= 0.95 * window):
        limits["max_input_tokens"] = largest
    return limits


def contradictions(name: str, limits: Limits, theirs: Limits) -> Iterator[str]:
    """Where the list still says something else, and nothing was decided."""
    if name in DECIDED or name in KEPT:
        return
    ours = limits.get("max_input_tokens") or limits["context_window"]
    if theirs.get("input") not in (None, ours):
        yield f"{name}: input {ours}, the list {theirs['input']}"
    if theirs.get("output") not in (None, limits["max_output_tokens"]):
        yield f"{name}: output {limits['max_output_tokens']}, the list {theirs['output']}"


def rewritten(document: JsonObject) -> tuple[str, list[str]]:
    """The whole file anew, and what is contradictory."""
    theirs, models, families = listed(), object_at(document, "models"), object_at(document, "families")
    known = {name: {key: _limit(object_at(models, name), key) for key in ALL_BUT} for name in models}
    windows = {
        provider: {
            largest: window
            for name in known
            if _provider(name, families) == provider
            and (largest := theirs.get(name, {}).get("input"))
            and (window := known[name]["context_window"])
            and largest + (known[name]["max_output_tokens"] or 0) == window
        }
        for provider in {_provider(name, families) for name in known}
    }
    limits = {
        name: completed(name, known[name], theirs.get(name, {}), windows[_provider(name, families)]) for name in known
    }
    said = [line for name in known for line in contradictions(name, limits[name], theirs.get(name, {}))]
    second = object_at(read_json("second_prices.json"), "source")
    decided: JsonObject = {name: reason for name, (_, reason) in sorted(DECIDED.items())}
    kept: JsonObject = {**dict(sorted(KEPT.items()))}
    source: JsonObject = {
        **object_at(document, "source"),
        "limits": f"checked and completed by scripts/make_models.py with {text_at(second, 'package')} "
        f"{text_at(second, 'version')} of {text_at(second, 'released')}: {RULES}",
        "limits decided": decided,
        "limits kept": kept,
    }
    return _text({**document, "source": source, "models": {name: {**limits[name]} for name in models}}), said


def _limit(model: JsonObject, key: str) -> int | None:
    value = model.get(key)
    return value if isinstance(value, int) else None


def _provider(name: str, families: JsonObject) -> str:
    prefix = max((prefix for prefix in families if name.startswith(prefix)), key=len, default="")
    return text_at(object_at(families, prefix), "provider") if prefix else ""


def _text(document: JsonObject) -> str:
    """One line per source, alias, family and model."""
    parts: list[str] = []
    for key, value in document.items():
        if isinstance(value, dict):
            rows = ",\n".join(
                f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(one, ensure_ascii=False)}"
                for name, one in value.items()
            )
            parts.append(f" {json.dumps(key)}: {{\n{rows}\n }}")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the file")
    options = parser.parse_args()
    text, said = rewritten(read_json(FILE.name))
    print("\n".join(said) or "Nothing is contradictory that is not decided.")
    if options.write:
        FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
