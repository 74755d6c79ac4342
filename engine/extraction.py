"""Token usage out of a provider's response, brought to one convention.

Providers disagree on what contains what: Anthropic and Bedrock report cache reads and writes beside the input, Gemini
reports thoughts beside the candidates, xAI reports reasoning beside the completion. The field paths come from
``genai-prices``; which provider's they are is told by the response's own shape.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenward.engine.catalog import Catalog
from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.engine.usage import Tier, TokenUsage

if TYPE_CHECKING:
    from genai_prices.types import Usage

_WRAPPERS = ("response", "message")
"""Where stream events keep the response: OpenAI's ``response.completed`` and Anthropic's ``message_start``."""

_ANTHROPIC_FIELDS = ("cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation", "server_tool_use")
_GEMINI_FIELDS = ("promptTokenCount", "candidatesTokenCount", "totalTokenCount")


_MODEL_KEYS = ("model", "modelVersion", "model_version")

_TIER_KEYS = ("service_tier", "serviceTier", "trafficType")
"""Where a response, or the usage in it, says how it was served: OpenAI's, Groq's and Anthropic's ``service_tier``,
Gemini's and Bedrock's ``serviceTier``, Vertex AI's ``trafficType``."""

_TIERS: dict[str, Tier] = {
    "standard": "standard",
    "default": "standard",
    "auto": "standard",
    "on_demand": "standard",
    "traffic_type_unspecified": "standard",
    # Capacity that is paid for in advance: the listed price is what its tokens are worth.
    "scale": "standard",
    "reserved": "standard",
    "provisioned_throughput": "standard",
    "batch": "batch",
    "flex": "flex",
    "on_demand_flex": "flex",
    "priority": "priority",
    "fast": "priority",
    "on_demand_priority": "priority",
}


@dataclass(frozen=True, slots=True)
class ExtractedUsage:
    """What a response says.

    Attributes:
        model: The model's name; ``None`` if neither the caller nor the response says it.
        usage: Whole input and whole output.
        tier: How it was served; standard where it does not say.
        warnings: What it says and nobody here understands.
    """

    model: str | None
    usage: TokenUsage
    tier: Tier = "standard"
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Shape:
    """Whose usage object it is: the provider and flavour of the extractor, and the key it expects it under."""

    provider: str
    flavor: str = "default"
    root: str = "usage"


def extract_usage(response: JsonObject, model: str | None, catalog: Catalog) -> ExtractedUsage:
    """The model, the tokens and the service tier that a response reports.

    Args:
        response: A provider's raw response (OpenAI Chat Completions or Responses, Anthropic Messages, Gemini, Bedrock
            Converse, Cohere, and what is compatible with them), the last event of its stream, or its bare usage object.
        model: The model, where the caller knows it. It goes before the response's own statement.
        catalog: Tells a model's provider, where the shape alone does not.

    Returns:
        What the response says, in one convention.

    Raises:
        InvalidInput: No known usage object, or numbers in it that cannot be.
    """
    holder, usage = _usage_object(response)
    name = model or _stated_model(holder)
    usage, unexplained = _with_thoughts(usage, name, catalog)
    extracted = _extracted(usage, _shape(usage, name, catalog))
    tier, warnings = _tier(_served(holder, usage))
    fast, in_fast_mode = _fast_mode(usage, name, catalog)
    return ExtractedUsage(
        model=name,
        usage=_normalised(lambda key: _count(extracted, key)),
        tier=fast or tier,
        warnings=(*warnings, *in_fast_mode, *unexplained),
    )


def _stated_model(holder: JsonObject) -> str | None:
    stated = (holder.get(key) for key in _MODEL_KEYS)
    return next((name for name in stated if isinstance(name, str) and name), None)


def _served(holder: JsonObject, usage: JsonObject) -> Iterator[str]:
    """How a response says it was served, in its own words."""
    for place in (holder, usage):
        for key in _TIER_KEYS:
            said = place.get(key)
            word = said.get("type") if isinstance(said, dict) else said
            if word is not None:
                yield str(word).lower()


def _fast_mode(usage: JsonObject, model: str | None, catalog: Catalog) -> tuple[Tier | None, tuple[str, ...]]:
    """The tier and the warning of Anthropic's fast mode, which is dearer than the standard tier and no tier itself.

    It is taken for ``priority``, which has no list price for Anthropic's models, unless the name says the mode.
    """
    if usage.get("speed") in (None, "standard"):
        return None, ()
    info = catalog.resolve(model) if model else None
    if info is not None and info.served == "fast":
        return None, ()
    name = shown("MODEL-fast" if info is None else f"{info.name}-fast")
    warning = (
        "The response was served in fast mode, which is recorded as priority; under the name "
        f"{name} it has the price of that mode, if one is listed."
    )
    return "priority", (warning,)


def _tier(words: Iterable[str]) -> tuple[Tier, tuple[str, ...]]:
    """The tier that bills the response, and a warning for each way of serving that has no price here."""
    tier: Tier = "standard"
    unknown: list[str] = []
    for word in words:
        stated = _TIERS.get(word)
        if stated is None:
            unknown.append(word)
        elif stated != "standard":
            tier = stated
    return tier, tuple(
        f"The response was served as {shown(word)}, which has no price here; it is priced as {tier}."
        for word in unknown
    )


def _usage_object(response: JsonObject) -> tuple[JsonObject, JsonObject]:
    """The object that names the model, and the usage object in it. Gemini's keys are returned in camel case."""
    wrapped = (response.get(key) for key in _WRAPPERS)
    for holder in (response, *(inner for inner in wrapped if isinstance(inner, dict))):
        for key in ("usage", "usageMetadata", "usage_metadata"):
            usage = holder.get(key)
            if isinstance(usage, dict):
                return holder, _camel(usage) if key == "usage_metadata" else usage
    return {}, _camel(response) if "prompt_token_count" in response else response


def _camel(usage: JsonObject) -> JsonObject:
    """The Python SDK's snake-case keys as the Gemini API writes them."""
    return {_camel_key(key): value for key, value in usage.items()}


def _camel_key(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _shape(usage: JsonObject, model: str | None, catalog: Catalog) -> _Shape:
    if any(key in usage for key in _GEMINI_FIELDS):
        return _Shape("google", root="usageMetadata")
    if "billed_units" in usage:
        return _Shape("cohere")
    if "inputTokens" in usage:
        return _Shape("aws")
    if "prompt_tokens" in usage:
        return _chat_shape(usage, model, catalog)
    if "input_tokens" in usage:
        anthropic = any(key in usage for key in _ANTHROPIC_FIELDS) or "thinking_tokens" in _details(usage, "output")
        return _Shape("anthropic") if anthropic else _Shape("openai", "responses")
    raise InvalidInput(
        "response",
        "no token usage was recognised; give a response (or its usage object) of OpenAI, Anthropic, Gemini or Bedrock, "
        "or the numbers themselves.",
    )


def _chat_shape(usage: JsonObject, model: str | None, catalog: Catalog) -> _Shape:
    """Chat Completions, which xAI fills differently: its reasoning stands beside the completion, as the total shows."""
    if "completion_tokens" not in usage:
        return _Shape("openai", "embeddings")
    prompt, completion, total = (usage.get(key) for key in ("prompt_tokens", "completion_tokens", "total_tokens"))
    reasoning = _details(usage, "completion").get("reasoning_tokens")
    if not isinstance(reasoning, int) or not reasoning:
        return _Shape("openai", "chat")
    if isinstance(prompt, int) and isinstance(completion, int) and isinstance(total, int):
        beside = total == prompt + completion + reasoning
    else:
        beside = model is not None and catalog.resolve(model).provider == "x-ai"
    return _Shape("x-ai", "chat") if beside else _Shape("openai", "chat")


def _with_thoughts(usage: JsonObject, model: str | None, catalog: Catalog) -> tuple[JsonObject, tuple[str, ...]]:
    """Chat Completions whose total is more than its parts. Gemini's thoughts are the rest; another's rest is said."""
    counts = [usage.get(key) for key in ("prompt_tokens", "completion_tokens", "total_tokens")]
    prompt, completion, total = (count if isinstance(count, int) else None for count in counts)
    if prompt is None or completion is None or total is None or total <= prompt + completion:
        return usage, ()
    rest = total - prompt - completion
    if _details(usage, "completion").get("reasoning_tokens") == rest:
        return usage, ()
    if model is not None and catalog.resolve(model).provider == "google":
        return {**usage, "completion_tokens_details": {"reasoning_tokens": rest}}, ()
    return usage, (f"The response's total is {rest} tokens more than its prompt and completion; they are not counted.",)


def _with_cache_hits(usage: JsonObject) -> JsonObject:
    """DeepSeek's own name for what was read from its cache, as Chat Completions write it."""
    hits, details = usage.get("prompt_cache_hit_tokens"), _details(usage, "prompt")
    if hits is None or details.get("cached_tokens") is not None:
        return usage
    return {**usage, "prompt_tokens_details": {**details, "cached_tokens": hits}}


def _details(usage: JsonObject, side: str) -> JsonObject:
    details: JsonValue = usage.get(f"{side}_tokens_details")
    return details if isinstance(details, dict) else {}


def _extracted(usage: JsonObject, shape: _Shape) -> "Usage":
    from genai_prices.data import providers  # noqa: PLC0415 - heavy

    provider = next(provider for provider in providers if provider.id == shape.provider)
    try:
        _, extracted = provider.extract_usage({shape.root: _with_cache_hits(usage)}, api_flavor=shape.flavor)
    except ValueError:
        raise InvalidInput(
            "response", "its token usage is incomplete or not in whole numbers; give the final usage object."
        ) from None
    return extracted


def _count(usage: "Usage", key: str) -> int:
    value = usage.reported_value(key)
    if not isinstance(value, int):
        raise InvalidInput("response", f"its {key} is not a whole number.")
    return value


def _normalised(count: Callable[[str], int]) -> TokenUsage:
    """Our usage from the extractor's. Cache writes without a stated keeping time are the provider's short ones."""
    hour_writes = count("cache_write_1h_tokens")
    stated_writes = count("cache_write_tokens")
    writes = max(stated_writes, hour_writes + count("cache_write_5m_tokens"))
    try:
        return TokenUsage(
            input_tokens=count("input_tokens") + writes - stated_writes,
            output_tokens=count("output_tokens"),
            cached_input_tokens=count("cache_read_tokens"),
            cache_write_tokens=writes - hour_writes,
            cache_write_1h_tokens=hour_writes,
            reasoning_tokens=count("output_reasoning_tokens"),
        )
    except InvalidInput as error:
        raise InvalidInput("response", f"its numbers do not add up ({error})") from None
