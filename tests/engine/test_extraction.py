"""Usage out of responses: every provider's numbers, in one convention."""

import pytest

from tokenward.engine.catalog import Catalog
from tokenward.engine.errors import InvalidInput, UnknownPrice
from tokenward.engine.extraction import ExtractedUsage, extract_usage
from tokenward.engine.pricing import CostCalculator
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.engine.usage import Tier, TokenUsage

OPENAI_CHAT: JsonObject = {
    "prompt_tokens": 2006,
    "completion_tokens": 300,
    "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 192, "accepted_prediction_tokens": 0},
}
OPENAI_RESPONSES: JsonObject = {
    "input_tokens": 328,
    "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 28},
    "output_tokens": 52,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 380,
}
ANTHROPIC: JsonObject = {
    "input_tokens": 21,
    "cache_creation_input_tokens": 500,
    "cache_read_input_tokens": 1000,
    "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 300},
    "output_tokens": 393,
    "service_tier": "standard",
}
GEMINI: JsonObject = {
    "promptTokenCount": 1000,
    "cachedContentTokenCount": 600,
    "candidatesTokenCount": 50,
    "thoughtsTokenCount": 150,
    "toolUsePromptTokenCount": 20,
    "totalTokenCount": 1220,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1000}],
}
GEMINI_SDK: JsonObject = {
    "prompt_token_count": 1000,
    "cached_content_token_count": None,
    "candidates_token_count": 50,
    "thoughts_token_count": 150,
    "total_token_count": 1200,
}
BEDROCK: JsonObject = {
    "inputTokens": 30,
    "outputTokens": 40,
    "totalTokens": 120,
    "cacheReadInputTokens": 20,
    "cacheWriteInputTokens": 30,
}
XAI_CHAT: JsonObject = {
    "prompt_tokens": 32,
    "completion_tokens": 9,
    "total_tokens": 135,
    "completion_tokens_details": {"reasoning_tokens": 94},
}
OF_CHAT = TokenUsage(2006, 300, cached_input_tokens=1920, reasoning_tokens=192)
OF_RESPONSES = TokenUsage(328, 52, cached_input_tokens=100, cache_write_tokens=28, reasoning_tokens=20)
OF_ANTHROPIC = TokenUsage(1521, 393, cached_input_tokens=1000, cache_write_tokens=200, cache_write_1h_tokens=300)
OF_GEMINI = TokenUsage(1020, 200, cached_input_tokens=600, reasoning_tokens=150)
OF_BEDROCK = TokenUsage(80, 40, cached_input_tokens=20, cache_write_tokens=30)
OF_XAI = TokenUsage(32, 103, reasoning_tokens=94)


def usage_of(response: JsonObject, model: str | None = None) -> TokenUsage:
    return extract_usage(response, model, Catalog()).usage


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(OPENAI_CHAT, OF_CHAT, id="openai chat"),
        pytest.param(OPENAI_RESPONSES, OF_RESPONSES, id="openai responses"),
        pytest.param(ANTHROPIC, OF_ANTHROPIC, id="anthropic"),
        pytest.param(BEDROCK, OF_BEDROCK, id="bedrock"),
        pytest.param(XAI_CHAT, OF_XAI, id="xai"),
        pytest.param({"prompt_tokens": 8, "total_tokens": 8}, TokenUsage(8), id="embeddings"),
        pytest.param({"input_tokens": 5, "output_tokens": 6}, TokenUsage(5, 6), id="plain"),
        pytest.param(
            {"billed_units": {"input_tokens": 5, "output_tokens": 6}, "tokens": {"input_tokens": 71}},
            TokenUsage(5, 6),
            id="cohere",
        ),
    ],
)
def test_a_whole_response_and_its_bare_usage_give_the_same(usage: JsonObject, expected: TokenUsage) -> None:
    assert usage_of(usage) == expected
    assert usage_of({"id": "x", "model": "some-model", "usage": usage}) == expected


@pytest.mark.parametrize(
    "response", [GEMINI, {"usageMetadata": GEMINI, "modelVersion": "gemini-2.5-pro", "candidates": []}]
)
def test_gemini_thoughts_and_tool_prompts_are_added(response: JsonObject) -> None:
    assert usage_of(response) == OF_GEMINI


@pytest.mark.parametrize("response", [GEMINI_SDK, {"usage_metadata": GEMINI_SDK, "model": "gemini-2.5-pro"}])
def test_geminis_python_spelling_is_read_too(response: JsonObject) -> None:
    assert usage_of(response) == TokenUsage(1000, 200, reasoning_tokens=150)


def test_a_gemini_answer_without_candidates_has_no_output() -> None:
    assert usage_of({"usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}}) == TokenUsage(7)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(
            {"type": "response.completed", "response": {"model": "gpt-5", "usage": OPENAI_RESPONSES}},
            ("gpt-5", OF_RESPONSES),
            id="openai responses, last event",
        ),
        pytest.param(
            {"object": "chat.completion.chunk", "model": "gpt-4o", "choices": [], "usage": OPENAI_CHAT},
            ("gpt-4o", OF_CHAT),
            id="openai chat, last chunk",
        ),
        pytest.param(
            {"type": "message_start", "message": {"model": "claude-opus-4-5", "usage": ANTHROPIC}},
            ("claude-opus-4-5", OF_ANTHROPIC),
            id="anthropic, first event",
        ),
        pytest.param(
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ANTHROPIC},
            (None, OF_ANTHROPIC),
            id="anthropic, last event",
        ),
        pytest.param(
            {"usageMetadata": GEMINI, "modelVersion": "gemini-2.5-pro", "candidates": [{"finishReason": "STOP"}]},
            ("gemini-2.5-pro", OF_GEMINI),
            id="gemini, last chunk",
        ),
        pytest.param(
            {"type": "response.incomplete", "response": {"model": "gpt-5", "usage": OPENAI_RESPONSES}},
            ("gpt-5", OF_RESPONSES),
            id="openai responses, cut off",
        ),
    ],
)
def test_stream_events_are_opened(event: JsonObject, expected: tuple[str | None, TokenUsage]) -> None:
    assert extract_usage(event, None, Catalog()) == ExtractedUsage(*expected)


def test_the_callers_model_goes_before_the_responses() -> None:
    response: JsonObject = {"model": "gpt-4o-2024-08-06", "usage": OPENAI_CHAT}
    assert extract_usage(response, None, Catalog()).model == "gpt-4o-2024-08-06"
    assert extract_usage(response, "my-deployment", Catalog()).model == "my-deployment"
    assert extract_usage({"model": 7, "usage": OPENAI_CHAT}, None, Catalog()).model is None


def test_anthropic_writes_without_a_keeping_time_are_short_ones() -> None:
    usage: JsonObject = {"input_tokens": 1, "cache_creation_input_tokens": 9, "output_tokens": 2}
    assert usage_of(usage) == TokenUsage(10, 2, cache_write_tokens=9)


def test_anthropic_writes_stated_only_in_parts_are_not_lost() -> None:
    usage: JsonObject = {"input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 9}, "output_tokens": 2}
    assert usage_of(usage) == TokenUsage(10, 2, cache_write_1h_tokens=9)


def test_anthropic_nulls_are_zeros_and_thinking_is_part_of_the_output() -> None:
    usage: JsonObject = {
        "input_tokens": 1,
        "cache_creation_input_tokens": None,
        "cache_read_input_tokens": None,
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 15},
    }
    assert usage_of(usage) == TokenUsage(1, 20, reasoning_tokens=15)


@pytest.mark.parametrize(
    ("model", "output"), [("grok-3-mini", 30), ("x-ai/grok-4", 30), ("gpt-5", 20), (None, 20), ("anything", 20)]
)
def test_without_a_total_the_model_tells_where_reasoning_stands(model: str | None, output: int) -> None:
    usage: JsonObject = {
        "prompt_tokens": 5,
        "completion_tokens": 20,
        "completion_tokens_details": {"reasoning_tokens": 10},
    }
    assert usage_of(usage, model) == TokenUsage(5, output, reasoning_tokens=10)


def test_a_total_goes_before_the_model() -> None:
    """A router may bring xAI's numbers to OpenAI's convention; the total shows it."""
    assert usage_of(OPENAI_CHAT, "x-ai/grok-4") == OF_CHAT


SECRET = "my secret prompt"


@pytest.mark.parametrize(
    "response",
    [
        {},
        {"text": SECRET},
        {"usage": {"tokens": SECRET}},
        {"usage": SECRET},
        {"usage": None, "choices": [{"message": {"content": SECRET}}]},
        {"usage": {"input_tokens": SECRET, "output_tokens": 1}},
        {"usage": {"input_tokens": 1}},
        {"usage": {"output_tokens": 15}},
        {"usage": {"prompt_tokens": True, "completion_tokens": 1}},
        {"usage": {"prompt_tokens": -1, "completion_tokens": 1}},
        {"usage": {"prompt_tokens": 1.5, "completion_tokens": 1}},
        {"usage": {"prompt_tokens": float("nan"), "completion_tokens": 1}},
        {"usage": {"prompt_tokens": 10**20, "completion_tokens": 1}},
        {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}}},
        {"usageMetadata": {"totalTokenCount": 5}},
        {"response": {"response": {"usage": OPENAI_CHAT}}},
    ],
)
def test_what_is_not_understood_is_refused_without_being_repeated(response: JsonObject) -> None:
    with pytest.raises(InvalidInput, match=r"^response: ") as caught:
        usage_of(response)
    assert "secret" not in str(caught.value)


def test_deepseeks_own_name_for_cache_hits_is_known() -> None:
    usage: JsonObject = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "total_tokens": 110,
        "prompt_cache_hit_tokens": 60,
        "prompt_cache_miss_tokens": 40,
    }
    assert usage_of({"model": "deepseek-chat", "usage": usage}) == TokenUsage(100, 10, cached_input_tokens=60)


def test_chat_completions_tell_cache_reads_from_cache_writes() -> None:
    usage: JsonObject = {
        "prompt_tokens": 3000,
        "completion_tokens": 80,
        "total_tokens": 3080,
        "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 1500},
        "completion_tokens_details": {"reasoning_tokens": 64},
    }
    expected = TokenUsage(3000, 80, cached_input_tokens=1024, cache_write_tokens=1500, reasoning_tokens=64)
    assert usage_of(usage) == expected


def tier_of(response: JsonObject) -> tuple[Tier, int]:
    """The tier, and how many warnings came with it."""
    extracted = extract_usage(response, "any", Catalog())
    return extracted.tier, len(extracted.warnings)


@pytest.mark.parametrize(
    ("word", "tier"),
    [
        ("default", "standard"),
        ("auto", "standard"),
        ("scale", "standard"),
        ("flex", "flex"),
        ("priority", "priority"),
        ("fast", "priority"),
        (None, "standard"),
    ],
)
def test_openai_says_the_tier_beside_the_usage(word: str | None, tier: Tier) -> None:
    chat: JsonObject = {"model": "gpt-5", "service_tier": word, "usage": OPENAI_CHAT}
    responses: JsonObject = {"model": "gpt-5", "service_tier": word, "usage": OPENAI_RESPONSES}
    last_event: JsonObject = {"type": "response.completed", "response": responses}
    assert [tier_of(one) for one in (chat, responses, last_event)] == [(tier, 0)] * 3


@pytest.mark.parametrize("tier", ["standard", "batch", "priority"])
def test_anthropic_says_the_tier_in_the_usage(tier: Tier) -> None:
    usage: JsonObject = {**ANTHROPIC, "service_tier": tier}
    message: JsonObject = {"usage": usage}
    first_event: JsonObject = {"type": "message_start", "message": message}
    assert [tier_of(one) for one in (usage, message, first_event)] == [(tier, 0)] * 3


@pytest.mark.parametrize(
    ("metadata", "tier"),
    [
        ({**GEMINI, "serviceTier": "flex"}, "flex"),
        ({**GEMINI, "serviceTier": "PRIORITY"}, "priority"),
        ({**GEMINI, "trafficType": "ON_DEMAND"}, "standard"),
        ({**GEMINI, "trafficType": "ON_DEMAND_FLEX"}, "flex"),
        ({**GEMINI, "trafficType": "PROVISIONED_THROUGHPUT"}, "standard"),
    ],
)
def test_gemini_says_the_tier_in_the_usage(metadata: JsonObject, tier: Tier) -> None:
    assert tier_of({"usageMetadata": metadata}) == (tier, 0)


def test_the_python_spelling_of_geminis_tier_is_read_too() -> None:
    assert tier_of({"usage_metadata": {**GEMINI_SDK, "traffic_type": "ON_DEMAND_PRIORITY"}}) == ("priority", 0)


def test_bedrock_says_the_tier_in_an_object() -> None:
    assert tier_of({"usage": BEDROCK, "serviceTier": {"type": "flex"}}) == ("flex", 0)


@pytest.mark.parametrize(
    "response",
    [
        {"service_tier": "ultrafast", "usage": OPENAI_CHAT},
        {"service_tier": 7, "usage": OPENAI_CHAT},
    ],
)
def test_a_tier_without_a_price_is_standard_and_said(response: JsonObject) -> None:
    assert tier_of(response) == ("standard", 1)


def test_the_warning_names_what_was_not_understood() -> None:
    response: JsonObject = {"service_tier": "ultrafast" * 50, "usage": {**OPENAI_CHAT}}
    (warning,) = extract_usage(response, None, Catalog()).warnings
    assert "'ultrafast" in warning
    assert warning.endswith("priced as standard.")
    assert len(warning) < 200


def test_anthropics_speed_may_be_standard() -> None:
    assert tier_of({"usage": {**ANTHROPIC, "speed": "standard"}}) == ("standard", 0)


def test_anthropics_fast_mode_is_never_the_standard_tier() -> None:
    response: JsonObject = {"model": "claude-opus-4-8", "usage": {**ANTHROPIC, "speed": "fast"}}
    found = extract_usage(response, None, Catalog())
    assert found.tier == "priority"
    (warning,) = found.warnings
    assert "'claude-opus-4-8-fast'" in warning
    with pytest.raises(UnknownPrice):
        CostCalculator().calculate_cost(found.usage, "claude-opus-4-8", tier=found.tier)


def test_a_name_that_says_fast_mode_is_what_the_response_says_too() -> None:
    response: JsonObject = {"model": "claude-opus-4-8", "usage": {**ANTHROPIC, "speed": "fast"}}
    found = extract_usage(response, "claude-opus-4-8-fast", Catalog())
    assert (found.tier, found.warnings) == ("standard", ())


# Thoughts stand beside the completion, and only the total has them.
GEMINI_AS_OPENAI: JsonObject = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1500}


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "vertex_ai/gemini-2.5-pro", "google/gemini-3-flash-preview"])
@pytest.mark.parametrize(
    "details",
    [
        {},
        {"completion_tokens_details": None},
        {"completion_tokens_details": {"reasoning_tokens": 0}},
        {"completion_tokens_details": {"reasoning_tokens": 60}},
        {"completion_tokens_details": {"reasoning_tokens": 400}},
    ],
)
def test_thoughts_that_only_geminis_total_has_are_output(model: str, details: JsonObject) -> None:
    found = extract_usage({"usage": {**GEMINI_AS_OPENAI, **details}}, model, Catalog())
    assert (found.usage, found.warnings) == (TokenUsage(1000, 500, reasoning_tokens=400), ())


@pytest.mark.parametrize(
    ("details", "missing"), [({}, 400), ({"completion_tokens_details": {"reasoning_tokens": 60}}, 400)]
)
def test_tokens_that_only_another_makers_total_has_are_said(details: JsonObject, missing: int) -> None:
    found = extract_usage({"usage": {**GEMINI_AS_OPENAI, **details}}, "gpt-4o", Catalog())
    assert found.usage.output_tokens == 100
    (warning,) = found.warnings
    assert f"{missing} tokens more" in warning


def test_the_warning_of_a_tier_and_that_of_a_total_come_together() -> None:
    found = extract_usage({"service_tier": "ultrafast", "usage": GEMINI_AS_OPENAI}, "gpt-4o", Catalog())
    assert len(found.warnings) == 2


@pytest.mark.parametrize("details", [None, {}, {"cached_tokens": None}])
def test_deepseeks_cache_hits_count_where_the_details_are_empty(details: JsonValue) -> None:
    usage: JsonObject = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "prompt_cache_hit_tokens": 60,
        "prompt_tokens_details": details,
    }
    assert usage_of({"model": "deepseek-chat", "usage": usage}) == TokenUsage(100, 10, cached_input_tokens=60)


def test_geminis_python_spelling_of_the_models_name_is_read() -> None:
    response: JsonObject = {"usage_metadata": GEMINI_SDK, "model_version": "gemini-2.5-pro"}
    assert extract_usage(response, None, Catalog()).model == "gemini-2.5-pro"
    assert extract_usage({**response, "model": None}, None, Catalog()).model == "gemini-2.5-pro"
