"""Any spelling of a model's name leads to the same model, and what is assumed of a model is said."""

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st
from tiktoken.model import MODEL_PREFIX_TO_ENCODING, MODEL_TO_ENCODING

from scripts.make_models import FILE, rewritten
from tokenward.engine.catalog import MAX_NAME_CHARACTERS, Catalog, ModelInfo
from tokenward.engine.datafiles import read_json
from tokenward.engine.errors import InvalidInput, UnknownEncoding
from tokenward.engine.tokenizers.encodings import ENCODING_NAMES

CATALOG = Catalog({"my-deployment": "gpt-4o", "azure/Other": "anthropic/claude-opus-4.7", "house_base": "o3"})

SPELLINGS = {
    "gpt-4o": ["gpt-4o", "GPT-4o", " gpt-4o ", "openai/gpt-4o", "azure/my-deployment", "my-deployment"],
    "gpt-4o-2024-08-06": ["gpt-4o-2024-08-06", "azure/gpt-4o-2024-08-06", "openrouter/openai/gpt-4o-2024-08-06"],
    "gpt-3.5-turbo-0301": ["gpt-3.5-turbo-0301", "gpt-35-turbo-0301", "azure/gpt-35-turbo-0301"],
    "gpt-4o-mini": ["openrouter/openai/gpt-4o-mini:free", "gpt-4o-mini:online"],
    "ft:gpt-4o-mini-2024-07-18": ["ft:gpt-4o-mini:org::id", "ft:gpt-4o-mini-2024-07-18:org:name:id"],
    "ft:gpt-3.5-turbo-0125": ["ft:gpt-3.5-turbo-0125:org::id", "openai/ft:gpt-3.5-turbo-0125:org::id"],
    "gpt-oss-120b": ["openai/gpt-oss-120b", "openai.gpt-oss-120b-1:0", "openrouter/openai/gpt-oss-120b:exacto"],
    "claude-sonnet-4-5": [
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-4.5",
        "claude-4-5-sonnet",
        "claude-sonnet-4-5-20250929[1m]",
        "anthropic/claude-sonnet-4-5",
        "openrouter/anthropic/claude-sonnet-4.5:thinking",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock/us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0:200k",
        "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
        "vertex_ai/claude-sonnet-4-5@20250929",
        "claude-sonnet-4-5@default",
        "claude-sonnet-4-5-latest",
    ],
    "claude-opus-4-6": ["claude-opus-4-6@20260101", "anthropic.claude-opus-4-6-v1", "global.anthropic.claude-opus-4-6"],
    "claude-opus-4-7": ["azure/other", "anthropic/claude-opus-4.7", "claude-4-7-opus"],
    "claude-opus-4": [
        "claude-opus-4-20250514",
        "claude-opus-4-0",
        "claude-4-opus",
        "us.anthropic.claude-opus-4-20250514-v1:0",
    ],
    "claude-3-5-sonnet": [
        "claude-3-5-sonnet-latest",
        "claude-3.5-sonnet:beta",
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
    ],
    "claude-2": ["anthropic.claude-v2:1", "anthropic.claude-v2", "claude-2"],
    "gemini-2.5-pro": [
        "models/gemini-2.5-pro",
        "google/gemini-2.5-pro",
        "vertex_ai/gemini-2.5-pro",
        "publishers/google/models/gemini-2.5-pro@default",
        "gemini/gemini-2.5-pro-latest",
    ],
    "grok-4": ["x-ai/grok-4", "grok-4-latest"],
    "mistral-large": ["mistralai/mistral-large"],
    "mistral-large-2512": ["mistral-large-latest", "mistral/mistral-large-latest", "mistral-large-2512"],
    "llama-3.1-70b-instruct": [
        "meta-llama/llama-3.1-70b-instruct",
        "meta-llama/Meta-Llama-3.1-70B-Instruct",
        "meta.llama3-1-70b-instruct-v1:0",
        "accounts/fireworks/models/llama-v3p1-70b-instruct",
    ],
    "llama-3": ["llama3:8b", "ollama/llama3"],
    "deepseek-r1": ["deepseek/deepseek-r1:free"],
    "qwen3-32b": ["qwen/qwen3-32b:free"],
    "o3": ["house_base"],
}


@pytest.mark.parametrize(
    ("spelling", "name"), [(spelling, name) for name, spellings in SPELLINGS.items() for spelling in spellings]
)
def test_every_spelling_leads_to_the_bare_name(spelling: str, name: str) -> None:
    info = CATALOG.resolve(spelling)
    assert (info.requested, info.name, info.known, info.warnings) == (spelling, name, True, ())


@pytest.mark.parametrize(("model", "encoding"), sorted(MODEL_TO_ENCODING.items()))
def test_encodings_are_those_of_tiktokens_table(model: str, encoding: str) -> None:
    info = CATALOG.resolve(model)
    assert (info.encoding, info.family, info.provider, info.known, info.warnings) == (
        encoding,
        "openai",
        "openai",
        True,
        (),
    )


@pytest.mark.parametrize(("prefix", "encoding"), sorted(MODEL_PREFIX_TO_ENCODING.items()))
def test_prefixes_mean_the_encodings_of_tiktokens_table(prefix: str, encoding: str) -> None:
    assert CATALOG.resolve(f"{prefix}-2026-01-01").encoding == encoding


@pytest.mark.parametrize("name", sorted(ENCODING_NAMES))
def test_an_encoding_is_a_model_too(name: str) -> None:
    info = CATALOG.resolve(name.upper())
    assert (info.encoding, info.family, info.known, info.warnings) == (name, "openai", True, ())


@pytest.mark.parametrize("name", ["cl100k_bse_base", "p60k_edit", "o300k_harmony"])
def test_an_encoding_that_does_not_exist_is_an_error_with_the_nearest(name: str) -> None:
    with pytest.raises(UnknownEncoding, match="Did you mean"):
        CATALOG.resolve(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("x" * (MAX_NAME_CHARACTERS + 1), "257 characters"),
        ("gpt\n4", "control characters"),
        ("gpt-4\x00", "control characters"),
        ("gpt-4\ud800", "control characters"),
    ],
)
def test_what_cannot_be_a_name_is_refused(name: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        CATALOG.resolve(name)


@pytest.mark.parametrize(
    ("name", "family", "provider", "like"),
    [
        ("gtp-4o", "openai", "openai", "gpt-4o"),
        ("gpt-9", "openai", "openai", "openai"),
        ("claude-opus-9", "claude-4.8", "anthropic", "claude-4.8"),
        ("claude-opus-4-9", "claude-4.8", "anthropic", "claude-4.8"),
        ("claude-sonnet-4-7", "claude-4.7", "anthropic", "claude-4.7"),
        ("claude-4-2-opus", "claude-3", "anthropic", "claude-3"),
        ("claude-3-9-sonnet", "claude-3", "anthropic", "claude-3"),
        ("gemini-9-ultra", "gemini", "google", "gemini"),
        ("no-such-thing-at-all", "unknown", None, "o200k_base"),
    ],
)
def test_an_unknown_model_is_labelled_with_what_was_assumed(
    name: str, family: str, provider: str | None, like: str
) -> None:
    info = CATALOG.resolve(name)
    assert (info.name, info.family, info.provider, info.known) == (name, family, provider, False)
    assert info.context_window is None
    assert name in info.warnings[0]
    assert like in info.warnings[0]


def test_a_model_whose_tokenizer_is_not_published_says_so() -> None:
    info = CATALOG.resolve("gpt-6-sol")
    assert info.known
    assert "not published" in info.warnings[0]


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("claude-3-haiku", "claude-3"),
        ("claude-opus-4-6", "claude-3"),
        ("claude-haiku-4-5", "claude-3"),
        ("claude-4-6-sonnet", "claude-3"),
        ("claude-opus-4-7", "claude-4.7"),
        ("claude-4.7-opus", "claude-4.7"),
        ("claude-opus-4-8", "claude-4.8"),
        ("claude-opus-5-5", "claude-4.8"),
        ("claude-sonnet-5", "claude-4.8"),
        ("claude-fable-5", "claude-4.8"),
        ("claude-mythos-5-2", "claude-4.8"),
        ("gemini-2.5-flash", "gemini"),
        ("grok-3", "grok"),
        ("codestral-latest", "mistral"),
        ("llama-4-scout", "llama"),
        ("deepseek-chat", "deepseek"),
        ("qwq-32b", "qwen"),
    ],
)
def test_families(model: str, family: str) -> None:
    assert CATALOG.resolve(model).family == family


@pytest.mark.parametrize(
    ("model", "context_window", "max_output_tokens"),
    [
        ("gpt-4o", 128_000, 16_384),
        ("gpt-4o-2024-05-13", 128_000, 4_096),
        ("gpt-4", 8_192, 8_192),
        ("gpt-4.1", 1_047_576, 32_768),
        ("gpt-5", 400_000, 128_000),
        ("o3", 200_000, 100_000),
        ("claude-sonnet-4-5", 200_000, 64_000),
        ("claude-opus-4-6", 1_000_000, 128_000),
        ("gemini-2.5-pro", 1_048_576, 65_536),
        ("gemini-3.5-flash", 1_048_576, 65_536),
        ("deepseek-chat", 131_072, 8_192),
        ("gpt-3.5-turbo-0613", 4_096, 4_096),
        ("mistral-saba", None, None),
    ],
)
def test_limits(model: str, context_window: int | None, max_output_tokens: int | None) -> None:
    info = CATALOG.resolve(model)
    assert (info.context_window, info.max_output_tokens) == (context_window, max_output_tokens)


@pytest.mark.parametrize(
    ("model", "max_input_tokens"),
    [("gpt-5", 272_000), ("gpt-6-sol", 922_000), ("gpt-4o", None), ("claude-opus-4-6", None), ("no-such-model", None)],
)
def test_an_input_that_is_limited_below_the_window(model: str, max_input_tokens: int | None) -> None:
    assert CATALOG.resolve(model).max_input_tokens == max_input_tokens


def test_limits_can_be_together() -> None:
    for info in CATALOG.models():
        window = info.context_window
        for limit in (info.max_input_tokens, info.max_output_tokens):
            assert limit is None or window is None or 0 < limit <= window, info
        assert info.max_input_tokens is None or (window and info.max_input_tokens < window), info


def test_limits_are_those_of_the_second_list_but_for_what_was_decided() -> None:
    text, contradictory = rewritten(read_json("models.json"))
    assert contradictory == []
    assert text == FILE.read_text("utf-8")


PRICED = [
    name
    for name in SPELLINGS
    if CATALOG.resolve(name).provider in ("openai", "anthropic", "google", "mistral", "deepseek", "x-ai")
]


@pytest.mark.parametrize(
    "name",
    [
        *PRICED,
        *("gpt-5", "gpt-5-mini-2025-08-07", "gpt-4.1-nano", "o1", "o3-mini", "o4-mini-2025-04-16", "gpt-4-0613"),
        *("gpt-3.5", "gpt-3.5-turbo", "gpt-5.1-codex", "chatgpt-4o-latest", "text-embedding-3-small", "gpt-6-sol"),
        *("claude-3-opus-20240229", "claude-3-7-sonnet-latest", "claude-haiku-4-5-20251001", "claude-opus-4-1"),
        *("claude-sonnet-4-6", "claude-opus-4-8", "claude-opus-5-5", "claude-fable-5-1", "claude-3.5-haiku"),
        *("gemini-2.0-flash-001", "gemini-2.5-flash-preview-05-20", "gemini-3-pro-preview", "gemini-1.5-pro-002"),
        *("mistral-small-latest", "mistral-small", "codestral-latest", "ministral-8b-latest", "grok-3-mini"),
        *("deepseek-chat", "deepseek-reasoner", "grok-code-fast-1"),
    ],
)
def test_the_bare_name_has_a_price(name: str) -> None:
    info = CATALOG.resolve(name)
    price = calc_price(Usage(input_tokens=1000, output_tokens=10), info.name, provider_id=info.provider)
    assert price.total_price > 0


def test_models_are_the_known_ones_sorted() -> None:
    models = CATALOG.models()
    names = [info.name for info in models]
    assert names == sorted(names)
    assert len(set(names)) == len(names) > 300
    assert all(info.known for info in models)
    assert {"gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro"} <= set(names)


def test_resolving_a_bare_name_again_changes_nothing() -> None:
    for info in CATALOG.models():
        again = CATALOG.resolve(info.name)
        assert (again.name, again.encoding, again.family) == (info.name, info.encoding, info.family)


@given(st.text(max_size=40))
def test_any_name_resolves_or_is_refused(name: str) -> None:
    try:
        info = CATALOG.resolve(name)
    except InvalidInput:
        return
    assert isinstance(info, ModelInfo)
    assert info.known or info.warnings


@pytest.mark.parametrize("name", ["cl100k", "cl100k_bas", "p50k-base", "o200k_harmonic", "o200k"])
def test_what_can_only_be_an_encoding_is_not_taken_for_a_model(name: str) -> None:
    with pytest.raises(UnknownEncoding, match="Did you mean"):
        Catalog().resolve(name)


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("openai:gpt-4o", "gpt-4o"),
        ("anthropic:claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("google-gla:gemini-2.5-pro", "gemini-2.5-pro"),
    ],
)
def test_a_maker_may_stand_before_a_colon(name: str, bare: str) -> None:
    info = Catalog().resolve(name)
    assert (info.name, info.known, info.requested) == (bare, True, name)


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("gpt-4o:batch", "batch"),
        ("openrouter/openai/gpt-5:flex", "flex"),
        ("gpt-5:priority", "priority"),
        ("claude-opus-4-8-fast", "fast"),
        ("claude-opus-4.8-fast", "fast"),
        ("claude-opus-4-8-fast-20260101", "fast"),
        ("fast/claude-opus-4-6", "fast"),
        ("anthropic/fast/claude-opus-4-6", "fast"),
        ("cheap", "batch"),
        ("gpt-4o", ""),
        ("gpt-4o:free", ""),
        ("grok-3-fast", ""),
        ("grok-code-fast-1", ""),
        ("claude-opus-4-8-thinking", ""),
        ("fast/gpt-4o", ""),
        ("ft:gpt-4o-mini-2024-07-18:org:name:batch", ""),
    ],
)
def test_a_name_can_say_how_it_is_served(name: str, served: str) -> None:
    assert Catalog({"cheap": "gpt-4o:batch"}).resolve(name).served == served


def test_a_moving_name_has_the_limits_of_what_it_moved_to() -> None:
    assert CATALOG.resolve("mistral-large-latest").context_window == 262_144
