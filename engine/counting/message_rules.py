"""What providers add to the text of messages, from ``data/message_overheads.json``."""

from dataclasses import dataclass
from functools import cache

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.counting.amounts import Amount, exactly, longest_prefix, within
from tokenward.engine.datafiles import integers, object_at, read_json
from tokenward.engine.errors import CorruptData
from tokenward.engine.types import JsonObject, JsonValue

_FILE = "message_overheads.json"


@dataclass(frozen=True, slots=True)
class OpenAIRule:
    """Tokens that an OpenAI model's messages have beside their text.

    Attributes:
        message: Per message.
        name: Per participant's name.
        reply: Per request, for the start of the reply.
        slack: How far one message's overhead can be off; 0 where reported counts agree.
        tools_slack: How far the tool definitions can be off; 0 where reported counts agree.
    """

    message: int
    name: int
    reply: int
    slack: int
    tools_slack: int


@dataclass(frozen=True, slots=True)
class OpenAIToolRule:
    """Tokens that calls, results and definitions of tools have beside their text, for OpenAI's models."""

    definitions: int
    beside_system: int
    choice_none: int
    choice_tool: int
    choice_function: int
    call: int
    function_role: int
    call_slack: int
    result_slack: int
    parallel_calls: int
    parallel_call: int
    parallel_slack: int


@dataclass(frozen=True, slots=True)
class EstimateRule:
    """What a provider that publishes no rule adds, as estimates.

    ``alone`` is what a single user message of text has around it in all, where that is known.
    """

    request: Amount
    message: Amount
    system: Amount
    tool: Amount
    tool_call: Amount
    tool_result: Amount
    tool_prompt: Amount
    alone: Amount | None


def openai_rule(model: str) -> OpenAIRule:
    """The rule of an OpenAI model, by its bare name."""
    models = object_at(object_at(_document(), "openai"), "models")
    return OpenAIRule(**integers(longest_prefix(model, {name: _object(rule) for name, rule in models.items()})))


def openai_tool_rule() -> OpenAIToolRule:
    """The rule for tools of OpenAI's models."""
    return OpenAIToolRule(**integers(object_at(object_at(_document(), "openai"), "tools")))


def estimate_rule(info: ModelInfo) -> EstimateRule:
    """The estimated rule of another provider's model."""
    names: dict[str | None, str] = {"anthropic": "claude", "google": "gemini"}
    rule = object_at(_document(), names.get(info.provider, "other"))
    keys = ("message", "system", "tool", "tool_call", "tool_result")
    amounts = {key: _amount(rule.get(key)) for key in keys}
    alone = integers(object_at(rule, "alone")).get(info.family)
    return EstimateRule(
        **amounts,
        request=_amount(longest_prefix(info.family, object_at(rule, "request"))),
        tool_prompt=_amount(longest_prefix(info.name, object_at(rule, "tool_prompt"))),
        alone=None if alone is None else exactly(alone),
    )


@cache
def _document() -> JsonObject:
    return read_json(_FILE)


def _object(value: JsonValue) -> JsonObject:
    if isinstance(value, dict):
        return value
    raise CorruptData(_FILE)


def _amount(value: JsonValue) -> Amount:
    if isinstance(value, list):
        numbers = [number for number in value if isinstance(number, int)]
        if len(numbers) == len(value) == 3:
            return within(*numbers)
    raise CorruptData(_FILE)
