"""What the providers document of a message list, written down a second time: slowly, on raw JSON, and on its own.

Nothing of the package is used here. Each function says whether the provider would accept a list of its format. A call
without a result is accepted at the very end, where its result is still to come.
"""

from collections import Counter
from itertools import pairwise
from typing import Any, Final, TypeAlias

Json: TypeAlias = Any


def openai(messages: list[Json]) -> bool:
    """Chat completions: every tool message follows its assistant message, every call has one before anything else."""
    for index, message in enumerate(messages):
        if message["role"] == "assistant" and not (message.get("content") or message.get("tool_calls")):
            return False
        if message["role"] == "tool":
            asker = index
            while asker >= 0 and messages[asker]["role"] == "tool":
                asker -= 1
            between = messages[asker + 1 : index]
            if message["tool_call_id"] in [one["tool_call_id"] for one in between]:
                return False
            if asker < 0 or message["tool_call_id"] not in [one["id"] for one in messages[asker].get("tool_calls", [])]:
                return False
        if message.get("tool_calls"):
            ids = [one["id"] for one in message["tool_calls"]]
            end = index + 1
            while end < len(messages) and messages[end]["role"] == "tool":
                end += 1
            answered = {one["tool_call_id"] for one in messages[index + 1 : end]}
            if len(set(ids)) != len(ids) or (end < len(messages) and not answered >= set(ids)):
                return False
    return True


def openai_responses(items: list[Json]) -> bool:
    """Responses: outputs behind their calls, calls with outputs, reasoning with what it led to."""
    kinds = [one.get("type", "message") for one in items]
    for index, item in enumerate(items):
        before, behind = items[:index], items[index + 1 :]
        if kinds[index] == "function_call_output" and not _of(before, "function_call", item["call_id"]):
            return False
        if kinds[index] == "mcp_approval_response" and item["approval_request_id"] not in [
            one.get("id") for one in before if one.get("type") == "mcp_approval_request"
        ]:
            return False
        is_open = kinds[index] == "function_call" and not _of(behind, "function_call_output", item["call_id"])
        if is_open and not _one_batch(behind):
            return False
        if kinds[index] == "reasoning":
            following = behind[0] if behind else {"role": "user"}
            if following.get("role", "assistant") != "assistant" or following.get("type") in _ANSWERS:
                return False
    return True


_ANSWERS: Final = ("function_call_output", "mcp_approval_response")


def _of(items: list[Json], kind: str, call_id: str) -> bool:
    return any(one.get("type") == kind and one["call_id"] == call_id for one in items)


def _one_batch(behind: list[Json]) -> bool:
    """Whether what follows an open call belongs to the same answer of the model, and to the results of its calls."""
    is_output = [one.get("type") in _ANSWERS for one in behind]
    told = any(one.get("role", "assistant") != "assistant" for one in behind)
    return not told and (True, False) not in pairwise(is_output)


def anthropic(messages: list[Json]) -> bool:
    """Messages: turns alternate from the user's on, results first, one for every tool use, nothing empty."""
    turns: list[tuple[str, list[Json]]] = []
    for position, message in enumerate(messages):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        is_prefill = position == len(messages) - 1 and message["role"] == "assistant"
        if not is_prefill and (not blocks or any(one["type"] == "text" and not one["text"].strip() for one in blocks)):
            return False
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(blocks)
        else:
            turns.append((message["role"], list(blocks)))
    if turns[0][0] != "user":
        return False
    for index, (role, blocks) in enumerate(turns):
        asked = _ids(turns[index - 1][1], "tool_use", "id") if index else []
        is_last = index == len(turns) - 1
        if not (_users_turn(blocks, asked, is_last) if role == "user" else _assistants_turn(blocks, is_last)):
            return False
    made = _ids([block for _, blocks in turns for block in blocks], "tool_use", "id")
    return len(set(made)) == len(made) and _thinks_first(messages)


def _ids(blocks: list[Json], kind: str, key: str) -> list[str]:
    return [one[key] for one in blocks if one["type"] == kind]


def _users_turn(blocks: list[Json], asked: list[str], is_last: bool) -> bool:
    kinds = [one["type"] for one in blocks]
    answered = _ids(blocks, "tool_result", "tool_use_id")
    if {"tool_use", "thinking", "redacted_thinking"} & set(kinds) or len(set(answered)) != len(answered):
        return False
    if set(answered) - set(asked) or kinds[: len(answered)] != ["tool_result"] * len(answered):
        return False
    return set(answered) == set(asked) or (is_last and len(answered) == len(kinds))


def _assistants_turn(blocks: list[Json], is_last: bool) -> bool:
    kinds = [one["type"] for one in blocks]
    if "tool_result" in kinds or kinds[-1:] in (["thinking"], ["redacted_thinking"]):
        return False
    if any(one["type"] == "thinking" and not one.get("signature") for one in blocks):
        return False
    return not (is_last and kinds[-1:] == ["text"] and blocks[-1]["text"] != blocks[-1]["text"].rstrip())


def _thinks_first(messages: list[Json]) -> bool:
    said: list[Json] = [one["content"] for one in messages if one["role"] == "assistant"]
    last: list[Json] = said[-1] if said and not isinstance(said[-1], str) else []
    kinds: list[str] = [one["type"] for one in last]
    led = [kind for kind in kinds if kind in {"thinking", "redacted_thinking", "tool_use"}]
    return not set(led) & {"thinking", "redacted_thinking"} or led[0] != "tool_use"


def gemini(contents: list[Json]) -> bool:
    """GenerateContent: the user first, calls behind the user's side, as many responses as calls right behind them."""
    if contents[0].get("role", "user") == "model":
        return False
    for index, content in enumerate(contents):
        calls, responses = (_names(content, *keys) for keys in _KEYS)
        if not content["parts"] or (calls and content["role"] != "model") or (responses and content["role"] == "model"):
            return False
        asked = _names(contents[index - 1], *_KEYS[0]) if index else Counter[str]()
        missing = asked - responses
        is_last = index == len(contents) - 1
        if responses - asked or (missing and not (is_last and len(content["parts"]) == responses.total() > 0)):
            return False
        if calls and contents[index - 1].get("role") == "model":
            return False
    return True


_KEYS: Final = (("functionCall", "function_call"), ("functionResponse", "function_response"))


def _names(content: Json, camel: str, snake: str) -> "Counter[str]":
    return Counter(one[key]["name"] for one in content["parts"] for key in (camel, snake) if key in one)


ORACLES: Final = {"openai": openai, "openai_responses": openai_responses, "anthropic": anthropic, "gemini": gemini}
